"""A worker in this process: the real tasks on parts in memory, without RabbitMQ and Redis."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import mock

from tasks.app import make_worker
from tests.support.fakes import (
    CallbackRecorder,
    MemoryActivity,
    MemoryAlerts,
    MemoryAudit,
    MemoryBreakers,
    MemoryCampaigns,
    MemoryChats,
    MemoryConnections,
    MemoryConsoleLogins,
    MemoryDeadLetterHolder,
    MemoryDeadLetterQueue,
    MemoryDeliveries,
    MemoryDirectory,
    MemoryEventStream,
    MemoryHoldingQueues,
    MemoryHoldings,
    MemoryIds,
    MemoryMessageLog,
    MemoryNotices,
    MemoryOrdering,
    MemoryProcesses,
    MemoryPublisher,
    MemoryReplays,
    MemoryRequestBin,
    MemorySends,
    MemorySessions,
    MemoryTraces,
    MemoryUsage,
    ScriptedProvider,
    WebhookRecorder,
)
from unoapi.bootstrap import bootstrap
from unoapi.broker.connector_commands import CommandQueue
from unoapi.broker.messages import to_message
from unoapi.models.attempts import History
from unoapi.models.jobs import Envelope, Job
from unoapi.services.dead_letters import DeadLetters
from unoapi.settings import Settings

if TYPE_CHECKING:
    from tasks.app import Worker
    from unoapi.bootstrap import Uno
    from unoapi.models.session import Session

NOWHERE = {"AMQP_URL": "amqp://127.0.0.1:1", "REDIS_URL": "redis://127.0.0.1:1"}


def make_uno(*stored: Session, settings: dict[str, str] | None = None, **parts: Any) -> Uno:
    """The parts of a process with these sessions. What `parts` does not name is in memory, or finds Redis away."""
    with mock.patch.dict(os.environ, NOWHERE | (settings or {}), clear=True):
        joined = bootstrap(Settings(_env_file=None))
    ordering = parts.get("ordering") or MemoryOrdering()
    publisher = MemoryPublisher(joined.topology, ordering=ordering)
    activity = MemoryActivity()
    traces = MemoryTraces(count=activity.note)
    sessions, deliveries, sends = MemorySessions(*stored), MemoryDeliveries(trace=traces.add), MemorySends()
    dead_letters = DeadLetters(
        MemoryDeadLetterQueue(queues=publisher),
        MemoryDeadLetterHolder(),
        deliveries=deliveries,
        sends=sends,
        traces=traces,
    )
    memory: dict[str, Any] = {
        "publisher": publisher,
        "connector_commands": CommandQueue(publisher),
        "ordering": ordering,
        "sessions": sessions,
        "directory": MemoryDirectory(sessions),
        "dead_letters": dead_letters,
        "deliveries": deliveries,
        "breakers": MemoryBreakers(),
        "campaigns": MemoryCampaigns(),
        "holdings": MemoryHoldings(),
        "holding_queues": MemoryHoldingQueues(),
        "events": MemoryEventStream(),
        "processes": MemoryProcesses(),
        "replays": MemoryReplays(),
        "send_claims": sends,
        "message_ids": MemoryIds(),
        "notices": MemoryNotices(),
        "usage": MemoryUsage(),
        "connections": MemoryConnections(),
        "chats": MemoryChats(),
        "console_logins": MemoryConsoleLogins(),
        "traces": traces,
        "activity": activity,
        "message_log": MemoryMessageLog(bodies=joined.settings.unoapi_console_bodies),
        "audit": MemoryAudit(),
        "request_bin": MemoryRequestBin(),
        "webhook_client": WebhookRecorder(),
        "callback_client": CallbackRecorder(),
        "alerts": MemoryAlerts(),
        "providers": dict.fromkeys(("whatsmeow", "forwarder", "sandbox"), ScriptedProvider()),
    }
    return replace(joined, **(memory | parts))


def run(
    uno: Uno,
    job: Job,
    *,
    history: History | None = None,
    retries: int = 0,
    queue: str = "",
    redelivered: bool = False,
    headers: dict[str, Any] | None = None,
    worker: Worker | None = None,
) -> None:
    """Run a job's task as a worker does with its message. Raises what Celery would get: Retry, Reject, an error.

    To make a worker takes longer than most jobs: who runs many gives one.
    """
    worker = worker or make_worker(uno)
    message = to_message(Envelope(job, retries=retries, history=history or History()), uno.topology)
    arguments = [job.model_dump(mode="json")]
    task: Any = worker.tasks[job.task]
    task.push_request(
        args=arguments,
        headers=message.headers | (headers or {}),
        retries=retries,
        delivery_info={"routing_key": uno.topology.queue(queue or job.queue), "redelivered": redelivered},
    )
    try:
        task(*arguments)
    finally:
        task.pop_request()
