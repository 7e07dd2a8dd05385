"""A real browser without a screen."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from unoapi.devenv.packages import install
from unoapi.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def chromium(profile: Path, *, logs: bool = False) -> Iterator[webdriver.Chrome]:
    """Chromium with an empty profile; with `logs` it keeps what it requested and what its console said."""
    programs = _programs()
    options = Options()
    options.binary_location = programs[0]
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=900,1000",
        f"--user-data-dir={profile}",
    ):  # fmt: skip
        options.add_argument(argument)
    if logs:
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    try:
        driver = webdriver.Chrome(options=options, service=Service(programs[1]))
    except WebDriverException as error:
        pytest.skip(f"Chromium does not start here: {error.msg}")
    try:
        yield driver
    finally:
        driver.quit()


def _programs() -> tuple[str, str]:
    """Chromium and its driver; installed from Debian when that is possible."""
    if shutil.which("chromedriver") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        with suppress(ConfigurationError):
            install("chromium", "chromium-driver")
    programs = shutil.which("chromium"), shutil.which("chromedriver")
    if programs[0] is None or programs[1] is None:
        pytest.skip("Chromium is not installed, and not root on Debian: apt-get install chromium chromium-driver")
    return programs[0], programs[1]
