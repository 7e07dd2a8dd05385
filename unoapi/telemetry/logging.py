"""One form for all lines: ours, Flask's, gunicorn's and Celery's.

A line is a constant event with fields. Ids, never tokens, never message bodies.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import structlog
from structlog.contextvars import bound_contextvars

from unoapi.errors import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping

    Report = Callable[[Mapping[str, Any], BaseException | None], None]

LEVELS = {"trace": 10, "debug": 10, "info": 20, "warn": 30, "warning": 30, "error": 40, "fatal": 50}

# The checkpoints of a received message, in the words of the Node version, because guides use them.
UPSERT = "messages.upsert"  # it came from WhatsApp
LISTENER = "Listener receive message"  # it is being made an event
PUBLISHED = "Publishing at exchange"  # RabbitMQ has confirmed it

bound = bound_contextvars

if not structlog.is_configured():  # for programs that use the library and set up no logging: no debug lines
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))


def configure_logging(level: str, form: str, report: Report | None = None) -> None:
    """Set up structlog and the standard library's logging. `form` is auto, json or console.

    `report` is called for every error, whatever the level: with the line's fields and the exception, if there is one.
    """
    console = form == "console" or (form == "auto" and sys.stdout.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    number = LEVELS[level]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _describe_error,
    ]
    reporting = [] if report is None else [_reporting(report, number)]
    structlog.configure(
        processors=[*shared[:2], *reporting, *shared[2:], renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number if report is None else min(number, logging.ERROR)),
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setLevel(number)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler] if report is None else [handler, _ReportingHandler(report)]
    # Libraries log request lines and task arguments at info: only their warnings are ours to show.
    root.setLevel(max(number if report is None else min(number, logging.ERROR), logging.WARNING))
    # Celery logs a task's end here; the task logs it itself, with its ids.
    logging.getLogger("celery.app.trace").setLevel(logging.CRITICAL)


def get_logger(name: str) -> Any:
    """A logger whose lines name the `module`."""
    return structlog.get_logger(module=name)


def _reporting(report: Report, level: int) -> Any:
    """The step that reports our own errors, then drops them when they are below the log's level."""

    def report_and_pass(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if event["level"] in ("error", "critical"):
            report(event, _error_of(event.get("exc_info")) or sys.exc_info()[1])
            if level > logging.ERROR and event["level"] == "error":
                raise structlog.DropEvent
        return event

    return report_and_pass


class _ReportingHandler(logging.Handler):
    """Reports the errors of libraries, by the constant part of their texts: the rest may quote anything."""

    def __init__(self, report: Report) -> None:
        super().__init__(logging.ERROR)
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        text = str(record.msg)[:200] if record.args else ""
        line = {"event": "library_error", "level": record.levelname.lower(), "logger": record.name, "text": text}
        if not record.name.startswith("sentry_sdk"):
            self._report(line, _error_of(record.exc_info))


def _error_of(info: Any) -> BaseException | None:
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    return error if isinstance(error, BaseException) else None


def _describe_error(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace an exception by its safe description: the text of a foreign exception may quote a message body."""
    error = _error_of(event.pop("exc_info", None))
    if error is not None:
        event["error"] = describe(error)
    return event
