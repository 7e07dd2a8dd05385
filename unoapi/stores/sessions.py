"""The configured phones: `unoapi-config:<P>` in Redis, over the environment, with a cache for when Redis is away."""

from __future__ import annotations

import json
import random
import secrets
import time
from contextlib import contextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from unoapi.errors import RequestError, SessionUnknown, StoreUnavailable, describe
from unoapi.models.endpoints import Endpoint
from unoapi.models.jobs import now_ms
from unoapi.models.options import Forward
from unoapi.models.provenance import Environment, goes_nowhere
from unoapi.models.session import NO_VALID_ADDRESS, WHERE_EVENTS_GO, Session, Webhook, with_own_ids
from unoapi.stores.activity import last_error_key
from unoapi.stores.campaigns import campaigns_key
from unoapi.stores.config_changes import ConfigChanges
from unoapi.stores.deliveries import kept_keys
from unoapi.stores.message_log import log_key
from unoapi.stores.redis import DELETE_IF_OWN
from unoapi.stores.redis_marker import KEY, READ, RedisMarker, write_first
from unoapi.stores.request_bin import bin_key
from unoapi.stores.session_index import ALL, CHANGES, index_commands, reindex_commands
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from unoapi.stores.redis import Command, RedisClient

log = get_logger(__name__)

FRESH_S = 0.5
"""A changed configuration reaches every process within this time."""
UNCHANGED_S = 10.0
"""One that nobody changed, as Redis says, is read again after so long: what else stands beside it may be another."""
FEW = 50
"""So many configurations are read again with less effort than it takes to be told of changes."""
STALE_S = 600.0
"""With Redis away, a configuration seen this recently still counts."""
MAX_CACHED = 10_000
AT_ONCE = 200
MAX_CONFIG_BYTES = 64 * 1024
BEGAN_TTL_S = 30 * 86_400
"""So long after a removal a number that is registered knows of it, and then for ever."""
CHANGE_MS, CHANGE_WAIT_S = 10_000, 5.0
"""How long a change of a configuration may take, and how long the next one waits for its end."""
ESSENTIAL = frozenset({"phone", "provider", "authToken", "webhooks"})
"""Fields without which a session cannot be served. Other fields that are not valid count as absent."""


class Seen(NamedTuple):
    """What Redis said of a phone, when it was asked (`time.monotonic`), and the hash of the text that was read then."""

    at: float
    session: Session | None
    text_hash: int | None = None

    def session_of(self, text: str) -> Session | None:
        """The session, if it was made of this text: to make it costs more than to read it, and it seldom changes."""
        return self.session if self.text_hash == hash(text) else None


class RedisSessions:
    """Sessions by phone.

    After a loss of Redis's data (see `redis_marker`) events of unknown phones wait, instead of going to the
    environment's webhook, until `confirm`. A phone whose key is gone alone (evicted, or newer than the backup that was
    restored) is still in the index of stored phones: its events wait until it is stored again or removed on purpose.
    `check` may refuse a session before it is stored.
    """

    def __init__(
        self, redis: RedisClient, environment: Environment, *, check: Callable[[Session], None] = lambda _: None
    ) -> None:
        self._redis = redis
        self._check = check
        self._environment = environment
        self._cache: dict[str, Seen] = {}
        self._changes = ConfigChanges(redis, prefix=_key(""), all_with=KEY)
        self._marker = RedisMarker(redis)
        self._lost: set[str] = set()

    def load_marker(self) -> None:
        """Read the marker now, so that a loss is noticed that happens before the first event. Never raises."""
        self._marker.load()

    def find(self, phone: str) -> Session:
        """The stored session, or the environment's. Raises SessionUnknown."""
        return self._or_environment(phone, self._look_up(phone))

    def _or_environment(self, phone: str, session: Session | None) -> Session:
        if session is not None:
            return session
        if self._marker.lost:
            raise SessionUnknown(f"Redis lost its data: the configuration of {phone} may have gone with it")
        return self.environment_session(phone)

    def find_all(self, phones: Iterable[str]) -> dict[str, Session]:
        """What `find` returns for each of these phones, without those for which it raises.

        They are read now, though they were read a moment ago, and hundreds with one question.
        """
        wanted, found = list(phones), dict[str, Session]()
        for start in range(0, len(wanted), AT_ONCE):
            found |= self._find_together(wanted[start : start + AT_ONCE])
        return found

    def _find_together(self, phones: list[str]) -> dict[str, Session]:
        found, asked_at = {}, time.monotonic()
        try:
            (*texts, marker), indexed = self._redis.call(*look_commands(phones))
        except StoreUnavailable:
            return {phone: session for phone in phones if (session := self._seen_lately(phone)) is not None}
        for phone, text, is_indexed in zip(phones, texts, indexed, strict=True):
            with suppress(SessionUnknown):
                session = self._note(phone, text, marker, indexed=bool(is_indexed), asked_at=asked_at)
                found[phone] = self._or_environment(phone, session)
        return found

    def _seen_lately(self, phone: str) -> Session | None:
        """The session as it was seen last: with Redis away it still counts."""
        seen = self._cache.get(phone)
        return seen.session if seen is not None and time.monotonic() - seen.at < STALE_S else None

    def resolve(self, phone: str, *, stored: bool) -> Session:
        """The session that an event was accepted for. Raises SessionUnknown."""
        if not stored:
            return self.environment_session(phone)
        session = self._look_up(phone)
        if session is not None:
            return session
        try:
            (removed,) = self._redis.call(("EXISTS", _removed_key(phone)))
        except StoreUnavailable as error:
            raise SessionUnknown(f"the configuration of {phone} cannot be read: {error}") from error
        if removed:
            return Session(phone=phone, stored=True)
        raise SessionUnknown(f"the configuration of {phone} is gone from Redis")

    def refresh(self, phone: str) -> None:
        """Read this phone from Redis next time: what was expected is not in the configuration seen last."""
        seen = self._cache.get(phone)
        if seen is not None:
            self._changes.note([_key(phone)])
            self._cache[phone] = seen._replace(at=min(seen.at, time.monotonic() - FRESH_S))

    def environment_session(self, phone: str) -> Session:
        """The session of a phone that was never stored."""
        return self._environment.session(phone)

    def config(self, phone: str) -> dict[str, Any] | None:
        """The stored configuration, whose webhooks have ids of their own. Raises StoreUnavailable."""
        (text,) = self._redis.call(("GET", _key(phone)))
        return _parsed(phone, text) if text is not None else None

    def phones(self) -> list[str]:
        """All stored phones. Raises StoreUnavailable. Walks the keys in bounded steps."""
        cursor, phones = "0", set[str]()
        while True:
            ((cursor, keys),) = self._redis.call(("SCAN", cursor, "MATCH", _key("*"), "COUNT", 1000))
            phones.update(key.removeprefix(_key("")) for key in keys)
            if str(cursor) == "0":
                return sorted(phone for phone in phones if phone.isdigit())

    def indexed(self) -> list[str]:
        """The phones in the index: all but those that another program stored. Raises StoreUnavailable."""
        (phones,) = self._redis.call(("SMEMBERS", ALL))
        return sorted(str(phone) for phone in phones or ())

    def is_known(self, phone: str) -> bool:
        """Whether this process has seen the phone's stored configuration lately. Asks nobody."""
        seen = self._cache.get(phone)
        return seen is not None and seen.session is not None and time.monotonic() - seen.at < STALE_S

    def changes(self) -> str:
        """Another word after each session that was stored or removed by us. Raises StoreUnavailable."""
        (changes,) = self._redis.call(("GET", CHANGES))
        return f"{changes}"

    def configs(self, phones: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The same of these phones; those that are gone or no JSON are left out.

        Raises StoreUnavailable.
        """
        configs = {}
        for phone, text in self._texts(phones):
            try:
                configs[phone] = _parsed(phone, text)
            except SessionUnknown:
                continue
        return configs

    def _texts(self, phones: Iterable[str]) -> Iterator[tuple[str, str]]:
        """What Redis has of these phones, as far as it has something. Raises StoreUnavailable."""
        wanted = [phone for phone in phones if phone.isdigit()]
        for start in range(0, len(wanted), AT_ONCE):
            part = wanted[start : start + AT_ONCE]
            (texts,) = self._redis.call(("MGET", *(_key(phone) for phone in part)))
            yield from ((phone, text) for phone, text in zip(part, texts, strict=True) if text is not None)

    def many(self, phones: Iterable[str]) -> list[Session]:
        """The stored sessions of these phones; those that are gone or cannot be read are left out.

        Raises StoreUnavailable.
        """
        return [seen.session for seen in self.read_again(phones, {}).values() if seen.session is not None]

    def read_again(self, phones: Iterable[str], earlier: Mapping[str, Seen]) -> dict[str, Seen]:
        """What is stored of these phones; of what did not change since `earlier`, the session that was made then.

        A configuration that cannot be read has no session. Raises StoreUnavailable.
        """
        read = {}
        for phone, text in self._texts(phones):
            seen = earlier.get(phone)
            if seen is None or seen.text_hash != hash(text):
                try:
                    session = self._readable(phone, _parsed(phone, text))
                except (TypeError, ValueError, SessionUnknown):
                    session = None
                seen = Seen(time.monotonic(), session, hash(text))
            read[phone] = seen
        return read

    @contextmanager
    def changing(self, phone: str) -> Iterator[None]:
        """A time in which nobody else changes what is stored of a phone: what was read in it may be written.

        Raises StoreUnavailable, also when others change it all the time.
        """
        name, mark, until = f"unoapi-changing:{phone}", secrets.token_hex(8), time.monotonic() + CHANGE_WAIT_S
        try:
            while not self._redis.call(("SET", name, mark, "NX", "PX", CHANGE_MS))[0]:
                if time.monotonic() > until:
                    raise StoreUnavailable("others change the configuration of this number")
                time.sleep(random.uniform(0.005, 0.03))  # noqa: S311 (no secret)
            yield
        finally:  # also when no answer came: perhaps it was set all the same
            self._redis.post(("EVAL", DELETE_IF_OWN, 1, name, mark))

    def save(self, phone: str, config: dict[str, Any]) -> Session:
        """Store a configuration.

        Raises ValidationError, RequestError when it is too large, or what `check` raises, before anything is written;
        StoreUnavailable.
        """
        if began_ms := self._began_ms(phone):
            config = {**config, "beganMs": began_ms}
        session = self._session(phone, config)
        self._check(session)
        text = json.dumps(config)
        if len(text) > MAX_CONFIG_BYTES:
            details = f"The configuration of a number has at most {MAX_CONFIG_BYTES} bytes of JSON."
            raise RequestError("Invalid parameter", code=100, status=400, details=details)
        asked_at = time.monotonic()
        *_, marker = self._redis.call(
            ("SET", _key(phone), text),
            ("DEL", _removed_key(phone)),
            *index_commands(session),
            ("INCR", CHANGES),
            write_first(),
            READ,
        )
        self._marker.observe(marker, stored=True)
        self._remember(phone, session, asked_at)
        return session

    def remove(self, phone: str, *, remember_s: int) -> bool:
        """Remove a session on purpose. For `remember_s` seconds its waiting deliveries end with that reason.

        Who registers the number next finds no messages and campaigns of before, no pause and no error of its webhooks,
        and gets no event of before: it may be somebody else.
        """
        endpoints = [Endpoint(phone, webhook_id) for webhook_id in self._webhook_ids(phone)]
        # In this order: a key that is gone while the phone is in the index is a loss.
        *_, removed, _ = self._redis.call(
            ("SREM", ALL, phone),
            ("SET", _removed_key(phone), "1", "EX", remember_s),
            ("SET", _began_key(phone), now_ms(), "EX", BEGAN_TTL_S),
            ("DEL", log_key(phone), campaigns_key(phone), bin_key(phone)),
            *(("DEL", *kept_keys(endpoint), last_error_key(endpoint.key)) for endpoint in endpoints),
            ("DEL", _key(phone)),
            ("INCR", CHANGES),
        )
        self._remember(phone, None, time.monotonic())
        return bool(removed)

    def _webhook_ids(self, phone: str) -> list[str]:
        """Those of a stored session that can be read."""
        with suppress(SessionUnknown):
            session = self.find(phone)
            return [webhook.id for webhook in session.webhooks] if session.stored else []
        return []

    def _began_ms(self, phone: str) -> int:
        """When the number was removed last, in Unix milliseconds; 0: not lately. Raises StoreUnavailable."""
        (began,) = self._redis.call(("GET", _began_key(phone)))
        return int(began or 0)

    def confirm(self) -> None:
        """Say that the phones which Redis knows now are all there are. Raises StoreUnavailable."""
        self._marker.confirm()
        (phones,) = self._redis.call(("SMEMBERS", ALL))
        gone = sorted(set(phones) - set(self._stored(phones)))
        for start in range(0, len(gone), AT_ONCE):
            self._redis.call(("SREM", ALL, *gone[start : start + AT_ONCE]))

    def _stored(self, phones: Iterable[str]) -> list[str]:
        """Those of the phones whose configuration is there, readable or not. Raises StoreUnavailable."""
        wanted, stored = sorted(phones), []
        for start in range(0, len(wanted), AT_ONCE):
            part = wanted[start : start + AT_ONCE]
            there = self._redis.call(*(("EXISTS", _key(phone)) for phone in part))
            stored += [phone for phone, exists in zip(part, there, strict=True) if exists]
        return stored

    def fresh(self, phone: str) -> Session | None:
        """The stored session, if it was read a moment ago, or nobody has changed it since. Asks nobody.

        None is no answer: another process may know of a loss by now.
        """
        seen = self._cache.get(phone)
        if seen is None:
            return None
        age_s = time.monotonic() - seen.at
        if age_s < FRESH_S:
            return seen.session
        is_unchanged = age_s < UNCHANGED_S and self._changes.cover(phone, asked_at=seen.at, within_s=FRESH_S)
        return seen.session if is_unchanged else None

    def note(self, phones: Sequence[str], answers: Iterable[Any], *, asked_at: float) -> None:
        """Remember the answers to `look_commands` of these phones, for `fresh`. `asked_at` is monotonic."""
        (*texts, marker), indexed = answers
        for phone, text, is_indexed in zip(phones, texts, indexed, strict=True):
            with suppress(SessionUnknown):  # who needs it asks again, and gets the reason
                self._note(phone, text, marker, indexed=bool(is_indexed), asked_at=asked_at)

    def _look_up(self, phone: str) -> Session | None:
        if (session := self.fresh(phone)) is not None:
            return session
        asked_at = time.monotonic()
        try:
            (text, marker), (indexed,) = self._redis.call(*look_commands([phone]))
        except StoreUnavailable as error:
            if (session := self._seen_lately(phone)) is not None:
                return session
            raise SessionUnknown(f"the configuration of {phone} cannot be read: {error}") from error
        return self._note(phone, text, marker, indexed=bool(indexed), asked_at=asked_at)

    def _note(
        self, phone: str, text: str | None, marker: str | None, *, indexed: bool, asked_at: float
    ) -> Session | None:
        """The session in what Redis said, which is remembered. Raises SessionUnknown."""
        seen = self._cache.get(phone)
        self._marker.observe(marker, stored=text is not None)
        if text is None and indexed:
            raise self._key_lost(phone)
        session = seen.session_of(text) if seen is not None and text is not None else None
        if text is not None and session is None:
            try:
                session = self._readable(phone, _parsed(phone, text))
            except (TypeError, ValueError) as error:  # pydantic's is a ValueError
                log.error("session_unreadable", phone=phone, error=describe(error), hint="correct it with register")
                raise SessionUnknown(f"the stored configuration of {phone} is not valid: {describe(error)}") from None
            if seen is None and session.has_short_token:
                log.warning("session_token_short", phone=phone, hint="give it at least 16 characters with register")
        self._lost.discard(phone)
        if session is not None and not indexed:
            self._redis.post(*reindex_commands(session))  # the Node version's, or older than the index
        self._remember(phone, session, asked_at, text_hash=hash(text))
        return session

    def _key_lost(self, phone: str) -> SessionUnknown:
        if phone not in self._lost and len(self._lost) < MAX_CACHED:
            self._lost.add(phone)
            log.error(
                "session_lost",
                phone=phone,
                hint="its key is gone from Redis: store it again with register, or deregister it; its events wait. "
                "See that maxmemory-policy is noeviction",
            )
        return SessionUnknown(f"the configuration of {phone} is gone from Redis: store it again, or deregister it")

    def _remember(self, phone: str, session: Session | None, asked_at: float, *, text_hash: int | None = None) -> None:
        self._cache.pop(phone, None)  # so that the order is that of reading
        if len(self._cache) >= MAX_CACHED:
            for longest_unread in list(self._cache)[: max(1, MAX_CACHED // 10)]:
                self._cache.pop(longest_unread, None)
        self._cache[phone] = Seen(asked_at, session, text_hash)
        if len(self._cache) > FEW:
            self._changes.start()

    def _readable(self, phone: str, config: dict[str, Any]) -> Session:
        """A stored configuration, perhaps the Node version's, without the options that are not valid."""
        try:
            return self._session(phone, config)
        except ValidationError as error:
            places = [problem["loc"] for problem in error.errors(include_input=False) if problem["loc"]]
            wrong = {str(place[0]) for place in places if not _is_of_webhook(place)}
            if not places or wrong & ESSENTIAL:
                raise
            fields = sorted({".".join(map(str, place)) for place in places})
            log.warning("session_options_ignored", phone=phone, fields=fields, hint="correct them with register")
            return self._session(phone, _without_options(config, places), invalid=frozenset(wrong))

    def _session(self, phone: str, config: dict[str, Any], *, invalid: frozenset[str] = frozenset()) -> Session:
        return self._environment.complete(phone, config, invalid=invalid)


def environment_config(
    webhook: dict[str, Any] | None,
    forward: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    *,
    forward_phones: frozenset[str] = frozenset(),
) -> Environment:
    """What the environment gives to the phones: its webhook (Python's names), its account at Meta, its options."""
    return Environment(
        webhook=None if webhook is None else Webhook.model_validate(webhook, by_name=True, by_alias=True),
        forward=Forward.model_validate(forward or {}),
        options=options or {},
        forward_phones=forward_phones,
    )


def _parsed(phone: str, text: str) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise SessionUnknown(f"the stored configuration of {phone} is not a JSON object")
    return with_own_ids(config)


def _is_of_webhook(place: tuple[int | str, ...]) -> bool:
    return place[0] == "webhooks" and bool(place[2:]) and place[2] != "id"


def _without_options(config: dict[str, Any], places: Iterable[tuple[int | str, ...]]) -> dict[str, Any]:
    """The configuration whose webhooks have no options at these places.

    One that cannot be served has an address that leads nowhere: what goes there fails, as in the Node version, and
    costs the other webhooks nothing. It gets no token.
    """
    wrong = {place[1:3] for place in places if _is_of_webhook(place)}
    if not wrong:
        return config
    unserved = {number for number, name in wrong if name in WHERE_EVENTS_GO}
    webhooks, checked = [], count()
    for webhook in config["webhooks"]:
        if goes_nowhere(webhook):  # it was not checked
            webhooks.append(webhook)
            continue
        number = next(checked)
        kept = {name: part for name, part in webhook.items() if (number, name) not in wrong}
        if number in unserved:
            kept = {name: part for name, part in kept.items() if name not in WHERE_EVENTS_GO}
            kept |= {"id": webhook.get("id") or "default", "urlAbsolute": NO_VALID_ADDRESS}
        webhooks.append(kept)
    return {**config, "webhooks": webhooks}


def look_commands(phones: Sequence[str]) -> tuple[Command, Command]:
    """What is asked of phones that were not read a moment ago."""
    return ("MGET", *map(_key, phones), KEY), ("SMISMEMBER", ALL, *phones)


def _key(phone: str) -> str:
    return f"unoapi-config:{phone}"


def _removed_key(phone: str) -> str:
    return f"unoapi-removed:{phone}"


def _began_key(phone: str) -> str:
    return f"unoapi-began:{phone}"
