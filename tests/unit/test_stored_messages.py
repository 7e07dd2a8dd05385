"""Jobs and dead letters of an older version that still stand in queues, byte for byte, and the names of their fields.

They were written by commit 72fe420, before fields of jobs and histories got other names in code. What is written today
has the same bytes: after an update, and after going back, no queue holds a message that cannot be read.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from unoapi.broker.dead_letters import moved_to_the_end, read_dead_letter, replayed, to_dead_letter
from unoapi.broker.messages import from_body, history_of, to_message
from unoapi.broker.topology import Topology
from unoapi.models.attempts import Attempt, History
from unoapi.models.jobs import DeliverWebhook, Envelope, FanOut, Job

TOPOLOGY = Topology("unoapi")
DELIVERY_BODY = (
    '[[{"id":"delivery-1","phone":"5511999990000","message_id":"wamid.1","accepted_at_ms":1767225600000,"told":false,'
    '"event_id":"event-1","webhook_id":"main","kind":"message","stored":true,"contact":"",'
    r'"body":"{\"number\": 1}"}],{},{"callbacks":null,"errbacks":null,"chain":null,"chord":null}]'
)
FAN_OUT_BODY = (
    '[[{"id":"event-1","phone":"5511999990000","message_id":"wamid.1","accepted_at_ms":1767225600000,"told":false,'
    r'"kind":"message","body":"{\"number\": 1}","webhook_ids":["main"],"stored":true,"ordered":[],"contact":""}],{},'
    '{"callbacks":null,"errbacks":null,"chain":null,"chord":null}]'
)
FAN_OUT_WITH_FACTS = FAN_OUT_BODY.replace('"contact":""', '"contact":"","facts":["t","text","","","5549988887777"]')
HISTORY = (
    '{"generation":2,"tries":1,"attempts":[{"at":"2026-01-02T03:04:05Z","status":500,"error":"HTTP 500",'
    '"duration_ms":7,"outcome":"refused"}],"redelivered":true,"faults":3,"deaths":1}'
)
HEADERS: dict[str, Any] = {
    "lang": "py", "task": "outgoing.deliver", "id": "delivery-1", "root_id": "delivery-1", "parent_id": None,
    "group": None, "shadow": None, "eta": None, "expires": None, "retries": 2, "timelimit": [None, None],
    "argsrepr": "phone=5511999990000 message_id=wamid.1 webhook=main kind=message", "kwargsrepr": "",
    "origin": "unoapi", "ignore_result": True, "unoapi-published-ms": 1767225600001, "unoapi-history": HISTORY,
}  # fmt: skip
LEFT_OUT = ("root_id", "parent_id", "group", "shadow", "eta", "expires", "timelimit", "kwargsrepr", "origin")
"""Celery reads each of them as empty where it is missing, and the first as the message's id."""
DEAD_HEADERS: dict[str, Any] = {
    **HEADERS, "retries": 0, "unoapi-reason": "refused", "unoapi-error": "HTTP 500",
    "unoapi-dead-at": "2026-01-02T03:04:06+00:00", "unoapi-queue": "unoapi.outgoing",
}  # fmt: skip
PROPERTIES: dict[str, Any] = {
    "content_type": "application/json", "content_encoding": "utf-8", "delivery_mode": 2,
    "correlation_id": "delivery-1", "message_id": "delivery-1",
}  # fmt: skip

DELIVERY = DeliverWebhook(
    id="delivery-1",
    phone="5511999990000",
    message_id="wamid.1",
    accepted_at_ms=1767225600000,
    notify_on_failure=False,
    event_id="event-1",
    webhook_id="main",
    kind="message",
    stored=True,
    body='{"number": 1}',
)
EVENT = FanOut(
    id="event-1",
    phone="5511999990000",
    message_id="wamid.1",
    accepted_at_ms=1767225600000,
    notify_on_failure=False,
    kind="message",
    body='{"number": 1}',
    webhook_ids=("main",),
    stored=True,
)
EVENT_WITH_FACTS = EVENT.model_copy(update={"written_facts": ("t", "text", "", "", "5549988887777")})
PAST = History(
    replay_count=2,
    tries=1,
    attempts=(
        Attempt(
            at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            status=500,
            error="HTTP 500",
            duration_ms=7,
            outcome="refused",
        ),
    ),
    redelivered=True,
    internal_errors=3,
    worker_losses=1,
)
JOBS_ON_QUEUES = pytest.mark.parametrize(
    ("task", "body", "job"),
    [
        ("outgoing.deliver", DELIVERY_BODY, DELIVERY),
        ("outgoing.fan_out", FAN_OUT_BODY, EVENT),
        ("outgoing.fan_out", FAN_OUT_WITH_FACTS, EVENT_WITH_FACTS),
    ],
    ids=["delivery", "event", "event with facts"],
)


def written(headers: dict[str, Any]) -> dict[str, Any]:
    """What is written today of headers that stand in a queue."""
    return {name: value for name, value in headers.items() if name not in LEFT_OUT}


@JOBS_ON_QUEUES
def test_a_job_that_stands_in_a_queue_is_read(task: str, body: str, job: Job) -> None:
    assert from_body(task, body) == job


@JOBS_ON_QUEUES
def test_a_job_is_written_as_it_was(task: str, body: str, job: Job) -> None:
    message = to_message(Envelope(job), TOPOLOGY)

    assert message.body == body
    assert message.headers["task"] == task


def test_a_history_that_stands_in_a_queue_is_read() -> None:
    assert history_of(HEADERS) == PAST


def test_a_message_has_the_headers_and_properties_that_it_had_but_for_empty_ones() -> None:
    message = to_message(Envelope(DELIVERY, retries=2, history=PAST), TOPOLOGY)

    assert message.headers | {"unoapi-published-ms": 1767225600001} == written(HEADERS)
    assert message.properties == PROPERTIES


def test_a_dead_letter_that_stands_in_its_queue_is_read() -> None:
    dead_letter = read_dead_letter(DELIVERY_BODY, DEAD_HEADERS, PROPERTIES, "unoapi.outgoing")

    assert dead_letter.job == DELIVERY
    assert dead_letter.history == PAST
    assert (dead_letter.id, dead_letter.reason, dead_letter.error, dead_letter.queue) == (
        "delivery-1", "refused", "HTTP 500", "unoapi.outgoing",
    )  # fmt: skip
    assert dead_letter.died_at == datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC)
    assert dead_letter.public_fields()["generation"] == 2


def test_a_dead_letter_is_written_as_it_was() -> None:
    message = to_dead_letter(Envelope(DELIVERY, history=PAST), TOPOLOGY, reason="refused", error="HTTP 500")

    assert (message.exchange, message.routing_key, message.body) == ("unoapi.dead", "unoapi.outgoing", DELIVERY_BODY)
    moments = {name: DEAD_HEADERS[name] for name in ("unoapi-published-ms", "unoapi-dead-at")}
    assert message.headers | moments == written(DEAD_HEADERS)


def test_a_dead_letter_goes_to_the_end_of_its_queue_as_it_is() -> None:
    dead_letter = read_dead_letter(DELIVERY_BODY, DEAD_HEADERS, PROPERTIES, "unoapi.outgoing")

    message = moved_to_the_end(dead_letter, TOPOLOGY)

    assert message.body == DELIVERY_BODY.encode()
    assert message.headers == DEAD_HEADERS


def test_a_replay_of_a_dead_letter_raises_its_generation() -> None:
    dead_letter = read_dead_letter(DELIVERY_BODY, DEAD_HEADERS, PROPERTIES, "unoapi.outgoing")

    message = replayed(dead_letter, TOPOLOGY, accepted_at_ms=1767225600000)

    assert message.body == DELIVERY_BODY
    attempts = HISTORY[HISTORY.index('"attempts"') : HISTORY.index(',"redelivered"')]
    assert message.headers["unoapi-history"] == f'{{"generation":3,{attempts}}}'
