"""The pages in a real browser. The long form, with axe-core and every page in all forms: make console-test."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By

from tests.console.scene import CROWDED, MARIA, MISSING, OUTLET, SANDBOX, TO_SCAN, nothing, scene, served
from tests.support.chromium import chromium
from tests.support.stack import OPERATOR, ROOT, eventually
from unoapi.web.console.words import COOKIE, LANGUAGES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium import webdriver

SCREENSHOTS = ROOT / ".run" / "screenshots" / "console"
AXE = os.environ.get("CONSOLE_TEST_AXE", "")
WIDTHS = (360, 1280)
PAGES = {
    "login": "/console/login",
    "overview": "/console/overview",
    "sessions": "/console/sessions",
    "new": "/console/sessions/new",
    "session": f"/session/{SANDBOX}",
    "pairing": f"/session/{TO_SCAN}",
    "queues": "/console/queues",
    "try": f"/console/try/{SANDBOX}?id=wamid.scene",
    "audit": "/console/audit",
    "messages": "/console/messages",
    "message": f"/console/messages/{SANDBOX}/{MISSING}",
    "webhooks": "/console/webhooks",
    "webhook": f"/console/webhooks/{SANDBOX}/crm",
    "dead": "/console/dead-letters",
    "purge": "/console/dead-letters/purge",
    "error": "/console/nowhere",
    "crowded": f"/session/{CROWDED}",
    "banned": f"/session/{OUTLET.format(9)}",
    "offline": "/console/sessions?state=offline",
    "failed": "/console/messages?state=dead",
    "endpoints": f"/console/webhooks?phone={CROWDED}",
    "down": f"/console/webhooks/{CROWDED}/crm-03",
    "letter": "/console/dead-letters/letter-bug",
    "unknown": "/console/dead-letters/letter-outcome_unknown",
}
"""Every page by a name for its pictures."""
EMPTY = ("overview", "sessions", "queues", "audit", "messages", "webhooks", "dead", "purge")
"""Pages that are also opened where nobody has done anything."""
SERIOUS = ("serious", "critical")
SHORT = [("overview", "pt-BR", 360), ("pairing", "en", 1280)]
LONG = [(name, language, width) for name in PAGES for language in LANGUAGES for width in WIDTHS]
SHORT_EMPTY = [("messages", "pt-BR", 360)]
LONG_EMPTY = [(name, language, width) for name in EMPTY for language in LANGUAGES for width in WIDTHS]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with scene() as api, served(api) as address:
        yield address


@pytest.fixture(scope="module")
def empty_url() -> Iterator[str]:
    with nothing() as api, served(api) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile"), logs=True) as driver:
        yield driver


def log_in(browser: webdriver.Chrome, url: str) -> None:
    browser.get(f"{url}/console/login")
    browser.find_element(By.ID, "token").send_keys(OPERATOR)
    browser.find_element(By.CSS_SELECTOR, "#login [type=submit]").click()
    eventually(lambda: "/console/overview" in browser.current_url, what="the first page")


def logged(browser: webdriver.Chrome, kind: str) -> list[Any]:
    """What a log of the browser has gained."""
    entries: list[Any] = browser.get_log(kind)  # type: ignore[no-untyped-call]
    return entries


def look(
    browser: webdriver.Chrome,
    url: str,
    name: str,
    language: str,
    width: int,
    *,
    scheme: str = "light",
    picture_of: str = "",
) -> None:
    """Open a page in one of its forms, and take a picture of it."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    logged(browser, "browser"), logged(browser, "performance")
    browser.delete_cookie(COOKIE)
    browser.add_cookie({"name": COOKIE, "value": language})
    if name == "login":
        browser.delete_all_cookies()
        browser.add_cookie({"name": COOKIE, "value": language})
    browser.get(f"{url}{PAGES[name]}")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    picture = SCREENSHOTS / f"{picture_of or name}-{language}-{width}{'' if scheme == 'light' else '-' + scheme}.png"
    height = browser.execute_script("return document.documentElement.scrollHeight")
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": min(height, 3000), "deviceScaleFactor": 1, "mobile": width < 600},
    )
    browser.save_screenshot(str(picture))


def requested(browser: webdriver.Chrome) -> set[str]:
    """The addresses that the page asked for."""
    messages = [json.loads(entry["message"])["message"] for entry in logged(browser, "performance")]
    sent = [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]
    return {address for address in sent if not address.startswith("data:")}


def violations(browser: webdriver.Chrome) -> list[Any]:
    """What axe-core finds that is serious."""
    browser.execute_script(Path(AXE).read_text("utf-8"))
    results = browser.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    return [
        (found["id"], [(node["html"][:200], node["failureSummary"][:300]) for node in found["nodes"]][:3])
        for found in results["violations"]
        if found["impact"] in SERIOUS
    ]


@pytest.mark.parametrize(("name", "language", "width"), LONG if AXE else SHORT)
def test_a_page_loads_nothing_from_elsewhere_says_no_error_and_fits_the_screen(
    url: str, browser: webdriver.Chrome, name: str, language: str, width: int
) -> None:
    if browser.get_cookie("unoapi_console") is None:
        log_in(browser, url)
    look(browser, url, name, language, width)

    check(browser, url, name, language, width)
    if AXE:
        assert violations(browser) == []
        look(browser, url, name, language, width, scheme="dark")
        assert violations(browser) == []
    if name == "login":
        log_in(browser, url)


@pytest.mark.parametrize(("name", "language", "width"), LONG_EMPTY if AXE else SHORT_EMPTY)
def test_a_page_without_anything_to_show_holds_as_much(
    empty_url: str, browser: webdriver.Chrome, name: str, language: str, width: int
) -> None:
    log_in(browser, empty_url)  # the cookies of both installations have one name
    look(browser, empty_url, name, language, width, picture_of=f"empty-{name}")

    check(browser, empty_url, name, language, width)
    if AXE:
        assert violations(browser) == []
    browser.delete_all_cookies()


def check(browser: webdriver.Chrome, url: str, name: str, language: str, width: int) -> None:
    """What holds for every page."""
    errors = [entry for entry in logged(browser, "browser") if entry["level"] == "SEVERE" and name != "error"]
    assert errors == []
    assert {address for address in requested(browser) if not address.startswith(url)} == set()
    assert browser.execute_script("return document.documentElement.lang") == language
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script("return document.title").endswith("Uno API")


def test_from_a_missing_message_to_its_cause_and_its_replay_in_five_clicks(url: str, browser: webdriver.Chrome) -> None:
    """Three in the morning: a customer says that a message is missing, and has nothing but the contact's phone."""
    if browser.get_cookie("unoapi_console") is None:
        log_in(browser, url)
    look(browser, url, "overview", "en", 1280)

    def click(selector: str) -> None:
        eventually(lambda: clicked(browser, selector), what=selector)

    def is_at(part: str) -> None:
        eventually(lambda: part in browser.current_url, what=part)

    click('nav.pages a[href="/console/messages"]')
    is_at("/console/messages")
    browser.find_element(By.NAME, "contact").send_keys(MARIA[-8:])
    click("form.filters [type=submit]")
    is_at(f"contact={MARIA[-8:]}")
    click("tbody th a")
    is_at(MISSING)
    cause = browser.find_element(By.ID, "timeline").text
    click("#timeline details.confirm summary")
    click("#timeline details.confirm [type=submit]")

    is_at("done=")
    assert MISSING in cause
    assert "HTTP 500" in cause
    assert "Test the webhook, mend the receiver, then replay" in cause
    assert "1 put back." in browser.find_element(By.CSS_SELECTOR, ".notice").text


def test_what_is_written_and_done_shows_without_a_new_page(url: str, browser: webdriver.Chrome) -> None:
    if browser.get_cookie("unoapi_console") is None:
        log_in(browser, url)
    browser.get(f"{url}/console/try/{SANDBOX}")
    browser.execute_script("window.stillTheSamePage = true")
    body = browser.find_element(By.ID, "body")
    body.clear()
    body.send_keys('{"type": "text", "to": "5549988887777", "text": {"body": "typed here"}}')
    eventually(lambda: "typed here" in text_of(browser, "program-curl"), what="the program of what was typed")
    body.send_keys("}")
    eventually(lambda: "not valid JSON" in text_of(browser, "programs"), what="what is wrong with it")
    assert browser.execute_script("return window.stillTheSamePage") is True

    browser.get(f"{url}/session/{TO_SCAN}")
    browser.execute_script("window.stillTheSamePage = true")
    label = browser.find_element(By.CSS_SELECTOR, "#settings [name=label]")
    label.clear()
    label.send_keys("Recepção")
    browser.find_element(By.CSS_SELECTOR, "#settings button").click()
    eventually(lambda: text_of(browser, "saved"), what="saved")
    pair = browser.find_element(By.ID, "pair")
    browser.execute_script("arguments[0].scrollIntoView()", pair)  # the page's head may stand over it
    pair.click()
    eventually(lambda: browser.execute_script("return document.querySelectorAll('#connection').length") == 1)

    assert browser.execute_script("return window.stillTheSamePage") is True
    assert [entry for entry in logged(browser, "browser") if entry["level"] == "SEVERE"] == []


def clicked(browser: webdriver.Chrome, selector: str) -> bool:
    """Click an element; not one that the page replaces at this moment."""
    try:
        browser.find_element(By.CSS_SELECTOR, selector).click()
    except StaleElementReferenceException:
        return False
    return True


def text_of(browser: webdriver.Chrome, element: str) -> str:
    """The text of an element at this moment; empty when it is not there."""
    return str(browser.execute_script("return document.getElementById(arguments[0])?.innerText || ''", element))
