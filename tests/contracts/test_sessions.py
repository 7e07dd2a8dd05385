"""SessionStore: which session serves a phone, also when Redis is away or lost its data."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from pydantic import ValidationError

from tests.support.fakes import PHONE, SECRET, MemorySessions, make_webhook
from tests.support.stack import eventually
from unoapi.errors import RequestError, SessionUnknown, StoreUnavailable
from unoapi.models.bulk import Campaign
from unoapi.models.jobs import now_ms
from unoapi.models.message_log import LoggedMessage
from unoapi.models.request_bin import BinnedRequest
from unoapi.models.session import computed_waba_id
from unoapi.services.sessions import change, check_addresses
from unoapi.stores.campaigns import RedisCampaigns
from unoapi.stores.message_log import RedisMessageLog
from unoapi.stores.request_bin import RedisRequestBin
from unoapi.stores.sessions import RedisSessions, environment_config

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from unoapi.models.session import Session
    from unoapi.ports import Sessions
    from unoapi.stores.redis import RedisClient

OTHER = "5521977776666"
ENVIRONMENT = make_webhook(id="default", urlAbsolute="http://environment.test/hook", token=SECRET)
CONFIG = {"provider": "sandbox", "webhooks": [{"id": "own", "urlAbsolute": "http://own.test/hook"}]}


def refuse_forbidden(session: Session) -> None:
    if session.label == "forbidden":
        raise RequestError("Not allowed", code=100, status=400, details="label")


class World(Protocol):
    """A store, and what changes the data under it."""

    @property
    def store(self) -> Sessions: ...
    def save(self, phone: str, config: dict[str, Any]) -> Session: ...
    def remove(self, phone: str) -> bool: ...
    def forget_everything(self) -> None: ...
    def lose(self, phone: str) -> None: ...
    def go_away(self) -> None: ...
    def confirm(self) -> None: ...


class MemoryWorld:
    def __init__(self) -> None:
        self.store = MemorySessions(environment=(ENVIRONMENT,), check=refuse_forbidden)
        self.save, self.remove = self.store.save, self.store.remove
        self.forget_everything, self.confirm = self.store.forget_everything, self.store.confirm
        self.lose = self.store.lose

    def go_away(self) -> None:
        self.store.away = True


class RedisWorld:
    def __init__(self, redis_client: RedisClient, raw_redis: redis.Redis) -> None:
        self.redis, self.raw_redis = redis_client, raw_redis
        self.store = RedisSessions(redis_client, environment_config(ENVIRONMENT.model_dump()), check=refuse_forbidden)
        self.confirm, self.save = self.store.confirm, self.store.save

    def remove(self, phone: str) -> bool:
        return self.store.remove(phone, remember_s=60)

    def forget_everything(self) -> None:
        self.raw_redis.flushall()

    def lose(self, phone: str) -> None:
        self.raw_redis.delete(f"unoapi-config:{phone}")

    def go_away(self) -> None:
        self.redis._skip_until = time.monotonic() + 60


@pytest.fixture(params=["memory", "redis"])
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> World:
    if request.param == "memory":
        return MemoryWorld()
    monkeypatch.setattr("unoapi.stores.sessions.FRESH_S", 0.0)  # every look-up reads Redis
    return RedisWorld(request.getfixturevalue("redis_client"), request.getfixturevalue("raw_redis"))


def ids(session: Any) -> list[str]:
    return [webhook.id for webhook in session.webhooks]


def test_a_stored_phone_has_its_own_configuration(world: World) -> None:
    world.save(PHONE, CONFIG)

    session = world.store.find(PHONE)

    assert (session.phone, session.stored, session.provider, ids(session)) == (PHONE, True, "sandbox", ["own"])


def test_a_phone_that_was_never_stored_is_served_by_the_environment(world: World) -> None:
    world.save(OTHER, CONFIG)

    session = world.store.find(PHONE)

    assert (session.phone, session.stored) == (PHONE, False)
    assert session.webhooks == (ENVIRONMENT,)


def test_many_are_found_at_once_and_one_that_is_lost_costs_no_other(world: World) -> None:
    world.save(PHONE, CONFIG)
    world.save(OTHER, CONFIG)
    world.lose(OTHER)

    found = world.store.find_all([PHONE, OTHER, "5511999990003"])

    assert {phone: session.stored for phone, session in found.items()} == {PHONE: True, "5511999990003": False}


def test_while_redis_is_away_those_that_were_never_seen_are_not_among_many(world: World) -> None:
    world.go_away()

    assert world.store.find_all([PHONE]) == {}


def test_many_are_read_now_though_one_was_read_a_moment_ago(sessions: RedisSessions, redis_client: RedisClient) -> None:
    """Who asks has heard of a change, and does not ask again for that one."""
    sessions.save(PHONE, CONFIG)
    another_process = RedisSessions(redis_client, environment_config(None))
    another_process.save(PHONE, {**CONFIG, "provider": "whatsmeow"})

    assert sessions.find_all([PHONE])[PHONE].provider == "whatsmeow"


def test_only_the_operator_takes_a_number_from_meta_that_the_environment_put_there(redis_client: RedisClient) -> None:
    sessions = RedisSessions(redis_client, environment_config(None, options={"connectionType": "forward"}))
    sessions.save(PHONE, {"label": "shop"})
    to_phone = {"connectionType": "qrcode"}

    with pytest.raises(RequestError, match="Permission denied"):
        change(PHONE, to_phone, sessions=sessions, by_operator=False)
    assert sessions.find(PHONE).provider == "forwarder"
    change(PHONE, {"connectionType": "forward", "label": "x"}, sessions=sessions, by_operator=False)
    change(PHONE, to_phone, sessions=sessions, by_operator=True)
    assert sessions.find_all([PHONE])[PHONE].provider == "whatsmeow"


def test_while_redis_is_away_those_that_were_seen_lately_are_among_many(
    sessions: RedisSessions, redis_client: RedisClient
) -> None:
    sessions.save(PHONE, CONFIG)
    redis_client._skip_until = time.monotonic() + 60

    assert ids(sessions.find_all([PHONE, OTHER])[PHONE]) == ["own"]
    assert OTHER not in sessions.find_all([PHONE, OTHER])


def test_a_change_is_seen(world: World) -> None:
    world.save(PHONE, CONFIG)
    world.store.find(PHONE)

    world.save(PHONE, {**CONFIG, "provider": "forwarder"})

    assert world.store.find(PHONE).provider == "forwarder"


def test_an_event_of_a_stored_session_is_resolved_by_it(world: World) -> None:
    world.save(PHONE, CONFIG)

    assert ids(world.store.resolve(PHONE, stored=True)) == ["own"]


def test_an_event_of_the_environment_stays_with_it_though_the_phone_is_stored_later(world: World) -> None:
    world.save(PHONE, CONFIG)

    session = world.store.resolve(PHONE, stored=False)

    assert (session.stored, session.webhooks) == (False, (ENVIRONMENT,))


def test_of_a_session_removed_on_purpose_no_webhook_is_left(world: World) -> None:
    world.save(PHONE, CONFIG)

    world.remove(PHONE)

    assert world.store.resolve(PHONE, stored=True).webhooks == ()
    assert world.store.find(PHONE).webhooks == (ENVIRONMENT,)


def test_a_session_that_comes_back_after_its_removal_is_itself_again(world: World) -> None:
    world.save(PHONE, CONFIG)
    world.remove(PHONE)

    world.save(PHONE, CONFIG)

    assert ids(world.store.resolve(PHONE, stored=True)) == ["own"]


def test_what_is_the_owners_of_a_number_begins_with_its_removal(world: World) -> None:
    world.save(PHONE, CONFIG)
    assert world.store.find(PHONE).began_ms == 0

    world.remove(PHONE)
    world.save(PHONE, CONFIG)
    world.save(PHONE, {**CONFIG, "beganMs": 1})

    assert now_ms() - 10_000 < world.store.find(PHONE).began_ms <= now_ms()


def test_a_session_that_is_gone_without_a_removal_waits(world: World) -> None:
    world.save(PHONE, CONFIG)

    world.forget_everything()

    with pytest.raises(SessionUnknown):
        world.store.resolve(PHONE, stored=True)


def test_after_a_loss_nobody_is_served_by_the_environment_until_it_is_confirmed(world: World) -> None:
    world.save(PHONE, CONFIG)
    world.forget_everything()

    for phone in (PHONE, OTHER):
        with pytest.raises(SessionUnknown):
            world.store.find(phone)
    world.save(PHONE, CONFIG)
    with pytest.raises(SessionUnknown):
        world.store.find(OTHER)
    world.confirm()

    assert ids(world.store.find(PHONE)) == ["own"]
    assert world.store.find(OTHER).webhooks == (ENVIRONMENT,)


def test_after_a_loss_a_session_that_is_stored_again_is_served(world: World) -> None:
    world.save(PHONE, CONFIG)
    world.forget_everything()

    world.save(PHONE, CONFIG)

    assert ids(world.store.find(PHONE)) == ["own"]
    assert ids(world.store.resolve(PHONE, stored=True)) == ["own"]


def test_while_the_store_is_away_a_phone_that_was_never_seen_waits(world: World) -> None:
    world.go_away()

    with pytest.raises(SessionUnknown):
        world.store.find(PHONE)
    with pytest.raises(SessionUnknown):
        world.store.resolve(PHONE, stored=True)


def test_while_the_store_is_away_the_environments_events_go_on(world: World) -> None:
    world.go_away()

    assert world.store.resolve(PHONE, stored=False).webhooks == (ENVIRONMENT,)


def test_a_phone_whose_key_alone_is_lost_waits_until_it_is_stored_again(world: World) -> None:
    world.save(PHONE, CONFIG)
    world.save(OTHER, CONFIG)

    world.lose(PHONE)

    with pytest.raises(SessionUnknown):
        world.store.find(PHONE)
    with pytest.raises(SessionUnknown):
        world.store.resolve(PHONE, stored=True)
    assert ids(world.store.find(OTHER)) == ["own"]
    world.save(PHONE, CONFIG)
    assert ids(world.store.find(PHONE)) == ["own"]


def test_a_phone_whose_key_is_lost_can_be_removed_on_purpose(world: World) -> None:
    world.save(PHONE, CONFIG)
    world.lose(PHONE)

    world.remove(PHONE)

    assert world.store.find(PHONE).webhooks == (ENVIRONMENT,)
    assert world.store.resolve(PHONE, stored=True).webhooks == ()


def test_to_confirm_ends_the_wait_for_lost_keys_too(world: World) -> None:
    world.save(PHONE, CONFIG)
    world.save(OTHER, CONFIG)
    world.lose(PHONE)

    world.confirm()

    assert world.store.find(PHONE).webhooks == (ENVIRONMENT,)
    assert ids(world.store.find(OTHER)) == ["own"]


def test_what_is_stored_is_given_as_it_came(world: World) -> None:
    config = {**CONFIG, "authToken": SECRET, "anOptionOfAFutureVersion": {"a": 1}}

    saved = world.save(PHONE, config)
    world.save(OTHER, CONFIG)

    assert saved == world.store.find(PHONE)
    assert world.store.config(PHONE) == config
    assert world.store.config("5511900000000") is None
    assert world.store.configs([PHONE, OTHER, "5511900000000"]) == {PHONE: config, OTHER: CONFIG}
    assert world.store.phones() == sorted([PHONE, OTHER])


def test_what_a_caller_does_to_a_configuration_changes_nothing(world: World) -> None:
    world.save(PHONE, CONFIG)

    read = world.store.config(PHONE) or {}
    read["webhooks"].clear()

    assert world.store.config(PHONE) == CONFIG


@pytest.mark.parametrize(
    ("config", "error"), [({"provider": "telegram"}, ValidationError), ({"label": "forbidden"}, RequestError)]
)
def test_what_is_refused_is_not_stored(world: World, config: dict[str, Any], error: type[Exception]) -> None:
    world.save(PHONE, CONFIG)

    with pytest.raises(error):
        world.save(PHONE, config)

    assert world.store.config(PHONE) == CONFIG


def test_a_removal_says_whether_there_was_something(world: World) -> None:
    world.save(PHONE, CONFIG)

    assert (world.remove(PHONE), world.remove(PHONE)) == (True, False)
    assert world.store.config(PHONE) is None
    assert world.store.phones() == []


def test_while_the_store_is_away_nothing_is_changed_or_read(world: World) -> None:
    world.go_away()

    for ask in (
        lambda: world.save(PHONE, CONFIG),
        lambda: world.remove(PHONE),
        lambda: world.store.config(PHONE),
        lambda: world.store.configs([PHONE]),
        world.store.phones,
    ):
        with pytest.raises(StoreUnavailable):
            ask()
    world.store.load_marker()


# --- Redis alone ---


@pytest.fixture
def sessions(redis_client: RedisClient, monkeypatch: pytest.MonkeyPatch) -> RedisSessions:
    monkeypatch.setattr("unoapi.stores.sessions.FRESH_S", 0.0)
    return RedisSessions(redis_client, environment_config(ENVIRONMENT.model_dump()))


def test_a_session_seen_lately_is_served_while_redis_is_away(
    sessions: RedisSessions, redis_client: RedisClient
) -> None:
    sessions.save(PHONE, CONFIG)
    sessions.find(PHONE)

    redis_client._skip_until = time.monotonic() + 60

    assert ids(sessions.find(PHONE)) == ["own"]
    assert ids(sessions.resolve(PHONE, stored=True)) == ["own"]


def test_a_phone_seen_without_configuration_waits_while_redis_is_away(
    sessions: RedisSessions, redis_client: RedisClient
) -> None:
    sessions.find(PHONE)

    redis_client._skip_until = time.monotonic() + 60

    with pytest.raises(SessionUnknown):
        sessions.find(PHONE)


def test_a_change_of_another_process_is_seen_within_half_a_second(
    redis_client: RedisClient, raw_redis: redis.Redis
) -> None:
    sessions = RedisSessions(redis_client, environment_config(None))
    sessions.save(PHONE, CONFIG)

    raw_redis.set(f"unoapi-config:{PHONE}", json.dumps({**CONFIG, "provider": "forwarder"}))
    time.sleep(0.6)

    assert sessions.find(PHONE).provider == "forwarder"


def test_a_configuration_that_stays_the_same_is_parsed_once(
    sessions: RedisSessions, raw_redis: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unoapi.stores.sessions.FRESH_S", 0.0)  # each look-up reads Redis
    sessions.save(PHONE, CONFIG)
    first, second = sessions.find(PHONE), sessions.find(PHONE)
    raw_redis.set(f"unoapi-config:{PHONE}", json.dumps({**CONFIG, "rejectCalls": "no calls, please"}))
    changed = sessions.find(PHONE)

    assert first is second
    assert (first.reject_calls, changed.reject_calls) == ("", "no calls, please")


@pytest.mark.parametrize("text", [True, 5, "x" * 3000])
def test_an_older_name_with_what_is_not_valid_makes_no_number_unreadable(
    sessions: RedisSessions, raw_redis: redis.Redis, text: object
) -> None:
    sessions.save(PHONE, CONFIG)
    raw_redis.set(f"unoapi-config:{PHONE}", json.dumps({**CONFIG, "rejectCallsWebhook": text}))

    (session,) = sessions.many([PHONE])

    assert session.message_calls_webhook == ""


def test_what_the_node_version_stored_is_read(sessions: RedisSessions, raw_redis: redis.Redis) -> None:
    stored = {
        "provider": "baileys",
        "authToken": "t",
        "webhooks": [{"id": "a", "url": "", "urlAbsolute": "http://a.test"}],
    }
    raw_redis.set(f"unoapi-config:{PHONE}", json.dumps(stored))

    session = sessions.find(PHONE)

    assert (session.stored, session.provider, ids(session)) == (True, "whatsmeow", ["a"])


def test_webhooks_of_one_id_that_the_node_version_stored_are_all_served_and_kept(
    sessions: RedisSessions, raw_redis: redis.Redis
) -> None:
    webhooks = [{"id": "a", "urlAbsolute": "http://a.test"}, {"id": "a", "urlAbsolute": "http://b.test"}]
    raw_redis.set(f"unoapi-config:{PHONE}", json.dumps({"webhooks": webhooks}))

    assert ids(sessions.find(PHONE)) == ["a", "a-2"]
    change(PHONE, {"label": "x", "webhooks": [{"id": "a", "token": "t"}]}, sessions=sessions, by_operator=True)

    addresses = [webhook.url_absolute for webhook in sessions.find(PHONE).webhooks]
    assert addresses == ["http://a.test/", "http://b.test/"]


def test_an_option_of_a_webhook_that_the_node_version_took_costs_no_events(
    sessions: RedisSessions, raw_redis: redis.Redis
) -> None:
    webhook = {"id": "a", "urlAbsolute": "http://a.test", "sendGroupMessages": "sim", "timeoutMs": 0}
    raw_redis.set(f"unoapi-config:{PHONE}", json.dumps({"webhooks": [webhook], "qrTimeoutMs": "x"}))

    (read,) = sessions.find(PHONE).webhooks

    assert (read.id, read.send_group_messages, read.timeout_ms) == ("a", True, 15_000)


@pytest.mark.parametrize(
    "wrong",
    [
        {"urlAbsolute": "crm.test/hook"}, {"url": "localhost:3000/hook"}, {"urlAbsolute": "ftp://b.test"}, {"url": 5},
        {"urlAbsolute": "http://b.test", "header": "X Token"},
    ],
)  # fmt: skip
def test_a_webhook_that_the_node_version_could_not_post_to_costs_the_others_no_events(
    sessions: RedisSessions, raw_redis: redis.Redis, wrong: dict[str, Any]
) -> None:
    nowhere = {"id": "fake", "url": "http://localhost:9876/webhooks/fake"}
    webhooks = [
        nowhere,
        {"id": "a", "urlAbsolute": "http://a.test", "ordered": "x"},
        {"id": "b", "token": "t", **wrong},
    ]
    raw_redis.set(f"unoapi-config:{PHONE}", json.dumps({"authToken": "t", "webhooks": webhooks}))

    good, bad = sessions.find(PHONE).webhooks

    assert (good.id, good.address(PHONE)) == ("a", "http://a.test/")
    assert (bad.id, bad.address(PHONE)) == ("b", "https://the-address-is-not-valid.invalid/")
    assert bad.token.get_secret_value() == ""
    assert sessions.find(PHONE).has_webhook_without_address


def test_the_lost_key_of_a_session_of_the_node_version_is_noticed(
    sessions: RedisSessions, raw_redis: redis.Redis
) -> None:
    raw_redis.set(f"unoapi-config:{PHONE}", json.dumps(CONFIG))
    sessions.find(PHONE)
    assert eventually(lambda: raw_redis.sismember("unoapi-sessions", PHONE))

    raw_redis.delete(f"unoapi-config:{PHONE}")

    with pytest.raises(SessionUnknown):
        sessions.find(PHONE)


@pytest.mark.parametrize(("recorded", "left"), [("", None), ("at", "online")])
def test_a_status_of_the_node_version_ends_with_it(
    sessions: RedisSessions, raw_redis: redis.Redis, recorded: str, left: str | None
) -> None:
    raw_redis.set(f"unoapi-status:{PHONE}", "online")
    if recorded:  # by a connector
        raw_redis.hset(f"unoapi-connection:{PHONE}", recorded, "1000")
    raw_redis.set(f"unoapi-config:{PHONE}", json.dumps(CONFIG))

    sessions.find(PHONE)

    assert eventually(lambda: raw_redis.sismember("unoapi-sessions", PHONE))
    assert raw_redis.get(f"unoapi-status:{PHONE}") == left


def test_what_the_node_version_would_let_expire_stays(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    stored = (f"unoapi-config:{PHONE}", f"unoapi-template:{PHONE}")
    for key in stored:
        raw_redis.set(key, json.dumps(CONFIG), ex=100)

    RedisSessions(redis_client, environment_config(None)).find(PHONE)

    assert eventually(lambda: [raw_redis.ttl(key) for key in stored] == [-1, -1])


def test_a_loss_is_also_noticed_with_sessions_of_the_node_version(
    sessions: RedisSessions, raw_redis: redis.Redis
) -> None:
    raw_redis.set(f"unoapi-config:{PHONE}", json.dumps(CONFIG))
    sessions.find(PHONE)
    sessions.find(PHONE)

    raw_redis.flushall()

    with pytest.raises(SessionUnknown):
        sessions.find(OTHER)


@pytest.mark.parametrize("text", ["{", "[]", "5", '{"provider": "telegram"}', '{"webhooks": 5}'])
def test_a_configuration_that_cannot_be_read_waits_and_never_goes_elsewhere(
    sessions: RedisSessions, raw_redis: redis.Redis, text: str
) -> None:
    raw_redis.set(f"unoapi-config:{PHONE}", text)

    with pytest.raises(SessionUnknown):
        sessions.find(PHONE)
    with pytest.raises(SessionUnknown):
        sessions.resolve(PHONE, stored=True)


@pytest.mark.parametrize(
    "config",
    [
        {"provider": "telegram"},
        {"webhooks": 5},
        {"webhooks": "text"},
        {"webhooks": [5]},
        {"webhooks": [{"id": "a", "urlAbsolute": "http://["}]},
        {"webhooks": [{"id": "a", "urlAbsolute": 5}]},
        {"webhooks": [{"id": "a", "urlAbsolute": "ftp://x.test"}]},
    ],
)
def test_a_wrong_configuration_is_refused_before_anything_is_written(
    sessions: RedisSessions, raw_redis: redis.Redis, config: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError):
        sessions.save(PHONE, config)

    assert raw_redis.keys("*") == []


def test_fields_that_we_do_not_read_are_saved(sessions: RedisSessions) -> None:
    webhook = {"id": "own", "urlAbsolute": "http://own.test/hook", "addToBlackListOnOutgoingMessageWithTtl": 1}
    config = {"provider": "sandbox", "rejectCalls": "no calls", "webhooks": [webhook]}

    sessions.save(PHONE, config)

    assert sessions.config(PHONE) == config


@pytest.mark.parametrize("webhooks", [None, []])
def test_a_session_without_webhooks_has_the_environments(sessions: RedisSessions, webhooks: Any) -> None:
    sessions.save(PHONE, {"provider": "sandbox", "webhooks": webhooks})

    session = sessions.find(PHONE)

    assert (session.stored, session.webhooks) == (True, (ENVIRONMENT,))


def test_a_webhook_without_an_address_takes_the_environments_with_its_token(sessions: RedisSessions) -> None:
    sessions.save(PHONE, {"webhooks": [{"id": "own", "sendGroupMessages": False}]})

    (webhook,) = sessions.find(PHONE).webhooks

    assert (webhook.id, webhook.send_group_messages) == ("own", False)
    assert (str(webhook.url_absolute), webhook.token) == (str(ENVIRONMENT.url_absolute), ENVIRONMENT.token)


def test_the_environments_token_never_goes_to_another_host(sessions: RedisSessions) -> None:
    addresses = ["http://other.test/hook", "https://environment.test/hook", "http://environment.test:81/hook"]
    sessions.save(PHONE, {"webhooks": [{"id": str(n), "urlAbsolute": url} for n, url in enumerate(addresses)]})

    session = sessions.find(PHONE)

    assert [str(webhook.url_absolute) for webhook in session.webhooks] == addresses
    assert [webhook.token.get_secret_value() for webhook in session.webhooks] == ["", "", ""]


@pytest.mark.parametrize(
    "other",
    [
        {"urlAbsolute": "http://environment.test/other"},
        {"urlAbsolute": "http://environment.test/hook?a=b"},
        {"urlAbsolute": "http://environment.test/hook/"},
        {"url": "http://environment.test/hook", "url_absolute": "http://environment.test/hook"},
        {"url": "http://environment.test/hook"},
    ],
)
def test_another_address_of_the_environments_host_does_not_get_its_token(
    sessions: RedisSessions, other: dict[str, Any]
) -> None:
    sessions.save(PHONE, {"webhooks": [{"id": "own", **other}]})

    (webhook,) = sessions.find(PHONE).webhooks

    assert webhook.token.get_secret_value() == ""


def test_the_environments_own_address_keeps_its_token_in_its_own_header(sessions: RedisSessions) -> None:
    address = str(ENVIRONMENT.url_absolute)
    sessions.save(PHONE, {"webhooks": [{"id": "own", "urlAbsolute": address, "header": "X-Key"}]})

    (webhook,) = sessions.find(PHONE).webhooks

    assert (webhook.token.get_secret_value(), webhook.header) == (SECRET, ENVIRONMENT.header)


def test_of_the_environments_two_addresses_the_one_with_the_phone_is_that_phones_alone(
    redis_client: RedisClient,
) -> None:
    environment = environment_config({"url": "http://environment.test/hook", "token": SECRET})
    sessions = RedisSessions(redis_client, environment)
    paths = [PHONE, OTHER]
    webhooks = [{"id": path, "urlAbsolute": f"http://environment.test/hook/{path}"} for path in paths]
    sessions.save(PHONE, {"webhooks": webhooks})

    assert [webhook.token.get_secret_value() for webhook in sessions.find(PHONE).webhooks] == [SECRET, ""]


META = {"url": "https://graph.test", "version": "v21.0", "phoneNumberId": "1", "token": SECRET}


@pytest.mark.parametrize(
    "own", [{"url": "https://evil.test"}, {"version": "v1.0"}, {"phoneNumberId": "2"}, {"businessAccountId": "3"}]
)
def test_a_session_that_names_an_account_at_meta_gets_no_token_but_its_own(
    redis_client: RedisClient, own: dict[str, str]
) -> None:
    sessions = RedisSessions(redis_client, environment_config(None, META))
    sessions.save(PHONE, {"webhookForward": own})

    session = sessions.find(PHONE)

    assert (session.webhook_forward.token.get_secret_value(), session.environments_account) == ("", False)


def test_the_environments_account_at_meta_counts_as_a_whole(redis_client: RedisClient) -> None:
    sessions = RedisSessions(redis_client, environment_config(None, META))
    sessions.save(PHONE, {"webhookForward": {"appSecret": "own", "timeoutMs": 5}})

    session = sessions.find(PHONE)

    account = session.webhook_forward
    assert (account.token.get_secret_value(), account.phone_number_id, account.timeout_ms) == (SECRET, "1", 5)
    assert session.environments_account


@pytest.mark.parametrize(
    ("config", "ids"),
    [
        ({"provider": "forwarder"}, ("1", "2", "2")),
        ({"connectionType": "forward"}, ("1", "2", "2")),
        ({"provider": "whatsmeow"}, (PHONE, computed_waba_id(PHONE), PHONE)),
        ({"provider": "sandbox", "webhookForward": {}}, (PHONE, computed_waba_id(PHONE), PHONE)),
        ({"provider": "sandbox", "webhookForward": {"phoneNumberId": "7"}}, ("7", computed_waba_id(PHONE, "7"), PHONE)),
    ],
)
def test_no_phone_has_the_ids_of_the_environments_number_at_meta(
    redis_client: RedisClient, config: dict[str, Any], ids: tuple[str, str, str]
) -> None:
    sessions = RedisSessions(redis_client, environment_config(None, {**META, "businessAccountId": "2"}))
    sessions.save(PHONE, config)

    session = sessions.find(PHONE)

    assert (session.phone_number_id, session.waba_id, session.entry_id) == ids


def test_the_operator_says_which_phones_use_the_environments_account(redis_client: RedisClient) -> None:
    environment = environment_config(None, META, forward_phones=frozenset({OTHER}))
    sessions = RedisSessions(redis_client, environment)
    for phone in (PHONE, OTHER):
        sessions.save(phone, CONFIG)

    tokens = [sessions.find(phone).webhook_forward.token.get_secret_value() for phone in (PHONE, OTHER)]

    assert tokens == ["", SECRET]
    assert sessions.environment_session("5531966665555").webhook_forward.token.get_secret_value() == ""


def test_a_stored_account_that_is_not_valid_does_not_become_the_environments(
    redis_client: RedisClient, raw_redis: redis.Redis
) -> None:
    sessions = RedisSessions(redis_client, environment_config(None, META))
    config = {**CONFIG, "webhookForward": {"version": "none"}}
    raw_redis.set(f"unoapi-config:{PHONE}", json.dumps(config))

    session = sessions.find(PHONE)

    assert (session.webhook_forward.token.get_secret_value(), session.environments_account) == ("", False)


def test_nobody_says_of_himself_that_he_has_the_environments_account(redis_client: RedisClient) -> None:
    sessions = RedisSessions(redis_client, environment_config(None, META))
    sessions.save(
        PHONE, {"environmentsAccount": True, "environments_account": True, "webhookForward": {"url": "http://a.test"}}
    )

    assert not sessions.find(PHONE).environments_account


def test_all_stored_phones_are_listed(sessions: RedisSessions, raw_redis: redis.Redis) -> None:
    for number in range(50):
        sessions.save(f"55119999{number:05}", CONFIG)
    raw_redis.set("unoapi-config:not-a-phone", "x")

    assert sessions.phones() == [f"55119999{number:05}" for number in range(50)]


def test_without_redis_writing_says_so(away: RedisClient) -> None:
    sessions = RedisSessions(away, environment_config(None))
    attempts: list[Callable[[], object]] = [
        lambda: sessions.save(PHONE, CONFIG),
        lambda: sessions.config(PHONE),
        lambda: sessions.remove(PHONE, remember_s=60),
        sessions.confirm,
        sessions.phones,
    ]

    for attempt in attempts:
        with pytest.raises(StoreUnavailable):
            attempt()


def test_a_webhook_without_any_address_is_refused_and_nothing_is_stored(redis_client: RedisClient) -> None:
    sessions = RedisSessions(
        redis_client,
        environment_config(None),
        check=lambda session: check_addresses(session, refusal=lambda _: ""),
    )

    with pytest.raises(RequestError, match="without an address"):
        sessions.save(PHONE, {"provider": "sandbox", "webhooks": [{"id": "nowhere"}]})

    assert sessions.config(PHONE) is None


def test_who_registers_a_number_next_finds_nothing_of_who_had_it(
    sessions: RedisSessions, redis_client: RedisClient, raw_redis: redis.Redis
) -> None:
    log = RedisMessageLog(redis_client, most=100, ttl_s=60)
    requests, campaigns = RedisRequestBin(redis_client), RedisCampaigns(redis_client, ttl_s=60)
    sessions.save(PHONE, CONFIG)
    log.add(LoggedMessage(now_ms(), PHONE, "received", "5549988887777", "text", "wamid.1"))
    requests.add(PHONE, BinnedRequest(seq=1, webhook="bin", headers={}, body="{}"))
    campaigns.create(Campaign(id="UNO.CMD.0123456789ABCDEF", phone=PHONE, created_ms=1))
    eventually(lambda: list(log.latest(PHONE)))
    kept = [f"unoapi-{what}:{PHONE}:own" for what in ("pause", "breaker", "failing", "last-error")]
    for key in kept:
        raw_redis.set(key, "1")

    sessions.remove(PHONE, remember_s=60)

    assert (list(log.latest(PHONE)), requests.read(PHONE), campaigns.all(PHONE)) == ([], [], [])
    assert not raw_redis.exists(*kept)
    assert 0 < raw_redis.ttl(f"unoapi-began:{PHONE}") <= 30 * 86_400


def test_stored_phones_are_in_the_index_until_they_are_removed(sessions: RedisSessions) -> None:
    """The connector reads it every two seconds, instead of walking through all keys of Redis."""
    sessions.save("5511999990001", {"provider": "whatsmeow"})
    sessions.save("5511999990002", {"provider": "whatsmeow"})
    assert sessions.indexed() == ["5511999990001", "5511999990002"]

    sessions.remove("5511999990001", remember_s=60)

    assert sessions.indexed() == ["5511999990002"]


# --- changes, one at a time ---


def test_changes_of_a_phone_take_turns_and_others_do_not_wait(
    redis_client: RedisClient, raw_redis: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unoapi.stores.sessions.CHANGE_WAIT_S", 0.05)
    here, elsewhere = (RedisSessions(redis_client, environment_config(None)) for _ in range(2))

    with here.changing(PHONE):
        with elsewhere.changing(OTHER):
            pass
        with pytest.raises(StoreUnavailable), elsewhere.changing(PHONE):
            pass
        assert raw_redis.pttl(f"unoapi-changing:{PHONE}") > 0  # it ends by itself, if this process does

    eventually(lambda: not raw_redis.exists(f"unoapi-changing:{PHONE}"))
    with pytest.raises(KeyError), here.changing(PHONE):
        raise KeyError
    eventually(lambda: not raw_redis.exists(f"unoapi-changing:{PHONE}"))
