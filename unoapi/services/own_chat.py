"""What a number writes to itself, and what is done about it.

It counts by who wrote to whom, never by what it says: on the phone when the number wrote it and the chat is its own,
over the API when the number is the recipient. Nothing counts unless the session's option `commands` allows it, and a
notice or an answer of ours never does. The message becomes a job; its handlers are listed in `tasks/commander.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unoapi.errors import MessageRejected, Postponed, RequestError
from unoapi.models.cloud_api.events import read_document, serialise
from unoapi.models.identity import is_same_phone
from unoapi.models.jobs import Envelope, HandleOwnMessage, SendMessage, computed_id, now_ms
from unoapi.services.message_parsing import message_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unoapi.models.cloud_api.messages import OutboundMessage
    from unoapi.models.receipts import Receipt
    from unoapi.models.session import Session
    from unoapi.ports import SessionStore

MAX_AGE_S = 600
"""What comes later, as after a night without a connection, was meant for another moment."""
MAX_NOTE_CHARS = 4000


@dataclass(frozen=True)
class OwnMessage:
    """A message of a number to itself. `content` is the object of its type, in the Cloud API's form.

    `template` names the template that it was made of, if any; then `text` is what that says with its values.
    """

    phone: str
    id: str
    type: str
    content: dict[str, Any]
    template: str = ""

    @property
    def text(self) -> str:
        """The words of a text, or of a template; empty for anything else."""
        body = self.content.get("body") if self.type == "text" else ""
        return body if isinstance(body, str) else ""


@dataclass(frozen=True)
class Outcome:
    """What follows from a message: an answer in the chat, and jobs."""

    reply: str = ""
    jobs: tuple[Envelope, ...] = ()


if TYPE_CHECKING:
    Handler = Callable[[OwnMessage], Outcome | None]
    """None: not this one's. Raises RequestError for a mistake that is answered in the chat."""


def job_for(message: dict[str, Any], *, session: Session, at_s: int) -> list[HandleOwnMessage]:
    """The job for a message of the number to itself, which was written at this time; none where they do not count."""
    message_id = str(message.get("id") or "")
    if not session.commands or not message_id or now_ms() - at_s * 1000 > MAX_AGE_S * 1000:
        return []
    job_id = computed_id("own chat", session.phone, message_id)
    return [HandleOwnMessage(id=job_id, phone=session.phone, message_id=message_id, body=serialise(message))]


def sent(job: SendMessage, receipt: Receipt, *, sessions: SessionStore) -> list[Envelope]:
    """The same for a message that was sent over the API to the number itself."""
    message = read_document(job.body)
    refused = any(update.error for update in receipt.statuses)
    if not job.notify_on_failure or refused or not is_same_phone(str(message.get("to") or ""), job.phone):
        return []
    try:
        session = sessions.find(job.phone)
    except Postponed:
        return []  # it was sent; whether it counts cannot be read
    return [Envelope(own) for own in job_for({**message, "id": job.id}, session=session, at_s=receipt.at_ms // 1000)]


def handle(
    job: HandleOwnMessage, *, handlers: Sequence[Handler], rendered: Callable[[OutboundMessage, str], OutboundMessage]
) -> list[Envelope]:
    """What follows from a message: of the first handler whose it is. `rendered` binds a template.

    A repeated job makes the same messages.
    """
    try:
        message = _read(job, rendered)
        outcomes = (handler(message) for handler in handlers)
        outcome = next((outcome for outcome in outcomes if outcome is not None), Outcome())
    except RequestError as error:
        outcome = Outcome(reply=f"{error.title}: {error.details}")
    except MessageRejected as error:
        outcome = Outcome(reply=f"{error.title}: {error.details}")
    notes = [Envelope(note(job.phone, outcome.reply, about=job.id))] if outcome.reply else []
    return [*outcome.jobs, *notes]


def note(phone: str, text: str, *, about: str) -> SendMessage:
    """A text of ours in the number's own chat. The same `about` gives the same message; it causes nothing further."""
    message_id = f"wamid.{computed_id('own chat note', phone, about).replace('-', '').upper()}"
    body = {"messaging_product": "whatsapp", "to": phone, "type": "text", "text": {"body": text[:MAX_NOTE_CHARS]}}
    return SendMessage(id=message_id, phone=phone, message_id=message_id, body=serialise(body), notify_on_failure=False)


def _read(job: HandleOwnMessage, rendered: Callable[[OutboundMessage, str], OutboundMessage]) -> OwnMessage:
    document = read_document(job.body)
    kind, template = str(document.get("type") or "text"), ""
    if kind == "template":
        bound = rendered(message_of(SendMessage.model_validate(job.model_dump())), job.phone).model_dump(mode="json")
        template = str((document.get("template") or {}).get("name") or "")
        kind, document = str(bound["type"]), bound
    content = document.get(kind)
    return OwnMessage(
        phone=job.phone,
        id=job.message_id,
        type=kind,
        content=content if isinstance(content, dict) else {},
        template=template,
    )
