"""What a number, or its session's webhook, is told about its connection; when a session is connected anew."""

from __future__ import annotations

import base64
import json
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.connector.phones import Phone, events
from tests.support.fakes import PHONE, MemoryConnections, MemoryIds, MemoryLeases, MemorySessions, make_session
from tests.support.receiver import Receiver
from tests.support.stack import Stack, eventually
from unoapi.connector import supervisor as supervising
from unoapi.connector.supervisor import SessionProcess, Supervisor
from unoapi.errors import StoreUnavailable
from unoapi.models.jobs import FanOut, PostSessionState, ReceiveEvent
from unoapi.providers.whatsmeow.events import receive

if TYPE_CHECKING:
    from unoapi.models.session import Session

URL = "https://crm.test/session"
QR = {"code": "https://wa.me/settings/linked_devices#x", "n": 1, "of": 6}
PNG = b"\x89PNG"


def told(kind: str, data: dict[str, Any], session: Session, **collaborators: Any) -> list[FanOut | PostSessionState]:
    event = {"version": 1, "type": kind, "event_id": "e-1", "session": PHONE, "data": data}
    job = ReceiveEvent(id="e-1", phone=PHONE, event={**event, "occurred_at": "2026-11-22T12:00:00.000+00:00"})
    return receive(job, ids=MemoryIds(), sessions=MemorySessions(session), **collaborators)


def message_in(job: FanOut | PostSessionState) -> dict[str, Any]:
    return dict(json.loads(job.body)["entry"][0]["changes"][0]["value"]["messages"][0])


def test_a_qr_code_is_told_as_a_picture() -> None:
    kept: list[tuple[bytes, str]] = []

    def keep(data: bytes, media_id: str) -> dict[str, Any]:
        kept.append((data, media_id))
        return {"id": media_id, "sha256": "abc"}

    (job,) = told("qr", QR, make_session(), keep=keep)
    told("qr", QR, make_session(), keep=keep)

    message = message_in(job)
    assert (message["type"], message["image"]["mime_type"], message["from"]) == ("image", "image/png", PHONE)
    assert "1 of 6" in message["image"]["caption"]
    assert kept[0][0].startswith(PNG)
    assert message["image"]["id"] == kept[0][1]
    assert kept[0] == kept[1], "a repeated task makes the same event"
    assert str(QR["code"]) not in job.body


def test_without_a_store_a_qr_code_is_told_as_a_text() -> None:
    def broken(_data: bytes, _media_id: str) -> dict[str, Any]:
        raise StoreUnavailable("the disk is full")

    (job,) = told("qr", QR, make_session(), keep=broken)

    assert f"/session/{PHONE}" in message_in(job)["text"]["body"]


@pytest.mark.parametrize(
    ("kind", "data", "status", "message"),
    [
        ("session", {"state": "connected"}, "online", {"conversation": "Connected to WhatsApp."}),
        ("pairing_code", {"code": "ABCD1234"}, "connecting", {"conversation": "Pairing code: ABCD-1234"}),
    ],
)
def test_a_sessions_webhook_gets_the_news_instead(
    kind: str, data: dict[str, Any], status: str, message: dict[str, str]
) -> None:
    known = MemoryConnections()

    (job,) = told(kind, data, make_session(sessionWebhook=URL), connections=known)

    body = json.loads(job.body)
    assert isinstance(job, PostSessionState)
    assert job.notify_on_failure is False
    assert (body["info"], body["status"], body["message"]) == ({"phone": PHONE}, status, message)
    assert body["key"]["remoteJid"] == f"{PHONE}@s.whatsapp.net"
    assert URL not in job.model_dump_json(), "it may hold a secret"
    if kind == "session":
        assert known.status(PHONE) == "online", "and the state is kept all the same"


def test_a_sessions_webhook_gets_the_qr_code_itself() -> None:
    (job,) = told("qr", QR, make_session(sessionWebhook=URL))

    picture = json.loads(job.body)["message"]["imageMessage"]["url"]
    assert base64.b64decode(picture.removeprefix("data:image/png;base64,")).startswith(PNG)


def test_unimportant_news_are_posted_only_when_they_are_wanted() -> None:
    assert told("session", {"state": "connecting"}, make_session(sessionWebhook=URL, sendConnectionStatus=False)) == []


def test_pictures_reach_the_webhooks_and_the_news_their_own(uno: Stack) -> None:
    with Receiver() as hook:
        uno.web()
        uno.worker()
        uno.register([{"id": "crm", "urlAbsolute": hook.url("/hook")}], provider="whatsmeow")
        phone = Phone(uno)
        uno.connector()
        assert uno.post(f"/session/{PHONE}/connect", {"method": "qr"}).ok

        def pictures() -> list[dict[str, Any]]:
            return [each for value in events(hook) for each in value.get("messages", []) if each["type"] == "image"]

        (picture, *_) = eventually(pictures, within_s=20, what="a picture")
        found = uno.get(f"/v15.0/{PHONE}/{picture['image']['id']}")
        assert found.ok, found.text
        answer = requests.get(found.json()["url"], timeout=10)
        assert answer.content.startswith(PNG)

        crm = {"id": "crm", "urlAbsolute": hook.url("/hook")}
        uno.register([crm], provider="whatsmeow", sessionWebhook=hook.url("/session"))
        time.sleep(1)  # every process knows it now, and what was on its way is there
        before = len(events(hook))
        phone.order(hint="scan")
        posted = eventually(lambda: [json.loads(each.body) for each in hook.requests("/session")], what="the news")
        eventually(lambda: phone.status() == "online", what="online")
        assert posted[0]["info"] == {"phone": PHONE}
        assert len(events(hook)) == before


# --- connecting anew ---


class Running:
    """A process that runs until it is told to stop."""

    def __init__(self) -> None:
        self.code: int | None = None

    def poll(self) -> int | None:
        return self.code

    def terminate(self) -> None:
        self.code = 0


def supervisor_of(session: Session, board: dict[str, str], tmp_path: Any) -> tuple[Supervisor, list[str]]:
    settings = SimpleNamespace(
        unoapi_server_name="server_1", unoapi_connector_store=tmp_path, max_connect_retry=3, max_connect_time=300
    )
    (tmp_path / PHONE).mkdir(exist_ok=True)
    (tmp_path / PHONE / "login").write_text(f"{PHONE}:1@s.whatsapp.net")
    sessions = SimpleNamespace(phones=lambda: [PHONE], find=lambda _: session)
    made = Supervisor(SimpleNamespace(settings=settings, sessions=sessions, store=None))  # type: ignore[arg-type]
    made.leases = MemoryLeases(board)  # type: ignore[assignment]
    started: list[str] = []

    def start(seat: SessionProcess) -> None:
        if made.leases.take(seat.phone):
            started.append(seat.phone)
            seat.process, seat.started, seat.restart = Running(), time.monotonic(), False  # type: ignore[assignment]

    made._start = start  # type: ignore[method-assign]
    return made, started


@pytest.mark.parametrize(("auto_restart_ms", "starts"), [(0, 1), (1, 2)])
def test_a_session_is_connected_anew_when_it_says_so(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, auto_restart_ms: int, starts: int
) -> None:
    monkeypatch.setattr(supervising, "SHORTEST_S", 0.2)
    session = make_session(provider="whatsmeow", autoRestartMs=auto_restart_ms)
    supervisor, started = supervisor_of(session, {}, tmp_path)

    supervisor.tick()
    supervisor.tick()
    assert len(started) == 1
    time.sleep(0.25)
    for _ in range(2):
        supervisor.tick()

    assert len(started) == starts


def test_a_connector_runs_the_sessions_of_its_own_name(tmp_path: Any) -> None:
    supervisor, started = supervisor_of(make_session(provider="whatsmeow", server="server_2"), {}, tmp_path)

    supervisor.tick()

    assert started == []


def test_a_lost_lease_ends_the_process(tmp_path: Any) -> None:
    board: dict[str, str] = {}
    supervisor, started = supervisor_of(make_session(provider="whatsmeow"), board, tmp_path)
    supervisor.tick()
    board[PHONE] = "another connector"

    supervisor.tick()
    supervisor.tick()

    assert started == [PHONE]
    assert board[PHONE] == "another connector"
