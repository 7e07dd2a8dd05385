"""Which of WhatsApp's message ids is which of ours: `unoapi-id:<P>:<id>`. The pairs may be lost.

`unoapi-mark:<P>:<id>` is the client's own mark on a message (`biz_opaque_callback_data`), under our id.
"""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING

from unoapi.errors import StoreUnavailable
from unoapi.models.message_keys import message_token
from unoapi.stores.owed import OwedCommands

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from unoapi.stores.redis import RedisClient


class RedisMessageIds:
    """Pairs of WhatsApp's message ids and ours. One of Meta's is found from whichever side it names the message.

    What Redis did not take is written when it is next asked: the statuses of a message that was sent during a hiccup
    come later, and have no other way to its client's id.
    """

    def __init__(self, redis: RedisClient, *, ttl_s: int) -> None:
        self._redis = redis
        self._ttl_s = ttl_s
        self._owed = OwedCommands(redis)

    def remember(self, phone: str, *, theirs: str, ours: str) -> None:
        """Save a pair, both ways. Never raises, never waits."""
        self._owed.post(
            ("SET", f"unoapi-id:{phone}:{theirs}", ours, "EX", self._ttl_s),
            ("SET", f"unoapi-id:{phone}:{ours}", theirs, "EX", self._ttl_s),
            *(("SET", key, ours, "EX", self._ttl_s) for key in _token_keys(phone, theirs)),
        )

    def remember_ours(self, phone: str, *, theirs: str, ours: str) -> None:
        """Save which of ours one of theirs is, for a provider that needs no more. Never raises, never waits."""
        self._owed.post(("SET", f"unoapi-id:{phone}:{theirs}", ours, "EX", self._ttl_s))

    def remember_shown(self, phone: str, message_ids: Collection[str]) -> None:
        """Save by which ids clients know messages that others wrote; the first counts. Never raises, never waits."""
        keys = [(key, message_id) for message_id in message_ids for key in _token_keys(phone, message_id)]
        if keys:
            self._owed.post(*(("SET", key, message_id, "NX", "EX", self._ttl_s) for key, message_id in keys))

    def remember_mark(self, phone: str, ours: str, mark: str) -> None:
        """Save the client's own mark on a message. Never raises, never waits."""
        self._owed.post(("SET", _mark_key(phone, ours), mark, "EX", self._ttl_s))

    def marks(self, phone: str, ours: Sequence[str]) -> dict[str, str]:
        """The marks of those messages that have one, by our ids. Never raises."""
        try:
            (marks,) = self._redis.call(("MGET", *(_mark_key(phone, message_id) for message_id in ours)))
        except StoreUnavailable:
            return {}
        return {message_id: str(mark) for message_id, mark in zip(ours, marks, strict=True) if mark}

    def ours(self, phone: str, theirs: str) -> str:
        """Our id, or theirs when no pair is known. Never raises."""
        return self.all_ours(phone, [theirs])[theirs]

    def all_ours(self, phone: str, theirs: Collection[str]) -> dict[str, str]:
        """The same for many. Never raises."""
        try:
            known = self.known_ours(phone, theirs)
        except StoreUnavailable:
            known = {}
        return {one: known.get(one, one) for one in theirs}

    def known_ours(self, phone: str, theirs: Collection[str]) -> dict[str, str]:
        """Our ids of those of which a pair is known, in one command. Raises StoreUnavailable."""
        keys = {one: (f"unoapi-id:{phone}:{one}", *_token_keys(phone, one)) for one in theirs}
        if not keys:
            return {}
        (found,) = self._redis.call(("MGET", *chain.from_iterable(keys.values())))
        self._owed.settle()
        left = iter(found)
        ours = {one: next(filter(None, list(islice(left, len(places)))), None) for one, places in keys.items()}
        return {one: our_id for one, our_id in ours.items() if our_id}

    def theirs(self, phone: str, ours: str) -> str:
        """Their id, or ours when no pair is known. Raises StoreUnavailable."""
        # The second is the place of the Node version's fork.
        ((other, of_fork),) = self._redis.call(("MGET", f"unoapi-id:{phone}:{ours}", f"unoapi-id_rev:{phone}:{ours}"))
        self._owed.settle()
        return str(other or of_fork or ours)


def _token_keys(phone: str, theirs: str) -> list[str]:
    """Where the pair of one of Meta's ids stands, too: whoever names the message from another side finds it there."""
    token = message_token(theirs)
    return [f"unoapi-id:{phone}:~{token}"] if token else []


def _mark_key(phone: str, ours: str) -> str:
    return f"unoapi-mark:{phone}:{ours}"
