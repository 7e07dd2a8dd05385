"""Dead letters: jobs that were given up, and messages that the broker could not place."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from unoapi.models.phones import digits_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.models.attempts import History
    from unoapi.models.jobs import Job

Outcome = Literal["kept", "replayed", "already_delivered", "needs_force", "left_alone", "purged"]
"""What a verb did with a dead letter.

`needs_force`: a send with unknown outcome, which stays until it is forced. `left_alone`: a lost cause, which stays
until it is named.
"""
PASSED_OVER: frozenset[Outcome] = frozenset({"needs_force", "left_alone"})
"""Of these a verb may meet any number: they do not count for its bound, unless one is named by its id."""
STAYING: frozenset[Outcome] = PASSED_OVER | {"kept"}
"""After these the dead letter is still in its queue."""
LOST_CAUSES = frozenset({"webhook_removed", "number_removed", "gone", "dropped", "blocked", "callback_failed"})
"""Reasons of dead letters that would only die again, and of reports that nobody may want any more."""


@dataclass(frozen=True)
class DeadLetter:
    """One message of the dead queue. `job` is none when it holds no task of ours."""

    id: str
    queue: str
    reason: str
    error: str
    traceback: str
    died_at: datetime | None
    task: str
    history: History
    job: Job | None
    body: bytes = field(repr=False)
    headers: dict[str, Any] = field(repr=False)
    properties: dict[str, Any] = field(repr=False)

    @property
    def phone(self) -> str:
        """The session, or nothing."""
        return self.job.phone if self.job else ""

    @property
    def webhook(self) -> str:
        """The webhook of a delivery, or nothing."""
        return str(getattr(self.job, "webhook_id", "") or "")

    @property
    def message_id(self) -> str:
        """The message it belongs to, or nothing."""
        return self.job.message_id if self.job else ""

    @property
    def age(self) -> timedelta:
        """Since it died. The broker does not date what it could not route: that counts as new, so never as old."""
        return datetime.now(UTC) - self.died_at if self.died_at else timedelta(0)

    def public_fields(self) -> dict[str, Any]:
        """What may be shown, ready for JSON: ids, reason and attempts; no body."""
        return {
            "id": self.id,
            "queue": self.queue,
            "task": self.task,
            "phone": self.phone,
            "webhook": self.webhook,
            "message_id": self.message_id,
            "reason": self.reason,
            "error": self.error,
            "died_at": self.died_at.isoformat() if self.died_at else None,
            "generation": self.history.replay_count,
            "attempts": [attempt.model_dump(mode="json") for attempt in self.history.attempts],
        }


@dataclass(frozen=True)
class DeadLetterQuery:
    """Selects dead letters. Empty fields match all; a phone may be written as people do; `ids` are any of several."""

    id: str = ""
    ids: frozenset[str] = frozenset()
    queue: str = ""
    phone: str = ""
    webhook: str = ""
    reason: str = ""
    older_than: timedelta | None = None

    def matches(self, dead_letter: DeadLetter) -> bool:
        """Whether this dead letter is selected. `queue` may be named with or without the installation's prefix."""
        return (
            self.id in ("", dead_letter.id)
            and (not self.ids or dead_letter.id in self.ids)
            and (
                not self.queue
                or dead_letter.queue in (self.queue, f"{dead_letter.queue.partition('.')[0]}.{self.queue}")
            )
            and (self.phone in ("", dead_letter.phone) or digits_of(self.phone) == dead_letter.phone)
            and self.webhook in ("", dead_letter.webhook)
            and self.reason in ("", dead_letter.reason)
            and (self.older_than is None or dead_letter.age >= self.older_than)
        )

    @property
    def names_a_cause(self) -> bool:
        """Whether it selects by reason, or single dead letters."""
        return bool(self.id or self.ids or self.reason)

    @property
    def empty(self) -> bool:
        """Whether it selects everything."""
        return self == DeadLetterQuery()


@dataclass(frozen=True)
class DeadLetterResult:
    """One selected dead letter, and what was done with it."""

    dead_letter: DeadLetter
    outcome: Outcome


@dataclass(frozen=True)
class Bounds:
    """How much one verb does: so many dead letters, for so many seconds. None is without a bound."""

    dead_letters: int | None = None
    seconds: float | None = None


UNBOUNDED = Bounds()


class DeadLetterWalk:
    """The results of one verb, while it works.

    `complete` says afterwards whether the whole queue was seen, `seen` how much of it, and `total` how many dead
    letters were in it.
    """

    def __init__(self) -> None:
        self.complete = False
        self.seen = 0
        self.total: int | None = None
        self.results: Iterator[DeadLetterResult] = iter(())

    def __iter__(self) -> Iterator[DeadLetterResult]:
        """Do the work, one result at a time. It can be done once."""
        return self.results


EXPLAINED = {
    "refused": ("refused",),
    "unreachable": ("unreachable", "delivery_failed"),
    "throttled": ("throttled",),
    "gone": ("gone",),
    "blocked": ("blocked",),
    "removed": ("webhook_removed", "number_removed", "dropped"),
    "too_old": ("too_old",),
    "outcome_unknown": ("outcome_unknown", "unanswered"),
    "not_connected": ("no_connector", "nobody_answers", "session_ending", "engine_unavailable"),
    "rejected": (
        "new_chats_refused",
        "send_refused",
        "rejected",
        "unknown_message",
        "command_refused",
        "question_refused",
    ),
    "not_sent": ("send_failed", "not_sent", "send_postponed", "unclaimed"),
    "session_unknown": ("session_unknown",),
    "unknown_number": ("unknown_number",),
    "odd_callback": ("odd_callback",),
    "file_missing": ("fetch_failed", "file_refused", "media_missing"),
    "file_refused": ("media_too_large", "media_quota_reached", "conversion_failed"),
    "callback_failed": ("callback_failed",),
    "poison": ("poison", "delivery_limit"),
    "broker": ("unroutable", "expired", "maxlen"),
    "server_away": ("store_unavailable", "store_refuses_writes", "broker_unavailable", "broker_blocked"),
}
"""Reasons that mean the same to a person, by the word of their explanation. All others are errors of ours."""
EXPLAINED_BY_REASON = {reason: word for word, reasons in EXPLAINED.items() for reason in reasons}


def explained_reason(reason: str) -> str:
    """The word under which a reason is explained; `bug` for an error of ours."""
    return EXPLAINED_BY_REASON.get(reason, "bug")
