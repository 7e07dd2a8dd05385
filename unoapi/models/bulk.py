"""Campaigns: one message to many contacts, at the pace of one number.

A campaign's rows are numbered from 0; the id of a row's message is computed of the campaign's id and that number, so
that a batch that is repeated makes the same messages, and a status says by itself whose row it is.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from typing import TYPE_CHECKING, Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from phonenumbers import parse as parse_number
from phonenumbers.timezone import time_zones_for_number
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from unoapi.models.blanks import NothingIsEmpty

if TYPE_CHECKING:
    from unoapi.models.session import Session

CAMPAIGN_ID = re.compile(r"UNO\.CMD\.[0-9A-F]{16}", re.ASCII)
MAX_ROWS = 1_000_000
MAX_BATCH = 1000
MAX_DELAY_S = 86_400
MAX_CAMPAIGNS = 200
"""Of one number, in the list; the oldest that are over leave it first."""
WINDOW = 5
"""Campaign messages of a number that are on their way at once: what a person sends waits behind no more of them."""
CATCH_UP_MS = 1000
"""So late a look may come without the pace being lost."""
MESSAGE_ID = re.compile(r"wamid\.BULK([0-9A-F]{16})([0-9A-F]{8})", re.ASCII)
HOURS = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])-([01]?[0-9]|2[0-3]|24):([0-5][0-9])", re.ASCII)
DAYS = re.compile(r"[1-7](-[1-7])?(,[1-7](-[1-7])?)*", re.ASCII)
DAY = timedelta(days=1)

State = Literal["parsing", "previewed", "running", "paused", "held", "stopped", "done", "failed"]
OPEN: tuple[State, ...] = ("parsing", "previewed", "running", "paused", "held")

QUEUED, SENT, DELIVERED, READ, FAILED = "q", "s", "d", "r", "f"
NO_WHATSAPP, NO_NUMBER, OPTED_OUT, BLACKLISTED, UNKNOWN = "w", "i", "o", "b", "u"
WORDS = {
    "": "scheduled", QUEUED: "queued", SENT: "sent", DELIVERED: "delivered", READ: "read", FAILED: "failed",
    NO_WHATSAPP: "without-whatsapp", NO_NUMBER: "invalid-phone-number", OPTED_OUT: "opted-out",
    BLACKLISTED: "blacklisted", UNKNOWN: "unknown",
}  # fmt: skip
"""The states of a row, as stored and as reports name them; those with a hyphen are the Node version's."""
RANKS = {
    QUEUED: 1, OPTED_OUT: 2, BLACKLISTED: 2, UNKNOWN: 3, SENT: 4, FAILED: 5, NO_WHATSAPP: 5, NO_NUMBER: 5,
    DELIVERED: 6, READ: 7,
}  # fmt: skip
"""A row's state goes forward alone: a failed message may still be delivered, a delivered one is not sent again."""
OF_STATUS = {"sent": SENT, "delivered": DELIVERED, "read": READ, "played": READ, "failed": FAILED}
OF_ERROR = {131026: NO_WHATSAPP, 2: NO_WHATSAPP, 131009: FAILED, 7: NO_NUMBER}
"""Of failed rows, by the code of the error: Meta's and the Node version's."""
RESTRICTIONS = frozenset({131031, 131048, 131049, 131064, 368, 130429, 131056, 80007})
"""Codes with which WhatsApp limits the number, not one message: more of the same would make it worse."""
OF_ONE_CONTACT_AT_META = frozenset({131049, 131056})
"""Those with which Meta spares one contact: too much advertising of all senders, too many messages of this one."""


def _hours(value: str) -> str:
    if not value:
        return value
    found = HOURS.fullmatch(value.replace(" ", ""))
    if found is None or _minutes(found, 1) >= _minutes(found, 3) or _minutes(found, 3) > 24 * 60:
        raise ValueError("hours are written as 09:00-18:00, the first before the second")
    return value.replace(" ", "")


def _minutes(found: re.Match[str], group: int) -> int:
    return int(found[group]) * 60 + int(found[group + 1])


def _days(value: str) -> str:
    if value and not DAYS.fullmatch(value.replace(" ", "")):
        raise ValueError("days are written as 1-5 or 1,3,6: 1 is Monday, 7 is Sunday")
    return value.replace(" ", "")


def _zone(value: str) -> str:
    if value:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("a time zone is named as America/Sao_Paulo") from None
    return value


Hours = Annotated[str, NothingIsEmpty, AfterValidator(_hours), Field(max_length=20)]
Days = Annotated[str, NothingIsEmpty, AfterValidator(_days), Field(max_length=40)]
Zone = Annotated[str, NothingIsEmpty, AfterValidator(_zone), Field(max_length=64)]


class Pace(BaseModel):
    """How fast and when a campaign sends: at most `batch` messages in `delay` seconds, on `days` within `hours`.

    An empty `timezone` is that of the number's country.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    batch: int = Field(5, ge=1, le=MAX_BATCH)
    delay: int = Field(60, ge=1, le=MAX_DELAY_S)
    hours: Hours = ""
    days: Days = ""
    timezone: Zone = ""

    @property
    def step_ms(self) -> float:
        """Milliseconds between two messages."""
        return self.delay * 1000 / self.batch

    def allowed(self, now_ms: int, due_ms: float, *, most: int, least_step_ms: float = 0) -> int:
        """How many messages, of at most so many, may go now, when the next one was due at `due_ms`.

        What a late look missed is caught up with, if it was late for a moment only.
        """
        since_ms = now_ms - max(due_ms, now_ms - CATCH_UP_MS)
        return 0 if since_ms < 0 else min(most, 1 + int(since_ms / max(self.step_ms, least_step_ms)))

    def next_due(self, now_ms: int, due_ms: float, *, sent: int, least_step_ms: float = 0) -> float:
        """When the next message is due, after so many went now."""
        return max(due_ms, now_ms - CATCH_UP_MS) + sent * max(self.step_ms, least_step_ms)

    def closed_s(self, now: datetime, *, phone: str) -> float:
        """Seconds until it may send, 0 when it may now."""
        if not self.hours and not self.days:
            return 0.0
        local = now.astimezone(zone_of(phone, self.timezone))
        for ahead in range(9):
            day = local + ahead * DAY
            if self._is_open_on(day.isoweekday()):
                begins, ends = self._hours_of(day)
                if local < ends:
                    return max(0.0, begins.timestamp() - now.timestamp())
        return DAY.total_seconds()

    def _is_open_on(self, weekday: int) -> bool:
        for part in self.days.split(",") if self.days else ():
            first, _, last = part.partition("-")
            low, high = int(first), int(last or first)
            if low <= weekday <= high or (low > high and not high < weekday < low):
                return True
        return not self.days

    def _hours_of(self, day: datetime) -> tuple[datetime, datetime]:
        found = HOURS.fullmatch(self.hours)
        begins, ends = (_minutes(found, 1), _minutes(found, 3)) if found else (0, 24 * 60)
        midnight = datetime.combine(day.date(), time_of_day(), day.tzinfo)
        return midnight + timedelta(minutes=begins), midnight + timedelta(minutes=ends)


def pace_of(session: Session, **asked: object) -> Pace:
    """The pace of a session's campaigns, and over it what was asked for one of them. Raises ValidationError."""
    own = {name: getattr(session, f"bulk_{name}") for name in Pace.model_fields}
    given = {name: value for name, value in {**own, **_given(asked)}.items() if value is not None}
    return Pace.model_validate(given)


def _given(asked: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in asked.items() if value is not None}


class Campaign(BaseModel):
    """One campaign. Times are Unix milliseconds; `reason` says why it does not go on, `waits` for what it waits now.

    `total` are the rows that can be sent, in the file `rows_key`; the next one is `row`, which begins at byte `offset`.
    `chain` counts how often it was begun or resumed: the jobs of earlier times end. `look` is the job that looks next.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    id: str = Field(pattern=f"^{CAMPAIGN_ID.pattern}$")
    phone: str = Field(pattern=r"^[0-9]{1,20}$")
    name: str = Field(default="", max_length=200)
    state: State = "parsing"
    reason: str = Field(default="", max_length=300)
    waits: str = Field(default="", max_length=300)
    dry_run: bool = False
    notify: bool = False
    pace: Pace = Pace()
    created_ms: int = 0
    started_ms: int = 0
    finished_ms: int = 0
    read: int = 0
    total: int = 0
    bad: int = 0
    duplicates: int = 0
    rows_key: str = ""
    bad_key: str = ""
    chain: int = 0
    look: str = ""
    row: int = 0
    offset: int = 0
    due_ms: float = 0
    last_ms: int = 0
    counts: dict[str, int] = {}

    @property
    def is_over(self) -> bool:
        """Whether nothing more is sent."""
        return self.state not in OPEN

    @property
    def in_flight(self) -> int:
        """Rows whose messages are on their way."""
        return self.counts.get(QUEUED, 0)

    def by_word(self) -> dict[str, int]:
        """How many rows are in which state, by the reports' words."""
        known = {WORDS[code]: count for code, count in self.counts.items() if code in WORDS and count}
        scheduled = self.total - sum(known.values())
        return ({"scheduled": scheduled} if scheduled > 0 else {}) | known


class BadRow(BaseModel):
    """A row that cannot be sent: where it stands, whose it is as it was written, and why."""

    line: int
    number: str = Field(max_length=64)
    reason: str = Field(max_length=300)
    duplicate: bool = False


class GoodRow(BaseModel):
    """A row that can be sent: the message as a client would post it, as JSON."""

    line: int
    to: str
    body: str


def new_campaign_id(key: str = "") -> str:
    """An id in the Node version's form; the same one for the same key."""
    digits = hashlib.sha256(key.encode()).hexdigest()[:16] if key else secrets.token_hex(8)
    return f"UNO.CMD.{digits.upper()}"


def message_id_of(campaign_id: str, row: int) -> str:
    """The id of a row's message."""
    return f"wamid.BULK{campaign_id[-16:]}{row:08X}"


def row_of(message_id: str) -> tuple[str, int] | None:
    """The campaign and the row that a message belongs to; none for any other message."""
    found = MESSAGE_ID.fullmatch(message_id)
    return (f"UNO.CMD.{found[1]}", int(found[2], 16)) if found else None


def code_of(status: str, error_code: int = 0) -> str:
    """The state of a row after a status of its message; empty for one that changes nothing."""
    code = OF_STATUS.get(status, "")
    return OF_ERROR.get(error_code, FAILED) if code == FAILED else code


def zone_of(phone: str, named: str) -> ZoneInfo:
    """The time zone of a session: the one that it names, else the first one of its number's area."""
    if named:
        return ZoneInfo(named)
    try:
        zones = time_zones_for_number(parse_number(f"+{phone}"))
        return ZoneInfo(zones[0])
    except Exception:  # noqa: BLE001 (no number, or a zone that this machine does not know)
        return ZoneInfo("UTC")


def now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)
