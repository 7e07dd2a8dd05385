"""What a fan-out asks of an event's content travels with it, and is what its body says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import (
    CONTACT,
    GROUP,
    PHONE,
    MemoryIds,
    MemorySessions,
    make_event,
    make_session,
    make_status,
    make_webhook,
)
from tests.unit.test_event_catalogue import CONTENTS, PARTIES
from unoapi.models.cloud_api.callbacks import EventPayload
from unoapi.models.cloud_api.event_catalogue import catalogue
from unoapi.models.cloud_api.event_content import MAX_FACTS_CHARS, MAX_WORD_CHARS, EventFacts, Traits
from unoapi.models.cloud_api.events import split
from unoapi.models.jobs import FanOut, ReceiveEvent
from unoapi.providers.whatsmeow.events import receive
from unoapi.services.bulk import reactions
from unoapi.services.webhooks import fan_out, to_fan_out

if TYPE_CHECKING:
    from unoapi.models.cloud_api.events import Event

DAY_S = 86_400
SESSIONS = MemorySessions(
    make_session(make_webhook(sendTranscribeAudio=True, addToBlackListOnOutgoingMessageWithTtl=60))
)
CHANNEL = "120363000000000001@newsletter"
AUDIO = {"type": "audio", "audio": {"id": "123"}}
BUTTON = {"type": "button", "text": None, "button": {"text": "Stop"}}


def queued(event: Event) -> FanOut:
    """The job of an event as a worker reads it."""
    return FanOut.model_validate_json(to_fan_out(event, phone=PHONE, sessions=SESSIONS).model_dump_json())


def ensure_alike(job: FanOut) -> None:
    """The facts that travelled are those of the body, and lead to the same."""
    assert EventFacts.of_written(job.written_facts) == job.content.facts(PHONE)
    plain = job.model_copy(update={"written_facts": ()})
    chosen, expected = (fan_out(one, sessions=SESSIONS, max_age_s=DAY_S) for one in (job, plain))
    assert chosen == expected
    assert chosen.message == expected.message
    assert reactions(job, words=frozenset({"stop"})) == reactions(plain, words=frozenset({"stop"}))


TEXT = ((CONTACT,), "", "text")
RECEIVED, OWN = Traits(False, False, False, False), Traits(False, False, False, True)
IN_GROUP, IN_CHANNEL = Traits(False, True, False, False), Traits(False, False, True, False)


@pytest.mark.parametrize(
    ("event", "facts"),
    [
        (make_event(), EventFacts(RECEIVED, *TEXT, word="hello")),
        (make_event(**{"from": PHONE, "to": CONTACT}), EventFacts(OWN, *TEXT)),
        (make_event(**AUDIO), EventFacts(RECEIVED, (CONTACT,), type="audio", has_audio=True, word="hello")),
        (make_event(**BUTTON), EventFacts(RECEIVED, (CONTACT,), type="button", word="Stop")),
        (make_event(group_id=GROUP), EventFacts(IN_GROUP, (GROUP,), CONTACT, "text")),
        (make_event(group_id=CHANNEL), EventFacts(IN_CHANNEL, (CHANNEL,), CONTACT, "text")),
        (make_event(text={"body": "a" * (MAX_WORD_CHARS + 1)}), EventFacts(RECEIVED, *TEXT)),
        (make_status(), EventFacts(Traits(True, False, False, False), (CONTACT,))),
    ],
    ids=["text", "own", "audio", "button", "group", "channel", "long", "status"],
)
def test_the_facts_of_an_event(event: Event, facts: EventFacts) -> None:
    assert queued(event).facts == facts


@pytest.mark.parametrize("name", [entry.name for entry in catalogue()])
def test_the_facts_of_every_example_of_the_catalogue_are_those_of_its_body(name: str) -> None:
    (entry,) = (entry for entry in catalogue() if entry.name == name)

    for event in split(PHONE, EventPayload.model_validate(entry.example).changes):
        ensure_alike(queued(event))


@pytest.mark.parametrize("party", PARTIES, ids=["phone", "lid", "both"])
@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: str(content["kind"]))
def test_the_facts_of_whatever_a_phone_receives_are_those_of_its_body(
    content: dict[str, Any], party: dict[str, Any]
) -> None:
    sessions = MemorySessions(make_session(ignoreOwnMessages=False, ignoreGroupMessages=False))
    jobs = list[Any]()
    for chat in (party, {"jid": GROUP, "kind": "group"}):
        for own in (False, True):
            data = {
                "id": "3EB0AA",
                "chat": chat,
                "sender": party,
                "timestamp_ms": 1_000,
                "content": content,
                "from_me": own,
            }
            event = {"version": 1, "type": "message", "event_id": "e", "session": PHONE, "data": data}
            jobs += receive(ReceiveEvent(id="e", phone=PHONE, event=event), ids=MemoryIds(), sessions=sessions)[0]

    for job in jobs:
        if isinstance(job, FanOut):
            ensure_alike(job)


KNOWN_NAMES = ["", CONTACT, PHONE, f"+{PHONE}", GROUP, CHANNEL, "777@lid", "BR.1", "x"]
NAMES = st.sampled_from(KNOWN_NAMES) | st.text(max_size=12)
ADDRESSES = (
    "from", "from_user_id", "to", "to_user_id", "group_id", "recipient_id", "recipient_user_id", "recipient_type",
    "recipient_participant_id",
)  # fmt: skip
ITEM = st.fixed_dictionaries(
    {"id": st.just("wamid.1")},
    optional={
        **dict.fromkeys(ADDRESSES, NAMES | st.integers()),
        "type": st.sampled_from(["text", "audio", "button"]) | st.text(),
        "text": st.just({"body": "Stop."}) | st.dictionaries(st.just("body"), st.text() | st.integers()) | st.text(),
        "button": st.dictionaries(st.just("text"), st.text()),
        "audio": st.just({"id": "1"}) | st.text(),
        "status": st.sampled_from(["sent", "read"]),
        "system": st.dictionaries(st.sampled_from(["wa_id", "user_id"]), NAMES),
    },
)
VALUE: st.SearchStrategy[dict[str, Any]] = st.builds(
    lambda items, item, beside: {items: [item], **beside},
    st.sampled_from(["messages", "message_echoes", "statuses", "calls", "groups", "event"]),
    ITEM,
    st.fixed_dictionaries(
        {},
        optional={
            "contacts": st.tuples(st.dictionaries(st.sampled_from(["wa_id", "user_id", "group_id"]), NAMES)),
            "metadata": st.dictionaries(st.just("display_phone_number"), NAMES),
            "chat": st.just({"type": "status"}),
        },
    ),
)


@given(VALUE, st.sampled_from(["messages", "calls", "history", "group_lifecycle_update", "account_update"]))
def test_the_facts_of_whatever_comes_are_those_of_its_body(value: dict[str, Any], field: str) -> None:
    document = json.loads(json.dumps({"entry": [{"id": "1", "changes": [{"field": field, "value": value}]}]}))

    for event in split(PHONE, EventPayload.model_validate(document).changes):
        job = queued(event)
        assert job.written_facts or len(json.dumps(value)) > MAX_FACTS_CHARS
        if job.written_facts:
            ensure_alike(job)


def test_facts_that_are_long_stay_at_home() -> None:
    job = queued(make_event(type="x" * MAX_FACTS_CHARS))

    assert job.written_facts == ()
    assert "facts" not in json.loads(job.model_dump_json())
    assert job.facts.type == "x" * MAX_FACTS_CHARS


HALF = "\ud83d"


@pytest.mark.parametrize(
    "odd",
    [{"text": {"body": f"hi {HALF}"}}, {"type": HALF}, {"from": f"x{HALF}"}, {"group_id": f"{HALF}@g.us"}],
    ids=["word", "type", "sender", "group"],
)
def test_an_event_with_half_a_surrogate_pair_is_queued_without_facts(odd: dict[str, Any]) -> None:
    job = queued(make_event(**odd))

    assert job.written_facts == ()
    assert job.facts == job.content.facts(PHONE)


@pytest.mark.parametrize(
    "written", [(), ("t",), ("?", "text", "", ""), ("tz", "text", "", "", CONTACT), ("", "", "", "")]
)
def test_facts_of_another_version_are_read_in_the_body(written: tuple[str, ...]) -> None:
    job = queued(make_event())

    assert job.model_copy(update={"written_facts": written}).facts == job.facts
