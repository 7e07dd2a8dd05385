"""Phones that a connector keeps connected: messages leave as commands, what becomes of them comes back as events."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from unoapi.errors import (
    BrokerUnavailable,
    NobodyAnswers,
    NoConnector,
    Postponed,
    SendFailed,
    SendPostponed,
    StoreUnavailable,
)
from unoapi.models.cloud_api.messages import EditMessage, PinMessage, ReactionMessage, TemplateMessage, new_message_id
from unoapi.models.connector.commands import Block, ChangeProfile, Connect, ConnectorCommand
from unoapi.models.connector.content import Media, MediaFile
from unoapi.models.connector.rpc import CheckedContacts
from unoapi.models.contacts import contact_key
from unoapi.models.jobs import AwaitResult, Envelope, computed_id, now_ms
from unoapi.models.message_keys import OWN_IDS
from unoapi.models.phones import is_valid
from unoapi.models.receipts import Receipt
from unoapi.providers.whatsmeow.commands import commands_for, marks_for, menu_of
from unoapi.providers.whatsmeow.menu_answers import end_menu
from unoapi.providers.whatsmeow.session_notices import absence_of
from unoapi.services.sending import WAIT_FOR_STORE_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unoapi.models.cloud_api.messages import Command, OutboundMessage
    from unoapi.models.message_keys import MessageKey
    from unoapi.ports import Chats, Commands, Connections, MessageIds, Rpc, SessionStore

GRACE_S = 30
"""The connector ends its own waiting first; this long after it somebody else does."""
ASK_S = 8.0
QUESTION_S = 15.0
"""For questions and changes that WhatsApp itself answers."""
WISH_MS = 86_400_000
"""So long a wish that no message depends on waits for its phone to be connected."""
LEAVING_MS = 1000
WAKE_EVERY_S, WAKE_MS = 10.0, 60_000
MAX_WOKEN = 10_000
NUMBER = re.compile(r"[0-9]{5,15}")


class WhatsmeowProvider:
    """Queues commands for the connector. One may be queued twice: the connector's send log sends it once."""

    takes_user_ids = False

    def __init__(  # noqa: PLR0913 (collaborators)
        self,
        *,
        commands: Commands,
        connections: Connections,
        chats: Chats,
        ids: MessageIds,
        sessions: SessionStore,
        rendered: Callable[[OutboundMessage, str], OutboundMessage],
        max_age_s: int,
        rpc: Rpc | None = None,
    ) -> None:
        """`rendered` binds a message of a template, and returns any other as it is."""
        self._rendered = rendered
        self._commands = commands
        self._connections = connections
        self._chats = chats
        self._ids = ids
        self._sessions = sessions
        self._max_age_s = max_age_s
        self._rpc = rpc
        self._woken: dict[str, float] = {}

    def address(self, phone: str) -> str:  # noqa: ARG002 (the port's)
        """No server is asked: RabbitMQ takes the commands."""
        return ""

    def ready(self, phone: str) -> None:
        """Raise NoConnector, which says why, unless the phone is connected."""
        try:
            status = self._connections.status(phone)
            why = "" if status == "online" else absence_of(self._connections.details(phone))
        except StoreUnavailable as error:
            raise Postponed(
                f"whether {phone} is connected cannot be read: {error}", after_ms=WAIT_FOR_STORE_MS
            ) from error
        if status != "online":
            self._wake(phone)
            raise NoConnector(phone, why)

    def _wake(self, phone: str) -> None:
        """Let a number connect that does so when it has something to send: `autoConnect` is off. Raises Postponed."""
        now_s = time.monotonic()
        if now_s - self._woken.get(phone, -WAKE_EVERY_S) < WAKE_EVERY_S or self._sessions.find(phone).auto_connect:
            return
        if len(self._woken) >= MAX_WOKEN:
            self._woken.clear()
        self._woken[phone] = now_s
        command = ConnectorCommand(
            type="session.connect",
            command_id=new_message_id(),
            session=phone,
            created_at=now_ms(),
            expires_at=now_ms() + WAKE_MS,
            data=Connect(method="resume", wake=True).model_dump(exclude_none=True),
        )
        with suppress(BrokerUnavailable):
            self._commands.put([command])

    def send(self, message: OutboundMessage, *, phone: str, message_id: str) -> Receipt:
        """Put the message on the connector's queue. Raises MessageRejected, SendFailed, SendPostponed."""
        until_ms = now_ms() + self._max_age_s * 1000
        try:
            session = self._sessions.find(phone)
            shown, of_template = self._rendered(message, phone), isinstance(message, TemplateMessage)
            chat = self._chats.find(phone, [message.addressee])
            commands = commands_for(
                shown,
                message_id=message_id,
                session=session,
                keys=lambda about: self._key(phone, about),
                until_ms=until_ms,
                timer_s=chat.timer_s if message.ttl is None else message.ttl,  # else as the contact has set the chat
                of_template=of_template,
            )
            menu = menu_of(shown, message_id=message_id)
            if menu is not None:  # before it leaves: the answer may be there before its result
                about = {"at_ms": now_ms(), "of_template": of_template}
                self._chats.remember_menu(phone, message.addressee, menu.model_copy(update=about).after(chat.menu))
            elif not isinstance(shown, EditMessage | PinMessage | ReactionMessage):
                end_menu(phone, [message.addressee], chats=self._chats, chat=chat)
            self._connections.expect(phone, message_id, within_s=self._max_age_s)
        except Postponed as error:
            raise SendPostponed(f"{error}", after_ms=error.after_ms) from error
        except StoreUnavailable as error:
            raise SendPostponed(
                f"what the message needs cannot be read: {error}", after_ms=WAIT_FOR_STORE_MS
            ) from error
        if message.biz_opaque_callback_data:  # the connector reports back under our id alone
            self._ids.remember_mark(phone, message_id, message.biz_opaque_callback_data)
        to = message.addressee
        then = []
        if any(command.type == "send" for command in commands):
            check = AwaitResult(
                id=computed_id("await", phone, message_id), phone=phone, message_id=message_id, recipient=to
            )
            then.append(Envelope(check, delay_ms=(self._max_age_s + GRACE_S) * 1000))
        try:
            self._commands.put(commands, then=then)
        except BrokerUnavailable as error:
            # A second copy of the command has the same id, and the connector's send log has it.
            with suppress(StoreUnavailable):  # what is about this message would wait for a result that may never come
                self._connections.settle(phone, message_id)
            raise SendFailed(f"{error}") from error
        return Receipt(recipient=to)

    def command(self, command: Command, *, phone: str) -> None:
        """Mark as read, show typing or delete.

        Raises MessageRejected, Postponed, StoreUnavailable, BrokerUnavailable.
        """
        until_ms = now_ms() + self._max_age_s * 1000
        session = self._sessions.find(phone)
        marks = marks_for(command, session=session, keys=lambda about: self._key(phone, about), until_ms=until_ms)
        self._commands.put(marks)

    def contacts(self, phone: str, numbers: Sequence[str]) -> list[bool]:
        """Whether each number is on WhatsApp, as WhatsApp says; while the phone is not there, as its form says."""
        keys = [contact_key(number) for number in numbers]
        phones = [key for key in dict.fromkeys(keys) if NUMBER.fullmatch(key)]
        try:
            if self._rpc is None or not phones:
                raise NoConnector(phone)
            answer = self._rpc.ask(phone, "contacts.check", {"phones": phones}, timeout_s=ASK_S)
            there = dict(zip(phones, CheckedContacts.model_validate(answer).there, strict=True))
        except (Postponed, ValueError):
            return [is_valid(key) for key in keys]
        return [there.get(key, False) for key in keys]

    def ask(self, phone: str, method: str, data: dict[str, Any]) -> dict[str, Any]:
        """A question of the connector's contract. Raises QuestionRefused, and NobodyAnswers."""
        if self._rpc is None:
            raise NobodyAnswers(f"nobody answers for {phone}")
        return self._rpc.ask(phone, method, data, timeout_s=QUESTION_S)

    def block(self, phone: str, contacts: Sequence[str], *, blocked: bool) -> None:
        """Let the phone block contacts, or unblock them, as soon as it is connected. Raises BrokerUnavailable."""
        self._signal("block", phone, [Block(contact=contact, blocked=blocked) for contact in contacts])

    def change_profile(self, phone: str, *, about: str | None, picture_id: str) -> None:
        """Let the phone show another text or picture of the number. Raises BrokerUnavailable."""
        picture = Media(kind="image", media=MediaFile(key=picture_id, state="ready")) if picture_id else None
        if about is not None or picture is not None:
            self._signal("profile", phone, [ChangeProfile(about=about, picture=picture)])

    def _signal(self, kind: str, phone: str, wishes: Sequence[Block | ChangeProfile]) -> None:
        """Queue commands that have no result. Each wish is a new one, whatever was wished before."""
        now = now_ms()
        self._commands.put(
            [
                ConnectorCommand(
                    type=kind,
                    command_id=computed_id(kind, phone, wish.model_dump_json(), f"{now}"),
                    session=phone,
                    created_at=now,
                    expires_at=now + WISH_MS,
                    data=wish.model_dump(mode="json", exclude_none=True),
                )
                for wish in wishes
            ]
        )

    def _key(self, phone: str, message_id: str) -> MessageKey | None:
        """The key of a message. Raises Postponed while it is not known because the message is just leaving."""
        key = self._connections.key(phone, message_id)
        if key is not None or not message_id.startswith(OWN_IDS):
            return key
        if self._connections.is_awaited(phone, message_id):
            raise Postponed("the message that it is about is just leaving", after_ms=LEAVING_MS)
        return self._connections.key(phone, message_id)  # its result may have come between the two questions
