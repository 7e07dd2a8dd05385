"""Timers: what happens when one runs out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.fakes import CONTACT, PHONE
from unoapi.models.jobs import Envelope, FetchFiles, FireTimer, Job, PrepareMessage, SendMessage, Speak
from unoapi.models.timers import TimerRequest, TimerState, TimerStep
from unoapi.services import timers as service
from unoapi.services.timers import envelope

START = 1_767_225_600_000
META_GROUP = "Y2FwaV9ncm91cDoxNzA1NTU1MDEzOToxMjAzNjM0MDQ2OTQyMzM4MjAZD"
STEP = TimerStep(timeout=5000, message="are you there?")


class KnownTimers:
    """Timers, in one state."""

    def __init__(self, last_ms: int | None = START, direction: str = "incoming") -> None:
        self.state_now = TimerState(last_ms=last_ms, direction=direction)
        self.counted: dict[str, int] = {}

    def state(self, phone: str, contact: str) -> TimerState:
        assert (phone, contact) == (PHONE, CONTACT)
        return self.state_now

    def waits(self, phone: str, timer_id: str, *, until_ms: int) -> None:
        assert phone == PHONE
        self.counted[timer_id] = until_ms


def fire(job: FireTimer, *, timers: KnownTimers, for_phone: bool = False, began_ms: int = 0) -> list[Envelope]:
    return service.fire(job, timers=timers, began_ms=began_ms, for_phone=for_phone, voice=True, always_voice=False)


def timer(*nexts: TimerStep) -> FireTimer:
    job = envelope(PHONE, CONTACT, STEP, nexts, at_ms=START).job
    assert isinstance(job, FireTimer)
    return job


def test_a_timer_of_a_number_that_was_removed_since_then_sends_nothing() -> None:
    assert fire(timer(), timers=KnownTimers(), began_ms=START) == []
    assert fire(timer(), timers=KnownTimers(), began_ms=START - 1)


def test_a_timer_waits_in_the_broker() -> None:
    assert envelope(PHONE, CONTACT, STEP, [], at_ms=START).delay_ms == 5000


@pytest.mark.parametrize(
    ("last_ms", "direction", "sent"),
    [
        (START, "incoming", True),
        (START - 1, "incoming", True),
        (START + 1, "incoming", False),
        (None, "incoming", False),
        (START, "outgoing", False),
        (START, "", False),
    ],
    ids=["untouched", "older", "stopped-or-restarted", "lost", "answered", "nobody-wrote"],
)
def test_a_timer_fires_only_when_it_was_not_stopped_and_nobody_answered(
    last_ms: int | None, direction: str, sent: bool
) -> None:
    assert bool(fire(timer(), timers=KnownTimers(last_ms, direction))) is sent


def test_what_goes_out_is_a_message_like_any_other() -> None:
    (sent,) = fire(timer(), timers=KnownTimers())

    assert isinstance(sent.job, SendMessage)
    assert json.loads(sent.job.body) == {
        "messaging_product": "whatsapp", "to": CONTACT, "type": "text", "text": {"body": "are you there?"},
    }  # fmt: skip


def test_the_next_timer_starts_when_one_has_fired_with_the_rest() -> None:
    again, last = TimerStep(timeout=7000, message="again"), TimerStep(timeout=9000, message="bye")

    _, following = fire(timer(again, last), timers=KnownTimers())

    job = following.job
    assert isinstance(job, FireTimer)
    assert (following.delay_ms, job.step["message"], len(job.nexts)) == (7000, "again", 1)
    assert job.accepted_at_ms == START + STEP.timeout


def test_the_next_timer_counts_until_it_fires() -> None:
    timers = KnownTimers()

    _, following = fire(timer(TimerStep(timeout=7000, message="again")), timers=timers)

    assert timers.counted == {following.job.id: START + STEP.timeout + 7000}


def test_a_timer_that_runs_twice_makes_the_same_message_and_the_same_next_timer() -> None:
    first, second = (fire(timer(STEP), timers=KnownTimers()) for _ in range(2))

    assert [envelope.job.id for envelope in first] == [envelope.job.id for envelope in second]


def test_a_timeout_may_be_written_as_text() -> None:
    assert TimerRequest.model_validate({"timeout": "5000", "message": "x"}).timeout == 5000


@pytest.mark.parametrize(
    "wrong",
    [
        {"message": "x"}, {"timeout": 1}, {"timeout": 0, "message": "x"}, {"timeout": "soon", "message": "x"},
        {"timeout": 1, "message": ""}, {"timeout": 10**12, "message": "x"}, {"timeout": 1, "message": "x", "nexts": 5},
        {"timeout": 1, "message": "x", "type": "image"}, {"timeout": 1, "message": "x", "nexts": [{}] * 51},
    ],
)  # fmt: skip
def test_wrong_timers_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TimerRequest.model_validate(wrong)


def test_other_types_carry_their_object() -> None:
    step = TimerStep(timeout=1, type="image", message={"link": "https://h.test/a.jpg"})

    assert step.send_body(CONTACT)["image"] == {"link": "https://h.test/a.jpg"}


LINKED = {"link": "https://files.test/a"}


@pytest.mark.parametrize(
    ("kind", "content", "on_a_phone", "at_meta"),
    [
        ("text", {"body": "hi"}, SendMessage, SendMessage),
        ("text", {"body": "see https://shop.test", "preview_url": True}, PrepareMessage, SendMessage),
        ("image", LINKED, FetchFiles, SendMessage),
        ("document", LINKED, FetchFiles, SendMessage),
        ("sticker", {"id": "123"}, PrepareMessage, SendMessage),
        ("audio", {"id": "123", "voice": True}, PrepareMessage, PrepareMessage),
        ("speech", {"body": "hi"}, Speak, Speak),
    ],
)
def test_what_a_timer_sends_is_fetched_and_prepared_like_what_a_client_sends(
    kind: str, content: dict[str, Any], on_a_phone: type[Job], at_meta: type[Job]
) -> None:
    job = envelope(PHONE, CONTACT, TimerStep(timeout=1, type=kind, message=content), [], at_ms=START).job
    assert isinstance(job, FireTimer)

    (phone,), (meta,) = (fire(job, timers=KnownTimers(), for_phone=for_phone) for for_phone in (True, False))

    assert (type(phone.job), type(meta.job)) == (on_a_phone, at_meta)


def test_what_a_timer_sends_keeps_its_place_among_the_contacts_messages() -> None:
    (sent,) = fire(timer(), timers=KnownTimers())

    assert isinstance(sent.job, SendMessage)
    assert sent.job.contact == CONTACT


@pytest.mark.parametrize(
    ("to", "whom"),
    [
        (CONTACT, {"to": CONTACT}),
        ("BR.13491208655302741918", {"recipient": "BR.13491208655302741918"}),
        (META_GROUP, {"to": META_GROUP, "recipient_type": "group"}),
        ("120363040468224422@g.us", {"to": "120363040468224422@g.us"}),
    ],
)
def test_field_report_100_a_timer_names_whom_it_is_for_as_a_client_does(to: str, whom: dict[str, str]) -> None:
    sent = STEP.send_body(to)

    assert {name: sent[name] for name in ("to", "recipient", "recipient_type") if name in sent} == whom
