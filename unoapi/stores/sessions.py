"""The configured phones: `unoapi-config:<P>` in Redis, over the environment, with a cache for when Redis is away."""

from __future__ import annotations

import json
import secrets
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from unoapi.errors import SessionUnknown, StoreUnavailable, describe
from unoapi.models.session import Session, Webhook
from unoapi.services.sessions import check_addresses
from unoapi.stores.session_index import ALL, index_commands
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from unoapi.stores.redis import RedisClient

log = get_logger(__name__)

FRESH_S = 0.5
"""A changed configuration reaches every process within this time."""
STALE_S = 600.0
"""With Redis away, a configuration seen this recently still counts."""
MAX_CACHED = 10_000
MARKER = "unoapi-marker"
CONFIRMED = "confirmed:"
LOST = "lost:"
AT_ONCE = 200
ESSENTIAL = frozenset({"phone", "provider", "authToken", "webhooks"})
"""Fields without which a session cannot be served. Others that do not fit are as if they were not there."""


class RedisSessions:
    """Sessions by phone.

    The marker tells "never stored" from "Redis lost its data": it is written with the first stored session. A process
    that has seen it and finds it gone, or replaced, knows that the data went, and lets events of unknown phones wait
    instead of sending them to the environment's webhook. It says so in the marker, for processes that start later.
    `confirm` ends that.
    """

    def __init__(
        self, store: RedisClient, environment: dict[str, Any], *, refusal: Callable[[str], str] = lambda _: ""
    ) -> None:
        self._store = store
        self._refusal = refusal
        self._environment = environment
        self._cache: dict[str, tuple[float, Session | None]] = {}
        self._marker = ""
        self._lost = False
        self._lock = threading.Lock()

    def load_marker(self) -> None:
        """Look at the marker now, so that a loss is noticed that happens before the first event. Never raises."""
        try:
            (marker,) = self._store.call(("GET", MARKER))
        except StoreUnavailable:
            return
        self._judge_marker(marker, stored=False)

    def find(self, phone: str) -> Session:
        """The stored session, or the environment's. Raises SessionUnknown."""
        session = self._look_up(phone)
        if session is not None:
            return session
        if self._lost:
            raise SessionUnknown(f"Redis lost its data: the configuration of {phone} may have gone with it")
        return self.environment_session(phone)

    def resolve(self, phone: str, *, stored: bool) -> Session:
        """The session that an event was accepted for. Raises SessionUnknown."""
        if not stored:
            return self.environment_session(phone)
        session = self._look_up(phone)
        if session is not None:
            return session
        try:
            (removed,) = self._store.call(("EXISTS", _removed_key(phone)))
        except StoreUnavailable as error:
            raise SessionUnknown(f"the configuration of {phone} cannot be read: {error}") from error
        if removed:
            return Session(phone=phone, stored=True)
        raise SessionUnknown(f"the configuration of {phone} is gone from Redis")

    def refresh(self, phone: str) -> None:
        """Take the next look at this phone from Redis: what was expected is not in the configuration seen last."""
        seen = self._cache.get(phone)
        if seen is not None:
            self._cache[phone] = (min(seen[0], time.monotonic() - FRESH_S), seen[1])

    def environment_session(self, phone: str) -> Session:
        """The session of a phone that was never stored."""
        return Session.model_validate({**self._environment, "phone": phone, "stored": False})

    def config(self, phone: str) -> dict[str, Any] | None:
        """The stored configuration as it is. Raises StoreUnavailable."""
        (text,) = self._store.call(("GET", _key(phone)))
        return _parsed(phone, text) if text is not None else None

    def phones(self) -> list[str]:
        """All stored phones. Raises StoreUnavailable. Walks the keys in bounded steps."""
        cursor, found = "0", set[str]()
        while True:
            ((cursor, keys),) = self._store.call(("SCAN", cursor, "MATCH", _key("*"), "COUNT", 1000))
            found.update(key.removeprefix(_key("")) for key in keys)
            if str(cursor) == "0":
                return sorted(phone for phone in found if phone.isdigit())

    def is_known(self, phone: str) -> bool:
        """Whether this process has seen the phone's stored configuration lately. Asks nobody."""
        seen = self._cache.get(phone)
        return seen is not None and seen[1] is not None and time.monotonic() - seen[0] < STALE_S

    def configs(self, phones: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The stored configurations as they are; those that are gone or no JSON are left out.

        Raises StoreUnavailable.
        """
        wanted = [phone for phone in phones if phone.isdigit()]
        found = {}
        for start in range(0, len(wanted), AT_ONCE):
            part = wanted[start : start + AT_ONCE]
            (texts,) = self._store.call(("MGET", *(_key(phone) for phone in part)))
            for phone, text in zip(part, texts, strict=True):
                try:
                    found.update({phone: _parsed(phone, text)} if text is not None else {})
                except SessionUnknown:
                    continue
        return found

    def many(self, phones: Iterable[str]) -> list[Session]:
        """The stored sessions of these phones; those that are gone or cannot be read are left out.

        Raises StoreUnavailable.
        """
        found = []
        for phone, config in self.configs(phones).items():
            try:
                found.append(self._readable(phone, config))
            except (TypeError, ValueError):
                continue
        return found

    def save(self, phone: str, config: dict[str, Any]) -> Session:
        """Store a configuration.

        Raises ValidationError or RequestError before anything is written, StoreUnavailable.
        """
        session = self._session(phone, config)
        check_addresses(session, refusal=self._refusal)
        *_, marker = self._store.call(
            ("SET", _key(phone), json.dumps(config)),
            ("DEL", _removed_key(phone)),
            *index_commands(session),
            ("SET", MARKER, _new_marker(), "NX"),
            ("GET", MARKER),
        )
        self._judge_marker(marker, stored=True)
        self._remember(phone, session)
        return session

    def remove(self, phone: str, *, keep_s: int) -> bool:
        """Remove a session on purpose; for `keep_s` seconds its waiting deliveries are told so."""
        removed, *_ = self._store.call(
            ("DEL", _key(phone)), ("SET", _removed_key(phone), "1", "EX", keep_s), ("SREM", ALL, phone)
        )
        self._remember(phone, None)
        return bool(removed)

    def confirm(self) -> None:
        """Say that the phones which Redis knows now are all there are. Raises StoreUnavailable."""
        self._store.call(("SET", MARKER, CONFIRMED + _new_marker()))

    def _look_up(self, phone: str) -> Session | None:
        seen = self._cache.get(phone)
        now = time.monotonic()
        if seen is not None and seen[1] is not None and now - seen[0] < FRESH_S:
            return seen[1]  # that there is none is never taken from here: another process may know of a loss by now
        try:
            text, marker = self._store.call(("GET", _key(phone)), ("GET", MARKER))
        except StoreUnavailable as error:
            if seen is not None and now - seen[0] < STALE_S and seen[1] is not None:
                return seen[1]
            raise SessionUnknown(f"the configuration of {phone} cannot be read: {error}") from error
        self._judge_marker(marker, stored=text is not None)
        session = None
        if text is not None:
            try:
                session = self._readable(phone, _parsed(phone, text))
            except (TypeError, ValueError) as error:  # pydantic's is a ValueError
                log.error("session_unreadable", phone=phone, error=describe(error), hint="correct it with register")
                raise SessionUnknown(f"the stored configuration of {phone} is not valid: {describe(error)}") from None
        self._remember(phone, session)
        return session

    def _judge_marker(self, marker: str | None, *, stored: bool) -> None:
        with self._lock:
            if marker is None and not self._marker:
                self._marker = self._first_marker() if stored else ""
                return
            if marker is not None and (marker.startswith(CONFIRMED) or not self._marker):
                self._marker, self._lost = marker, marker.startswith(LOST)
                return
            if marker == self._marker or (self._lost and (marker or "").startswith(LOST)):
                return
            if not self._lost:
                log.error(
                    "redis_lost_its_data",
                    hint="store the sessions again (register); then `unoapi session confirm`. Until then events of "
                    "phones without configuration wait",
                )
            self._lost = True
        if not (marker or "").startswith(LOST):
            self._tell_loss()

    def _first_marker(self) -> str:
        """Mark that sessions are stored. They may be the former program's, which knows no marker."""
        try:
            _, marker = self._store.call(("SET", MARKER, _new_marker(), "NX"), ("GET", MARKER))
        except StoreUnavailable:
            return ""  # the next look-up tries again
        return str(marker or "")

    def _tell_loss(self) -> None:
        """Tell the other processes, before the event that was just accepted reaches one of them."""
        try:
            self._store.call(("SET", MARKER, LOST + _new_marker()))
        except StoreUnavailable:
            return  # the next look-up tells again

    def _remember(self, phone: str, session: Session | None) -> None:
        if len(self._cache) >= MAX_CACHED:
            self._cache.clear()
        self._cache[phone] = (time.monotonic(), session)

    def _readable(self, phone: str, config: dict[str, Any]) -> Session:
        """A stored configuration, perhaps the former program's, without the options that do not fit."""
        try:
            return self._session(phone, config)
        except ValidationError as error:
            wrong = {str(problem["loc"][0]) for problem in error.errors(include_input=False) if problem["loc"]}
            if not wrong or wrong & ESSENTIAL:
                raise
            log.warning("session_options_ignored", phone=phone, fields=sorted(wrong), hint="correct them with register")
            return self._session(phone, {key: value for key, value in config.items() if key not in wrong})

    def _session(self, phone: str, config: dict[str, Any]) -> Session:
        merged = {key: value for key, value in {**self._environment, **config}.items() if value is not None}
        # An empty list never silences a session: it counts as absent.
        stored = config.get("webhooks") or []
        if not isinstance(stored, list):
            merged["webhooks"] = stored  # for the validation to refuse
        elif stored:
            merged["webhooks"] = [self._inherit(webhook) for webhook in stored]
        else:
            merged["webhooks"] = self._environment["webhooks"]
        forward = config.get("webhookForward")
        if forward is None or isinstance(forward, dict):
            own = {key: value for key, value in (forward or {}).items() if value}
            merged["webhookForward"] = {**self._environment.get("webhookForward", {}), **own}
        return Session.model_validate({**merged, "phone": phone, "stored": True})

    def _inherit(self, webhook: Any) -> Any:
        """Missing fields come from the environment's webhook; its token and secret only where it points itself."""
        if not isinstance(webhook, dict) or not self._environment["webhooks"]:
            return webhook
        inherited = dict(self._environment["webhooks"][0])
        own = {key: value for key, value in webhook.items() if value is not None}
        if own.get("url") or own.get("urlAbsolute"):
            if _host(own) != _host(inherited):
                for field in ("token", "secret", "header"):
                    inherited.pop(field, None)
            inherited.pop("url", None)
            inherited.pop("urlAbsolute", None)
        return {**inherited, **own}


def environment_config(webhook: dict[str, Any] | None, forward: dict[str, Any] | None = None) -> dict[str, Any]:
    """The configuration that the environment gives to every phone."""
    account = {"webhookForward": forward} if forward else {}
    if webhook is None:
        return {"webhooks": [], **account}
    return {"webhooks": [Webhook.model_validate(webhook).model_dump(mode="python", by_alias=True)], **account}


def _host(webhook: dict[str, Any]) -> str:
    try:
        parts = urlsplit(str(webhook.get("urlAbsolute") or webhook.get("url") or ""))
    except ValueError:
        return ""  # no address, as the validation says
    return f"{parts.scheme}://{parts.netloc}".lower()


def _parsed(phone: str, text: str) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise SessionUnknown(f"the stored configuration of {phone} is not a JSON object")
    return config


def _key(phone: str) -> str:
    return f"unoapi-config:{phone}"


def _removed_key(phone: str) -> str:
    return f"unoapi-removed:{phone}"


def _new_marker() -> str:
    return secrets.token_hex(8)
