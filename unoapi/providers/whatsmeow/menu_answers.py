"""Answers to menus: what a contact wrote or tapped becomes the reply to the last menu of the chat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unoapi.models.connector.content import ButtonReply, ListReply, TemplateButton, Text
from unoapi.models.connector.events import ContextInfo
from unoapi.models.identity import other_form
from unoapi.services.menus import MAX_ANSWER_CHARS, chosen

if TYPE_CHECKING:
    from unoapi.models.chats import Menu, MenuRow
    from unoapi.models.connector.events import Party, ReceivedMessage
    from unoapi.ports import Chats, MessageIds


def names_of(chat: Party) -> list[str]:
    """The names that a chat is remembered by: its phone in each form, its LID, its address."""
    lid = chat.lid if not chat.lid or "@" in chat.lid else f"{chat.lid}@lid"
    return [name for name in dict.fromkeys((chat.phone, lid, chat.jid, other_form(chat.phone))) if name]


def answered(received: ReceivedMessage, *, phone: str, ids: MessageIds, chats: Chats) -> ReceivedMessage:
    """The message, as the reply to the last menu of its chat where it is one."""
    content = received.content
    if received.from_me or received.edited or not isinstance(content, Text | ListReply | ButtonReply | TemplateButton):
        return received
    if isinstance(content, Text) and len(content.body) > MAX_ANSWER_CHARS:
        return received
    menu = chats.find(phone, names_of(received.chat)).menu
    if menu is None:
        return received
    about = ids.ours(phone, received.context.id) if received.context and received.context.id else ""
    if about and about != menu.message_id:
        return received  # an answer to something else
    if isinstance(content, Text):
        row = chosen(content.body, menu)
    else:
        row_id = content.payload if isinstance(content, TemplateButton) else content.id
        row = next((row for row in menu.rows if row.id and row.id == row_id), None)
    return received if row is None else _reply(received, menu, row)


def _reply(received: ReceivedMessage, menu: Menu, row: MenuRow) -> ReceivedMessage:
    content: ListReply | ButtonReply | TemplateButton
    if menu.of_template:  # Meta tells of these by a type of their own
        content = TemplateButton(payload=row.id, text=row.title)
    elif menu.kind == "list":
        content = ListReply(id=row.id, title=row.title, description=row.description)
    else:
        content = ButtonReply(id=row.id, title=row.title)
    context = received.context or ContextInfo()
    own = {} if context.id else {"id": menu.message_id, "from_us": True}
    return received.model_copy(update={"content": content, "context": context.model_copy(update=own)})
