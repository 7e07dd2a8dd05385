"""What contacts wrote and nobody has marked as read yet, so that a reply can do it first. Of this process alone."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

NO_MESSAGES = frozenset({"edit", "pin", "poll_vote", "reaction", "revoke"})
"""What stands nowhere in a chat as a message, so that nobody reads it."""
MAX_CHATS, MAX_IDS = 1000, 50
"""So many chats, the ones that wrote last, and the last messages of each."""


class Unread:
    """The messages by chat: a chat is known by several addresses. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._chats: OrderedDict[str, tuple[str, frozenset[str], list[str]]] = OrderedDict()

    def note(self, data: dict[str, Any], names: Collection[str]) -> None:
        """Note a received message, as an event's data has it; `names` are the addresses of its chat."""
        chat, content = data.get("chat"), data.get("content")
        if data.get("history") or not isinstance(content, dict) or content.get("kind") in NO_MESSAGES:
            return
        if not isinstance(chat, dict) or chat.get("kind", "user") != "user" or data.get("from_me"):
            return
        jid, message_id = str(chat.get("jid") or ""), str(data.get("id") or "")
        if not jid or not message_id:
            return
        with self._lock:
            _, known, ids = self._chats.pop(jid, (jid, frozenset[str](), []))
            self._chats[jid] = (jid, known | frozenset(names), [*ids, message_id][-MAX_IDS:])
            while len(self._chats) > MAX_CHATS:
                self._chats.popitem(last=False)

    def take(self, address: str) -> list[tuple[str, list[str]]]:
        """The chats that an address means, each with its messages. They count as read from now on."""
        with self._lock:
            found = [(jid, ids) for jid, names, ids in self._chats.values() if address == jid or address in names]
            for jid, _ in found:
                del self._chats[jid]
        return found
