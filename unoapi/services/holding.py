"""Endpoints that are down or paused: where their deliveries wait, and how they are released.

A delivery that may not be posted now goes to the holding queue of its endpoint, where waiting costs nothing. One job
for each queue (`ReleaseEndpoint`) looks after it, from the moment in which a delivery finds no queue. While the
endpoint is down it probes with the oldest delivery. When a probe succeeds it takes the deliveries out, oldest first,
with one request at a time at first: one more for each success, half as many after each failure. What is neither
delivered nor still waiting goes the ordinary way of a delivery.

While Redis is away, beyond a number of queues, and for short pauses deliveries wait in the buckets.
"""

from __future__ import annotations

import heapq
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Protocol
from uuid import uuid4

from unoapi.errors import BrokerUnavailable, DeliveryFailed, Held, Postponed, StoreUnavailable, describe, safe_traceback
from unoapi.models.endpoints import LOOK_BEGUN, DeliveryState
from unoapi.models.jobs import DeliverWebhook, Envelope, HeldDelivery, ReleaseEndpoint, now_ms
from unoapi.services.retries import OWN_TROUBLE, OWN_TROUBLE_MS, GiveUp, decide, with_failure
from unoapi.telemetry.logging import bound, get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unoapi.models.attempts import Attempt, EarlierAnswer, History
    from unoapi.models.endpoints import Endpoint, Origin
    from unoapi.ports import (
        Breakers,
        Deliveries,
        HeldDeliveries,
        HoldingQueues,
        Holdings,
        Publisher,
    )
    from unoapi.services.bulkhead import Bulkhead
    from unoapi.services.next_looks import NextLooks
    from unoapi.services.retries import RetrySchedule

log = get_logger(__name__)

ANNOUNCE_EVERY_S = 10.0
FORGOTTEN_AFTER_S = 60.0
MAKING_WAIT_MS = 1_000
"""A queue that was asked for is soon there, unless much stands before its job, or it is refused: what comes back and
finds none waits as long as that has taken so far."""
MAX_ENDPOINTS = 10_000

LOOK_MS, LONGEST_LOOK_MS = 1_000, 64_000
LOOK_PER_QUEUE_MS = 25
"""So many queues more make the looks at each so much rarer: all together cost at most forty looks a second."""
CLOSER_LOOK_MS = 8_000
"""A pause, or an outage, may be ended by hand, and what waits may be dropped."""
QUIET_MS = 120_000
"""A queue that was empty for so long is removed: no message that watches comes after that and brings it back."""
PLACE_WAIT_S = 0.2
"""So long who has made one look waits for a place to make another one."""
WATCH_MS = 64_000
"""Longer than a look goes on, but for one whose last attempt hangs for most of the longest deadline."""
CLOSED_MS = 64_000
"""Longer than from when somebody learned the queue's name until a delivery comes to it: an attempt may be between."""
RUN_S = 20.0
"""One look releases for so long; another one goes on, perhaps in another process."""
LOW = 100
QUIET_S, HURRIED_QUIET_S = 0.2, 0.02
"""So long a queue that was released stays quiet before it counts as empty; shorter while others wait for the place."""
HURRIED_LOOK_MS = 8_000
"""What came too late for a release that was in a hurry waits no longer than that."""
READ_EVERY_S = 0.1
HEARTBEAT_EVERY_S = 1.0
SHORT_S, LONG_S = 0.01, 60.0
"""Differences between attempts that are shorter say nothing, and none takes longer."""
MAX_WAITS = 3

Waiting = tuple[int, int, HeldDelivery]
"""When it was accepted, its number in the queue, and the delivery."""


class Announcements:
    """For which endpoints this process asked for a holding queue, so that not each delivery does."""

    def __init__(self) -> None:
        self._asked: dict[str, tuple[float, float]] = {}  # first, and last
        self._lock = threading.Lock()

    def ask(self, endpoint: Endpoint) -> tuple[bool, float]:
        """Whether the caller is to ask for the endpoint's queue now, and for how many seconds it was asked for."""
        now = time.monotonic()
        with self._lock:
            first, last = self._asked.get(endpoint.key, (now, 0.0))
            if last and now - last < ANNOUNCE_EVERY_S:
                return False, now - first
            if len(self._asked) >= MAX_ENDPOINTS:
                self._asked.clear()
            if now - last >= FORGOTTEN_AFTER_S:
                first = now
            self._asked[endpoint.key] = (first, now)
            return True, now - first


def wait(  # noqa: PLR0913 (what is known of the delivery)
    job: DeliverWebhook,
    state: DeliveryState,
    message: str,
    *,
    after_ms: int,
    max_age_s: int,
    announcements: Announcements,
    publisher: Publisher,
    attempt: Attempt | None = None,
) -> Postponed:
    """The error with which a delivery waits, in the holding queue if there is one, for `after_ms` at least otherwise.

    The first delivery that finds no queue asks for one.
    """
    endpoint, holding = job.endpoint, state.holding
    if holding is not None and holding.ready:
        left_ms = max(0, job.due_at_ms + max_age_s * 1000 - now_ms())
        return Held(message, token=holding.token, after_ms=left_ms, attempt=attempt)
    if state.breaker is None:
        return Postponed(message, after_ms=after_ms, jitter=False, attempt=attempt)
    asks, asked_s = announcements.ask(endpoint)
    if asks and holding is None:
        with suppress(BrokerUnavailable):  # the next one asks again
            publisher.publish([Envelope(_first_look(endpoint))])
    soon_ms = min(after_ms, max(MAKING_WAIT_MS, round(asked_s * 1000)))
    return Postponed(message, after_ms=soon_ms, jitter=False, attempt=attempt)


def _first_look(endpoint: Endpoint, *, token: str = "") -> ReleaseEndpoint:
    token = token or uuid4().hex[:12]
    return ReleaseEndpoint(id=f"release-{token}", phone=endpoint.phone, webhook_id=endpoint.webhook_id, token=token)


def looks_again(holdings: Holdings) -> list[Envelope]:
    """The looks at queues whose job got lost: somebody purged the queue in which it waited. Raises StoreUnavailable."""
    return [
        Envelope(_first_look(endpoint, token=token).model_copy(update={"made": True}))
        for endpoint, token in holdings.left_alone()
    ]


class Ahead(Protocol):
    """Who makes the first attempts of a process, many at once without a thread for each."""

    def release(self, job: DeliverWebhook, on_end: Callable[[bool, EarlierAnswer | None], None]) -> bool:
        """Make one if nothing about it is unusual. False: it takes nothing now.

        `on_end` is called once, in any thread: with whether it is delivered and recorded, else with the answer if one
        came.
        """


class Releases:
    """The threads of one process that post what is released, made when they are needed; and `ahead`, if it has one."""

    ahead: Ahead | None = None

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._executor: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def submit(self, work: Callable[[], None]) -> None:
        """Run this in one of the threads."""
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(self.threads, thread_name_prefix="release")
        self._executor.submit(work)


@dataclass(frozen=True)
class ReleaseContext:
    """What a look is made with.

    `attempt` makes one attempt, or takes the answer of the one that was made, and records what became of it.
    `receiver` is who is behind an endpoint, as far as that is known. `is_removed`: whether the webhook of a delivery is
    certainly there no more. `reports` are the callbacks about an attempt that failed and is followed by another.
    """

    queues: HoldingQueues
    holdings: Holdings
    deliveries: Deliveries
    breakers: Breakers
    bulkhead: Bulkhead
    publisher: Publisher
    schedule: RetrySchedule
    releases: Releases
    next_looks: NextLooks
    attempt: Callable[[DeliverWebhook, History, EarlierAnswer | None], None]
    receiver: Callable[[Endpoint], Origin | None]
    is_removed: Callable[[DeliverWebhook], bool]
    reports: Callable[[DeliverWebhook, DeliveryFailed, History, int], list[Envelope]]
    stopping: Callable[[], bool]


def looks(job: ReleaseEndpoint, context: ReleaseContext, *, redelivered: bool = False) -> Iterator[Envelope]:
    """Make a look, and others that need not wait, while there are places for them. The looks that follow. Never raises.

    `redelivered`: see `look`.
    """
    deadline, wait_s = time.monotonic() + RUN_S, 0.0
    early: ReleaseEndpoint | None = None
    following = look(job, context, redelivered=redelivered)
    while True:
        if following is not None:
            yield following
            if early is not None:
                context.holdings.end(early.endpoint, early.token, look=early.number)
        if time.monotonic() >= deadline or context.stopping() or not context.next_looks.are_due:
            return
        with context.bulkhead.releasing() as may_release, ExitStack() as place:
            if not (may_release and place.enter_context(context.bulkhead.place_to_probe(wait_s=wait_s))):
                return
            early = context.next_looks.take()
            following = None if early is None else look(early, context, place=place)
        if early is not None and following is None:  # Redis may be away: the others keep their chance
            return
        wait_s = PLACE_WAIT_S


def look(
    job: ReleaseEndpoint, context: ReleaseContext, *, redelivered: bool = False, place: ExitStack | None = None
) -> Envelope | None:
    """Look after the holding queue of an endpoint. The next look; none when the queue is gone, or others look after it.

    `redelivered`: a worker had this look before and stopped in the middle of it. `place`: of a look whose message is
    still to come, to be given back when its probe is over; it has one to release, too. It is not made while Redis is
    away. Never raises: without this job nobody would look.
    """
    try:
        following = _look(job, context, redelivered=redelivered, place=place)
    except BrokerUnavailable:
        following = Envelope(_next(job, number=job.number + 1, watching=False), delay_ms=OWN_TROUBLE_MS)
    except Exception as error:  # noqa: BLE001 (the queue must not be left alone for any of them)
        trace = safe_traceback(error)
        log.error("endpoint_not_released", webhook_id=job.webhook_id, error=describe(error), traceback=trace)
        following = Envelope(_next(job, number=job.number + 1, watching=False), delay_ms=LONGEST_LOOK_MS)
    return following and replace(following, delay_ms=_punctual(following.delay_ms))


def _punctual(delay_ms: int) -> int:
    """The longest wait in one bucket that is not longer and never late: its bound, before which all others end."""
    bound_ms = LOOK_MS
    while 2 * bound_ms <= delay_ms:
        bound_ms *= 2
    return min(bound_ms, delay_ms)


def _look(
    job: ReleaseEndpoint, context: ReleaseContext, *, redelivered: bool, place: ExitStack | None
) -> Envelope | None:
    endpoint, queues = job.endpoint, context.queues
    queue_count = 1 if job.closing else _begin(job, context, redelivered=redelivered or job.watching)
    if queue_count == LOOK_BEGUN and place is None:
        # Perhaps by somebody without this message, who stopped in the middle of it.
        return Envelope(_next(job, watching=True), delay_ms=WATCH_MS)
    if queue_count is None and place is not None:  # its message would not learn of it
        return None
    if queue_count is not None and (queue_count < 0 or (queue_count == 0 and not job.made)):
        return None
    job = _next(job, number=job.number + 1, watching=False)
    if queue_count == 0:  # another one is the endpoint's now
        job = _next(job, closing=True)
    oldest, was_made = None, job.made
    if was_made:
        oldest = queues.peek(endpoint, job.token, position=job.probes % 2)
    else:
        queues.make(endpoint, job.token)
        job = _next(job, made=True)
        _keep(job, context, waiting=True)
    if oldest is not None and job.quiet_since_ms and not job.closing:
        _keep(job, context, waiting=True)
    look_ms = min(max(LOOK_MS, (queue_count or 0) * LOOK_PER_QUEUE_MS), LONGEST_LOOK_MS)
    if oldest is not None:
        following = _probe_or_release(_next(job, quiet_since_ms=0), oldest, context, look_ms=look_ms, place=place)
    elif was_made:
        return _empty(job, context, look_ms=look_ms)
    else:
        following = _Following(_next(job, quiet_since_ms=now_ms()), look_ms, Earlier.RETURN, LOOK_MS)
    if following.earlier and queue_count and not job.closing:  # else nobody could tell that it was made
        _note(following, context)
    return Envelope(following.job, delay_ms=following.delay_ms)


def _begin(job: ReleaseEndpoint, context: ReleaseContext, *, redelivered: bool) -> int | None:
    """How many queues there are. 0: the endpoint may not have this one; negative: a copy; none: Redis is away."""
    waiting = not job.quiet_since_ms
    try:
        return context.holdings.begin(
            job.endpoint, job.token, look=job.number, redelivered=redelivered, ready=job.made, waiting=waiting
        )
    except StoreUnavailable:
        return None


def _keep(job: ReleaseEndpoint, context: ReleaseContext, *, waiting: bool) -> None:
    """Write whether deliveries wait, so that new ones of ordered webhooks stand behind them or pass."""
    with suppress(StoreUnavailable):
        context.holdings.keep(job.endpoint, job.token, ready=job.made, waiting=waiting)


def _next(job: ReleaseEndpoint, **fields: object) -> ReleaseEndpoint:
    return job.model_copy(update={"accepted_at_ms": now_ms(), **fields})


def _empty(job: ReleaseEndpoint, context: ReleaseContext, *, look_ms: int) -> Envelope | None:
    """Wait for what may come, and remove a queue in which nothing comes any more: forget it, unbind it, delete it.

    Whoever learned its name before an attempt publishes to it after that: until then it stays bound.
    """
    now, quiet_since_ms = now_ms(), job.quiet_since_ms
    quiet_ms = now - quiet_since_ms
    job = _next(job, quiet_since_ms=quiet_since_ms or now)
    if job.closing:
        if not quiet_since_ms or quiet_ms < CLOSED_MS:
            return Envelope(job, delay_ms=CLOSED_MS)
        if job.unbound:
            is_gone = context.queues.delete(job.endpoint, job.token)  # not while a copy of this job releases it
            return None if is_gone else Envelope(job, delay_ms=CLOSED_MS)
        context.queues.close(job.endpoint, job.token)
        return Envelope(_next(job, unbound=True, quiet_since_ms=now), delay_ms=CLOSED_MS)
    if not quiet_since_ms or quiet_ms < QUIET_MS:
        return Envelope(job, delay_ms=look_ms)
    try:
        context.holdings.forget(job.endpoint, job.token)
    except StoreUnavailable:
        return Envelope(job, delay_ms=look_ms)
    return Envelope(_next(job, closing=True, quiet_since_ms=now), delay_ms=CLOSED_MS)


class Earlier(Enum):
    """For which reason a look need not wait for its time."""

    PLACE = auto()  # a place to release is free
    RETURN = auto()  # another endpoint of its receiver is back, or was a moment ago
    NEXT_RETURN = auto()  # another one is back after its own failure


@dataclass(frozen=True)
class _Following:
    """The next look. It makes sense `since_ms` when there is a reason to make it earlier than after its delay."""

    job: ReleaseEndpoint
    delay_ms: int
    earlier: Earlier | None = None
    since_ms: int = 0


def _note(following: _Following, context: ReleaseContext) -> None:
    """Have the next look made earlier when there is a reason to."""
    receiver = None if following.earlier is Earlier.PLACE else context.receiver(following.job.endpoint)
    if receiver is not None or following.earlier is Earlier.PLACE:
        context.next_looks.add(
            following.job,
            receiver=receiver,
            failed=following.earlier is Earlier.NEXT_RETURN,
            since_s=following.since_ms / 1000,
            until_s=_punctual(following.delay_ms) / 1000,
        )


def _probe_or_release(
    job: ReleaseEndpoint, oldest: HeldDelivery, context: ReleaseContext, *, look_ms: int, place: ExitStack | None
) -> _Following:
    """Do what the endpoint's state lets."""
    state = _state(job.endpoint, context)
    ends = oldest.job.accepted_at_ms <= state.dropped_until_ms or context.is_removed(oldest.job)
    if state.paused_ms and not ends:
        return _Following(job, _until(state.paused_ms, look_ms))
    probe_ms = None if ends else context.breakers.next_probe_ms(state.breaker)
    if probe_ms:
        return _Following(job, _until(probe_ms, look_ms), Earlier.RETURN, probe_ms)
    probed = set[str]()
    if probe_ms is not None:
        outcome = _probe(oldest, context, place)
        if outcome in {None, Outcome.LATER}:
            return _Following(job, look_ms, Earlier.RETURN, 0 if outcome is None else LOOK_MS)
        job = _next(job, probes=job.probes + 1)
        if outcome is Outcome.WAIT:
            probe_ms = context.breakers.next_probe_ms(_state(job.endpoint, context).breaker) or 0
            return _Following(job, _until(probe_ms, look_ms), Earlier.NEXT_RETURN, probe_ms)
        if outcome is Outcome.DONE and (receiver := context.receiver(job.endpoint)):
            context.next_looks.note_return(receiver)
        if outcome is not Outcome.OTHER:
            probed.add(oldest.job.id)
    if place is not None:
        place.close()  # nothing is left to probe
    with ExitStack() as taken:
        if place is None and not taken.enter_context(context.bulkhead.releasing()):
            return _Following(job, look_ms, Earlier.PLACE)
        return _release(job, context, done=probed, look_ms=look_ms)


def _probe(oldest: HeldDelivery, context: ReleaseContext, place: ExitStack | None) -> Outcome | None:
    """Make an attempt of a delivery whose endpoint is down. None: there is no place for it."""
    with place or ExitStack() as taken:
        may_probe = place is not None or taken.enter_context(
            context.bulkhead.place_to_probe(context.receiver(oldest.job.endpoint))
        )
        return _attempt(oldest, context) if may_probe else None


def _release(job: ReleaseEndpoint, context: ReleaseContext, *, done: set[str], look_ms: int) -> _Following:
    """Take out what waits, but what is `done`."""
    release = _Release(context, done=done, on_empty=partial(_keep, job, context, waiting=False))
    with context.queues.consume(job.endpoint, job.token) as queue:
        release.run(queue)
    if not release.empty:
        return _Following(job, look_ms if release.stopped else 0)
    empty_look_ms = min(look_ms, HURRIED_LOOK_MS) if release.hurried else look_ms
    return _Following(_next(job, quiet_since_ms=now_ms()), empty_look_ms)


def _until(wait_ms: int, look_ms: int) -> int:
    """The delay of the next look, when nothing can be done for so long."""
    return max(look_ms, min(wait_ms, CLOSER_LOOK_MS))


def _state(endpoint: Endpoint, context: ReleaseContext) -> DeliveryState:
    try:
        return context.deliveries.endpoints([endpoint])[0]
    except StoreUnavailable:
        return DeliveryState(breaker=None)


class Outcome(Enum):
    """What became of an attempt."""

    DONE = auto()
    FAILED = auto()  # it is retried, and queued for that
    WAIT = auto()  # it was not taken, and may not be posted now
    LATER = auto()  # it was not posted: there is no thread for it, or something of ours is away
    OTHER = auto()  # the ordinary way of a delivery decides


STAYS = frozenset({Outcome.WAIT, Outcome.LATER})


def _attempt(held: HeldDelivery, context: ReleaseContext, answer: EarlierAnswer | None = None) -> Outcome:
    job = held.job
    with bound(message_id=job.message_id, phone=job.phone, task_id=job.id):
        try:
            context.attempt(job, held.history, answer)
        except DeliveryFailed as error:
            return _retry(held, error, context)
        except (Postponed, *OWN_TROUBLE) as error:
            log.debug("release_waits", webhook_id=job.webhook_id, error=describe(error))
            return Outcome.LATER if getattr(error, "attempt", None) is None else Outcome.WAIT
        except Exception as error:  # noqa: BLE001 (its task meets the same error, and knows what to do)
            log.info("not_released", webhook_id=job.webhook_id, error=describe(error))
            return Outcome.OTHER
    return Outcome.DONE


def _retry(held: HeldDelivery, error: DeliveryFailed, context: ReleaseContext) -> Outcome:
    """Queue the next retry of a delivery that its endpoint did not take; the last one is left to its task."""
    history = with_failure(held.history, error)
    draw = random.random()  # noqa: S311 (spreads load, hides nothing)
    decision = decide(error, history, retries=held.retries, schedule=context.schedule, draw=draw)
    if isinstance(decision, GiveUp):
        return Outcome.OTHER
    again = Envelope(held.job, decision.delay_ms, decision.retries, history)
    try:
        context.publisher.publish([again, *context.reports(held.job, error, history, decision.delay_ms)])
    except BrokerUnavailable:
        return Outcome.LATER
    log.warning("will_retry", webhook_id=held.job.webhook_id, error=describe(error), after_ms=decision.delay_ms)
    return Outcome.FAILED


class _Release:
    """Takes deliveries out of a holding queue while their endpoint takes them, oldest first.

    `done` are those that a probe has delivered already. `on_empty` is called when nothing is left for the first time.
    """

    def __init__(self, context: ReleaseContext, *, done: set[str], on_empty: Callable[[], None]) -> None:
        self.empty = self.stopped = self.hurried = False
        self._emptied = False
        self._context = context
        self._done = done
        self._on_empty = on_empty
        self._waiting: list[Waiting] = []
        self._busy: set[str] = set()  # conversations in which one is on its way
        self._ended: SimpleQueue[tuple[Waiting, Outcome, float]] = SimpleQueue()
        self._window = 1
        self._shortest_s = LONG_S
        self._running = 0
        self._waits = 0  # in a row

    def run(self, queue: HeldDeliveries) -> None:
        """Release for a while. Afterwards it is `empty`, or `stopped`: the endpoint takes no more, or neither."""
        numbers = count()
        deadline, read_at = time.monotonic() + RUN_S, 0.0
        while not self.empty:
            now = time.monotonic()
            going_on = now < deadline and not self.stopped and not self._context.stopping()
            idle = not self._running and not self._waiting
            every_s = READ_EVERY_S if going_on and len(self._waiting) < LOW else HEARTBEAT_EVERY_S
            if idle or now - read_at >= every_s:
                came = queue.take(wait_s=self._quiet_s() if self._emptied and idle and going_on else 0.0)
                for held in came:
                    heapq.heappush(self._waiting, (held.job.accepted_at_ms, next(numbers), held))
                read_at = now if len(came) < LOW else now - READ_EVERY_S
                if idle and not came and queue.is_empty():
                    self._nothing_left()
            if going_on:
                self._start()
            if self._running:
                self._settle(queue)
            elif not going_on:
                return

    def _quiet_s(self) -> float:
        self.hurried = self._context.next_looks.are_due
        return HURRIED_QUIET_S if self.hurried else QUIET_S

    def _nothing_left(self) -> None:
        """Let new deliveries pass at once; end when nothing has come from before that."""
        self.empty = self._emptied
        if not self._emptied:
            self._emptied = True
            self._on_empty()

    def _start(self) -> None:
        """Begin as many attempts as the endpoint bears, one at a time in each conversation of an ordered webhook."""
        passed = []
        while self._running < self._window and self._waiting:
            entry = heapq.heappop(self._waiting)
            job = entry[2].job
            if job.contact in self._busy:
                passed.append(entry)
                continue
            if job.contact:
                self._busy.add(job.contact)
            self._running += 1
            if job.id in self._done:
                self._ended.put((entry, Outcome.DONE, 0.0))
            else:
                self._begin(entry, time.monotonic())
        for entry in passed:
            heapq.heappush(self._waiting, entry)

    def _begin(self, entry: Waiting, began: float) -> None:
        """Begin an attempt: the first one of a delivery without an order with those of the process."""
        held, releases = entry[2], self._context.releases
        ahead = None if held.history.tries or held.job.contact else releases.ahead
        if ahead is None or not ahead.release(held.job, partial(self._note_end, entry, began)):
            releases.submit(partial(self._attempt, entry, began))

    def _note_end(self, entry: Waiting, began: float, delivered: bool, answer: EarlierAnswer | None) -> None:
        if delivered or (answer is None and self._context.stopping()):
            outcome = Outcome.DONE if delivered else Outcome.LATER
            self._ended.put((entry, outcome, time.monotonic() - began))
        else:
            self._context.releases.submit(partial(self._attempt, entry, began, answer))

    def _attempt(self, entry: Waiting, began: float, answer: EarlierAnswer | None = None) -> None:
        outcome = _attempt(entry[2], self._context, answer)
        self._ended.put((entry, outcome, time.monotonic() - began))

    def _settle(self, queue: HeldDeliveries) -> None:
        """Wait for an attempt to end, and settle all that have."""
        ended = []
        with suppress(Empty):
            ended.append(self._ended.get(timeout=HEARTBEAT_EVERY_S))
            while True:
                ended.append(self._ended.get_nowait())
        for entry, outcome, took_s in ended:
            held = entry[2]
            self._running -= 1
            self._busy.discard(held.job.contact)
            if outcome in STAYS:
                heapq.heappush(self._waiting, entry)
            elif outcome is Outcome.OTHER:
                queue.refuse(held)
            else:
                queue.done(held)
            self._adapt(outcome, took_s)

    def _adapt(self, outcome: Outcome, took_s: float) -> None:
        """One more at a time after each success; half as many after a failure.

        When attempts take several times as long as the shortest did, more at a time make none faster: the receiver, or
        this process, is busy. So they become fewer, and new events keep their place.
        """
        self._waits = self._waits + 1 if outcome in STAYS else 0
        self.stopped = self.stopped or self._waits >= MAX_WAITS
        if outcome is Outcome.DONE:
            self._shortest_s = max(min(self._shortest_s, took_s), SHORT_S)
            more = 1 if took_s <= 2 * self._shortest_s else -1 if took_s > 4 * self._shortest_s else 0
            self._window = min(max(1, self._window + more), self._context.releases.threads)
        elif outcome is not Outcome.OTHER:
            self._window = max(1, self._window // 2)
