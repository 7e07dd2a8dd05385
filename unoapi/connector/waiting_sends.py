"""The order of a chat while a send of it waits for another try: what was written after it stays after it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from unoapi.models.jobs import now_ms

if TYPE_CHECKING:
    from unoapi.connector.outbox import Outbox

LEAST_MS = 1000
PATIENCE_S = 60.0
"""So much later than twice its time a send does not come back any more."""


class WaitingSends:
    """For each chat the commands that wait, in their order.

    They stand in the session's file, too, so that a process that begins anew knows of them.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._chats: dict[str, dict[str, tuple[float, float]]] = {}  # when it is due, and when it is given up
        now, at_ms = time.monotonic(), now_ms()
        for chat, command_id, due_ms, lost_ms in outbox.waiting_sends():
            patience_ms = lost_ms - due_ms  # a clock that was set back must not make anybody wait for longer
            due_in_s, lost_in_s = (min(when - at_ms, patience_ms) / 1000 for when in (due_ms, lost_ms))
            self._chats.setdefault(chat, {})[command_id] = (now + due_in_s, now + lost_in_s)

    def behind_ms(self, chat: str, command_id: str) -> int:
        """For how long a command waits behind an earlier one of its chat, in milliseconds; 0: it is its turn."""
        waiting, now = self._chats.get(chat, {}), time.monotonic()
        for earlier, (due, lost) in list(waiting.items()):
            if earlier == command_id:
                return 0
            if lost > now:
                return max(LEAST_MS, int((due - now) * 1000))
            self.end(chat, earlier)
        return 0

    def wait(self, chat: str, command_id: str, *, delay_ms: int) -> None:
        """It comes again after this time, and keeps its place."""
        now, delay_s = time.monotonic(), delay_ms / 1000
        lost_in_s = 2 * delay_s + PATIENCE_S
        self._chats.setdefault(chat, {})[command_id] = (now + delay_s, now + lost_in_s)
        at_ms = now_ms()
        self._outbox.save_waiting_send(chat, command_id, due_ms=at_ms + delay_ms, lost_ms=at_ms + int(lost_in_s * 1000))

    def end(self, chat: str, command_id: str) -> None:
        """It was sent, or never will be."""
        waiting = self._chats.get(chat, {})
        if waiting.pop(command_id, None) is not None:
            self._outbox.remove_waiting_send(command_id)
        if not waiting:
            self._chats.pop(chat, None)
