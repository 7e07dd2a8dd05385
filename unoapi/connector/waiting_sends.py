"""The order of a chat while a send of it waits for another try: what was written after it stays after it."""

from __future__ import annotations

import time

LEAST_MS = 1000
PATIENCE_S = 60.0
"""So much later than twice its time a send does not come back any more."""


class WaitingSends:
    """For each chat the commands that wait, in their order. A process that begins anew knows of none."""

    def __init__(self) -> None:
        self._chats: dict[str, dict[str, tuple[float, float]]] = {}  # when it is due, and when it is given up

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
        self._chats.setdefault(chat, {})[command_id] = (now + delay_s, now + 2 * delay_s + PATIENCE_S)

    def end(self, chat: str, command_id: str) -> None:
        """It was sent, or never will be."""
        waiting = self._chats.get(chat, {})
        waiting.pop(command_id, None)
        if not waiting:
            self._chats.pop(chat, None)
