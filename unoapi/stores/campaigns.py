"""Campaigns in Redis: where each is, what became of each row, and who wants no more of them.

`unoapi-bulk:<P>:<id>` holds a campaign, `unoapi-bulk-rows:<P>:<id>` one letter for each row: a megabyte for a million.
`unoapi-bulk-errors:<P>:<id>` says why rows failed, `unoapi-bulk-files:<P>:<id>` which file an address became.
`unoapi-bulks:<P>` lists the campaigns of a number, `unoapi-bulk-turn:<P>` is the one that sends now.
`unoapi-bulk-looks` has the last look at each campaign, `unoapi-bulk-parsing` the one whose file is read.
`unoapi-opt-outs:<P>` holds who wants no campaigns, by the time when they said so.
"""

from __future__ import annotations

import hashlib
import json
from itertools import chain
from typing import TYPE_CHECKING, Any

from unoapi.errors import RequestError
from unoapi.models.bulk import MAX_CAMPAIGNS, OPEN, RANKS, Campaign
from unoapi.models.contacts import contact_key, contact_keys
from unoapi.models.jobs import now_ms
from unoapi.stores.connections import CHANNEL
from unoapi.stores.redis import DELETE_IF_OWN, score_pairs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from unoapi.models.bulk import State
    from unoapi.stores.redis import RedisClient

LEASE_MS = 10_000
LOOKS, LEFT_ALONE_MS = "unoapi-bulk-looks", 1_800_000
"""Longer than any look may be apart from the next one."""
PARSING, PARSING_MS = "unoapi-bulk-parsing", 120_000
MAX_ERRORS = 20_000
MAX_FILES = 1000
MAX_OPT_OUTS = 500_000
PAGE = 1000
OWN_FIELDS = (
    "state",
    "reason",
    "waits",
    "chain",
    "look",
    "row",
    "offset",
    "due_ms",
    "last_ms",
    "started_ms",
    "finished_ms",
)
"""What changes while a campaign runs; the rest is one JSON text."""
_MARK = f"""
local ranks = {{{",".join(f"{code}={rank}" for code, rank in RANKS.items())}}}
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local function mark(row, code)
  local old = redis.call('GETRANGE', KEYS[2], row, row)
  if (ranks[old] or 0) >= ranks[code] then return 0 end
  redis.call('SETRANGE', KEYS[2], row, code)
  if ranks[old] then redis.call('HINCRBY', KEYS[1], 'c:' .. old, -1) end
  redis.call('HINCRBY', KEYS[1], 'c:' .. code, 1)
  return 1
end
"""
MARK = (
    _MARK
    + """
local changed = mark(tonumber(ARGV[1]), ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[4])
if changed == 1 and ARGV[3] ~= '' and redis.call('HLEN', KEYS[3]) < tonumber(ARGV[5]) then
  redis.call('HSET', KEYS[3], ARGV[1], ARGV[3])
  redis.call('EXPIRE', KEYS[3], ARGV[4])
end
return 1
"""
)
ADVANCE = (
    _MARK
    + """
local row = tonumber(redis.call('HGET', KEYS[1], 'row') or '0')
for pair = 7, #ARGV, 2 do mark(tonumber(ARGV[pair]), ARGV[pair + 1]) end
if tonumber(ARGV[1]) > row then
  redis.call('HSET', KEYS[1], 'row', ARGV[1], 'offset', ARGV[2])
end
redis.call('HSET', KEYS[1], 'due_ms', ARGV[3], 'last_ms', ARGV[4], 'waits', '', 'look', ARGV[6])
redis.call('EXPIRE', KEYS[1], ARGV[5])
redis.call('EXPIRE', KEYS[2], ARGV[5])
redis.call('DEL', KEYS[3])
return 1
"""
)
MOVE = """
local state = redis.call('HGET', KEYS[1], 'state')
if not state then return '' end
local allowed = false
for held = 5, #ARGV do allowed = allowed or ARGV[held] == state end
if not allowed then return state end
redis.call('HSET', KEYS[1], 'state', ARGV[1], 'reason', ARGV[2], 'waits', '')
if ARGV[1] == 'running' then
  redis.call('HINCRBY', KEYS[1], 'chain', 1)
  redis.call('HSET', KEYS[1], 'look', '')
  redis.call('HSETNX', KEYS[1], 'started_ms', ARGV[3])
else
  if redis.call('GET', KEYS[2]) == ARGV[4] then redis.call('DEL', KEYS[2]) end
  if ARGV[1] == 'done' or ARGV[1] == 'stopped' or ARGV[1] == 'failed' then
    redis.call('HSET', KEYS[1], 'finished_ms', ARGV[3])
  end
end
return ARGV[1]
"""
LOOKED = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'look', ARGV[1], 'waits', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""
TURN = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return holder end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
"""
OPT_OUT = """
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) and not redis.call('ZSCORE', KEYS[1], ARGV[3]) then return 0 end
redis.call('ZADD', KEYS[1], 'NX', ARGV[2], ARGV[3])
return 1
"""


class RedisCampaigns:
    """Campaigns. Everything raises StoreUnavailable: without Redis no campaign goes on."""

    def __init__(self, redis: RedisClient, *, ttl_s: int) -> None:
        self._redis = redis
        self._ttl_s = ttl_s

    def create(self, campaign: Campaign) -> bool:
        """Save a new campaign. Whether it was not there before."""
        key, listed = _key(campaign.phone, campaign.id), campaigns_key(campaign.phone)
        fields = campaign.model_dump(exclude={"counts", *OWN_FIELDS}, mode="json")
        own = {name: getattr(campaign, name) for name in OWN_FIELDS if name != "started_ms" or campaign.started_ms}
        pairs = [part for name, value in own.items() for part in (name, f"{value}")]
        (added,) = self._redis.call(("HSETNX", key, "campaign", json.dumps(fields)))
        if not added:
            return False
        self._redis.call(
            ("HSET", key, *pairs),
            ("EXPIRE", key, self._ttl_s),
            ("ZADD", listed, campaign.created_ms, campaign.id),
            ("ZREMRANGEBYRANK", listed, 0, -MAX_CAMPAIGNS - 1),
            ("EXPIRE", listed, self._ttl_s),
        )
        return True

    def parsed(self, campaign: Campaign) -> None:
        """Save what was counted in a campaign's file."""
        fields = campaign.model_dump(exclude={"counts", *OWN_FIELDS}, mode="json")
        key = _key(campaign.phone, campaign.id)
        self._redis.call(("HSET", key, "campaign", json.dumps(fields)), ("EXPIRE", key, self._ttl_s))

    def find(self, phone: str, campaign_id: str) -> Campaign | None:
        """A campaign, if it is known."""
        (fields,) = self._redis.call(("HGETALL", _key(phone, campaign_id)))
        return _campaign(fields)

    def all(self, phone: str) -> list[Campaign]:
        """The campaigns of a number, the newest first."""
        (ids,) = self._redis.call(("ZREVRANGE", campaigns_key(phone), 0, MAX_CAMPAIGNS - 1))
        found = self._redis.call(*(("HGETALL", _key(phone, one)) for one in ids)) if ids else []
        return [campaign for campaign in map(_campaign, found) if campaign is not None]

    def move(self, phone: str, campaign_id: str, state: State, *, reason: str = "", of: Sequence[State] = OPEN) -> str:
        """Change the state, if it is one of these now. The state afterwards; empty when the campaign is not known."""
        keys = (_key(phone, campaign_id), _turn(phone))
        arguments: tuple[int | str, ...] = (state, reason[:300], now_ms(), campaign_id, *of)
        (after,) = self._redis.call(("EVAL", MOVE, 2, *keys, *arguments))
        if after == state:
            if state not in OPEN:
                self._redis.post(("ZREM", LOOKS, f"{phone}:{campaign_id}"))
            self._announce(phone, campaign_id)
        return str(after)

    def looked(self, phone: str, campaign_id: str, *, look: str, waits: str = "") -> None:
        """Save which job looks next, and for what the campaign waits."""
        looked = ("EVAL", LOOKED, 1, _key(phone, campaign_id), look, waits[:300], self._ttl_s)
        self._redis.call(looked, ("ZADD", LOOKS, now_ms(), f"{phone}:{campaign_id}"))

    def left_alone(self) -> list[tuple[str, str]]:
        """Campaigns, by number and id, at which nobody has looked for long; each is named once in that time."""
        before_ms = now_ms() - LEFT_ALONE_MS
        (found,) = self._redis.call(("ZRANGE", LOOKS, "-inf", before_ms, "BYSCORE", "LIMIT", 0, PAGE))
        if found:
            self._redis.call(*(("ZADD", LOOKS, "XX", now_ms(), member) for member in found))
        return [(phone, campaign_id) for phone, _, campaign_id in (str(member).partition(":") for member in found)]

    def forget_look(self, phone: str, campaign_id: str) -> None:
        """Nobody has to look at a campaign any more. Never raises."""
        self._redis.post(("ZREM", LOOKS, f"{phone}:{campaign_id}"))

    def take_turn(self, phone: str, campaign_id: str, *, for_ms: int) -> str:
        """Let a campaign be the one of its number that sends, for so long. The one that is."""
        (holder,) = self._redis.call(("EVAL", TURN, 1, _turn(phone), campaign_id, for_ms))
        return str(holder)

    def take_parsing(self, campaign_id: str) -> bool:
        """Let a campaign be the only one whose file is read now, for two minutes more."""
        (holder,) = self._redis.call(("EVAL", TURN, 1, PARSING, campaign_id, PARSING_MS))
        return bool(holder == campaign_id)

    def end_parsing(self, campaign_id: str) -> None:
        """Let the next one be read. Never raises, never waits."""
        self._redis.post(("EVAL", DELETE_IF_OWN, 1, PARSING, campaign_id))

    def lease(self, phone: str, campaign_id: str) -> bool:
        """Whether the caller may queue the next rows: one at a time, until it advances, for ten seconds at most."""
        (taken,) = self._redis.call(("SET", _lease(phone, campaign_id), "1", "NX", "PX", LEASE_MS))
        return bool(taken)

    def advance(self, campaign: Campaign, marks: Mapping[int, str]) -> None:
        """Save how far a campaign is and what became of these rows, and give the lease back."""
        phone, own = campaign.phone, campaign.id
        keys = (_key(phone, own), _rows(phone, own), _lease(phone, own))
        pairs: list[int | str] = [part for mark in marks.items() for part in mark]
        place = (campaign.row, campaign.offset, f"{campaign.due_ms}", campaign.last_ms)
        arguments: tuple[int | str, ...] = (*place, self._ttl_s, campaign.look, *pairs)
        self._redis.call(("EVAL", ADVANCE, 3, *keys, *arguments), ("ZADD", LOOKS, now_ms(), f"{phone}:{own}"))
        self._announce(phone, own)

    def mark(self, phone: str, campaign_id: str, row: int, code: str, *, error: str = "") -> None:
        """Save what became of a row, with the error if it failed."""
        keys = (_key(phone, campaign_id), _rows(phone, campaign_id), _errors(phone, campaign_id))
        self._redis.call(("EVAL", MARK, 3, *keys, row, code, error[:200], self._ttl_s, MAX_ERRORS))

    def codes(self, phone: str, campaign_id: str, first: int, count: int) -> str:
        """One letter for each of these rows; a space for one of which nothing is known."""
        (found,) = self._redis.call(("GETRANGE", _rows(phone, campaign_id), first, first + count - 1))
        letters = found.decode("ascii", "replace") if isinstance(found, bytes) else f"{found}"
        return letters.replace("\x00", " ").ljust(count)

    def errors(self, phone: str, campaign_id: str, rows: Sequence[int]) -> dict[int, str]:
        """Why these rows failed, as far as it is known."""
        if not rows:
            return {}
        (found,) = self._redis.call(("HMGET", _errors(phone, campaign_id), *rows))
        return {row: str(error) for row, error in zip(rows, found, strict=True) if error}

    def remember_file(self, phone: str, campaign_id: str, link: str, media_id: str) -> None:
        """Remember which file an address of a campaign became. Never raises, never waits."""
        key = f"unoapi-bulk-files:{phone}:{campaign_id}"
        self._redis.post(("HSETNX", key, _digest(link), media_id), ("EXPIRE", key, self._ttl_s))

    def files(self, phone: str, campaign_id: str, links: Sequence[str]) -> dict[str, str]:
        """The files of those addresses that were fetched before."""
        if not links:
            return {}
        key = f"unoapi-bulk-files:{phone}:{campaign_id}"
        (found,) = self._redis.call(("HMGET", key, *map(_digest, links)))
        return {link: str(media_id) for link, media_id in zip(links, found, strict=True) if media_id}

    def opt_out(self, phone: str, contacts: Sequence[str]) -> None:
        """Remember who wants no campaigns. Raises RequestError when there are too many."""
        at_ms = now_ms()
        added = self._redis.call(
            *(("EVAL", OPT_OUT, 1, _opt_outs(phone), MAX_OPT_OUTS, at_ms, contact_key(one)) for one in contacts)
        )
        if not all(added):
            details = f"The list has at most {MAX_OPT_OUTS} contacts."
            raise RequestError("Too many contacts opted out", code=100, status=400, details=details)

    def opt_in(self, phone: str, contacts: Sequence[str]) -> int:
        """Forget that they want none. How many were on the list."""
        keys = dict.fromkeys(chain.from_iterable(map(contact_keys, contacts)))
        (removed,) = self._redis.call(("ZREM", _opt_outs(phone), *keys))
        return int(removed)

    def opted_out(self, phone: str, contacts: Sequence[str]) -> set[str]:
        """Who of these wants no campaigns."""
        if not contacts:
            return set()
        (times,) = self._redis.call(("ZMSCORE", _opt_outs(phone), *map(contact_key, contacts)))
        return {contact for contact, at in zip(contacts, times, strict=True) if at is not None}

    def opt_outs(self, phone: str) -> Iterator[tuple[str, int]]:
        """All who want none, with the time in Unix milliseconds, the first one first. Read in pages."""
        start = 0
        while True:
            (page,) = self._redis.call(("ZRANGE", _opt_outs(phone), start, start + PAGE - 1, "WITHSCORES"))
            pairs = score_pairs(page)
            yield from ((contact, int(at)) for contact, at in pairs)
            if len(pairs) < PAGE:
                return
            start += PAGE

    def _announce(self, phone: str, campaign_id: str) -> None:
        """Let front ends know, at their socket."""
        shown = {"phone": phone, "type": "bulk", "content": {"id": campaign_id}}
        self._redis.post(("PUBLISH", CHANNEL, json.dumps(shown)))


def _campaign(fields: Any) -> Campaign | None:
    saved = fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
    if "campaign" not in saved:
        return None
    counts = {name[2:]: int(value) for name, value in saved.items() if name.startswith("c:") and int(value) > 0}
    own = {name: saved[name] for name in OWN_FIELDS if name in saved}
    return Campaign.model_validate({**json.loads(saved["campaign"]), **own, "counts": counts})


def campaigns_key(phone: str) -> str:
    """The key of the list of a number's campaigns."""
    return f"unoapi-bulks:{phone}"


def _digest(link: str) -> str:
    return hashlib.sha256(link.encode("utf-8", "replace")).hexdigest()[:24]


def _key(phone: str, campaign_id: str) -> str:
    return f"unoapi-bulk:{phone}:{campaign_id}"


def _rows(phone: str, campaign_id: str) -> str:
    return f"unoapi-bulk-rows:{phone}:{campaign_id}"


def _errors(phone: str, campaign_id: str) -> str:
    return f"unoapi-bulk-errors:{phone}:{campaign_id}"


def _lease(phone: str, campaign_id: str) -> str:
    return f"unoapi-bulk-lease:{phone}:{campaign_id}"


def _turn(phone: str) -> str:
    return f"unoapi-bulk-turn:{phone}"


def _opt_outs(phone: str) -> str:
    return f"unoapi-opt-outs:{phone}"
