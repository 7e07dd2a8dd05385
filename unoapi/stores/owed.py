"""Commands that Redis did not take, for when it takes some again."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unoapi.stores.redis import Command, RedisClient

MOST = 2_000
TRY_AGAIN_S = 1.0


class OwedCommands:
    """Posts commands, and again later those that Redis did not take; of too many the oldest are forgotten.

    Each stands for itself: one that Redis refuses for what it is, is not posted again and fails no other. They may be
    carried out twice, and later than others.
    """

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis
        self._owed: deque[Command] = deque(maxlen=MOST)
        self._next_try = 0.0

    def __len__(self) -> int:
        """How many are owed."""
        return len(self._owed)

    def post(self, *commands: Command) -> None:
        """Post commands, after those that are owed. Never raises, never waits."""
        self.settle()
        for command in commands:
            self._redis.post(command, on_lost=partial(self._owed.append, command))

    def settle(self) -> None:
        """Post what is owed, at most once a second. Never raises, never waits."""
        if not self._owed or self._redis.is_skipped or time.monotonic() < self._next_try:
            return
        self._next_try = time.monotonic() + TRY_AGAIN_S
        owed: list[Command] = []
        with suppress(IndexError):
            while True:
                owed.append(self._owed.popleft())
        for command in owed:
            self._redis.post(command, on_lost=partial(self._owed.append, command))
