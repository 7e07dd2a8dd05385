"""First looks: what each store says of a job alone, for many jobs at once."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.fakes import (
    CONTACT,
    PHONE,
    MemoryDeliveries,
    MemoryFirstLooks,
    MemorySessions,
    make_delivery,
    make_fan_out,
    make_session,
    make_status,
)
from tests.support.stack import eventually
from unoapi.errors import StoreUnavailable
from unoapi.models.cloud_api.callbacks import Change
from unoapi.models.cloud_api.events import split
from unoapi.models.jobs import delivery_id
from unoapi.models.trace import TraceEntry
from unoapi.stores.blacklist import RedisBlacklist
from unoapi.stores.deliveries import RedisDeliveries
from unoapi.stores.first_looks import RedisFirstLooks
from unoapi.stores.sessions import RedisSessions, environment_config
from unoapi.stores.statuses import RedisStatuses
from unoapi.stores.traces import RedisTraces

if TYPE_CHECKING:
    import redis

    from unoapi.models.first_look import FirstLook
    from unoapi.models.jobs import DeliverWebhook, FanOut
    from unoapi.ports import Deliveries, FirstLooks
    from unoapi.stores.redis import Command, OnAnswer, RedisClient

STRANGER = "5521977776666"
DELIVERED = TraceEntry(step="delivered", phone=PHONE, message_id="wamid.1")


class Parts(NamedTuple):
    """The looks, and the stores that they ask."""

    looks: FirstLooks
    deliveries: Deliveries
    memory: MemoryFirstLooks | None = None
    redis: RedisClient | None = None

    def of(self, *jobs: FanOut | DeliverWebhook) -> list[FirstLook | None]:
        return looks_of(self.looks, *jobs)

    def block(self) -> None:
        if self.memory is not None:
            self.memory.blocked.add(CONTACT)
        if self.redis is not None:
            RedisBlacklist(self.redis).put(PHONE, "default", CONTACT, ttl_s=60)

    def read_message(self) -> None:
        """Let a later status of the message be published."""
        if self.memory is not None:
            self.memory.superseded.add("wamid.1")
        if self.redis is not None:
            statuses = RedisStatuses(self.redis, ttl_s=60)
            statuses.admit(PHONE, "wamid.1", status="read", event_id="later", member="")


@pytest.fixture(params=["memory", "redis"])
def parts(request: pytest.FixtureRequest) -> Parts:
    """A session with one webhook."""
    if request.param == "memory":
        memory_deliveries = MemoryDeliveries()
        memory = MemoryFirstLooks(MemorySessions(make_session()), memory_deliveries)
        return Parts(memory, memory_deliveries, memory=memory)
    client = request.getfixturevalue("redis_client")
    sessions = RedisSessions(client, environment_config(None))
    sessions.save(PHONE, {"webhooks": [{"id": "default", "urlAbsolute": "http://receiver.test/hook"}]})
    return Parts(*redis_looks(client, sessions), redis=client)


def looks_of(looks: FirstLooks, *jobs: FanOut | DeliverWebhook) -> list[FirstLook | None]:
    ready = threading.Event()
    answer = looks.begin(jobs, on_ready=ready.set)
    assert ready.wait(5)
    return answer()


def redis_looks(client: RedisClient, sessions: RedisSessions) -> tuple[RedisFirstLooks, RedisDeliveries]:
    deliveries = RedisDeliveries(client, RedisTraces(client, ttl_s=60), done_ttl_s=60)
    statuses = RedisStatuses(client, ttl_s=60)
    return RedisFirstLooks(client, sessions=sessions, deliveries=deliveries, statuses=statuses), deliveries


def test_of_new_ones_nothing_stands_in_the_way(parts: Parts) -> None:
    event, delivery = parts.of(make_fan_out(), make_delivery())

    for look in (event, delivery):
        assert look is not None
        assert look.session.webhook("default") is not None
        assert not look.state.done
        assert look.state.breaker == ""
        assert look.admitted
        assert look.blocking(PHONE, ["default"], [CONTACT]) == set()


def test_a_delivery_that_is_done_is_known_by_its_event_too(parts: Parts) -> None:
    event = make_fan_out()
    parts.deliveries.finish(delivery_id(event.id, "default"), DELIVERED)
    parts.deliveries.finish("delivery-1", DELIVERED)

    looks = parts.of(event, make_delivery(), make_delivery(id="delivery-2"))

    assert [look.state.done for look in looks if look is not None] == [True, True, False]


def test_an_endpoint_that_is_paused_is_so_for_all_its_jobs(parts: Parts) -> None:
    parts.deliveries.suspend(make_delivery().endpoint, pause_ms=60_000)

    looks = parts.of(make_fan_out(), make_delivery())

    assert all(look is not None and look.state.paused_ms > 50_000 for look in looks)


def test_a_contact_on_the_blacklist_is_blocked_in_its_events_alone(parts: Parts) -> None:
    parts.block()

    event, status = parts.of(make_fan_out(), make_fan_out(make_status(recipient=STRANGER)))

    assert event is not None
    assert event.blocking(PHONE, ["default"], [CONTACT]) == {"default"}
    assert status is not None
    assert status.blocking(PHONE, ["default"], [STRANGER]) == set()


def test_a_contact_is_blocked_by_any_of_its_names(parts: Parts) -> None:
    parts.block()
    contact = {"profile": {"name": "Ana"}, "wa_id": CONTACT, "user_id": "BR.1A"}
    value = {"contacts": [contact], "messages": [{"id": "wamid.1", "from": CONTACT, "from_user_id": "BR.1A"}]}
    (event,) = split(PHONE, [Change(value)])

    (look,) = parts.of(make_fan_out(event))

    assert look is not None
    assert look.blocked


def test_a_status_that_a_later_one_has_overtaken_is_not_admitted(parts: Parts) -> None:
    parts.read_message()

    status, delivery = parts.of(make_fan_out(make_status("delivered")), make_delivery(message_id="wamid.2"))

    assert status is not None
    assert not status.admitted
    assert delivery is not None
    assert delivery.admitted


def test_a_session_that_is_not_stored_has_to_be_asked_for(parts: Parts) -> None:
    stranger, known = parts.of(make_delivery(phone=STRANGER), make_delivery())

    assert stranger is None
    assert known is not None


def test_a_session_that_was_read_counts_though_it_grows_old_before_the_answer(
    redis_client: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = RedisSessions(redis_client, environment_config(None))
    sessions.save(PHONE, {"webhooks": [{"id": "default", "urlAbsolute": "http://receiver.test/hook"}]})
    looks, _ = redis_looks(redis_client, sessions)
    ready = threading.Event()
    answer = looks.begin([make_delivery()], on_ready=ready.set)
    monkeypatch.setattr("unoapi.stores.sessions.FRESH_S", 0.0)

    assert ready.wait(5)
    (look,) = answer()
    assert look is not None


def test_who_has_read_its_answers_is_forgotten_without_the_collector(parts: Parts) -> None:
    """All messages of a batch hang on it: 25 objects a delivery, for which the collector took 17 microseconds."""

    class Asker:
        def __init__(self) -> None:
            self.ready = threading.Event()
            self.answer = parts.looks.begin([make_delivery()], on_ready=self.note_ready)

        def note_ready(self) -> None:
            self.ready.set()

    asker = Asker()
    assert asker.ready.wait(5)
    assert asker.answer()
    forgotten = weakref.ref(asker)

    gc.disable()
    try:
        del asker
        eventually(lambda: forgotten() is None, what="the end of who asked")  # the thread that called it lets it go
    finally:
        gc.enable()


def test_what_many_numbers_need_is_asked_in_three_commands(
    redis_client: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    phones = [f"55119{70_000_000 + number}" for number in range(60)]
    config = {"webhooks": [{"id": "default", "urlAbsolute": "http://receiver.test/hook"}]}
    for phone in phones:
        RedisSessions(redis_client, environment_config(None)).save(phone, config)
    looks, _ = redis_looks(redis_client, RedisSessions(redis_client, environment_config(None)))
    commands: list[Command] = []
    ask = redis_client.ask

    def counted(*asked: Command, on_answer: OnAnswer) -> None:
        commands.extend(asked)
        ask(*asked, on_answer=on_answer)

    monkeypatch.setattr(redis_client, "ask", counted)

    known = looks_of(looks, *(make_delivery(id=phone, phone=phone) for phone in phones))

    assert [look and look.session.phone for look in known] == phones
    assert [name for name, *_ in commands] == ["MGET", "MGET", "SMISMEMBER"]


def test_a_number_whose_configuration_cannot_be_read_spoils_no_other_look(
    redis_client: RedisClient, raw_redis: redis.Redis
) -> None:
    sessions = RedisSessions(redis_client, environment_config(None))
    sessions.save(PHONE, {"webhooks": [{"id": "default", "urlAbsolute": "http://receiver.test/hook"}]})
    raw_redis.set(f"unoapi-config:{STRANGER}", "no JSON")
    looks, _ = redis_looks(redis_client, RedisSessions(redis_client, environment_config(None)))

    unreadable, known = looks_of(looks, make_delivery(phone=STRANGER), make_delivery())

    assert unreadable is None
    assert known is not None


def test_without_redis_every_job_has_to_ask_for_itself(away: RedisClient) -> None:
    looks, _ = redis_looks(away, RedisSessions(away, environment_config(None)))

    assert looks_of(looks, make_fan_out(), make_delivery()) == [None, None]
    with pytest.raises(StoreUnavailable):  # by then it is skipped
        looks.begin([make_delivery()], on_ready=lambda: None)


def test_a_key_of_another_kind_spoils_the_look_of_its_own_job_alone(parts: Parts) -> None:
    if parts.redis is None:
        pytest.skip("the memory has no kinds")
    parts.redis.call(("RPUSH", f"unoapi-told:{PHONE}:wamid.1", "another program's"))

    status, delivery = parts.of(make_fan_out(make_status("delivered")), make_delivery())

    assert status is None
    assert delivery is not None
