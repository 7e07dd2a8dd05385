"""One command at a time: checked, written to the ledger, sent at most once, its result told."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from unoapi.connector.convert.outbound import Unsendable, media_of, message_of
from unoapi.connector.engines.base import EngineRefused, EngineUnavailable
from unoapi.errors import describe
from unoapi.models.connector.commands import COMMANDS, Command, Read, RejectCall, Send, Typing
from unoapi.models.connector.content import Buttons, Edit, Reaction, Revoke
from unoapi.models.jobs import now_ms
from unoapi.services.retries import backoff
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from unoapi.connector.engines.base import Engine, Sent
    from unoapi.connector.outbox import Outbox
    from unoapi.models.connector.content import Media

    Fetch = Callable[[Media], tuple[Media, bytes]]
    """The bytes of a file to send, with what its store or its server says of it."""

log = get_logger(__name__)

MAX_CRASHES = 3
"""A command at which the process stopped so often, before anything left, is given up."""
POLL_S = 0.1
COMPOSING_S = 1.0
NOT_REPEATED = "Nobody knows whether it left. It is not sent again by itself."


@dataclass(frozen=True)
class Again:
    """Put the command back, for so many milliseconds."""

    command: Command
    after_ms: int


@dataclass(frozen=True)
class RetrySchedule:
    """How often and when a send that certainly did not leave is tried again."""

    limit: int
    base_ms: int
    cap_ms: int


class RateLimiter:
    """At most so many sends per second, with short bursts: who sends too fast is banned."""

    def __init__(self, per_second: float, *, burst: int = 5) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._left = float(burst)
        self._at = time.monotonic()

    def wait(self, stopping: threading.Event) -> None:
        """Until the next send may go."""
        while True:
            now = time.monotonic()
            self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
            self._at = now
            if self._left >= 1 or stopping.wait((1 - self._left) / self._per_second):
                self._left -= 1
                return


class NotConnected(Exception):
    """The process ends, or waited long enough: the command stays with RabbitMQ."""


class Dispatcher:
    """Carries out the commands of one session."""

    def __init__(  # noqa: PLR0913 (collaborators)
        self,
        engine: Engine,
        spool: Outbox,
        *,
        fetch: Fetch,
        pace: RateLimiter,
        ladder: RetrySchedule,
        stopping: threading.Event,
    ) -> None:
        self._engine = engine
        self._outbox = spool
        self._fetch = fetch
        self._pace = pace
        self._ladder = ladder
        self._stopping = stopping

    def handle(self, body: bytes | str) -> Again | None:
        """Carry out one command; its result is on the disk when this returns.

        Raises ValueError for what is no command, NotConnected when it must stay with RabbitMQ.
        """
        command = Command.model_validate(json.loads(body))
        if command.type not in COMMANDS:
            log.warning("unknown_command", type=command.type[:50])
            return None
        if command.type != "send":
            self._small(command)
            return None
        return self._send(command)

    def _send(self, command: Command) -> Again | None:
        known = self._outbox.state_of(command.command_id)
        if known in ("sent", "failed", "ambiguous"):
            return None  # its result is on its way already, or was told
        if known == "sending":
            self._tell(command, "ambiguous", "the connector stopped while it was sending")
            return None
        try:
            send = Send.model_validate(command.data)
        except ValidationError as error:
            self._tell(command, "failed", describe(error), code=131009)
            return None
        if not self._wait_connected(command):
            self._tell(command, "failed", "no connector was connected in time", code=131000)
            return None
        if self._outbox.begin(command.command_id) > MAX_CRASHES * (1 + self._ladder.limit):
            self._tell(command, "failed", "the connector stopped at this message again and again")
            return None
        return self._attempt(command, send)

    def _attempt(self, command: Command, send: Send) -> Again | None:
        try:
            to, message = self._prepared(command, send)
            self._wait_turn()
            self._outbox.mark_sending(command.command_id)
            sent = self._engine.send(to, message)
        except EngineRefused as error:
            self._tell(command, "failed", error.reason, code=error.code)
        except Unsendable as error:
            self._tell(command, "failed", f"{error}", code=131051)
        except EngineUnavailable as error:
            return self._again(command, f"{error}")
        except NotConnected:
            raise
        except Exception as error:  # noqa: BLE001 (anything may have happened)
            if self._outbox.state_of(command.command_id) != "sending":
                return self._again(command, describe(error))
            log.warning("send_ambiguous", message_id=command.command_id, error=describe(error))
            self._tell(command, "ambiguous", describe(error))
        else:
            self._done(command, sent, to)
        return None

    def _wait_turn(self) -> None:
        self._pace.wait(self._stopping)
        if self._stopping.is_set():
            raise NotConnected

    def _prepared(self, command: Command, send: Send) -> tuple[str, dict[str, Any]]:
        to = self._engine.resolve(command.to)
        if send.composing and not isinstance(send.content, Reaction | Revoke | Edit):
            self._engine.typing(to, "recording" if send.content.kind == "audio" else "composing")
            self._stopping.wait(COMPOSING_S)
        media = media_of(send)
        if media is None:
            return to, message_of(send, to=to)
        if media.kind == "sticker" and isinstance(send.content, Buttons):
            raise Unsendable("a sticker cannot stand above buttons")
        described, data = self._fetch(media)
        if isinstance(send.content, Buttons):
            held: Any = send.content.model_copy(update={"header_media": described})
        else:
            held = described
        uploaded = self._engine.upload(media.kind, data)
        return to, message_of(send.model_copy(update={"content": held}), to=to, uploaded=uploaded)

    def _again(self, command: Command, reason: str) -> Again | None:
        self._outbox.mark_new(command.command_id)
        if command.attempt > self._ladder.limit:
            self._tell(command, "failed", reason)
            return None
        delay_ms = backoff(command.attempt, base_ms=self._ladder.base_ms, cap_ms=self._ladder.cap_ms)
        log.info("send_again", message_id=command.command_id, attempt=command.attempt, after_ms=delay_ms, error=reason)
        return Again(command.model_copy(update={"attempt": command.attempt + 1}), delay_ms)

    def _wait_connected(self, command: Command) -> bool:
        """True when connected, false when the command ran out before."""
        while not command.expires_at or now_ms() < command.expires_at:
            if self._engine.connected:
                return True
            if self._stopping.wait(POLL_S):
                raise NotConnected
        return False

    def _done(self, command: Command, sent: Sent, to: str) -> None:
        result = {"wa_id": sent.wa_id, "timestamp": sent.timestamp, "chat": sent.chat or to}
        self._outbox.finish(command.command_id, _result(command, "sent") | result)

    def _tell(self, command: Command, status: str, reason: str, *, code: int = 131000) -> None:
        error = {"code": code, "reason": reason[:300] if status == "failed" else NOT_REPEATED, "raw": reason[:300]}
        self._outbox.finish(command.command_id, _result(command, status) | {"error": error})

    def _small(self, command: Command) -> None:
        """Marks and signs: done once if that is possible now, else forgotten."""
        if not self._wait_connected(command):
            return
        try:
            if command.type == "read":
                read = Read.model_validate(command.data)
                self._engine.mark_read(read.chat, read.sender, list(read.ids), played=read.kind == "played")
            elif command.type == "typing":
                typing = Typing.model_validate(command.data)
                self._engine.typing(typing.chat, typing.state)
            elif command.type == "call.reject":
                call = RejectCall.model_validate(command.data)
                self._engine.reject_call(call.sender, call.id)
        except Exception as error:  # noqa: BLE001 (nobody waits for it, and no message depends on it)
            log.warning("command_failed", type=command.type, error=describe(error))


def _result(command: Command, status: str) -> dict[str, Any]:
    return {"command_id": command.command_id, "status": status, "to": command.to, "attempts": command.attempt}
