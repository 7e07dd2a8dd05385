"""What Sentry gets: every error, once, by its kind, with ids and without secrets; and nothing while all is well."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import sentry_sdk
import structlog

from tests.support.fake_sentry import Ingest
from tests.support.fakes import SECRET
from tests.support.stack import ROOT
from unoapi import __version__
from unoapi.errors import DeliveryFailed, UnoError
from unoapi.models.attempts import Attempt
from unoapi.telemetry import sentry
from unoapi.telemetry.logging import bound, configure_logging, get_logger
from unoapi.telemetry.sentry import MOST_PER_MINUTE, flush, only_harmless, start_sentry

if TYPE_CHECKING:
    from collections.abc import Iterator

BODY = "b0dy-of-the-message"
URL = f"https://user:{SECRET}@crm.test/hook?key={SECRET}"


@pytest.fixture(autouse=True)
def _a_process_of_its_own() -> Iterator[None]:
    """What a process sets once is as before afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    hooks = sys.excepthook, threading.excepthook
    yield
    sys.excepthook, threading.excepthook = hooks
    sentry_sdk.init(dsn=None, default_integrations=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("celery.app.trace", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    structlog.reset_defaults()


@pytest.fixture
def ingest() -> Iterator[Ingest]:
    with Ingest() as running:
        yield running


def reporting(ingest: Ingest, *, level: str = "info") -> Any:
    """A logger of a process that has this Sentry."""
    configure_logging(level, "json", start_sentry(ingest.dsn, environment="tests"))
    return get_logger("unoapi.test")


def events(ingest: Ingest) -> list[dict[str, Any]]:
    flush()
    return ingest.events


def stumble(secret: str) -> None:
    credentials = {"token": secret}
    raise ValueError(f"cannot read {credentials}")


def refuse() -> None:
    raise DeliveryFailed("HTTP 500", attempt=Attempt(status=500))


def give_up(log: Any, number: int, *, reason: str = "refused", task: str = "outgoing.deliver") -> None:
    with bound(message_id=f"wamid.{number}", phone="5511999990000", task_id=f"id-{number}"):
        log.error(
            "given_up", task=task, queue="unoapi.outgoing", reason=reason, error="HTTP 500", attempts=6,
            webhook_id="crm", hint=f"unoapi dead show id-{number}",
        )  # fmt: skip


def test_a_line_that_is_an_error_is_an_event_with_its_ids_as_tags(ingest: Ingest) -> None:
    give_up(reporting(ingest), 1)

    (event,) = events(ingest)
    assert event["tags"] == {
        "message_id": "wamid.1", "phone": "5511999990000", "queue": "unoapi.outgoing", "webhook_id": "crm",
        "task": "outgoing.deliver", "task_id": "id-1", "reason": "refused", "module": "unoapi.test",
    }  # fmt: skip
    assert event["logentry"]["message"] == "given_up: outgoing.deliver, refused"
    assert event["extra"] == {"error": "HTTP 500", "attempts": 6, "hint": "unoapi dead show id-1"}
    assert (event["release"], event["environment"], event["level"]) == (f"unoapi@{__version__}", "tests", "error")


def test_there_is_one_issue_for_a_kind_of_failure_not_for_a_message(ingest: Ingest) -> None:
    log = reporting(ingest)

    for number in range(5):
        give_up(log, number)
    give_up(log, 5, reason="unreachable")
    give_up(log, 6, task="failures.report")

    flush()
    assert sorted(ingest.issues().values()) == [1, 1, 5]


def test_nothing_but_errors_is_reported(ingest: Ingest) -> None:
    log = reporting(ingest, level="debug")

    log.info("webhook_delivered", message_id="wamid.1")
    log.warning("will_retry", message_id="wamid.1")
    logging.getLogger("kombu").warning("connection lost")

    assert events(ingest) == []
    assert ingest.requests == []


@pytest.mark.parametrize("level", ["fatal", "error", "trace"])
def test_errors_are_reported_whatever_the_level_of_the_log_is(
    ingest: Ingest, level: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log = reporting(ingest, level=level)

    log.error("outbox_not_written")
    logging.getLogger("gunicorn.error").error("Worker (pid:%s) was sent SIGKILL!", 5)

    assert [event["logentry"]["message"] for event in events(ingest)] == [
        "outbox_not_written", "library_error: gunicorn.error, Worker (pid:%s) was sent SIGKILL!",
    ]  # fmt: skip
    assert ("outbox_not_written" in capsys.readouterr().out) == (level != "fatal")


def test_a_bug_is_reported_with_the_way_to_it_and_without_values(ingest: Ingest) -> None:
    log = reporting(ingest)
    try:
        stumble(SECRET)
    except ValueError:
        log.error("unhandled_error", traceback=SECRET)

    (event,) = events(ingest)
    (exception,) = event["exception"]["values"]
    assert exception["type"] == "ValueError"
    assert exception["value"].startswith("ValueError in stumble (test_sentry.py:")
    assert exception["stacktrace"]["frames"][-1]["function"] == "stumble"
    assert "vars" not in exception["stacktrace"]["frames"][-1]
    assert event["fingerprint"] == ["unhandled_error", "ValueError", "tests.unit.test_sentry.stumble"]
    assert SECRET not in ingest.text


def test_of_a_chain_of_errors_only_our_own_words_are_reported(ingest: Ingest) -> None:
    log = reporting(ingest)
    try:
        try:
            try:
                stumble(SECRET)
            except ValueError as error:
                raise UnoError("ours may be read") from error
        except UnoError as error:
            raise RuntimeError(f"{SECRET} again") from error
    except RuntimeError:
        log.exception("unhandled_error")

    (event,) = events(ingest)
    values = [(error["type"], error["value"]) for error in event["exception"]["values"]]
    assert values[:2] == [("ValueError", ""), ("UnoError", "ours may be read")]
    assert values[2][1].startswith("RuntimeError in ")
    assert SECRET not in ingest.text


def test_a_failure_that_is_no_bug_has_no_stack(ingest: Ingest) -> None:
    log = reporting(ingest)
    try:
        refuse()
    except DeliveryFailed:
        give_up(log, 1)

    (event,) = events(ingest)
    assert "exception" not in event


def test_texts_of_libraries_are_reported_without_what_is_put_into_them(ingest: Ingest) -> None:
    reporting(ingest)
    logging.getLogger("celery.worker").error("Cannot connect to %s", URL)
    logging.getLogger("other").error(f"made of {BODY}")  # noqa: G004 (that is the case)
    try:
        stumble(SECRET)
    except ValueError:
        logging.getLogger("gunicorn.error").exception("Error handling request %s", BODY)

    assert len(events(ingest)) == 3
    assert SECRET not in ingest.text
    assert BODY not in ingest.text


def test_what_nobody_caught_is_reported(ingest: Ingest) -> None:
    program = (
        "import sys, threading\n"
        "from unoapi.telemetry.sentry import start_sentry\n"
        "start_sentry(sys.argv[1], environment='tests')\n"
        "def fail(): raise KeyError('in a thread')\n"
        "thread = threading.Thread(target=fail); thread.start(); thread.join()\n"
        "raise ValueError('at the end')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, ingest.dsn], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )

    assert done.returncode == 1
    assert "ValueError: at the end" in done.stderr
    assert "Sentry" not in done.stderr
    assert [(event["logentry"]["message"], event["level"]) for event in ingest.events] == [
        ("uncaught_error_in_thread", "error"), ("uncaught_error", "fatal"),
    ]  # fmt: skip


def test_a_flood_of_one_kind_is_bounded_and_leaves_room_for_the_others(ingest: Ingest) -> None:
    log = reporting(ingest)

    for number in range(MOST_PER_MINUTE + 30):
        give_up(log, number)
        if number % 20 == 0:
            flush()
    log.error("outbox_not_written")

    flush()
    assert sorted(ingest.issues().values()) == [1, MOST_PER_MINUTE]


def test_the_minute_passes(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentry, "MOST_PER_MINUTE", 1)
    log = reporting(ingest)
    now = time.monotonic()

    give_up(log, 1)
    give_up(log, 2)
    with monkeypatch.context() as later:
        later.setattr(sentry.time, "monotonic", lambda: now + 61)  # type: ignore[attr-defined]
        give_up(log, 3)

    assert [event["tags"]["message_id"] for event in events(ingest)] == ["wamid.1", "wamid.3"]


@pytest.mark.parametrize("away", ["refuses", "hangs"])
def test_a_sentry_that_is_away_holds_up_nobody(ingest: Ingest, away: str, capsys: pytest.CaptureFixture[str]) -> None:
    ingest.answer_after_s = 5.0
    log = reporting(ingest)
    if away == "refuses":
        ingest.__exit__()
    started = time.monotonic()

    for number in range(300):
        give_up(log, number, reason=f"kind{number}")
    took_s = time.monotonic() - started
    flush()

    assert took_s < 2
    assert time.monotonic() - started < 5
    # Threads that earlier tests of this process left behind may write lines of their own parts of the program.
    other_part = re.compile(r'"module": "unoapi\.(?!test"|telemetry)')
    lines = [line for line in capsys.readouterr().out.splitlines() if not other_part.search(line)]
    assert len(lines) == 300, f"and the log says nothing of it, but {lines[-1]}"


def test_only_harmless_fields_of_an_event_leave() -> None:
    frame = {"function": "f", "lineno": 1, "vars": {"token": SECRET}}
    event = {
        "event_id": "1", "level": "error", "user": {"ip": SECRET}, "request": {"data": BODY, "url": URL},
        "breadcrumbs": {"values": [{"message": SECRET}]}, "contexts": {"x": SECRET}, "modules": {}, "threads": SECRET,
        "extra": {"error": f"no answer from {URL}", "deep": [{"url": URL}]}, "tags": {"webhook_id": URL},
        "exception": {"values": [{"type": "KeyError", "value": SECRET, "stacktrace": {"frames": [frame]}}]},
    }  # fmt: skip

    sent = only_harmless(event, {})

    assert set(sent) == {"event_id", "level", "extra", "tags", "exception"}
    assert sent["extra"] == {
        "error": "no answer from https://crm.test/hook",
        "deep": [{"url": "https://crm.test/hook"}],
    }
    assert sent["exception"]["values"][0]["stacktrace"]["frames"] == [{"function": "f", "lineno": 1}]
    assert SECRET not in str(sent)
    assert BODY not in str(sent)
