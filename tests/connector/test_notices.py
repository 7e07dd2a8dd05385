"""Notices about a session's connection, to its number or to its own webhook."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.connector.phones import Phone, events
from tests.support.fakes import PHONE, MemoryConnections, MemoryIds, MemorySessions, make_session
from tests.support.receiver import Receiver
from tests.support.stack import Stack, eventually
from unoapi.errors import StoreUnavailable
from unoapi.models.jobs import FanOut, PostSessionState, ReceiveEvent
from unoapi.providers.whatsmeow.events import receive

if TYPE_CHECKING:
    from unoapi.models.session import Session

URL = "https://crm.test/session"
QR = {"code": "https://wa.me/settings/linked_devices#x", "n": 1, "of": 6}
PNG = b"\x89PNG"


def jobs_of(kind: str, data: dict[str, Any], session: Session, **collaborators: Any) -> list[Any]:
    event = {"version": 1, "type": kind, "event_id": "e-1", "session": PHONE, "data": data}
    job = ReceiveEvent(id="e-1", phone=PHONE, event={**event, "occurred_at": "2026-11-22T12:00:00.000+00:00"})
    jobs, _ = receive(job, ids=MemoryIds(), sessions=MemorySessions(session), **collaborators)
    return list(jobs)


def message_in(job: FanOut | PostSessionState) -> dict[str, Any]:
    return dict(json.loads(job.body)["entry"][0]["changes"][0]["value"]["messages"][0])


def test_a_qr_code_is_posted_as_a_picture() -> None:
    saved: list[tuple[bytes, str]] = []

    def save(data: bytes, media_id: str) -> dict[str, Any]:
        saved.append((data, media_id))
        return {"id": media_id, "sha256": "abc"}

    (job,) = jobs_of("qr", QR, make_session(), save_picture=save)
    jobs_of("qr", QR, make_session(), save_picture=save)

    message = message_in(job)
    assert (message["type"], message["image"]["mime_type"], message["from"]) == ("image", "image/png", PHONE)
    assert "1 of 6" in message["image"]["caption"]
    assert saved[0][0].startswith(PNG)
    assert message["image"]["id"] == saved[0][1]
    assert saved[0] == saved[1], "a repeated task makes the same event"
    assert str(QR["code"]) not in job.body


def test_without_a_store_a_qr_code_is_posted_as_a_text() -> None:
    def broken(_data: bytes, _media_id: str) -> dict[str, Any]:
        raise StoreUnavailable("the disk is full")

    (job,) = jobs_of("qr", QR, make_session(), save_picture=broken)

    assert f"/session/{PHONE}" in message_in(job)["text"]["body"]


@pytest.mark.parametrize(
    ("kind", "data", "status", "message"),
    [
        ("session", {"state": "connected"}, "online", {"conversation": "Connected to WhatsApp."}),
        ("pairing_code", {"code": "ABCD1234"}, "connecting", {"conversation": "Pairing code: ABCD-1234"}),
    ],
)
def test_a_sessions_webhook_gets_the_state_change_instead(
    kind: str, data: dict[str, Any], status: str, message: dict[str, str]
) -> None:
    connections = MemoryConnections()

    (job,) = jobs_of(kind, data, make_session(sessionWebhook=URL), connections=connections)

    body = json.loads(job.body)
    assert isinstance(job, PostSessionState)
    assert job.notify_on_failure is False
    assert (body["info"], body["status"], body["message"]) == ({"phone": PHONE}, status, message)
    assert body["key"]["remoteJid"] == f"{PHONE}@s.whatsapp.net"
    assert URL not in job.model_dump_json(), "it may hold a secret"
    if kind == "session":
        assert connections.status(PHONE) == "online", "and the state is saved all the same"


def test_a_sessions_webhook_gets_the_qr_code_itself() -> None:
    (job,) = jobs_of("qr", QR, make_session(sessionWebhook=URL))

    picture = json.loads(job.body)["message"]["imageMessage"]["url"]
    assert base64.b64decode(picture.removeprefix("data:image/png;base64,")).startswith(PNG)


def test_unimportant_state_changes_are_posted_only_when_they_are_wanted() -> None:
    assert (
        jobs_of("session", {"state": "connecting"}, make_session(sessionWebhook=URL, sendConnectionStatus=False)) == []
    )


def test_pictures_reach_the_webhooks_and_state_changes_the_sessions_webhook(uno: Stack) -> None:
    with Receiver() as hook:
        uno.web()
        uno.worker()
        uno.register([{"id": "crm", "urlAbsolute": hook.url("/hook")}], provider="whatsmeow")
        phone = Phone(uno)
        uno.connector()
        assert uno.post(f"/session/{PHONE}/connect", {"method": "qr"}).ok

        def pictures() -> list[dict[str, Any]]:
            return [item for value in events(hook) for item in value.get("messages", []) if item["type"] == "image"]

        (picture, *_) = eventually(pictures, within_s=20, what="a picture")
        described = uno.get(f"/v15.0/{PHONE}/{picture['image']['id']}")
        assert described.ok, described.text
        answer = requests.get(described.json()["url"], timeout=10)
        assert answer.content.startswith(PNG)

        crm = {"id": "crm", "urlAbsolute": hook.url("/hook")}
        uno.register([crm], provider="whatsmeow", sessionWebhook=hook.url("/session"))
        time.sleep(1)  # every process has read it by now, and what was on its way has arrived
        before = len(events(hook))
        phone.simulate(do="scan")
        posted = eventually(lambda: [json.loads(post.body) for post in hook.requests("/session")], what="the state")
        eventually(lambda: phone.status() == "online", what="online")
        assert posted[0]["info"] == {"phone": PHONE}
        assert len(events(hook)) == before
