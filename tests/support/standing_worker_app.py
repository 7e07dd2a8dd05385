"""The workers' application whose thread for first attempts stands still, for good, after some of its turns."""

from __future__ import annotations

import threading
from itertools import count

import tasks.first_attempts
from tasks.app import app
from unoapi.http.webhook_loop import WebhookLoop

__all__ = ["app"]

TURNS = 3
"""With posts under way: enough for a part of the messages of the test."""
tasks.first_attempts.WATCH_S, tasks.first_attempts.STOPPED_AFTER = 0.1, 10
numbers = count()
turn = WebhookLoop.turn


def stand_still_after_some(loop: WebhookLoop, timeout_s: float) -> None:
    if loop.under_way and next(numbers) >= TURNS:
        threading.Event().wait()
    turn(loop, timeout_s)


WebhookLoop.turn = stand_still_after_some  # type: ignore[method-assign,assignment]
