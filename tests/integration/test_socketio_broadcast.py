"""The socket of existing front ends: the same door as every other route, and what comes through it."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import trustme

from tests.support.api import DATABASE, Answer, Api
from tests.support.api import api as serve_api
from tests.support.stack import OPERATOR, PHONE, eventually
from tests.support.tls import TlsDoor
from unoapi.models.connector.events import PairingCode
from unoapi.models.jobs import now_ms
from unoapi.stores.connections import CHANNEL
from unoapi.web import socketio_broadcast

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from unoapi.devenv.servers import PrivateServers

OTHER = "5521977776666"
TOKEN = f"session-token-{PHONE}"
HEADER = "X-Uno-Token"
REFUSED = 3
POLL = "/ws/?EIO=4&transport=polling"
WEBHOOK = {"id": "main", "urlAbsolute": "http://93.184.216.34/hook"}


@pytest.fixture
def api(servers: PrivateServers, tmp_path: Path) -> Iterator[Api]:
    settings = {"UNOAPI_HEADER_NAME": HEADER, "UNOAPI_RATE_LIMIT_REFUSED": str(REFUSED), "UNOAPI_WEB_THREADS": "1"}
    with serve_api(servers, tmp_path, **settings) as running:
        for phone in (PHONE, OTHER):
            running.register([WEBHOOK], phone=phone)
        yield running


class FrontEnd:
    """The first Socket.IO client of an application; it polls. Ready when the application listens to Redis."""

    def __init__(self, api: Api, token: str) -> None:
        self._api = api
        self._token = token
        listeners = self._listeners()
        opened = self._get(POLL)
        assert opened.status_code == 200, opened.text
        self.path = f"{POLL}&sid={json.loads(opened.text[1:])['sid']}"
        assert self._api.post(self.path, token=token, data="40").status_code == 200
        assert self._get(self.path).text.startswith("40")
        eventually(lambda: self._listeners() > listeners, what="a listener")

    def events(self) -> list[Any]:
        """The next events. Waits for one."""
        packets = self._get(self.path).text.split("\x1e")
        return [json.loads(packet[2:]) for packet in packets if packet.startswith("42")]

    def _listeners(self) -> int:
        """Also those of other applications, which ended, perhaps."""
        return int(dict(self._api.redis.pubsub_numsub(CHANNEL))[CHANNEL])

    def _get(self, path: str) -> Answer:
        return self._api.get(path, token=self._token)


def error_of(answer: Answer) -> dict[str, Any]:
    """The fields of a Cloud API error object."""
    assert answer.headers["Content-Type"] == "application/json"
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "code", "error_data", "fbtrace_id"}
    return error


def record_pairing_code(api: Api, phone: str, code: str) -> None:
    api.uno.connections.record(phone, PairingCode(code=code), at_ms=now_ms(), seq=1)


@pytest.mark.parametrize(
    ("token", "headers", "query"),
    [
        (None, {HEADER: TOKEN}, ""),
        (None, {HEADER: OPERATOR}, ""),
        (None, {}, f"&access_token={TOKEN}"),
        (TOKEN, {}, ""),
    ],
    ids=["header", "header of the operator", "query", "Authorization"],
)
def test_a_token_may_come_in_every_usual_place(
    api: Api, token: str | None, headers: dict[str, str], query: str
) -> None:
    answer = api.get(f"{POLL}{query}", token=token, headers=headers)

    assert answer.status_code == 200, answer.text
    assert answer.text.startswith('0{"sid"')


@pytest.mark.parametrize(("token", "code"), [(None, 0), ("wrong", 190), (f"{TOKEN}x", 190)])
def test_a_refusal_is_a_cloud_api_error(api: Api, token: str | None, code: int) -> None:
    answer = api.get(POLL, token=token)

    assert answer.status_code == 401
    assert error_of(answer)["code"] == code
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_websocket_comes_through_the_same_door(api: Api) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}

    answer = api.get("/ws/?EIO=4&transport=websocket", token="wrong", headers=upgrade)

    assert answer.status_code == 401
    assert error_of(answer)["code"] == 190


def test_wrong_tokens_are_counted_and_the_right_one_goes_on(api: Api) -> None:
    statuses = [api.get(POLL, token=f"wrong-{number}").status_code for number in range(REFUSED)]
    limited = api.get(POLL, token="wrong")

    assert statuses == [401] * REFUSED
    assert limited.status_code == 429
    assert error_of(limited)["code"] == 80007
    assert api.get(POLL, token=TOKEN).status_code == 200


def test_more_clients_than_slots_are_asked_to_come_later(api: Api) -> None:
    front_end = FrontEnd(api, TOKEN)
    waiting = threading.Thread(target=lambda: eventually(front_end.events))
    waiting.start()

    busy = eventually(lambda: (answer := api.get(POLL)).status_code == 503 and answer, what="the only slot is taken")
    record_pairing_code(api, PHONE, "ABCD1234")
    waiting.join(10)

    assert error_of(busy)["code"] == 131016
    assert busy.headers["Retry-After"]
    assert api.get(POLL).status_code == 200


def test_a_session_sees_itself_alone(api: Api) -> None:
    front_end = FrontEnd(api, TOKEN)

    record_pairing_code(api, OTHER, "ZZZZ9999")
    record_pairing_code(api, PHONE, "ABCD1234")

    shown = {"phone": PHONE, "type": "status", "content": "pairing code: ABCD-1234"}
    assert front_end.events() == [["broadcast", shown]]


@pytest.mark.parametrize("change", ["another token", "removed"])
def test_a_connection_shows_nothing_more_when_its_token_opens_the_number_no_longer(api: Api, change: str) -> None:
    """A WebSocket is asked for its token once: whoever held an old one saw the next owner's QR codes."""
    front_end = FrontEnd(api, TOKEN)
    if change == "removed":
        assert api.post(f"/v15.0/{PHONE}/deregister").status_code == 204
    api.register([WEBHOOK], authToken="another-token-of-it")

    record_pairing_code(api, PHONE, "ABCD1234")

    packets = api.get(front_end.path, token=OPERATOR).text
    assert packets, "it was ended"
    assert "ABCD" not in packets


def test_a_token_of_an_app_goes_on_seeing_its_number(api: Api) -> None:
    front_end = FrontEnd(api, f"an-app|{TOKEN}")

    record_pairing_code(api, PHONE, "ABCD1234")

    assert front_end.events()[0][1]["content"] == "pairing code: ABCD-1234"


def test_a_certificate_that_the_platform_signed_itself_is_taken_when_the_setting_says_so(
    servers: PrivateServers, tmp_path: Path
) -> None:
    plain = urlsplit(servers.redis_url)
    with TlsDoor(trustme.CA(), "localhost", plain.port or 0) as door:
        settings = {
            "REDIS_URL": f"rediss://:{plain.password}@localhost:{door.port}/{DATABASE}",
            "UNOAPI_REDIS_TLS_VERIFY": "false",
        }
        with serve_api(servers, tmp_path, **settings) as api:
            front_end = FrontEnd(api, OPERATOR)

            record_pairing_code(api, PHONE, "ABCD1234")

            assert front_end.events()[0][1]["phone"] == PHONE


@pytest.mark.parametrize(
    "odd", ["no JSON", "[]", '{"phone": "1", "type": "qr", "content": "as the Node version has it"}']
)
def test_what_nobody_understands_does_not_end_the_broadcast(
    api: Api, monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    """The channel is anybody's who has Redis, the Node version's too; its listener is started once."""
    monkeypatch.setattr(socketio_broadcast, "RECONNECT_PAUSE_S", 0.05)
    front_end = FrontEnd(api, TOKEN)

    api.redis.publish(CHANNEL, odd)
    threading.Timer(1.0, record_pairing_code, (api, PHONE, "ABCD1234")).start()

    (event,) = front_end.events()
    assert event[1]["content"] == "pairing code: ABCD-1234"
