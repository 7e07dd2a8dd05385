"""Publishes the events in a session's outbox: converted, confirmed, then removed. Files are downloaded on the way."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from unoapi.broker.dead_letters import ERROR_HEADER, QUEUE_HEADER, REASON_HEADER
from unoapi.broker.messages import Message, to_message
from unoapi.connector.engines.base import CONTRACT_EVENT, HISTORY_MARK, EngineEvent, housekeeping_mark
from unoapi.connector.outbox import RESTRICTED_UNTIL
from unoapi.errors import BrokerUnavailable, MediaTooLarge, describe, safe_traceback
from unoapi.models.connector.content import PLACEHOLDER
from unoapi.models.connector.quoting import quoted_of
from unoapi.models.file_types import HEAD_BYTES, received_type
from unoapi.models.jobs import Envelope, ReceiveEvent, computed_id
from unoapi.models.media import MAX_BYTES, MEDIA_TYPES
from unoapi.models.phones import to_jid
from unoapi.models.text import mended
from unoapi.telemetry.logging import UPSERT, get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from unoapi.broker.publisher import MessagePublisher
    from unoapi.connector.chat_names import ChatNames
    from unoapi.connector.engines.base import Engine
    from unoapi.connector.outbox import Outbox, OutboxRow
    from unoapi.connector.unread import Unread
    from unoapi.models.connector.quoting import Quoted

    SaveFile = Callable[[bytes, str, str], dict[str, Any]]
    """Stores a received file (bytes, MIME type, file name); the fields `key`, `sha256`, `size`."""
    FetchOpen = Callable[[str], bytes]
    """Fetches a file that is not encrypted from one of WhatsApp's servers. Raises FetchFailed."""

log = get_logger(__name__)

BATCH = 50
GATHER_S = 0.05
"""Events that come so soon after others go together: each publish waits for its confirm, and each removal for the disk.
"""
IDLE_S, EMPTY_S = 1.0, 60.0
"""Between two looks at the outbox: while something waits in it, and when nothing does. An event ends both."""
MAX_PUBLISHED_IDS = 2000
MEDIA_WORKERS = 2
MEDIA_ATTEMPTS = 3
MEDIA_PAUSE_S = 2.0
ORDER_S = 15.0
"""So long what a chat says next waits for the file before it."""


@dataclass(frozen=True)
class EventSource:
    """Where events come from: the session, the connector's name, the engine."""

    session: str
    server: str
    engine: str


class OutboxPublisher:
    """One thread that empties the outbox in order. A message with a file is published when its file is stored.

    Later messages of its chat wait for it, for some seconds; those of other chats do not.
    """

    def __init__(  # noqa: PLR0913 (collaborators)
        self,
        *,
        outbox: Outbox,
        publisher: MessagePublisher,
        engine: Engine,
        source: EventSource,
        save_file: SaveFile,
        fetch_open: FetchOpen | None = None,
        names: ChatNames | None = None,
        ignores: Callable[[str, bool], bool] = lambda _chat, _from_me: False,
        unread: Unread | None = None,
    ) -> None:
        """`fetch_open` fetches what a channel shows to everybody; `ignores` says of which chats nobody wants files."""
        self._names = names
        self._unread = unread
        self._fetch_open = fetch_open
        self._ignores = ignores
        self._outbox = outbox
        self._publisher = publisher
        self._engine = engine
        self._source = source
        self._save_file = save_file
        self._stopping = threading.Event()
        self._fetching: dict[int, tuple[str, float]] = {}  # rows whose file is being downloaded: their chat, since when
        self._held: dict[int, str] = {}  # rows that wait for an earlier one of their chat
        self._fetched: dict[int, Message] = {}
        self._ready: frozenset[int] = frozenset()  # of those, what goes with this batch
        self._published_ids: dict[str, None] = {}
        self._quotes: dict[str, Quoted] = {}  # of this batch
        self._chats: set[str] = set()  # of this batch
        self._media = ThreadPoolExecutor(MEDIA_WORKERS, thread_name_prefix="media")
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Publish what can be published in this time. The rest stays on the disk."""
        self._stopping.set()
        self._outbox.wake()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            try:
                published = self.step()
            except BrokerUnavailable as error:
                log.warning("outbox_waits", rows=len(self._outbox), error=f"{error}")
                published = False
                if self._stopping.wait(IDLE_S):
                    return
            except Exception as error:  # noqa: BLE001 (without this thread nobody hears of any event until the next start)
                log.error(
                    "outbox_not_published",
                    rows=len(self._outbox),
                    error=describe(error),
                    traceback=safe_traceback(error),
                    hint="check the disk of UNOAPI_CONNECTOR_STORE",
                )
                published = False
                if self._stopping.wait(IDLE_S):
                    return
            if published:
                if len(self._outbox) < BATCH:
                    self._stopping.wait(GATHER_S)
            else:
                if self._stopping.is_set() and not self._fetching:
                    return
                waits_s = IDLE_S if len(self._outbox) else EMPTY_S
                self._outbox.wait(0.05 if self._stopping.is_set() else waits_s)

    def step(self) -> bool:
        """Publish one batch. False when there was nothing. Raises BrokerUnavailable; then no event is removed."""
        messages: dict[int, list[Message]] = {}
        self._quotes, self._chats = {}, set()
        self._ready = frozenset(self._fetched)  # what comes meanwhile goes with the next batch, and blocks till then
        for seq in sorted(self._ready):
            messages[seq] = [self._fetched[seq]]
        self._held = {seq: chat for seq, chat in self._held.items() if self._is_blocked(chat)}
        for row in self._outbox.oldest(BATCH, without=frozenset(self._fetching.keys() | self._held.keys())):
            converted = self._messages_of(row)
            if converted is not None:
                messages[row.seq] = converted
        if not messages:
            return False
        by_id = {
            str(message.properties.get("message_id") or seq): message
            for seq, group in messages.items()
            for message in group
        }
        copies = by_id.keys() & self._published_ids.keys()
        self._publisher.publish_messages([message for event_id, message in by_id.items() if event_id not in copies])
        self._remember(by_id)
        self._outbox.remove(list(messages), quotes=self._quotes, chats=self._chats)
        for seq in messages:
            self._fetched.pop(seq, None)
            self._fetching.pop(seq, None)
        return True

    def _is_blocked(self, chat: str) -> bool:
        """Whether a file of this chat is being downloaded: what was written after a picture stays after it."""
        now = time.monotonic()
        return any(
            chat == other and seq not in self._ready and now - since < ORDER_S
            for seq, (other, since) in list(self._fetching.items())
        )

    def _is_ignored(self, event: EngineEvent) -> bool:
        """Whether the session's options ignore the group, channel or list: its files would be stored for nobody."""
        chat = event.data.get("chat")
        if not isinstance(chat, dict) or chat.get("kind") in (None, "user"):
            return False
        try:
            return self._ignores(str(chat.get("jid") or ""), bool(event.data.get("from_me")))
        except Exception as error:  # noqa: BLE001 (the options are not known now: the file is fetched)
            log.debug("session_options_unknown", error=describe(error))
            return False

    def _remember(self, event_ids: Iterable[str]) -> None:
        """WhatsApp and a restarted library may repeat an event: what was confirmed lately is not published again."""
        self._published_ids |= dict.fromkeys(event_ids)
        for oldest in list(self._published_ids)[:-MAX_PUBLISHED_IDS]:
            del self._published_ids[oldest]

    def _messages_of(self, row: OutboxRow) -> list[Message] | None:
        """The messages of a row; None while its file, or one before it in its chat, is being downloaded."""
        try:
            events = [self._completed(event) for event in self._events_of(row)]
            if self._names is not None:
                events = [event if _is_history(event) else self._names.completed(event) for event in events]
            chat = events[0].partition if len(events) == 1 and events[0].type == "message" else ""
            if chat and self._is_blocked(chat):
                self._held[row.seq] = chat
                return None
            if len(events) == 1 and _pending_file(events[0]) is not None and not self._is_ignored(events[0]):
                self._fetching[row.seq] = (chat, time.monotonic())
                self._media.submit(self._fetch, row, events[0])
                return None
            return [self._message(row, event, position) for position, event in enumerate(events)]
        except Exception as error:  # noqa: BLE001 (whatever it is, the event must survive it)
            log.error("event_not_converted", kind=row.kind, seq=row.seq, error=describe(error), hint="unoapi dead list")
            return [self._dead_letter(row, error)]

    def _events_of(self, row: OutboxRow) -> list[EngineEvent]:
        if row.kind != CONTRACT_EVENT:
            return self._engine.convert(row.kind, row.payload)
        document = mended(json.loads(row.payload))
        kind, data = document["type"], document["data"]
        parts: tuple[str, ...] = ()
        if kind == "send_result":
            parts = (data["command_id"], data["status"])
        elif kind == "message":
            retry_count = str(data.get("retry_count", 0))
            parts = (str(data["chat"]["jid"]), str(data["sender"]["jid"]), str(data["id"]), retry_count)
            parts += housekeeping_mark(data) + ((HISTORY_MARK,) if data.get("history") else ())
        chat = data.get("chat") if kind == "message" else None
        return [EngineEvent(kind, data, parts=parts, partition=str(chat["jid"]) if isinstance(chat, dict) else "")]

    def _completed(self, event: EngineEvent) -> EngineEvent:
        """The event, with the names of the options that a vote chose; what answers to it repeat is saved."""
        content = event.data.get("content") if event.type == "message" else None
        if event.type == "session":
            return self._restricted(event)
        if not isinstance(content, dict):
            if event.type == "undecryptable" and event.data.get("unavailable"):
                self._request_again(event)
            return event
        if content.get("kind") == "protocol":
            if content.get("name") == PLACEHOLDER:
                self._request_again(event)
            return event
        names = addresses_of(event.data.get("chat"))
        self._chats |= names
        if self._unread is not None:
            self._unread.note(event.data, names)
        if content.get("kind") == "poll_vote":
            data = {**event.data, "content": self._named(content)}
            return replace(event, data=data)
        sender = event.data.get("sender")
        jid = str(sender.get("jid") or "") if isinstance(sender, dict) else ""
        server_id = int(event.data.get("server_id") or 0)
        quoted = quoted_of(content, sender=jid, from_me=bool(event.data.get("from_me")), server_id=server_id)
        if quoted is not None:
            edited = content.get("target_id") if content["kind"] == "edit" else None
            self._quotes[str(edited or event.data.get("id"))[:512]] = quoted
        return event

    def _restricted(self, event: EngineEvent) -> EngineEvent:
        """A connection of a number that WhatsApp lets write to nobody new is told as that: it is so after each."""
        until_s = self._outbox.noted(RESTRICTED_UNTIL) if event.data.get("state") == "connected" else 0
        if until_s <= time.time():
            return event
        return replace(event, data={**event.data, "state": "restricted", "until": until_s, "still": True})

    def _request_again(self, event: EngineEvent) -> None:
        """Ask the phone, once, for what only it can show. The event goes on: it is told when nothing comes."""
        chat, sender = (str((event.data.get(name) or {}).get("jid") or "") for name in ("chat", "sender"))
        try:
            self._engine.request_again(chat, sender, str(event.data.get("id") or ""))
        except Exception as error:  # noqa: BLE001 (the placeholder's event says what is there)
            log.warning("message_not_requested", message_id=event.data.get("id"), error=describe(error))

    def _named(self, vote: dict[str, Any]) -> dict[str, Any]:
        hashes = vote.get("option_hashes")
        poll = self._outbox.quoted(str(vote.get("poll_id") or "")) if hashes and not vote.get("options") else None
        if poll is None or not isinstance(hashes, list):
            return vote
        names = {hashlib.sha256(option.encode()).hexdigest(): option for option in poll.options}
        return {**vote, "options": [names[digest] for digest in hashes if digest in names]}

    def _message(self, row: OutboxRow, event: EngineEvent, position: int) -> Message:
        session = self._source.session
        # An event without parts of its own is identified by its position in the outbox, which only grows.
        parts = event.parts or (str(row.at_ms), str(row.seq), str(position))
        event_id = computed_id("connector", session, event.type, *parts)
        body: dict[str, object] = {
            "version": 1,
            "type": event.type,
            "event_id": event_id,
            "session": session,
            "server": self._source.server,
            "engine": self._source.engine,
            "seq": row.seq,
            "occurred_at": datetime.fromtimestamp(row.at_ms / 1000, UTC).isoformat(timespec="milliseconds"),
            "partition_key": f"{session}|{event.partition}",
            "data": mended(event.data),
        }
        message_id = str(event.data.get("command_id") or event.data.get("id") or "")[:512]
        if event.type == "message":
            log.debug(UPSERT, message_id=message_id, phone=session)
        job = ReceiveEvent(id=event_id, phone=session, message_id=message_id, event=body)
        return to_message(Envelope(job), self._publisher.topology)

    def _fetch(self, row: OutboxRow, event: EngineEvent) -> None:
        """Download and store a message's file, then release the message, with the file or without it."""
        content = _pending_file(event) or {}
        media = dict(content["media"])
        described = {**content, "media": media}
        for attempt in range(1, MEDIA_ATTEMPTS + 1):
            try:
                data = self._download(media)
                described["mime_type"] = _type_of(content, data)
                filename = str(content.get("filename") or "")
                media |= self._save_file(data, described["mime_type"], filename) | {"state": "ready"}
                break
            except Exception as error:  # noqa: BLE001 (no file may stop its message)
                media["state"] = "failed"
                log.warning(
                    "media_not_fetched", message_id=event.data.get("id"), attempt=attempt, error=describe(error)
                )
                if isinstance(error, MediaTooLarge):
                    break
                if attempt < MEDIA_ATTEMPTS and self._stopping.wait(MEDIA_PAUSE_S * attempt):
                    self._fetching.pop(row.seq, None)  # the next process tries again
                    return
        whole = event.data["content"]
        held = described if content is whole else {**whole, "header_media": described}
        try:
            self._fetched[row.seq] = self._message(row, replace(event, data={**event.data, "content": held}), 0)
        except Exception as error:  # noqa: BLE001 (the event must survive)
            self._fetched[row.seq] = self._dead_letter(row, error)
        self._outbox.wake()

    def _download(self, media: dict[str, Any]) -> bytes:
        descriptor = dict(media.get("descriptor") or {})
        if int(descriptor.get("file_length") or 0) > MAX_BYTES:
            raise MediaTooLarge(MAX_BYTES)
        if self._fetch_open is not None and not descriptor.get("media_key") and descriptor.get("url"):
            data = self._fetch_open(str(descriptor["url"]))
            digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
            if digest != (descriptor.get("file_sha256") or digest):
                raise ValueError("the file is another one than was announced")
            return data
        return self._engine.download(descriptor)

    def _dead_letter(self, row: OutboxRow, error: BaseException) -> Message:
        """An event that could not be converted, as it came."""
        topology = self._publisher.topology
        raw = base64.b64encode(row.payload).decode()
        source = self._source
        body = json.dumps({"session": source.session, "engine": source.engine, "kind": row.kind, "raw": raw})
        queue = topology.queue("incoming.whatsmeow")
        headers = {REASON_HEADER: "not_converted", ERROR_HEADER: describe(error), QUEUE_HEADER: queue}
        properties = {"content_type": "application/json", "content_encoding": "utf-8", "delivery_mode": 2}
        return Message(topology.dead, queue, body, headers, properties)


def _type_of(content: dict[str, Any], data: bytes) -> str:
    """The media type that came with a file; where that says nothing, the one of its bytes, or of its name."""
    said, kind, name = (str(content.get(field) or "") for field in ("mime_type", "kind", "filename"))
    return received_type(said, data[:HEAD_BYTES], name=name, kind=kind)


def addresses_of(chat: object) -> set[str]:
    """The addresses that a chat may be written to by."""
    if not isinstance(chat, dict):
        return set()
    phone, lid = str(chat.get("phone") or ""), str(chat.get("lid") or "")
    return {name for name in (str(chat.get("jid") or ""), to_jid(phone) if phone else "", lid) if name}


def _is_history(event: EngineEvent) -> bool:
    """Whether it was written before the phone was linked: nothing is asked or fetched for thousands of them."""
    return event.type == "message" and event.data.get("history") is True


def _pending_file(event: EngineEvent) -> dict[str, Any] | None:
    """The file of a message, or the one above its buttons, that is still at WhatsApp."""
    if _is_history(event):
        return None
    content = event.data.get("content") if event.type == "message" else None
    file = content.get("header_media") if isinstance(content, dict) and content.get("kind") == "buttons" else content
    if isinstance(file, dict) and file.get("kind") in MEDIA_TYPES and isinstance(file.get("media"), dict):
        return file if file["media"].get("state") == "pending" else None
    return None
