"""OpenTelemetry: one trace from the API's request through the queues to the webhook.

Without `start_tracing` nothing of its packages is loaded, and each step costs one look at a variable. A message carries
`traceparent` (https://www.w3.org/TR/trace-context/) in its headers, and so does a request to a webhook. Spans hold ids
and outcomes: never a token, an address's path or a body.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from unoapi import __version__
from unoapi.errors import ConfigurationError
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

log = get_logger(__name__)

Kind = Literal["server", "consumer", "client"]
HEADER = "traceparent"
EXPORT_TIMEOUT_S = 5
PAUSE_MS = 2000
"""Between two exports; what is finished meanwhile waits in memory."""
MOST_WAITING, MOST_AT_ONCE = 4096, 512
"""Spans that wait for a collector. While it is away, or too slow, further ones are dropped."""
COMPLAIN_EVERY_S = 60.0
STOP_S = 3.0
_OFF: AbstractContextManager[None] = nullcontext()


@dataclass(frozen=True)
class _Api:
    """What of the packages each step needs."""

    current: Callable[[], Any]
    extract: Callable[[Mapping[str, str]], Any]
    kinds: Mapping[str, Any]
    failed: Any


_api: Any = None
_tracer: Any = None
_provider: Any = None


def start_tracing(endpoint: str, *, headers: Mapping[str, str], share: float) -> None:
    """Export spans from now on. `share` of all traces, from 0 to 1, chosen by their ids alone: all hops agree.

    Raises ConfigurationError without the packages of the extra `otel`.
    """
    global _tracer, _provider, _api  # noqa: PLW0603 (one for each process, as the packages have it)
    try:
        from opentelemetry import trace  # noqa: PLC0415 (see above)
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 (see above)
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import TraceIdRatioBased  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError(
            "UNOAPI_OTLP_ENDPOINT needs packages that are not installed: make otel, or "
            "pip install -r requirements-otel.txt"
        ) from None
    _hear_complaints()
    _api = _Api(
        current=trace.get_current_span,
        extract=TraceContextTextMapPropagator().extract,
        kinds={"server": trace.SpanKind.SERVER, "consumer": trace.SpanKind.CONSUMER, "client": trace.SpanKind.CLIENT},
        failed=trace.Status(trace.StatusCode.ERROR),
    )
    resource = Resource.create({"service.name": "unoapi", "service.version": __version__, "process.pid": os.getpid()})
    exporter = OTLPSpanExporter(endpoint=endpoint, headers=dict(headers), timeout=EXPORT_TIMEOUT_S)
    _provider = TracerProvider(sampler=TraceIdRatioBased(share), resource=resource, shutdown_on_exit=False)
    _provider.add_span_processor(
        BatchSpanProcessor(
            exporter,
            max_queue_size=MOST_WAITING,
            max_export_batch_size=MOST_AT_ONCE,
            schedule_delay_millis=PAUSE_MS,
        )
    )
    _tracer = _provider.get_tracer("unoapi", __version__)


def stop_tracing() -> None:
    """Export what waits, within seconds, and stop."""
    global _tracer, _provider
    provider, _tracer, _provider = _provider, None, None
    if provider is not None:  # it waits for half a minute for a collector that is away: longer than a process may
        stopping = threading.Thread(target=provider.shutdown, name="tracing", daemon=True)
        stopping.start()
        stopping.join(STOP_S)


def is_tracing() -> bool:
    """Whether spans are exported."""
    return _tracer is not None


def span(
    name: str, kind: Kind, *, parent: object = None, **attributes: str | float | bool
) -> AbstractContextManager[Any]:
    """One step of a trace, the current one of this thread until it ends.

    `parent` is the `traceparent` of the step before, if another process made it; what is none begins a trace of its
    own. It gives an object with `set_attribute` and `update_name`; none while nothing is traced.
    """
    return _OFF if _tracer is None else _span(name, kind, parent, attributes)


def traceparent() -> str:
    """The header that lets the next step belong to the current one; empty when there is none."""
    if _tracer is None:
        return ""
    context = _api.current().get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


@contextmanager
def _span(name: str, kind: Kind, parent: object, attributes: Mapping[str, str | float | bool]) -> Iterator[Any]:
    context = _api.extract({HEADER: parent}) if isinstance(parent, str) else None
    with _tracer.start_as_current_span(
        name,
        context=context,
        kind=_api.kinds[kind],
        attributes={key: value for key, value in attributes.items() if value != ""},
        record_exception=False,  # its text may quote anything
        set_status_on_exception=False,
    ) as step:
        try:
            yield step
        except BaseException as error:
            outcome = getattr(error, "reason", None) or type(error).__name__
            step.set_attribute("unoapi.outcome", f"{outcome}"[:100])
            if isinstance(error, Exception) and type(error).__name__ not in CONTROL:
                step.set_status(_api.failed)
            raise


CONTROL = frozenset({"Ignore", "Retry"})
"""Celery's way to say what becomes of a job. A retry is told by the next step."""


class _Complaints(logging.Handler):
    """Says at most once a minute that spans do not reach the collector: its own text may quote anything."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said_at = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if now - self._said_at >= COMPLAIN_EVERY_S:
            self._said_at = now
            log.warning("traces_not_exported", text=str(record.msg)[:200], hint="check UNOAPI_OTLP_ENDPOINT")


def _hear_complaints() -> None:
    logger = logging.getLogger("opentelemetry")
    logger.propagate = False
    logger.handlers[:] = [_Complaints()]
