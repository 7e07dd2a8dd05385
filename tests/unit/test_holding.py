"""Endpoints that are down or paused: where their deliveries wait, and how they are released."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fakes import (
    PHONE,
    MemoryBreakers,
    MemoryDeliveries,
    MemoryHoldingQueues,
    MemoryHoldings,
    MemoryPublisher,
    make_delivery,
)
from tests.support.stack import eventually
from unoapi.errors import BrokerUnavailable, DeliveryFailed, DeliveryRefused, Held, Postponed
from unoapi.models.attempts import Answer, Attempt, EarlierAnswer, History
from unoapi.models.endpoints import DeliveryState, Endpoint, Holding
from unoapi.models.jobs import Envelope, HeldDelivery, ReleaseEndpoint, now_ms
from unoapi.services import holding
from unoapi.services.bulkhead import Bulkhead
from unoapi.services.failure_callbacks import attempt_report
from unoapi.services.holding import Announcements, ReleaseContext, Releases, look, looks, looks_again, wait
from unoapi.services.next_looks import NextLooks
from unoapi.services.retries import RetrySchedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.models.endpoints import Origin
    from unoapi.models.jobs import DeliverWebhook

CRM = Endpoint(PHONE, "crm")
TOKEN = "0123456789ab"
RECEIVER = ("https", "crm.example", 443)
THREADS = 8
DAY_S = 86_400


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "READ_EVERY_S", 0.0)


def held(number: int, *, contact: str = "", retries: int = 0) -> HeldDelivery:
    """A delivery, accepted after those with lower numbers."""
    job = make_delivery(id=f"d-{number}", webhook_id="crm", contact=contact, accepted_at_ms=now_ms() - 60_000 + number)
    return HeldDelivery(job, retries, History())


@dataclass
class Desk:
    """One process with what it looks with. `answer` is what the endpoint does with a delivery: nothing, or raise."""

    answer: Callable[[DeliverWebhook], None] = lambda _: None
    breakers: MemoryBreakers = field(default_factory=MemoryBreakers)
    deliveries: MemoryDeliveries = field(default_factory=MemoryDeliveries)
    holdings: MemoryHoldings = field(default_factory=MemoryHoldings)
    queues: MemoryHoldingQueues = field(default_factory=MemoryHoldingQueues)
    publisher: MemoryPublisher = field(default_factory=MemoryPublisher)
    bulkhead: Bulkhead = field(default_factory=lambda: Bulkhead(THREADS))
    posted: list[str] = field(default_factory=list)
    stopping: bool = False
    releases: Releases = field(default_factory=lambda: Releases(THREADS))
    next_looks: NextLooks = field(default_factory=NextLooks)
    receiver: Callable[[Endpoint], Origin | None] = lambda _: RECEIVER
    removed: set[str] = field(default_factory=set)
    attempt: Callable[[DeliverWebhook, History, EarlierAnswer | None], None] | None = None

    def look(self, job: ReleaseEndpoint) -> Envelope | None:
        return look(job, self.context)

    @property
    def context(self) -> ReleaseContext:
        return ReleaseContext(
            queues=self.queues,
            holdings=self.holdings,
            deliveries=self.deliveries,
            breakers=self.breakers,
            bulkhead=self.bulkhead,
            publisher=self.publisher,
            schedule=RetrySchedule(limit=2, base_ms=1000, cap_ms=4000),
            releases=self.releases,
            next_looks=self.next_looks,
            attempt=self.attempt or self._attempt,
            receiver=self.receiver,
            is_removed=lambda job: job.webhook_id in self.removed,
            reports=lambda job, _, history, delay_ms: [Envelope(attempt_report(job, history, delay_ms=delay_ms))],
            stopping=lambda: self.stopping,
        )

    def _attempt(self, job: DeliverWebhook, history: History, answer: EarlierAnswer | None) -> None:  # noqa: ARG002
        self.posted.append(job.id)
        self.answer(job)
        self.breakers.open = False

    def fill(self, *deliveries: HeldDelivery) -> ReleaseEndpoint:
        """A queue with these deliveries, and its job."""
        job = ReleaseEndpoint(id="r", phone=PHONE, webhook_id="crm", token=TOKEN, made=True)
        self.queues.make(CRM, TOKEN)
        for one in deliveries:
            self.queues.put(one, TOKEN)
        return job

    def left(self) -> list[str]:
        """What stands in the queue."""
        return [one.job.id for one in self.queues.queues[CRM, TOKEN]]


def following(envelope: Envelope | None) -> ReleaseEndpoint:
    assert envelope is not None
    assert isinstance(envelope.job, ReleaseEndpoint)
    return envelope.job


def failed() -> DeliveryFailed:
    return DeliveryFailed("HTTP 500", attempt=Attempt(status=500, outcome="refused"))


def refuse_all(_: DeliverWebhook) -> None:
    raise Postponed("the endpoint is down", after_ms=1000, attempt=Attempt(status=503, outcome="refused"))


# --- where a delivery waits ---


def waits(state: DeliveryState, *, publisher: Any = None, announcements: Announcements | None = None) -> Postponed:
    return wait(
        held(1).job,
        state,
        "down",
        after_ms=64_000,
        max_age_s=DAY_S,
        announcements=announcements or Announcements(),
        publisher=publisher or MemoryPublisher(),
    )


def test_a_delivery_waits_in_the_queue_of_its_endpoint_until_its_maximum_age() -> None:
    error = waits(DeliveryState(holding=Holding(TOKEN, ready=True, waiting=True)))

    assert isinstance(error, Held)
    assert error.token == TOKEN
    assert DAY_S * 1000 - 61_000 < error.after_ms <= DAY_S * 1000 - 59_000


def test_the_first_delivery_without_a_queue_asks_for_one_and_the_next_ones_wait_for_it_a_moment() -> None:
    publisher, announcements = MemoryPublisher(), Announcements()

    errors = [waits(DeliveryState(), publisher=publisher, announcements=announcements) for _ in range(3)]

    [asked] = publisher.jobs("unoapi.outgoing")
    assert (asked.task, asked.phone, asked.webhook_id, asked.made) == ("outgoing.release", PHONE, "crm", False)
    assert {(type(error), error.after_ms) for error in errors} == {(Postponed, holding.MAKING_WAIT_MS)}


def test_where_no_queue_comes_deliveries_wait_as_long_as_it_was_waited_for_and_in_the_end_in_the_buckets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Behind a long backlog the queue's own job takes a while: what waited for the next probe came a minute late."""
    publisher, announcements = MemoryPublisher(), Announcements()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    waited = []
    for after_s in (0, 1, 5, 9, 11, 30, 9, 70):
        now += after_s
        waited.append(waits(DeliveryState(), publisher=publisher, announcements=announcements).after_ms)

    assert waited == [1_000, 1_000, 6_000, 15_000, 26_000, 56_000, 64_000, 1_000]
    assert len(publisher.jobs("unoapi.outgoing")) == 5, "at most every ten seconds"


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(DeliveryState(breaker=None), id="Redis is away"),
        pytest.param(DeliveryState(holding=Holding(TOKEN, ready=False, waiting=False)), id="it is being made"),
    ],
)
def test_a_queue_is_not_asked_for_when_nobody_could_find_it_or_it_comes(state: DeliveryState) -> None:
    publisher = MemoryPublisher()

    assert type(waits(state, publisher=publisher)) is Postponed
    assert publisher.jobs("unoapi.outgoing") == []


def test_a_delivery_waits_in_a_bucket_when_the_queue_cannot_be_asked_for() -> None:
    publisher = MemoryPublisher()
    publisher.away = True

    assert type(waits(DeliveryState(), publisher=publisher)) is Postponed


# --- the life of a queue ---


def test_the_first_look_makes_the_queue_and_then_names_it() -> None:
    desk = Desk()
    job = ReleaseEndpoint(id="r", phone=PHONE, webhook_id="crm", token=TOKEN)

    again = desk.look(job)

    assert following(again).made
    assert desk.left() == []
    assert desk.holdings.queues[CRM] == Holding(TOKEN, ready=True, waiting=True)


@pytest.mark.parametrize(
    "holdings",
    [
        pytest.param({CRM: Holding("ba9876543210", ready=True, waiting=True)}, id="it has one"),
        pytest.param({Endpoint(PHONE, "other"): Holding(TOKEN, ready=True, waiting=True)}, id="there are too many"),
    ],
)
def test_no_second_queue_is_made_and_none_beyond_the_bound(holdings: dict[Endpoint, Holding]) -> None:
    desk = Desk(holdings=MemoryHoldings(most=1))
    desk.holdings.queues = holdings

    assert desk.look(ReleaseEndpoint(id="r", phone=PHONE, webhook_id="crm", token=TOKEN)) is None
    assert desk.queues.queues == {}


def test_a_queue_that_is_not_the_endpoints_any_more_is_released_then_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    job = desk.fill(held(1))
    desk.holdings.queues[CRM] = Holding("ba9876543210", ready=True, waiting=True)

    job = following(desk.look(job))

    assert job.closing
    assert desk.queues.closed == set(), "who learned its name before may still publish"
    assert (desk.posted, desk.left()) == (["d-1"], [])
    monkeypatch.setattr(holding, "CLOSED_MS", 0)
    assert following(desk.look(job)).unbound
    assert desk.queues.closed == {(CRM, TOKEN)}


def test_a_queue_that_stays_empty_is_forgotten_first_then_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "QUIET_MS", 0)
    desk = Desk()
    job = following(desk.look(desk.fill()))
    assert not job.closing

    closing = desk.look(job)

    assert following(closing).closing
    assert desk.holdings.queues == {}
    assert desk.queues.closed == set()
    assert closing is not None
    assert closing.delay_ms == holding.CLOSED_MS, "who learned its name before may still publish"
    assert not following(desk.look(following(closing))).unbound, "its time is not over"
    monkeypatch.setattr(holding, "CLOSED_MS", 0)
    unbound = desk.look(following(closing))
    assert desk.queues.closed == {(CRM, TOKEN)}
    assert desk.queues.queues == {(CRM, TOKEN): []}, "what RabbitMQ has taken may be on its way to the queue"
    with desk.queues.consume(CRM, TOKEN):
        assert following(desk.look(following(unbound))).unbound, "a copy of this job takes deliveries from it"
    assert desk.look(following(unbound)) is None
    assert desk.queues.queues == {}


def test_a_delivery_whose_attempt_began_before_its_queue_was_forgotten_is_no_dead_letter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An endpoint that hangs again after two quiet minutes: its deliveries were put where nobody was any more."""
    monkeypatch.setattr(holding, "QUIET_MS", 0)
    desk = Desk()
    closing = following(desk.look(following(desk.look(desk.fill()))))
    assert closing.closing

    desk.queues.put(held(1), TOKEN)
    again = following(desk.look(closing))

    assert desk.queues.dead == []
    assert (desk.posted, desk.left()) == (["d-1"], [])
    assert not again.unbound, "its time begins anew"


def test_what_came_while_a_queue_closes_is_released_before_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "CLOSED_MS", 0)
    desk = Desk()
    job = desk.fill(held(1)).model_copy(update={"closing": True, "quiet_since_ms": 1})

    again = desk.look(job)

    assert desk.posted == ["d-1"]
    assert following(again).closing
    unbound = desk.look(following(again))
    assert following(unbound).unbound
    assert desk.look(following(unbound)) is None


def test_without_redis_a_queue_is_looked_after_and_not_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "QUIET_MS", 0)
    desk = Desk()
    desk.holdings.away = True

    job = following(desk.look(desk.fill(held(1))))
    job = following(desk.look(job))
    job = following(desk.look(job))

    assert desk.posted == ["d-1"]
    assert not job.closing


def test_the_more_queues_there_are_the_rarer_each_is_looked_at() -> None:
    desk = Desk()
    job = desk.fill()
    seldom = 500
    desk.holdings.queues = {Endpoint(PHONE, f"{n}"): Holding("t", ready=True, waiting=True) for n in range(seldom - 1)}

    again = desk.look(job)

    assert again is not None
    assert again.delay_ms == 8_000 <= seldom * holding.LOOK_PER_QUEUE_MS, "a bucket's bound: there nobody is late"


def test_an_error_of_our_own_does_not_leave_the_queue_alone() -> None:
    desk = Desk()
    job = desk.fill(held(1))
    desk.deliveries.endpoints = lambda _: []  # type: ignore[assignment,method-assign]

    again = desk.look(job)

    assert again is not None
    assert (following(again).token, again.delay_ms) == (TOKEN, holding.LONGEST_LOOK_MS)


# --- probes ---


def test_while_an_endpoint_is_down_one_delivery_probes_and_all_stay() -> None:
    desk = Desk(answer=refuse_all)
    desk.breakers.open = True

    job = following(desk.look(desk.fill(held(1), held(2))))

    assert desk.posted == ["d-1"]
    assert desk.left() == ["d-1", "d-2"]
    assert desk.look(job) is not None
    assert desk.posted == ["d-1", "d-2"], "one that is never taken must not hold up the others"


def test_a_probe_that_is_taken_is_not_posted_again_and_the_others_follow_in_their_order() -> None:
    desk = Desk()
    desk.breakers.open = True

    job = following(desk.look(desk.fill(held(1), held(2), held(3))))

    assert desk.posted == ["d-1", "d-2", "d-3"]
    assert desk.left() == []
    assert job.quiet_since_ms
    assert not desk.holdings.queues[CRM].waiting, "new events of ordered webhooks need not stand behind it"


def test_a_probe_with_what_is_given_up_leaves_it_to_its_own_task() -> None:
    def gone(job: DeliverWebhook) -> None:
        if job.id == "d-1":
            raise DeliveryRefused("the webhook was removed", reason="webhook_removed")

    desk = Desk(answer=gone)
    desk.breakers.open = True

    desk.look(desk.fill(held(1), held(2)))

    assert [one.job.id for one in desk.queues.work] == ["d-1"]
    assert (desk.posted[-1], desk.left()) == ("d-2", [])


def test_probes_take_a_tenth_of_the_threads() -> None:
    desk = Desk()
    desk.breakers.open = True
    job = desk.fill(held(1))

    with desk.bulkhead.probing(True):
        again = desk.look(job)

    assert again is not None
    assert again.delay_ms == holding.LOOK_MS
    assert desk.posted == []


def test_a_receiver_that_hangs_leaves_half_of_the_probes_to_others() -> None:
    """A thousand endpoints of one that hangs took all of them, and another one that was back seldom found one."""
    healed = threading.Event()
    desk = Desk(bulkhead=Bulkhead(50), receiver=lambda endpoint: ("https", endpoint.webhook_id.split("-")[0], 443))
    desk.breakers.open = True

    def hang(job: DeliverWebhook) -> None:
        if job.webhook_id != "crm":
            healed.wait(10)
            refuse_all(job)

    desk.answer = hang
    with ThreadPoolExecutor(10) as threads:
        hanging = [threads.submit(desk.look, fill_other(desk, number)) for number in range(10)]
        eventually(lambda: sum(look.done() for look in hanging) == 8, within_s=5, what="those without a place to end")
        desk.look(desk.fill(held(1)))
        posted = list(desk.posted)
        healed.set()

    assert (len(posted), posted[-1]) == (3, "d-1")


def test_releases_take_a_quarter_of_the_threads_and_the_next_one_comes_soon() -> None:
    desk = Desk()
    job = desk.fill(held(1))

    with ExitStack() as releases:
        assert all(releases.enter_context(desk.bulkhead.releasing()) for _ in range(THREADS // 4))
        again = desk.look(job)

    assert again is not None
    assert (desk.posted, again.delay_ms) == ([], holding.LOOK_MS)
    desk.look(following(again))
    assert desk.posted == ["d-1"]


def test_a_paused_endpoint_is_not_probed_and_noticed_soon_when_the_pause_is_ended() -> None:
    desk = Desk()
    job = desk.fill(held(1))
    desk.deliveries.suspend(CRM, pause_ms=3_600_000)

    again = desk.look(job)

    assert again is not None
    assert (desk.posted, again.delay_ms) == ([], holding.CLOSER_LOOK_MS)
    desk.deliveries.resume(CRM)
    desk.look(following(again))
    assert desk.posted == ["d-1"]


def test_what_the_operator_dropped_is_given_up_also_while_the_endpoint_is_paused() -> None:
    def dropped(_: DeliverWebhook) -> None:
        raise DeliveryRefused("dropped", reason="dropped")

    desk = Desk(answer=dropped)
    job = desk.fill(held(1), held(2))
    desk.deliveries.suspend(CRM, pause_ms=3_600_000)
    desk.deliveries.drop(CRM)

    desk.look(job)

    assert [one.job.id for one in desk.queues.work] == ["d-1", "d-2"], "their own task gives them up"
    assert desk.left() == []


def test_what_waits_for_a_webhook_that_was_removed_is_given_up_also_while_it_is_paused() -> None:
    def removed(_: DeliverWebhook) -> None:
        raise DeliveryRefused("the webhook was removed", reason="webhook_removed")

    desk = Desk(answer=removed, removed={"crm"})
    job = desk.fill(held(1), held(2))
    desk.deliveries.suspend(CRM, pause_ms=3_600_000)

    desk.look(job)

    assert [one.job.id for one in desk.queues.work] == ["d-1", "d-2"]
    assert desk.left() == []


# --- looks that need not wait ---


def fill_other(desk: Desk, number: int) -> ReleaseEndpoint:
    """The queue of another endpoint, with one delivery."""
    token = f"{number:012x}"
    job = make_delivery(id=f"other-{number}", webhook_id=f"other-{number}")
    queue = ReleaseEndpoint(id="r", phone=PHONE, webhook_id=job.webhook_id, token=token, made=True)
    desk.queues.make(queue.endpoint, token)
    desk.queues.put(HeldDelivery(job, 0, History()), token)
    return queue


def test_when_one_endpoint_is_back_those_of_the_same_receiver_follow_at_once() -> None:
    desk = Desk(answer=refuse_all)
    desk.breakers.open = True
    for number in range(3):
        assert desk.look(fill_other(desk, number)) is not None
    desk.posted.clear()
    desk.answer = lambda _: None

    envelopes = list(looks(desk.fill(held(1)), desk.context))

    assert desk.posted == ["d-1", "other-0", "other-1", "other-2"]
    assert [following(envelope).number for envelope in envelopes] == [1, 2, 2, 2]
    assert not any(desk.queues.queues.values())


def test_those_of_another_receiver_are_looked_at_in_their_time() -> None:
    desk = Desk(answer=refuse_all, receiver=lambda endpoint: ("https", endpoint.webhook_id, 443))
    desk.breakers.open = True
    desk.look(fill_other(desk, 1))
    desk.answer = lambda _: None

    assert len(list(looks(desk.fill(held(1)), desk.context))) == 1
    assert desk.posted == ["other-1", "d-1"]


@pytest.mark.parametrize("place", ["probing", "releasing"])
def test_a_look_without_a_place_is_made_by_whoever_is_done_with_one(place: str) -> None:
    desk = Desk()
    desk.breakers.open = place == "probing"
    waiting = fill_other(desk, 1)
    with ExitStack() as places:
        for _ in range(THREADS // 4):
            places.enter_context(desk.bulkhead.probing(True) if place == "probing" else desk.bulkhead.releasing())
        envelopes = list(looks(waiting, desk.context))
        assert (len(envelopes), desk.posted) == (1, [])

    envelopes = list(looks(desk.fill(held(1)), desk.context))

    assert desk.posted == ["d-1", "other-1"]
    assert len(envelopes) == 2


def test_a_probe_that_was_never_posted_is_made_soon_when_its_receiver_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis was slow for a moment, or the receiver had its share of the threads: that says nothing of the receiver."""

    def busy(_: DeliverWebhook) -> None:
        raise Postponed("its receiver has its share of the threads", after_ms=2000)

    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    desk = Desk()
    desk.breakers.open = True
    list(looks(desk.fill(held(1)), desk.context))
    desk.holdings.queues = {Endpoint(PHONE, f"{n}"): Holding("t", ready=True, waiting=True) for n in range(500)}
    desk.answer = busy
    desk.breakers.open = True
    desk.look(fill_other(desk, 1))
    desk.answer = lambda _: None
    desk.posted.clear()

    assert not desk.next_looks.are_due, "not at once"
    now += holding.LOOK_MS / 1000
    assert desk.next_looks.are_due


def test_a_process_that_stops_makes_no_looks_before_their_time() -> None:
    desk = Desk(answer=refuse_all)
    desk.breakers.open = True
    desk.look(fill_other(desk, 1))
    desk.posted.clear()
    desk.answer = lambda _: None
    desk.stopping = True

    assert len(list(looks(desk.fill(held(1)), desk.context))) == 1
    assert desk.posted == ["d-1"]


def test_the_message_of_a_look_that_was_made_before_its_time_changes_nothing() -> None:
    desk = Desk(answer=refuse_all)
    desk.breakers.open = True
    message = following(desk.look(fill_other(desk, 1)))
    desk.answer = lambda _: None
    _, again = looks(desk.fill(held(1)), desk.context)
    desk.posted.clear()

    assert desk.look(message) is None
    assert desk.look(following(again)) is not None
    assert desk.posted == []


def test_without_redis_looks_are_made_in_their_time_only() -> None:
    """Their messages would make them again, and each queue had one more job after each time."""
    desk = Desk(answer=refuse_all)
    desk.breakers.open = True
    message, _ = [following(desk.look(fill_other(desk, number))) for number in (1, 2)]
    desk.answer = lambda _: None
    desk.posted.clear()
    desk.next_looks.note_return(RECEIVER)
    desk.holdings.away = True

    envelopes = list(looks(desk.fill(held(1)), desk.context))

    assert ([following(envelope).token for envelope in envelopes], desk.posted) == ([TOKEN], ["d-1"])
    desk.holdings.away = False
    list(looks(message, desk.context))
    assert desk.posted == ["d-1", "other-1", "other-2"], "of one the message, the other one before its time"


def test_while_a_look_that_was_made_before_its_time_goes_on_its_message_waits() -> None:
    desk = Desk(answer=refuse_all)
    desk.breakers.open = True
    message = following(desk.look(fill_other(desk, 1)))
    desk.answer = lambda _: None
    early = looks(desk.fill(held(1)), desk.context)
    next(early)
    again = next(early)  # and it is not published yet

    watching = following(desk.look(message))

    assert (watching.number, watching.watching) == (message.number, True)
    assert list(early) == []
    assert desk.look(watching) is None
    assert desk.look(following(again)) is not None


def test_a_queue_that_was_just_made_is_looked_at_when_its_receiver_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    desk = Desk()
    desk.holdings.queues = {Endpoint(PHONE, f"{n}"): Holding("t", ready=True, waiting=True) for n in range(500)}
    desk.breakers.open = True
    desk.look(ReleaseEndpoint(id="r", phone=PHONE, webhook_id="other", token="ba9876543210"))
    desk.queues.put(HeldDelivery(make_delivery(id="other", webhook_id="other"), 0, History()), "ba9876543210")

    now += holding.LOOK_MS / 1000

    list(looks(desk.fill(held(1)), desk.context))

    assert desk.posted == ["d-1", "other"]


def test_a_release_for_whose_place_others_wait_ends_sooner_and_is_soon_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(holding, "QUIET_S", 60.0)
    desk = Desk()
    desk.next_looks.add(fill_other(desk, 1), receiver=None, until_s=60.0)
    many = {Endpoint(PHONE, f"{n}"): Holding("t", ready=True, waiting=True) for n in range(900)}
    desk.holdings.queues = many

    again = desk.look(desk.fill(held(1)))

    assert again is not None
    assert (desk.left(), again.delay_ms) == ([], holding.HURRIED_LOOK_MS)


# --- release ---


class Receiver:
    """Counts how many deliveries it has at the same time, and in which order each conversation comes."""

    def __init__(self, *, seconds: float = 0.002) -> None:
        self.most = self.now = 0
        self.came: list[tuple[str, str]] = []
        self._seconds = seconds
        self._lock = threading.Lock()

    def __call__(self, job: DeliverWebhook) -> None:
        with self._lock:
            self.came.append((job.contact, job.id))
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self._seconds)
        with self._lock:
            self.now -= 1


def test_concurrency_grows_with_each_success_up_to_the_threads() -> None:
    receiver = Receiver()
    desk = Desk(answer=receiver)

    desk.look(desk.fill(*(held(number) for number in range(120))))

    assert receiver.most == THREADS
    assert Counter(job_id for _, job_id in receiver.came) == Counter(f"d-{number}" for number in range(120))
    assert receiver.came[0][1] == "d-0", "one at first"


def test_a_conversation_of_an_ordered_webhook_keeps_its_order_however_it_came_into_the_queue() -> None:
    receiver = Receiver()
    desk = Desk(answer=receiver)
    contacts = ("maria", "joao", "ana")
    deliveries = [held(number, contact=contacts[number % 3]) for number in range(60)]

    desk.look(desk.fill(*deliveries[30:], *deliveries[:30]))

    for contact in contacts:
        came = [int(job_id[2:]) for of, job_id in receiver.came if of == contact]
        assert came == sorted(came)
        assert len(came) == 20


def test_concurrency_stays_small_when_more_at_a_time_makes_none_faster() -> None:
    alone, counting = threading.Lock(), threading.Lock()
    at_once: list[int] = []
    under_way = 0

    def answer(_: DeliverWebhook) -> None:
        nonlocal under_way
        with counting:
            under_way += 1
            at_once.append(under_way)
        with alone:
            time.sleep(5 * holding.SHORT_S)  # long enough for what a busy machine adds to say little
        with counting:
            under_way -= 1

    desk = Desk(answer=answer)

    desk.look(desk.fill(*(held(number) for number in range(40))))

    assert statistics.median(at_once) < THREADS
    assert desk.left() == []


def test_a_failure_uses_an_attempt_of_that_delivery_and_the_others_go_on() -> None:
    def answer(job: DeliverWebhook) -> None:
        if job.id == "d-1":
            raise failed()

    desk = Desk(answer=answer)

    desk.look(desk.fill(*(held(number) for number in range(4))))

    assert sorted(desk.posted) == ["d-0", "d-1", "d-2", "d-3"]
    assert desk.left() == []
    [retried] = desk.publisher.jobs("unoapi.delayed", "unoapi.delayed.1")  # the jitter may be none
    assert retried.id == "d-1"
    [report] = desk.publisher.jobs("unoapi.webhook.status.failed")
    assert json.loads(report.body)["error"] == "HTTP 500"


def test_the_last_attempt_is_left_to_the_deliverys_own_task() -> None:
    def answer(_: DeliverWebhook) -> None:
        raise failed()

    desk = Desk(answer=answer)

    desk.look(desk.fill(held(1, retries=2)))

    assert [one.job.id for one in desk.queues.work] == ["d-1"]
    assert desk.left() == []


def test_an_endpoint_that_goes_down_again_ends_the_release_and_nothing_leaves_the_queue() -> None:
    desk = Desk(answer=refuse_all)

    again = desk.look(desk.fill(*(held(number) for number in range(50))))

    assert len(desk.posted) == holding.MAX_WAITS
    assert desk.left() == [f"d-{number}" for number in range(50)]
    assert again is not None
    assert (again.delay_ms, following(again).quiet_since_ms) == (holding.LOOK_MS, 0)


def test_a_retry_that_cannot_be_queued_stays_where_it_is() -> None:
    def answer(_: DeliverWebhook) -> None:
        raise failed()

    desk = Desk(answer=answer)
    desk.publisher.away = True

    desk.look(desk.fill(held(1)))

    assert desk.left() == ["d-1"]


def test_a_queue_whose_deliveries_come_late_is_not_taken_for_empty() -> None:
    desk = Desk()
    job = desk.fill(held(1))
    states: list[bool] = []
    desk.answer = lambda _: states.append(desk.holdings.queues[CRM].waiting)
    desk.queues.slow = 3

    desk.look(job)

    assert states == [True], "new events of ordered webhooks stand behind it"
    assert desk.left() == []


def test_a_process_that_stops_leaves_the_rest_to_another_one_at_once() -> None:
    desk = Desk()

    def answer(_: DeliverWebhook) -> None:
        desk.stopping = True

    desk.answer = answer

    again = desk.look(desk.fill(*(held(number) for number in range(9))))

    assert desk.left() == [f"d-{number}" for number in range(1, 9)]
    assert again is not None
    assert again.delay_ms == 0


def test_while_rabbitmq_is_away_the_look_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    job = desk.fill(held(1))

    def away(*_: object, **__: object) -> HeldDelivery | None:
        raise BrokerUnavailable("away")

    monkeypatch.setattr(desk.queues, "peek", away)

    again = desk.look(job)
    monkeypatch.undo()
    desk.look(following(again))

    assert desk.posted == ["d-1"]


# --- copies of the job, and its loss ---


def test_a_copy_of_the_job_watches_the_look_that_has_begun_and_ends_when_the_next_one_is_made() -> None:
    desk = Desk()
    job = desk.fill()

    again = desk.look(job)
    copy = desk.look(job)

    assert copy is not None
    assert (following(copy).number, copy.delay_ms) == (job.number, holding.WATCH_MS), "it changes nothing"
    assert desk.look(following(again)) is not None
    assert desk.look(following(copy)) is None
    assert desk.look(job) is None


def test_a_look_without_a_message_that_a_crash_ended_is_made_again_by_the_message_that_watches() -> None:
    desk = Desk(answer=refuse_all)
    job = desk.fill(held(1))
    desk.breakers.open = True
    look(job, desk.context, place=ExitStack())  # and what should follow was not published
    copy = following(desk.look(job))
    desk.answer = lambda _: None

    again = following(desk.look(copy))

    assert (desk.posted, desk.left()) == (["d-1", "d-1"], [])
    assert (again.number, again.watching) == (job.number + 1, False)


def test_a_look_that_watched_and_failed_is_followed_by_one_whose_copies_are_told_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk()
    job = desk.fill(held(1)).model_copy(update={"watching": True})
    for error in (BrokerUnavailable("away"), RuntimeError("a defect")):
        with monkeypatch.context() as patch:
            patch.setattr(desk.queues, "peek", failing_with(error))
            job = following(desk.look(job))
        assert not job.watching


def failing_with(error: Exception) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_what_watches_is_over_before_a_queue_is_removed_and_brings_none_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found again without a binding, a queue would make dead letters of all that is to wait."""
    clock = [1_000_000_000]
    monkeypatch.setattr(holding, "now_ms", lambda: clock[0])
    desk = Desk(answer=refuse_all)
    desk.breakers.open = True
    message = following(desk.look(desk.fill(held(1))))
    desk.answer = lambda _: None
    coming = list[tuple[int, ReleaseEndpoint]]()

    def send(envelope: Envelope | None) -> None:
        if envelope is not None:
            coming.append((clock[0] + envelope.delay_ms, following(envelope)))

    early = look(message, desk.context, place=ExitStack())
    clock[0] += holding.LOOK_MS
    send(desk.look(message))
    send(early)
    while coming:
        coming.sort(key=lambda one: one[0])
        clock[0], job = coming.pop(0)
        send(desk.look(job))
        assert not (desk.queues.closed and desk.holdings.queues), "found, and nothing can be put there"

    assert desk.queues.queues == {}


def test_a_look_that_a_crash_ended_is_made_again() -> None:
    desk = Desk(answer=refuse_all)
    job = desk.fill(held(1))
    desk.look(job)
    desk.answer = lambda _: None

    again = look(job, desk.context, redelivered=True)

    assert desk.posted[-1] == "d-1"
    assert desk.left() == []
    assert desk.look(following(again)) is not None


def test_a_queue_whose_job_got_lost_is_looked_at_again() -> None:
    desk = Desk()
    desk.fill(held(1))
    desk.holdings.lost = [(CRM, TOKEN)]

    [envelope] = looks_again(desk.holdings)
    desk.look(following(envelope))

    assert desk.posted == ["d-1"]


# --- what the thread of first attempts makes ---


@dataclass
class AheadOf:
    """The thread of first attempts: it answers as the test says, in a thread of its own, or takes nothing."""

    takes: bool = True
    delivered: bool = True
    answer: EarlierAnswer | None = None
    taken: list[str] = field(default_factory=list)

    def release(self, job: DeliverWebhook, on_end: Callable[[bool, EarlierAnswer | None], None]) -> bool:
        if self.takes:
            self.taken.append(job.id)
            threading.Thread(target=on_end, args=(self.delivered, self.answer)).start()
        return self.takes


def released_by(ahead: AheadOf, *deliveries: HeldDelivery, **fields: Any) -> Desk:
    desk = Desk(**fields)
    desk.releases.ahead = ahead
    desk.look(desk.fill(*deliveries))
    return desk


def test_first_attempts_without_an_order_are_made_with_those_of_the_process() -> None:
    again = HeldDelivery(held(2).job, 1, History(tries=1))
    ahead = AheadOf()

    desk = released_by(ahead, held(1), again, held(3, contact="c"), held(4))

    assert ahead.taken == ["d-1", "d-4"]
    assert sorted(desk.posted) == ["d-2", "d-3"]
    assert desk.left() == []


def test_an_answer_that_is_no_2xx_is_not_asked_for_again() -> None:
    answer = EarlierAnswer("d-1", Answer(status=500))
    seen: list[EarlierAnswer | None] = []
    desk = Desk()
    desk.attempt = lambda job, history, answer: seen.append(answer)  # noqa: ARG005
    desk.releases.ahead = AheadOf(delivered=False, answer=answer)

    desk.look(desk.fill(held(1)))

    assert seen == [answer]


def test_what_is_not_plain_or_not_taken_is_attempted_by_a_thread() -> None:
    for ahead in (AheadOf(delivered=False), AheadOf(takes=False)):
        desk = released_by(ahead, held(1), held(2))

        assert sorted(desk.posted) == ["d-1", "d-2"]
        assert desk.left() == []


def test_a_process_that_stops_leaves_what_has_not_begun_in_the_queue() -> None:
    class Stops(AheadOf):
        def release(self, job: DeliverWebhook, on_end: Callable[[bool, EarlierAnswer | None], None]) -> bool:
            desk.stopping = True
            return super().release(job, on_end)

    desk = Desk()
    desk.releases.ahead = Stops(delivered=False)

    desk.look(desk.fill(held(1), held(2)))

    assert desk.posted == []
    assert desk.left() == ["d-1", "d-2"]
