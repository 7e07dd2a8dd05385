"""First attempts: new messages are delivered in batches; whatever is not plain goes the way of the task."""

from __future__ import annotations

import gc
import json
import time
import weakref
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from celery.events.state import State
from celery.worker import state

import tasks.first_attempts
from tasks.app import make_worker
from tasks.first_attempts import FirstAttempts
from tasks.running import Run
from tests.support.fakes import (
    CONTACT,
    PHONE,
    MemoryDeliveries,
    MemoryFirstLooks,
    MemorySessions,
    MemoryTraces,
    ScriptedLoop,
    make_delivery,
    make_event,
    make_fan_out,
    make_session,
    make_status,
    make_webhook,
)
from tests.support.stack import eventually
from tests.support.worker import make_uno
from unoapi.broker.messages import DELIVERIES_HEADER, HISTORY_HEADER, NOT_BEFORE_HEADER, to_message
from unoapi.models.activity import RECEIVED
from unoapi.models.attempts import Answer, EarlierAnswer, History
from unoapi.models.endpoints import Holding
from unoapi.models.jobs import DeliverWebhook, Envelope, FanOut, Job, delivery_id, now_ms
from unoapi.services import webhooks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unoapi.bootstrap import Uno

WINDOW = 16
SECOND = make_webhook(id="second", urlAbsolute="http://receiver.test/second")


class Bench:
    """First attempts whose pool runs its tasks in the thread of the test, when it is asked to."""

    def __init__(self, *answers: Answer, **settings: str) -> None:
        self.loop = ScriptedLoop(*answers)
        traces = MemoryTraces()
        self.sessions, self.deliveries = MemorySessions(make_session()), MemoryDeliveries(trace=traces.add)
        self.looks = MemoryFirstLooks(self.sessions, self.deliveries)
        self.uno: Uno = make_uno(
            settings=settings,
            sessions=self.sessions,
            deliveries=self.deliveries,
            traces=traces,
            first_looks=self.looks,
            webhook_loop=lambda: self.loop,
        )
        self.worker = make_worker(self.uno)
        self.pool: list[Callable[[], object]] = []
        self.settled: list[tuple[str, str]] = []
        self.events: list[tuple[str, str]] = []
        self.path = FirstAttempts(self.uno, window=WINDOW, to_pool=self._to_pool)

    def _to_pool(self, work: Callable[..., object], *arguments: object) -> None:
        self.pool.append(lambda: work(*arguments))

    def run_of(
        self, job: Job, *, redelivered: bool = False, send_event: Callable[..., None] | None = None, **headers: Any
    ) -> Run:
        message = to_message(Envelope(job), self.uno.topology)
        arguments = json.loads(message.body)[0]
        return Run(
            self.worker.tasks[job.task],  # type: ignore[arg-type] # ours
            headers=message.headers | headers,
            delivery_info={"routing_key": message.routing_key, "redelivered": redelivered},
            read_arguments=lambda: tuple(arguments),
            send_event=send_event or (lambda event, **fields: self.events.append((event, fields["uuid"]))),
            acknowledge=lambda: self.settled.append(("acknowledged", job.id)),
            reject=lambda requeue: self.settled.append((f"rejected {requeue}", job.id)),
        )

    def take(self, *jobs: Job) -> None:
        """Let it have the messages of jobs, all of which it takes."""
        for job in jobs:
            assert self.path.take(self.run_of(job))

    def take_alone(self, job: Job) -> None:
        """Start, and let it do with one message what it does."""
        self.path.start()
        self.take(job)
        assert eventually(lambda: self.settled or self.pool)

    def close(self) -> None:
        """Stop, and forget what nobody has run."""
        self.loop.held = False
        self.path.stop()
        assert eventually(lambda: not self.path.is_alive())
        for request in list(state.active_requests):
            state.task_ready(request)
        self.uno.close()

    def run_pool(self) -> None:
        for work in self.pool:
            work()

    @property
    def acknowledged(self) -> list[str]:
        return [job_id for how, job_id in self.settled if how == "acknowledged"]

    def steps(self, message_id: str = "wamid.1") -> list[str]:
        return [entry.step for entry in self.uno.traces.read(PHONE, message_id)]


@pytest.fixture
def bench() -> Iterator[Bench]:
    running = Bench()
    yield running
    running.close()


def failing(status: int) -> Bench:
    return Bench(Answer(status=status, duration_ms=7))


def test_a_batch_is_posted_recorded_and_acknowledged_without_a_task(bench: Bench) -> None:
    jobs = [make_delivery(id=f"d-{number}", message_id=f"wamid.{number}") for number in range(10)]
    bench.take(*jobs)

    bench.path.start()

    assert eventually(lambda: len(bench.acknowledged) == 10)
    assert bench.loop.ids == [job.id for job in jobs]
    assert bench.loop.most == 10
    assert bench.looks.batches == [10]
    assert bench.pool == []
    assert all(bench.deliveries.state(job.id, job.endpoint).done for job in jobs)
    assert bench.steps("wamid.3") == ["queued", "delivered"]


def test_what_arrives_while_redis_is_asked_is_the_next_question(bench: Bench) -> None:
    """Small ones cost as much as large ones do."""
    answers: list[Callable[[], None]] = []
    bench.looks.held = answers
    bench.path.start()
    bench.take(make_delivery(id="d-0"))
    assert eventually(lambda: answers)

    bench.take(*(make_delivery(id=f"d-{number}", message_id=f"wamid.{number}") for number in range(1, 6)))
    bench.loop.wake()
    time.sleep(0.2)
    assert bench.looks.batches == [1]

    answers[0]()
    assert eventually(lambda: len(answers) == 2)
    answers[1]()
    assert eventually(lambda: len(bench.acknowledged) == 6)
    assert bench.looks.batches == [1, 5]


def test_a_few_answers_are_settled_with_those_that_have_come_meanwhile(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[int] = []
    monkeypatch.setattr(bench.uno.message_log, "add_all", lambda messages: listed.append(len(messages)))
    bench.loop.most_answers = 2
    bench.take(*(make_fan_out(make_event(id=f"wamid.{number}")) for number in range(8)))

    bench.path.start()

    assert eventually(lambda: len(bench.acknowledged) == 8)
    assert listed == [4, 4]


def test_an_answer_of_redis_that_comes_while_attempts_begin_is_looked_at_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The turn between two lots of them takes the word that should wake the loop."""
    monkeypatch.setattr(tasks.first_attempts, "SENT_TOGETHER", 4)
    monkeypatch.setattr(tasks.first_attempts, "TURN_S", 30.0)
    answers: list[Callable[[], None]] = []
    bench.loop.held = True
    bench.path.start()
    bench.take(*(make_delivery(id=f"d-{number}") for number in range(WINDOW + 8)))
    assert eventually(lambda: len(bench.loop.ids) == WINDOW)
    bench.looks.held = answers
    bench.take(make_delivery(id="last"))
    assert eventually(lambda: answers)

    bench.loop.on_post = lambda name: answers[0]() if name == f"d-{WINDOW + 1}" else None
    bench.loop.held = False

    assert eventually(lambda: "last" in bench.loop.ids)


def test_a_stop_while_attempts_begin_begins_no_more_and_ends_the_thread_when_they_are_answered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.first_attempts, "SENT_TOGETHER", 4)
    monkeypatch.setattr(tasks.first_attempts, "TURN_S", 30.0)
    bench.loop.on_post = lambda name: bench.path.stop() if name == "d-1" else None
    bench.take(*(make_delivery(id=f"d-{number}") for number in range(8)))

    bench.path.start()

    assert eventually(lambda: not bench.path.is_alive())
    assert bench.acknowledged == ["d-0", "d-1", "d-2", "d-3"]


def test_what_has_begun_need_not_wait_for_all_that_begins(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.first_attempts, "SENT_TOGETHER", 4)
    bench.take(*(make_delivery(id=f"d-{number}") for number in range(12)))

    bench.path.start()

    assert eventually(lambda: len(bench.acknowledged) == 12)
    assert bench.loop.most == 4


def test_a_message_that_arrives_while_nothing_is_done_wakes_the_loop(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.first_attempts, "TURN_S", 30.0)
    answers: list[Callable[[], None]] = []
    bench.path.start()
    time.sleep(0.1)  # it waits

    bench.take(make_delivery(id="d-1"))
    assert eventually(lambda: bench.acknowledged == ["d-1"])
    bench.looks.held = answers
    time.sleep(0.1)
    bench.take(make_delivery(id="d-2"))
    assert eventually(lambda: answers)
    answers[0]()
    assert eventually(lambda: bench.acknowledged == ["d-1", "d-2"])


def test_what_arrived_while_redis_owed_an_answer_for_too_long_need_not_wait_as_long(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.first_attempts, "ANSWER_WITHIN_S", 0.3)
    monkeypatch.setattr(tasks.first_attempts, "TURN_S", 0.05)
    bench.looks.held = []
    bench.take(*(make_delivery(id=f"d-{number}") for number in range(200)))

    bench.path.start()

    assert eventually(lambda: len(bench.pool) == 200)
    assert len(bench.looks.batches) == 1


def test_a_stop_leaves_what_redis_was_asked_about_and_what_has_arrived_to_its_release(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks.first_attempts, "TURN_S", 30.0)
    bench, ended = Bench(), list[str]()
    bench.looks.held = []
    bench.path.start()

    def end(name: str, done: bool, _: EarlierAnswer | None) -> None:
        ended.append(f"{name} {done}")

    for name in ("asked about", "arrived"):
        assert bench.path.release(make_delivery(id=name), partial(end, name))
        assert eventually(lambda: bench.looks.batches == [1])

    bench.close()

    assert ended == ["asked about False", "arrived False"]


def test_an_event_for_one_webhook_is_fanned_out_and_delivered(bench: Bench) -> None:
    event = make_fan_out()

    bench.take_alone(event)

    assert bench.acknowledged == [event.id]
    assert bench.loop.ids == [delivery_id(event.id, "default")]
    assert bench.steps() == ["queued", "delivered"]
    assert [logged.id for logged in bench.uno.message_log.latest(PHONE)] == ["wamid.1"]


@pytest.mark.parametrize("make", [make_fan_out, make_delivery])
def test_what_is_done_leaves_nothing_to_the_garbage_collector(
    bench: Bench, make: Callable[[], Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rounds through what is under way took a twentieth of an event's time."""
    begin = bench.looks.begin

    def begin_as_redis_does(jobs: Any, on_ready: Callable[[], None]) -> Callable[[], Any]:
        looks = begin(jobs, on_ready)
        return lambda: (looks(), on_ready)[0]  # the answers know whom they are told to

    monkeypatch.setattr(bench.looks, "begin", begin_as_redis_does)
    run = bench.run_of(make())
    done = weakref.ref(run)
    bench.path.start()
    gc.disable()
    try:
        assert bench.path.take(run)
        del run

        assert eventually(lambda: bench.acknowledged)
        assert eventually(lambda: done() is None)
    finally:
        gc.enable()


def test_flower_shows_a_delivery_that_was_made_within_its_event_as_the_events_result(bench: Bench) -> None:
    event = make_fan_out()
    shown: Any = State()
    sender = {"hostname": "worker@here", "clock": 1, "local_received": 1.0}

    def send(kind: str, **fields: Any) -> None:
        shown.event({"type": kind, "timestamp": 1767225600.5, **sender, **fields})

    run = bench.run_of(event, send_event=send)
    run.note_received()
    bench.path.start()
    assert bench.path.take(run)

    assert eventually(lambda: shown.tasks[event.id].ready)
    [(_, whole)] = shown.itertasks()
    assert (whole.name, whole.state, whole.args) == (FanOut.task, "SUCCESS", event.summary)
    delivery = f"id={delivery_id(event.id, 'default')} phone={PHONE} message_id=wamid.1 webhook=default kind=message"
    assert whole.result == f"{DeliverWebhook.task} {delivery}"


def test_flower_sees_a_delivery_that_has_a_message_of_its_own(bench: Bench) -> None:
    delivery = make_delivery()

    bench.take_alone(delivery)

    assert eventually(lambda: bench.events) == [("task-succeeded", delivery.id)]


@pytest.mark.parametrize("make", [make_fan_out, make_delivery])
def test_an_answer_that_is_no_2xx_goes_with_its_message_and_is_not_asked_for_again(make: Callable[[], Job]) -> None:
    bench, job = failing(500), make()
    bench.take_alone(job)
    assert bench.settled == []

    bench.run_pool()

    publisher: Any = bench.uno.publisher
    buckets = [queue.name for queue in bench.uno.topology.queues if queue.name.startswith(bench.uno.topology.delayed)]
    (waiting,) = [publisher.take(bucket) for bucket in buckets if publisher.depth(bucket)]
    history = History.model_validate_json(waiting.headers[HISTORY_HEADER])
    assert waiting.headers["task"] == "outgoing.deliver"
    assert [attempt.status for attempt in history.attempts] == [500]
    assert len(bench.loop.ids) == 1
    recorder: Any = bench.uno.webhook_client
    assert recorder.ids == []  # no second POST
    assert bench.acknowledged == [job.id]
    bench.close()


def test_what_is_given_up_at_its_first_answer_is_dead_before_it_is_acknowledged() -> None:
    bench = failing(410)
    bench.take_alone(make_delivery())

    bench.run_pool()

    publisher: Any = bench.uno.publisher
    assert publisher.depth(bench.uno.topology.dead) == 1
    assert bench.acknowledged == ["delivery-1"]
    bench.close()


def test_an_answer_that_came_counts_though_its_receiver_has_its_share_again() -> None:
    """The next one has the place by then: none of the failures of a slow receiver would count."""
    bench, job = failing(410), make_delivery()
    bench.uno.bulkhead.share_out(1)
    bench.take_alone(job)

    with bench.uno.bulkhead.taken("https://other.test", phone="2"), bench.uno.bulkhead.taken("", job.endpoint):
        bench.run_pool()

    publisher: Any = bench.uno.publisher
    assert publisher.depth(bench.uno.topology.dead) == 1
    bench.close()


def blocked(bench: Bench) -> None:
    bench.looks.blocked.add(CONTACT)


def done(bench: Bench) -> None:
    bench.deliveries.finished.append(delivery_id(make_fan_out().id, "default"))


def paused(bench: Bench) -> None:
    bench.deliveries.pause(make_delivery().endpoint, pause_ms=60_000)


def dropped(bench: Bench) -> None:
    bench.deliveries.drop(make_delivery().endpoint)


def removed(bench: Bench) -> None:
    bench.sessions.stored[PHONE] = make_session(make_webhook(id="another"))


def redis_away(bench: Bench) -> None:
    bench.sessions.away = True


def overtaken(bench: Bench) -> None:
    bench.looks.superseded.add("wamid.1")


@pytest.mark.parametrize("trouble", [blocked, done, paused, dropped, removed, redis_away, overtaken])
def test_what_something_stands_in_the_way_of_is_left_to_its_task(
    bench: Bench, trouble: Callable[[Bench], None]
) -> None:
    event = make_fan_out(accepted_at_ms=now_ms() - 10)
    trouble(bench)

    bench.take_alone(event)

    assert bench.loop.ids == []
    assert len(bench.pool) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: make_fan_out(webhook_ids=["default", "second"]),
        lambda: make_fan_out(webhook_ids=[]),
        lambda: make_fan_out(webhook_ids=None),
        lambda: make_fan_out(ordered=["default"], contact=CONTACT),
        lambda: make_fan_out(make_status("failed", error={"code": 131026, "title": "Message undeliverable"})),
        lambda: make_fan_out(accepted_at_ms=1),
        lambda: make_delivery(contact=CONTACT),
        lambda: make_delivery(replay="all"),
        lambda: make_delivery(accepted_at_ms=1),
    ],
    ids=["two webhooks", "none", "not known", "ordered", "failed", "too old", "in a line", "replay", "old delivery"],
)
def test_what_is_not_plain_is_left_to_its_task(bench: Bench, make: Callable[[], Job]) -> None:
    bench.sessions.stored[PHONE] = make_session(make_webhook(), SECOND)

    bench.take_alone(make())

    assert bench.loop.ids == []
    assert len(bench.pool) == 1


def test_an_address_that_would_hold_up_others_is_left_to_its_task(bench: Bench) -> None:
    bench.loop.refused.add(make_webhook().address(PHONE))

    bench.take_alone(make_delivery())

    assert (bench.loop.ids, len(bench.pool)) == ([], 1)
    bench.path.stop()


def test_a_word_that_ends_a_campaign_is_left_to_its_task() -> None:
    bench = Bench(UNOAPI_OPT_OUT_WORDS="sair")

    bench.take_alone(make_fan_out(make_event(text={"body": "SAIR"})))

    assert (bench.loop.ids, len(bench.pool)) == ([], 1)
    bench.path.stop()


def spoil(*_: Any) -> Any:
    return lambda: 1 / 0


def never_answer(*_: Any) -> Any:
    return list


def fail(*_: Any) -> Any:
    raise ZeroDivisionError


@pytest.mark.parametrize("begin", [fail, spoil, never_answer])
def test_a_batch_of_which_nothing_gets_known_is_left_to_its_tasks(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, begin: Callable[..., Any]
) -> None:
    def ask(jobs: Any, on_ready: Callable[[], None]) -> Any:
        looks = begin(jobs)
        if begin is not never_answer:
            on_ready()
        return looks

    monkeypatch.setattr(bench.looks, "begin", ask)
    monkeypatch.setattr(tasks.first_attempts, "ANSWER_WITHIN_S", 0.1)
    bench.take(make_delivery(id="d-1"), make_delivery(id="d-2"))

    bench.path.start()

    assert eventually(lambda: len(bench.pool) == 2)
    bench.run_pool()
    assert bench.acknowledged == ["d-1", "d-2"]


@pytest.mark.parametrize(
    "changes",
    [{"retries": 1}, {HISTORY_HEADER: "{}"}, {NOT_BEFORE_HEADER: 1}, {DELIVERIES_HEADER: 1}, {"redelivered": True}],
)
def test_only_what_is_new_is_taken(bench: Bench, changes: dict[str, Any]) -> None:
    redelivered = bool(changes.pop("redelivered", False))

    assert not bench.path.take(bench.run_of(make_delivery(), redelivered=redelivered, **changes))


def test_one_endpoint_has_at_most_half_of_the_window_while_others_have_work() -> None:
    bench = Bench(UNOAPI_WORKER_THREADS="8")
    bench.sessions.stored[PHONE] = make_session(make_webhook(), SECOND)
    bench.loop.held = True
    other = make_delivery(id="other", webhook_id="second", message_id="wamid.o")

    bench.take(other, *(make_delivery(id=f"d-{number}") for number in range(7)))
    bench.path.start()

    assert eventually(lambda: len(bench.loop.ids) == 5)
    assert eventually(lambda: len(bench.pool) == 3)
    bench.close()


def test_what_waits_for_a_place_in_the_window_is_posted_when_one_is_free(bench: Bench) -> None:
    bench.loop.held = True
    bench.take(*(make_delivery(id=f"d-{number}") for number in range(WINDOW + 4)))
    bench.path.start()
    assert eventually(lambda: len(bench.loop.ids) == WINDOW)

    bench.loop.held = False

    assert eventually(lambda: len(bench.acknowledged) == WINDOW + 4)
    assert bench.loop.most == WINDOW
    assert sum(bench.looks.batches) == WINDOW + 4
    bench.close()


def test_what_waited_too_long_for_its_place_is_asked_about_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.first_attempts, "KNOWN_FOR_S", 0.1)
    bench.loop.held = True
    bench.take(*(make_delivery(id=f"d-{number}") for number in range(WINDOW + 1)))
    bench.path.start()
    assert eventually(lambda: sum(bench.looks.batches) == WINDOW + 1 and len(bench.loop.ids) == WINDOW)

    time.sleep(0.2)
    bench.loop.held = False

    assert eventually(lambda: sum(bench.looks.batches) == WINDOW + 2)
    bench.close()


def test_what_is_under_way_is_finished_and_what_has_not_begun_is_left_to_rabbitmq(bench: Bench) -> None:
    bench.loop.held = True
    bench.path.start()
    bench.take(make_delivery(id="d-1"))
    assert eventually(lambda: bench.loop.ids == ["d-1"])

    bench.path.stop()
    bench.take(make_delivery(id="d-2"))
    assert bench.path.is_alive()
    bench.loop.held = False

    assert eventually(lambda: not bench.path.is_alive())
    assert bench.acknowledged == ["d-1"]
    assert bench.loop.ids == ["d-1"]
    assert bench.pool == []


def test_a_delivery_that_another_event_waits_for_is_noted_before_it_is_acknowledged(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[list[str]] = []
    monkeypatch.setattr(bench.deliveries, "note_done", lambda _: noted.append(list(bench.acknowledged)))

    recorder: Any = bench.uno.webhook_client
    recorder.answers.append(Answer(status=200, duration_ms=7))

    bench.path.start()
    bench.take(make_delivery(awaited=True), make_delivery(id="d-2"))
    assert eventually(lambda: bench.acknowledged == ["d-2"])
    bench.run_pool()

    assert noted == [["d-2"]]
    assert bench.acknowledged == ["d-2", "delivery-1"]


def test_what_cannot_be_recorded_is_recorded_by_its_task_and_not_posted_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(bench.deliveries, "finish", lambda *_: 1 / 0)
        bench.take_alone(make_delivery())
        assert bench.acknowledged == []

    bench.run_pool()

    assert bench.acknowledged == ["delivery-1"]
    assert len(bench.loop.ids) == 1
    recorder: Any = bench.uno.webhook_client
    assert recorder.ids == []
    assert bench.deliveries.state("delivery-1", make_delivery().endpoint).done


def test_one_of_a_batch_that_cannot_be_recorded_is_acknowledged_after_its_task_and_the_others_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = bench.deliveries.finish
    with monkeypatch.context() as patch:
        patch.setattr(bench.deliveries, "finish", lambda name, *steps: finish(name, *steps) if name != "d-2" else 1 / 0)
        bench.take(*(make_delivery(id=f"d-{number}", message_id=f"wamid.{number}") for number in range(1, 4)))
        bench.path.start()
        assert eventually(lambda: len(bench.settled) == 2 and bench.pool)
        assert bench.acknowledged == ["d-1", "d-3"]

    bench.run_pool()

    assert bench.acknowledged == ["d-1", "d-3", "d-2"]
    assert bench.loop.ids == ["d-1", "d-2", "d-3"]


def test_an_event_of_a_batch_that_cannot_be_remembered_is_left_to_its_task_and_holds_up_no_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [make_fan_out(make_event(id=f"wamid.{number}")) for number in range(1, 4)]
    message: Any = webhooks.FannedOut.message
    with monkeypatch.context() as patch:
        broken = property(lambda fanned: message.fget(fanned) if fanned.event != events[1] else 1 / 0)
        patch.setattr(webhooks.FannedOut, "message", broken)
        bench.take(*events, make_delivery(message_id="wamid.4"))
        bench.path.start()
        assert eventually(lambda: len(bench.settled) == 3 and bench.pool)
        assert bench.acknowledged == [events[0].id, events[2].id, "delivery-1"]

    bench.run_pool()

    assert bench.acknowledged == [events[0].id, events[2].id, "delivery-1", events[1].id]
    assert len(bench.loop.ids) == 4
    assert bench.uno.activity.read(PHONE, "week").totals.counts[RECEIVED] == 3
    recorder: Any = bench.uno.webhook_client
    assert recorder.ids == []
    assert {message.id for message in bench.uno.message_log.latest(PHONE)} == {"wamid.1", "wamid.2", "wamid.3"}


def test_what_has_begun_or_could_not_begin_gives_its_place_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    places: Counter[str] = Counter()
    taken, post = bench.uno.bulkhead.taken, bench.loop.post

    @contextmanager
    def counted(*receiver: Any) -> Iterator[None]:
        with taken(*receiver):
            places["taken"] += 1
            yield
            places["given back"] += 1  # in no `finally`: the garbage collector does not count

    def post_others(webhook: Any, *, delivery_id: str, **rest: Any) -> None:
        if delivery_id == "d-2":
            raise ValueError("cannot be sent")
        post(webhook, delivery_id=delivery_id, **rest)

    monkeypatch.setattr(bench.uno.bulkhead, "taken", counted)
    monkeypatch.setattr(bench.loop, "post", post_others)
    bench.take(*(make_delivery(id=f"d-{number}") for number in range(1, 4)))

    bench.path.start()

    assert eventually(lambda: len(bench.acknowledged) == 2 and bench.pool)
    assert places == {"taken": 3, "given back": 3}


def test_what_waits_for_a_receiver_that_has_its_share_leaves_when_it_is_slow(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others come behind it: until then it may have a place any moment."""
    monkeypatch.setattr("unoapi.services.bulkhead.SLOW_S", 1.0)
    monkeypatch.setattr("unoapi.services.bulkhead.SEEN_S", 0.0)
    monkeypatch.setattr("tasks.first_attempts.TURN_S", 60.0)
    bench.uno.bulkhead.share_out(4)
    with bench.uno.bulkhead.taken("https://other.test", phone="another"):
        pass
    bench.loop.held = True
    bench.take(*(make_delivery(id=f"d-{number}") for number in range(5)))

    bench.path.start()

    assert eventually(lambda: len(bench.loop.ids) == 3)
    assert not bench.pool
    assert eventually(lambda: len(bench.pool) == 2)
    bench.loop.held = False
    assert eventually(lambda: len(bench.acknowledged) == 3)


def test_what_waits_for_a_receiver_that_has_its_share_follows_its_answer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unoapi.services.bulkhead.SEEN_S", 0.0)
    fan_out = Mock(wraps=webhooks.fan_out)
    monkeypatch.setattr("tasks.first_attempts.webhooks.fan_out", fan_out)
    bench.uno.bulkhead.share_out(4)
    with bench.uno.bulkhead.taken("https://other.test", phone="another"):
        pass
    bench.take(*(make_fan_out(make_event(id=f"wamid.{number}")) for number in range(9)))

    bench.path.start()

    assert eventually(lambda: len(bench.acknowledged) == 9)
    assert (bench.loop.most, bench.pool) == (3, [])
    assert fan_out.call_count == 9  # each once, however often it looks for its place


def test_who_wrote_last_with_an_event_is_remembered_before_it_is_acknowledged(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrote: list[dict[Any, bool]] = []
    monkeypatch.setattr(bench.uno.timers, "wrote", lambda last: wrote.append(dict(last)))

    bench.take_alone(make_fan_out())

    assert [own for last in wrote for own in last.values()] == [False]
    assert len(bench.acknowledged) == 1


def test_a_fault_in_the_thread_ends_the_process(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    monkeypatch.setattr(tasks.first_attempts, "_end_process", lambda why, *_: ended.append(why))
    monkeypatch.setattr(bench.loop, "turn", lambda _: 1 / 0)

    bench.path.start()

    assert eventually(lambda: ended)
    assert "ZeroDivisionError" in ended[0]


def test_a_thread_that_stands_still_ends_the_process(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    monkeypatch.setattr(tasks.first_attempts, "_end_process", lambda why, *_: ended.append(why))
    monkeypatch.setattr(tasks.first_attempts, "WATCH_S", 0.01)
    standing = iter([True])
    turn = bench.loop.turn

    def stand(timeout_s: float) -> None:
        if next(standing, False):
            eventually(lambda: ended)
        turn(timeout_s)

    monkeypatch.setattr(bench.loop, "turn", stand)

    bench.path.start()

    assert eventually(lambda: ended)
    assert "has not gone on" in ended[0]


# --- what is released from a holding queue ---


class Release:
    """What a release hears of its deliveries."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.ended: dict[str, tuple[bool, Any]] = {}

    def give(self, job: DeliverWebhook) -> bool:
        return self._bench.path.release(job, partial(self._note, job.id))

    def _note(self, job_id: str, *end: Any) -> None:
        assert job_id not in self.ended
        self.ended[job_id] = end


def test_what_is_released_is_delivered_and_recorded_though_it_has_no_message(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, job = Release(bench), make_delivery(id="d-1")
    state = bench.deliveries.state
    held = Holding("0123456789ab", ready=True, waiting=True)
    monkeypatch.setattr(bench.deliveries, "state", lambda *about: replace(state(*about), holding=held))
    bench.path.start()

    assert release.give(job)

    assert eventually(lambda: release.ended == {"d-1": (True, None)})
    assert bench.deliveries.state("d-1", job.endpoint).done
    assert (bench.settled, bench.pool) == ([], [])
    bench.close()


def test_a_release_hears_the_answer_that_is_no_2xx() -> None:
    bench = Bench(Answer(status=500))
    release = Release(bench)
    bench.path.start()
    release.give(make_delivery(id="d-1"))
    assert eventually(lambda: len(bench.pool) == 1)

    bench.pool.pop()()

    assert release.ended == {"d-1": (False, EarlierAnswer("d-1", Answer(status=500)))}
    bench.close()


def test_a_process_that_stops_tells_the_release_what_has_not_begun(bench: Bench) -> None:
    release = Release(bench)
    bench.loop.held = True
    for number in range(WINDOW + 2):
        release.give(make_delivery(id=f"d-{number}"))
    bench.path.start()
    assert eventually(lambda: len(bench.loop.ids) == WINDOW and sum(bench.looks.batches) == WINDOW + 2)

    bench.path.stop()
    bench.close()

    assert len(release.ended) == WINDOW + 2
    assert [name for name, end in release.ended.items() if end == (False, None)] == [f"d-{WINDOW}", f"d-{WINDOW + 1}"]
    assert not release.give(make_delivery(id="late"))
