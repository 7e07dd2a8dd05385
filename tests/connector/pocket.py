"""A phone in one process: the provider, the connector's command handler and outbox, on fakes and the simulated engine.

What clients send passes the whole way to the engine, what the engine receives the whole way to the events.
"""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any, cast

from tests.support.fakes import (
    CONTACT,
    PHONE,
    MemoryChats,
    MemoryConnections,
    MemoryIds,
    MemoryPublisher,
    MemorySessions,
    make_session,
)
from unoapi.broker.topology import Topology
from unoapi.connector.chat_names import ChatNames
from unoapi.connector.command_handler import CommandHandler, RateLimiter, SendRetrySchedule
from unoapi.connector.engines.simulated import SimulatedEngine
from unoapi.connector.outbox import Outbox
from unoapi.connector.outbox_publisher import EventSource, OutboxPublisher
from unoapi.connector.rpc_server import answer
from unoapi.connector.unread import Unread
from unoapi.errors import NobodyAnswers, Postponed, QuestionRefused
from unoapi.models.cloud_api.messages import Command
from unoapi.models.cloud_api.templates import DEFAULT_TEMPLATES
from unoapi.models.connector.rpc import RpcRequest
from unoapi.models.jobs import Envelope, EventJob, ReceiveEvent, now_ms
from unoapi.providers.whatsmeow.events import receive
from unoapi.providers.whatsmeow.provider import WhatsmeowProvider
from unoapi.services import templates
from unoapi.services.message_parsing import parse_message

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from unoapi.models.connector.commands import ConnectorCommand
    from unoapi.models.connector.content import Media

CHAT = {"jid": f"{CONTACT}@s.whatsapp.net", "kind": "user", "phone": CONTACT, "push_name": "Ana"}
OPEN = {"https://mmg.whatsapp.net/a": b"picture"}
"""Files of channels, which anybody can fetch."""
EVERYTHING = {
    "ignoreOwnMessages": False, "ignoreGroupMessages": False, "ignoreNewsletterMessages": False,
    "ignoreBroadcastStatuses": False,
}  # fmt: skip


class Pocket:
    """One session with everything around it. `events` are the values that a webhook gets, in order."""

    def __init__(
        self, folder: Path, *, modes: Sequence[str] = (), connections: MemoryConnections | None = None, **options: Any
    ) -> None:
        """`modes` are those of the simulated engine; `options` the session's."""
        self.session = make_session(**{**EVERYTHING, **options})
        self.ids, self.chats = MemoryIds(), MemoryChats()
        self.connections = connections or MemoryConnections()
        self.engine = SimulatedEngine(folder / "engine", PHONE)
        self.engine._connected = True
        self.engine._modes = set(modes)
        self.outbox = Outbox(folder / "outbox.db")
        self.files: dict[str, tuple[dict[str, Any], bytes]] = {}
        self.events: list[dict[str, Any]] = []
        self._states: list[dict[str, Any]] = []
        self.republished: list[ConnectorCommand] = []
        self.postponed: list[ReceiveEvent] = []
        unread = Unread()
        self._sent = folder / "engine" / "sent.jsonl"
        self._queue = MemoryPublisher(Topology("unoapi"))
        self._publisher = OutboxPublisher(
            outbox=self.outbox, publisher=cast("Any", self._queue), engine=self.engine,
            source=EventSource(PHONE, "server_1", self.engine.name),
            save_file=lambda data, *_: {"key": "3141", "sha256": "", "size": len(data)},
            fetch_open=lambda url: OPEN[url],
            ignores=lambda chat, mine: bool(self.session.ignores(chat=chat, phone=PHONE, from_me=mine)),
            names=ChatNames(self.engine, options=lambda: self.session, save_picture=lambda picture: picture.url),
            unread=unread,
        )  # fmt: skip
        self.provider = WhatsmeowProvider(
            commands=self, connections=self.connections, chats=self.chats, ids=self.ids,
            sessions=MemorySessions(self.session),
            rendered=lambda message, _: templates.rendered(message, lambda: DEFAULT_TEMPLATES), max_age_s=600,
            rpc=self,
        )  # fmt: skip
        self.handler = CommandHandler(
            engine=self.engine, outbox=self.outbox, fetch_file=self._fetch,
            republish=lambda command, _: self.republished.append(command), rate_limiter=RateLimiter(10_000),
            retry_schedule=SendRetrySchedule(limit=2, base_ms=1, cap_ms=1), stopping=threading.Event(),
            unread=unread,
        )  # fmt: skip

    def ask(self, phone: str, method: str, data: dict[str, Any], *, timeout_s: float) -> dict[str, Any]:  # noqa: ARG002
        """What the session's process answers; what changed is reported."""
        reply = answer(RpcRequest(method=method, session=phone, data=data).model_dump_json(), self.engine, self._fetch)
        self.engine._emit_reported(self._emit)
        self.publish()
        if reply.code:
            raise QuestionRefused(reply.error, code=reply.code)
        if reply.data is None:
            raise NobodyAnswers(reply.error)
        return reply.data

    def put(self, commands: Sequence[ConnectorCommand], *, then: Sequence[Envelope] = ()) -> None:  # noqa: ARG002
        """Commands reach the session's process at once."""
        for command in commands:
            self.handler.handle(command.model_dump_json())
        self.publish()

    def send(self, message_id: str = "wamid.OUT", *, to: str = CONTACT, **message: Any) -> dict[str, Any]:
        """What leaves for WhatsApp of a client's message; an empty object when nothing does."""
        before = len(self.sent())
        body = {"messaging_product": "whatsapp", **({} if message.get("recipient") else {"to": to}), **message}
        self.provider.send(parse_message(body), phone=PHONE, message_id=message_id)
        left = self.sent()[before:]
        return dict(left[0]["message"]) if left else {}

    def mark(self, **command: Any) -> None:
        self.provider.command(Command.model_validate(command), phone=PHONE)

    def sent(self) -> list[dict[str, Any]]:
        """All messages that left."""
        return [line for line in self.written() if "message" in line]

    def written(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._sent.read_text().splitlines()] if self._sent.exists() else []

    def receives(self, content: dict[str, Any], message_id: str = "3EB0AA", **more: Any) -> dict[str, Any]:
        """The Cloud API message of what a contact writes; an empty object when there is no event."""
        data = {"id": message_id, "chat": CHAT, "sender": more.get("chat") or CHAT, "timestamp_ms": now_ms()}
        before = len(self.events)
        self.reports("message", **{**data, "content": content, **more})
        new = [message for value in self.events[before:] for message in value.get("messages", [])]
        return dict(new[0]) if new else {}

    def reports(self, kind: str, **data: Any) -> None:
        """The engine reports an event of the contract."""
        self.engine._emit_line({"type": kind, "data": data}, self._emit)
        self.publish()

    def let_time_pass(self) -> None:
        """The receipts of what was sent come."""
        self.engine._receipts = [(0.0, receipt) for _, receipt in self.engine._receipts]
        self.engine._emit_receipts(self._emit)
        self.publish()

    def statuses(self, message_id: str = "wamid.OUT") -> list[dict[str, Any]]:
        every = [status for value in self.events for status in value.get("statuses", [])]
        return [status for status in every if status["id"] == message_id]

    def publish(self) -> None:
        """What stands in the outbox passes RabbitMQ and the worker."""
        while self._publisher.step():
            pass
        for job in self._queue.jobs("unoapi.incoming.whatsmeow"):
            if job.event["type"] == "session":
                self._states.append(job.event["data"])
            self.take(job)

    def wait_for_files(self, *, within_s: float = 5.0) -> None:
        """The files of received messages are fetched, and the messages published."""
        deadline = time.monotonic() + within_s
        while self._publisher._fetching and time.monotonic() < deadline:
            time.sleep(0.005)
            self.publish()
        self.publish()

    def take(self, job: ReceiveEvent) -> None:
        """What the worker does with an event of the connector."""
        sessions = MemorySessions(self.session)
        try:
            received, commands = receive(
                job, ids=self.ids, sessions=sessions, connections=self.connections, chats=self.chats
            )
        except Postponed:
            self.postponed.append(job)
            return
        for event in received:
            if isinstance(event, EventJob):
                self.events.append(json.loads(event.body)["entry"][0]["changes"][0]["value"])
        self.put(commands)

    def pass_time(self, seconds: int) -> None:
        """What was postponed comes again, so many seconds later."""
        jobs, self.postponed = self.postponed, []
        for job in jobs:
            self.take(job.model_copy(update={"accepted_at_ms": job.accepted_at_ms - seconds * 1000}))

    def messages(self) -> list[dict[str, Any]]:
        """All messages that a webhook got."""
        return [message for value in self.events for message in value.get("messages", [])]

    def states(self) -> list[dict[str, Any]]:
        """The changes of the connection that the connector reported."""
        return self._states

    def _emit(self, kind: str, payload: bytes) -> None:
        self.outbox.append(kind, payload)

    def _fetch(self, media: Media) -> tuple[Media, bytes]:
        fields, data = self.files.get(media.media.key if media.media else media.link, ({}, b"file"))
        return media.model_copy(update=fields), data
