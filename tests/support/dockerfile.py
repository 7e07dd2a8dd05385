"""The Dockerfile, read as text."""

from __future__ import annotations

import re

from tests.support.constants import ROOT


def steps() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, each with its arguments in one line."""
    text = (ROOT / "compose" / "Dockerfile").read_text()
    joined = re.sub(r"\\\n\s*", "", re.sub(r"(?m)^#.*\n", "", text))
    return [(words[0], words[2]) for line in joined.splitlines() if (words := line.partition(" "))[0]]
