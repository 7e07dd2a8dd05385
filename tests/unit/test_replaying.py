"""Replays: what a webhook gets of the past, in which order, and what becomes of what it does not take."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click
import pytest

from tests.support.api import memory_api
from tests.support.fakes import (
    PHONE,
    MemoryDeliveries,
    MemoryEventStream,
    MemoryPublisher,
    MemoryReplays,
    MemorySessions,
    WebhookRecorder,
    make_delivery,
    make_event,
    make_fan_out,
    make_session,
    make_webhook,
)
from tests.support.worker import make_uno, run
from unoapi.cli.events import Moment
from unoapi.errors import BrokerUnavailable, DeliveryFailed, Postponed, RequestError
from unoapi.models.attempts import Answer, Attempt, History
from unoapi.models.endpoints import Endpoint
from unoapi.models.jobs import DeliverWebhook, Envelope, FanOut, ReplayEvents, delivery_id, now_ms
from unoapi.models.replays import Progress, Replay
from unoapi.services import replaying
from unoapi.services.replaying import Places, ReplayContext

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.api import MemoryApi

CRM = Endpoint(PHONE, "crm")
NOW_MS = now_ms()
HOUR_MS = 3_600_000
SINCE_MS = NOW_MS - 24 * HOUR_MS
OK = Answer(status=200)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "READ_S", 0.0)


class NobodyBlocked:
    def blocking(self, phone: str, webhook_ids: Any, contacts: Any) -> set[str]:  # noqa: ARG002
        return set()


@dataclass
class Desk:
    """One process with what it replays with. `answer` is what the endpoint does with a delivery: nothing, or raise."""

    answer: Callable[[DeliverWebhook], None] = lambda _: None
    webhook: dict[str, Any] = field(default_factory=dict)
    stream: MemoryEventStream = field(default_factory=MemoryEventStream)
    replays: MemoryReplays = field(default_factory=MemoryReplays)
    deliveries: MemoryDeliveries = field(default_factory=MemoryDeliveries)
    publisher: MemoryPublisher = field(default_factory=MemoryPublisher)
    places: Places = field(default_factory=lambda: Places(20))
    posted: list[DeliverWebhook] = field(default_factory=list)
    stopping: bool = False

    def __post_init__(self) -> None:
        self.sessions = MemorySessions(make_session(make_webhook(id="crm", **self.webhook)))

    def put(self, count: int = 3, *, phone: str = PHONE, published_ms: int = NOW_MS - HOUR_MS) -> None:
        for _ in range(count):
            number = len(self.stream.events)
            event = make_event(id=f"wamid.{number}", text={"body": f"event {number}"})
            job = make_fan_out(event, phone=phone, webhook_ids=("before",), accepted_at_ms=published_ms)
            self.stream.put(job, published_ms=published_ms)

    def begin(self, **options: Any) -> Replay:
        choice: dict[str, Any] = {"since_ms": SINCE_MS, "until_ms": NOW_MS, "only_missing": False, "rate": 1000}
        replay, _ = replaying.begin(
            PHONE,
            "crm",
            sessions=self.sessions,
            events=self.stream,
            replays=self.replays,
            publisher=self.publisher,
            **(choice | options),
        )
        return replay

    def run(self, job: ReplayEvents | None = None) -> Envelope | None:
        """One run: of this job, or of the one that was published."""
        context = ReplayContext(
            events=self.stream,
            replays=self.replays,
            sessions=self.sessions,
            blacklist=NobodyBlocked(),
            deliveries=self.deliveries,
            places=self.places,
            publisher=self.publisher,
            attempt=self._attempt,
            stopping=lambda: self.stopping,
            max_age_s=172_800,
        )
        return replaying.run(job or self.publisher.jobs("unoapi.outgoing")[0], context)

    def _attempt(self, job: DeliverWebhook, history: History) -> None:  # noqa: ARG002
        self.posted.append(job)
        self.answer(job)

    @property
    def numbers(self) -> list[str]:
        """The messages that were posted."""
        return [job.message_id.removeprefix("wamid.") for job in self.posted]

    @property
    def replay(self) -> Replay:
        known = self.replays.replays[CRM]
        assert known is not None
        return known


def following(envelope: Envelope | None) -> ReplayEvents:
    assert envelope is not None
    assert isinstance(envelope.job, ReplayEvents)
    return envelope.job


def replay_job(webhook_id: str, *, end: int) -> ReplayEvents:
    times = {"since_ms": 0, "until_ms": NOW_MS}
    fields = {"id": "r", "phone": PHONE, "webhook_id": webhook_id, "stored": True, "rate": 1000}
    return ReplayEvents.model_validate({**fields, **times, "progress": Progress(end=end)})


def failed() -> DeliveryFailed:
    return DeliveryFailed("HTTP 500", attempt=Attempt(status=500, outcome="refused"))


# --- what is delivered ---


def test_the_events_of_the_number_and_the_time_go_to_the_webhook_in_their_order_with_the_same_ids() -> None:
    desk = Desk(stream=MemoryEventStream(batch=2))
    desk.put(1, published_ms=SINCE_MS - 1)
    desk.put(3)
    desk.put(2, phone="5511000000000")
    desk.put(1)
    desk.put(1, published_ms=NOW_MS + 1)
    desk.begin()

    assert desk.run() is None

    assert desk.numbers == ["1", "2", "3", "6"]
    assert [job.id for job in desk.posted] == [
        delivery_id(desk.stream.events[number].job.id, "crm") for number in (1, 2, 3, 6)
    ]
    assert {job.replay for job in desk.posted} == {"all"}
    assert {job.body for job in desk.posted} <= {event.job.body for event in desk.stream.events}
    assert (desk.replay.state, desk.replay.progress.delivered) == ("done", 4)


def test_with_only_missing_what_was_delivered_is_left_out() -> None:
    desk = Desk()
    desk.put(3)
    desk.deliveries.finished.append(delivery_id(desk.stream.events[1].job.id, "crm"))
    desk.begin(only_missing=True)

    desk.run()

    assert desk.numbers == ["0", "2"]
    assert {job.replay for job in desk.posted} == {"missing"}
    assert (desk.replay.progress.delivered, desk.replay.progress.skipped) == (2, 1)


def test_an_event_that_stands_in_the_stream_twice_is_delivered_once() -> None:
    desk = Desk()
    desk.put(2)
    repeated = desk.stream.events[0]
    desk.stream.put(repeated.job, published_ms=repeated.published_ms)
    desk.begin()

    desk.run()

    assert desk.numbers == ["0", "1"]
    assert desk.replay.progress.skipped == 1


def test_what_the_webhook_does_not_want_is_left_out() -> None:
    desk = Desk(webhook={"sendIncomingMessages": False})
    desk.put(2)
    desk.begin()

    desk.run()

    assert desk.posted == []
    assert (desk.replay.state, desk.replay.progress.skipped) == ("done", 2)


def test_the_events_go_at_the_rate_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("unoapi.services.replaying.time.sleep", slept.append)
    desk = Desk()
    desk.put(4)
    desk.begin(rate=10)

    desk.run()

    assert sum(slept) == pytest.approx(sum((0.0, 0.1, 0.2, 0.3)), abs=0.2)  # nobody slept: each waits for all before


# --- killed, stopped, cancelled ---


def test_a_worker_that_stops_lets_the_next_run_go_on_behind_the_last_event() -> None:
    desk = Desk()
    desk.put(3)
    desk.begin()

    def stop(job: DeliverWebhook) -> None:
        desk.stopping = job.message_id == "wamid.1"

    desk.answer = stop
    job = following(desk.run())
    desk.stopping = False
    assert desk.run(job) is None

    assert desk.numbers == ["0", "1", "2"]
    assert desk.replay.progress.delivered == 3


def test_a_run_that_was_killed_repeats_the_event_that_it_was_at_and_none_before() -> None:
    desk = Desk()
    desk.put(4)
    desk.begin()
    [job] = desk.publisher.jobs("unoapi.outgoing")

    def die(delivery: DeliverWebhook) -> None:
        if delivery.message_id == "wamid.2":
            raise KeyboardInterrupt

    desk.answer = die
    with pytest.raises(KeyboardInterrupt):
        desk.run(job)
    desk.answer = lambda _: None
    assert desk.run(job) is None

    assert desk.numbers == ["0", "1", "2", "2", "3"]
    assert desk.replay.state == "done"


def test_a_run_that_another_one_has_taken_over_ends_behind_its_event() -> None:
    desk = Desk()
    desk.put(3)
    desk.begin()
    [job] = desk.publisher.jobs("unoapi.outgoing")

    def overtake(delivery: DeliverWebhook) -> None:
        if delivery.message_id == "wamid.0" and len(desk.posted) == 1:
            desk.run(job)

    desk.answer = overtake
    assert desk.run(job) is None

    assert desk.numbers == ["0", "0", "1", "2"]


def test_without_redis_it_goes_on_from_where_its_job_stands() -> None:
    desk = Desk()
    desk.put(4)
    desk.begin()
    [job] = desk.publisher.jobs("unoapi.outgoing")
    desk.replays.away = True

    assert desk.run(job.model_copy(update={"progress": Progress(begin=-1, position=1, end=3)})) is None

    assert desk.numbers == ["2", "3"]


def test_a_replay_that_is_cancelled_ends_behind_the_event_that_is_being_delivered() -> None:
    desk = Desk()
    desk.put(3)
    desk.begin()

    def cancel(_: DeliverWebhook) -> None:
        replaying.cancel(CRM, desk.replays)

    desk.answer = cancel
    assert desk.run() is None

    assert desk.numbers == ["0"]
    assert desk.replay.state == "cancelled"
    assert replaying.cancel(CRM, desk.replays) is None


# --- an endpoint that does not take them ---


def putting_off(why: str, *, after_ms: int) -> Callable[[DeliverWebhook], None]:
    """An attempt that may not be made now."""

    def put_off(_: DeliverWebhook) -> None:
        raise Postponed(why, after_ms=after_ms)

    return put_off


def test_an_endpoint_that_is_down_is_waited_for_and_no_event_is_passed_over() -> None:
    desk = Desk()
    desk.put(2)
    desk.begin()

    desk.answer = putting_off("the endpoint is down", after_ms=7000)
    again = desk.run()
    assert again is not None
    assert (again.delay_ms, desk.replay.note, desk.replay.state) == (7000, "the endpoint is down", "running")
    desk.answer = lambda _: None
    desk.run(following(again))

    assert desk.numbers == ["0", "0", "1"]
    assert desk.replay.note == ""


def test_one_that_waits_for_a_long_pause_looks_now_and_again_whether_it_was_ended() -> None:
    desk = Desk()
    desk.put(1)
    desk.begin()

    desk.answer = putting_off("the endpoint is paused", after_ms=300_000)
    again = desk.run()

    assert again is not None
    assert again.delay_ms == replaying.LOOK_MS
    assert desk.replay.note == "the endpoint is paused"


def test_one_of_all_events_waits_for_a_pause_also_where_this_process_delivered_them_before() -> None:
    sender, deliveries, stream = WebhookRecorder(OK), MemoryDeliveries(), MemoryEventStream()
    stream.put(make_fan_out(), published_ms=NOW_MS)
    uno = make_uno(make_session(), webhook_client=sender, deliveries=deliveries, events=stream)
    deliveries.finished.append(delivery_id(stream.events[0].job.id, "default"))
    deliveries.suspend(Endpoint(PHONE, "default"), pause_ms=3_600_000)

    run(uno, replay_job("default", end=1))

    assert sender.ids == []


def test_its_time_to_wait_begins_anew_with_each_event_that_is_through_and_not_otherwise() -> None:
    desk = Desk()
    desk.put(2)
    desk.begin()
    [job] = desk.publisher.jobs("unoapi.outgoing")
    job = job.model_copy(update={"accepted_at_ms": 1})

    def down_for_the_second(delivery: DeliverWebhook) -> None:
        if delivery.message_id == "wamid.1":
            raise Postponed("down", after_ms=1)

    desk.answer = down_for_the_second
    moved = following(desk.run(job))
    stands = following(desk.run(moved.model_copy(update={"accepted_at_ms": 2})))

    assert moved.accepted_at_ms > 2
    assert stands.accepted_at_ms == 2


def test_an_event_that_fails_again_and_again_goes_on_as_a_delivery_and_the_others_pass_it() -> None:
    desk = Desk()
    desk.put(3)
    desk.begin()

    def refuse_one(delivery: DeliverWebhook) -> None:
        if delivery.message_id == "wamid.1":
            raise failed()

    desk.answer = refuse_one
    envelope, waits = desk.run(), []
    while envelope is not None:
        waits.append(envelope.delay_ms)
        envelope = desk.run(following(envelope))

    assert desk.numbers == ["0", "1", "1", "1", "2"]
    assert waits == [1000, 2000]
    [delivery] = desk.publisher.jobs("unoapi.delayed")
    assert (delivery.message_id, delivery.replay) == ("wamid.1", "all")
    assert (desk.replay.progress.delivered, desk.replay.progress.retrying) == (2, 1)


def test_a_webhook_that_is_gone_ends_the_replay_with_the_reason() -> None:
    stream = MemoryEventStream()
    stream.put(make_fan_out(), published_ms=NOW_MS)
    uno = make_uno(make_session(), events=stream)
    job = replay_job("gone", end=0)

    run(uno, job)

    known = uno.replays.find(job.endpoint)
    assert known is not None
    assert (known.state, known.note) == ("failed", "the webhook was removed from the session")


def test_a_stream_that_was_made_anew_ends_the_replay_with_the_reason() -> None:
    desk = Desk()
    desk.put(5)
    desk.begin()
    desk.stream.events = desk.stream.events[:2]

    assert desk.run() is None

    assert (desk.replay.state, desk.replay.note) == ("failed", "the stream of events was made anew meanwhile")


@pytest.mark.parametrize("part", ["stream", "sessions", "deliveries", "publisher"])
def test_what_is_away_is_waited_for(part: str) -> None:
    desk = Desk()
    desk.put(1)
    desk.begin(only_missing=True)
    [job] = desk.publisher.jobs("unoapi.outgoing")
    if part == "sessions":
        desk.sessions.lose(PHONE)
    elif part == "publisher":
        job = job.model_copy(update={"progress": job.progress.step(failures=2)})
        desk.publisher.away = True

        def fail(_: DeliverWebhook) -> None:
            raise failed()

        desk.answer = fail
    else:
        getattr(desk, part).away = True

    again = desk.run(job)

    assert again is not None
    assert again.delay_ms > 0
    assert following(again).progress.position == -1


def test_replays_leave_nine_tenths_of_the_threads_to_others() -> None:
    desk = Desk(places=Places(19))
    desk.put(1)
    desk.begin()
    [job] = desk.publisher.jobs("unoapi.outgoing")

    assert desk.places.take()
    again = desk.run(job)
    assert desk.posted == []
    assert following(again) == job
    desk.places.give_back()
    desk.run(job)
    assert desk.places.take(), "a run gives its place back"


# --- beginning one ---


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        ({"since_ms": NOW_MS}, 400, "must be before"),
        ({"off": True}, 409, "not kept"),
        ({"twice": True}, 409, "goes on"),
    ],
)
def test_a_replay_that_cannot_be_is_refused_in_words(options: dict[str, Any], status: int, words: str) -> None:
    desk = Desk()
    desk.put(1)
    desk.stream.switched_off = options.pop("off", False)
    if options.pop("twice", False):
        desk.begin()

    with pytest.raises(RequestError) as refusal:
        desk.begin(**options)

    assert refusal.value.status == status
    assert words in refusal.value.details


@pytest.mark.parametrize("events", [0, 1])
def test_where_nothing_was_published_since_then_a_replay_is_done_at_once(events: int) -> None:
    desk = Desk()
    desk.put(events, published_ms=SINCE_MS - 1)

    assert desk.begin().state == "done"
    assert desk.publisher.jobs("unoapi.outgoing") == []


def test_a_replay_that_rabbitmq_does_not_take_is_over_so_that_another_one_can_begin() -> None:
    desk = Desk()
    desk.put(1)
    desk.publisher.away = True
    with pytest.raises(BrokerUnavailable):
        desk.begin()
    desk.publisher.away = False

    assert desk.begin().state == "running"


# --- over HTTP, to the webhook ---


@pytest.fixture
def api() -> Iterator[MemoryApi]:
    with memory_api(UNOAPI_ALLOWED_HOSTS="127.0.0.0/8") as running:
        running.register([{"id": "crm", "urlAbsolute": "http://127.0.0.1:1/hook"}])
        yield running


def test_the_operator_begins_sees_and_cancels_a_replay_over_http(api: MemoryApi) -> None:
    stream: Any = api.uno.events
    stream.put(make_fan_out(), published_ms=now_ms())
    path = f"/admin/events/replay/{PHONE}/crm"
    asked = {"phone": PHONE, "webhook": "crm", "since": "2026-01-01T00:00:00Z", "rate": 5}

    begun = api.post("/admin/events/replay", asked)
    twice = api.post("/admin/events/replay", asked)
    seen = api.get(path)
    cancelled = api.request("DELETE", path)
    over = api.request("DELETE", path)

    assert begun.status_code == 200, begun.text
    assert {"state": "running", "percent": 0.0, "webhook": "crm"}.items() <= begun.json().items()
    assert twice.status_code == 409
    assert seen.json()["id"] == begun.json()["id"]
    assert cancelled.json()["state"] == "cancelled"
    assert over.status_code == 404


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"webhook": "nobody"}, 404),
        ({"since": "yesterday"}, 400),
        ({"since": None}, 400),
        ({"since": "2026-01-02", "until": "2026-01-01"}, 400),
        ({"since": 1e300}, 400),
        ({"since": "99999999"}, 400),
        ({"since": "0001-01-01T00:00:00+14:00"}, 200),
        ({"since": "9999-12-31T23:59:59-14:00"}, 400),
        ({"rate": 0}, 400),
        ({"rate": 100_000}, 400),
        ({"phone": "x" * 300}, 400),
        ({"surplus": 1}, 400),
    ],
)
def test_a_request_that_cannot_be_meant_is_refused(api: MemoryApi, change: dict[str, Any], status: int) -> None:
    asked = {"phone": PHONE, "webhook": "crm", "since": "2026-01-01", **change}

    assert api.post("/admin/events/replay", asked).status_code == status


@pytest.mark.parametrize("since", ["20260101", 20260101])
def test_eight_digits_are_a_day_and_no_seconds(api: MemoryApi, since: object) -> None:
    begun = api.post("/admin/events/replay", {"phone": PHONE, "webhook": "crm", "since": since})

    assert begun.json()["since_ms"] == 1_767_225_600_000
    assert Moment().convert(f"{since}", None, None) == datetime(2026, 1, 1, tzinfo=UTC)


def test_what_a_number_got_before_it_was_removed_is_not_its_next_owners_to_replay(api: MemoryApi) -> None:
    stream: Any = api.uno.events
    stream.put(make_fan_out(), published_ms=now_ms() - 1000)
    before = now_ms()
    assert api.post(f"/v15.0/{PHONE}/deregister").status_code == 204
    api.register([{"id": "crm", "urlAbsolute": "http://receiver.test/hook"}])
    asked = {"since": "2026-01-01"}

    own = api.post(f"/v15.0/{PHONE}/webhooks/crm/replay", asked, token=f"session-token-{PHONE}").json()
    operators = api.post("/admin/events/replay", {"phone": PHONE, "webhook": "crm", **asked}).json()

    assert own["since_ms"] >= before
    assert operators["since_ms"] == 1_767_225_600_000


def test_a_replay_is_the_operators_alone(api: MemoryApi) -> None:
    token = f"session-token-{PHONE}"

    assert api.post("/admin/events/replay", {}, token=token).status_code in {401, 403}
    assert api.get(f"/admin/events/replay/{PHONE}/crm", token=token).status_code in {401, 403}


@pytest.mark.parametrize(("replay", "posts"), [("", 0), ("missing", 0), ("all", 1)])
def test_a_delivery_that_was_made_is_made_again_in_a_replay_of_all_alone(replay: str, posts: int) -> None:
    sender, deliveries = WebhookRecorder(OK), MemoryDeliveries()
    uno = make_uno(make_session(), webhook_client=sender, deliveries=deliveries)
    job = make_delivery(id="d", replay=replay)
    deliveries.finished.append("d")

    run(uno, job)

    assert sender.replays == [True] * posts


def test_a_whole_replay_is_posted_by_the_worker_with_the_word_of_it() -> None:
    sender, stream = WebhookRecorder(OK, OK), MemoryEventStream()
    for number in range(2):
        stream.put(make_fan_out(make_event(id=f"wamid.{number}")), published_ms=NOW_MS)
    uno = make_uno(make_session(), webhook_client=sender, events=stream)

    run(uno, replay_job("default", end=1))

    assert sender.replays == [True, True]
    assert sender.ids == [delivery_id(event.job.id, "default") for event in stream.events]


def test_an_old_job_without_the_word_is_no_replay() -> None:
    job = DeliverWebhook(id="d", phone=PHONE, event_id="e", webhook_id="w", kind="message", stored=True, body="{}")

    assert DeliverWebhook.model_validate(job.model_dump(exclude={"replay"})).replay == ""
    assert isinstance(make_fan_out(), FanOut)


@pytest.mark.parametrize("value", ["999999999d", "yesterday", "1.2.3d", "2026-13-01", "", "-1h", "3000000-01-01"])
def test_a_moment_that_is_none_is_named_with_the_forms_of_one(value: str) -> None:
    with pytest.raises(click.BadParameter, match=r"time span|such as"):
        Moment().convert(value, None, None)


def test_a_moment_is_a_span_before_now_or_a_date_in_utc() -> None:
    before = Moment().convert("12h", None, None)

    assert datetime.now(UTC) - before >= timedelta(hours=12)
    assert Moment().convert("2026-01-31", None, None) == datetime(2026, 1, 31, tzinfo=UTC)
    assert Moment().convert("2026-01-31T08:00-03:00", None, None) == datetime(2026, 1, 31, 11, tzinfo=UTC)
