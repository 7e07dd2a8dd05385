"""The page in a real browser, and the socket of existing front ends."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
import requests
import socketio  # type: ignore[import-untyped]

from tests.connector.phones import NOBODY, Phone
from tests.support.chromium import chromium
from tests.support.stack import OPERATOR, PHONE, ROOT, Stack, eventually, stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium import webdriver

    from unoapi.devenv.servers import PrivateServers

TOKEN = f"session-token-{PHONE}"
SIMULATED = "5511999990001"
PNG = b"\x89PNG\r\n\x1a\n"
SCREENSHOTS = ROOT / ".run" / "screenshots"


@pytest.fixture(scope="module")
def uno(servers: PrivateServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(servers, tmp_path_factory.mktemp("page"), QR_TIMEOUT_MS="6000") as running:
        running.web()
        running.worker()
        running.register([{"id": "none", "urlAbsolute": NOBODY}], provider="whatsmeow")
        running.connector()
        yield running


@pytest.fixture
def phone(uno: Stack) -> Iterator[Phone]:
    phone = Phone(uno)
    yield phone
    uno.post(f"/session/{PHONE}/disconnect", {})
    eventually(lambda: phone.status() != "online", within_s=30, what="disconnected")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


def shown(browser: webdriver.Chrome, element: str) -> str:
    """The text of an element that can be seen; empty when it cannot."""
    script = """
        const found = document.getElementById(arguments[0]);
        return found && found.checkVisibility() ? found.innerText || "shown" : "";"""
    return str(browser.execute_script(script, element))  # at once: the page may renew the element in between


def source(browser: webdriver.Chrome, element: str) -> str:
    """What a picture shows; empty when there is none."""
    return str(browser.execute_script("return document.getElementById(arguments[0])?.src || ''", element))


def test_the_page_shows_the_code_fresh_and_the_connection_without_reloading(
    uno: Stack, phone: Phone, browser: webdriver.Chrome
) -> None:
    browser.get(f"{uno.url}/session/{PHONE}")
    eventually(lambda: shown(browser, "login"), what="the question for a token")
    browser.find_element("id", "token").send_keys("wrong")
    browser.find_element("css selector", "#login button").click()
    eventually(lambda: "does not open" in shown(browser, "refused"), what="the refusal")
    browser.find_element("id", "token").clear()
    browser.find_element("id", "token").send_keys(TOKEN)
    browser.find_element("css selector", "#login button").click()

    eventually(lambda: shown(browser, "connect"), what="the button")
    browser.execute_script("window.stillTheSamePage = true")
    browser.find_element("id", "connect").click()
    eventually(lambda: shown(browser, "qr"), within_s=30, what="the code")
    first = source(browser, "qr")
    assert base64.b64decode(first.partition(",")[2]).startswith(PNG)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    assert browser.save_screenshot(str(SCREENSHOTS / "session-qr.png"))
    eventually(lambda: source(browser, "qr") not in (first, ""), within_s=20, what="a new code")
    phone.simulate(do="scan")
    eventually(lambda: shown(browser, "status") == "connected", within_s=20, what="connected")
    eventually(lambda: shown(browser, "settings"), what="the settings")
    assert not shown(browser, "qr")
    browser.find_element("name", "label").clear()
    browser.find_element("name", "label").send_keys("Front desk")
    browser.find_element("css selector", "#settings button").click()
    eventually(lambda: shown(browser, "saved") == "saved", what="saved")
    assert browser.save_screenshot(str(SCREENSHOTS / "session-connected.png"))

    assert uno.get(f"/session/{PHONE}/state").json()["settings"]["label"] == "Front desk"
    assert browser.execute_script("return window.stillTheSamePage") is True


def test_the_page_of_a_simulated_number_asks_nobody_to_scan(uno: Stack, browser: webdriver.Chrome) -> None:
    uno.register([], phone=SIMULATED)

    browser.get(f"{uno.url}/session/{SIMULATED}?access_token={OPERATOR}")

    eventually(lambda: shown(browser, "status") == "online", what="the connection")
    assert "no phone to connect" in shown(browser, "reason")
    assert [button for button in ("connect", "pair", "disconnect", "logout") if shown(browser, button)] == []


def test_a_pairing_code_can_be_typed_instead(uno: Stack, phone: Phone) -> None:
    assert uno.post(f"/session/{PHONE}/connect", {"method": "code"}).ok

    state = eventually(lambda: (current := phone.state()).get("pairing_code") and current, within_s=30, what="the code")

    assert state["pairing_code"] == "TWIN-1234"


def test_the_page_says_nothing_to_strangers(uno: Stack) -> None:
    page = requests.get(f"{uno.url}/session/{PHONE}", timeout=10)

    assert page.status_code == 401
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in page.headers["Content-Security-Policy"]
    assert requests.get(f"{uno.url}/session/{PHONE}/state", timeout=10).status_code == 401


@pytest.mark.parametrize("transport", ["websocket", "polling"])
@pytest.mark.parametrize("token", [OPERATOR, TOKEN], ids=["operator", "session"])
def test_front_ends_get_codes_and_statuses_on_the_socket(uno: Stack, phone: Phone, token: str, transport: str) -> None:
    got: list[dict[str, Any]] = []
    client = socketio.Client()
    client.on("broadcast", got.append)
    client.connect(f"{uno.url}?access_token={token}", socketio_path="ws", transports=[transport])
    try:
        uno.post(f"/session/{phone.phone}/connect", {"method": "qr"})
        eventually(lambda: any(event["type"] == "qrcode" for event in got), within_s=30, what="a code")
        phone.simulate(do="scan")
        eventually(lambda: {"phone": PHONE, "type": "status", "content": "online"} in got, within_s=30, what="online")
    finally:
        client.disconnect()

    code = next(event for event in got if event["type"] == "qrcode")
    assert code["content"].startswith("data:image/png;base64,")


@pytest.mark.parametrize("query", ["", "?access_token=wrong"])
def test_nobody_else_gets_onto_the_socket(uno: Stack, query: str) -> None:
    client = socketio.Client()

    with pytest.raises(socketio.exceptions.ConnectionError, match="401"):
        client.connect(f"{uno.url}{query}", socketio_path="ws")
