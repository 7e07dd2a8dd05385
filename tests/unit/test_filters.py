"""Which webhook does not get an event, and why; who is muted when the number itself writes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fakes import (
    CONTACT,
    GROUP,
    PHONE,
    MemoryMediaIndex,
    MemorySessions,
    make_event,
    make_fan_out,
    make_send,
    make_session,
    make_status,
    make_webhook,
)
from unoapi.models.cloud_api.callbacks import Change
from unoapi.models.cloud_api.event_content import EventContent, Traits
from unoapi.models.cloud_api.events import split
from unoapi.models.media import MediaFile
from unoapi.models.receipts import Receipt, StatusUpdate
from unoapi.models.session import Webhook
from unoapi.services.filters import mute_s, refusal
from unoapi.services.sending import new_message_envelopes
from unoapi.services.webhooks import fan_out

if TYPE_CHECKING:
    from unoapi.models.cloud_api.events import Event

DAY_S = 86_400
OWN = make_event(**{"from": PHONE})


class Blocked:
    """Blacklist."""

    def __init__(self, *webhook_ids: str) -> None:
        self.webhook_ids = set(webhook_ids)
        self.asked: list[str] = []

    def blocking(self, phone: str, webhook_ids: Any, contacts: Any) -> set[str]:
        assert phone == PHONE
        self.asked += contacts
        return self.webhook_ids & set(webhook_ids)


def event_of(field: str, **value: Any) -> Event:
    """An event of Meta's of another field than `messages`."""
    (event,) = split(PHONE, [Change(value, field=field)])
    return event


REFUSALS: list[tuple[dict[str, Any], Event, str]] = [
    ({}, make_event(), ""),
    ({"sendIncomingMessages": False}, make_event(), "sendIncomingMessages"),
    ({"sendOutgoingMessages": False}, OWN, "sendOutgoingMessages"),
    ({"sendUpdateMessages": False}, make_status(), "sendUpdateMessages"),
    ({"sendGroupMessages": False}, make_event(group_id=GROUP), "sendGroupMessages"),
    ({}, make_event(group_id="1@newsletter"), "sendNewsletterMessages"),
    ({"sendNewsletterMessages": True}, make_event(group_id="1@newsletter"), ""),
    ({"sendNewsletterMessages": True, "sendGroupMessages": False}, make_event(group_id="1@newsletter"),
     "sendGroupMessages"),
]  # fmt: skip
REFUSALS += [
    ({name: False}, event_of(field), name)
    for name, field in (
        ("sendHistory", "history"), ("sendHistory", "smb_app_state_sync"), ("sendCalls", "calls"),
        ("sendAccountEvents", "message_template_status_update"), ("sendAccountEvents", "account_update"),
        ("sendAccountEvents", "flows"), ("sendGroupMessages", "group_participants_update"),
    )
]  # fmt: skip
REFUSALS += [
    ({"sendUpdateMessages": False, "sendIncomingMessages": False, "sendOutgoingMessages": False}, event_of(field), "")
    for field in ("history", "calls", "account_update", "something_new")
]
REFUSALS += [({"sendHistory": False}, event_of("history", messages=[{"id": "1", "from": CONTACT}]), "sendHistory")]
ADDS = {"sendNewMessages", "sendTranscribeAudio"}
"""Adds events of its own and stops none."""


@pytest.mark.parametrize(("fields", "event", "why"), REFUSALS)
def test_the_filter_that_stops_an_event_is_named(fields: dict[str, Any], event: Event, why: str) -> None:
    assert refusal(make_webhook(**fields), event.content.traits(PHONE)) == why


def test_every_filter_of_a_webhook_has_a_row() -> None:
    names = {str(field.alias) for name, field in Webhook.model_fields.items() if name.startswith("send_")}

    assert names - ADDS == {why for _, _, why in REFUSALS} - {""}


@pytest.mark.parametrize("event", [make_event(), OWN, make_status()], ids=["received", "own", "status"])
def test_the_blacklist_stops_everything_of_the_contact(event: Event) -> None:
    session = make_session(make_webhook(id="a"), make_webhook(id="b"))
    job, blocked = make_fan_out(event, webhook_ids=["a", "b"]), Blocked("a")

    fanned = fan_out(job, sessions=MemorySessions(session), max_age_s=DAY_S, blacklist=blocked)

    assert fanned.filters == {"a": "blacklist"}
    assert [delivery.webhook_id for delivery in fanned.deliveries] == ["b"]


@pytest.mark.parametrize(
    ("event", "counterparty"),
    [
        (make_event(), CONTACT),
        (OWN, CONTACT),
        (make_status(), CONTACT),
        (make_event(group_id=GROUP), GROUP),
        (make_event(**{"from": PHONE, "to": "5521988880000"}), "5521988880000"),
    ],
    ids=["received", "own", "status", "group", "echo"],
)
def test_the_blacklist_is_asked_about_the_chat(event: Event, counterparty: str) -> None:
    blocked = Blocked()

    fan_out(make_fan_out(event), sessions=MemorySessions(make_session()), max_age_s=DAY_S, blacklist=blocked)

    assert blocked.asked == [counterparty]


@pytest.mark.parametrize(
    ("event", "ttl_s", "muted"),
    [(OWN, 60, {"default": 60}), (OWN, None, {}), (OWN, 0, {}), (OWN, -1, {"default": -1}), (make_event(), 60, {})],
    ids=["own", "unset", "zero", "for-ever", "received"],
)
def test_an_own_message_mutes_its_contact_and_goes_out_itself(
    event: Event, ttl_s: int | None, muted: dict[str, int]
) -> None:
    session = make_session(make_webhook(addToBlackListOnOutgoingMessageWithTtl=ttl_s))

    fanned = fan_out(make_fan_out(event), sessions=MemorySessions(session), max_age_s=DAY_S, blacklist=Blocked())

    assert (fanned.muted, len(fanned.deliveries)) == (muted, 1)


def test_nobody_is_muted_by_a_status() -> None:
    webhook = make_webhook(addToBlackListOnOutgoingMessageWithTtl=60)

    assert mute_s(webhook, Traits(status=True, group=False, newsletter=False, own=False)) == 0


@pytest.mark.parametrize("field", ["history", "smb_message_echoes"])
def test_nobody_is_muted_by_what_the_number_wrote_before_it_was_shared(field: str) -> None:
    session = make_session(make_webhook(addToBlackListOnOutgoingMessageWithTtl=60, sendTranscribeAudio=True))
    sound = {"type": "audio", "audio": {"id": "1"}, "from": PHONE, "to": CONTACT}
    event = replace(make_event(**sound), change_field=field)

    fanned = fan_out(make_fan_out(event), sessions=MemorySessions(session), max_age_s=DAY_S, blacklist=Blocked())

    assert (bool(fanned.muted), bool(fanned.transcriptions)) == (field != "history", field != "history")


@pytest.mark.parametrize(
    ("event", "wrote"), [(make_event(), "contact"), (OWN, "own"), (make_status(), "")], ids=["contact", "own", "status"]
)
def test_who_wrote_is_returned(event: Event, wrote: str) -> None:
    assert fan_out(make_fan_out(event), sessions=MemorySessions(make_session()), max_age_s=DAY_S).wrote == wrote


# --- sent messages ---


def test_a_sent_message_goes_to_the_webhooks_that_want_such_and_no_other() -> None:
    session = make_session(make_webhook(id="a"), make_webhook(id="b", sendNewMessages=True))

    (envelope,) = new_message_envelopes(make_send(), Receipt(recipient=CONTACT), sessions=MemorySessions(session))

    job = envelope.job
    assert getattr(job, "webhook_ids", None) == ("b",)
    value = EventContent.of(getattr(job, "body", ""), kind="message").value
    assert value["contacts"][0]["wa_id"] == CONTACT
    assert value["messages"][0]["from"] == PHONE
    assert value["messages"][0]["text"] == {"body": "hello"}


@pytest.mark.parametrize(
    ("to", "message", "told"),
    [
        (CONTACT, {"type": "text", "text": {"body": "yes"}, "context": {"message_id": "3EB0Q"}},
         {"type": "text", "text": {"body": "yes"}, "context": {"message_id": "3EB0Q", "id": "3EB0Q"}}),
        (CONTACT, {"type": "message_edit", "text": {"body": "new"}, "context": {"id": "wamid.0"}},
         {"type": "text", "text": {"body": "new"}, "context": {"message_id": "wamid.0", "id": "wamid.0"},
          "message_type": "message_edit"}),
        (CONTACT, {"type": "text", "text": {"body": "yes"}, "context": None},
         {"type": "text", "text": {"body": "yes"}}),
        (GROUP, {"type": "text", "text": {"body": "all"}},
         {"group_id": GROUP, "type": "text", "text": {"body": "all"}}),
        ("status@broadcast", {"type": "text", "text": {"body": "all"}}, {"type": "text", "text": {"body": "all"}}),
        (CONTACT, {"type": "text", "text": {"body": 5}}, {"type": "text", "text": {"body": "5"}}),
        (CONTACT, {"type": "location", "location": {"latitude": "-23.5", "longitude": "46", "name": 5, "url": None}},
         {"type": "location", "location": {"latitude": -23.5, "longitude": 46.0, "name": "5"}}),
        (CONTACT, {"type": "image", "image": {"link": "https://a.test/1.png", "caption": None}},
         {"type": "image", "image": {"link": "https://a.test/1.png"}}),
    ],
    ids=["an answer", "an edit", "no answer", "in a group", "a status post", "a number", "a place", "no caption"],
)  # fmt: skip
def test_a_sent_message_says_what_it_is_about_and_where_it_stands(
    to: str, message: dict[str, Any], told: dict[str, Any]
) -> None:
    sessions = MemorySessions(make_session(make_webhook(sendNewMessages=True)))
    job = make_send(body=json.dumps({"to": to, **message}))

    (envelope,) = new_message_envelopes(job, Receipt(recipient=to, at_ms=1000), sessions=sessions)

    value = EventContent.of(getattr(envelope.job, "body", ""), kind="message").value
    assert value["messages"] == [{"from": PHONE, "id": "wamid.1", "timestamp": "1", **told}]
    assert value["contacts"][0].get("group_id") == told.get("group_id")


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize(
    ("kind", "sent", "more"),
    [
        ("image", {"caption": "x"}, {"mime_type": "image/jpeg", "filename": "31.jpeg"}),
        ("audio", {"voice": True, "mime_type": "audio/ogg; codecs=opus", "seconds": 2}, {"mime_type": "audio/ogg"}),
        ("document", {"filename": "Nota.pdf"}, {"mime_type": "application/pdf"}),
    ],
)
def test_the_file_of_a_sent_message_is_told_as_those_of_received_ones(
    kind: str, sent: dict[str, Any], more: dict[str, str], *, away: bool
) -> None:
    sessions, index = MemorySessions(make_session(make_webhook(sendNewMessages=True))), MemoryMediaIndex()
    mime_type = sent.get("mime_type") or more["mime_type"]
    index.write(MediaFile(id="31", phone=PHONE, mime_type=mime_type, sha256="f0", key=f"{PHONE}/31.jpeg"))
    index.away = away
    job = make_send(body=json.dumps({"to": CONTACT, "type": kind, kind: {"id": f"{PHONE}/31", **sent}}))

    (envelope,) = new_message_envelopes(job, Receipt(recipient=CONTACT), sessions=sessions, index=index)

    told = EventContent.of(getattr(envelope.job, "body", ""), kind="message").value["messages"][0][kind]
    shown = {name: part for name, part in sent.items() if name not in ("mime_type", "seconds")}
    if away:
        assert told == {"id": f"{PHONE}/31", **shown}
    else:
        assert told == {"filename": "31.jpeg", "id": "31", "sha256": "f0", **shown, **more}


def test_a_message_that_was_refused_is_no_new_message() -> None:
    session = make_session(make_webhook(sendNewMessages=True))
    failed = Receipt(recipient=CONTACT, statuses=(StatusUpdate(status="failed", error={"code": 1}),))

    assert new_message_envelopes(make_send(), failed, sessions=MemorySessions(session)) == []


def test_a_repeated_send_makes_the_same_new_message() -> None:
    sessions = MemorySessions(make_session(make_webhook(sendNewMessages=True)))
    receipt = Receipt(recipient=CONTACT)

    first, second = (new_message_envelopes(make_send(), receipt, sessions=sessions)[0].job.id for _ in range(2))

    assert first == second
