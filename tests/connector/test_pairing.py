"""A pairing code is asked for, and the connector is told so (field report 96)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.api import memory_api
from tests.support.fakes import PHONE
from unoapi.models.connector.events import SessionState
from unoapi.models.jobs import now_ms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.api import MemoryApi

COMMANDS = "unoapi.outgoing.whatsmeow"


@pytest.fixture
def api() -> Iterator[MemoryApi]:
    with memory_api() as running:
        running.register([], provider="whatsmeow")
        yield running


def test_field_report_96_request_code_connects_by_a_code(api: MemoryApi) -> None:
    assert api.post(f"/{PHONE}/request_code").json() == {"success": True}

    command = json.loads(api.queues.take(COMMANDS).body)
    assert (command["type"], command["session"]) == ("session.connect", PHONE)
    assert command["data"] == {"method": "code", "phone": PHONE}


def test_a_simulated_number_needs_no_code_and_stays_as_it_is() -> None:
    with memory_api() as api:
        api.register([])
        before = api.uno.sessions.config(PHONE)

        answer = api.post(f"/{PHONE}/request_code")

        assert answer.json()["success"] is True
        assert "without a code" in answer.json()["warnings"][0]
        assert api.uno.sessions.config(PHONE) == before
        assert api.queues.take(COMMANDS) is None


@pytest.mark.parametrize(("provider", "place"), [("sandbox", "in the sandbox"), ("forwarder", "at Meta")])
@pytest.mark.parametrize("wish", ["connect", "disconnect", "reload", "logout"])
def test_field_report_96_a_number_that_no_connector_has_is_told_that_nothing_was_done(
    wish: str, provider: str, place: str
) -> None:
    with memory_api() as api:
        api.register([], phone=PHONE, provider=provider)

        answer = api.post(f"/session/{PHONE}/{wish}", {})

        assert (answer.status_code, answer.json()["success"]) == (200, True)
        assert place in answer.json()["warnings"][0]
        assert api.queues.take(COMMANDS) is None


@pytest.mark.parametrize("path", [f"/session/{PHONE}/connect", f"/{PHONE}/request_code"])
def test_field_report_96_who_asks_for_the_code_of_a_connected_number_is_told_that_none_comes(
    api: MemoryApi, path: str
) -> None:
    api.uno.connections.record(PHONE, SessionState(state="connected"), at_ms=now_ms(), seq=1)

    (warning,) = api.post(path, {}).json()["warnings"]

    assert "connected already" in warning
    assert api.queues.take(COMMANDS) is not None  # it may have lost its connection meanwhile


@pytest.mark.parametrize("wish", ["connect", "disconnect", "reload", "logout"])
def test_field_report_96_a_number_that_is_not_registered_is_told_so(api: MemoryApi, wish: str) -> None:
    answer = api.post(f"/session/5511970000009/{wish}", {})

    assert answer.status_code == 404
    assert "5511970000009/register first" in answer.json()["error"]["error_data"]["details"]
    assert api.queues.take(COMMANDS) is None


@pytest.mark.parametrize(
    "written",
    ["+55 11 98888-0000", "5511988880000", 5511988880000, "(11) 98888-0000", "11988880000", "0xx11 8888-0000"],
)
def test_field_report_96_the_number_is_read_as_people_write_it(api: MemoryApi, written: object) -> None:
    assert api.post(f"/session/{PHONE}/connect", {"method": "code", "phone": written}).ok

    assert json.loads(api.queues.take(COMMANDS).body)["data"]["phone"] == "5511988880000"


@pytest.mark.parametrize("written", ["1@g.us", "call me", [], "1" * 40])
def test_field_report_96_what_is_no_number_is_refused(api: MemoryApi, written: object) -> None:
    assert api.post(f"/session/{PHONE}/connect", {"method": "code", "phone": written}).status_code == 400
    assert api.queues.take(COMMANDS) is None


@pytest.mark.parametrize(
    ("wish", "method"),
    [
        ({"method": "pairing_code", "phone": None}, "code"),
        ({"method": "qrcode", "phone": ""}, "qr"),
        ({"method": "", "phone": None}, "qr"),
        ({"method": None}, "qr"),
    ],
)
def test_the_methods_have_the_names_of_the_setting_too_and_what_a_form_left_empty_is_not_set(
    api: MemoryApi, wish: dict[str, object], method: str
) -> None:
    assert api.post(f"/session/{PHONE}/connect", wish).ok

    assert json.loads(api.queues.take(COMMANDS).body)["data"] == {"method": method, "phone": PHONE}
