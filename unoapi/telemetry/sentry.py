"""Reports to Sentry every line of the log that is an error, and errors that were not caught.

An event holds ids, names, and places in the code: no values of variables, no bodies, no tokens, no texts of foreign
exceptions. Nothing is recorded, patched or traced while nothing fails.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.integrations.atexit import AtexitIntegration
from sentry_sdk.utils import event_from_exception

from unoapi import __version__
from unoapi.errors import UnoError, describe

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from unoapi.telemetry.logging import Report

SHUTDOWN_S = 2.0
QUEUE_SIZE = 100
"""Events that wait to be sent; more are dropped, so that a slow or absent Sentry never delays the work."""
MOST_PER_MINUTE = 60
"""Events of one kind from one process: a flood of dead letters must not eat up the quota."""
MOST_KINDS = 1000
MOST_CHARS = 1000
TAGS = ("message_id", "phone", "queue", "webhook_id", "task", "task_id", "reason", "module", "logger")
TAG_CHARS = 200  # Sentry drops longer ones
KIND = ("logger", "text", "task", "reason")
EVENT_FIELDS = frozenset({
    "event_id", "timestamp", "platform", "level", "release", "environment", "server_name", "sdk", "fingerprint",
    "transaction", "logentry", "tags", "extra", "exception",
})  # fmt: skip
FRAME_FIELDS = frozenset({
    "filename", "abs_path", "function", "module", "lineno", "pre_context", "context_line", "post_context", "in_app",
})  # fmt: skip
_WORD = re.compile(r"\S+")
_QUERY = re.compile(r"[?#]")


def start_sentry(dsn: str, *, environment: str) -> Report:
    """Connect this process to Sentry. The returned function reports one line and its error; it never raises or waits.

    Called before forks: each child sends for itself.
    """
    sentry_sdk.init(
        dsn=dsn,
        release=f"unoapi@{__version__}",
        environment=environment,
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[AtexitIntegration(callback=lambda _pending, _timeout: None)],
        auto_session_tracking=False,
        enable_backpressure_handling=False,
        send_client_reports=False,
        include_local_variables=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        spotlight=False,
        debug=False,
        in_app_include=["unoapi", "tasks"],
        transport_queue_size=QUEUE_SIZE,
        shutdown_timeout=SHUTDOWN_S,
        before_send=only_harmless,
    )
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it logs each try while Sentry is away
    report = _Reporter().report
    _report_uncaught(report)
    return report


def flush() -> None:
    """Send what waits, for at most two seconds: before an end that skips the interpreter's own."""
    sentry_sdk.flush(timeout=SHUTDOWN_S)


class _Reporter:
    """Makes events of lines, at most `MOST_PER_MINUTE` of each kind."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, ...], int] = {}
        self._since = time.monotonic()

    def report(self, line: Mapping[str, Any], error: BaseException | None) -> None:
        with contextlib.suppress(Exception):  # the line itself is in the log; a report must not break the work
            self._report(line, error)

    def _report(self, line: Mapping[str, Any], error: BaseException | None) -> None:
        bug = error if error is not None and not isinstance(error, UnoError) else None
        kind = (str(line["event"]), *(str(line[key]) for key in KIND if line.get(key)))
        fingerprint = kind if bug is None else (*kind, type(bug).__name__, _raised_in(bug))
        if not self._allowed(fingerprint):
            return
        event: dict[str, Any] = {}
        hint: dict[str, Any] = {}
        if bug is not None:
            from_error, hint = event_from_exception(
                bug, client_options=sentry_sdk.get_client().options, mechanism={"type": "unoapi", "handled": True}
            )
            event |= from_error
        event |= {
            "level": "fatal" if line.get("level") == "critical" else "error",
            "fingerprint": list(fingerprint),
            "logentry": {"message": ": ".join(filter(None, (kind[0], ", ".join(kind[1:]))))},
            "tags": {key: str(line[key])[:TAG_CHARS] for key in TAGS if line.get(key)},
            "extra": {key: value for key, value in line.items() if _is_extra(key, value)},
        }
        if line.get("task"):
            event["transaction"] = str(line["task"])
        sentry_sdk.capture_event(event, hint=hint)  # type: ignore[arg-type]

    def _allowed(self, kind: tuple[str, ...]) -> bool:
        with self._lock:
            now = time.monotonic()
            if now - self._since >= 60 or len(self._counts) >= MOST_KINDS:  # noqa: PLR2004 (a minute)
                self._counts.clear()
                self._since = now
            self._counts[kind] = self._counts.get(kind, 0) + 1
            return self._counts[kind] <= MOST_PER_MINUTE


def _is_extra(key: str, value: object) -> bool:
    elsewhere = {"event", "level", "timestamp", "traceback", "exc_info", *TAGS}
    return key not in elsewhere and not key.startswith("_") and isinstance(value, (str, int, float))


def _raised_in(error: BaseException) -> str:
    """The module and function that raised the error; not the line's number, which changes with each release."""
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    return "" if step is None else f"{step.tb_frame.f_globals.get('__name__', '')}.{step.tb_frame.f_code.co_name}"


def only_harmless(event: Any, hint: Mapping[str, Any]) -> Any:
    """Leave only fields that are known to be harmless, and only texts of our own exceptions."""
    error = (hint.get("exc_info") or (None, None, None))[1]
    event = {key: value for key, value in event.items() if key in EVENT_FIELDS}
    exceptions = (event.get("exception") or {}).get("values") or []
    for position, exception in enumerate(exceptions, start=1):
        ours = exception.get("module") == UnoError.__module__
        value = exception.get("value") if ours else ""
        exception["value"] = describe(error) if error is not None and position == len(exceptions) else value
        exception.pop("mechanism", None)
        frames = (exception.get("stacktrace") or {}).get("frames") or []
        exception["stacktrace"] = {
            "frames": [{key: value for key, value in frame.items() if key in FRAME_FIELDS} for frame in frames]
        }
    return {key: value if key == "sdk" else _clean(value) for key, value in event.items()}


def _clean(value: Any) -> Any:
    """The same without credentials and queries in addresses, and with bounded texts."""
    if isinstance(value, str):
        return _WORD.sub(lambda word: _plain_address(word[0]), value)[:MOST_CHARS]
    if isinstance(value, dict):
        return {key: _clean(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return value


def _plain_address(word: str) -> str:
    """A word; an address without login, query and fragment. In linear time, whatever it holds."""
    scheme, *addresses = word.split("://")
    if not addresses:
        return word
    plain = []
    for address in addresses:
        host, slash, path = address.partition("/")
        plain.append(f"{host.rpartition('@')[2]}{slash}{path}")
    return f"{scheme}://{_QUERY.split('://'.join(plain), maxsplit=1)[0]}"


def _report_uncaught(report: Report) -> None:
    before, before_in_threads = sys.excepthook, threading.excepthook

    def uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if not isinstance(error, KeyboardInterrupt):
            report({"event": "uncaught_error", "level": "critical"}, error)
        before(kind, error, traceback)

    def uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is not None and not isinstance(arguments.exc_value, SystemExit):
            report({"event": "uncaught_error_in_thread", "level": "error"}, arguments.exc_value)
        before_in_threads(arguments)

    sys.excepthook, threading.excepthook = uncaught, uncaught_in_thread
