"""Which stored configurations somebody changed, as Redis itself says: the others need not be read again.

Redis (6 or later) names each key that is written, removed, evicted or expired to a connection that asked for it
(`CLIENT TRACKING`), whoever did that. All changes that were made before a question was sent come before its answer, so
what nobody named until then still holds. A Redis that refuses that, or is silent, covers nothing, and who reads goes by
time alone.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from unoapi.errors import StoreUnavailable, describe, safe_traceback
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unoapi.stores.redis import RedisClient

log = get_logger(__name__)

ASK_EVERY_S = 0.2
TRY_AGAIN_S = 10.0
MAX_CHANGED = 10_000


class ConfigChanges:
    """Listens for one process, from `start` on. `all_with` is a key that means all of them. Times are monotonic."""

    def __init__(self, redis: RedisClient, *, prefix: str, all_with: str) -> None:
        self._redis = redis
        self._prefix = prefix
        self._all_with = all_with
        self._changed: dict[str, float] = {}
        self._since = float("inf")
        self._known_until = float("-inf")
        self._reason = ""
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen, unless this process does already. Never raises, never waits."""
        if (self._thread is None or not self._thread.is_alive()) and self._starting.acquire(blocking=False):
            try:
                self._since = float("inf")  # a parent's thread, which listened, is not here
                self._thread = threading.Thread(target=self._listen, name="config changes", daemon=True)
                self._thread.start()
            except RuntimeError:  # no thread is to be had: the next one tries again
                self._thread = None
            finally:
                self._starting.release()

    def cover(self, phone: str, *, asked_at: float, within_s: float) -> bool:
        """Whether what was asked for then still held `within_s` seconds ago."""
        known_until = self._known_until  # first: what it stands for is noted before it
        return (
            time.monotonic() - known_until < within_s
            and asked_at > self._since
            and asked_at > self._changed.get(phone, 0.0)
        )

    def note(self, keys: Sequence[str] | None) -> None:
        """Note that keys changed; none stands for all."""
        now = time.monotonic()
        if keys is None or self._all_with in keys or len(self._changed) + len(keys) > MAX_CHANGED:
            self._since = now
            self._changed.clear()
        else:
            self._changed |= {key.removeprefix(self._prefix): now for key in keys}

    def _listen(self) -> None:
        while not self._redis.is_closed:
            try:
                changes = self._redis.changed_keys(self._prefix, self._all_with)
                self.note(next(changes))
                while not self._redis.is_closed:
                    asked_at = time.monotonic()
                    self.note(next(changes))
                    self._known_until = asked_at
                    time.sleep(ASK_EVERY_S)
            except StoreUnavailable as error:
                self._say_once(describe(error))
            except Exception as error:  # noqa: BLE001 (a bug: what is read again by time is as right)
                log.error("config_changes_failed", error=describe(error), traceback=safe_traceback(error))
            self._since = float("inf")
            time.sleep(TRY_AGAIN_S)

    def _say_once(self, reason: str) -> None:
        if reason != self._reason:
            self._reason = reason
            log.info("config_changes_not_told", error=reason, hint="configurations are read again each half second")
