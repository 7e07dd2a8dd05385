"""Replays: events of the past, delivered to one webhook again, in their order.

One job goes through the stream of events. Each run of it delivers for some seconds, one event after the other, and
publishes the next run with the position that it came to: so a killed worker repeats a few events at most, and the
workers do other things between two runs. What Redis has is for people, who look at it or cancel it, and for a run that
is repeated; without it the replay goes on.

An endpoint that is down or paused is waited for. An event that fails `TRIES` times in a row, while others may pass,
goes on as any delivery does, with retries and as a dead letter in the end, and the replay passes it.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from unoapi.errors import (
    BrokerUnavailable,
    DeliveryRefused,
    EventsNotKept,
    Postponed,
    RequestError,
    StoreUnavailable,
    TransientError,
)
from unoapi.models.attempts import History
from unoapi.models.jobs import Envelope, ReplayEvents, now_ms
from unoapi.models.replays import Progress, Replay
from unoapi.services import webhooks
from unoapi.services.retries import OWN_TROUBLE, OWN_TROUBLE_MS, with_failure
from unoapi.telemetry.logging import bound, get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.models.endpoints import Endpoint
    from unoapi.models.jobs import DeliverWebhook
    from unoapi.models.replays import State, StoredEvent
    from unoapi.ports import Blacklist, Deliveries, EventStream, Publisher, Replays, Sessions, SessionStore

log = get_logger(__name__)

RUN_S = 10.0
"""One run delivers for so long."""
READ_S = 1.0
SAVE_EVERY_S = 1.0
"""While nothing is delivered."""
TRIES = 3
RETRY_MS = 1_000
LOOK_MS = 8_000
"""How seldom one that waits for its endpoint looks at it: the outage may end, and a person may end a pause."""
FULL_MS = 4_000
"""Between two looks for a free place, when as many threads as may be are busy with replays."""
REMEMBERED = 10_000
"""So many events of one run are not delivered twice, though they stand in the stream twice: a client repeated them."""
LATE_MS = 60_000
"""Events that were published after another may have an earlier time: the clocks of two machines differ."""


class Places:
    """The threads of one process that may be busy with replays: a tenth of them."""

    def __init__(self, threads: int) -> None:
        self._free = threading.BoundedSemaphore(max(1, threads // 10))

    def take(self) -> bool:
        """Take a place, if there is a free one."""
        return self._free.acquire(blocking=False)

    def give_back(self) -> None:
        """Let another one have it."""
        self._free.release()


@dataclass(frozen=True)
class ReplayContext:
    """What a replay is made with. `attempt` makes one attempt, and records what became of it."""

    events: EventStream
    replays: Replays
    sessions: SessionStore
    blacklist: Blacklist
    deliveries: Deliveries
    places: Places
    publisher: Publisher
    attempt: Callable[[DeliverWebhook, History], None]
    stopping: Callable[[], bool]
    max_age_s: int


def begin(  # noqa: PLR0913 (what an operator says, and with what it is done)
    phone: str,
    webhook_id: str,
    *,
    since_ms: int,
    until_ms: int,
    only_missing: bool,
    rate: int,
    sessions: Sessions,
    events: EventStream,
    replays: Replays,
    publisher: Publisher,
) -> tuple[Replay, int | None]:
    """Begin a replay. What is known of it, and the time of the oldest event that is stored (Unix ms), if there is one.

    Raises RequestError when nothing can be replayed, or when a replay to this webhook goes on.
    """
    if since_ms >= until_ms:
        raise _refusal("The time to replay is empty: `since` must be before `until`.")
    stored = sessions.find(phone).stored
    try:
        bounds = events.bounds()
    except EventsNotKept as error:
        raise _refusal(f"Nothing can be replayed: {error}.", status=409) from None
    replay = Replay(
        id=f"replay-{uuid4().hex[:12]}",
        phone=phone,
        webhook_id=webhook_id,
        since_ms=since_ms,
        until_ms=until_ms,
        only_missing=only_missing,
        rate=rate,
        updated_ms=now_ms(),
        progress=Progress(end=-1 if bounds is None else bounds.newest),
    )
    if bounds is None or bounds.newest_ms < since_ms:
        note = "no event was published since then"
        return replay.model_copy(update={"state": "done", "note": note}), bounds and bounds.oldest_ms
    if not replays.begin(replay):
        raise _refusal("A replay to this webhook goes on: wait for its end, or cancel it.", status=409)
    job = ReplayEvents(
        id=replay.id,
        phone=phone,
        webhook_id=webhook_id,
        stored=stored,
        since_ms=since_ms,
        until_ms=until_ms,
        only_missing=only_missing,
        rate=rate,
        progress=replay.progress,
    )
    try:
        publisher.publish([Envelope(job)])
    except BrokerUnavailable:
        with suppress(StoreUnavailable):
            replays.save(replay.model_copy(update={"state": "failed", "note": "RabbitMQ did not take it"}), run="")
        raise
    return replay, bounds.oldest_ms


def cancel(endpoint: Endpoint, replays: Replays) -> Replay | None:
    """End the replay to an endpoint after the event that is being delivered. None: there is none that goes on."""
    replay = replays.find(endpoint)
    if replay is None or replay.state != "running":
        return None
    cancelled = replay.model_copy(update={"state": "cancelled", "updated_ms": now_ms()})
    return cancelled if replays.save(cancelled, run="") else None


def run(job: ReplayEvents, context: ReplayContext) -> Envelope | None:
    """Deliver the next events. The next run; none when the replay is at its end."""
    if not context.places.take():
        return Envelope(job, delay_ms=FULL_MS)
    try:
        return _Run(job, context).run()
    finally:
        context.places.give_back()


class _Run:
    """One run of a replay, until it is `_over`; `_following` is the next one, if there is one."""

    def __init__(self, job: ReplayEvents, context: ReplayContext) -> None:
        self._job = job
        self._context = context
        self._progress = job.progress
        self._token = uuid4().hex[:12]
        self._until = time.monotonic() + RUN_S
        self._next_at = 0.0
        self._saved_at = 0.0
        self._over = False
        self._seen = set[str]()
        self._following: Envelope | None = None

    def run(self) -> Envelope | None:
        if not self._take_over():
            return None
        try:
            self._read()
        except Postponed as wait:
            self._again(f"{wait}", delay_ms=min(max(wait.after_ms, RETRY_MS), LOOK_MS))
        except OWN_TROUBLE as error:
            self._again(f"{error}", delay_ms=OWN_TROUBLE_MS)
        except (DeliveryRefused, EventsNotKept) as error:
            self._end("failed", f"{error}")
        return self._following

    def _take_over(self) -> bool:
        """Whether this run is the one that goes on: not cancelled. One that was killed may have come further."""
        with suppress(StoreUnavailable):
            known = self._context.replays.find(self._job.endpoint)
            if known is not None and known.id == self._job.id and known.progress.position > self._progress.position:
                self._progress = known.progress
            return self._context.replays.save(self._known(), run="")
        return True

    def _read(self) -> None:
        begin = self._progress.position
        after = None if begin < 0 else begin
        with self._context.events.read(self._job.phone, after=after, since_ms=self._job.since_ms) as stream:
            while self._goes_on():
                before = stream.position
                events = stream.take(wait_s=READ_S)
                if self._progress.begin < 0 and stream.position >= 0:
                    first = events[0].position if events else stream.position
                    self._progress = self._progress.step(begin=first - 1)
                for event in events:
                    if not self._goes_on():
                        return
                    if event.published_ms > self._job.until_ms + LATE_MS:
                        self._end("done")
                        return
                    self._handle(event)
                self._progress = self._progress.step(position=max(stream.position, self._progress.position))
                if self._over:
                    return
                if self._progress.position >= self._progress.end:
                    self._end("done")
                    return
                if stream.position == before:
                    self._ensure_there()
                if time.monotonic() >= self._saved_at + SAVE_EVERY_S:
                    self._save()

    def _goes_on(self) -> bool:
        """Whether this run does. When its time is over, another one does."""
        if not self._over and (time.monotonic() >= self._until or self._context.stopping()):
            self._again("")
        return not self._over

    def _ensure_there(self) -> None:
        """Raise EventsNotKept when the stream was made anew: then what was to be read is gone."""
        bounds = self._context.events.bounds()
        if bounds is None or bounds.newest < self._progress.end:
            raise EventsNotKept("the stream of events was made anew meanwhile")

    def _handle(self, event: StoredEvent) -> None:
        """Deliver an event, if it is of the time and the webhook wants it. Raises Postponed when it has to wait."""
        delivered = skipped = retrying = 0
        if self._job.since_ms <= event.published_ms <= self._job.until_ms:
            delivery = self._delivery(event)
            if delivery is None:
                skipped = 1
            elif self._deliver(delivery):
                delivered = 1
            else:
                retrying = 1
        before = self._progress
        self._progress = before.step(
            position=event.position,
            failures=0,
            delivered=before.delivered + delivered,
            skipped=before.skipped + skipped,
            retrying=before.retrying + retrying,
        )
        if delivered or retrying:
            self._save()

    def _delivery(self, event: StoredEvent) -> DeliverWebhook | None:
        """The delivery of an event; none when the webhook does not want it, or has it already."""
        job, context = self._job, self._context
        if event.job.id in self._seen:
            return None
        if len(self._seen) < REMEMBERED:
            self._seen.add(event.job.id)
        now = {"webhook_ids": (job.webhook_id,), "stored": job.stored, "ordered": (), "accepted_at_ms": now_ms()}
        fanned = webhooks.fan_out(
            event.job.model_copy(update=now),
            sessions=context.sessions,
            max_age_s=context.max_age_s,
            blacklist=context.blacklist,
        )
        if not fanned.deliveries:
            return None
        (delivery,) = fanned.deliveries
        if job.only_missing and context.deliveries.is_done(delivery.id):
            return None
        return delivery.model_copy(update={"replay": "missing" if job.only_missing else "all"})

    def _deliver(self, delivery: DeliverWebhook) -> bool:
        """Make one attempt. False: it failed too often, and goes on as any other delivery. Raises Postponed to wait."""
        self._pace()
        with bound(message_id=delivery.message_id):
            try:
                self._context.attempt(delivery, History())
            except (Postponed, *OWN_TROUBLE):
                raise
            except TransientError as error:
                failures = self._progress.failures + 1
                if failures < TRIES:
                    self._progress = self._progress.step(failures=failures)
                    raise Postponed(f"{error}", after_ms=RETRY_MS * 2 ** (failures - 1)) from error
                history = with_failure(History(), error)
                self._context.publisher.publish([Envelope(delivery, delay_ms=RETRY_MS, history=history)])
                return False
        return True

    def _pace(self) -> None:
        """Wait until the next event may go."""
        now = time.monotonic()
        self._next_at = max(self._next_at, now - 1 / self._job.rate) + 1 / self._job.rate
        time.sleep(max(0.0, self._next_at - now))

    def _save(self, *, state: State = "running", note: str = "") -> None:
        """Write how far it is. The run is over when it was cancelled, or goes on elsewhere."""
        self._saved_at = time.monotonic()
        with suppress(StoreUnavailable):
            if not self._context.replays.save(self._known(state=state, note=note), run=self._token):
                self._over = True

    def _again(self, note: str, *, delay_ms: int = 0) -> None:
        """Let another run go on. Its time to wait begins anew with each event that is through."""
        self._save(note=note)
        if not self._over:
            moved = self._progress.position > self._job.progress.position
            accepted_at_ms = now_ms() if moved else self._job.accepted_at_ms
            following = {"progress": self._progress, "accepted_at_ms": accepted_at_ms}
            self._following = Envelope(self._job.model_copy(update=following), delay_ms=delay_ms)
        self._over = True

    def _end(self, state: State, note: str = "") -> None:
        self._save(state=state, note=note)
        self._over = True
        log.log(
            20 if state == "done" else 40,
            "replay_ended",
            webhook_id=self._job.webhook_id,
            state=state,
            note=note,
            delivered=self._progress.delivered,
            skipped=self._progress.skipped,
            retrying=self._progress.retrying,
        )

    def _known(self, *, state: State = "running", note: str = "") -> Replay:
        job = self._job
        return Replay(
            id=job.id,
            phone=job.phone,
            webhook_id=job.webhook_id,
            since_ms=job.since_ms,
            until_ms=job.until_ms,
            only_missing=job.only_missing,
            rate=job.rate,
            state=state,
            progress=self._progress,
            updated_ms=now_ms(),
            note=note[:300],
            run=self._token,
        )


def _refusal(details: str, *, status: int = 400) -> RequestError:
    return RequestError("Invalid parameter", code=100, status=status, details=details)
