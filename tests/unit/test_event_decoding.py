"""An event's body is decoded once in each process that looks into it, and checked once where it comes in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import CONTACT, PHONE, MemoryConnections, MemoryIds, MemorySessions, make_session, make_webhook
from unoapi.models import strict_json
from unoapi.models.cloud_api.callbacks import EventPayload
from unoapi.models.cloud_api.events import split
from unoapi.models.connector.events import Call, ConnectorEvent, ReceivedMessage
from unoapi.models.jobs import JOBS, EventJob, FanOut, ReceiveEvent, SaveMedia
from unoapi.providers.cloud_api.translation import with_our_ids
from unoapi.providers.whatsmeow.events import receive
from unoapi.services.bulk import reactions
from unoapi.services.failure_callbacks import status_report
from unoapi.services.received_media import media_in, saving
from unoapi.services.webhooks import fan_out, to_fan_out

if TYPE_CHECKING:
    from collections.abc import Callable

DAY_S = 86_400
FAILED = {"id": "wamid.1", "status": "failed", "recipient_id": CONTACT, "timestamp": "1767225600"}
PICTURE = {"id": "wamid.2", "from": CONTACT, "timestamp": "1767225600", "type": "image", "image": {"id": "123"}}
CHAT = {"jid": f"{CONTACT}@s.whatsapp.net", "kind": "user", "phone": CONTACT}


def counted(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, calls: list[Any] | None = None) -> list[Any]:
    """The arguments of all calls from now on, also added to those of another function."""
    calls = [] if calls is None else calls
    real: Callable[..., Any] = getattr(owner, name)

    def counting(*args: Any, **more: Any) -> Any:
        calls.append(args)
        return real(*args, **more)

    monkeypatch.setattr(owner, name, counting)
    return calls


def counted_decodings(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The arguments of all calls of a decoder of JSON from now on."""
    calls: list[Any] = []
    counted(monkeypatch, json, "loads", calls)
    counted(monkeypatch, strict_json, "from_json", calls)
    return calls


def callback(**value: Any) -> dict[str, Any]:
    changes = [{"field": "messages", "value": value}]
    return {"object": "whatsapp_business_account", "entry": [{"id": "waba", "changes": changes}]}


def test_at_the_door_an_event_is_serialised_and_never_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = MemorySessions(make_session(make_webhook(ordered=True), provider="forwarder"))
    decodings = counted_decodings(monkeypatch)

    changes = EventPayload.model_validate(callback(messages=[PICTURE], statuses=[FAILED])).changes
    events = split(PHONE, [with_our_ids(change, phone=PHONE, ids=MemoryIds()) for change in changes])
    jobs = [to_fan_out(event, phone=PHONE, sessions=sessions) for event in events]

    assert [bool(media_in(event)) for event in events] == [True, False]
    assert [job.contact for job in jobs] == [CONTACT, CONTACT]
    assert decodings == []


def test_a_fan_out_need_not_decode_its_event(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = MemorySessions(make_session(make_webhook(ordered=True)))
    (event,) = split(PHONE, EventPayload.model_validate(callback(messages=[PICTURE])).changes)
    queued = to_fan_out(event, phone=PHONE, sessions=sessions).model_dump_json()
    job = FanOut.model_validate_json(queued)
    decodings = counted_decodings(monkeypatch)

    fanned = fan_out(job, sessions=sessions, max_age_s=DAY_S)

    assert (len(fanned.deliveries), len(decodings), job.facts.keys) == (1, 0, (CONTACT,))
    assert fanned.message is not None
    assert fanned.message.type == "image"
    assert reactions(job, words=frozenset({"stop"})) == []
    assert decodings == []


def test_a_fan_out_without_facts_decodes_its_event_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = MemorySessions(make_session(make_webhook(ordered=True)))
    (event,) = split(PHONE, EventPayload.model_validate(callback(statuses=[FAILED])).changes)
    queued = to_fan_out(event, phone=PHONE, sessions=sessions).model_dump_json(exclude={"written_facts"})
    job = FanOut.model_validate_json(queued)
    decodings = counted_decodings(monkeypatch)

    fanned = fan_out(job, sessions=sessions, max_age_s=DAY_S)
    assert (len(fanned.deliveries), len(decodings), job.facts.keys) == (1, 1, (CONTACT,))

    # The callback's own document quotes the whole event.
    assert status_report(job) is not None
    assert len(decodings) == 2


def test_a_decoded_event_is_the_same_job_and_writes_nothing_more() -> None:
    (event,) = split(PHONE, EventPayload.model_validate(callback(statuses=[FAILED])).changes)
    fresh = to_fan_out(event, phone=PHONE, sessions=MemorySessions())
    looked_at = fresh.model_copy()

    assert looked_at.content.item == FAILED

    assert looked_at == fresh
    assert looked_at.model_dump_json() == fresh.model_dump_json()


def test_an_event_to_fan_out_and_one_whose_file_is_saved_first_are_two_things() -> None:
    (event,) = split(PHONE, EventPayload.model_validate(callback(messages=[PICTURE])).changes)
    job = to_fan_out(event, phone=PHONE, sessions=MemorySessions())

    first = saving(job)

    assert isinstance(first, EventJob)
    assert isinstance(first, SaveMedia)
    assert not isinstance(first, FanOut)
    assert first.model_dump() == job.model_dump(exclude={"written_facts"})
    assert (JOBS["media.keep"], JOBS["outgoing.fan_out"]) == (SaveMedia, FanOut)


@pytest.mark.parametrize(
    ("kind", "model", "data"),
    [
        ("message", ReceivedMessage, {"id": "A", "chat": CHAT, "sender": CHAT, "timestamp_ms": 1,
                                      "content": {"kind": "text", "body": "hi"}}),
        ("call", Call, {"id": "C1", "from": CHAT, "phase": "offer", "timestamp": 1}),
    ],
)  # fmt: skip
def test_an_event_of_the_connector_is_checked_once_for_all_that_follows(
    monkeypatch: pytest.MonkeyPatch, kind: str, model: type[Any], data: dict[str, Any]
) -> None:
    session = make_session(readOnReceipt=True, rejectCalls="busy", messageCallsWebhook="call!")
    event = {"version": 1, "type": kind, "event_id": "e-1", "session": PHONE, "data": data}
    connections = MemoryConnections()
    envelopes = counted(monkeypatch, ConnectorEvent, "model_validate")
    contents = counted(monkeypatch, model, "model_validate")
    claims = counted(monkeypatch, connections, "is_new_call")

    events, commands = receive(
        ReceiveEvent(id="e-1", phone=PHONE, event=event),
        ids=MemoryIds(),
        sessions=MemorySessions(session),
        connections=connections,
    )

    assert (len(events), [command.type for command in commands]) == (
        1, ["read"] if kind == "message" else ["call.reject", "send"],
    )  # fmt: skip
    assert (len(envelopes), len(contents), len(claims)) == (1, 1, int(kind == "call"))


@pytest.mark.parametrize(
    "text",
    [
        '{"a": [1, -0, 0.1, 1e5, 1e400, 123456789012345678901234567890, NaN, -Infinity, null, true, "é"]}',
        '{"a": 1, "a": 2}',
        r'"\ud800 half a pair, \ud83d\ude00 a whole one, \u0000 \/"',
        '"\ud800 half a pair as it is"',
        b'"\xc3\xa9"',
        "[" * 150 + "]" * 150,
        "[" * 900 + "]" * 900,
    ],
    ids=["numbers", "the same name twice", "escaped surrogates", "surrogates", "bytes", "deep", "deeper"],
)
def test_what_a_program_of_ours_wrote_is_decoded_as_python_does(text: str | bytes) -> None:
    assert repr(strict_json.parsed_own(text)) == repr(json.loads(text))


WRITTEN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda parts: st.lists(parts) | st.dictionaries(st.text(st.characters(codec=None)), parts),
    max_leaves=10,
)


@given(WRITTEN, st.booleans())
def test_whatever_a_program_of_ours_wrote_is_decoded_as_python_does(written: Any, ascii_only: bool) -> None:
    text = json.dumps(written, ensure_ascii=ascii_only)

    assert repr(strict_json.parsed_own(text)) == repr(json.loads(text))


@pytest.mark.parametrize("text", ["", "[1,]", "nul", b"\xff", '"\t"', "[" * 100_000])
def test_what_is_no_json_is_refused_as_python_does(text: str | bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        strict_json.parsed_own(text)
