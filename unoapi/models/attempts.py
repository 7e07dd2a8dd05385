"""What happened so far to a job: attempts, and the history that travels with it."""

from __future__ import annotations

from codecs import BOM_UTF8
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

MAX_ATTEMPTS_SAVED = 50
MAX_ERROR_CHARS = 300
MAX_HELD_CLAIMS = 20
NOT_HTTP = "did not answer in HTTP"
NO_TLS = "TLS handshake failed: the port does not speak TLS"
SILENT = "did not answer within"
"""Reasons of `Answer.error` that a diagnosis knows again."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})
LEADS_NOWHERE = "a redirect, which is not followed: it names no address that can be shown"
PAGES = (b"<!doctype html", b"<html")
PAGE = "a web page came back: perhaps a login, or a proxy, and not the receiver"


class Attempt(BaseModel):
    """One try. `status` is the HTTP status, or none when there was no answer.

    `outcome` is one of delivered, throttled, unreachable, refused, gone, blocked and own_fault; empty when unknown.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    status: int | None = None
    error: str = Field(default="", max_length=MAX_ERROR_CHARS)
    duration_ms: int = Field(default=0, ge=0)
    timings_ms: dict[str, int] = Field(default_factory=dict)
    outcome: str = Field(default="", max_length=32)


class History(BaseModel):
    """Travels in a header beside the job through retries, into the dead letter and back.

    `tries` counts all tries since the last replay (a postponed one too, when a request was made); `attempts` are the
    last 50 of all. `redelivered` stays true once a worker stopped in the middle: a message that is put back for later
    is a new one to the broker, which then no longer knows. `unclaimed`: the message may be sent though Redis could not
    note its claim; a copy that comes back with it may have been sent. `held_claims` are those that it may still hold in
    Redis though nothing left under them. `receipt` is the outcome of a send whose statuses
    are not published yet, as `models.receipts` has it. `refusal` is the error, in the Cloud API's form, with which
    WhatsApp did not take the message at the last try. `internal_errors` counts our own bugs, and `worker_losses`
    the processes that ended while they had this job and nothing else. The aliases are the names in stored jobs.
    """

    model_config = ConfigDict(
        frozen=True, hide_input_in_errors=True, validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )

    replay_count: int = Field(default=0, ge=0, alias="generation")
    tries: int = Field(default=0, ge=0)
    attempts: tuple[Attempt, ...] = ()
    redelivered: bool = False
    internal_errors: int = Field(default=0, ge=0, alias="faults")
    worker_losses: int = Field(default=0, ge=0, alias="deaths")
    unclaimed: bool = False
    held_claims: tuple[str, ...] = ()
    receipt: dict[str, Any] | None = None
    refusal: dict[str, Any] | None = None

    def with_attempt(self, attempt: Attempt) -> History:
        """The history after one more try."""
        attempts = (*self.attempts, attempt)[-MAX_ATTEMPTS_SAVED:]
        return self.model_copy(update={"tries": self.tries + 1, "attempts": attempts})

    def with_held_claim(self, claim: str) -> History:
        """The history of a job that may hold one more claim: of many the first, which Redis may have, and the last."""
        held = (*self.held_claims[:1], *self.held_claims[1:][2 - MAX_HELD_CLAIMS :], claim)
        return self.model_copy(update={"held_claims": held})

    def next_replay(self) -> History:
        """The history of a replay: a new budget, the old attempts still there to read. What was sent stays sent."""
        fresh = {"tries": 0, "redelivered": False, "internal_errors": 0, "worker_losses": 0, "unclaimed": False}
        return self.model_copy(update={"replay_count": self.replay_count + 1, "refusal": None, **fresh})


def redirected_to(address: str) -> str:
    """What a redirect means, in words for an operator; empty without one."""
    return f"a redirect to {address}, which is not followed: change the address" if address else ""


@dataclass(frozen=True)
class Answer:
    """What came back. `status` is none when there was no complete status line with headers; `error` then says why.

    `timings_ms` counts from the start of the exchange to the end of each step: `name_lookup`, `connect`, `tls`,
    `first_byte`, `total`; 0 is a step that did not take place. `retry_after_s` is at most two hours. `blocked` when the
    address guard let no connection through; `error` then names the rule and the setting. `failed_at` is the step that
    went wrong when there is no status, as far as the client knows it: address, guard, name, connection, tls or answer.
    `redirect` is where a redirect leads, without its query. `beginning` is that of the body: it is stored nowhere,
    because a receiver may repeat what it was sent.
    """

    status: int | None = None
    error: str = ""
    duration_ms: int = 0
    timings_ms: dict[str, int] = field(default_factory=dict)
    retry_after_s: int | None = None
    blocked: bool = False
    failed_at: str = ""
    redirect: str = ""
    beginning: bytes = field(default=b"", repr=False)

    @property
    def delivered(self) -> bool:
        """Whether the receiver took it: any 2xx, whatever became of the body."""
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004

    @property
    def is_page(self) -> bool:
        """Whether a web page came, as of a login or of a proxy in the receiver's place."""
        return bool(self.beginning) and self.beginning.removeprefix(BOM_UTF8).lstrip().lower().startswith(PAGES)

    @property
    def remark(self) -> str:
        """What an operator should read beside the status; empty for most."""
        return self.redirected or (PAGE if self.delivered and self.is_page else "")

    @property
    def summary(self) -> str:
        """The status, or why there is none, in a few words."""
        if not self.status:
            return self.error
        return f"HTTP {self.status}, {self.redirected}" if self.redirected else f"HTTP {self.status}"

    @property
    def redirected(self) -> str:
        """What a redirect means; empty for any other answer."""
        return redirected_to(self.redirect) or (LEADS_NOWHERE if self.status in REDIRECTS else "")

    def as_attempt(self) -> Attempt:
        """The attempt in a job's history, dated now."""
        return Attempt(
            status=self.status,
            error=(self.error or self.remark)[:MAX_ERROR_CHARS],
            duration_ms=self.duration_ms,
            timings_ms=self.timings_ms,
            outcome=self.outcome,
        )

    @property
    def outcome(self) -> str:
        """The class of the answer, for reasons and labels."""
        if self.delivered:
            return "delivered"
        if self.blocked:
            return "blocked"
        if self.status is None:
            return "unreachable"
        if self.status == 503 and self.retry_after_s is not None:  # noqa: PLR2004
            return "throttled"
        return {410: "gone", 429: "throttled"}.get(self.status, "refused")


class EarlierAnswer(NamedTuple):
    """The answer to a delivery's attempt that was made before its task began."""

    delivery_id: str
    answer: Answer
