"""A line is a constant event with fields; an exception in it is described without foreign text."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from tests.support.fakes import SECRET
from unoapi.settings import Settings
from unoapi.telemetry.logging import LEVELS, bound, configure_logging, get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _logging_of_its_own() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("celery.app.trace").setLevel(logging.NOTSET)
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def fail() -> None:
    raise ValueError(SECRET)


def test_a_line_has_its_event_its_fields_its_level_and_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")

    get_logger("unoapi.test").info("webhook_delivered", status=200)

    (line,) = lines(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "webhook_delivered", "level": "info", "module": "unoapi.test", "status": 200}


def test_bound_ids_are_in_every_line_and_gone_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")

    with bound(message_id="wamid.1"):
        get_logger("a").info("inside")
    get_logger("a").info("outside")

    inside, outside = lines(capsys)
    assert inside["message_id"] == "wamid.1"
    assert "message_id" not in outside


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_exception_is_logged_without_its_text(capsys: pytest.CaptureFixture[str], form: str) -> None:
    configure_logging("info", form)

    try:
        fail()
    except ValueError as error:
        get_logger("a").exception("unhandled_error")
        get_logger("a").error("unhandled_error", exc_info=error)
        logging.getLogger("foreign").exception("trouble")
        logging.getLogger("foreign").error("trouble", exc_info=error)

    text = capsys.readouterr().out
    assert text.count("ValueError in fail (test_logs.py:") == 4
    assert SECRET not in text


def test_warnings_of_libraries_have_our_form_and_their_chatter_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("debug", "json")

    logging.getLogger("kombu").info("received %s", SECRET)
    logging.getLogger("kombu").warning("lost %s", "connection")

    (line,) = lines(capsys)
    assert (line["event"], line["logger"], line["level"]) == ("lost connection", "kombu", "warning")


def test_celerys_own_lines_about_tasks_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("debug", "json")

    logging.getLogger("celery.app.trace").error("Task failed: %s", SECRET)

    assert lines(capsys) == []


def test_lines_below_the_level_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warn", "json")

    get_logger("a").info("less")
    get_logger("a").warning("more")

    assert [line["event"] for line in lines(capsys)] == ["more"]


def test_auto_is_json_where_no_terminal_is(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "auto")

    get_logger("a").info("event")

    assert lines(capsys)[0]["event"] == "event"


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_of_the_settings_is_known(level: str) -> None:
    assert Settings.model_validate({"log_level": level}).log_level == level
    configure_logging(level, "json")
