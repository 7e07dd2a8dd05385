"""Clients that post events until each one is accepted."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Self

import requests

from tests.support.constants import OPERATOR
from tests.support.events import text_event

if TYPE_CHECKING:
    from collections.abc import Callable

ID_PATTERN = r'"id":\s*"(wamid\.CRASH\d+)"'
REPEAT_S = 0.2
NO_ANSWER = "no answer"


def message_id(number: int) -> str:
    """The id that `ID_PATTERN` finds in the body."""
    return f"wamid.CRASH{number:06d}"


def event(number: int, *, phone: str) -> str:
    """An event with the id of this number."""
    return text_event(message_id(number), f"Event {number} of the crash run", phone=phone)


class Clients:
    """Threads that post events 0 to `events` - 1, at most `rate` new ones per second.

    What is not answered with 200 is posted again, unchanged. Only what was answered with 200 counts as accepted.
    """

    def __init__(self, url: str, *, phone: str, events: int, rate: float, threads: int) -> None:
        self.accepted: set[str] = set()
        self.refusals: Counter[str] = Counter()
        self.slowest_s = 0.0
        self._url = f"{url}/webhooks/whatsapp/{phone}"
        self._phone = phone
        self._events = events
        self._rate = rate
        self._next = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(15)

    def finished(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def wait(self, done: Callable[[], bool], *, timeout_s: float) -> None:
        """Wait for a condition; raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{len(self.accepted)} of {self._events} events were accepted; refusals: {dict(self.refusals)}"
                )
            time.sleep(0.05)

    def _work(self) -> None:
        with requests.Session() as session:
            session.trust_env = False
            session.headers["Authorization"] = f"Bearer {OPERATOR}"
            while not self._stop.is_set():
                with self._lock:
                    number, self._next = self._next, self._next + 1
                if number >= self._events:
                    return
                self._stop.wait(self._started + number / self._rate - time.monotonic())
                self._post(session, number)

    def _post(self, session: requests.Session, number: int) -> None:
        body = event(number, phone=self._phone)
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                answer = str(session.post(self._url, data=body, timeout=15).status_code)
            except requests.RequestException:
                answer = NO_ANSWER
            with self._lock:
                self.slowest_s = max(self.slowest_s, time.monotonic() - started)
                if answer == "200":
                    self.accepted.add(message_id(number))
                    return
                self.refusals[answer] += 1
            self._stop.wait(REPEAT_S)
