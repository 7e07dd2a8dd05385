"""Events on their way to the webhooks."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from celery import shared_task
from celery.worker import state as worker_state

from tasks.base import UnoTask
from tasks.running import run_at_once
from unoapi.broker.messages import PUBLISHED_HEADER, was_refused
from unoapi.errors import BrokerUnavailable, SessionUnknown, ShareUsed, StoreUnavailable, describe
from unoapi.models.attempts import History
from unoapi.models.endpoints import origin_of
from unoapi.models.jobs import DeliverWebhook, Envelope, FanOut, ReleaseEndpoint, ReplayEvents
from unoapi.models.trace import TraceEntry
from unoapi.services import bulk, failure_callbacks, holding, ordering, replaying, webhooks
from unoapi.stores.circuit_breakers import was_down_after
from unoapi.telemetry.logging import bound, get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from unoapi.bootstrap import Uno
    from unoapi.models.attempts import EarlierAnswer
    from unoapi.models.endpoints import Endpoint, EndpointChange, Origin
    from unoapi.models.jobs import Job

log = get_logger(__name__)

EARLY_LOOK_MS = 1_500
"""An endpoint is down after failures over a second: the first ones have used an attempt by then."""


@shared_task(name=FanOut.task, base=UnoTask, bind=True)
def fan_out(self: UnoTask, job: FanOut) -> None:
    """Queue one delivery for each webhook that wants the event; one that is alone is made at once.

    A worker that stopped in the middle may have been ended by it: then the delivery stands for itself.
    """
    uno = self.uno
    fanned = webhooks.fan_out(
        job,
        sessions=uno.sessions,
        max_age_s=uno.settings.unoapi_message_max_age,
        statuses=uno.statuses,
        blacklist=uno.blacklist,
    )
    words = uno.settings.opt_out_words
    noted = bulk.record_or_defer(job, campaigns=uno.campaigns, sessions=uno.sessions, words=words)
    if noted:
        uno.publisher.publish(noted)
    callbacks = uno.settings.status_failed_webhook_url is not None
    reports = failure_callbacks.status_reports(
        job, superseded=fanned.superseded, callbacks=callbacks, alerts=bool(uno.alert_channels.names)
    )
    if fanned.single is not None and not reports and not self.redelivered:
        uno.traces.add(*fanned.trace())
        run_at_once(fanned.single, within=self)
    else:
        if following := (*fanned.deliveries, *reports, *fanned.transcriptions):
            uno.publisher.publish([Envelope(job) for job in following])
        uno.traces.add(*fanned.trace())
    remember(uno, [fanned])


class DeliveryTask(UnoTask):
    """A delivery that failed as one of the first of an outage learns of it soon, and waits with the others."""

    early_look_ms = EARLY_LOOK_MS

    def goes_on_early(self, job: Job) -> bool:
        """Whether its endpoint is down by now, or was after its failure and has just come back.

        What fails after that is a failure of its own: it waits as long as any other one.
        """
        if not isinstance(job, DeliverWebhook):
            return False
        failed_at_ms = int((self.request.headers or {}).get(PUBLISHED_HEADER) or 0)
        return was_down_after(self.uno.deliveries.state(job.id, job.endpoint).breaker, failed_at_ms)


@shared_task(name=DeliverWebhook.task, base=DeliveryTask, bind=True)
def deliver(self: UnoTask, job: DeliverWebhook) -> None:
    """Make one attempt to deliver. In an ordered conversation, make those that wait for it, too."""
    uno = self.uno
    refused = was_refused(self.request.headers, uno.topology)
    if not job.contact:
        _attempt(uno, job, self.history, answer=self.request.get("answer"), refused=refused)
        return
    ordering.ensure_turn(job, uno.ordering)
    done, is_over = False, True
    try:
        _attempt(uno, job, self.history, refused=refused)
        done = True
    except ShareUsed:
        is_over = False  # nothing was posted: it keeps its place, and comes back in a moment
        raise
    finally:
        if is_over:  # retried, held or done: the next one need not wait for it
            ordering.pass_on(job, uno.ordering, lambda waiting: _attempt_for_another(uno, waiting), done=done)


@shared_task(name=ReleaseEndpoint.task, base=UnoTask, bind=True)
def release(self: UnoTask, job: ReleaseEndpoint) -> None:
    """Look after the holding queue of an endpoint, and of others that need not wait, and queue their next looks."""
    uno = self.uno
    context = holding.ReleaseContext(
        queues=uno.holding_queues,
        holdings=uno.holdings,
        deliveries=uno.deliveries,
        breakers=uno.breakers,
        bulkhead=uno.bulkhead,
        publisher=uno.publisher,
        schedule=uno.retry_schedule,
        releases=uno.releases,
        next_looks=uno.next_looks,
        receiver=partial(_receiver, uno),
        is_removed=partial(webhooks.is_removed, sessions=uno.sessions),
        reports=self.attempt_reports,
        attempt=partial(_attempt_released, uno),
        stopping=lambda: worker_state.should_stop is not None,
    )
    for following in holding.looks(job, context, redelivered=self.redelivered):
        self.publish_patiently([following])


@shared_task(name=ReplayEvents.task, base=UnoTask, bind=True)
def replay(self: UnoTask, job: ReplayEvents) -> None:
    """Deliver the next events of a replay, and queue the next run of it."""
    uno = self.uno
    context = replaying.ReplayContext(
        events=uno.events,
        replays=uno.replays,
        sessions=uno.sessions,
        blacklist=uno.blacklist,
        deliveries=uno.deliveries,
        places=uno.replay_places,
        publisher=uno.publisher,
        attempt=partial(_attempt_waiting_elsewhere, uno),
        stopping=lambda: worker_state.should_stop is not None,
        max_age_s=uno.settings.unoapi_message_max_age,
    )
    following = replaying.run(job, context)
    if following is not None:
        self.publish_patiently([following])


def remember(uno: Uno, fanned_out: Iterable[webhooks.FannedOut]) -> None:
    """Record what fan-outs that are done mean for later events, in this worker's memories."""
    webhooks.remember(
        fanned_out,
        ordering=uno.ordering,
        blacklist=uno.blacklist,
        activity=uno.activity,
        timers=uno.timers,
        message_log=uno.message_log,
    )


def look_again(uno: Uno) -> None:
    """Look at holding queues whose own job got lost. Never raises."""
    try:
        uno.publisher.publish(holding.looks_again(uno.holdings))
    except (BrokerUnavailable, StoreUnavailable) as error:
        log.info("holding_queues_not_checked", error=f"{error}", hint="it is tried again in an hour")


def _attempt_waiting_elsewhere(uno: Uno, job: DeliverWebhook, history: History) -> None:
    """Make one attempt for a replay, which waits itself. Raises what `webhooks.deliver` raises."""
    context = replace(_context(uno), wait=webhooks.postponed)
    webhooks.deliver_and_record(job, history=history, context=context, traces=uno.traces)


def _attempt_released(uno: Uno, job: DeliverWebhook, history: History, answer: EarlierAnswer | None) -> None:
    """Make one attempt for a delivery of a holding queue, or take the answer that came.

    Raises what `webhooks.deliver` raises.
    """
    context = replace(_context(uno, answer), wait=webhooks.postponed, releasing=True)
    webhooks.deliver_and_record(job, history=history, context=context, traces=uno.traces)


def _receiver(uno: Uno, endpoint: Endpoint) -> Origin | None:
    """Who is behind an endpoint, as far as that is known."""
    try:
        webhook = uno.sessions.find(endpoint.phone).webhook(endpoint.webhook_id)
    except SessionUnknown:
        return None
    return None if webhook is None else origin_of(webhook.address(endpoint.phone))


def _attempt(
    uno: Uno, job: DeliverWebhook, history: History, *, answer: EarlierAnswer | None = None, refused: bool = False
) -> None:
    """Make one attempt with the parts of this worker, or take the answer that came. Raises as `webhooks.deliver`."""
    context = _context(uno, answer, refused=refused)
    webhooks.deliver_and_record(job, history=history, context=context, traces=uno.traces)


def _context(uno: Uno, answer: EarlierAnswer | None = None, *, refused: bool = False) -> webhooks.DeliveryContext:
    """What this worker makes deliveries with. `answer`: of the attempt that was made."""
    sender = uno.webhook_client
    max_age_s = uno.settings.unoapi_message_max_age
    return webhooks.DeliveryContext(
        sessions=uno.sessions,
        deliveries=uno.deliveries,
        sender=sender if answer is None else webhooks.AnsweredBefore(answer, sender=sender),
        breakers=uno.breakers,
        bulkhead=uno.bulkhead,
        notify=partial(report_change, uno),
        max_age_s=max_age_s,
        wait=partial(
            holding.wait, max_age_s=max_age_s, announcements=uno.holding_announcements, publisher=uno.publisher
        ),
        refused=refused,
        answered="" if answer is None else answer.delivery_id,
    )


def _attempt_for_another(uno: Uno, job: DeliverWebhook) -> bool:
    """Make the attempt of a delivery whose message waits in RabbitMQ. Whether it is done; else that message tries.

    Raises ShareUsed.
    """
    with bound(message_id=job.message_id, phone=job.phone, task_id=job.id):
        try:
            _attempt(uno, job, History())
        except ShareUsed:
            raise
        except Exception as error:  # noqa: BLE001 (the message that waits is handled as any other)
            log.info("attempt_for_another_failed", webhook_id=job.webhook_id, error=describe(error))
            if (attempt := getattr(error, "attempt", None)) is not None:
                detail = f"{describe(error)}; again when its own message is back"
                uno.traces.add(TraceEntry.of(job, "attempt", tries=1, attempt=attempt, detail=detail))
            return False
    return True


def report_change(uno: Uno, job: DeliverWebhook, change: EndpointChange) -> None:
    """Report once that an endpoint went down or came back. A broker that is away now must not undo a delivery."""
    event = "endpoint_down" if change.down else "endpoint_up"
    log.log(30 if change.down else 20, event, webhook_id=job.webhook_id, since_ms=change.since_ms, error=change.error)
    detail = "it is down: deliveries wait" if change.down else "it is up again"
    uno.traces.add(TraceEntry.of(job, "endpoint", detail=detail))
    callbacks, alerts = uno.settings.status_failed_webhook_url is not None, bool(uno.alert_channels.names)
    if not (callbacks or alerts):
        return
    report = failure_callbacks.endpoint_report(job, change)
    try:
        uno.publisher.publish(
            [Envelope(told) for told in failure_callbacks.addressed(report, callbacks=callbacks, alerts=alerts)]
        )
    except BrokerUnavailable as error:
        log.warning("endpoint_change_not_reported", webhook_id=job.webhook_id, error=f"{error}")
