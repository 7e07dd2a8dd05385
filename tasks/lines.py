"""Messages to one contact run one after the other, so that no thread of the pool waits for the one before.

What comes while its line is under way stands behind it, as far as there is room: the messages of a slow contact must
not be all that this process has taken from RabbitMQ. The others run at once, and so does what was accepted before one
that stands there: `services.send_order` decides, which alone knows the order over all processes.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasks.running import Run

log = get_logger(__name__)

MOST_OF_ONE = 4


class _Line:
    """One line: what stands behind the message under way, and when the last one of all was accepted."""

    def __init__(self, accepted_at_ms: int) -> None:
        self.behind: deque[Run] = deque()
        self.last_ms = accepted_at_ms


class Lines:
    """The lines of a worker process. `submit` has a thread of the pool call something.

    At most `most` messages stand in them, and few in each.
    """

    def __init__(self, submit: Callable[..., object], *, most: int) -> None:
        self._submit = submit
        self._most = most
        self._lines: dict[str, _Line] = {}  # those that are under way
        self._standing = 0
        self._lock = threading.Lock()

    def run(self, run: Run, name: str, accepted_at_ms: int) -> None:
        """Run a message when those of its line that came before it are done, or at once."""
        with self._lock:
            line = self._lines.get(name)
            if line is None:
                self._lines[name] = _Line(accepted_at_ms)
            elif accepted_at_ms > line.last_ms and len(line.behind) < MOST_OF_ONE and self._standing < self._most:
                line.behind.append(run)
                line.last_ms = accepted_at_ms
                self._standing += 1
                return
        self._submit(*((self._run_first, run, name) if line is None else (run,)))

    def _run_first(self, run: Run, name: str) -> None:
        try:
            run()
        finally:
            self._begin_next(name)

    def _begin_next(self, name: str) -> None:
        with self._lock:
            behind = self._lines[name].behind
            if not behind:
                del self._lines[name]
                return
            run = behind.popleft()
            self._standing -= 1
        try:
            self._submit(self._run_first, run, name)
        except RuntimeError:  # the pool is shutting down, and RabbitMQ gives the others of the line to somebody else
            log.info("left_to_rabbitmq", task_id=run.id)


def line_of(run: Run) -> tuple[str, int] | None:
    """The line in which a message to WhatsApp stands, and when it was accepted; none for one that stands in none.

    What cannot be read stands in none: its task refuses it.
    """
    given = next(iter(run.read_arguments()), None)
    if not isinstance(given, dict):
        return None
    contact, accepted_at_ms = given.get("contact"), given.get("accepted_at_ms")
    return (f"{given.get('phone')}:{contact}", accepted_at_ms) if contact and isinstance(accepted_at_ms, int) else None
