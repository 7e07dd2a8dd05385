"""Dead letters: list, show, replay and purge them, for the command line, HTTP and the hourly expiry alike."""

from __future__ import annotations

import os
import socket
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from unoapi.errors import DeadLettersBusy, OutcomeUnknown, StoreUnavailable
from unoapi.errors.validation import nearest
from unoapi.models.dead_letters import LOST_CAUSES, UNBOUNDED, DeadLetterQuery, DeadLetterWalk
from unoapi.models.jobs import DeliverWebhook, SendMessage, now_ms
from unoapi.models.trace import TraceEntry
from unoapi.telemetry.metrics import reasons

BROKER_REASONS = frozenset({"delivery_limit", "rejected", "expired", "maxlen", "unroutable", "poison"})
"""Of dead letters that no worker gave up by its own decision: how far it came is not known."""

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from unoapi.models.dead_letters import Bounds, DeadLetter, DeadLetterResult, Outcome
    from unoapi.ports import DeadLetterHolder, DeadLetterQueue, Deliveries, SendClaims, Traces


def known_reasons() -> tuple[str, ...]:
    """All reasons for which this version leaves dead letters; another one may have more."""
    return (*reasons(), *sorted(BROKER_REASONS))


def misspelt_reason(reason: str) -> str:
    """The reason that was probably meant by one that no dead letter has; empty for any other.

    Other versions may have reasons of their own.
    """
    return "" if reason in known_reasons() else nearest(reason, known_reasons())


class DeadLetters:
    """The verbs. One at a time, over all processes: a second one raises DeadLettersBusy, which names the first.

    `by` is how the verb was called, for that name. The work is done while the result is iterated.
    """

    def __init__(
        self,
        queue: DeadLetterQueue,
        holder: DeadLetterHolder,
        *,
        deliveries: Deliveries,
        sends: SendClaims,
        traces: Traces,
    ) -> None:
        self._queue = queue
        self._holder = holder
        self._deliveries = deliveries
        self._sends = sends
        self._traces = traces

    def count(self) -> int:
        """Dead letters in the queue, without those that another process has unacknowledged."""
        return self._queue.count()

    def list(self, query: DeadLetterQuery, *, by: str, bounds: Bounds = UNBOUNDED) -> DeadLetterWalk:
        """The selected dead letters; every one stays."""
        return self._walk(query, _leave, by=by, bounds=bounds)

    def show(self, dead_letter_id: str, *, by: str, bounds: Bounds = UNBOUNDED) -> Sequence[DeadLetter]:
        """The dead letters with this id; more than one when a copy was given up, too."""
        return [result.dead_letter for result in self.list(DeadLetterQuery(id=dead_letter_id), by=by, bounds=bounds)]

    def purge(self, query: DeadLetterQuery, *, by: str, bounds: Bounds = UNBOUNDED) -> DeadLetterWalk:
        """Throw the selected dead letters away."""
        return self._walk(query, _throw_away, by=by, bounds=bounds)

    def replay(
        self,
        query: DeadLetterQuery,
        *,
        by: str,
        force: bool = False,
        rate: float | None = None,
        bounds: Bounds = UNBOUNDED,
    ) -> DeadLetterWalk:
        """Put the selected dead letters back on their queues; each is removed only after the confirmed publish.

        What was delivered meanwhile is removed. A send whose outcome is unknown stays unless `force`, whatever the
        reason of its dead letter. Of what was sent only the statuses are published again. Lost causes stay unless
        they are named, by their reason or their id. `rate` is in dead letters per second.
        """

        def put_back(dead_letters: Sequence[DeadLetter]) -> Sequence[Outcome]:
            outcomes = [self._replay_outcome(dead_letter, query, force=force) for dead_letter in dead_letters]
            replayed = [
                dead_letter
                for dead_letter, outcome in zip(dead_letters, outcomes, strict=True)
                if outcome == "replayed"
            ]
            if replayed:
                at = datetime.now(UTC)  # its next steps may come before the confirm, and before the pause of a rate
                self._queue.put_back(replayed, accepted_at_ms=now_ms())
                self._traces.add(*(_replay_entry(letter, at=at) for letter in replayed if letter.job is not None))
            if rate:
                time.sleep(len(replayed) / rate)
            return outcomes

        # A batch is published at once, so that a low rate needs small ones.
        return self._walk(query, put_back, by=by, batch=None if rate is None else max(1, int(rate)), bounds=bounds)

    def _replay_outcome(self, dead_letter: DeadLetter, query: DeadLetterQuery, *, force: bool) -> Outcome:
        job = dead_letter.job
        if isinstance(job, DeliverWebhook) and job.replay != "all" and self._is_done(job):
            return "already_delivered"
        if is_left_alone(dead_letter, query):
            return "left_alone"
        if _may_have_left(dead_letter) and not force:
            return "needs_force"
        held = dead_letter.history.held_claims
        if isinstance(dead_letter.job, SendMessage) and not self._sends.reopen(dead_letter.job, force=force, held=held):
            return "needs_force"
        return "replayed"

    def _is_done(self, job: DeliverWebhook) -> bool:
        try:
            return self._deliveries.is_done(job.id)
        except StoreUnavailable:
            return False  # the worker asks again before it posts

    def _walk(
        self,
        query: DeadLetterQuery,
        settle: Callable[[Sequence[DeadLetter]], Sequence[Outcome]],
        *,
        by: str,
        batch: int | None = None,
        bounds: Bounds,
    ) -> DeadLetterWalk:
        def register_holder() -> None:
            self._holder.write(f"`{by}` on {_this_process()}")

        walk = self._queue.walk(query, settle, on_locked=register_holder, batch=batch, bounds=bounds)
        walk.results = self._locked(walk.results)
        return walk

    def _locked(self, results: Iterator[DeadLetterResult]) -> Iterator[DeadLetterResult]:
        """The results; raises DeadLettersBusy, which names the holder, while another verb works."""
        try:
            yield from results
        except DeadLettersBusy as error:
            raise DeadLettersBusy(self._holder.read() or error.holder) from None
        self._holder.clear()


def is_left_alone(dead_letter: DeadLetter, query: DeadLetterQuery) -> bool:
    """Whether a replay of this selection leaves the dead letter where it is, because it would only die again."""
    return dead_letter.reason in LOST_CAUSES and not query.names_a_cause


def foreseen(dead_letter: DeadLetter, query: DeadLetterQuery, *, force: bool) -> str:
    """What a replay of this selection would do with the dead letter, as far as the dead letter itself says it."""
    if is_left_alone(dead_letter, query):
        return "left_alone"
    return "needs_force" if _may_have_left(dead_letter) and not force else "would be replayed"


def _leave(dead_letters: Sequence[DeadLetter]) -> Sequence[Outcome]:
    return ["kept"] * len(dead_letters)


def _throw_away(dead_letters: Sequence[DeadLetter]) -> Sequence[Outcome]:
    return ["purged"] * len(dead_letters)


def _replay_entry(dead_letter: DeadLetter, *, at: datetime) -> TraceEntry:
    return TraceEntry(
        at=at,
        step="replayed",
        phone=dead_letter.phone,
        message_id=dead_letter.message_id,
        kind=str(getattr(dead_letter.job, "kind", dead_letter.task)),
        webhook=dead_letter.webhook,
        delivery_id=dead_letter.id,
    )


def _this_process() -> str:
    return f"{socket.gethostname()} process {os.getpid()} since {datetime.now(UTC):%H:%M:%S} UTC"


def _may_have_left(dead_letter: DeadLetter) -> bool:
    """Whether it may have been sent, by what the dead letter itself says."""
    unnoted = (
        dead_letter.history.unclaimed and dead_letter.history.receipt is None and dead_letter.reason in BROKER_REASONS
    )
    return dead_letter.reason == OutcomeUnknown.reason or (isinstance(dead_letter.job, SendMessage) and unnoted)
