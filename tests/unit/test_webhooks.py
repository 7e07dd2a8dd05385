"""From an event to the webhooks: address, choose, deliver."""

from __future__ import annotations

import json
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import Any

import pytest

from tests.support.fakes import (
    CONTACT,
    GROUP,
    PHONE,
    SECRET,
    MemoryBreakers,
    MemoryDeliveries,
    MemorySessions,
    MemoryTraces,
    WebhookRecorder,
    make_delivery,
    make_event,
    make_fan_out,
    make_session,
    make_status,
    make_webhook,
)
from unoapi.errors import DeliveryFailed, DeliveryRefused, Postponed, SessionUnknown, TooOld
from unoapi.models.activity import error_of
from unoapi.models.attempts import Answer, Attempt, History
from unoapi.models.cloud_api.event_content import Traits
from unoapi.models.cloud_api.events import Event, contact, message_event
from unoapi.models.endpoints import DeliveryState, Endpoint, EndpointChange, Holding, Permit
from unoapi.models.first_look import FirstLook
from unoapi.models.jobs import DeliverWebhook, now_ms
from unoapi.models.session import computed_waba_id
from unoapi.models.trace import TraceEntry
from unoapi.services.bulkhead import Bulkhead
from unoapi.services.filters import refusal
from unoapi.services.webhooks import (
    DeliveryContext,
    deliver,
    deliver_and_record,
    fan_out,
    is_removed,
    plain_receiver,
    to_fan_out,
)

DAY_S = 86_400
RECEIVED: dict[str, Any] = {"status": False, "group": False, "newsletter": False, "own": False}


def deliver_once(
    answer: Answer | None = None,
    *,
    job: DeliverWebhook | None = None,
    sessions: MemorySessions | None = None,
    deliveries: MemoryDeliveries | None = None,
    sender: WebhookRecorder | None = None,
    history: History | None = None,
    breakers: MemoryBreakers | None = None,
    changes: list[EndpointChange] | None = None,
) -> Attempt | None:
    context = made_context(
        answer, sessions=sessions, deliveries=deliveries, sender=sender, breakers=breakers, changes=changes
    )
    return deliver(job or make_delivery(), history=history or History(), context=context)


def made_context(
    answer: Answer | None = None,
    *,
    sessions: MemorySessions | None = None,
    deliveries: MemoryDeliveries | None = None,
    sender: WebhookRecorder | None = None,
    breakers: MemoryBreakers | None = None,
    changes: list[EndpointChange] | None = None,
) -> DeliveryContext:
    return DeliveryContext(
        sessions=sessions or MemorySessions(make_session()),
        deliveries=deliveries or MemoryDeliveries(),
        sender=sender or WebhookRecorder(*([answer] if answer else [])),
        breakers=breakers or MemoryBreakers(),
        bulkhead=Bulkhead(2),
        notify=lambda _, change: (changes if changes is not None else []).append(change),
        max_age_s=DAY_S,
    )


# --- address ---


def test_an_event_is_addressed_to_the_webhooks_of_its_session_and_no_token() -> None:
    sessions = MemorySessions(make_session(make_webhook(id="a", token=SECRET), make_webhook(id="b", secret=SECRET)))

    job = to_fan_out(make_event(), phone=PHONE, sessions=sessions)

    assert (job.webhook_ids, job.stored) == (("a", "b"), True)
    assert SECRET not in job.model_dump_json()


def test_an_event_says_when_the_webhooks_are_the_environments() -> None:
    sessions = MemorySessions(environment=(make_webhook(id="default"),))

    job = to_fan_out(make_event(), phone=PHONE, sessions=sessions)

    assert (job.webhook_ids, job.stored) == (("default",), False)


def test_an_event_is_accepted_while_its_session_cannot_be_looked_up() -> None:
    sessions = MemorySessions(make_session())
    sessions.away = True

    job = to_fan_out(make_event(), phone=PHONE, sessions=sessions)

    assert job.webhook_ids is None


def test_the_job_of_an_event_has_the_events_id_and_bytes() -> None:
    event = make_event()

    job = to_fan_out(event, phone=PHONE, sessions=MemorySessions())

    assert (job.id, job.body, job.message_id) == (event.event_id, event.body, "wamid.1")


AT_META = {"businessAccountId": "2001", "phoneNumberId": "1001"}


@pytest.mark.parametrize(
    ("config", "entry_id"),
    [
        ({}, PHONE),
        ({"webhookForward": AT_META}, "2001"),
        ({"accountInEvents": True}, computed_waba_id(PHONE)),
        ({"accountInEvents": True, "webhookForward": AT_META}, "2001"),
        ({"accountInEvents": True, "webhookForward": {"phoneNumberId": "1001"}}, computed_waba_id(PHONE, "1001")),
    ],
)
def test_an_event_names_the_account_that_the_api_shows_where_that_is_wanted(
    config: dict[str, Any], entry_id: str
) -> None:
    session = make_session(**config)

    job = to_fan_out(make_event(), phone=PHONE, sessions=MemorySessions(session))

    assert json.loads(job.body)["entry"][0]["id"] == entry_id
    assert entry_id in (PHONE, session.waba_id)


# --- fan out ---


def test_every_webhook_gets_one_delivery_with_the_same_bytes() -> None:
    session = make_session(make_webhook(id="a"), make_webhook(id="b"))
    job = make_fan_out(webhook_ids=["a", "b"])

    fanned = fan_out(job, sessions=MemorySessions(session), max_age_s=DAY_S)

    assert [delivery.webhook_id for delivery in fanned.deliveries] == ["a", "b"]
    assert {delivery.body for delivery in fanned.deliveries} == {job.body}
    assert len({delivery.id for delivery in fanned.deliveries}) == 2


def test_a_fan_out_that_runs_twice_makes_the_same_deliveries() -> None:
    sessions, job = MemorySessions(make_session()), make_fan_out()

    first, second = (fan_out(job, sessions=sessions, max_age_s=DAY_S).deliveries for _ in range(2))

    assert first == second


def test_a_delivery_keeps_the_age_and_the_mark_of_its_event() -> None:
    job = make_fan_out(accepted_at_ms=now_ms() - 5000, notify_on_failure=False)

    (delivery,) = fan_out(job, sessions=MemorySessions(make_session()), max_age_s=DAY_S).deliveries

    assert (delivery.accepted_at_ms, delivery.notify_on_failure, delivery.stored) == (job.accepted_at_ms, False, True)


def test_a_webhook_that_does_not_want_the_event_is_filtered() -> None:
    session = make_session(make_webhook(id="a", sendIncomingMessages=False), make_webhook(id="b"))
    job = make_fan_out(webhook_ids=["a", "b"])

    fanned = fan_out(job, sessions=MemorySessions(session), max_age_s=DAY_S)

    assert fanned.filtered == ["a"]
    assert [delivery.webhook_id for delivery in fanned.deliveries] == ["b"]


def test_a_webhook_added_after_the_event_does_not_get_it() -> None:
    session = make_session(make_webhook(id="default"), make_webhook(id="new"))

    fanned = fan_out(make_fan_out(), sessions=MemorySessions(session), max_age_s=DAY_S)

    assert [delivery.webhook_id for delivery in fanned.deliveries] == ["default"]
    assert fanned.filtered == []


def test_a_webhook_removed_meanwhile_still_gets_its_delivery_so_that_its_end_is_reported() -> None:
    session = make_session(make_webhook(id="other"))

    fanned = fan_out(make_fan_out(), sessions=MemorySessions(session), max_age_s=DAY_S)

    assert [delivery.webhook_id for delivery in fanned.deliveries] == ["default"]


def test_a_fan_out_waits_while_the_session_is_gone() -> None:
    sessions = MemorySessions(environment=(make_webhook(),))
    sessions.forget_everything()

    with pytest.raises(SessionUnknown):
        fan_out(make_fan_out(stored=True), sessions=sessions, max_age_s=DAY_S)


def test_an_event_without_an_address_takes_the_webhooks_that_are_there_now() -> None:
    session = make_session(make_webhook(id="a"))

    fanned = fan_out(make_fan_out(webhook_ids=None, stored=False), sessions=MemorySessions(session), max_age_s=DAY_S)

    assert [(delivery.webhook_id, delivery.stored) for delivery in fanned.deliveries] == [("a", True)]


def test_an_event_of_the_environment_stays_with_it_when_the_phone_is_stored_later() -> None:
    sessions = MemorySessions(make_session(make_webhook(id="own")), environment=(make_webhook(id="default"),))

    fanned = fan_out(make_fan_out(stored=False), sessions=sessions, max_age_s=DAY_S)

    assert [(delivery.webhook_id, delivery.stored) for delivery in fanned.deliveries] == [("default", False)]


def test_an_event_that_waited_too_long_is_given_up() -> None:
    job = make_fan_out(accepted_at_ms=now_ms() - 2 * DAY_S * 1000)

    with pytest.raises(TooOld):
        fan_out(job, sessions=MemorySessions(make_session()), max_age_s=DAY_S)


# --- filters ---


@pytest.mark.parametrize(
    ("option", "value", "traits", "wanted"),
    [
        ("sendIncomingMessages", True, {}, True),
        ("sendIncomingMessages", False, {}, False),
        ("sendOutgoingMessages", True, {"own": True}, True),
        ("sendOutgoingMessages", False, {"own": True}, False),
        ("sendOutgoingMessages", False, {}, True),
        ("sendIncomingMessages", False, {"own": True}, True),
        ("sendUpdateMessages", True, {"status": True}, True),
        ("sendUpdateMessages", False, {"status": True}, False),
        ("sendIncomingMessages", False, {"status": True}, True),
        ("sendUpdateMessages", False, {}, True),
        ("sendGroupMessages", True, {"group": True}, True),
        ("sendGroupMessages", False, {"group": True}, False),
        ("sendGroupMessages", False, {"group": True, "own": True}, False),
        ("sendGroupMessages", False, {"group": True, "status": True}, False),
        ("sendGroupMessages", False, {}, True),
        ("sendNewsletterMessages", False, {"newsletter": True}, False),
        ("sendNewsletterMessages", True, {"newsletter": True}, True),
    ],
)
def test_each_filter_stops_what_it_names_and_nothing_else(
    option: str, value: bool, traits: dict[str, bool], wanted: bool
) -> None:
    webhook = make_webhook(**{option: value})

    assert (not refusal(webhook, Traits(**{**RECEIVED, **traits}))) is wanted


def test_newsletters_are_off_until_a_webhook_asks_for_them() -> None:
    assert refusal(make_webhook(), Traits(**{**RECEIVED, "newsletter": True}))


@pytest.mark.parametrize(
    ("event", "true"),
    [
        (make_event(), set()),
        (make_event(**{"from": PHONE}), {"own"}),
        (make_event(group_id=GROUP), {"group"}),
        (make_event(group_id="123@newsletter"), {"newsletter"}),
        (make_status(), {"status"}),
        (make_status("failed"), {"status"}),
        (
            message_event(PHONE, {"from": CONTACT, "id": "1"}, contacts=[{**contact(CONTACT), "group_id": GROUP}]),
            {"group"},
        ),
    ],
    ids=["received", "own", "group", "newsletter", "status", "failed", "group-of-contact"],
)
def test_the_traits_of_an_event_are_read_from_its_body(event: Event, true: set[str]) -> None:
    traits = event.content.traits(PHONE)

    assert traits == Traits(**{**RECEIVED, **dict.fromkeys(true, True)})


# --- deliver ---


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_done(status: int) -> None:
    attempt = deliver_once(Answer(status=status, duration_ms=7))

    assert attempt is not None
    assert (attempt.status, attempt.duration_ms) == (status, 7)


@pytest.mark.parametrize("status", [301, 302, 304, 400, 401, 403, 404, 422, 429, 500, 502, 503])
def test_any_other_answer_walks_the_retry_schedule(status: int) -> None:
    with pytest.raises(DeliveryFailed, match=f"HTTP {status}") as failure:
        deliver_once(Answer(status=status))

    assert failure.value.attempt.status == status


def test_no_answer_walks_the_retry_schedule_and_says_why() -> None:
    with pytest.raises(DeliveryFailed, match="connection refused") as failure:
        deliver_once(Answer(error="connection refused"))

    assert failure.value.attempt.status is None


def test_410_is_given_up_at_once() -> None:
    with pytest.raises(DeliveryRefused) as refusal:
        deliver_once(Answer(status=410))

    assert refusal.value.reason == "gone"
    assert refusal.value.attempt is not None


@pytest.mark.parametrize("answer", [Answer(status=410), Answer(error="the address 10.0.0.1 is private", blocked=True)])
def test_an_endpoint_that_was_down_and_is_gone_is_down_no_more(answer: Answer) -> None:
    """Else what waits for its end would wait for days, and nobody would hear that it is gone."""
    breakers, changes = MemoryBreakers(), list[EndpointChange]()
    breakers.open = True

    with pytest.raises(DeliveryRefused):
        deliver_once(answer, breakers=breakers, changes=changes)

    assert not breakers.open
    assert changes == [], "it is not up again"


@pytest.mark.parametrize("down", [True, False])
def test_an_attempt_out_of_the_holding_queue_that_failed_is_the_last_error_and_no_step_when_it_was_a_probe(
    down: bool,
) -> None:
    """The list of webhooks went on showing why an endpoint went down, and a trace lacked attempts that used retries."""
    breakers, counted = MemoryBreakers(), list[TraceEntry]()
    breakers.open = down
    traces = MemoryTraces(count=counted.append)
    context = replace(made_context(Answer(status=404), breakers=breakers), releasing=True)

    with pytest.raises((Postponed, DeliveryFailed)):
        deliver_and_record(make_delivery(), history=History(), context=context, traces=traces)

    assert [(step.step, step.status, error_of(step)) for step in counted] == [("attempt", 404, "HTTP 404")]
    assert len(traces.find("wamid.1")) == (not down)


class WaitingDeliveries(MemoryDeliveries):
    """Earlier events of each endpoint stand in its holding queue."""

    def state(self, delivery_id: str, endpoint: Endpoint) -> DeliveryState:
        known = super().state(delivery_id, endpoint)
        return replace(known, holding=Holding("0123456789ab", ready=True, waiting=True))


@pytest.mark.parametrize("waited", [{"releasing": True}, {"refused": True}, {}])
def test_what_comes_out_of_the_holding_queue_has_the_pace_of_its_release(waited: dict[str, Any]) -> None:
    """What was left to its own task beyond the pace after an outage was released again first, with another request."""
    asked = []

    class Breakers(MemoryBreakers):
        def permit(self, delivery_id: str, endpoint: Endpoint, **known: object) -> Permit:
            asked.append(known["releasing"])
            return super().permit(delivery_id, endpoint)

    context = replace(made_context(Answer(status=200), breakers=Breakers()), **waited)

    assert deliver(make_delivery(), history=History(), context=context)
    assert asked == [bool(waited)]


@pytest.mark.parametrize("waited", [{"releasing": True}, {"refused": True}, {}])
def test_what_comes_out_of_the_holding_queue_does_not_stand_behind_it_again(waited: dict[str, Any]) -> None:
    """What a release leaves to its own task came back to it, and again, many times a second, with a request each."""
    context = replace(made_context(Answer(status=200), deliveries=WaitingDeliveries()), **waited)

    with nullcontext() if waited else pytest.raises(Postponed, match="earlier events"):
        assert deliver(make_delivery(contact="5549988887777"), history=History(), context=context)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_pauses_the_whole_endpoint(status: int) -> None:
    deliveries = MemoryDeliveries()

    with pytest.raises(Postponed) as pause:
        deliver_once(Answer(status=status, retry_after_s=30), deliveries=deliveries)
    with pytest.raises(Postponed, match="pause"):
        deliver_once(job=make_delivery(id="delivery-2"), deliveries=deliveries)

    assert pause.value.after_ms == 30_000
    assert pause.value.attempt is not None


def test_a_pause_of_nothing_is_still_a_second() -> None:
    with pytest.raises(Postponed) as pause:
        deliver_once(Answer(status=429, retry_after_s=0))

    assert pause.value.after_ms == 1000


@pytest.mark.parametrize("status", [400, 500, 502])
def test_retry_after_counts_beside_429_and_503_only(status: int) -> None:
    deliveries = MemoryDeliveries()

    with pytest.raises(DeliveryFailed):
        deliver_once(Answer(status=status, retry_after_s=30), deliveries=deliveries)

    assert deliveries.pauses == {}


def test_another_endpoint_is_not_paused() -> None:
    deliveries = MemoryDeliveries()
    deliveries.pause(Endpoint(PHONE, "other"), pause_ms=60_000)

    assert deliver_once(Answer(status=200), deliveries=deliveries) is not None


def test_a_long_pause_is_looked_at_again_every_five_minutes() -> None:
    deliveries = MemoryDeliveries()
    job = make_delivery()
    deliveries.pause(Endpoint(PHONE, job.webhook_id), pause_ms=7_200_000)

    with pytest.raises(Postponed) as waiting:
        deliver_once(job=job, deliveries=deliveries)

    assert waiting.value.after_ms == 300_000


def test_an_address_that_the_guard_refuses_is_given_up_with_its_rule() -> None:
    with pytest.raises(DeliveryRefused) as refused:
        deliver_once(Answer(error="the address 10.0.0.1 is private", blocked=True))

    assert refused.value.reason == "blocked"
    assert refused.value.attempt is not None
    assert "private" in f"{refused.value}"


def test_a_delivery_that_is_done_is_not_posted_again() -> None:
    deliveries, sender = MemoryDeliveries(), WebhookRecorder()
    deliveries.finished.append("delivery-1")

    assert deliver_once(deliveries=deliveries, sender=sender) is None
    assert sender.ids == []


def test_every_attempt_sends_the_same_bytes_and_id_and_its_own_number() -> None:
    sender, job = WebhookRecorder(Answer(status=500), Answer(status=200)), make_delivery()
    once = History().with_attempt(Attempt(status=500))

    with pytest.raises(DeliveryFailed):
        deliver_once(job=job, sender=sender)
    deliver_once(job=job, sender=sender, history=once)

    assert sender.attempts == [1, 2]
    assert sender.ids == [job.id] * 2
    assert sender.bodies == [job.body] * 2


def test_a_webhook_that_was_removed_is_given_up_without_a_request() -> None:
    sender = WebhookRecorder()

    with pytest.raises(DeliveryRefused) as refusal:
        deliver_once(sessions=MemorySessions(make_session(make_webhook(id="other"))), sender=sender)

    assert (refusal.value.reason, refusal.value.attempt) == ("webhook_removed", None)
    assert sender.ids == []


def test_a_webhook_that_was_removed_is_given_up_though_it_is_paused_and_counts_no_more_as_down() -> None:
    deliveries, breakers = MemoryDeliveries(), MemoryBreakers()
    deliveries.suspend(Endpoint(PHONE, "default"), pause_ms=60_000)
    breakers.open = True
    sessions = MemorySessions(make_session(make_webhook(id="other")))

    with pytest.raises(DeliveryRefused, match="removed"):
        deliver_once(sessions=sessions, deliveries=deliveries, breakers=breakers)

    assert not breakers.open
    assert is_removed(make_delivery(), sessions)


def test_only_what_is_certainly_gone_counts_as_removed() -> None:
    began_ms = now_ms() - 10_000
    unread = MemorySessions(make_session())
    unread.forget_everything()

    assert not is_removed(make_delivery(), MemorySessions(make_session()))
    assert not is_removed(make_delivery(), unread)
    assert is_removed(make_delivery(accepted_at_ms=began_ms), MemorySessions(make_session(began_ms=began_ms)))


def test_a_webhook_that_was_added_a_moment_ago_is_no_removed_one() -> None:
    sessions, sender = MemorySessions(make_session(make_webhook(id="other"))), WebhookRecorder(Answer(status=200))
    sessions.changed[PHONE] = make_session(make_webhook(id="other"), make_webhook())

    assert deliver_once(sessions=sessions, sender=sender) is not None
    assert sender.ids == ["delivery-1"]


def test_the_filters_of_a_webhook_that_was_added_a_moment_ago_count() -> None:
    sessions = MemorySessions(make_session(make_webhook(id="other")))
    sessions.changed[PHONE] = make_session(make_webhook(sendIncomingMessages=False))

    assert fan_out(make_fan_out(), sessions=sessions, max_age_s=DAY_S).filtered == ["default"]


def test_nobody_looks_twice_at_a_session_that_has_its_webhooks() -> None:
    sessions = MemorySessions(make_session())

    fan_out(make_fan_out(), sessions=sessions, max_age_s=DAY_S)

    assert sessions.refreshed == []


def test_a_session_that_was_removed_is_given_up() -> None:
    sessions = MemorySessions(make_session())
    sessions.remove(PHONE)

    with pytest.raises(DeliveryRefused) as refusal:
        deliver_once(sessions=sessions)

    assert refusal.value.reason == "webhook_removed"


@pytest.mark.parametrize(("accepted_at_ms", "posts"), [(-1, 0), (0, 0), (1, 1)])
def test_what_waited_when_a_number_was_removed_does_not_go_to_who_registers_it_next(
    accepted_at_ms: int, posts: int
) -> None:
    """A webhook of the same name is another one's: it got what had waited for the one before."""
    began_ms = now_ms() - 10_000
    sessions, sender = MemorySessions(make_session(began_ms=began_ms)), WebhookRecorder(Answer(status=200))
    job = make_delivery(accepted_at_ms=began_ms + accepted_at_ms)
    look = FirstLook(sessions.find(PHONE), DeliveryState(), admitted=True, blocked=False)

    with suppress(DeliveryRefused):
        deliver_once(job=job, sessions=sessions, sender=sender)

    assert len(sender.ids) == posts
    assert (plain_receiver(job, look) is not None) == bool(posts)


def test_a_session_that_is_gone_waits_and_never_goes_to_the_environments_webhook() -> None:
    sessions, sender = MemorySessions(environment=(make_webhook(),)), WebhookRecorder()
    sessions.forget_everything()

    with pytest.raises(SessionUnknown):
        deliver_once(sessions=sessions, sender=sender)

    assert sender.ids == []


@pytest.mark.parametrize("paused", [False, True])
def test_a_delivery_that_waited_too_long_is_given_up_paused_or_not(paused: bool) -> None:
    deliveries, sender = MemoryDeliveries(), WebhookRecorder()
    if paused:
        deliveries.pause(Endpoint(PHONE, "default"), pause_ms=60_000)
    old: dict[str, Any] = {"accepted_at_ms": now_ms() - 2 * DAY_S * 1000}

    with pytest.raises(TooOld):
        deliver_once(job=make_delivery(**old), deliveries=deliveries, sender=sender)

    assert sender.ids == []


# --- endpoints that are down ---


def test_the_fifth_different_failure_opens_the_breaker_uses_no_attempt_and_is_reported_once() -> None:
    breakers, changes = MemoryBreakers(), list[EndpointChange]()

    for number in range(4):
        with pytest.raises(DeliveryFailed):
            deliver_once(Answer(500), job=make_delivery(id=f"d-{number}"), breakers=breakers, changes=changes)
    for number in range(4, 7):
        with pytest.raises(Postponed) as caught:
            deliver_once(Answer(500), job=make_delivery(id=f"d-{number}"), breakers=breakers, changes=changes)

    assert caught.value.attempt is not None
    assert [change.down for change in changes] == [True]


def test_a_success_closes_the_breaker_and_is_reported() -> None:
    breakers, changes = MemoryBreakers(failures=1), list[EndpointChange]()
    with pytest.raises(Postponed):
        deliver_once(Answer(500), breakers=breakers, changes=changes)

    deliver_once(Answer(200), breakers=breakers, changes=changes)

    assert [change.down for change in changes] == [True, False]


def test_nothing_is_posted_while_the_breaker_says_wait() -> None:
    breakers, sender = MemoryBreakers(), WebhookRecorder()
    breakers.wait_ms = 700

    with pytest.raises(Postponed) as caught:
        deliver_once(sender=sender, breakers=breakers)

    assert (caught.value.after_ms, caught.value.attempt, sender.ids) == (700, None, [])


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer(200), "delivered"),
        (Answer(410), "gone"),
        (Answer(429), "throttled"),
        (Answer(503, retry_after_s=3), "throttled"),
        (Answer(500), "refused"),
        (Answer(302), "refused"),
        (Answer(error="connection refused"), "unreachable"),
        (Answer(error="a rule", blocked=True), "blocked"),
    ],
)
def test_each_attempt_carries_the_class_of_its_answer(answer: Answer, outcome: str) -> None:
    assert answer.as_attempt().outcome == outcome
