"""Tests an engine of any language over RabbitMQ alone: `python -m unoapi.connector.conformance --amqp URL`.

It stands in the place of the API: it publishes commands as `contract/README.md` describes them, and checks what the
engine reports. Give it a RabbitMQ, or a vhost, of its own: events that a worker takes it cannot see.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import amqp
import click
from pydantic import ValidationError

from unoapi.broker.connection import BROKER_ERRORS, Connection
from unoapi.broker.connector_commands import ENTRY, command_message
from unoapi.broker.rpc import BrokerRpc
from unoapi.broker.topology import Topology
from unoapi.errors import (
    EX_CONFIG,
    ConfigurationError,
    ContractBroken,
    NobodyAnswers,
    NotChecked,
    QuestionRefused,
    describe,
)
from unoapi.models.connector.commands import ConnectorCommand
from unoapi.models.connector.events import EVENTS, ConnectorEvent
from unoapi.models.connector.groups import Group, Groups
from unoapi.models.jobs import ReceiveEvent, now_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

POLL_S = 0.05
QUIET_S = 1.0
"""So long the kit waits for what must not come."""
NOT_ON_WHATSAPP, INVALID = 131026, 131009
MANY = 10
KILLED_AFTER = 3
DAY_S = 86_400


@dataclass(frozen=True)
class Target:
    """Whom the engine is tested with. Empty fields skip the checks that need them.

    `nobody` is a number that is not on WhatsApp, `echo` one that answers each text with the same text. `file` is an
    address of a JPEG that the engine reaches. `run` starts the engine, so that the kit may kill it.
    """

    session: str
    contact: str = ""
    nobody: str = ""
    echo: str = ""
    file: str = ""
    run: str = ""
    timeout_s: float = 30.0


@dataclass
class Seen:
    """One event as it came. `problem` is why it is none."""

    event: dict[str, Any]
    persistent: bool
    problem: str = ""


@dataclass
class Bench:
    """The API's side of the contract."""

    amqp_url: str
    topology: Topology
    target: Target
    seen: list[Seen] = field(default_factory=list)
    engine: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._failed: list[str] = []
        self._connection = Connection(self.amqp_url, connect_timeout=3, heartbeat=0)
        self._connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
        channel: Any = self._connection.channel()
        self._channel = channel
        self.topology.declare(channel, vhost="/")
        events = self.topology.queue(ReceiveEvent.queue)
        _, _, consumers = channel.queue_declare(events, passive=True)
        if consumers:
            raise ConfigurationError(f"somebody consumes {events}: give the kit a vhost of its own")
        channel.queue_purge(events)
        channel.queue_purge(self.topology.queue(ENTRY))
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more events, and end the engine."""
        self._stopping.set()
        self._thread.join(5)
        self.kill()
        with contextlib.suppress(*BROKER_ERRORS):
            self._connection.close()

    def start(self) -> None:
        """Start the engine, where the kit knows how."""
        if self.target.run and self.engine is None:
            self.engine = subprocess.Popen(shlex.split(self.target.run), start_new_session=True)  # noqa: S603 (the caller's own program)

    def kill(self) -> None:
        """Kill it, as a machine does that has no memory left."""
        if self.engine is not None:
            self.engine.send_signal(signal.SIGKILL)
            self.engine.wait(10)
            self.engine = None

    def end(self) -> None:
        """Ask it to end, as a deployment does. Raises ContractBroken when it does not."""
        if self.engine is not None:
            self.engine.send_signal(signal.SIGTERM)
            try:
                self.engine.wait(self.target.timeout_s)
            except subprocess.TimeoutExpired:
                raise ContractBroken("it does not end after SIGTERM") from None
            self.engine = None

    def put(self, kind: str, data: dict[str, Any] | None = None, *, to: str = "", **more: Any) -> str:
        """Publish a command; its id."""
        now = now_ms()
        fields = {"command_id": f"wamid.{uuid4().hex}", "created_at": now, "expires_at": now + 600_000, **more}
        command = ConnectorCommand(type=kind, session=self.target.session, to=to, data=data or {}, **fields)
        message = command_message(command, self.topology, key=self.topology.queue(ENTRY))
        self.put_bytes(message.body, headers=message.headers, properties=message.properties)
        return command.command_id

    def put_bytes(self, body: str | bytes, **options: Any) -> None:
        """Publish anything as a command."""
        properties = options.get("properties") or {"content_type": "application/json", "delivery_mode": 2}
        message = amqp.Message(body, application_headers=options.get("headers") or {}, **properties)
        self._channel.basic_publish(message, exchange=self.topology.broker, routing_key=self.topology.queue(ENTRY))

    def send(self, content: dict[str, Any], *, to: str = "", **more: Any) -> str:
        """Publish a message for the contact; its id."""
        return self.put("send", {"content": content, **more.pop("data", {})}, to=to or self.contact, **more)

    def text(self, body: str = "hello", **more: Any) -> str:
        """Publish a text for the contact; its id."""
        return self.send({"kind": "text", "body": body}, **more)

    @property
    def contact(self) -> str:
        """The number that is written to. Raises NotChecked without one."""
        if not self.target.contact:
            raise NotChecked("needs --contact")
        return self.target.contact

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The data of the events of a type, in order."""
        return [seen.event.get("data") or {} for seen in list(self.seen) if seen.event.get("type") == kind]

    def results(self, command_id: str) -> list[dict[str, Any]]:
        """What was reported of a command."""
        return [data for data in self.of("send_result") if data.get("command_id") == command_id]

    def result(self, command_id: str) -> dict[str, Any]:
        """The first report of a command. Raises ContractBroken when none comes."""
        found: list[dict[str, Any]] = self.wait(lambda: self.results(command_id), f"no send_result of {command_id}")
        return found[0]

    def wait(self, look: Callable[[], Any], problem: str, *, within_s: float = 0.0) -> Any:
        """What `look` finds. Raises ContractBroken when it finds nothing in time."""
        deadline = time.monotonic() + (within_s or self.target.timeout_s)
        while not (found := look()):
            if self._failed:
                raise ContractBroken(f"the events cannot be read: {self._failed[0]}")
            if time.monotonic() > deadline:
                raise ContractBroken(problem)
            time.sleep(POLL_S)
        return found

    def wait_state(self, state: str, *, after: int = 0) -> None:
        """Wait until the session reports a state, as an event after the first `after`."""

        def states() -> list[str]:
            return [str(data.get("state")) for data in self.of("session")[after:]]

        self.wait(lambda: state in states(), f"the state {state} does not come")

    def ask(self, method: str, data: dict[str, Any]) -> dict[str, Any]:
        """A question to the session. Raises NobodyAnswers, QuestionRefused."""
        rpc = BrokerRpc(self.amqp_url, self.topology)
        return rpc.ask(self.target.session, method, data, timeout_s=self.target.timeout_s)

    def _collect(self) -> None:
        try:
            with Connection(self.amqp_url, connect_timeout=3, heartbeat=0) as connection:
                channel: Any = connection.channel()
                channel.basic_consume(
                    self.topology.queue(ReceiveEvent.queue), callback=lambda message: self._take(channel, message)
                )
                while not self._stopping.is_set():
                    with contextlib.suppress(TimeoutError):
                        connection.drain_events(timeout=POLL_S)
        except BROKER_ERRORS as error:
            self._failed.append(describe(error))

    def _take(self, channel: Any, message: Any) -> None:
        self.seen.append(read_event(message.body, message.headers or {}, message.properties))
        channel.basic_ack(message.delivery_info["delivery_tag"])


def read_event(body: bytes | str, headers: dict[str, Any], properties: dict[str, Any]) -> Seen:
    """An event in plain JSON, or in the job of a worker."""
    persistent = properties.get("delivery_mode") == 2  # noqa: PLR2004 (AMQP's number for it)
    document: Any = {}
    try:
        document = json.loads(body)
        if headers.get("task"):
            job = document[0][0]
            if headers["task"] != ReceiveEvent.task or job["id"] != job["event"]["event_id"]:
                return Seen(job["event"], persistent, "its job has another task or id")
            document = job["event"]
        event = ConnectorEvent.model_validate(document)
        if event.type in EVENTS:
            EVENTS[event.type].model_validate(event.data)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        event_of = document if isinstance(document, dict) else {}
        return Seen(event_of, persistent, describe(error) if isinstance(error, ValidationError) else f"{error}"[:200])
    return Seen(document, persistent, "" if event.event_id else "it has no event_id")


# --- the checks, in their order ---


def connect(bench: Bench) -> str:
    """`session.connect` with `resume` ends in the state `connected`, which names the engine's capabilities."""
    bench.start()
    bench.put("session.connect", {"method": "resume"})
    bench.wait_state("connected")
    told = next(data for data in bench.of("session") if data.get("state") == "connected")
    wanted = {"client_message_id", "sync_ack", "media_retry"}
    if missing := wanted - (told.get("capabilities") or {}).keys():
        raise ContractBroken(f"the state connected does not say {', '.join(sorted(missing))}")
    return json.dumps(told["capabilities"])


def text(bench: Bench) -> str:
    """A text gets one `send_result`: `sent`, with WhatsApp's id, the time in seconds, and the command's own `to`."""
    command_id = bench.text()
    result = bench.result(command_id)
    if result.get("status") != "sent" or not result.get("wa_id"):
        raise ContractBroken(f"the result is {result}")
    if abs(int(result.get("timestamp") or 0) - time.time()) > DAY_S:
        raise ContractBroken(f"the timestamp is {result.get('timestamp')}: not seconds since 1970")
    if result.get("to") != bench.contact:
        raise ContractBroken(f"to is {result.get('to')!r}: the client's status would name nobody")
    time.sleep(QUIET_S)
    if len(bench.results(command_id)) > 1:
        raise ContractBroken("one command has several results")
    return str(result["wa_id"])


def order(bench: Bench) -> str:
    """Commands of a session are carried out in their order."""
    ids = [bench.text(f"{number}") for number in range(MANY)]
    for command_id in ids:
        bench.result(command_id)
    came = [data["command_id"] for data in bench.of("send_result") if data.get("command_id") in ids]
    if came != ids:
        raise ContractBroken("the results came in another order than the commands")
    return f"{MANY} texts"


def kinds(bench: Bench) -> str:
    """Each kind of content gets one result: `sent`, or `failed` with a code where the engine cannot send it."""
    states: Counter[str] = Counter()
    for content in _contents(bench.target):
        result = bench.result(bench.send(content))
        code = (result.get("error") or {}).get("code")
        if result.get("status") == "ambiguous" or (result.get("status") == "failed" and not code):
            raise ContractBroken(f"{content['kind']}: {result}")
        states[str(result.get("status"))] += 1
    return ", ".join(f"{count} {status}" for status, count in states.items())


def repeated(bench: Bench) -> str:
    """A command that comes again is not sent again: all its results name one message."""
    command_id = bench.text("once")
    bench.result(command_id)
    bench.text("once", command_id=command_id)
    bench.text("once", command_id=command_id)
    bench.result(bench.text("behind them"))
    wa_ids = {result.get("wa_id") for result in bench.results(command_id)}
    if len(wa_ids) != 1:
        raise ContractBroken(f"one command became {len(wa_ids)} messages")
    return "sent once"


def expired(bench: Bench) -> str:
    """Past `expires_at` nothing is sent, and the result is `failed`; what only stood behind others is sent."""
    bench.put("session.disconnect")
    bench.wait_state("stopped", after=len(bench.of("session")) - 1)
    before = len(bench.of("session"))
    command_id = bench.text("too late", expires_at=now_ms() + 500)
    time.sleep(1)
    bench.put("session.connect", {"method": "resume"})
    bench.wait_state("connected", after=before)
    result = bench.result(command_id)
    if result.get("status") == "ambiguous":
        raise ContractBroken("a command that expired is ambiguous")
    return str(result.get("status"))


def broken(bench: Bench) -> str:
    """What is no command, or a command of another form, ends nothing; data of another form is `failed` with 131009."""
    for body in ("no json", "[]", json.dumps({"type": "send"}), json.dumps({"type": 7, "session": None}), b"\xff\xfe"):
        bench.put_bytes(body)
    bench.put("of.the.future", {"a": 1})
    strange = bench.put("send", {"content": {"kind": "text", "body": {"not": "a text"}}}, to=bench.contact)
    result = bench.result(strange)
    if result.get("status") != "failed" or (result.get("error") or {}).get("code") != INVALID:
        raise ContractBroken(f"data of another form: {result}")
    after = bench.result(bench.text("after them", data={"field_of_the_future": 1}))
    if after.get("status") != "sent":
        raise ContractBroken(f"afterwards a text is {after.get('status')}")
    return "ignored"


def marks(bench: Bench) -> str:
    """`silent` and `about`, the `about` of a deletion and the `target_id` of an edit come back in the result."""
    silent = bench.result(bench.text("nobody waits", data={"silent": True, "about": "wamid.PART"}))
    wa_id = str(bench.result(bench.text("a mistake")).get("wa_id") or "")
    new = {"kind": "edit", "target_id": wa_id, "content": {"kind": "text", "body": "none"}}
    edited = bench.result(bench.send(new))
    gone = {"kind": "revoke", "target_id": wa_id, "target_from_me": True, "about": "wamid.ABOUT"}
    deleted = bench.result(bench.send(gone))
    if silent.get("silent") is not True or silent.get("about") != "wamid.PART":
        raise ContractBroken("silent or about does not come back")
    if deleted.get("status") == "sent" and deleted.get("deleted") != "wamid.ABOUT":
        raise ContractBroken(f"the result of a deletion: {deleted}")
    if edited.get("status") == "sent" and edited.get("edited") != wa_id:
        raise ContractBroken(f"the result of an edit: {edited}")
    return "silent, deleted, edited"


def nobody(bench: Bench) -> str:
    """A number that is not on WhatsApp: `failed` with 131026, certain that nothing left."""
    if not bench.target.nobody:
        raise NotChecked("needs --nobody")
    result = bench.result(bench.text(to=bench.target.nobody))
    if result.get("status") != "failed" or (result.get("error") or {}).get("code") != NOT_ON_WHATSAPP:
        raise ContractBroken(f"the result is {result}")
    return str((result.get("error") or {}).get("reason", ""))[:60]


def file(bench: Bench) -> str:
    """A file by its link is fetched and sent."""
    if not bench.target.file:
        raise NotChecked("needs --file")
    picture = {"kind": "image", "mime_type": "image/jpeg", "link": bench.target.file}
    there = bench.result(bench.send(picture))
    if there.get("status") != "sent":
        raise ContractBroken(f"the result is {there}")
    return "fetched"


def signals(bench: Bench) -> str:
    """Read marks, typing, refused calls, blocks and the profile have no result, and end nothing."""
    jid = f"{bench.contact}@s.whatsapp.net"
    ids = [
        bench.put("read", {"ids": ["3EB0"], "chat": jid, "sender": jid}),
        bench.put("typing", {"chat": jid, "state": "composing"}),
        bench.put("call.reject", {"from": jid, "id": "CALL"}),
        bench.put("block", {"contact": bench.contact, "blocked": False}),
        bench.put("profile", {"about": "Open"}),
    ]
    bench.result(bench.text("after the signals"))
    if told := [command_id for command_id in ids if bench.results(command_id)]:
        raise ContractBroken(f"{len(told)} of them have a result")
    return f"{len(ids)} signals"


def questions(bench: Bench) -> str:
    """RPC: `contacts.check` answers in its order; an unknown method and a strange question get an `error`."""
    there = [bench.contact, *([bench.target.nobody] if bench.target.nobody else [])]
    answer = bench.ask("contacts.check", {"phones": there}).get("there")
    if answer != [True, False][: len(there)]:
        raise ContractBroken(f"contacts.check answers {answer}")
    for method, data in (("of.the.future", {}), ("contacts.check", {"phones": "x"}), ("contacts.check", {})):
        try:
            bench.ask(method, data)
        except QuestionRefused:
            continue
        except NobodyAnswers as error:
            if "nobody answers" in str(error):
                raise ContractBroken(f"no reply to a question of the method {method}: {data}") from error
            continue
        raise ContractBroken(f"{method} with {data} is answered with data")
    return "answered"


def groups(bench: Bench) -> str:
    """RPC: the methods of groups that only ask are answered in their form, or with an `error`."""
    try:
        listed = Groups.model_validate(bench.ask("group.list", {})).groups
    except QuestionRefused as error:
        return f"refused: {error}"[:60]
    except NobodyAnswers as error:
        if "nobody answers" in str(error):
            raise ContractBroken("no reply to group.list") from error
        return "it has none"
    for group in listed[:1]:
        Group.model_validate(bench.ask("group.get", {"group": group.jid}))
    return f"{len(listed)} groups"


def receipts(bench: Bench) -> str:
    """A receipt of the contact names the message by WhatsApp's id."""
    wa_id = bench.result(bench.text("did you get it?")).get("wa_id")
    bench.wait(lambda: any(wa_id in (data.get("ids") or ()) for data in bench.of("receipt")), f"no receipt of {wa_id}")
    return ", ".join(sorted({str(data.get("status")) for data in bench.of("receipt")}))


def received(bench: Bench) -> str:
    """What a contact writes is a `message` with its chat, its sender and its text."""
    if not bench.target.echo:
        raise NotChecked("needs --echo")
    words = f"echo {uuid4().hex[:8]}"
    bench.result(bench.text(words, to=bench.target.echo))
    find = lambda: [  # noqa: E731 (asked until it finds)
        data
        for data in bench.of("message")
        if not data.get("from_me") and (data.get("content") or {}).get("body") == words
    ]
    message = bench.wait(find, "the contact's answer does not come")[0]
    if not message["chat"].get("jid") or not message["sender"].get("jid"):
        raise ContractBroken("chat and sender have no jid")
    if int(message["timestamp_ms"]) < (time.time() - DAY_S) * 1000:
        raise ContractBroken("timestamp_ms is not in milliseconds")
    return str(message["id"])


def reconnect(bench: Bench) -> str:
    """After `session.disconnect` the state is `stopped`; what comes meanwhile is sent when it is connected again."""
    before = len(bench.of("session"))
    bench.put("session.disconnect")
    bench.wait_state("stopped", after=before)
    waiting = bench.text("while you were away")
    time.sleep(QUIET_S)
    if bench.results(waiting):
        raise ContractBroken("a command has a result while the session is disconnected")
    before = len(bench.of("session"))
    bench.put("session.connect", {"method": "resume"})
    bench.wait_state("connected", after=before)
    if bench.result(waiting).get("status") != "sent":
        raise ContractBroken(f"it is {bench.results(waiting)}")
    return "sent afterwards"


def reload(bench: Bench) -> str:
    """After `session.reload` the session is connected anew, and sends."""
    before = len(bench.of("session"))
    bench.put("session.reload")
    bench.wait_state("connected", after=before)
    if bench.result(bench.text("after the reload")).get("status") != "sent":
        raise ContractBroken("a text is not sent afterwards")
    return "connected anew"


def ended(bench: Bench) -> str:
    """SIGTERM in the middle of sends: it ends by itself, and each command is sent, now or after the next start."""
    if not bench.target.run:
        raise NotChecked("needs --run")
    before = len(bench.of("session"))
    ids = [bench.text(f"{number}") for number in range(MANY)]
    bench.wait(lambda: any(bench.results(one) for one in ids), "no result before the end")
    bench.end()
    bench.start()
    bench.put("session.connect", {"method": "resume"})
    bench.wait_state("connected", after=before)
    states = Counter(str(bench.result(one).get("status")) for one in ids)
    if states.keys() != {"sent"}:
        raise ContractBroken(f"an orderly end leaves nothing unknown: {dict(states)}")
    return f"{MANY} sent"


def killed(bench: Bench) -> str:
    """SIGKILL in the middle of sends: each command gets a result, and none becomes two messages."""
    if not bench.target.run:
        raise NotChecked("needs --run")
    before = len(bench.of("session"))
    ids = [bench.text(f"{number}") for number in range(MANY)]
    bench.wait(lambda: sum(bool(bench.results(one)) for one in ids) >= KILLED_AFTER, "no results before the kill")
    bench.kill()
    bench.start()
    bench.put("session.connect", {"method": "resume"})
    bench.wait_state("connected", after=before)
    for command_id in ids:
        bench.result(command_id)
    time.sleep(QUIET_S)
    doubled = [one for one in ids if len({result.get("wa_id") for result in bench.results(one)} - {"", None}) > 1]
    if doubled:
        raise ContractBroken(f"{len(doubled)} of {MANY} commands became several messages")
    states = Counter(str(bench.results(one)[-1].get("status")) for one in ids)
    return ", ".join(f"{count} {status}" for status, count in states.items())


def envelopes(bench: Bench) -> str:
    """Every event is persistent and has the contract's form; `seq` grows by one; one `event_id` is one event."""
    time.sleep(QUIET_S)
    by_id: dict[str, Any] = {}
    sequence: list[int] = []
    for seen in bench.seen:
        event = seen.event
        if seen.problem or not seen.persistent:
            raise ContractBroken(f"{event.get('type')}: {seen.problem or 'not persistent'}")
        if event["session"] != bench.target.session:
            raise ContractBroken(f"an event of the session {event['session']}")
        if event["event_id"] in by_id:
            if by_id[event["event_id"]] != event["data"]:
                raise ContractBroken(f"two events have the event_id {event['event_id']}")
            continue
        by_id[event["event_id"]] = event["data"]
        if event.get("seq"):
            sequence.append(int(event["seq"]))
    if sorted(sequence) != list(range(min(sequence, default=0), min(sequence, default=0) + len(sequence))):
        raise ContractBroken("seq has holes, or comes twice")
    return f"{len(by_id)} events"


CHECKS: tuple[Callable[[Bench], str], ...] = (
    connect, text, order, kinds, repeated, broken, marks, nobody, file, signals, questions, groups, receipts, received,
    expired, reconnect, reload, ended, killed, envelopes,
)  # fmt: skip


def _contents(target: Target) -> Iterator[dict[str, Any]]:
    """A content of each kind that is sent without a file."""
    rows = [{"id": "a", "title": "A", "description": "first"}]
    yield {"kind": "text", "body": "veja https://example.com", "preview": {"url": "https://example.com", "title": "E"}}
    yield {"kind": "location", "latitude": -27.1, "longitude": -52.6, "name": "Shop"}
    yield {"kind": "contacts", "contacts": [{"name": "A", "vcard": "BEGIN:VCARD\nVERSION:3.0\nFN:A\nEND:VCARD"}]}
    yield {"kind": "reaction", "target_id": "3EB0", "target_from_me": True, "emoji": "\N{THUMBS UP SIGN}"}
    yield {"kind": "pin", "target_id": "3EB0", "target_from_me": True, "seconds": 604800}
    yield {"kind": "poll", "name": "Lunch?", "options": ["A", "B"], "selectable": 1}
    yield {"kind": "list", "body": "Choose", "button": "Open", "sections": [{"title": "S", "rows": rows}]}
    yield {"kind": "buttons", "body": "Well?", "buttons": [{"type": "reply", "id": "yes", "title": "Yes"}]}
    yield {"kind": "edit", "target_id": "3EB0", "content": {"kind": "text", "body": "new"}}
    yield {"kind": "of_the_future", "field": target.session}


def run(bench: Bench, *, only: tuple[str, ...] = (), tell: Callable[[str], None] = print) -> bool:
    """Run the checks; whether all that were not skipped went well. One that breaks a rule stops no other."""
    well = True
    for check in CHECKS:
        name = check.__name__
        if only and name not in (*only, "connect"):
            continue
        try:
            outcome = f"PASS  {name:10} {check(bench)}"
        except NotChecked as reason:
            outcome = f"SKIP  {name:10} {reason}"
        except (ContractBroken, NobodyAnswers, QuestionRefused, KeyError, ValueError, *BROKER_ERRORS) as problem:
            well = False
            outcome = f"BREAK {name:10} {describe(problem)}\n      {' ' * 10} {(check.__doc__ or '').strip()}"
        tell(outcome)
    return well


@click.command(help=__doc__)
@click.option("--amqp", "amqp_url", required=True, help="The RabbitMQ that the engine uses, and no worker.")
@click.option("--prefix", default="unoapi", show_default=True, help="UNOAPI_QUEUE_NAME.")
@click.option("--session", default="5511999990000", show_default=True, help="The number that the engine serves.")
@click.option("--contact", default="5549988887777", show_default=True, help="A number that may be written to.")
@click.option("--nobody", default="15550000001", show_default=True, help="A number that is not on WhatsApp.")
@click.option("--echo", default="", help="A number that answers each text with the same text.")
@click.option("--file", "file_url", default="", help="An address of a JPEG that the engine reaches.")
@click.option("--run", "command", default="", help="Starts the engine, so that the kit may kill it.")
@click.option("--timeout", "timeout_s", default=30.0, show_default=True, help="Seconds that one thing may take.")
@click.option("--only", multiple=True, help=f"Only these checks: {', '.join(check.__name__ for check in CHECKS)}.")
def main(amqp_url: str, prefix: str, only: tuple[str, ...], **options: Any) -> None:
    """Run the checks and exit with 1 when the engine breaks a rule."""
    target = Target(
        **{name: options[name] for name in ("session", "contact", "nobody", "echo", "timeout_s")},
        file=options["file_url"],
        run=options["command"],
    )
    try:
        bench = Bench(amqp_url, Topology(prefix), target)
    except (ConfigurationError, *BROKER_ERRORS) as error:
        click.echo(f"{describe(error)}", err=True)
        sys.exit(EX_CONFIG)
    try:
        well = run(bench, only=only, tell=click.echo)
    finally:
        bench.close()
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
