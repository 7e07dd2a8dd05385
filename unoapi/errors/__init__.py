"""Everything that can go wrong, drawn once.

UnoError
├── ConfigurationError        the settings or the broker's objects do not fit; the process does not start
├── RequestError              a caller's mistake, answered with a Cloud API error object
├── DeadLettersBusy           another process works at the dead letters
├── ContractBroken            an engine does not keep a rule of the connector's contract
├── NotChecked                what a check of that contract needs was not given
├── TransientError            may go well later: retried on the schedule
│   ├── DeliveryFailed        a webhook did not take the delivery; carries the attempt
│   ├── SendFailed            WhatsApp did not take the message, and it is certain that nothing left
│   ├── FetchFailed           a file could not be fetched from the address that a client gave
│   │   └── FileRefused         and another try would get the same
│   ├── VoiceFailed           a service or the local model did not transcribe, or say, something this time
│   ├── CallbackFailed        the failure callback's receiver did not take it
│   ├── BrokerUnavailable     RabbitMQ did not confirm in time
│   │   └── BrokerBlocked     because of an alarm: it is there, and takes no messages
│   ├── StoreUnavailable      Redis did not answer in time
│   │   ├── StoreRefusesWrites  Redis, or the disk of files, takes no writes: full, or read-only
│   │   └── CommandRefused      Redis answers that this command is wrong
│   ├── NotSent               a request certainly did not leave
│   ├── Unanswered            a request may have left; no answer came
│   ├── EngineUnavailable     the connector's WhatsApp library cannot do it now; certain that nothing left
│   ├── SessionEnding         the session's process ends: its command stays with RabbitMQ
│   └── Postponed             not a failure: come back later, no retry is used up
│       ├── SendPostponed     WhatsApp takes no message now, and it is certain that nothing left
│       ├── Held              a delivery that waits in the holding queue of its endpoint
│       ├── ShareUsed         as many threads as may are at work for an endpoint, a host or a number
│       ├── Unclaimed         Redis could not note who sends a message: its job is marked first
│       ├── SessionUnknown    the session's configuration cannot be read now, or is gone from Redis
│       ├── NoConnector       no connector owns the phone
│       └── NobodyAnswers     a question to a connected phone had no answer
└── PermanentError            will never go well: the task is given up at once
    ├── DeliveryRefused       the endpoint is gone, removed or forbidden; carries the attempt, if one was made
    ├── NumberRemoved         a message of whoever had the number before: it is not sent as who has it now
    ├── TooOld                older than its maximum age
    ├── Poison                processes ended again and again while they had it
    ├── MediaMissing          no such file: never here, deleted or expired
    ├── MediaTooLarge         larger than its type may be
    ├── MediaQuotaReached     the files that a number made have as many bytes together as they may
    ├── VoiceRefused          a service does not transcribe, or say, something for good
    ├── ConversionFailed      an audio could not be made a voice note
    ├── MessageRejected       WhatsApp refused the message; carries a Cloud API error code
    │   └── UnknownMessage    nothing is known of the message that a command is about
    ├── SendRefused           the connector cannot send this; carries a Cloud API error code
    │   └── NewChatsRefused   WhatsApp lets the number open no new chats for some time
    ├── QuestionRefused       WhatsApp refuses what was asked of a phone; carries a Cloud API error code
    ├── InvalidCommand        a message on a queue of commands that is no command
    ├── UnknownNumber         nobody has the number, or the account, of a callback of Meta's
    ├── OddCallback           a part of a callback that no event can be made of
    ├── EventsNotKept         there is no stream of events: it is switched off, or RabbitMQ has none
    ├── TableUnreadable       a file that is no table
    └── OutcomeUnknown        it may have left; never repeated without a person's word

The messages of these errors are shown to operators and written to logs: they hold ids and addresses of our own,
never a token, a message body or a tenant's query string.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

if TYPE_CHECKING:
    from unoapi.models.attempts import Attempt


EX_CONFIG = 78
"""Exit code for a ConfigurationError: starting again does not help, somebody has to change something."""


class UnoError(Exception):
    """Base of all errors of this program. `reason` is a constant word for tables, labels and filters."""

    reason = "error"


class ConfigurationError(UnoError):
    """The settings, or objects that already exist in the broker, do not fit."""

    reason = "configuration"


class RequestError(UnoError):
    """A caller's mistake or a refusal at the door, in the Cloud API's terms.

    `code` is a Cloud API error code, `status` the HTTP status that fits, `details` what the caller should change.
    """

    reason = "request"

    def __init__(self, title: str, *, code: int, status: int, details: str, retry_after_s: int | None = None) -> None:
        super().__init__(title)
        self.title = title
        self.code = code
        self.status = status
        self.details = details
        self.retry_after_s = retry_after_s


class DeadLettersBusy(UnoError):
    """Another process works at the dead letters. `holder` is who, and with which verb, as far as that is known."""

    reason = "busy"

    def __init__(self, holder: str) -> None:
        super().__init__(f"{holder} is at the dead queue. Try again when it is done.")
        self.holder = holder


class ContractBroken(UnoError):
    """An engine does not keep a rule of the connector's contract: found by the conformance kit."""

    reason = "contract_broken"


class NotChecked(UnoError):
    """What a check of the conformance kit needs was not given."""

    reason = "not_checked"


class TransientError(UnoError):
    """May go well later.

    `held_claim` is the claim that the job may still hold, though nothing left: Redis did not say that it is gone.
    """

    reason = "transient"
    held_claim = ""


class DeliveryFailed(TransientError):
    """A webhook did not take the delivery this time."""

    reason = "delivery_failed"

    def __init__(self, message: str, *, attempt: Attempt) -> None:
        super().__init__(message)
        self.attempt = attempt
        self.reason = attempt.outcome or self.reason


class SendFailed(TransientError):
    """WhatsApp did not take the message, and it is certain that nothing left.

    `refusal` is WhatsApp's error, if it gave one: the client gets it when the message is given up. With `keeps_place`
    nothing is wrong with the message itself: those behind it, to the same contact, would be refused as well.
    """

    reason = "send_failed"

    def __init__(self, message: str, *, refusal: dict[str, Any] | None = None, keeps_place: bool = False) -> None:
        super().__init__(message)
        self.refusal = refusal
        self.keeps_place = keeps_place


class CallbackFailed(TransientError):
    """The receiver of failure callbacks did not take one."""

    reason = "callback_failed"

    def __init__(self, message: str, *, attempt: Attempt) -> None:
        super().__init__(message)
        self.attempt = attempt


class BrokerUnavailable(TransientError):
    """RabbitMQ did not confirm in time. The message may have been accepted all the same."""

    reason = "broker_unavailable"


class BrokerBlocked(BrokerUnavailable):
    """RabbitMQ takes no messages while it is short of memory or disk space."""

    reason = "broker_blocked"


class StoreUnavailable(TransientError):
    """Redis, or what holds files, did not answer in time, or is skipped because it did not answer a moment ago."""

    reason = "store_unavailable"


class StoreRefusesWrites(StoreUnavailable):
    """Redis answers, but takes no writes: its memory is full, or it is a read-only replica. Or a disk is full.

    The message says what.
    """

    reason = "store_refuses_writes"


class CommandRefused(StoreUnavailable):
    """Redis answers that a command is wrong, as when its key holds something else. To repeat it does not help."""

    reason = "command_refused"


class NotSent(TransientError):
    """A request certainly did not leave. Who sends a message makes it a SendFailed."""

    reason = "not_sent"


class Unanswered(TransientError):
    """A request may have left; no answer came. Who sends a message makes it an OutcomeUnknown: never sent twice."""

    reason = "unanswered"


class EngineUnavailable(TransientError):
    """The connector's WhatsApp library cannot do it now, and it is certain that nothing left."""

    reason = "engine_unavailable"


class SessionEnding(TransientError):
    """The session's process ends before the command's turn: RabbitMQ gives the command to the next one."""

    reason = "session_ending"


class Postponed(TransientError):
    """Not a failure: run again after `after_ms` milliseconds without using up a retry.

    With `jitter` a little is added to the wait; without, whoever raised it has spread the waits already.
    """

    reason = "postponed"

    def __init__(self, message: str, *, after_ms: int, attempt: Attempt | None = None, jitter: bool = True) -> None:
        super().__init__(message)
        self.after_ms = after_ms
        self.attempt = attempt
        self.jitter = jitter


class ShareUsed(Postponed):
    """Who it is for uses as many threads as it may. `briefly`: it may answer any moment, and nobody waits for that."""

    reason = "share_used"

    def __init__(self, message: str, *, after_ms: int, briefly: bool) -> None:
        super().__init__(message, after_ms=after_ms, jitter=False)
        self.briefly = briefly


class Held(Postponed):
    """A delivery whose endpoint is down or paused: it waits in the holding queue of this token, `after_ms` at most."""

    reason = "held"

    def __init__(self, message: str, *, token: str, after_ms: int, attempt: Attempt | None = None) -> None:
        super().__init__(message, after_ms=after_ms, attempt=attempt, jitter=False)
        self.token = token


class SendPostponed(Postponed):
    """A provider that was asked to send cannot do it now, and it is certain that nothing left.

    `refusal` is as in SendFailed.
    """

    reason = "send_postponed"

    def __init__(self, message: str, *, after_ms: int, refusal: dict[str, Any] | None = None) -> None:
        super().__init__(message, after_ms=after_ms)
        self.refusal = refusal


class Unclaimed(Postponed):
    """Redis could not note who sends a message. It is queued again with a mark that says so, and sent then."""

    reason = "unclaimed"

    def __init__(self) -> None:
        super().__init__("Redis cannot note that this message is being sent", after_ms=0, jitter=False)


class SessionUnknown(Postponed):
    """The session's configuration cannot be read now, or is gone from Redis without having been removed."""

    reason = "session_unknown"

    def __init__(self, message: str) -> None:
        super().__init__(message, after_ms=10_000)


class NoConnector(Postponed):
    """No connector owns the phone. `why` is what is known of that."""

    reason = "no_connector"

    def __init__(self, phone: str, why: str = "") -> None:
        super().__init__(f"no connector is connected for {phone}{f': {why}' if why else ''}", after_ms=5_000)


class NobodyAnswers(Postponed):
    """A question to a connected phone had no answer."""

    reason = "nobody_answers"

    def __init__(self, message: str) -> None:
        super().__init__(message, after_ms=5_000)


class FetchFailed(TransientError):
    """A file could not be fetched from the address that a client gave.

    `after_ms` is when its server wants to be asked again, if it said so.
    """

    reason = "fetch_failed"

    def __init__(self, message: str, *, after_ms: int | None = None) -> None:
        super().__init__(message)
        self.after_ms = after_ms


class VoiceFailed(TransientError):
    """A service that transcribes or speaks, or the local model, did not do it this time."""

    reason = "voice_failed"


class FileRefused(FetchFailed):
    """There is no such file for us at the address, or not the one that was meant. Another try would get the same."""

    reason = "file_refused"


class PermanentError(UnoError):
    """Will never go well."""

    reason = "permanent"


class DeliveryRefused(PermanentError):
    """The endpoint is gone, was removed, or may not be called. `reason` says which."""

    def __init__(self, message: str, *, reason: str, attempt: Attempt | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.attempt = attempt


class MediaMissing(PermanentError):
    """No such file: never here, deleted or expired."""

    reason = "media_missing"


class MediaTooLarge(PermanentError):
    """Larger than a file of its type may be; `limit` is in bytes."""

    reason = "media_too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"the file is larger than {limit} bytes")
        self.limit = limit


class MediaQuotaReached(PermanentError):
    """The files that a number made have as many bytes together as they may; `limit` is in bytes."""

    reason = "media_quota_reached"

    def __init__(self, limit: int) -> None:
        super().__init__(f"the files of the number have the {limit} bytes of UNOAPI_SESSION_MEDIA_MAX already")
        self.limit = limit


class VoiceRefused(PermanentError):
    """A service that transcribes or speaks refuses for good: a wrong key, a file or a model that it does not take."""

    reason = "voice_refused"


class ConversionFailed(PermanentError):
    """An audio could not be made a voice note."""

    reason = "conversion_failed"


class NumberRemoved(PermanentError):
    """The number was removed since a message was accepted, and may be somebody else's now. Nothing is reported."""

    reason = "number_removed"


class TooOld(PermanentError):
    """Waited longer than its maximum age."""

    reason = "too_old"


class EventsNotKept(PermanentError):
    """There is no stream of events to read."""

    reason = "events_not_kept"


class Poison(PermanentError):
    """Processes ended again and again while they had this message, and nothing else."""

    reason = "poison"


class MessageRejected(PermanentError):
    """WhatsApp refused the message. `code` is the Cloud API error code that the client gets."""

    reason = "rejected"

    def __init__(self, title: str, *, code: int, details: str) -> None:
        super().__init__(title)
        self.title = title
        self.code = code
        self.details = details


class UnknownMessage(MessageRejected):
    """A command is about a message of which nothing is known: it is too old, or has not left yet."""

    reason = "unknown_message"


class SendRefused(PermanentError):
    """WhatsApp, its library or the converter refuses a message for good. `code` is a Cloud API error code."""

    reason = "send_refused"

    def __init__(self, message: str, *, code: int = 131000) -> None:
        super().__init__(message)
        self.code = code


class NewChatsRefused(SendRefused):
    """WhatsApp lets the number write to nobody new for a while. Every further try makes that longer."""

    reason = "new_chats_refused"

    def __init__(self, message: str, *, until_s: int = 0) -> None:
        super().__init__(message, code=131049)
        self.until_s = until_s


class QuestionRefused(PermanentError):
    """WhatsApp, or its library, refuses what was asked of a connected phone. `code` is a Cloud API error code."""

    reason = "question_refused"

    def __init__(self, message: str, *, code: int = 131000) -> None:
        super().__init__(message)
        self.code = code


class InvalidCommand(PermanentError):
    """A message on a queue of commands that is no command of the contract."""

    reason = "invalid_command"


class UnknownNumber(PermanentError):
    """Nobody has the number, or the account, that a callback of Meta's is about."""

    reason = "unknown_number"


class OddCallback(PermanentError):
    """A part of a callback that no event can be made of."""

    reason = "odd_callback"


class TableUnreadable(PermanentError):
    """A campaign's file that no rows can be read of."""

    reason = "table_unreadable"


class OutcomeUnknown(PermanentError):
    """The message may have left or not. Never repeated by itself."""

    reason = "outcome_unknown"


def describe(error: BaseException) -> str:
    """One line for operators, at most 300 characters, that cannot hold a message body or a token.

    Our own errors and pydantic's (which hide their input) speak for themselves. Of any other error only the class and
    the line are named, because its text may quote the data that it stumbled over.
    """
    if isinstance(error, UnoError):
        return f"{error}"[:300]
    if isinstance(error, ValidationError):
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        return f"{error.title}: {field}: {first['type']}"[:300]
    frames = traceback.extract_tb(error.__traceback__)
    location = f" in {frames[-1].name} ({frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{location}"[:300]


def safe_traceback(error: BaseException) -> str:
    """The way to the error as text: files, lines and source, but no values. At most 8,000 characters."""
    lines = traceback.format_tb(error.__traceback__)
    return "".join([*lines, describe(error)])[-8000:]
