"""The Celery application of the workers. Its only way to publish is ours: confirmed, to the right queue or bucket."""

from __future__ import annotations

import time
from collections import deque
from contextlib import nullcontext, suppress
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol, cast

from billiard.exceptions import WorkerLostError
from celery import Celery, concurrency
from celery.app.amqp import AMQP
from celery.app.events import Events
from celery.concurrency.thread import TaskPool
from celery.events.dispatcher import EventDispatcher
from celery.utils.time import utcoffset
from celery.worker.consumer import Consumer
from celery.worker.control import Panel
from celery.worker.request import Request
from kombu import Exchange, Queue
from kombu.asynchronous import get_event_loop
from pydantic_core import to_json
from vine import promise

from unoapi.broker.connection import Connection
from unoapi.broker.messages import from_body, history_of, to_message, to_quarantine
from unoapi.broker.topology import WORK_QUEUES, Topology
from unoapi.errors import BrokerUnavailable
from unoapi.models.connector.events import ConnectorEvent
from unoapi.models.jobs import JOBS, Envelope, ReceiveEvent
from unoapi.models.strict_json import parsed_own
from unoapi.models.text import mended
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import ThreadPoolExecutor
    from threading import Thread

    from unoapi.broker.messages import Message
    from unoapi.broker.publisher import MessagePublisher

log = get_logger(__name__)
SWITCHED_OFF = (
    "revoke",
    "revoke_by_stamped_headers",
    "terminate",
    "shutdown",
    "rate_limit",
    "time_limit",
    "pool_grow",
    "pool_shrink",
    "pool_restart",
    "autoscale",
    "add_consumer",
    "cancel_consumer",
)
"""Remote control that would discard messages, or let them stand."""


def _refuse(_state: Any, **_: Any) -> dict[str, str]:
    log.warning("remote_control_refused", hint="workers are stopped and scaled where they run")
    return {"error": "switched off: it could lose messages"}


DRAIN_STEP_S = 0.05
EVENTS_TOGETHER, EVENTS_WITHIN_S = 200, 0.25
OFFSET_FOR_S = 1.0
"""So long the offset from UTC is taken for the same: to look it up takes as long as the rest of an event."""

for _command in SWITCHED_OFF:
    Panel.data[_command] = _refuse


class Beside(Protocol):
    """A thread beside those of the pool."""

    def stop(self) -> None:
        """Begin nothing more, and end when what has begun is done."""

    def is_alive(self) -> bool:
        """Whether it has not ended."""


class DrainingPool(TaskPool):
    """Celery's threads, with heartbeats and acknowledgements while the last tasks of a stopping worker end.

    Celery's own pool waits in the thread that sends them. RabbitMQ then takes the connection for lost, and gives
    another worker what this one is still posting, or has done and not acknowledged.
    """

    executor: ThreadPoolExecutor
    beside: Beside | None = None
    """A thread that works beside them, on messages of its own."""

    def on_stop(self) -> None:
        """End the threads when their tasks are done. What has not begun stays with RabbitMQ."""
        if self.beside is not None:
            self.beside.stop()
            _wait_for([self.beside])
        self.executor.shutdown(wait=False, cancel_futures=True)
        _wait_for(self.executor._threads)  # noqa: SLF001 (as Celery's own does)


def _wait_for(threads: Iterable[Beside | Thread]) -> None:
    """Wait until threads have ended, while heartbeats and acknowledgements go on."""
    hub = get_event_loop()
    while any(thread.is_alive() for thread in threads):
        if hub is not None:
            hub.fire_timers()
            _acknowledge(hub)
        time.sleep(DRAIN_STEP_S)
    if hub is not None:
        _acknowledge(hub)


def _acknowledge(hub: Any) -> None:
    """Send what tasks that ended left for the loop, which does not run any more: their acknowledgements."""
    for send in hub._pop_ready():  # noqa: SLF001 (Celery's prefork does the same)
        if send:
            send()


vars(concurrency)["ALIASES"]["threads"] = f"{__name__}:DrainingPool"


class SafeRequest(Request):
    """A task request that shows its summary, not its arguments, to remote control and so to Flower.

    It cannot be revoked: Celery would acknowledge it, and each later message with its id.
    """

    _process_ended = False

    def revoked(self) -> bool:
        """Whether somebody wants it discarded: a list of such ids may also come from another worker."""
        return False

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Let it go on."""

    def info(self, safe: bool = False) -> Any:  # noqa: ARG002 (Celery's signature)
        """What dashboards see."""
        return super().info(safe=True)

    def on_failure(self, exc_info: Any, *args: Any, **options: Any) -> Any:
        """Remember whether the process ended that had the task."""
        lost = getattr(exc_info.exception, "exc", exc_info.exception)
        self._process_ended = isinstance(lost, (WorkerLostError, SystemExit))
        return super().on_failure(exc_info, *args, **options)

    def reject(self, requeue: bool = False) -> None:
        """Give the message back. One that ended a process which had nothing else is counted on the way."""
        app = cast("UnoCelery", self.app)
        suspect = app.topology.queue("suspect")
        if requeue and self._process_ended and self.delivery_info.get("routing_key") == suspect:
            try:
                app.publisher.publish_messages([self._with_one_more_loss(app.topology)])
            except BrokerUnavailable as error:
                log.warning("worker_loss_not_counted", task_id=self.id, error=f"{error}", hint="check RabbitMQ")
            else:
                return self.acknowledge()
        return super().reject(requeue=requeue)

    def _with_one_more_loss(self, topology: Topology) -> Message:
        headers = self.message.headers
        history = history_of(headers)
        losses = history.worker_losses + 1
        log.error("process_ended_by_message", task=self.name, task_id=self.id, worker_losses=losses)
        return to_quarantine(
            Envelope(
                from_body(self.name, self.message.body),
                retries=int(headers.get("retries") or 0),
                history=history.model_copy(update={"worker_losses": losses, "redelivered": True}),
            ),
            topology,
        )


class TaskEvents(EventDispatcher):
    """Task events for Flower. While RabbitMQ has an alarm they are left out: to wait for its end would stop all."""

    connection: Any
    clock: Any
    groups: set[str]
    buffer_group: frozenset[str]
    buffer_limit: int
    hostname: str
    pid: int
    on_send_buffered: Callable[[], None] | None
    _group_buffer: dict[str, list[Any]]
    _offset: float = 0.0
    _offset_until: float = 0.0
    _blocked: object = None
    """The connection from which RabbitMQ takes nothing now."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **({"buffer_limit": EVENTS_TOGETHER} | options))

    def enable(self) -> None:
        """Begin to send."""
        super().enable()
        connection = self.connection.connection
        connection.on_blocked = lambda _: setattr(self, "_blocked", connection)
        connection.on_unblocked = lambda: setattr(self, "_blocked", None)

    def send(self, type: str, *args: Any, **fields: Any) -> Any:  # noqa: A002 (Celery's name)
        """Send an event; one of a task with those that follow it. As Celery does, in half of the time."""
        if not type.startswith("task-") or args or self.groups or "task" not in self.buffer_group:
            return super().send(type, *args, **fields)
        if self.enabled:
            if time.monotonic() >= self._offset_until:
                self._offset, self._offset_until = utcoffset(), time.monotonic() + OFFSET_FOR_S
            fields.setdefault("timestamp", time.time())
            fields["hostname"], fields["utcoffset"], fields["pid"] = self.hostname, self._offset, self.pid
            fields["clock"], fields["type"] = self.clock.forward(), type
            buffer = self._group_buffer["task"]
            buffer.append(fields)
            if len(buffer) >= self.buffer_limit:
                self.flush()
            elif self.on_send_buffered:
                self.on_send_buffered()
        return None

    def _publish(self, event: Any, producer: Any, routing_key: str, **options: Any) -> None:
        if self._blocked is not None and self._blocked is self.connection.connection:
            return
        if isinstance(event, list):  # of task events, which are many: kombu's encoder takes five times as long
            with suppress(ValueError):  # half a surrogate pair: that encoder takes it
                event = to_json(event)
        if isinstance(event, bytes) and producer is not None:
            encoded = partial(producer.publish, content_type="application/json", content_encoding="utf-8")
            producer = SimpleNamespace(publish=encoded)
        super()._publish(event, producer, routing_key, **options)  # type: ignore[misc] # Celery's


class WorkerEvents(Events):
    """Task events are ours."""

    dispatcher_cls = f"{__name__}:TaskEvents"


class SafeConsumer(Consumer):
    """Celery's consumer without native delayed delivery, whose lines about strange messages show no bodies.

    Declaring a quorum queue switches native delayed delivery on, and no setting turns it off; it would declare 28
    queues of its own, and the waiting is done by ours.
    """

    hub: Any
    connection: Any
    connection_errors: tuple[type[BaseException], ...]
    _flush_events: Callable[[], None]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if isinstance(self.pool, DrainingPool):  # one of processes does not know yet how many it has
            self.initial_prefetch_count = self.max_prefetch_count
        self._begin()

    def _begin(self) -> None:
        self._settled: deque[Callable[[], object]] = deque()
        self._settling = promise(self._settle)  # the loop holds it once at most
        self._events_due = 0.0

    @property
    def max_prefetch_count(self) -> int:
        """How many messages of a queue RabbitMQ sends ahead of their acknowledgements.

        With threads a quarter more than can be under way: one that ends is followed at once.
        """
        at_once = int(self.pool.num_processes)
        return at_once + at_once // 4 if isinstance(self.pool, DrainingPool) else at_once

    def call_soon_ack(self, p: Callable[..., object], *args: Any, **options: Any) -> Callable[[], object]:
        """Acknowledge or reject a message in the thread of the connection, together with others. From any thread.

        Each asks for that: an error of the loop, as the end of the connection, loses what it had to call.
        """
        settle = partial(p, *args, **options)
        self._settled.append(settle)
        self.hub.call_soon(self._settling)
        return settle

    def _settle(self) -> None:
        connection = self.connection
        try:
            with connection.connection.transport.one_write() if connection.connected else nullcontext():
                while self._settled:
                    self._settled.popleft()()
        except self.connection_errors as error:
            log.warning("not_acknowledged", error=f"{error}", hint="RabbitMQ sends these messages again")

    def on_send_event_buffered(self) -> None:  # type: ignore[override] # Celery's has no return
        """Send task events a few times a second, not one by one."""
        now = time.monotonic()
        if now >= self._events_due:
            self._events_due = now + EVENTS_WITHIN_S
            self.hub.call_soon(self.hub.call_later, EVENTS_WITHIN_S, self._flush_events)

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc,valid-type]
        """The steps, without the one."""

        default_steps = tuple(step for step in Consumer.Blueprint.default_steps if "DelayedDelivery" not in str(step))

    def on_unknown_message(self, body: Any, message: Any) -> None:  # noqa: ARG002 (Celery's signature)
        """Take a connector's event in plain JSON as its job; send what is no task message to the dead queue."""
        if self._has_event(message):
            self.task_consumer.on_message(message)  # type: ignore[attr-defined]
        else:
            self._to_dead("unknown_message", message)

    def _has_event(self, message: Any) -> bool:
        """Whether a message on the connector's queue is an event; it then has the form of its job."""
        topology = cast("UnoCelery", self.app).topology
        if message.delivery_info.get("routing_key") != topology.queue(ReceiveEvent.queue):
            return False
        try:
            event = ConnectorEvent.model_validate(mended(parsed_own(message.body)))
            about = str(event.data.get("command_id") or event.data.get("id") or "")
            job = ReceiveEvent(id=event.event_id, phone=event.session, message_id=about, event=event.model_dump())
        except (ValueError, TypeError, RecursionError):
            return False
        dressed = to_message(Envelope(job), topology)
        message.headers = {**(message.headers or {}), **dressed.headers}
        message.body, message._decoded_cache = dressed.body, None  # noqa: SLF001 (what was decoded is no task's)
        message.content_type, message.content_encoding = "application/json", "utf-8"
        return True

    def on_unknown_task(self, body: Any, message: Any, exc: Any) -> None:  # noqa: ARG002 (Celery's signature)
        """Send a task that this worker does not know to the dead queue."""
        self._to_dead("unknown_task", message)

    def on_invalid_task(self, body: Any, message: Any, exc: Any) -> None:  # noqa: ARG002 (Celery's signature)
        """Send a message that cannot be a task to the dead queue."""
        self._to_dead("invalid_task", message)

    def on_decode_error(self, message: Any, exc: Any) -> None:  # noqa: ARG002 (Celery's signature)
        """Send what cannot be decoded to the dead queue."""
        self._to_dead("undecodable_message", message)

    def _to_dead(self, event: str, message: Any) -> None:
        headers = message.headers or {}
        log.error(
            event,
            task=str(headers.get("task", ""))[:100],
            task_id=str(headers.get("id", ""))[:128],
            hint="see `unoapi dead list`",
        )
        message.reject_log_error(log, self.connection_errors)


class EagerConnection(Connection):
    """A connection that is back within seconds after an outage; kombu's own pauses grow to half a minute."""

    io_timeout_s = None  # Celery's loop has heartbeats, and waits by its own rules

    def ensure_connection(self, *args: Any, **options: Any) -> Any:
        """Connect, however long it takes."""
        pauses = {"interval_start": 0.5, "interval_step": 0.5, "interval_max": 3.0}
        return super().ensure_connection(*args, **(pauses | options))


class UnoAMQP(AMQP):
    """Celery's connections are eager."""

    Connection = EagerConnection


class UnoCelery(Celery):
    """Celery with one choke point for publishing."""

    amqp_cls = f"{__name__}:UnoAMQP"
    events_cls = f"{__name__}:WorkerEvents"

    def __init__(self, amqp_url: str, topology: Topology, publisher: MessagePublisher, *, threads: int) -> None:
        super().__init__("unoapi", broker=amqp_url, set_as_current=False)
        self.topology = topology
        self.publisher = publisher
        self.conf.update(_configuration(topology, threads=threads))

    def send_task(  # type: ignore[override]
        self,
        name: str,
        args: Any = None,
        kwargs: Any = None,  # noqa: ARG002 (Celery's)
        **options: Any,
    ) -> Any:
        """Publish a job by its task's name, with a confirm. `countdown` is in seconds; an ETA is not taken."""
        if options.get("eta") is not None:
            raise NotImplementedError("a job is published with a countdown at most")
        job = JOBS[name].model_validate(args[0])
        delay_ms = int((options.get("countdown") or 0) * 1000)
        self.publisher.publish([Envelope(job, delay_ms=delay_ms)])
        return self.AsyncResult(job.id)


def _configuration(topology: Topology, *, threads: int) -> dict[str, Any]:
    exchange = Exchange(topology.broker, type="topic", durable=True, no_declare=True)
    arguments = {queue.name: queue.arguments for queue in topology.queues}
    names = [topology.queue(name) for name in WORK_QUEUES]
    return {
        # Declared by us, with all exchanges and bindings; Celery only consumes.
        "task_queues": [
            Queue(name, exchange, routing_key=name, durable=True, queue_arguments=arguments[name], no_declare=True)
            for name in names
        ],
        "task_default_queue": topology.queue("incoming"),
        "task_default_exchange": topology.broker,
        "task_default_exchange_type": "topic",
        "task_default_routing_key": topology.queue("incoming"),
        "task_create_missing_queues": False,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_acks_on_failure": True,  # the dead letter is confirmed by then
        "task_acks_on_timeout": False,
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "result_backend": None,
        "worker_prefetch_multiplier": 1,  # fewer copies after a broker restart
        "worker_concurrency": threads,
        "worker_consumer": "unoapi.broker.celery:SafeConsumer",
        "worker_enable_remote_control": True,
        "worker_hijack_root_logger": False,
        "worker_log_color": False,
        "worker_redirect_stdouts": False,
        "worker_soft_shutdown_timeout": 0.0,
        "worker_cancel_long_running_tasks_on_connection_loss": False,  # a cancelled POST is a certain copy
        "broker_heartbeat": 10,
        "broker_connection_timeout": 3,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {"client_properties": {"connection_name": "unoapi worker"}},
    }
