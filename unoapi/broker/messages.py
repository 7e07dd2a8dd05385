"""From a job to the bytes on a queue, and back. The only place that knows Celery's message form (protocol 2)."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from unoapi.broker.topology import BUCKET_BOUNDS_S, DELAY_HEADER
from unoapi.models.attempts import History
from unoapi.models.jobs import JOBS, NO_HISTORY, DeliverWebhook, Envelope, FanOut, HeldDelivery, Job, now_ms
from unoapi.telemetry.tracing import HEADER as TRACE_HEADER
from unoapi.telemetry.tracing import traceparent

if TYPE_CHECKING:
    from unoapi.broker.topology import Topology

HISTORY_HEADER = "unoapi-history"
NOT_BEFORE_HEADER = "unoapi-not-before-ms"
PUBLISHED_HEADER = "unoapi-published-ms"
DELIVERIES_HEADER = "x-delivery-count"
"""How often the broker delivered the message before, to workers that returned it or ended."""
LONGEST_EXPIRATION_MS = 2**32 - 1
LONGEST_WAIT_MS = BUCKET_BOUNDS_S[-1] * 1000


@dataclass(frozen=True)
class Message:
    """What is published: exchange, key, body, headers and the AMQP properties.

    `message_id` is the WhatsApp message that it belongs to, for the log; it is not sent. `into` is the queue that must
    be there: without it RabbitMQ would confirm the message and not keep it. `event` is what is written into the stream
    of events when it is confirmed.
    """

    exchange: str
    routing_key: str
    body: str | bytes
    headers: dict[str, Any]
    properties: dict[str, Any]
    message_id: str = ""
    into: str = ""
    event: str = ""


def to_message(envelope: Envelope, topology: Topology) -> Message:
    """The message that puts a job on its queue, or into a waiting bucket first.

    `argsrepr`, which dashboards show, is set on every publish: a retry would otherwise show the whole job. Headers of
    Celery's that would be empty are left out: each is written and read by three programs.
    """
    job = envelope.job
    key = topology.queue(job.queue)
    headers: dict[str, Any] = {
        "lang": "py",
        "task": job.task,
        "id": job.id,
        "retries": envelope.retries,
        "argsrepr": job.summary,
        "ignore_result": True,
        PUBLISHED_HEADER: now_ms(),
    }
    if parent := traceparent():
        headers[TRACE_HEADER] = parent
    if envelope.history != NO_HISTORY:
        headers[HISTORY_HEADER] = envelope.history.model_dump_json(exclude_defaults=True)
    document = job.model_dump_json()
    body = f'[[{document}],{{}},{{"callbacks":null,"errbacks":null,"chain":null,"chord":null}}]'
    properties: dict[str, Any] = {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "delivery_mode": 2,
        "correlation_id": job.id,
        "message_id": job.id,
    }
    if envelope.holding and isinstance(job, DeliverWebhook):
        properties["expiration"] = str(min(max(envelope.delay_ms, 0), LONGEST_EXPIRATION_MS))
        holding = topology.holding_queue(job.endpoint, envelope.holding).name
        return Message(topology.broker, holding, body, headers, properties, job.message_id)
    if envelope.delay_ms <= 0:
        message = Message(topology.broker, key, body, headers, properties, job.message_id)
        is_first = not envelope.retries and envelope.history == NO_HISTORY
        if topology.streams and isinstance(job, FanOut) and is_first:
            return replace(message, into=key, event=document)
        return message
    message = Message(topology.delayed, key, body, headers, properties, job.message_id)
    return waiting(message, envelope.delay_ms, topology, look_ms=envelope.look_ms)


def to_quarantine(envelope: Envelope, topology: Topology) -> Message:
    """The message that puts a job on the quarantine queue, for those that may have ended a worker."""
    message = to_message(envelope, topology)
    return replace(message, exchange=topology.broker, routing_key=topology.queue("suspect"))


def waiting(message: Message, delay_ms: int, topology: Topology, *, look_ms: int = 0) -> Message:
    """Send a message for the waiting exchange into the bucket of its delay, or of a look before it is due."""
    wait_ms = min(delay_ms, look_ms or LONGEST_WAIT_MS)
    number = topology.bucket(wait_ms)
    message.headers[DELAY_HEADER] = str(number)
    message.headers[NOT_BEFORE_HEADER] = now_ms() + delay_ms
    message.properties["expiration"] = str(wait_ms)
    return replace(message, into=topology.bucket_queue(number))


def from_body(task: str, body: Any) -> Job:
    """The job in a Celery message body. Raises KeyError, TypeError, ValueError when there is none."""
    document = json.loads(body)
    return JOBS[task].model_validate(document[0][0])


def held_delivery(body: Any, headers: dict[str, Any] | None, *, tag: int) -> HeldDelivery | None:
    """The delivery in a message of a holding queue; none when it cannot be read."""
    given = headers or {}
    try:
        job = from_body(str(given.get("task")), body)
    except (KeyError, TypeError, ValueError):
        return None
    if not isinstance(job, DeliverWebhook):
        return None
    return HeldDelivery(job, int(given.get("retries") or 0), history_of(given), tag)


def came_ms(headers: dict[str, Any] | None) -> int | None:
    """When a message came to the queue from which it was taken, in Unix milliseconds; none when that is not known."""
    given = headers or {}
    expired = _last_death(given).get("time")
    if isinstance(expired, datetime):
        return int(expired.replace(tzinfo=UTC).timestamp() * 1000)
    published = given.get(PUBLISHED_HEADER)
    return published if isinstance(published, int) else None


def waited_in(headers: dict[str, Any] | None, topology: Topology) -> tuple[str, int] | None:
    """The waiting bucket that a message comes from, and when it was published to it, in Unix milliseconds."""
    given = headers or {}
    number, published = given.get(DELAY_HEADER), given.get(PUBLISHED_HEADER)
    if not isinstance(number, str) or not isinstance(published, int):
        return None
    return topology.bucket_queue(number), published


def was_refused(headers: dict[str, Any] | None, topology: Topology) -> bool:
    """Whether a delivery comes out of its endpoint's holding queue, whose release left it to its own task."""
    return str(_last_death(headers or {}).get("queue")).startswith(topology.holding_queues)


def _last_death(headers: dict[str, Any]) -> dict[str, Any]:
    """What RabbitMQ wrote when it last took the message from a queue to another one; empty when it never did."""
    deaths = headers.get("x-death")
    return deaths[0] if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict) else {}


def history_of(headers: dict[str, Any] | None) -> History:
    """The history that came with a message; an empty one when there is none or it cannot be read."""
    text = (headers or {}).get(HISTORY_HEADER)
    if not isinstance(text, str):
        return NO_HISTORY
    try:
        return History.model_validate_json(text)
    except ValueError:
        return NO_HISTORY
