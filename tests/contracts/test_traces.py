"""Traces: the steps of a message, bounded, and never in the way."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, get_args

import pytest

from tests.support.fakes import PHONE, MemoryTraces
from tests.support.stack import eventually
from unoapi.errors import StoreUnavailable
from unoapi.models.trace import Step, TraceEntry, shown_entry
from unoapi.stores.traces import LETTERS, MAX_TRACE_ENTRIES, WORDS, RedisTraces

if TYPE_CHECKING:
    import redis

    from unoapi.models.message_log import State
    from unoapi.ports import Traces
    from unoapi.stores.redis import RedisClient

START = datetime(2026, 1, 1, tzinfo=UTC)
OTHER_UUID = "5c3ee5b8-5bd6-4a77-9a39-3f8a0b5a7d11"
"""A fixed one: all test processes must collect the same cases."""


@pytest.fixture(params=["memory", "redis"])
def traces(request: pytest.FixtureRequest) -> Traces:
    return (
        MemoryTraces() if request.param == "memory" else RedisTraces(request.getfixturevalue("redis_client"), ttl_s=60)
    )


MINUTE = timedelta(minutes=1)


def entry(number: int = 0, *, message_id: str = "wamid.1", phone: str = PHONE, delivery_id: str = "d-1") -> TraceEntry:
    return TraceEntry(
        at=START + timedelta(seconds=number),
        step="attempt",
        phone=phone,
        message_id=message_id,
        webhook="default",
        delivery_id=delivery_id,
        attempt=number + 1,
        status=503,
        duration_ms=12,
        detail="HTTP 503",
    )


def test_nothing_is_known_of_an_unknown_message(traces: Traces) -> None:
    assert traces.read(PHONE, "wamid.unknown") == []


def test_the_steps_come_back_as_they_were_oldest_first(traces: Traces) -> None:
    traces.add(entry(2), entry(0))
    traces.add(entry(1))

    assert eventually(lambda: len(entries := traces.read(PHONE, "wamid.1")) == 3 and entries) == [
        entry(0),
        entry(1),
        entry(2),
    ]
    assert traces.read_all([(PHONE, "wamid.1")]) == [[entry(0), entry(1), entry(2)]]


def test_a_queued_step_has_the_id_of_its_delivery_from_the_first_attempt_on(traces: Traces) -> None:
    def queued(webhook: str, kind: str) -> TraceEntry:
        return replace(entry(), step="queued", webhook=webhook, kind=kind, delivery_id="", at=START - MINUTE)

    attempt = replace(entry(), webhook="crm", kind="message")
    traces.add(queued("crm", "message"), queued("bot", "message"), queued("crm", "edited"), attempt)

    entries = eventually(lambda: len(entries := traces.read(PHONE, "wamid.1")) == 4 and entries)

    named = {(entry.webhook, entry.kind): entry.delivery_id for entry in entries if entry.step == "queued"}
    assert named == {("crm", "message"): "d-1", ("bot", "message"): "", ("crm", "edited"): ""}


def test_a_delivery_that_was_made_within_its_event_was_queued_when_its_attempt_began(traces: Traces) -> None:
    received = replace(entry(), step="received", webhook="", delivery_id="", attempt=None, status=None, at=START)
    at_once = replace(entry(), step="delivered", attempt=1, duration_ms=30, at=START + MINUTE)
    traces.add(received, at_once)

    steps = eventually(lambda: traces.read(PHONE, "wamid.1"))

    assert [step.step for step in steps] == ["received", "queued", "delivered"]
    assert (steps[1].at, steps[1].delivery_id) == (at_once.at - timedelta(milliseconds=30), at_once.delivery_id)
    assert (steps[1].attempt, steps[1].status, steps[1].duration_ms, steps[1].detail) == (None, None, None, "")


@pytest.mark.parametrize("before", ["queued", "attempt", "postponed", "duplicate"])
def test_what_says_itself_that_it_was_queued_is_left_as_it_is(traces: Traces, before: Step) -> None:
    delivered = replace(entry(), step="delivered", attempt=1, at=START + MINUTE)
    traces.add(replace(entry(), step=before, at=START), delivered)

    assert [step.step for step in eventually(lambda: traces.read(PHONE, "wamid.1"))] == [before, "delivered"]


def test_what_was_queued_is_never_before_what_came_before_it(traces: Traces) -> None:
    """The clocks of two hosts differ by more than an attempt takes."""
    received = replace(entry(), step="received", webhook="", delivery_id="", at=START)
    traces.add(received, replace(entry(), step="delivered", attempt=1, duration_ms=60_000, at=START + MINUTE / 60))

    steps = eventually(lambda: traces.read(PHONE, "wamid.1"))

    assert [(step.step, step.at >= START) for step in steps] == [
        ("received", True), ("queued", True), ("delivered", True),
    ]  # fmt: skip


def test_each_message_has_its_own(traces: Traces) -> None:
    traces.add(entry(message_id="wamid.1"), entry(message_id="wamid.2"))

    assert eventually(lambda: traces.read(PHONE, "wamid.2")) == [entry(message_id="wamid.2")]


def test_steps_without_a_message_are_not_saved(traces: Traces) -> None:
    traces.add(entry(message_id=""), entry())

    eventually(lambda: traces.read(PHONE, "wamid.1"))
    assert traces.read(PHONE, "") == []


def test_a_trace_is_bounded_in_length_and_time(
    redis_client: RedisClient, raw_redis: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unoapi.stores.traces.TRIM_EVERY", 1)  # else chance decides which step trims
    traces = RedisTraces(redis_client, ttl_s=60)

    traces.add(*(entry(number) for number in range(MAX_TRACE_ENTRIES + 50)))

    entries = eventually(lambda: len(read := traces.read(PHONE, "wamid.1")) == MAX_TRACE_ENTRIES and read)
    assert entries[-1] == entry(MAX_TRACE_ENTRIES + 49)
    assert 0 < raw_redis.ttl(f"unoapi-trace:{PHONE}:wamid.1") <= 60
    assert raw_redis.llen(f"unoapi-trace:{PHONE}:wamid.1") == MAX_TRACE_ENTRIES


def test_a_trace_is_its_phones_alone(traces: Traces) -> None:
    """Who knows an id can neither read another number's trace nor push its steps out."""
    traces.add(entry())
    traces.add(*(entry(number, phone="5521977776666") for number in range(5)))

    assert eventually(lambda: len(traces.read("5521977776666", "wamid.1")) == 5)
    assert traces.read(PHONE, "wamid.1") == [entry()]


@pytest.mark.parametrize("phone", [PHONE, "5521977776666"])
def test_the_operator_finds_a_message_by_its_id_alone(
    redis_client: RedisClient, raw_redis: redis.Redis, phone: str
) -> None:
    """Of a stored phone and of one that the environment serves; signs of patterns in an id stand for themselves."""
    traces = RedisTraces(redis_client, ttl_s=60)
    raw_redis.sadd("unoapi-sessions", PHONE)
    traces.add(entry(phone=phone, message_id="wamid.[*]?"), entry(phone=phone, message_id="wamid.x"))

    entries = eventually(lambda: traces.find("wamid.[*]?"))

    assert entries == [entry(phone=phone, message_id="wamid.[*]?")]
    assert traces.find("wamid.*") == []


def test_steps_of_the_version_before_are_read_beside_those_of_this_one(
    redis_client: RedisClient, raw_redis: redis.Redis
) -> None:
    """Until the version after next: JSON lists, with numbers for the words that nearly every message has."""
    traces = RedisTraces(redis_client, ttl_s=60)
    raw_redis.rpush(
        f"unoapi-trace:{PHONE}:wamid.1",
        '[31536000000,"attempt",0,13,["d-1"],1,503,12,"HTTP 503"]',
        '[31536001000,5,"message","crm","XD7luFvWSneaOT-KC1p9EQ",2,200]',
    )
    traces.add(entry(2))

    steps = eventually(lambda: len(found := traces.read(PHONE, "wamid.1")) == 3 and found)

    delivered = TraceEntry(
        at=START + timedelta(seconds=1), step="delivered", phone=PHONE, message_id="wamid.1", kind="message",
        webhook="crm", delivery_id=OTHER_UUID, attempt=2, status=200,
    )  # fmt: skip
    assert steps == [entry(0), delivered, entry(2)]


def test_every_step_has_a_letter() -> None:
    assert set(get_args(Step)) <= LETTERS.keys()
    assert len(LETTERS) == len(set(LETTERS.values())) == len(WORDS)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"kind": "text"},
        {"kind": "-", "webhook": "b"},
        {"webhook": ":default", "detail": "-"},
        {"attempt": 1, "status": 200, "duration_ms": 0},
        {"attempt": 1},
        {"attempt": 0, "detail": "[1,2] : two, three"},
        {"status": 200},
        {"duration_ms": 5},
    ],
    ids=str,
)
def test_a_step_comes_back_as_it_was(traces: Traces, fields: dict[str, Any]) -> None:
    step = TraceEntry(at=START, step="delivered", phone=PHONE, message_id="wamid.1", **fields)

    traces.add(step)

    assert eventually(lambda: traces.read(PHONE, "wamid.1")) == [step]


def stuck(traces: Traces, state: State, *, until_ms: int | None = None) -> list[tuple[str, str]]:
    return [(one.phone, one.id) for one in traces.stuck(state, until_ms=until_ms)]


def test_the_messages_that_a_step_may_have_left_in_a_state_come_once_the_latest_first(traces: Traces) -> None:
    traces.add(entry(0), entry(3))
    traces.add(entry(1, message_id="wamid.2", phone="5521977776666"))
    traces.add(replace(entry(2), step="delivered", message_id="wamid.3"))
    traces.add(replace(entry(4), step="dead", message_id="wamid.4"))
    at_ms = round(entry(1).at.timestamp() * 1000)

    assert eventually(lambda: stuck(traces, "dead")) == [(PHONE, "wamid.4")]
    assert stuck(traces, "waiting") == [(PHONE, "wamid.1"), ("5521977776666", "wamid.2")]
    assert stuck(traces, "waiting", until_ms=at_ms) == [("5521977776666", "wamid.2")]
    assert stuck(traces, "waiting", until_ms=at_ms - 1) == []
    assert stuck(traces, "failed") == []


def test_the_index_of_a_state_is_bounded_and_ends_with_its_time(
    redis_client: RedisClient, raw_redis: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unoapi.stores.traces.TRIM_EVERY", 1)  # else chance decides who trims
    monkeypatch.setattr("unoapi.stores.traces.STUCK_AT_ONCE", 7)
    traces = RedisTraces(redis_client, ttl_s=60, most_stuck=20)

    traces.add(*(entry(number, message_id=f"wamid.{number}") for number in range(50)))

    latest = [(PHONE, f"wamid.{number}") for number in range(49, 29, -1)]
    assert eventually(lambda: len(stuck(traces, "waiting")) == 20 and stuck(traces, "waiting")) == latest
    assert 0 < raw_redis.ttl("unoapi-stuck:waiting") <= 60
    assert int(raw_redis.memory_usage("unoapi-stuck:waiting") or 0) / 20 < 250


def test_without_a_bound_no_state_is_indexed(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    traces = RedisTraces(redis_client, ttl_s=60, most_stuck=0)

    traces.add(entry())
    eventually(lambda: traces.read(PHONE, "wamid.1"))

    assert stuck(traces, "waiting") == []
    assert raw_redis.keys("unoapi-stuck:*") == []


def test_a_trace_of_the_version_before_is_read_and_goes_on(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    traces = RedisTraces(redis_client, ttl_s=60)
    text = json.dumps({name: value for name, value in shown_entry(entry()).items() if name != "message_id"})
    raw_redis.xadd("unoapi-trace:wamid.1", {"step": text})

    traces.add(entry(1))

    assert eventually(lambda: len(entries := traces.read(PHONE, "wamid.1")) == 2 and entries) == [entry(0), entry(1)]
    assert traces.find("wamid.1") == [entry(0), entry(1)]
    assert traces.read("5521977776666", "wamid.1") == []


@pytest.mark.parametrize(
    "delivery_id", ["", "d-1", "0189F0CA-0000-4000-8000-000000000000", OTHER_UUID, "~" * 22, ":" * 20]
)
def test_every_delivery_id_comes_back(traces: Traces, delivery_id: str) -> None:
    traces.add(entry(delivery_id=delivery_id))

    assert [step.delivery_id for step in eventually(lambda: traces.read(PHONE, "wamid.1"))] == [delivery_id]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "5",
        "[]",
        "null",
        '{"step": "dance"}',
        '["soon","sent"]',
        '[1,"dance"]',
        '[1,"sent","","","~"]',
        "",
        "DfddjjU",
        "DfddjjU~",
        "DfddjjUaQQ",
        "DfddjjUe-\x1f-\x1fshort",
        "DfddjjUe-\x1f-\x1f-\x1fone",
    ],
)
def test_an_entry_of_another_version_does_not_hide_the_others(
    redis_client: RedisClient, raw_redis: redis.Redis, text: str
) -> None:
    traces = RedisTraces(redis_client, ttl_s=60)
    raw_redis.xadd("unoapi-trace:wamid.1", {"step": text})
    raw_redis.rpush(f"unoapi-trace:{PHONE}:wamid.1", text)

    traces.add(entry())

    assert eventually(lambda: traces.read(PHONE, "wamid.1")) == [entry()]


def test_without_redis_writing_is_silent_and_quick_and_reading_says_so(away: RedisClient) -> None:
    traces = RedisTraces(away, ttl_s=60)

    start = time.monotonic()
    for number in range(1000):
        traces.add(entry(number))

    assert time.monotonic() - start < 1
    with pytest.raises(StoreUnavailable):
        traces.read(PHONE, "wamid.1")
