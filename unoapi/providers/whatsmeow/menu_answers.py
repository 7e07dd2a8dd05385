"""Answers to menus: what a contact wrote or tapped becomes the reply to the last menu of the chat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unoapi.models.connector.content import ButtonReply, ListReply, Media, TemplateButton, Text
from unoapi.models.connector.events import ContextInfo
from unoapi.models.identity import other_form
from unoapi.services.menus import MAX_ANSWER_CHARS, chosen, titled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unoapi.models.chats import Chat, Menu, MenuRow, MenuState
    from unoapi.models.connector.events import Party, ReceivedMessage
    from unoapi.ports import Chats, MessageIds


def names_of(chat: Party) -> list[str]:
    """The names that a chat is remembered by: its phone in each form, its LID, its address."""
    lid = chat.lid if not chat.lid or "@" in chat.lid else f"{chat.lid}@lid"
    return [name for name in dict.fromkeys((chat.phone, lid, chat.jid, other_form(chat.phone))) if name]


def answered(received: ReceivedMessage, *, phone: str, ids: MessageIds, chats: Chats) -> ReceivedMessage:
    """The message, as the reply to the last menu of its chat where it is one, or to the one that it quotes."""
    content = received.content
    if received.from_me:
        if isinstance(content, Text | Media):  # written on the phone itself
            end_menu(phone, names_of(received.chat), chats=chats)
        return received
    if received.edited or not isinstance(content, Text | ListReply | ButtonReply | TemplateButton):
        return received
    if isinstance(content, Text) and len(content.body) > MAX_ANSWER_CHARS:
        return received
    last = chats.find(phone, names_of(received.chat)).menu
    if last is None:
        return received
    about = _about(received, phone=phone, ids=ids)
    choice = _choice(content, last, about=about)
    if choice is None:
        return received
    is_of_last = choice[0].message_id in {menu.message_id for menu in (last, *last.together)}
    if is_of_last and last.state == "open" and received.chat.kind == "user":  # in a group others may answer, too
        _note(last, "answered", phone, names_of(received.chat), chats=chats)
    return _reply(received, *choice)


def _about(received: ReceivedMessage, *, phone: str, ids: MessageIds) -> str:
    """Our id of the message that is quoted; empty when none is."""
    return ids.ours(phone, received.context.id) if received.context and received.context.id else ""


def _choice(
    content: Text | ListReply | ButtonReply | TemplateButton, last: Menu, *, about: str
) -> tuple[Menu, MenuRow] | None:
    """The row that is chosen, behind its menu. Titles of menus that came right before the last one count as its own."""
    menu = last.meant_by(about)
    if menu is None or (isinstance(content, Text) and menu.state == "over" and not about):
        return None
    if not isinstance(content, Text):
        row_id = content.payload if isinstance(content, TemplateButton) else content.id
        return next(((menu, row) for row in menu.rows if row.id and row.id == row_id), None)
    if (row := chosen(content.body, menu)) is not None:
        return menu, row
    others = () if about else last.together
    return next(((other, row) for other in others if (row := titled(content.body, other)) is not None), None)


def end_menu(phone: str, names: Sequence[str], *, chats: Chats, chat: Chat | None = None) -> None:
    """Note that the number wrote something else: what comes now is no answer to a menu that was answered.

    One that was not answered stays: most of what follows it asks for the answer. `chat` is what is known already.
    """
    menu = (chat or chats.find(phone, names)).menu
    if menu is not None and menu.state == "answered":
        _note(menu, "over", phone, names, chats=chats)


def _note(menu: Menu, state: MenuState, phone: str, names: Sequence[str], *, chats: Chats) -> None:
    for name in names:
        chats.remember_menu_state(phone, name, menu.message_id, state)


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
