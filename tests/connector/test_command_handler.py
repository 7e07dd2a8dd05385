"""One command becomes one send with one result, whatever happens on the way; the error's class settles its message."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fakes import CONTACT, PHONE
from unoapi.broker.topology import Topology
from unoapi.connector.command_handler import CommandHandler, RateLimiter, SendRetrySchedule
from unoapi.connector.consumer import Consumer
from unoapi.connector.engines.simulated import NOT_ON_WHATSAPP, UNCLEAR, UNSTEADY, SimulatedEngine
from unoapi.connector.outbox import Outbox
from unoapi.connector.waiting_sends import WaitingSends
from unoapi.errors import BrokerUnavailable, EngineUnavailable, InvalidCommand, SendRefused, SessionEnding
from unoapi.models.connector.commands import ConnectorCommand
from unoapi.models.jobs import now_ms

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Session:
    """A command handler on a simulated phone, with what it wrote and published."""

    def __init__(self, folder: Path) -> None:
        self.engine = SimulatedEngine(folder / "engine", PHONE)
        self.engine._connected = True
        self.outbox = Outbox(folder / "outbox.db")
        self.stopping = threading.Event()
        self.republished: list[tuple[ConnectorCommand, int]] = []
        self._sent = folder / "engine" / "sent.jsonl"
        self.handler = CommandHandler(
            engine=self.engine,
            outbox=self.outbox,
            fetch_file=lambda media: (media, b"file"),
            republish=lambda command, delay_ms: self.republished.append((command, delay_ms)),
            rate_limiter=RateLimiter(1000),
            retry_schedule=SendRetrySchedule(limit=2, base_ms=1000, cap_ms=60_000),
            stopping=self.stopping,
        )

    def handle(self, **fields: Any) -> None:
        self.handler.handle(command(**fields).model_dump_json())

    def results(self) -> list[tuple[str, str]]:
        events = [json.loads(row.payload) for row in self.outbox.oldest(10)]
        return [(event["data"]["command_id"], event["data"]["status"]) for event in events]

    def sends(self) -> int:
        return len(self._sent.read_text().splitlines()) if self._sent.exists() else 0


def command(**fields: Any) -> ConnectorCommand:
    data = {"content": {"kind": "text", "body": "hello"}}
    defaults: dict[str, Any] = {"type": "send", "command_id": "c-1", "session": PHONE, "to": CONTACT, "data": data}
    return ConnectorCommand.model_validate({**defaults, **fields})


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    session = Session(tmp_path)
    yield session
    session.outbox.close()


def test_a_command_is_sent_once_however_often_it_is_delivered(session: Session) -> None:
    session.handle()
    session.handle()

    assert session.sends() == 1
    assert session.results() == [("c-1", "sent")]


def test_a_refused_send_fails_for_good(session: Session) -> None:
    session.handle(to=NOT_ON_WHATSAPP)

    assert session.results() == [("c-1", "failed")]
    assert session.republished == []


def test_a_send_with_unknown_outcome_is_not_repeated(session: Session) -> None:
    session.handle(to=UNCLEAR)
    session.handle(to=UNCLEAR)

    assert session.sends() == 1
    assert session.results() == [("c-1", "ambiguous")]


def test_a_send_that_was_interrupted_is_not_repeated(session: Session) -> None:
    session.outbox.begin("c-1")
    session.outbox.mark_sending("c-1")

    session.handle()

    assert session.sends() == 0
    assert session.results() == [("c-1", "ambiguous")]


def test_a_send_that_certainly_did_not_leave_is_published_again_on_the_schedule(session: Session) -> None:
    session.handle(to=UNSTEADY)

    ((again, delay_ms),) = session.republished
    assert (again.attempt, delay_ms >= 1000) == (2, True)
    assert session.results() == []
    assert session.outbox.state_of("c-1") == "new"


def failing_once(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first send does not leave."""
    sends, real = iter([EngineUnavailable("not now")]), session.engine.send

    def send(to: str, message: dict[str, Any]) -> Any:
        if error := next(sends, None):
            raise error
        return real(to, message)

    monkeypatch.setattr(session.engine, "send", send)


def test_field_report_x1_what_is_written_after_a_send_that_waits_stays_after_it(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_once(session, monkeypatch)

    for name, to in (("c-1", CONTACT), ("c-2", CONTACT), ("c-3", CONTACT), ("other", "5511988880002")):
        session.handle(command_id=name, to=to)
    again = [waiting.model_dump() for waiting, _ in session.republished]
    for fields in (again[1], *again, again[2]):  # the second one is early
        session.handle(**fields)

    assert [(name, status) for name, status in session.results() if status == "sent"] == [
        ("other", "sent"), ("c-1", "sent"), ("c-2", "sent"), ("c-3", "sent"),
    ]  # fmt: skip
    assert [waiting.attempt for waiting, _ in session.republished] == [2, 1, 1, 1]


def test_the_order_of_what_waits_outlives_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(tmp_path)
    failing_once(session, monkeypatch)
    session.handle()
    session.handle(command_id="c-2")
    session.outbox.close()

    again = Session(tmp_path)
    again.handle(command_id="c-3")
    again.handle(command_id="c-2")  # it is early
    assert again.results() == []
    for name in ("c-1", "c-2", "c-3"):
        again.handle(command_id=name)

    assert again.results() == [("c-1", "sent"), ("c-2", "sent"), ("c-3", "sent")]
    again.outbox.close()


def test_a_process_that_begins_anew_waits_for_nothing_that_has_ended(tmp_path: Path) -> None:
    session = Session(tmp_path)
    for name, lost_in_ms in (("sent", 60_000), ("lost", -1)):
        session.outbox.save_waiting_send(CONTACT, name, due_ms=now_ms(), lost_ms=now_ms() + lost_in_ms)
    session.outbox.finish("sent", {"command_id": "sent", "status": "sent"})
    session.outbox.close()

    again = Session(tmp_path)

    assert again.outbox.waiting_sends() == []
    again.outbox.close()


def test_a_clock_that_was_set_back_makes_nobody_wait_for_long(tmp_path: Path) -> None:
    session = Session(tmp_path)
    in_a_year = now_ms() + 365 * 86_400_000
    session.outbox.save_waiting_send(CONTACT, "c-1", due_ms=in_a_year, lost_ms=in_a_year + 70_000)

    waiting = WaitingSends(session.outbox)

    assert 0 < waiting.behind_ms(CONTACT, "c-2") <= 70_000
    session.outbox.close()


def test_nothing_waits_for_ever_behind_a_send_that_does_not_come_back(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_once(session, monkeypatch)
    monkeypatch.setattr("unoapi.connector.waiting_sends.PATIENCE_S", -10.0)

    session.handle()
    session.handle(command_id="c-2")
    session.handle(command_id="c-3", expires_at=1)

    assert ("c-2", "sent") in session.results()
    assert [waiting.command_id for waiting, _ in session.republished] == ["c-1"]


def test_what_expires_behind_a_send_that_waits_ends_with_its_reason(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_once(session, monkeypatch)
    monkeypatch.setattr("unoapi.connector.command_handler.STILL_MS", -1)

    session.handle()
    session.handle(command_id="c-2", expires_at=1)

    assert session.results() == [("c-2", "failed")]


def test_a_send_fails_when_the_schedule_is_at_its_end(session: Session) -> None:
    session.handle(to=UNSTEADY, attempt=3)

    assert session.republished == []
    assert session.results() == [("c-1", "failed")]


def test_content_that_whatsapp_does_not_have_fails_as_unsupported(session: Session) -> None:
    session.handle(data={"content": {"kind": "order", "item_count": 1}})

    (row,) = session.outbox.oldest(1)
    assert json.loads(row.payload)["data"]["error"]["code"] == 131051


def test_an_expired_command_is_not_sent(session: Session) -> None:
    session.handle(expires_at=now_ms() - 1)

    assert session.sends() == 0
    assert session.results() == [("c-1", "failed")]


def test_a_command_stays_with_rabbitmq_when_the_process_ends(session: Session) -> None:
    session.stopping.set()

    with pytest.raises(SessionEnding):
        session.handle()
    assert session.results() == []


@pytest.mark.parametrize("body", ["no json", "[]", "{}", "[" * 100_000], ids=["text", "list", "empty", "deep"])
def test_what_is_no_command_is_refused(session: Session, body: str) -> None:
    with pytest.raises(InvalidCommand):
        session.handler.handle(body)


# --- how a message is settled ---


class ChannelRecorder:
    """How messages were settled."""

    def __init__(self) -> None:
        self.settled: list[str] = []

    def basic_ack(self, _tag: int) -> None:
        self.settled.append("acknowledged")

    def basic_reject(self, _tag: int, *, requeue: bool) -> None:
        self.settled.append("requeued" if requeue else "dead")


@pytest.mark.parametrize(
    ("error", "settled"),
    [
        (None, "acknowledged"),
        (InvalidCommand("no command"), "dead"),
        (SendRefused("refused"), "dead"),
        (SessionEnding("ends"), "requeued"),
        (BrokerUnavailable("away"), "requeued"),
        (ZeroDivisionError(), "requeued"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_the_errors_class_settles_the_message(error: Exception | None, settled: str) -> None:
    queue = Topology("unoapi").session_queue(PHONE)
    consumer = Consumer("amqp://127.0.0.1:1/", queue, lambda _: None, name=PHONE, on_taken=lambda *_: None)
    consumer._stopping.set()  # without it a requeue waits a second
    channel = ChannelRecorder()

    consumer._settle(channel, 1, error)

    assert channel.settled == [settled]


def test_an_error_that_nobody_foresaw_does_not_end_the_consumer(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Topology("unoapi").session_queue(PHONE)
    consumer = Consumer("amqp://127.0.0.1:1/", queue, lambda _: None, name=PHONE, on_taken=lambda *_: None)
    rounds = []

    def consume() -> None:
        rounds.append(1)
        if len(rounds) == 3:
            consumer._stopping.set()
        raise ZeroDivisionError

    monkeypatch.setattr("unoapi.connector.consumer.PAUSE_S", 0.01)
    monkeypatch.setattr(consumer, "_consume", consume)

    consumer._run()

    assert len(rounds) == 3
