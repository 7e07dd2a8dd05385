"""Whether Redis lost its data: a marker key distinguishes "never stored" from "lost".

`unoapi-marker` is written with the first stored session. A process that has seen it and finds it gone, or replaced,
knows that the data went; it writes that into the marker, for the processes that start later. `confirm` ends that.
"""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING

from unoapi.errors import StoreUnavailable
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from unoapi.stores.redis import Command, RedisClient

log = get_logger(__name__)

KEY = "unoapi-marker"
READ: Command = ("GET", KEY)
"""Goes along with the command that looks a session up; its result is what `observe` takes."""
CONFIRMED = "confirmed:"
LOST = "lost:"


class RedisMarker:
    """The marker as this process has seen it. `lost` is whether Redis lost its data, as far as is known here."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis
        self._seen = ""
        self._lock = threading.Lock()
        self.lost = False

    def load(self) -> None:
        """Read the marker now, so that a loss is noticed that happens before the first event. Never raises."""
        try:
            (marker,) = self._redis.call(READ)
        except StoreUnavailable:
            return
        self.observe(marker, stored=False)

    def observe(self, marker: str | None, *, stored: bool) -> None:
        """Compare what Redis holds now with what was seen before. `stored`: the session beside it is there.

        Returns when the loss, if there is one, is written down for other processes: the event that was just accepted
        may reach one of them.
        """
        if marker is None and not self._seen:
            first = self._first() if stored else ""  # not with the lock: others would wait for Redis, too
            with self._lock:
                self._seen = self._seen or first
            return
        with self._lock:
            if marker is not None and (marker.startswith(CONFIRMED) or not self._seen):
                self._seen, self.lost = marker, marker.startswith(LOST)
                return
            if marker == self._seen or (self.lost and (marker or "").startswith(LOST)):
                return
            if not self.lost:
                log.error(
                    "redis_lost_its_data",
                    hint="store the sessions again (register); then `unoapi session confirm`. Until then events of "
                    "phones without configuration wait",
                )
            self.lost = True
        if not (marker or "").startswith(LOST):
            self._write_loss()

    def confirm(self) -> None:
        """Say that the phones which Redis knows now are all there are. Raises StoreUnavailable."""
        self._redis.call(("SET", KEY, CONFIRMED + _new_value()))

    def _first(self) -> str:
        """Mark that sessions are stored. They may be the Node version's, which has no marker."""
        try:
            _, marker = self._redis.call(write_first(), READ)
        except StoreUnavailable:
            return ""  # the next look-up tries again
        return str(marker or "")

    def _write_loss(self) -> None:
        try:
            self._redis.call(("SET", KEY, LOST + _new_value()))
        except StoreUnavailable:
            return  # the next look-up writes it


def write_first() -> Command:
    """The command that writes the marker unless there is one."""
    return ("SET", KEY, _new_value(), "NX")


def _new_value() -> str:
    return secrets.token_hex(8)
