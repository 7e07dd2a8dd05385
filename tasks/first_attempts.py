"""One thread makes the first attempts of all new events and deliveries of a worker process, in batches.

    messages --> one question to Redis at a time --> posts, `window` at once --> 2xx: recorded, acknowledged
        |                                                |
        +--> not plain: retried before, redelivered,     +--> any other answer goes with the message
        |    ordered, for several webhooks,                   |
        |    an endpoint that is down or paused,              |
        |    a name that is being looked up ...               |
        +-------------> a thread of the pool runs the task <--+

What a message means, and what follows from an answer that is no 2xx, the task alone decides: `tasks.webhooks`. Nothing
here is repeated there but the question to Redis. What is released from a holding queue has no message of its own: it
goes the same way, and its release decides. A message is acknowledged after its 2xx, so the death of the process
makes copies of at most what is under way. A thread that does not go on ends the process: its messages would wait for
ever.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tasks.webhooks import remember, report_change
from unoapi.broker.messages import DELIVERIES_HEADER, HISTORY_HEADER, NOT_BEFORE_HEADER, came_ms
from unoapi.errors import ShareUsed, StoreUnavailable, describe, safe_traceback
from unoapi.models.attempts import EarlierAnswer
from unoapi.models.jobs import JOBS, DeliverWebhook, FanOut
from unoapi.services import bulk, failure_callbacks, webhooks
from unoapi.services.retries import ensure_fresh
from unoapi.telemetry.logging import get_logger
from unoapi.telemetry.metrics import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tasks.running import Run
    from unoapi.bootstrap import Uno
    from unoapi.models.attempts import Answer
    from unoapi.models.endpoints import EndpointChange
    from unoapi.models.first_look import FirstLook
    from unoapi.services.webhooks import FannedOut

log = get_logger(__name__)

FIRST_TASKS = frozenset({FanOut.task, DeliverWebhook.task})
NOT_NEW = frozenset({HISTORY_HEADER, NOT_BEFORE_HEADER, DELIVERIES_HEADER})
BATCH, SENT_TOGETHER = 64, 32
"""Larger ones cost no less, and the first in it waits for the last."""
FEW_ANSWERS = 16
"""Fewer cost as much as so many do: others are looked for before they are settled."""
NOT_PLAIN, NOT_RECORDED = (logging.DEBUG, "not_plain"), (logging.WARNING, "not_recorded")
TURN_S = 1.0
HELD_S = 0.02
"""What waits for its receiver is looked at so often: it may be slow by now, or a thread of the pool may be done."""
ANSWER_WITHIN_S = 5.0
"""Longer than any answer of Redis may take."""
KNOWN_FOR_S = 1.0
"""So long what Redis said of a message stays true enough: of what waited longer for its place, it is asked again."""
WATCH_S, STOPPED_AFTER = 1.0, 30
"""How often the watchdog looks, and how many looks without a turn mean that the thread stands still."""
EX_STOPPED = 70


class Released:
    """A delivery that is released, in the place of the message that it has not. `on_end`: see `services.holding`."""

    name = DeliverWebhook.task
    headers: Mapping[str, Any] = MappingProxyType({})
    answer: EarlierAnswer | None = None

    def __init__(self, job: DeliverWebhook, on_end: Callable[[bool, EarlierAnswer | None], None]) -> None:
        self.id = job.id
        self._job = job
        self._on_end = on_end

    def begin(self) -> None:
        """Nobody shows that."""

    def read_arguments(self) -> tuple[DeliverWebhook, ...]:
        """The delivery."""
        return (self._job,)

    def succeed(self) -> None:
        """It is delivered and recorded."""
        self._on_end(True, None)

    def __call__(self) -> None:
        """Leave the rest to its release."""
        self._on_end(False, self.answer)


@dataclass(slots=True)
class _Item:
    """A message under way. Since `known_at` (monotonic, in seconds) all is known of it."""

    run: Run | Released
    job: FanOut | DeliverWebhook
    look: FirstLook | None = None
    known_at: float = 0.0
    delivery: DeliverWebhook | None = None
    fanned: FannedOut | None = None
    place: ExitStack = field(default_factory=ExitStack)
    answer: Answer | None = None


@dataclass(slots=True)
class _Batch:
    """Messages about which Redis is asked, until `deadline` (monotonic, in seconds).

    `looks` gives what it said, as soon as the thread that talks with it has set `is_answered`.
    """

    items: list[_Item]
    deadline: float
    looks: Callable[[], list[FirstLook | None]] = field(default=list)
    is_answered: bool = False


class FirstAttempts:
    """See above. At most `window` posts are under way; `to_pool` has a thread of the pool call something."""

    def __init__(self, uno: Uno, *, window: int, to_pool: Callable[..., object]) -> None:
        self._uno = uno
        self._window = window
        self._to_pool = to_pool
        self._loop = uno.webhook_loop()
        self._opt_out_words = uno.settings.opt_out_words
        self._max_age_s = uno.settings.unoapi_message_max_age
        self._arrived: deque[Run | Released] = deque()
        self._asked: _Batch | None = None  # one at a time: what arrives meanwhile is the next one
        self._ready: deque[_Item] = deque()  # they wait for their places
        self._held: list[_Item] = []  # they wait for an answer of a receiver that has its share
        self._answered: list[_Item] = []
        self._asleep = self._stopping = self._over = False
        self._turns = 0
        self._thread = threading.Thread(target=self._work, name="first attempts", daemon=True)

    def start(self) -> None:
        """Start the thread, and the one that watches it."""
        self._thread.start()
        threading.Thread(target=self._watch, name="first attempts watchdog", daemon=True).start()

    def stop(self) -> None:
        """Begin nothing more, and end when what is under way is done. What has not begun stays with RabbitMQ."""
        self._stopping = True
        self._loop.wake()

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._thread.is_alive()

    def take(self, run: Run) -> bool:
        """Take a message that is new. Whether it was taken."""
        if run.headers.get("retries") or run.delivery_info.get("redelivered") or not NOT_NEW.isdisjoint(run.headers):
            return False
        self._add(run)
        return True

    def release(self, job: DeliverWebhook, on_end: Callable[[bool, EarlierAnswer | None], None]) -> bool:
        """Take a delivery that is released. Whether it was taken; see `services.holding`."""
        if self._stopping:
            return False
        self._add(Released(job, on_end))
        return True

    def _add(self, run: Run | Released) -> None:
        self._arrived.append(run)
        if self._over:
            self._leave_arrived()
        elif self._asleep:
            self._asleep = False  # the ones that follow need not wake it again
            self._loop.wake()

    def _leave_arrived(self) -> None:
        """What has not begun stays where it is: messages with RabbitMQ, and what is released with its release."""
        with suppress(IndexError):  # nothing is left; several threads may be here
            while True:
                _leave(self._arrived.popleft())

    def _work(self) -> None:
        try:
            while not self._stopping or self._loop.under_way or self._answered:
                self._turns += 1
                if not self._stopping:
                    self._begin_known()  # first: a receiver that has answered need not wait for what follows from it
                self._settle()
                if self._asked is None and not self._stopping:
                    self._ask(_taken(self._arrived))
                self._asleep = self._asked is None  # before the look, so that no message arrives unnoticed
                self._loop.turn(0 if self._has_more() else HELD_S if self._held else TURN_S)
                self._asleep = False
                if 0 < len(self._answered) < FEW_ANSWERS:
                    self._loop.turn(0)  # others have come meanwhile
            self._over = True
            for item in (*(self._asked.items if self._asked is not None else ()), *self._ready, *self._held):
                _leave(item.run)
            self._leave_arrived()
            self._loop.close()
        except BaseException as error:  # noqa: BLE001 (nobody else would go on with these messages)
            _end_process(describe(error), safe_traceback(error))

    def _has_more(self) -> bool:
        """Whether there is something to do at once. A turn between two lots may have taken the word that says so."""
        if self._stopping:
            return not self._loop.under_way
        return bool(self._arrived) if self._asked is None else self._asked.is_answered

    def _watch(self) -> None:
        seen, unchanged = -1, 0
        while self._thread.is_alive():
            time.sleep(WATCH_S)
            unchanged = unchanged + 1 if self._turns == seen else 0
            seen = self._turns
            if unchanged >= STOPPED_AFTER:
                _end_process(f"it has not gone on for {unchanged} looks, {WATCH_S:g} s each")
                return

    # --- from the message to the exchange ---

    def _ask(self, runs: Iterable[Run | Released]) -> None:
        """Ask what has to be known of a batch."""
        items = [item for run in runs if (item := self._read(run)) is not None]
        if not items:
            return
        batch = _Batch(items, time.monotonic() + ANSWER_WITHIN_S)
        try:
            batch.looks = self._uno.first_looks.begin(
                [item.job for item in items], on_ready=partial(self._note_answered, batch)
            )
        except StoreUnavailable:
            self._give_all_to_pool(items)
        except Exception as error:  # noqa: BLE001 (the content of one; its own task says what is wrong with it)
            self._give_up_looking(items, error)
        else:
            self._asked = batch

    def _note_answered(self, batch: _Batch) -> None:
        """Called in the thread that talks with Redis."""
        batch.is_answered = True
        self._loop.wake()

    def _begin_known(self) -> None:
        """Begin what has a place."""
        batch = self._asked
        if batch is not None and (batch.is_answered or time.monotonic() >= batch.deadline):
            self._asked = None
            if batch.is_answered:
                self._note_known(batch)
            else:
                self._go_on_without(batch)
        held, self._held = self._held, []
        self._ready.extendleft(reversed(held))
        while (places := self._places) > 0:
            self._begin([self._ready.popleft() for _ in range(places)])
            if places == SENT_TOGETHER:
                self._loop.turn(0)  # what has begun need not wait for the others

    @property
    def _places(self) -> int:
        """How many attempts may begin together now. A stop may come between two lots."""
        return 0 if self._stopping else min(self._window - self._loop.under_way, len(self._ready), SENT_TOGETHER)

    def _go_on_without(self, batch: _Batch) -> None:
        """Let each ask for itself to which Redis owes an answer for too long, and what has arrived since, too."""
        batch.looks = list
        self._give_all_to_pool(batch.items)
        for _ in range(len(self._arrived)):
            self._submit(self._arrived.popleft())

    def _note_known(self, batch: _Batch) -> None:
        read, batch.looks = batch.looks, list  # what was asked knows who asks: that would be the garbage collector's
        try:
            looks = read()
        except Exception as error:  # noqa: BLE001 (as above)
            self._give_up_looking(batch.items, error)
            return
        now = time.monotonic()
        for item, look in zip(batch.items, looks, strict=True):
            item.look, item.known_at = look, now
        self._ready.extend(batch.items)

    def _begin(self, items: list[_Item]) -> None:
        """Begin attempts: one step after the other for all of them, which costs less than each by itself."""
        now = time.monotonic()
        known = []
        for item in items:
            if now - item.known_at > KNOWN_FOR_S:
                self._arrived.append(item.run)
            else:
                known.append(item)
        self._take_step(self._take_step(known, self._find_delivery), self._post)

    def _read(self, run: Run | Released) -> _Item | None:
        """The message's job, if it is one for a single webhook; else a thread of the pool runs it."""
        run.begin()
        try:
            (given, *_) = run.read_arguments()
            job: Any = JOBS[run.name].model_validate(given)
        except (ValueError, TypeError):
            job = None
        single = len(job.webhook_ids or ()) == 1 and not job.ordered if isinstance(job, FanOut) else job is not None
        if not single:
            self._submit(run)
            return None
        return _Item(run, job)

    def _find_delivery(self, item: _Item) -> bool:
        """Find the delivery, unless something else follows. Raises TooOld, and what `webhooks.fan_out` raises."""
        if item.look is None:
            return False
        if item.delivery is not None:
            return True  # it has waited for an answer of its receiver
        if isinstance(item.job, FanOut):
            item.delivery = self._fan_out(item, item.job, item.look)
        else:
            ensure_fresh(item.job, max_age_s=self._max_age_s)
            item.delivery = item.job
        return item.delivery is not None

    def _post(self, item: _Item) -> bool:
        """Begin the attempt, unless something about it is unusual. Raises Postponed, and what signing may raise."""
        uno, delivery, look = self._uno, item.delivery, item.look
        if delivery is None or look is None:
            return False
        webhook = webhooks.plain_receiver(delivery, look, releasing=isinstance(item.run, Released))
        if webhook is None or not self._loop.takes(url := webhook.address(delivery.phone)):
            return False
        endpoint = delivery.endpoint
        try:
            item.place.enter_context(uno.bulkhead.taken(url, endpoint))
        except ShareUsed as error:
            if not error.briefly:
                raise
            self._held.append(item)
            return True
        item.place.enter_context(metrics().busy.track_inprogress())
        uno.breakers.seen(endpoint, state="")
        self._loop.post(
            webhook,
            phone=delivery.phone,
            delivery_id=delivery.id,
            body=delivery.body,
            on_answer=partial(self._note_answer, item),
        )
        return True

    def _fan_out(self, item: _Item, job: FanOut, look: FirstLook) -> DeliverWebhook | None:
        """The delivery that an event comes to; none when anything else follows from it."""
        fanned = webhooks.fan_out(job, sessions=look, max_age_s=self._max_age_s, statuses=look, blacklist=look)
        if (
            fanned.single is None
            or failure_callbacks.status_report(job)
            or bulk.reactions(job, words=self._opt_out_words)
        ):
            return None
        item.fanned = fanned
        return fanned.single

    # --- from the answer to the acknowledgement ---

    def _note_answer(self, item: _Item, answer: Answer) -> None:
        item.place.close()
        item.answer = answer
        self._answered.append(item)

    def _settle(self) -> None:
        """Record what was delivered, and acknowledge it; give the rest to the pool, with its answer."""
        answered, self._answered = self._answered, []
        if not answered:
            return
        with self._uno.redis.posting_together():
            done = self._remember_all(self._take_step(answered, self._record, failure=NOT_RECORDED))
            endpoints = {item.delivery.endpoint: item.delivery for item in done if item.delivery is not None}
            if endpoints:
                self._uno.breakers.succeeded(
                    list(endpoints), notify=lambda endpoint, change: self._report_change(endpoints[endpoint], change)
                )
        for item in done:
            if isinstance(item.run, Released):
                item.run.succeed()
            else:
                item.run.succeed(within=None if item.fanned is None else item.delivery)

    def _record(self, item: _Item) -> bool:
        """Record a delivery, if it was made."""
        uno, run, delivery, answer = self._uno, item.run, item.delivery, item.answer
        if delivery is None or answer is None or not answer.delivered:
            return False
        if not isinstance(run, Released) and (came := came_ms(run.headers)) is not None:
            uno.queue_ages.taken(run.delivery_info["routing_key"], came)
        webhooks.record_delivered(delivery, answer, tries=1, deliveries=uno.deliveries)
        return True

    def _remember_all(self, items: list[_Item]) -> list[_Item]:
        """Record what else the events among the items mean; returns the items of which that was done."""
        try:
            remember(self._uno, [item.fanned for item in items if item.fanned is not None])
        except Exception as error:  # noqa: BLE001 (each by itself shows which one it was)
            level, event = NOT_RECORDED
            log.log(level, event, error=describe(error), hint="each event of the batch is recorded by itself")
            return self._take_step(items, self._remember, failure=NOT_RECORDED)
        return items

    def _remember(self, item: _Item) -> bool:
        """The same for one item; a delivery that has a message of its own means nothing else."""
        if item.fanned is not None:
            remember(self._uno, [item.fanned])
        return True

    def _report_change(self, delivery: DeliverWebhook, change: EndpointChange) -> None:
        """Tell of an endpoint that is up again, in a thread that may wait for RabbitMQ."""
        with suppress(RuntimeError):  # the pool is shutting down
            self._to_pool(report_change, self._uno, delivery, change)

    # --- to the pool ---

    def _take_step(
        self, items: list[_Item], step: Callable[[_Item], bool], *, failure: tuple[int, str] = NOT_PLAIN
    ) -> list[_Item]:
        """Those of the items of which a step was done; the task of any other one, in the pool, says what follows.

        `failure` is how the log names an error, and how loudly.
        """
        done = []
        for item in items:
            try:
                if step(item):
                    done.append(item)
                    continue
            except Exception as error:  # noqa: BLE001 (whatever it is)
                level, event = failure
                log.log(level, event, task_id=item.run.id, error=describe(error))
            self._give_to_pool(item)
        return done

    def _give_up_looking(self, items: Iterable[_Item], error: Exception) -> None:
        log.warning("batch_not_looked_at", error=describe(error), traceback=safe_traceback(error))
        self._give_all_to_pool(items)

    def _give_all_to_pool(self, items: Iterable[_Item]) -> None:
        for item in items:
            self._give_to_pool(item)

    def _give_to_pool(self, item: _Item) -> None:
        item.place.close()
        if item.delivery is not None and item.answer is not None:
            item.run.answer = EarlierAnswer(item.delivery.id, item.answer)
        self._submit(item.run)

    def _submit(self, run: Run | Released) -> None:
        try:
            self._to_pool(run)
        except RuntimeError:  # the pool is shutting down
            log.info("left_to_rabbitmq", task_id=run.id)
            _leave(run)


def _leave(run: Run | Released) -> None:
    if isinstance(run, Released):
        run()


def _taken(waiting: deque[Run | Released]) -> list[Run | Released]:
    """What has gathered, as far as it makes one batch, taken out."""
    return [waiting.popleft() for _ in range(min(BATCH, len(waiting)))]


def _end_process(why: str, traceback: str = "") -> None:
    log.error(
        "first_attempts_stopped", error=why, traceback=traceback, hint="the process ends; RabbitMQ has its messages"
    )
    os._exit(EX_STOPPED)
