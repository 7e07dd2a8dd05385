"""The real WhatsApp library for the tests that need it, in a folder of its own: their environment stays without it."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import re
import subprocess
import sys

import pytest

from tests.support.stack import ROOT

PREPARE_S = 180
PACKAGE = re.compile(r"^([A-Za-z0-9_.-]+)==(?:.*\\\n)*.*\n?", re.MULTILINE)


def extra() -> str:
    """The lines of the lock, with their hashes, for what the extra needs beyond the rest."""
    locked = {match[1] for match in PACKAGE.finditer((ROOT / "requirements-dev.txt").read_text())}
    with_extra = PACKAGE.finditer((ROOT / "requirements-whatsmeow.txt").read_text())
    return "".join(match[0] for match in with_extra if match[1] not in locked)


def library_path() -> str:
    """What to put on PYTHONPATH; nothing when the extra is installed. Skips where no package index is reached."""
    if importlib.util.find_spec("neonize") is not None:
        return ""
    wanted = extra()
    folder = ROOT / ".run" / "library" / hashlib.sha256(wanted.encode()).hexdigest()[:12]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            wanted_file = folder.with_suffix(".txt")
            wanted_file.write_text(wanted)
            command = [
                sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps",
                "--no-compile", "--require-hashes", "--upgrade", "--target", str(folder), "-r", str(wanted_file),
            ]  # fmt: skip
            installed = subprocess.run(command, capture_output=True, text=True, timeout=PREPARE_S, check=False)
            if installed.returncode:
                pytest.skip(f"the extra could not be fetched: {installed.stderr.strip().splitlines()[-1:]}")
            (folder / "ready").touch()
    return str(folder)
