"""Looks at holding queues that wait in RabbitMQ for their time, and are made earlier when there is a reason to.

With a thousand endpoints down each is looked at every sixteen seconds only. A release for which no place was free need
not wait so long, nor a look at an endpoint behind whose receiver (scheme, host and port) another one has just come
back: one host serves a thousand numbers. A process knows of the looks that follow those it made itself. Whoever has
made one makes the next, without a message; the message that waits finds that out when it comes. So nothing depends on
what stands here.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unoapi.models.endpoints import Origin
    from unoapi.models.jobs import ReleaseEndpoint

BACK_S = 20.0
"""For so long after a success a receiver counts as back for those that were not asked meanwhile."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A look that may be made `since` a time, when this receiver is back if it has one, `until` its message comes.

    One that `releases` goes first: its endpoint is up.
    """

    job: ReleaseEndpoint
    releases: bool
    receiver: Origin | None
    since: float
    until: float


class NextLooks:
    """The looks that follow those of this process: at most one for each holding queue. Times are in seconds."""

    def __init__(self) -> None:
        self._waiting: dict[str, _Waiting] = {}
        self._back: dict[Origin, float] = {}
        self._lock = threading.Lock()

    def add(
        self,
        job: ReleaseEndpoint,
        *,
        receiver: Origin | None,
        failed: bool = False,
        since_s: float = 0.0,
        until_s: float,
    ) -> None:
        """Note a look whose message comes in `until_s`, and that makes no sense before `since_s`.

        `receiver`: for whose return it waits; none when it is up, and waits for a place only. `failed`: it has just
        failed, so that what was noted of a return means nothing.
        """
        now = time.monotonic()
        with self._lock:
            self._forget_old(now)
            self._waiting.pop(job.token, None)  # behind the others
            awaited = None if receiver in self._back and not failed else receiver
            self._waiting[job.token] = _Waiting(job, receiver is None, awaited, now + since_s, now + until_s)

    def note_return(self, receiver: Origin) -> None:
        """What waits for this receiver need not wait any more."""
        with self._lock:
            self._back[receiver] = time.monotonic() + BACK_S
            for token, waiting in self._waiting.items():
                if waiting.receiver == receiver:
                    self._waiting[token] = replace(waiting, receiver=None)

    @property
    def are_due(self) -> bool:
        """Whether some may be made now."""
        with self._lock:
            return self._due() is not None

    def take(self) -> ReleaseEndpoint | None:
        """The one that has waited longest of those that may be made now; those at endpoints that are up come first."""
        with self._lock:
            due = self._due()
            return None if due is None else self._waiting.pop(due.job.token).job

    def _due(self) -> _Waiting | None:
        now = time.monotonic()
        self._forget_old(now)
        due = (waiting for waiting in self._waiting.values() if waiting.receiver is None and waiting.since <= now)
        return min(due, key=lambda waiting: not waiting.releases, default=None)

    def _forget_old(self, now: float) -> None:
        for token in [token for token, waiting in self._waiting.items() if waiting.until <= now]:
            del self._waiting[token]
        for receiver in [receiver for receiver, until in self._back.items() if until <= now]:
            del self._back[receiver]
