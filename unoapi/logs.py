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
    from collections.abc import MutableMapping

LEVELS = {"trace": 10, "debug": 10, "info": 20, "warn": 30, "warning": 30, "error": 40, "fatal": 50}

bound = bound_contextvars


def configure_logging(level: str, form: str) -> None:
    """Set up structlog and the standard library's logging. `form` is auto, json or console."""
    console = form == "console" or (form == "auto" and sys.stdout.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _tell_error_safely,
    ]
    number = LEVELS[level]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries log request lines and task arguments at info: only their warnings are ours to show.
    root.setLevel(max(number, logging.WARNING))
    # What Celery says here of a task's end, the task says itself, with its ids.
    logging.getLogger("celery.app.trace").setLevel(logging.CRITICAL)


def get_logger(name: str) -> Any:
    """A logger whose lines name the `module`."""
    return structlog.get_logger(module=name)


def _tell_error_safely(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace an exception by its safe description: the text of a foreign exception may quote a message body."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event["error"] = describe(error)
    return event
