"""The latest messages, and the searches in them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.support.fakes import CONTACT, PHONE, MemoryMessageLog, MemoryTraces
from tests.support.stack import eventually
from unoapi.errors import StoreUnavailable
from unoapi.models.message_log import LoggedMessage, MessageQuery, OwnMessageQuery
from unoapi.models.trace import TraceEntry
from unoapi.services.message_search import search
from unoapi.stores.message_log import RedisMessageLog

if TYPE_CHECKING:
    import redis

    from unoapi.models.message_log import Direction
    from unoapi.stores.redis import RedisClient

OTHER = "5521977776666"
NOW_MS = round(datetime.now(UTC).timestamp() * 1000)
MINUTE_MS = 60_000
Log = MemoryMessageLog | RedisMessageLog


@pytest.fixture(params=["memory", "redis"])
def log(request: pytest.FixtureRequest) -> Log:
    if request.param == "memory":
        return MemoryMessageLog(most=600, bodies=True)
    return RedisMessageLog(request.getfixturevalue("redis_client"), most=600, ttl_s=60, bodies=True)


def message(
    number: int = 0, *, phone: str = PHONE, contact: str = CONTACT, direction: Direction = "received"
) -> LoggedMessage:
    """The younger, the larger its number."""
    at_ms = NOW_MS - (1000 - number) * MINUTE_MS
    return LoggedMessage(at_ms, phone, direction, contact, "text", f"wamid.{number}")


def added(log: Log, *messages: LoggedMessage) -> None:
    """Add them, and wait until they are there."""
    for one in messages:
        log.add(one)
    eventually(lambda: is_newest(log, messages[-1]))


def is_newest(log: Log, wanted: LoggedMessage) -> bool:
    return next(log.latest(), None) == wanted


def ids(log: Log, traces: MemoryTraces | None = None, **query: object) -> list[str]:
    page = search(MessageQuery.model_validate(query), log=log, traces=traces or MemoryTraces())
    return [found.message.id for found in page.messages]


def test_messages_come_back_as_they_were_the_newest_first(log: Log) -> None:
    added(log, message(1), message(2, direction="sent"), message(3, phone=OTHER))

    assert list(log.latest()) == [message(3, phone=OTHER), message(2, direction="sent"), message(1)]
    assert list(log.latest(PHONE)) == [message(2, direction="sent"), message(1)]
    assert list(log.latest("5500")) == []


def test_messages_that_come_together_are_listed_as_if_they_had_come_one_by_one(log: Log) -> None:
    log.add_all([(message(1), "one"), (message(2, phone=OTHER), ""), (message(3), "three")])

    eventually(lambda: is_newest(log, message(3)))
    assert [found.id for found in log.latest()] == ["wamid.3", "wamid.2", "wamid.1"]
    assert [found.id for found in log.latest(PHONE)] == ["wamid.3", "wamid.1"]
    assert [log.body(PHONE, "wamid.1"), log.body(OTHER, "wamid.2"), log.body(PHONE, "wamid.3")] == [
        "one",
        None,
        "three",
    ]


def test_more_than_a_page_is_read_up_to_the_bound(log: Log) -> None:
    added(log, *(message(number) for number in range(700)))

    assert [one.id for one in log.latest(PHONE)] == [f"wamid.{number}" for number in range(699, 99, -1)]


def test_a_search_finds_by_all_fields_together(log: Log) -> None:
    added(log, message(1), message(2, contact="5511988880000"), message(3, direction="sent"), message(4, phone=OTHER))

    assert ids(log) == ["wamid.4", "wamid.3", "wamid.2", "wamid.1"]
    assert ids(log, phone=PHONE, contact="+55 (49) 98888-7777") == ["wamid.3", "wamid.1"]
    assert ids(log, contact="8888-0000") == ["wamid.2"]
    assert ids(log, direction="sent") == ["wamid.3"]
    assert ids(log, id="wamid.1") == ["wamid.1"]
    since, until = (datetime.fromtimestamp(message(number).at_ms / 1000, UTC).isoformat() for number in (2, 3))
    assert ids(log, since=since, until=until) == ["wamid.3", "wamid.2"]


def test_pages_follow_each_other_without_gap_or_repetition_also_when_more_comes(log: Log) -> None:
    added(log, *(message(number) for number in range(7)))
    traces, seen, before = MemoryTraces(), list[str](), ""

    while True:
        page = search(OwnMessageQuery(limit=3, before=before), phone=PHONE, log=log, traces=traces)
        seen += [found.message.id for found in page.messages]
        newest = message(100 + len(seen))
        log.add(newest)
        eventually(partial(is_newest, log, newest))
        if not page.next:
            break
        before = page.next

    assert seen == [f"wamid.{number}" for number in range(6, -1, -1)]


def test_a_message_that_was_logged_twice_is_found_once(log: Log) -> None:
    added(log, message(1), message(1), message(2))

    assert ids(log) == ["wamid.2", "wamid.1"]


def test_a_message_that_waited_for_long_does_not_hide_the_younger_ones_behind_it(log: Log) -> None:
    added(log, message(900), message(950), message(1))

    assert ids(log, since="2h") == ["wamid.950", "wamid.900"]


def test_a_search_by_state_reads_the_traces(log: Log) -> None:
    traces = MemoryTraces()
    added(log, message(1), message(2), message(3))
    traces.add(TraceEntry(step="delivered", phone=PHONE, message_id="wamid.2", webhook="crm", kind="message"))

    assert ids(log, traces, state="delivered") == ["wamid.2"]
    assert ids(log, traces, state="unknown") == ["wamid.3", "wamid.1"]


def attempt(message: LoggedMessage, *, minute: int, webhook: str = "crm") -> TraceEntry:
    """A failed attempt, so many minutes after the first message was accepted."""
    at = message.at + timedelta(minutes=minute)
    return TraceEntry(
        at=at, step="attempt", phone=message.phone, message_id=message.id, webhook=webhook, kind="message", detail="503"
    )


def test_what_is_stuck_is_found_over_all_numbers_however_much_came_since(log: Log) -> None:
    traces, stuck = MemoryTraces(), [message(0), message(1, phone=OTHER)]
    added(log, *stuck, *(message(number) for number in range(2, 700)))
    delivered = TraceEntry(step="delivered", phone=PHONE, message_id="wamid.2", webhook="crm", kind="message")
    traces.add(*(attempt(one, minute=minute) for one in (*stuck, message(2)) for minute in (0, 5)), delivered)

    page = search(MessageQuery(state="waiting"), log=log, traces=traces)

    assert [(found.message.phone, found.message.id) for found in page.messages] == [
        (OTHER, "wamid.1"),
        (PHONE, "wamid.0"),
    ]
    assert {found.detail for found in page.messages} == {"503"}
    assert ids(log, traces, state="waiting", contact="8888-7777") == ["wamid.1"]
    since_s = 59_970 + round(datetime.now(UTC).timestamp() - NOW_MS / 1000)  # this file was read a while ago
    assert ids(log, traces, state="waiting", since=f"{since_s}s") == ["wamid.1"]
    assert ids(log, traces, state="waiting", direction="sent") == []
    assert ids(log, traces, state="failed") == []


def test_what_is_stuck_comes_page_by_page_without_gap_or_repetition(log: Log) -> None:
    messages = [message(number, phone=PHONE if number % 2 else OTHER) for number in range(9)]
    traces, seen, before = MemoryTraces(), list[str](), ""
    added(log, *messages)
    traces.add(*(attempt(one, minute=-number) for number, one in enumerate(messages[:4])))  # all at the same moment
    traces.add(*(attempt(one, minute=5) for one in messages[4:]))

    while True:
        page = search(MessageQuery(state="waiting", limit=2, before=before), log=log, traces=traces)
        seen += [found.message.id for found in page.messages]
        if not page.next:
            break
        before = page.next

    assert sorted(seen) == sorted(one.id for one in messages)


@pytest.mark.parametrize("before", ["x", "1", "1.2", "-1.5.6", "\N{SUPERSCRIPT TWO}.1.2", "9" * 600])
def test_a_cursor_that_nobody_gave_is_no_error(log: Log, before: str) -> None:
    traces = MemoryTraces()
    added(log, message(1))
    traces.add(attempt(message(1), minute=0))

    assert search(MessageQuery(state="waiting", before=before), log=log, traces=traces).messages is not None


def test_messages_are_found_by_number_and_id(log: Log) -> None:
    added(log, message(1), message(2, phone=OTHER), message(3))
    wanted = [(PHONE, "wamid.1"), (OTHER, "wamid.2"), (OTHER, "wamid.3"), (PHONE, "wamid.none")]

    assert log.find(wanted) == {(PHONE, "wamid.1"): message(1), (OTHER, "wamid.2"): message(2, phone=OTHER)}
    assert log.find([]) == {}


def test_an_older_message_is_found_by_its_id_as_long_as_it_has_a_trace(log: Log) -> None:
    traces = MemoryTraces()
    traces.add(TraceEntry(step="accepted", phone=PHONE, message_id="wamid.old", kind="text"))

    assert ids(log, traces, id="wamid.old") == ["wamid.old"]
    assert ids(log, traces, id="wamid.old", phone=OTHER) == []
    assert ids(log, traces, id="wamid.none") == []


def test_a_body_is_there_for_its_number_alone(log: Log) -> None:
    log.add(message(1), '{"text": {"body": "olá"}}')

    assert eventually(lambda: log.body(PHONE, "wamid.1")) == '{"text": {"body": "olá"}}'
    assert log.body(OTHER, "wamid.1") is None


@pytest.mark.parametrize("switched_on", [True, False])
def test_bodies_are_kept_where_they_are_switched_on_alone(
    redis_client: RedisClient, raw_redis: redis.Redis, switched_on: bool
) -> None:
    log = RedisMessageLog(redis_client, most=10, ttl_s=60, bodies=switched_on)

    log.add(message(1), "x" * 100_000)
    eventually(lambda: list(log.latest()))

    assert [len(str(raw_redis.get(key))) for key in raw_redis.keys("unoapi-body:*")] == [8192] * switched_on


def test_a_message_takes_few_bytes_and_ends_with_its_time(
    redis_client: RedisClient, raw_redis: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unoapi.stores.message_log.TRIM_EVERY", 1)  # else chance decides who trims
    log = RedisMessageLog(redis_client, most=100, ttl_s=60)

    for number in range(300):
        log.add(message(number))
    eventually(lambda: is_newest(log, message(299)))

    keys = ("unoapi-messages", f"unoapi-messages:{PHONE}")
    assert [raw_redis.llen(key) for key in keys] == [100, 100]
    assert all(0 < raw_redis.ttl(key) <= 60 for key in keys)
    assert sum(int(raw_redis.memory_usage(key) or 0) for key in keys) / 100 < 250


def test_without_a_bound_nothing_is_kept(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    log = RedisMessageLog(redis_client, most=0, ttl_s=60, bodies=True)

    log.add(message(1), "{}")
    RedisMessageLog(redis_client, most=1, ttl_s=60).add(message(2))

    assert [one.id for one in eventually(lambda: list(RedisMessageLog(redis_client, most=9, ttl_s=60).latest()))] == [
        "wamid.2"
    ]
    assert list(log.latest()) == []
    assert raw_redis.keys("unoapi-body:*") == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "a\x1fb",
        f"{PHONE}\x1fsoon\x1fr\x1ftext\x1fx\x1fwamid",
        f"{PHONE}\x1f{9**20}\x1fr\x1ftext\x1fx\x1fwamid",
    ],
)
def test_an_entry_of_another_version_does_not_hide_the_others(
    redis_client: RedisClient, raw_redis: redis.Redis, text: str
) -> None:
    log = RedisMessageLog(redis_client, most=10, ttl_s=60)
    raw_redis.lpush("unoapi-messages", text)
    log.add(message(1))

    assert eventually(lambda: list(log.latest())) == [message(1)]


def test_a_separator_in_a_field_is_a_space(redis_client: RedisClient) -> None:
    log = RedisMessageLog(redis_client, most=600, ttl_s=60)

    log.add(message(1)._replace(contact="a\x1fb", id="wamid.\x1f1"))

    assert eventually(lambda: [(one.contact, one.id) for one in log.latest(PHONE)]) == [("a b", "wamid. 1")]


def test_without_redis_writing_is_silent_and_reading_says_so(away: RedisClient) -> None:
    log = RedisMessageLog(away, most=10, ttl_s=60)

    log.add(message(1))

    with pytest.raises(StoreUnavailable):
        list(log.latest())


def test_a_span_is_a_time_so_long_ago() -> None:
    query = OwnMessageQuery.model_validate({"since": "1h", "until": "2026-01-01T10:00"})

    assert query.since is not None
    assert timedelta(minutes=59) < datetime.now(UTC) - query.since < timedelta(minutes=61)
    assert query.until == datetime(2026, 1, 1, 10, tzinfo=UTC)
