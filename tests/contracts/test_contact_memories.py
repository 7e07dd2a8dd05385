"""What is remembered of contacts: blacklist, timers, who wrote last. And sessions found by their other ids."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from tests.support.fakes import (
    CONTACT,
    PHONE,
    MemoryActivity,
    MemoryMessageLog,
    MemoryOrdering,
    MemorySessions,
    make_event,
    make_session,
    make_webhook,
)
from tests.support.stack import eventually
from unoapi.errors import RequestError, StoreUnavailable
from unoapi.models.activity import RECEIVED
from unoapi.models.cloud_api.callbacks import Change
from unoapi.models.cloud_api.events import split
from unoapi.models.jobs import delivery_id, now_ms
from unoapi.services.webhooks import fan_out, remember, to_fan_out
from unoapi.stores.blacklist import RedisBlacklist
from unoapi.stores.session_directory import RedisSessionDirectory
from unoapi.stores.sessions import RedisSessions, environment_config
from unoapi.stores.timers import RedisTimers

if TYPE_CHECKING:
    import redis

    from unoapi.stores.redis import RedisClient

OTHER, ANA = "5521977776666", "BR.1A"
META = {"phoneNumberId": "pnid", "businessAccountId": "waba"}


def sessions_on(redis_client: RedisClient) -> RedisSessions:
    return RedisSessions(redis_client, environment_config(make_webhook().model_dump()))


# --- blacklist ---


def test_a_contact_is_blocked_for_one_webhook_for_a_time(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    blacklist = RedisBlacklist(redis_client)

    blacklist.put(PHONE, "a", CONTACT, ttl_s=60)

    assert blacklist.blocking(PHONE, ["a", "b"], [CONTACT]) == {"a"}
    assert blacklist.blocking(OTHER, ["a", "b"], [CONTACT]) == set()
    assert 0 < int(raw_redis.ttl(f"unoapi-blacklist:{PHONE}:a:{CONTACT}")) <= 60


@pytest.mark.parametrize(
    "written", [CONTACT, f"+{CONTACT}", "+55 (49) 98888-7777", "554988887777", f"{CONTACT}@s.whatsapp.net"]
)
def test_a_contact_is_the_same_however_it_is_written(redis_client: RedisClient, written: str) -> None:
    blacklist = RedisBlacklist(redis_client)

    blacklist.put(PHONE, "a", written, ttl_s=60)

    assert blacklist.blocking(PHONE, ["a"], [CONTACT]) == {"a"}


def test_a_time_of_0_ends_a_block_and_one_below_0_is_for_ever(
    redis_client: RedisClient, raw_redis: redis.Redis
) -> None:
    blacklist = RedisBlacklist(redis_client)

    blacklist.put(PHONE, "a", CONTACT, ttl_s=-1)
    assert raw_redis.ttl(f"unoapi-blacklist:{PHONE}:a:{CONTACT}") == -1
    blacklist.put(PHONE, "a", CONTACT, ttl_s=0)

    assert blacklist.blocking(PHONE, ["a"], [CONTACT]) == set()


def test_what_the_node_version_wrote_counts(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    raw_redis.set(f"unoapi-blacklist:{PHONE}:a:{CONTACT}", "1")

    assert RedisBlacklist(redis_client).blocking(PHONE, ["a"], [CONTACT]) == {"a"}


@pytest.mark.parametrize("written", ["5215512345678", "+52 55 1234 5678"])
def test_who_is_taken_off_is_off_in_both_forms_of_a_number(redis_client: RedisClient, written: str) -> None:
    """A mobile of Mexico is muted under all names of its event."""
    forms, blacklist = ["5215512345678", "525512345678"], RedisBlacklist(redis_client)
    for form in forms:
        blacklist.put(PHONE, "a", form, ttl_s=60)
    blacklist.block(PHONE, ["b"], forms)

    blacklist.put(PHONE, "a", written, ttl_s=0)
    blacklist.unblock(PHONE, ["b"], [written])

    assert blacklist.blocked_by_any(PHONE, ["a", "b"], forms) == set()
    assert blacklist.blocked(PHONE) == []


def test_with_redis_away_nobody_is_blocked(away: RedisClient) -> None:
    blacklist = RedisBlacklist(away)

    blacklist.mute(PHONE, CONTACT, {"a": 60})

    assert blacklist.blocking(PHONE, ["a"], [CONTACT]) == set()


def test_blocked_users_are_listed_until_they_are_unblocked(redis_client: RedisClient) -> None:
    blacklist = RedisBlacklist(redis_client)

    blacklist.block(PHONE, ["a", "b"], [f"+{CONTACT}"])
    assert blacklist.blocked(PHONE) == [CONTACT]
    assert blacklist.blocking(PHONE, ["a", "b"], [CONTACT]) == {"a", "b"}
    blacklist.unblock(PHONE, ["a", "b"], [CONTACT])

    assert blacklist.blocked(PHONE) == []
    assert blacklist.blocking(PHONE, ["a", "b"], [CONTACT]) == set()


def test_a_full_blacklist_takes_no_other_contact_and_keeps_those_it_has(
    redis_client: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unoapi.stores.blacklist.MAX_ENTRIES", 2)
    blacklist = RedisBlacklist(redis_client)
    blacklist.put(PHONE, "a", CONTACT, ttl_s=60)
    blacklist.put(PHONE, "b", CONTACT, ttl_s=-1)

    with pytest.raises(RequestError):
        blacklist.put(PHONE, "a", OTHER, ttl_s=60)
    blacklist.put(PHONE, "a", CONTACT, ttl_s=120)
    blacklist.mute(PHONE, OTHER, {"b": 60})
    redis_client.close()  # runs what was posted

    assert blacklist.blocking(PHONE, ["a", "b"], [CONTACT]) == {"a", "b"}
    assert blacklist.blocking(PHONE, ["a", "b"], [OTHER]) == set()


@pytest.mark.parametrize("way", ["taken off", "unblocked", "over"])
def test_an_entry_that_has_ended_leaves_room_for_another(
    redis_client: RedisClient, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr("unoapi.stores.blacklist.MAX_ENTRIES", 1)
    blacklist = RedisBlacklist(redis_client)
    blacklist.put(PHONE, "a", CONTACT, ttl_s=1)

    if way == "taken off":
        blacklist.put(PHONE, "a", CONTACT, ttl_s=0)
    elif way == "unblocked":
        blacklist.unblock(PHONE, ["a"], [CONTACT])
    else:
        time.sleep(2.1)
    blacklist.put(PHONE, "a", OTHER, ttl_s=60)

    assert blacklist.blocking(PHONE, ["a"], [OTHER]) == {"a"}


def test_muted_contacts_count(redis_client: RedisClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unoapi.stores.blacklist.MAX_ENTRIES", 1)
    RedisBlacklist(redis_client).mute(PHONE, CONTACT, {"a": -1})
    redis_client.close()  # runs what was posted

    with pytest.raises(RequestError):
        RedisBlacklist(redis_client).put(PHONE, "a", OTHER, ttl_s=60)


# --- timers ---


def test_a_timer_counts_until_its_time_is_over(redis_client: RedisClient) -> None:
    timers = RedisTimers(redis_client, ttl_s=60)

    timers.waits(PHONE, "one", until_ms=now_ms() + 60_000)
    timers.waits(PHONE, "one", until_ms=now_ms() + 60_000)
    timers.waits(PHONE, "over", until_ms=now_ms() - 1)
    redis_client.close()  # runs what was posted

    assert (timers.waiting(PHONE), timers.waiting(OTHER)) == (1, 0)


def test_a_timer_is_stopped_by_each_form_of_a_mobile_of_mexico(redis_client: RedisClient) -> None:
    timers = RedisTimers(redis_client, ttl_s=60)

    timers.touch(PHONE, "525512345678", at_ms=17)
    timers.touch(PHONE, "5215512345678", at_ms=18)

    assert timers.state(PHONE, "525512345678").last_ms == 18


def test_a_timer_knows_its_last_touch_and_who_wrote_last(redis_client: RedisClient) -> None:
    timers = RedisTimers(redis_client, ttl_s=60)
    assert timers.state(PHONE, CONTACT).last_ms is None

    timers.touch(PHONE, CONTACT, at_ms=17)
    timers.wrote({(PHONE, CONTACT): True})
    redis_client.close()  # runs what was posted

    state = RedisTimers(redis_client, ttl_s=60).state(PHONE, CONTACT)
    assert (state.last_ms, state.direction) == (17, "incoming")


def test_of_many_who_wrote_only_the_number_itself_is_remembered(
    redis_client: RedisClient, raw_redis: redis.Redis
) -> None:
    timers = RedisTimers(redis_client, ttl_s=60)
    before = RedisTimers(redis_client, ttl_s=60)
    before.wrote({(PHONE, CONTACT): True, (PHONE, OTHER): True, (OTHER, CONTACT): True})
    raw_redis.set(f"unoapi-message-direction:{PHONE}:5511955554444", "outgoing")  # as an earlier version wrote it

    timers.wrote({(PHONE, CONTACT): False, (PHONE, OTHER): True, (OTHER, CONTACT): False})
    redis_client.close()  # runs what was posted

    conversations = [(PHONE, CONTACT), (PHONE, OTHER), (OTHER, CONTACT), (PHONE, "5511955554444")]
    after = RedisTimers(redis_client, ttl_s=60)
    assert [after.state(*one).direction for one in conversations] == ["", "incoming", "", "outgoing"]
    assert raw_redis.ttl(f"unoapi-message-direction:{PHONE}:{OTHER}") == 60


@pytest.mark.parametrize("own_last", [True, False])
def test_of_a_batch_the_last_event_says_who_wrote_last_however_it_writes_the_phone(
    redis_client: RedisClient, *, own_last: bool
) -> None:
    received = make_event(**{"from": "554988887777"})
    sent = make_event(**{"from": PHONE, "to": CONTACT})
    events = (received, sent, received, sent) if own_last else (sent, received, sent, received)
    sessions = MemorySessions(make_session())
    jobs = [to_fan_out(event, phone=PHONE, sessions=sessions) for event in events]

    remember(
        [fan_out(job, sessions=sessions, max_age_s=60) for job in jobs],
        ordering=MemoryOrdering(),
        blacklist=RedisBlacklist(redis_client),
        activity=MemoryActivity(),
        timers=RedisTimers(redis_client, ttl_s=60),
        message_log=MemoryMessageLog(),
    )
    redis_client.close()  # runs what was posted

    direction = RedisTimers(redis_client, ttl_s=60).state(PHONE, CONTACT).direction
    assert direction == ("incoming" if own_last else "")


def test_what_events_mean_that_are_remembered_together_is_what_each_of_them_means(redis_client: RedisClient) -> None:
    muting = make_webhook(addToBlackListOnOutgoingMessageWithTtl=60)
    received_only = make_webhook(id="bot", urlAbsolute="http://bot.test", ordered=True, sendOutgoingMessages=False)
    sessions = MemorySessions(make_session(muting, received_only), make_session().model_copy(update={"phone": OTHER}))
    ana = [{"profile": {"name": "Ana"}, "wa_id": CONTACT, "user_id": ANA}]
    received, own = {"from": CONTACT, "from_user_id": ANA}, {"from": PHONE, "to": CONTACT, "to_user_id": ANA}
    events = [
        (phone, event)
        for phone, name, item in [
            (PHONE, "messages", {"id": "wamid.1", **received}),
            (OTHER, "messages", {"id": "wamid.2", **received}),
            (PHONE, "message_echoes", {"id": "wamid.3", **own}),
            (PHONE, "statuses", {"id": "wamid.4", "status": "read", "recipient_id": CONTACT}),
            (PHONE, "messages", {"id": "wamid.5", **received}),
            (PHONE, "message_echoes", {"id": "wamid.6", **own}),
        ]
        for event in split(phone, [Change({"contacts": ana, name: [{"timestamp": "1", "type": "text", **item}]})])
    ]
    jobs = [to_fan_out(event, phone=phone, sessions=sessions) for phone, event in events]
    activity, message_log, ordering = MemoryActivity(), MemoryMessageLog(bodies=True), MemoryOrdering()
    timers, blacklist = RedisTimers(redis_client, ttl_s=60), RedisBlacklist(redis_client)
    ordering.join(jobs)

    remember(
        [fan_out(job, sessions=sessions, max_age_s=60) for job in jobs],
        ordering=ordering,
        blacklist=blacklist,
        activity=activity,
        timers=timers,
        message_log=message_log,
    )

    listed = [(one.phone, one.id, one.direction, one.contact) for one in message_log.latest()]
    assert listed == [
        (PHONE, "wamid.6", "sent", CONTACT), (PHONE, "wamid.5", "received", CONTACT),
        (PHONE, "wamid.3", "sent", CONTACT), (OTHER, "wamid.2", "received", CONTACT),
        (PHONE, "wamid.1", "received", CONTACT),
    ]  # fmt: skip
    assert message_log.body(PHONE, "wamid.3") == jobs[2].body
    assert [activity.read(phone, "week").totals.counts[RECEIVED] for phone in (PHONE, OTHER)] == [2, 1]
    unfiltered = [delivery_id(jobs[number].id, "bot") for number in (0, 3, 4)]
    assert [line for line in ordering.lines.values() if line] == [unfiltered]
    names = (CONTACT, ANA)
    assert eventually(lambda: all(blacklist.blocking(PHONE, ["default"], [name]) for name in names))
    assert not any(blacklist.blocking(OTHER, ["default"], [name]) for name in names)
    assert eventually(lambda: all(timers.state(PHONE, name).direction == "incoming" for name in names))
    assert not any(timers.state(OTHER, name).direction for name in names)


def test_what_is_owed_is_settled_also_by_events_that_wait_for_nobody() -> None:
    anything: Any = mock.MagicMock()

    remember([], ordering=anything, blacklist=anything, activity=anything, timers=anything, message_log=anything)

    anything.skip.assert_called_once_with([])


def test_redis_is_not_told_that_nobody_wrote() -> None:
    nobody: Any = None

    RedisTimers(nobody, ttl_s=60).wrote({})


def test_with_redis_away_the_state_of_a_timer_is_an_error(away: RedisClient) -> None:
    timers = RedisTimers(away, ttl_s=60)

    timers.wrote({(PHONE, CONTACT): False})

    with pytest.raises(StoreUnavailable):
        timers.state(PHONE, CONTACT)


# --- directory ---


def stored(raw_redis: redis.Redis, phone: str, **config: Any) -> None:
    """As the Node version stores it."""
    raw_redis.set(f"unoapi-config:{phone}", json.dumps(config))


def test_sessions_of_the_node_version_are_found(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    stored(raw_redis, PHONE, webhookForward=META)
    stored(raw_redis, OTHER, webhookForward={"businessAccountId": "waba"})

    directory = RedisSessionDirectory(redis_client, sessions_on(redis_client))

    assert directory.phones_of("waba") == (PHONE, OTHER)
    assert [session.phone for session in directory.all()] == [PHONE, OTHER]


def test_what_is_too_long_for_an_id_is_not_kept_in_memory(redis_client: RedisClient) -> None:
    directory = RedisSessionDirectory(redis_client, sessions_on(redis_client))

    assert directory.phones_of("1" * 65) == ("1" * 65,)
    assert directory.phones_of("1" * 64) == ("1" * 64,)
    assert list(directory._nodes) == ["1" * 64]


def test_options_that_are_not_valid_count_as_absent(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    stored(raw_redis, PHONE, provider="sandbox", ignoreGroupMessages="perhaps", autoRestartMs=-5, label="shop")

    session = sessions_on(redis_client).find(PHONE)

    assert (session.provider, session.label, session.ignore_group_messages) == ("sandbox", "shop", True)


def test_a_refresh_sees_what_another_process_stored_a_moment_ago(redis_client: RedisClient) -> None:
    here, there = sessions_on(redis_client), sessions_on(redis_client)
    here.save(PHONE, {"label": "old"})
    here.find(PHONE)
    there.save(PHONE, {"label": "new"})
    assert here.find(PHONE).label == "old"

    here.refresh(PHONE)

    assert here.find(PHONE).label == "new"


def test_wrong_tokens_do_not_make_all_sessions_anew(
    redis_client: RedisClient, raw_redis: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may send them, and 2,000 sessions take a second of the processor."""
    for number in range(2000):
        stored(raw_redis, f"551190000{number:04}", authToken=f"token-{number}")
    sessions = sessions_on(redis_client)
    directory = RedisSessionDirectory(redis_client, sessions)
    assert [session.phone for session in directory.opened_by("token-7")] == ["5511900000007"]
    make = mock.Mock(side_effect=sessions._readable)
    monkeypatch.setattr(sessions, "_readable", make)
    reads = int(raw_redis.info("commandstats")["cmdstat_mget"]["calls"])

    began = time.monotonic()
    refused = [directory.opened_by(f"wrong-{number}") for number in range(500)]
    took_s = time.monotonic() - began

    rounds = (int(raw_redis.info("commandstats")["cmdstat_mget"]["calls"]) - reads) / 10
    assert refused == [[]] * 500
    assert make.call_count == 0
    assert rounds <= 2 + 20 * took_s


def test_a_token_that_was_registered_or_taken_away_just_now_is_known(
    redis_client: RedisClient, raw_redis: redis.Redis
) -> None:
    """The other side: all sessions are kept, and only what changed is made anew."""
    for number in range(200):
        stored(raw_redis, f"551190000{number:04}", authToken=f"token-{number}")
    directory, other_process = RedisSessionDirectory(redis_client, sessions_on(redis_client)), sessions_on(redis_client)
    assert directory.opened_by("new") == []
    assert directory.opened_by("token-7")

    other_process.save(PHONE, {"authToken": "new"})
    other_process.save("5511900000007", {"authToken": "other"})

    eventually(lambda: directory.opened_by("new"), within_s=2, what="the new token opens its session")
    eventually(lambda: not directory.opened_by("token-7"), within_s=2, what="the token that was taken away opens none")
    assert [session.phone for session in directory.opened_by("other")] == ["5511900000007"]
