"""What a process remembers of sessions, for the time when Redis is away."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from unoapi.errors import SessionUnknown, StoreUnavailable
from unoapi.stores.sessions import RedisSessions, environment_config

if TYPE_CHECKING:
    import pytest

FIRST = 5511999990000


class Redis:
    """A store in which every number is registered; `away` is whether it answers."""

    away = False

    def call(self, *_: Any) -> list[Any]:
        if self.away:
            raise StoreUnavailable("away")
        return [[json.dumps({"provider": "sandbox"}), "1"], [1]]

    def post(self, *_: Any, **__: Any) -> None:
        """Write nothing."""


def known(sessions: RedisSessions, numbers: range) -> list[int]:
    """Those of the numbers whose session can be found."""
    found = []
    for number in numbers:
        try:
            found += [number] if sessions.find(f"{FIRST + number}").stored else []
        except SessionUnknown:
            continue
    return found


def test_when_there_are_too_many_those_that_were_read_last_are_still_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unoapi.stores.sessions.MAX_CACHED", 20)
    monkeypatch.setattr("unoapi.stores.sessions.FRESH_S", 0.0)
    redis: Any = Redis()
    sessions = RedisSessions(redis, environment_config(None), check=lambda _: None)
    known(sessions, range(20))
    known(sessions, range(3))  # read again

    known(sessions, range(20, 26))
    redis.away = True

    assert known(sessions, range(26)) == [0, 1, 2, *range(9, 26)]
