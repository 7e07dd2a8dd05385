"""`unoapi trace` without an id, `unoapi listen` and `unoapi endpoint test`, over parts in memory."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from tests.support.fakes import CONTACT, PHONE, WebhookRecorder, make_session, make_webhook
from tests.support.worker import make_uno
from unoapi.cli import listen
from unoapi.cli.main import cli
from unoapi.models.attempts import Answer
from unoapi.models.jobs import now_ms
from unoapi.models.message_log import LoggedMessage
from unoapi.models.request_bin import BIN_URL, BIN_WEBHOOK, BinnedRequest
from unoapi.models.trace import TraceEntry

if TYPE_CHECKING:
    from click.testing import Result

    from unoapi.bootstrap import Uno

OTHER = "5521977776666"


@pytest.fixture
def uno() -> Uno:
    uno = make_uno(make_session())
    for number in range(150):
        uno.message_log.add(LoggedMessage(now_ms(), PHONE, "sent", CONTACT, "text", f"wamid.{number}"))
    uno.message_log.add(LoggedMessage(now_ms() - 7_200_000, PHONE, "received", "5511988880000", "image", "wamid.old"))
    failed = TraceEntry(step="failed", phone=PHONE, message_id="wamid.7", detail="131026 not on WhatsApp")
    uno.traces.add(TraceEntry(step="accepted", phone=PHONE, message_id="wamid.7", kind="text"), failed)
    return uno


def call(uno: Uno, *words: str) -> Result:
    return CliRunner().invoke(cli, words, obj=uno, env={"COLUMNS": "200"})


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (["--state", "failed"], ["wamid.7"]),
        (["--to", "+55 49 98888-7777", "--since", "1h", "--limit", "2"], ["wamid.149", "wamid.148"]),
        (["--to", "8888-0000"], ["wamid.old"]),
        (["--phone", PHONE, "--limit", "120"], [f"wamid.{number}" for number in range(149, 30, -1)]),
    ],
    ids=str,
)
def test_messages_are_found_without_their_ids(uno: Uno, options: list[str], ids: list[str]) -> None:
    found = call(uno, "trace", *options, "--json")

    lines = [json.loads(line) for line in found.output.splitlines()]
    wanted = [line["id"] for line in lines if line["id"] in ids]
    assert wanted == ids
    assert len(lines) <= len(ids) + 1


def test_why_a_message_failed_stands_in_the_list(uno: Uno) -> None:
    shown = call(uno, "trace", "--state", "failed").output

    assert "131026 not on WhatsApp" in shown
    assert CONTACT in shown


@pytest.mark.parametrize("options", [[], ["--phone", PHONE]])
def test_a_message_is_followed_by_the_id_that_whatsapp_has_for_it(uno: Uno, options: list[str]) -> None:
    uno.message_ids.remember(PHONE, theirs="3EB0AA", ours="wamid.7")

    shown = call(uno, "trace", "3EB0AA", *options)

    assert shown.exit_code == 0, shown.output
    assert "3EB0AA = wamid.7" in shown.output
    assert "131026 not on WhatsApp" in shown.output


def test_a_message_of_another_number_is_not_followed(uno: Uno) -> None:
    assert call(uno, "trace", "wamid.7", "--phone", OTHER).exit_code == 1


@pytest.mark.parametrize(
    ("options", "code"),
    [(["--to", "8888-0000", "--since", "1h"], 1), ([], 2), (["--phone", "x"], 2), (["wamid.none"], 1)],
)
def test_what_is_not_there_or_not_asked_for_is_said(uno: Uno, options: list[str], code: int) -> None:
    said = call(uno, "trace", *options)

    assert said.exit_code == code
    assert said.output


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        (["--phone", OTHER, "--state", "failed"], "together)."),
        (["--to", "9999-9999"], "together): name the number by --phone."),
        (["--to", "9999-9999", "--since", "1h"], "together): name the number by --phone, or look further back."),
        (["--phone", OTHER, "--state", "failed", "--since", "1h"], "together): look further back."),
    ],
)
def test_where_nothing_is_found_only_what_was_not_done_is_advised(uno: Uno, options: list[str], advice: str) -> None:
    assert call(uno, "trace", *options).output.endswith(f"{advice}\n")


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer(error="name not found", failed_at="name"), "Failed: name not found"),
        (Answer(200, timings_ms={"connect": 0, "total": 3}), "Delivered: HTTP 200 (total 3 ms)"),
        (Answer(302, redirect="https://a.test/x"), "Failed: HTTP 302, a redirect to https://a.test/x"),
    ],
)
def test_a_test_event_says_what_came_of_it_and_what_took_time(answer: Answer, outcome: str) -> None:
    uno = replace(make_uno(make_session(make_webhook(id="crm"))), webhook_client=WebhookRecorder(answer))

    assert call(uno, "endpoint", "test", PHONE, "crm").output.splitlines()[0].startswith(outcome)


def test_a_list_of_webhooks_says_the_last_error_of_each() -> None:
    uno = make_uno(make_session(make_webhook(id="crm"), make_webhook(id="n8n")))
    at = datetime(2026, 1, 31, 9, 5, tzinfo=UTC)
    uno.traces.add(TraceEntry(at=at, step="attempt", phone=PHONE, message_id="w.1", webhook="crm", detail="HTTP 401"))

    _, crm, n8n = call(uno, "endpoint", "list", PHONE).output.splitlines()

    assert crm.split()[1:3] == ["crm", "open"]
    assert crm.rstrip().endswith("HTTP 401 (01-31 09:05)")
    assert n8n.split()[1:] == ["n8n", "open"]


def test_a_test_event_says_what_the_receiver_said() -> None:
    answer = Answer(404, beginning=b'{"message": "not registered"}')
    uno = replace(make_uno(make_session(make_webhook(id="crm"))), webhook_client=WebhookRecorder(answer))

    assert 'It says: {"message": "not registered"}' in call(uno, "endpoint", "test", PHONE, "crm").output


def binned(seq: int) -> BinnedRequest:
    return BinnedRequest(seq=seq, webhook="bin", headers={"webhook-attempt": "1"}, body='{"text": "ol\\u00e1"}')


def test_what_the_bin_has_is_printed_once(uno: Uno) -> None:
    uno.request_bin.add(PHONE, binned(1))

    shown, lines = call(uno, "listen", PHONE, "--once"), call(uno, "listen", PHONE, "--once", "--json")

    assert "olá" in shown.output
    assert json.loads(lines.output)["webhook"] == "bin"
    assert call(uno, "listen", OTHER, "--once").exit_code == 1


@pytest.mark.parametrize("own", [[], [{"id": "crm", "urlAbsolute": "http://receiver.test/hook"}]], ids=str)
def test_a_number_has_the_bin_for_as_long_as_somebody_listens(
    monkeypatch: pytest.MonkeyPatch, own: list[dict[str, Any]]
) -> None:
    """And the webhooks that it had before, and afterwards."""
    uno = make_uno(settings={"WEBHOOK_URL": "http://environment.test"})
    uno.sessions.save(PHONE, {"provider": "sandbox", "webhooks": own})
    before = [webhook.id for webhook in uno.sessions.find(PHONE).webhooks]
    seen: list[list[str]] = []

    def sleep(_: float) -> None:
        seen.append([webhook.id for webhook in uno.sessions.find(PHONE).webhooks])
        if len(seen) > 1:
            raise KeyboardInterrupt
        uno.request_bin.add(PHONE, binned(time.time_ns() // 1000))

    monkeypatch.setattr(listen.time, "sleep", sleep)  # type: ignore[attr-defined]

    heard = call(uno, "listen", PHONE)

    assert seen == [[*before, BIN_WEBHOOK]] * 2
    assert "olá" in heard.output
    assert [webhook.id for webhook in uno.sessions.find(PHONE).webhooks] == before
    assert BIN_URL not in f"{uno.sessions.config(PHONE)}"
