"""Between Meta's ids and ours, and its way to write numbers and ours."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from unoapi.models.cloud_api.event_content import ECHOES, ITEMS
from unoapi.models.cloud_api.messages.interactive import HEADERS, typed
from unoapi.models.cloud_api.messages.written import MENUS
from unoapi.models.identity import is_same_phone
from unoapi.models.media import MEDIA_TYPES, plain_address
from unoapi.models.message_keys import MADE_HERE
from unoapi.models.phones import with_ninth_digit

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.models.cloud_api.callbacks import Change
    from unoapi.ports import MessageIds

ABOUT = {
    "context": "id",
    "reaction": "message_id",
    "edit": "original_message_id",
    "revoke": "original_message_id",
    "pin": "message_id",
}
"""Where a message names another one."""
WRITTEN = ("messages", ECHOES)
"""The lists of what somebody wrote."""
BLANK: tuple[Any, ...] = (None, "", {}, [])
FILLED = frozenset({"contacts", "location", "text", *MEDIA_TYPES})
"""The types of messages in whose object nothing empty is a value."""
ACTIONS = {
    "cta_url": "cta_url",
    "location_request_message": "send_location",
    "catalog_message": "catalog_message",
    "address_message": "address_message",
    "call_permission_request": "call_permission_request",
    "voice_call": "voice_call",
    "flow": "flow",
    "order_details": "review_and_pay",
    "order_status": "review_order",
}
"""The only name that the action of a menu of this kind has."""
VALUES = ("text", "currency", "date_time", "image", "video", "document", "location", "payload", "coupon_code", "action")
"""What a parameter of a template is called by its `type`."""
ENTRIES = {"emails": "email", "urls": "url", "addresses": "street"}
"""The lists of a contact card, and what a plain text in them is, on phones too."""
LANGUAGE = re.compile(r"([A-Za-z]{2,3})[-_]([A-Za-z]{2})", re.ASCII)
PHONES = frozenset(
    {
        "from", "to", "wa_id", "new_wa_id", "customer", "recipient_id", "recipient_participant_id", "phone_number",
        "user_id",
    }
)  # fmt: skip
"""Where a callback names a person's phone; a status that waited has it as the `user_id` of its contact by then."""


def with_their_ids(message: dict[str, Any], *, phone: str, ids: MessageIds) -> dict[str, Any]:
    """A message or command in which the messages that it is about have Meta's ids.

    A quote of which only we knew the id is left out: Meta would refuse the whole message. Raises StoreUnavailable while
    the ids cannot be read: Meta knows no others.
    """
    changed = {name: part for name, part in message.items() if name != "context"}
    context = message.get("context")
    if isinstance(context, dict) and (quoted := context.get("message_id") or context.get("id")):
        theirs = ids.theirs(phone, str(quoted))
        if not MADE_HERE.fullmatch(theirs):
            changed["context"] = {"message_id": theirs}
    kind = str(message.get("type"))
    content = message.get(kind)
    if isinstance(content, dict) and content.get("message_id"):  # a reaction, a pin
        changed[kind] = {**content, "message_id": ids.theirs(phone, str(content["message_id"]))}
    if "status" in message and message.get("message_id"):
        changed["message_id"] = ids.theirs(phone, str(message["message_id"]))
    return changed


def with_usual_names(message: dict[str, Any]) -> dict[str, Any]:
    """A message in which that is named which can only be one thing, and nothing is which Meta has no field for.

    Phones show nearly all of it either way, and Meta refuses it.
    """
    match message:
        case {"type": "interactive", "interactive": dict() as menu}:
            return {**message, "interactive": _named_menu(menu)}
        case {"type": "template", "template": dict() as template}:
            return {**message, "template": _named_template(template)}
        case {"type": "contacts", "contacts": list() as cards}:
            return {**message, "contacts": [_named_card(card) for card in cards]}
        case {"type": "location", "location": dict() as place}:  # as a received one, which has an address on a map
            return {**message, "location": _without(place, "url", "live")}
    return message


def _without(part: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: held for name, held in part.items() if name not in names}


def _named_card(card: dict[str, Any]) -> dict[str, Any]:
    named, company = dict(card), card.get("org")
    for name, main in ENTRIES.items():
        if held := card.get(name):
            listed = held if isinstance(held, list) else [held]
            named[name] = [entry if isinstance(entry, dict) else {main: entry} for entry in listed if entry]
    if company and not isinstance(company, dict):
        named["org"] = {"company": company}
    return named


def _named_menu(menu: dict[str, Any]) -> dict[str, Any]:
    kind, action, header = str(menu.get("type")), menu.get("action"), menu.get("header")
    words = {name: _without(menu[name], "type") for name in ("body", "footer") if isinstance(menu.get(name), dict)}
    named = {**menu, **words}
    if isinstance(header, dict) and any(map(header.get, HEADERS)):
        named["header"] = typed(header, HEADERS)
    if not isinstance(action, dict):
        return named
    named["action"] = action = _with_address(action)
    if kind in ACTIONS and not action.get("name"):
        named["action"] = {**action, "name": ACTIONS[kind]}
    buttons, cards = action.get("buttons"), action.get("cards")
    if kind == "button" and isinstance(buttons, list):
        named["action"] = {**action, "buttons": [_named_button(button) for button in buttons]}
    if kind == "carousel" and isinstance(cards, list):  # of which nothing was checked
        named["action"] = {**action, "cards": [_named_menu(card) if isinstance(card, dict) else card for card in cards]}
    return named


def _named_button(button: Any) -> Any:
    is_reply = isinstance(button, dict) and button.get("reply") and not button.get("type")
    return {**button, "type": "reply"} if is_reply else button


def _with_address(action: dict[str, Any]) -> dict[str, Any]:
    """An action whose button leads to an address as a browser writes it."""
    match action:
        case {"parameters": {"url": str(address)} as parameters}:
            return {**action, "parameters": {**parameters, "url": plain_address(address)}}
    return action


def _named_template(template: dict[str, Any]) -> dict[str, Any]:
    """A template with the types of its values and, in the spelling that is Meta's, of its parts and its language."""
    named = dict(template)
    if template.get("components"):
        named["components"] = [_named_component(part) for part in template["components"]]
    language = template.get("language")
    if isinstance(language, dict) and (spelt := LANGUAGE.fullmatch(str(language.get("code") or ""))):
        named["language"] = {**language, "code": f"{spelt[1].lower()}_{spelt[2].upper()}"}
    return named


def _named_component(part: dict[str, Any]) -> dict[str, Any]:
    named = _in_small_letters(part, "type", "sub_type")
    if part.get("parameters"):
        named["parameters"] = [_typed(parameter) for parameter in part["parameters"]]
    if part.get("cards"):
        named["cards"] = [_named_template(card) for card in part["cards"]]
    return named


def _typed(parameter: dict[str, Any]) -> dict[str, Any]:
    if parameter.get("type"):
        return _in_small_letters(parameter, "type")
    kinds = [kind for kind in VALUES if parameter.get(kind) not in BLANK]
    return {**parameter, "type": kinds[0]} if len(kinds) == 1 else parameter


def _in_small_letters(part: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: held.lower() if name in names and isinstance(held, str) else held for name, held in part.items()}


def without_blanks(message: dict[str, Any]) -> dict[str, Any]:
    """A message without what its client left empty: Meta would refuse it, and phones take it for what is not there."""
    sent = _without_blank(message)
    match message:
        case {"type": "template", "template": template}:
            sent["template"] = _said(template)
        case {"type": "interactive", "interactive": {"type": kind} as menu} if kind in MENUS:
            sent["interactive"] = _filled(menu)
        case {"type": "interactive", "interactive": dict() as other}:  # in its form an empty text may be a value
            sent["interactive"] = _without_blank(other)
        case {"type": str(kind)} if kind in FILLED:
            sent[kind] = _filled(message[kind])
    return sent


def _filled(part: Any) -> Any:
    """A part without what is null or empty, or only holds such, at every depth."""
    if isinstance(part, dict):
        filled = {name: _filled(held) for name, held in part.items()}
        return {name: held for name, held in filled.items() if held not in BLANK}
    return [held for item in part if (held := _filled(item)) not in BLANK] if isinstance(part, list) else part


def _said(part: dict[str, Any]) -> dict[str, Any]:
    """A template, a component or a card without what is empty, at every depth but within a value."""
    said = {name: value for name, value in part.items() if value is not None and value not in ({}, "")}
    for name in {"components", "cards", "parameters"} & said.keys():
        inner = said[name]
        if isinstance(inner, list) and all(isinstance(one, dict) for one in inner):  # else a field that Meta refuses
            said[name] = [_without_blank(one) if name == "parameters" else _said(one) for one in inner]
    if "language" in said:
        said["language"] = _filled(said["language"])
    return said


def _without_blank(part: dict[str, Any]) -> dict[str, Any]:
    """A message, a menu or a value without what is empty beside that which its `type` names."""
    own = part.get("type")
    return {name: held for name, held in part.items() if held not in BLANK or (name == own and held is not None)}


def with_our_ids(change: Change, *, phone: str, ids: MessageIds) -> Change:
    """A change in which the messages that we sent have the ids that the client was given: asked for all at once."""
    lists = {key: change.value[key] for key in ITEMS if change.value.get(key)}
    named: set[str] = set()

    def note(message_id: str) -> str:
        named.add(message_id)
        return message_id

    for key, items in lists.items():
        for item in items:
            _translated(item, key, note)
    known = ids.all_ours(phone, named)
    ours = {key: [_translated(item, key, known.__getitem__) for item in items] for key, items in lists.items()}
    return replace(change, value={**change.value, **ours})


def remember_shown(change: Change, *, phone: str, ids: MessageIds) -> None:
    """Note the ids by which clients get to know the messages of a change: quotes may name them from the other side."""
    shown = [str(item["id"]) for key in WRITTEN for item in change.value.get(key) or () if item.get("id")]
    if shown:
        ids.remember_shown(phone, shown)


def with_public_phones(change: Change, *, phone: str) -> Change:
    """A change in which contacts have the ninth digit of Brazilian mobiles, without which Meta knows the older ones.

    It names them as the answer to a send does, and as phones do. The own number stays as it is shown.
    """
    value = {name: part if name == "metadata" else _public(part, own=phone) for name, part in change.value.items()}
    return replace(change, value=value)


def _public(part: Any, *, own: str) -> Any:
    if isinstance(part, list):
        return [_public(item, own=own) for item in part]
    if not isinstance(part, dict):
        return part
    names = {*PHONES, "id"} if "messages" in part else PHONES  # a chat of the history is named by its phone
    return {
        name: _public_phone(held, own=own) if name in names and type(held) in (str, int) else _public(held, own=own)
        for name, held in part.items()
    }


def _public_phone(written: str | int, *, own: str) -> str | int:
    number = str(written)
    public = number if is_same_phone(number, own) else with_ninth_digit(number)
    return written if public == number else public


def _translated(item: dict[str, Any], key: str, ours: Callable[[str], str]) -> dict[str, Any]:
    """An item in which each id of a message that may be ours is what `ours` makes of it."""
    changed = dict(item)
    if key == "statuses" and item.get("id"):
        changed["id"] = ours(str(item["id"]))
    for name, field in ABOUT.items():
        part = item.get(name)
        if isinstance(part, dict) and part.get(field):
            changed[name] = {**part, field: ours(str(part[field]))}
    edit = changed.get("edit")
    if isinstance(edit, dict) and isinstance(edit.get("message"), dict):  # what it says now, which may quote another
        changed["edit"] = {**edit, "message": _translated(edit["message"], "", ours)}
    return changed
