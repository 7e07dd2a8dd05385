"""Carries out the commands of one session, one at a time: written to the send log, sent at most once, with a result."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from unoapi.broker.connector_commands import parse_command
from unoapi.connector.convert.outbound import INVALID, UNSUPPORTED, media_of, message_of, shown_as
from unoapi.connector.media import picture_of
from unoapi.connector.outbox import RESTRICTED_UNTIL
from unoapi.connector.waiting_sends import WaitingSends
from unoapi.errors import (
    EngineUnavailable,
    NewChatsRefused,
    QuestionRefused,
    SendRefused,
    SessionEnding,
    describe,
)
from unoapi.models.connector.commands import (
    COMMANDS,
    Block,
    ChangeProfile,
    ConnectorCommand,
    Quote,
    Read,
    RejectCall,
    Send,
    Typing,
)
from unoapi.models.connector.content import (
    CAPTIONED,
    WORDS,
    Buttons,
    Edit,
    ListMenu,
    Media,
    Pin,
    Reaction,
    Revoke,
    Text,
    spoken,
    with_words,
)
from unoapi.models.connector.quoting import MAX_CHARS, Quoted, quoted_of
from unoapi.models.jobs import now_ms
from unoapi.models.phones import (
    NUMBER_IN_TEXT,
    USER,
    is_channel,
    is_group,
    is_individual,
    to_jid,
    user_of,
    with_ninth_digit,
)
from unoapi.services.retries import backoff
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from unoapi.connector.engines.base import Engine, Sent
    from unoapi.connector.media import FetchFile
    from unoapi.connector.outbox import Outbox
    from unoapi.connector.unread import Unread

    Republish = Callable[[ConnectorCommand, int], None]
    """Publishes a command again, to be delivered after so many milliseconds. Raises BrokerUnavailable."""

log = get_logger(__name__)

MAX_CRASHES = 3
"""A command is given up when the process stopped so often with it before anything left."""
MAX_MENTIONS = 100
POLL_S = 0.1
COMPOSING_S = 1.0
STILL_MS = 120_000
"""A session that sent nothing for so long does not work its queue off: what is too old by then has expired."""
RESTRICTED_S, MAX_RESTRICTED_S = 3600, 86_400
"""WhatsApp does not say for how long it refuses new chats: an hour, then twice as long each time, at most a day."""
RESTRICTED_FOR = "restricted_for"
NEW_CHATS, NEW_CHATS_DAY = "new_chats", "new_chats_day"
DAY_S = 86_400
NEVER_EDITED = frozenset({"audio", "sticker", "location", "contacts", "poll", "buttons", "list"})
EDIT_WINDOW_MS = 20 * 60_000
"""WhatsApp's own bound is 15 minutes; phones take edits that were on their way."""
UNKNOWN_OUTCOME = "Nobody knows whether it left. It is not sent again by itself."


@dataclass(frozen=True)
class SendRetrySchedule:
    """How often and when a send that certainly did not leave is tried again."""

    limit: int
    base_ms: int
    cap_ms: int


class RateLimiter:
    """A token bucket: at most so many sends per second, with short bursts. WhatsApp bans who sends too fast."""

    def __init__(self, per_second: float, *, burst: int = 5) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._tokens = float(burst)
        self._at = time.monotonic()

    def wait(self, stopping: threading.Event) -> None:
        """Return when the next send may go, or when `stopping` is set."""
        while True:
            now = time.monotonic()
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second)
            self._at = now
            if self._tokens >= 1 or stopping.wait((1 - self._tokens) / self._per_second):
                self._tokens -= 1
                return


class CommandHandler:
    """The commands of one session."""

    def __init__(  # noqa: PLR0913 (collaborators)
        self,
        *,
        engine: Engine,
        outbox: Outbox,
        fetch_file: FetchFile,
        republish: Republish,
        rate_limiter: RateLimiter,
        retry_schedule: SendRetrySchedule,
        stopping: threading.Event,
        new_chats_per_day: int = 0,
        unread: Unread | None = None,
    ) -> None:
        """`new_chats_per_day`: to so many contacts the number may write first; 0: to any number."""
        self._unread = unread
        self._new_chats_per_day = new_chats_per_day
        self._engine = engine
        self._outbox = outbox
        self._fetch_file = fetch_file
        self._republish = republish
        self._rate_limiter = rate_limiter
        self._retry_schedule = retry_schedule
        self._stopping = stopping
        self._waiting_sends = WaitingSends(outbox)
        self._worked_at_ms = outbox.last_sent_ms()

    def handle(self, body: bytes | str) -> None:
        """Carry out one command. When this returns its result is on the disk, or the command is published again.

        Raises InvalidCommand; SessionEnding and BrokerUnavailable when RabbitMQ has to deliver the command again.
        """
        command = parse_command(body)
        if command.type not in COMMANDS:
            log.warning("unknown_command", type=command.type[:50])
        elif command.type == "send":
            self._send(command)
        else:
            self._signal(command)

    def _send(self, command: ConnectorCommand) -> None:
        state = self._outbox.state_of(command.command_id)
        if state in ("sent", "failed", "ambiguous"):
            return  # the result was written together with this state
        if state == "sending":
            self._finish_unsent(command, "ambiguous", "the connector stopped while it was sending")
            return
        behind_ms = self._waiting_sends.behind_ms(command.to, command.command_id)
        if behind_ms and not _is_expired(command):
            self._put_off(command, behind_ms)
            return
        try:
            send = Send.model_validate(command.data)
        except ValidationError as error:
            self._finish_unsent(command, "failed", describe(error), code=131009)
            return
        if not self._wait_connected(command):
            self._finish_unsent(command, "failed", "no connector was connected in time")
            return
        if self._outbox.begin(command.command_id) > MAX_CRASHES * (1 + self._retry_schedule.limit):
            self._finish_unsent(command, "failed", "the connector stopped at this message again and again")
            return
        self._attempt(command, send)
        self._worked_at_ms = now_ms()

    def _attempt(self, command: ConnectorCommand, send: Send) -> None:
        try:
            to = self._engine.resolve(command.to)
            self._ensure_allowed(command, to)
            message = self._prepare(send, to)
            self._wait_for_rate_limit()
            self._outbox.mark_sending(command.command_id)
            sent = self._engine.send(to, message) if message else self._react_in_channel(send.content, to)
        except SendRefused as error:
            if isinstance(error, NewChatsRefused) and not error.until_s:
                self._restrict()
            self._finish_unsent(command, "failed", f"{error}", code=error.code)
        except EngineUnavailable as error:
            self._retry(command, f"{error}")
        except SessionEnding:
            raise
        except Exception as error:  # noqa: BLE001 (anything may have happened)
            if self._outbox.state_of(command.command_id) == "sending":
                log.warning("send_ambiguous", message_id=command.command_id, error=describe(error))
                self._finish_unsent(command, "ambiguous", describe(error))
            else:
                self._retry(command, describe(error))
        else:
            self._finish_sent(command, send, sent, to, message)

    def _wait_for_rate_limit(self) -> None:
        self._rate_limiter.wait(self._stopping)
        if self._stopping.is_set():
            raise SessionEnding("the session's process ends before the send")

    def _ensure_allowed(self, command: ConnectorCommand, to: str) -> None:
        """Raise NewChatsRefused for a new chat beyond the day's, or while WhatsApp refuses them.

        Each further try would make that longer.
        """
        until_s = self._outbox.noted(RESTRICTED_UNTIL)
        restricted = until_s > time.time()
        if not (restricted or self._new_chats_per_day) or not is_individual(to):
            return
        if self._outbox.knows({to, to_jid(command.to)}):
            return
        if restricted:
            shown = datetime.fromtimestamp(until_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
            raise NewChatsRefused(f"WhatsApp lets this number write to nobody new until about {shown}", until_s=until_s)
        if self._new_chats_today() >= self._new_chats_per_day:
            reason = f"today's {self._new_chats_per_day} new chats are used up (UNOAPI_CONNECTOR_NEW_CHATS_PER_DAY)"
            raise NewChatsRefused(reason, until_s=(_today() + 1) * DAY_S)

    def _new_chats_today(self) -> int:
        return self._outbox.noted(NEW_CHATS) if self._outbox.noted(NEW_CHATS_DAY) == _today() else 0

    def _count_new_chat(self, chats: set[str], to: str) -> None:
        if self._new_chats_per_day and is_individual(to) and not self._outbox.knows(chats):
            count = self._new_chats_today() + 1
            self._outbox.note(NEW_CHATS_DAY, _today())
            self._outbox.note(NEW_CHATS, count)

    def _restrict(self) -> None:
        seconds = min(2 * self._outbox.noted(RESTRICTED_FOR) or RESTRICTED_S, MAX_RESTRICTED_S)
        until_s = int(time.time()) + seconds
        self._outbox.note(RESTRICTED_FOR, seconds)
        self._outbox.note(RESTRICTED_UNTIL, until_s)
        log.warning("new_chats_refused", until_s=until_s, hint="answer only; write to fewer new contacts a day")
        self._outbox.append_event("session", {"state": "restricted", "until": until_s})

    def _lift_restriction(self, chats: set[str]) -> None:
        """A new chat was taken: WhatsApp refuses them no more."""
        if self._outbox.noted(RESTRICTED_UNTIL) and not self._outbox.knows(chats):
            self._outbox.note(RESTRICTED_UNTIL, 0)
            self._outbox.note(RESTRICTED_FOR, 0)
            self._outbox.append_event("session", {"state": "connected", "reason": "new chats are possible again"})

    def _prepare(self, send: Send, to: str) -> dict[str, Any]:
        """WhatsApp's message; a file is fetched and uploaded. Empty for a reaction in a channel: it is no message."""
        if send.about and self._outbox.state_of(send.about) == "failed":
            raise SendRefused("what these words belong to was not sent", code=INVALID)
        if isinstance(send.content, Reaction) and is_channel(to):
            self._number_in_channel(send.content)
            return {}
        send = send.model_copy(update={"context": self._quote(send.context, to)}) if send.context else send
        send = self._with_mentions(self._with_caption(send), to)
        if not isinstance(send.content, Reaction | Pin | Revoke | Edit):
            self._act_as_people_do(send, to)
        media = media_of(send)
        if media is None:
            return message_of(send, to=to)
        if media.kind == "sticker" and isinstance(send.content, Buttons):
            raise SendRefused("a sticker cannot stand above buttons", code=UNSUPPORTED)
        described, data = self._fetch_file(media)
        content: Any = described
        if isinstance(send.content, Buttons):
            content = send.content.model_copy(update={"header_media": described})
        uploaded = self._engine.upload(media.kind, data)
        return message_of(send.model_copy(update={"content": content}), to=to, uploaded=uploaded)

    def _act_as_people_do(self, send: Send, to: str) -> None:
        """Read what the contact wrote, then type, where the session wants that."""
        for chat, ids in self._unread.take(to) if send.read_first and self._unread is not None else ():
            try:
                self._engine.mark_read(chat, chat, ids, played=False)
            except Exception as error:  # noqa: BLE001 (no message depends on it)
                log.info("not_marked_as_read", error=describe(error))
        if send.composing:
            self._engine.typing(to, "recording" if send.content.kind == "audio" else "composing")
            self._stopping.wait(COMPOSING_S)

    def _react_in_channel(self, reaction: Any, to: str) -> Sent:
        return self._engine.react_in_channel(to, self._number_in_channel(reaction), reaction.emoji)

    def _number_in_channel(self, reaction: Reaction) -> int:
        """The number that a channel's message has there. Raises SendRefused."""
        about = self._outbox.quoted(reaction.target_id)
        if about is None or not about.server_id:
            raise SendRefused("nothing is known of this message of the channel, or it is too old", code=131009)
        return about.server_id

    def _with_caption(self, send: Send) -> Send:
        """An edit of a file's message: its new words are the file's caption."""
        edit = send.content
        if not isinstance(edit, Edit) or not isinstance(edit.content, Text):
            return send
        edited = self._outbox.quoted(edit.target_id)
        if edited is not None and edited.kind in NEVER_EDITED:
            raise SendRefused("WhatsApp edits texts and captions only", code=UNSUPPORTED)
        if edited is not None and 0 < edited.sent_ms < now_ms() - EDIT_WINDOW_MS:
            raise SendRefused("WhatsApp shows edits within 15 minutes only", code=131009)
        if edited is None or edited.kind not in CAPTIONED:
            return send
        caption = Media.model_validate({"kind": edited.kind, "caption": edit.content.body})
        return send.model_copy(update={"content": edit.model_copy(update={"content": caption})})

    def _with_mentions(self, send: Send, to: str) -> Send:
        """The mentions by the addresses that WhatsApp knows: a phone marks only what stands so in the text, too."""
        if not send.mentions:
            return send
        members = self._members(to)
        addresses = {
            mention: members.get(with_ninth_digit(user_of(mention))) or self._address(mention)
            for mention in send.mentions[:MAX_MENTIONS]
        }
        users = {with_ninth_digit(user_of(mention)): user_of(address) for mention, address in addresses.items()}
        content, said = send.content, spoken(send.content)
        if (field := WORDS.get(type(said))) is not None:
            written = NUMBER_IN_TEXT.sub(
                lambda found: f"@{users.get(with_ninth_digit(found[1]), found[1])}", str(getattr(said, field))
            )
            content = with_words(content, written)
        mentions = (*addresses.values(), *send.mentions[MAX_MENTIONS:])
        return send.model_copy(update={"mentions": mentions, "content": content})

    def _members(self, to: str) -> dict[str, str]:
        """By which address a group knows each member: newer groups know them by LIDs, and mark no other."""
        if not is_group(to):
            return {}
        try:
            members = self._engine.groups.find(to).members
        except (QuestionRefused, EngineUnavailable) as error:
            log.debug("members_unknown", error=describe(error))
            return {}
        return {with_ninth_digit(member.phone): member.jid for member in members if member.phone and member.jid}

    def _address(self, mention: str) -> str:
        try:
            return self._engine.resolve(user_of(mention)) if mention.endswith(f"@{USER}") else mention
        except (SendRefused, EngineUnavailable):
            return mention

    def _quote(self, quote: Quote, to: str) -> Quote:
        """The quote with what this session knows of its message: its content and its writer.

        Of a message that nobody knows any more the contact is taken for the writer, where only one can be.
        """
        quoted = quote.quoted or self._outbox.quoted(quote.id)
        from_me = quote.from_me or (quoted is not None and quoted.from_me)
        somebody = to if is_individual(to) else ""
        writer = quote.participant or (quoted.sender if quoted is not None else somebody)
        participant = (self._engine.account or writer) if from_me else writer
        return quote.model_copy(update={"quoted": quoted, "participant": participant})

    def _retry(self, command: ConnectorCommand, reason: str) -> None:
        """Publish a command again that certainly did not leave, until the schedule is at its end."""
        self._outbox.mark_unsent(command.command_id)
        schedule = self._retry_schedule
        if command.attempt > schedule.limit:
            self._finish_unsent(command, "failed", reason)
            return
        delay_ms = backoff(command.attempt, base_ms=schedule.base_ms, cap_ms=schedule.cap_ms)
        log.info("send_retried", message_id=command.command_id, attempt=command.attempt, in_ms=delay_ms, error=reason)
        self._put_off(command.model_copy(update={"attempt": command.attempt + 1}), delay_ms)

    def _put_off(self, command: ConnectorCommand, delay_ms: int) -> None:
        """Publish it again for later; what is for the same chat waits behind it."""
        self._waiting_sends.wait(command.to, command.command_id, delay_ms=delay_ms)
        self._republish(command, delay_ms)

    def _wait_connected(self, command: ConnectorCommand) -> bool:
        """True when connected; False when the command expired before. Raises SessionEnding.

        What only stood behind others, in a queue that was worked off all the time, has not expired.
        """
        while True:
            if _is_expired(command) and now_ms() - self._worked_at_ms > STILL_MS:
                return False
            if self._engine.connected:
                return True
            if self._stopping.wait(POLL_S):
                raise SessionEnding("the session's process ends before it was connected")

    def _finish_sent(self, command: ConnectorCommand, send: Send, sent: Sent, to: str, message: dict[str, Any]) -> None:
        result = {"wa_id": sent.wa_id, "timestamp": sent.timestamp, "chat": sent.chat or to}
        quoted = self._quoted(send, sent, message)
        chats = {to, sent.chat or to, to_jid(command.to)}
        self._lift_restriction(chats)
        self._count_new_chat(chats, to)
        self._outbox.finish(command.command_id, _result(command, "sent") | result, quoted=quoted, chats=chats)
        self._waiting_sends.end(command.to, command.command_id)

    def _quoted(self, send: Send, sent: Sent, message: dict[str, Any]) -> Quoted | None:
        """What an answer will repeat of a message that was sent. An edit changes the words, not what they stand in."""
        account, content = self._engine.account, send.content
        document = content.model_dump(mode="json")
        quoted = quoted_of(document, sender=account, from_me=True, server_id=sent.server_id)
        if quoted is None:
            return None
        kind, name = shown_as(message)
        if kind and isinstance(content, Buttons | ListMenu):  # numbered lines, perhaps below a file
            quoted = quoted.model_copy(update={"kind": kind})
        if name:  # by which a document is shown: it may be known to the store alone
            quoted = quoted.model_copy(update={"text": name[:MAX_CHARS]})
        if not isinstance(content, Edit) or (before := self._outbox.quoted(content.target_id)) is None:
            return quoted.model_copy(update={"sent_ms": sent.timestamp * 1000})
        words = before.text if before.kind == "document" else quoted.text  # a document is shown by its name
        return before.model_copy(update={"text": words})

    def _finish_unsent(self, command: ConnectorCommand, status: str, reason: str, *, code: int = 131000) -> None:
        """Record `failed` (certain that nothing left) or `ambiguous` (it may have left)."""
        shown = reason[:300] if status == "failed" else UNKNOWN_OUTCOME
        error = {"code": code, "reason": shown, "raw": reason[:300]}
        self._outbox.finish(command.command_id, _result(command, status) | {"error": error})
        self._waiting_sends.end(command.to, command.command_id)

    def _signal(self, command: ConnectorCommand) -> None:
        """Read marks, typing, refused calls, blocks: done as soon as it is possible, else dropped, without a result."""
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
            elif command.type == "block":
                block = Block.model_validate(command.data)
                self._engine.block(self._engine.resolve(block.contact), blocked=block.blocked)
            elif command.type == "profile":
                profile = ChangeProfile.model_validate(command.data)
                self._engine.change_profile(profile.about, picture_of(profile.picture, self._fetch_file))
        except Exception as error:  # noqa: BLE001 (nobody waits for it, and no message depends on it)
            log.warning("command_failed", type=command.type, error=describe(error))


def _is_expired(command: ConnectorCommand) -> bool:
    return 0 < command.expires_at <= now_ms()


def _today() -> int:
    """The day since the epoch, in UTC."""
    return int(time.time()) // DAY_S


def _result(command: ConnectorCommand, status: str) -> dict[str, Any]:
    result = {"command_id": command.command_id, "status": status, "to": command.to, "attempts": command.attempt}
    content = command.data.get("content")
    if isinstance(content, dict):
        deleted = str(content.get("about") or "")
        result |= {"deleted": deleted} if deleted else {}
        result |= {"edited": str(content.get("target_id") or "")} if content.get("kind") == "edit" else {}
    result |= {"about": str(command.data["about"])[:512]} if command.data.get("about") else {}
    return result | ({"silent": True} if command.data.get("silent") else {})
