"""From the spool to RabbitMQ: converted, confirmed, then forgotten. Files are fetched on the way."""

from __future__ import annotations

import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from unoapi.broker.dead_letters import ERROR_HEADER, QUEUE_HEADER, REASON_HEADER
from unoapi.broker.messages import Message, to_message
from unoapi.connector.engines.base import TOLD, EngineEvent
from unoapi.errors import BrokerUnavailable, describe
from unoapi.models.jobs import Envelope, ReceiveEvent, computed_id
from unoapi.telemetry.logging import UPSERT, get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from unoapi.broker.publisher import ConfirmingPublisher
    from unoapi.connector.engines.base import Engine
    from unoapi.connector.outbox import Outbox, Row

    Keep = Callable[[bytes, str, str], dict[str, Any]]
    """Stores a received file (bytes, MIME type, file name); the fields `key`, `sha256`, `size`."""

log = get_logger(__name__)

BATCH = 50
IDLE_S = 1.0
MAX_TOLD = 2000
MEDIA_WORKERS = 2
MEDIA_TRIES = 3
MEDIA_PAUSE_S = 2.0
MAX_MEDIA_BYTES = 100 * 1024 * 1024
MEDIA_KINDS = ("image", "video", "audio", "document", "sticker")


@dataclass(frozen=True)
class Identity:
    """Who tells: the session, the connector's name, the engine."""

    session: str
    server: str
    engine: str


class OutboxPublisher:
    """One thread that empties the spool, in order; messages with files go when their file is there."""

    def __init__(
        self, spool: Outbox, publisher: ConfirmingPublisher, engine: Engine, who: Identity, keep: Keep | None
    ) -> None:
        self._outbox = spool
        self._publisher = publisher
        self._engine = engine
        self._who = who
        self._keep = keep
        self._stopping = threading.Event()
        self._fetching: set[int] = set()
        self._fetched: dict[int, Message] = {}
        self._told_lately: dict[str, None] = {}
        self._media = ThreadPoolExecutor(MEDIA_WORKERS, thread_name_prefix="media")
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Publish what is left, as far as that is possible in time. The rest stays on the disk."""
        self._stopping.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            try:
                moved = self.step()
            except BrokerUnavailable as error:
                log.warning("spool_waits", rows=len(self._outbox), error=f"{error}")
                moved = False
                if self._stopping.wait(IDLE_S):
                    return
            if not moved:
                if self._stopping.is_set() and not self._fetching:
                    return
                self._outbox.wait(IDLE_S if not self._stopping.is_set() else 0.05)

    def step(self) -> bool:
        """Publish one batch. False when there was nothing. Raises BrokerUnavailable; nothing is forgotten then."""
        messages: dict[int, list[Message]] = {}
        for seq in list(self._fetched):
            messages[seq] = [self._fetched[seq]]
        for row in self._outbox.head(BATCH, without=frozenset(self._fetching)):
            found = self._messages(row)
            if found is not None:
                messages[row.seq] = found
        if not messages:
            return False
        fresh = {
            str(each.properties.get("message_id") or seq): each for seq, group in messages.items() for each in group
        }
        copies = fresh.keys() & self._told_lately.keys()
        self._publisher.publish_messages([each for event_id, each in fresh.items() if event_id not in copies])
        self._remember(fresh)
        self._outbox.remove(list(messages))
        for seq in messages:
            self._fetched.pop(seq, None)
            self._fetching.discard(seq)
        return True

    def _remember(self, events: Iterable[str]) -> None:
        """WhatsApp and a restarted library may tell an event again: of those that are confirmed no copy goes out."""
        self._told_lately |= dict.fromkeys(events)
        for oldest in list(self._told_lately)[:-MAX_TOLD]:
            del self._told_lately[oldest]

    def _messages(self, row: Row) -> list[Message] | None:
        try:
            told = self._told(row)
            if len(told) == 1 and self._keep is not None and _file_of(told[0]) is not None:
                self._fetching.add(row.seq)
                self._media.submit(self._fetch, row, told[0])
                return None
            return [self._message(row, each, place) for place, each in enumerate(told)]
        except Exception as error:  # noqa: BLE001 (whatever it is, the event must survive it)
            log.error("event_not_converted", kind=row.kind, seq=row.seq, error=describe(error), hint="unoapi dead list")
            return [self._letter(row, error)]

    def _told(self, row: Row) -> list[EngineEvent]:
        if row.kind != TOLD:
            return self._engine.convert(row.kind, row.payload)
        document = json.loads(row.payload)
        parts: tuple[str, ...] = ()
        if document["type"] == "send_result":
            parts = (document["data"]["command_id"], document["data"]["status"])
        elif document["type"] == "message":
            data = document["data"]
            parts = (
                str(data["chat"]["jid"]),
                str(data["sender"]["jid"]),
                str(data["id"]),
                str(data.get("retry_count", 0)),
            )
        return [EngineEvent(document["type"], document["data"], parts=parts)]

    def _message(self, row: Row, told: EngineEvent, place: int) -> Message:
        session = self._who.session
        # Without parts of its own an event is told apart by its place in the spool, which only grows.
        parts = told.parts or (str(row.at_ms), str(row.seq), str(place))
        event_id = computed_id("connector", session, told.type, *parts)
        event: dict[str, object] = {
            "version": 1,
            "type": told.type,
            "event_id": event_id,
            "session": session,
            "server": self._who.server,
            "engine": self._who.engine,
            "seq": row.seq,
            "occurred_at": datetime.fromtimestamp(row.at_ms / 1000, UTC).isoformat(timespec="milliseconds"),
            "partition_key": f"{session}|{told.partition}",
            "data": told.data,
        }
        about = str(told.data.get("command_id") or told.data.get("id") or "")[:512]
        if told.type == "message":
            log.debug(UPSERT, message_id=about, phone=session)
        return to_message(
            Envelope(ReceiveEvent(id=event_id, phone=session, message_id=about, event=event)), self._publisher.topology
        )

    def _fetch(self, row: Row, told: EngineEvent) -> None:
        """Fetch and store a file, then let its message go, with the file or without it."""
        content = _file_of(told) or {}
        media = dict(content["media"])
        for number in range(1, MEDIA_TRIES + 1):
            try:
                media |= self._kept(content, media) | {"state": "ready"}
                break
            except Exception as error:  # noqa: BLE001 (no file may hold its message back)
                media["state"] = "failed"
                log.warning("media_not_fetched", message_id=told.data["id"], number=number, error=describe(error))
                if number < MEDIA_TRIES and self._stopping.wait(MEDIA_PAUSE_S * number):
                    self._fetching.discard(row.seq)  # the next process tries again
                    return
        data = {**told.data, "content": {**told.data["content"], "media": media}}
        try:
            self._fetched[row.seq] = self._message(row, EngineEvent(told.type, data, told.parts, told.partition), 0)
        except Exception as error:  # noqa: BLE001 (the event must survive)
            self._fetched[row.seq] = self._letter(row, error)
        self._outbox.wake()

    def _kept(self, content: dict[str, Any], media: dict[str, Any]) -> dict[str, Any]:
        descriptor = dict(media.get("descriptor") or {})
        if int(descriptor.get("file_length") or 0) > MAX_MEDIA_BYTES:
            raise ValueError("the file is too large")
        data = self._engine.download(descriptor)
        if self._keep is None:
            raise ValueError("there is no store for files")
        return self._keep(data, str(content.get("mime_type") or ""), str(content.get("filename") or ""))

    def _letter(self, row: Row, error: BaseException) -> Message:
        """An event that cannot be told, as it came, in the dead queue."""
        topology = self._publisher.topology
        raw = base64.b64encode(row.payload).decode()
        body = json.dumps({"session": self._who.session, "engine": self._who.engine, "kind": row.kind, "raw": raw})
        queue = topology.queue("incoming.whatsmeow")
        headers = {REASON_HEADER: "not_converted", ERROR_HEADER: describe(error), QUEUE_HEADER: queue}
        properties = {"content_type": "application/json", "content_encoding": "utf-8", "delivery_mode": 2}
        return Message(topology.dead, queue, body, headers, properties)


def _file_of(told: EngineEvent) -> dict[str, Any] | None:
    content = told.data.get("content") if told.type == "message" else None
    if isinstance(content, dict) and content.get("kind") in MEDIA_KINDS and isinstance(content.get("media"), dict):
        return content if content["media"].get("state") == "pending" else None
    return None
