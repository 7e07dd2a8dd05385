"""What browsers load from the console: nothing from elsewhere, nothing that a script or a style within a page does."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.support.stack import ROOT

if TYPE_CHECKING:
    from pathlib import Path

CONSOLE = ROOT / "unoapi" / "web" / "console"
VENDOR = CONSOLE / "static" / "vendor"
TEMPLATES = sorted((CONSOLE / "templates").rglob("*.html"))
OWN = [*TEMPLATES, CONSOLE / "static" / "console.css", CONSOLE / "static" / "console.js"]
ROW = re.compile(r"^\| (\S+) (\S+) \| (\S+) \| `(\S+)` \| `(\w{64})` \|$", re.MULTILINE)
ROWS = ROW.findall((VENDOR / "README.md").read_text())


@pytest.mark.parametrize("file", OWN, ids=lambda file: file.name)
def test_no_file_of_the_console_loads_anything_from_elsewhere(file: Path) -> None:
    text = re.sub(r'placeholder="[^"]*"', "", file.read_text("utf-8"))

    assert re.findall(r"https?://(?!www\.w3\.org/)|@import|url\(|=[\"']//", text) == []


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda file: file.name)
def test_no_template_has_a_script_or_a_style_of_its_own(template: Path) -> None:
    text = template.read_text("utf-8")

    assert (
        re.findall(r"<script(?! src=)|<style|\sstyle=|\son[a-z]+=|hx-on|hx-vars|js:|javascript:|\|\s*safe\b", text)
        == []
    )


def test_every_library_is_what_its_package_holds_with_its_licence() -> None:
    wanted = json.loads((VENDOR / "package.json").read_text())["dependencies"]
    files = {file.name for file in VENDOR.iterdir() if file.suffix in (".js", ".css")}
    licences = {file.stem for file in VENDOR.glob("*.LICENSE")}

    assert {name: version for name, version, *_ in ROWS} == wanted
    assert {file for *_, file, _ in ROWS} == files
    assert {file: hashlib.sha256((VENDOR / file).read_bytes()).hexdigest() for file in files} == {
        file: digest for *_, file, digest in ROWS
    }
    assert {file.partition(".")[0] for file in files} == licences
