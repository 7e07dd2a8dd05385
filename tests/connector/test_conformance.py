"""The conformance kit passes with the simulated engine and with one in another language, and finds what is broken."""

from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.clients.environments import HERE, node_folder
from tests.connector.phones import NOBODY as NOWHERE
from tests.connector.phones import Phone
from tests.support.fakes import CONTACT, PHONE
from unoapi.broker.celery import SafeConsumer
from unoapi.broker.messages import from_body
from unoapi.broker.topology import Topology
from unoapi.connector.conformance import CHECKS, Bench, Seen, Target, envelopes, read_event, run
from unoapi.connector.engines.simulated import ECHO, NOT_ON_WHATSAPP
from unoapi.errors import ContractBroken
from unoapi.models.jobs import ReceiveEvent

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stack import Stack

WHOM: dict[str, Any] = {"session": PHONE, "contact": CONTACT, "nobody": NOT_ON_WHATSAPP, "echo": ECHO}
EVENT = {"version": 1, "type": "session", "event_id": "e1", "session": PHONE, "seq": 1, "data": {"state": "connected"}}


def told_by(bench: Bench, **options: Any) -> tuple[bool, list[str]]:
    lines: list[str] = []
    try:
        return run(bench, tell=lines.append, **options), lines
    finally:
        bench.close()


def test_the_simulated_engine_keeps_the_contract(uno: Stack) -> None:
    uno.web()
    phone = Phone(uno)
    phone.log_in()
    uno.register([{"id": "crm", "urlAbsolute": NOWHERE}], provider="whatsmeow", autoConnect=False)
    uno.connector(UNOAPI_CONNECTOR_SENDS_PER_SECOND="1000")

    well, lines = told_by(Bench(uno.environment["AMQP_URL"], Topology("unoapi"), Target(**WHOM)))

    assert well, "\n".join(lines)
    assert sum(line.startswith("PASS") for line in lines) == len(CHECKS) - 3, "all but a file and the ends"


@pytest.mark.skipif(shutil.which("npm") is None, reason="Node is not installed")
def test_an_engine_in_another_language_keeps_the_contract_through_a_sigkill(amqp_url: str, tmp_path: Path) -> None:
    folder = node_folder()
    shutil.copy(HERE / "programs" / "node_engine.mjs", folder)
    command = f"node {folder}/node_engine.mjs {amqp_url} unoapi {PHONE} {tmp_path}"

    well, lines = told_by(Bench(amqp_url, Topology("unoapi"), Target(**WHOM, run=command)))

    assert well, "\n".join(lines)
    assert sum(line.startswith("PASS") for line in lines) == len(CHECKS) - 1, "all but a file"


def test_an_engine_that_is_not_there_breaks_every_rule(amqp_url: str) -> None:
    target = Target(session=PHONE, contact=CONTACT, timeout_s=0.3)
    well, lines = told_by(Bench(amqp_url, Topology("unoapi"), target), only=("text", "questions"))

    assert not well
    assert [line[:5] for line in lines] == ["BREAK"] * 3


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, ""),
        ({"data": {"state": "flying"}}, "state"),
        ({"event_id": ""}, "event_id"),
        ({"session": "x"}, "session"),
        ({"type": "of_the_future", "data": {"a": 1}}, ""),
        ({"data": None}, "data"),
    ],
)
def test_an_event_is_read_in_both_forms_and_checked(change: dict[str, Any], problem: str) -> None:
    event = {**EVENT, **change}
    job = {"id": event["event_id"], "event": event}

    plain = read_event(json.dumps(event), {}, {"delivery_mode": 2})
    dressed = read_event(json.dumps([[job], {}, {}]), {"task": "incoming.receive"}, {"delivery_mode": 2})

    for seen in (plain, dressed):
        assert problem in seen.problem if problem else seen.problem == ""


@pytest.mark.parametrize("body", ["no json", "[]", "[[{}]]", "[" * 100_000, b"\xff"])
def test_what_is_no_event_is_said_to_be_none(body: Any) -> None:
    for headers in ({}, {"task": "incoming.receive"}):
        assert read_event(body, headers, {}).problem


@pytest.mark.parametrize(
    ("events", "problem"),
    [
        ([{}, {"event_id": "e2", "seq": 3}], "seq"),
        ([{}, {"data": {"state": "stopped"}}], "event_id"),
        ([{"session": "1"}], "session"),
        ([{}, {}, {"event_id": "e2", "seq": 2}], ""),
    ],
)
def test_holes_in_the_sequence_and_ids_of_two_events_are_found(
    events: list[dict[str, Any]], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unoapi.connector import conformance  # noqa: PLC0415 (its pause is shortened)

    monkeypatch.setattr(conformance, "QUIET_S", 0.0)
    seen = [Seen({**EVENT, **event}, persistent=True) for event in events]
    bench: Any = SimpleNamespace(seen=seen, target=Target(session=PHONE))

    with pytest.raises(ContractBroken, match=problem) if problem else nullcontext():
        envelopes(bench)


# --- events in plain JSON, at the worker ---


class Consumer(SafeConsumer):
    """Celery's consumer without its connection."""

    def __init__(self) -> None:
        self.app: Any = SimpleNamespace(topology=Topology("unoapi"))
        self.taken: list[Any] = []
        self.task_consumer = SimpleNamespace(on_message=self.taken.append)
        self.connection_errors = ()


def came(body: Any, queue: str = "unoapi.incoming.whatsmeow", headers: Any = None) -> Any:
    rejected: list[bool] = []
    return SimpleNamespace(
        body=body, headers=headers, delivery_info={"routing_key": queue}, content_type="text/plain",
        content_encoding="binary", _decoded_cache={"a": 1}, rejected=rejected,
        reject_log_error=lambda *_: rejected.append(True),
    )  # fmt: skip


def test_an_event_in_plain_json_is_taken_as_its_job() -> None:
    consumer, message = Consumer(), came(json.dumps(EVENT).encode(), headers={"x-delivery-count": 2})

    consumer.on_unknown_message(None, message)

    assert consumer.taken == [message]
    job = from_body(message.headers["task"], message.body)
    assert isinstance(job, ReceiveEvent)
    assert (job.id, job.phone, job.event["data"]) == ("e1", PHONE, EVENT["data"])
    assert (message.headers["x-delivery-count"], message.content_type) == (2, "application/json")


@pytest.mark.parametrize("written", ["\\ud83d", "\\u0000\\ud83d"])
def test_field_report_89_no_event_is_lost_for_half_a_character(written: str) -> None:
    event = {**EVENT, "data": {"state": "connected", "note": "NOTE"}}
    consumer, message = Consumer(), came(json.dumps(event).replace("NOTE", f"a{written}").encode())

    consumer.on_unknown_message(None, message)

    job = from_body(message.headers["task"], message.body)
    assert isinstance(job, ReceiveEvent)
    data: Any = job.event["data"]
    assert data["note"] == "a\ufffd"


@pytest.mark.parametrize(
    "message",
    [
        came(b"no json"),
        came(b"{}"),
        came(json.dumps({**EVENT, "session": "x"}).encode()),
        came(json.dumps(EVENT).encode(), queue="unoapi.incoming"),
        came(b"[" * 100_000),
    ],
    ids=["text", "empty", "session", "another queue", "deep"],
)
def test_whatever_else_is_no_task_is_dead(message: Any) -> None:
    consumer = Consumer()

    consumer.on_unknown_message(None, message)

    assert (consumer.taken, message.rejected) == ([], [True])


def test_the_command_says_what_it_takes_and_what_is_missing() -> None:
    import sys  # noqa: PLC0415 (only here)

    program = [sys.executable, "-m", "unoapi.connector.conformance"]
    shown = subprocess.run([*program, "--help"], capture_output=True, text=True, timeout=60, check=True)
    nowhere = [*program, "--amqp", "amqp://127.0.0.1:1/"]
    away = subprocess.run(nowhere, capture_output=True, text=True, timeout=60, check=False)

    assert "--echo" in shown.stdout
    assert (away.returncode, "Traceback" in away.stderr) == (78, False)
