"""What messages call the chats that they stand in: subjects of groups, names of channels, pictures.

WhatsApp says none of it with a message. Everything is looked up once and remembered for a while; a message waits for it
only a moment.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from unoapi.errors import describe
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.connector.engines.base import Engine, EngineEvent, ProfilePicture
    from unoapi.models.connector.options import ConnectorOptions

    Options = Callable[[], ConnectorOptions]
    SavePicture = Callable[[ProfilePicture], str]
    """Stores a picture; a link that opens it. Raises EngineUnavailable, StoreUnavailable."""

log = get_logger(__name__)

WAIT_S = 2.0
"""So long a message waits for what is said of its chat: it is worth no more."""
PATIENCE_S = 60.0
"""After a look-up that took too long no message waits for this time."""
KNOWN_S, UNKNOWN_S = 6 * 3600.0, 600.0
"""So long what was found is believed, and that nothing was found."""
MAX_KNOWN = 5000
SUBJECT, CHANNEL, PICTURE = "subject", "channel", "picture"


class ChatNames:
    """Names and pictures of one session's chats. `save_picture` is used only where the session's options want it."""

    def __init__(self, engine: Engine, *, options: Options, save_picture: SavePicture) -> None:
        self._engine = engine
        self._options = options
        self._save_picture = save_picture
        self._known: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()
        self._asked: dict[tuple[str, str], Future[str]] = {}
        self._impatient_until = 0.0
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="names")

    def completed(self, event: EngineEvent) -> EngineEvent:
        """The event with what is known of its chat and its writer. Never raises."""
        if event.type == "group":
            self._learn(event.data)
            return event
        chat, sender = event.data.get("chat"), event.data.get("sender")
        if event.type not in ("message", "undecryptable") or not isinstance(chat, dict) or not isinstance(sender, dict):
            return event
        try:
            options = self._options()
        except Exception as error:  # noqa: BLE001 (Redis is away: the message goes without)
            log.debug("names_not_looked_up", error=describe(error))
            return event
        jid, kind = str(chat.get("jid") or ""), chat.get("kind")
        if options.ignores(chat=jid, phone="", from_me=False):
            return event
        wanted = self._wanted(jid, str(kind), str(sender.get("jid") or ""), pictures=options.send_profile_picture)
        found = self._look_up(list(wanted))
        if not found:
            return event
        chat, sender = dict(chat), dict(sender)
        for key, text in found.items():
            part, field = wanted[key]
            (chat if part == "chat" else sender)[field] = text
            if part == "sender" and kind == "user" and chat.get("jid") == sender.get("jid"):
                chat[field] = text
        return replace(event, data={**event.data, "chat": chat, "sender": sender})

    def _wanted(self, jid: str, kind: str, sender: str, *, pictures: bool) -> dict[tuple[str, str], tuple[str, str]]:
        """What is to be looked up, and the part and the field of the event that it belongs to."""
        wanted: dict[tuple[str, str], tuple[str, str]] = {}
        if kind == "group":
            wanted[SUBJECT, jid] = ("chat", "subject")
        elif kind == "newsletter":
            wanted[CHANNEL, jid] = ("chat", "subject")
        if pictures and kind in ("user", "group"):
            wanted[PICTURE, jid] = ("chat", "picture")
            if sender != jid:
                wanted[PICTURE, sender] = ("sender", "picture")
            else:
                wanted[PICTURE, jid] = ("sender", "picture")
        return wanted

    def _look_up(self, keys: list[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """What is known or found in time."""
        deadline = time.monotonic() + WAIT_S
        found = {}
        for key in keys:
            text = self._remembered(key)
            if text is None:
                text = self._ask(key, deadline)
            if text:
                found[key] = text
        return found

    def _remembered(self, key: tuple[str, str]) -> str | None:
        with self._lock:
            text, until = self._known.get(key, ("", 0.0))
            return text if until > time.monotonic() else None

    def _ask(self, key: tuple[str, str], deadline: float) -> str:
        """Ask WhatsApp in a thread of its own: its answer may take longer than a message waits."""
        if not self._engine.connected:
            return ""
        with self._lock:
            asked = self._asked.get(key)
            if asked is None and len(self._asked) < MAX_KNOWN:
                asked = self._asked[key] = self._pool.submit(self._find, key)
        now = time.monotonic()
        if asked is None or now < self._impatient_until:
            return ""
        try:
            return asked.result(max(0.0, deadline - now))
        except FutureTimeoutError:
            self._impatient_until = time.monotonic() + PATIENCE_S
            return ""

    def _find(self, key: tuple[str, str]) -> str:
        text, lasts_s = "", UNKNOWN_S
        try:
            text = self._answer(*key)
            lasts_s = KNOWN_S if text else UNKNOWN_S
        except Exception as error:  # noqa: BLE001 (no message depends on a name)
            log.debug("name_not_found", what=key[0], error=describe(error))
        self._remember(key, text, lasts_s)
        with self._lock:
            self._asked.pop(key, None)
        return text

    def _answer(self, what: str, jid: str) -> str:
        if what == SUBJECT:
            return self._engine.groups.find(jid).subject
        if what == CHANNEL:
            return self._engine.channel_name(jid)
        picture = self._engine.picture(jid)
        return self._save_picture(picture) if picture is not None else ""

    def _remember(self, key: tuple[str, str], text: str, lasts_s: float) -> None:
        with self._lock:
            self._known[key] = (text, time.monotonic() + lasts_s)
            self._known.move_to_end(key)
            while len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)

    def _learn(self, change: dict[str, Any]) -> None:
        """A group told itself what is otherwise now."""
        group = change.get("group")
        jid = str(group.get("jid") or "") if isinstance(group, dict) else ""
        if change.get("subject"):
            self._remember((SUBJECT, jid), str(change["subject"]), KNOWN_S)
        if change.get("picture"):
            with self._lock:
                self._known.pop((PICTURE, jid), None)
