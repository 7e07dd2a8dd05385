"""Converts received lists, buttons and forms, and the answers to them."""

from __future__ import annotations

from typing import Any

from unoapi.connector.convert.files import file_in
from unoapi.connector.convert.json_fields import (
    Raw,
    float_at,
    int_at,
    json_object,
    lowered,
    object_at,
    objects_at,
    text_at,
)
from unoapi.connector.convert.words import joined, money

PROGRESS = ("payment_status", "review_order", "order_status")
BUTTON_TYPES = {"quick_reply": "reply", "cta_url": "url", "cta_call": "call", "cta_copy": "copy_code"}
FORMS = ("flow", "galaxy_message")
"""What Meta calls a form, and what phones call it."""
MAX_CARDS = 10
MAX_BUTTONS = 100
MAX_NAME = 256
MAX_ITEMS = 50


def list_response(part: Raw) -> dict[str, Any]:
    """A row of a list was chosen; its text is in the quoted list."""
    row_id = text_at(object_at(part, "singleselectreply"), "selectedrowid")
    quoted = object_at(object_at(part, "contextinfo"), "quotedmessage")
    rows = [
        row
        for section in objects_at(object_at(quoted, "listmessage"), "sections")
        for row in objects_at(section, "rows")
        if text_at(row, "rowid") == row_id
    ]
    row = rows[0] if rows else part
    return {
        "kind": "list_reply",
        "id": row_id,
        "title": text_at(row, "title"),
        "description": text_at(row, "description"),
    }


def buttons_response(part: Raw) -> dict[str, Any]:
    """A classic button was pressed."""
    return {
        "kind": "button_reply",
        "id": text_at(part, "selectedbuttonid"),
        "title": text_at(part, "selecteddisplaytext"),
    }


def template_reply(part: Raw) -> dict[str, Any]:
    """A template's button was pressed."""
    return {
        "kind": "template_button",
        "payload": text_at(part, "selectedid"),
        "text": text_at(part, "selecteddisplaytext"),
    }


def interactive_response(part: Raw) -> dict[str, Any]:
    """A native button was pressed, or a form was filled."""
    flow = object_at(part, "nativeflowresponsemessage")
    body = text_at(object_at(part, "body"), "text")
    params = lowered(json_object(text_at(flow, "paramsjson")))
    chosen = text_at(params, "id")
    name = text_at(flow, "name")
    if chosen and name not in FORMS:
        if name in ("menu_options", "single_select"):
            description = text_at(params, "description")
            return {
                "kind": "list_reply",
                "id": chosen,
                "title": text_at(params, "title") or body,
                "description": description,
            }
        title = text_at(params, "displaytext") or text_at(params, "title") or body
        return {"kind": "button_reply", "id": chosen, "title": title}
    name = FORMS[0] if name in FORMS else name
    return {"kind": "flow_reply", "name": name, "params": text_at(flow, "paramsjson") or "{}", "body": body}


def list_message(part: Raw) -> dict[str, Any]:
    """A list to choose from."""
    products = objects_at(object_at(part, "productlistinfo"), "productsections")
    return {
        "kind": "list",
        "header": text_at(part, "title"),
        "body": joined(text_at(part, "description"), *(text_at(section, "title") for section in products)),
        "footer": text_at(part, "footertext"),
        "button": text_at(part, "buttontext"),
        "sections": _sections(objects_at(part, "sections"), row_id="rowid"),
    }


def buttons_message(part: Raw) -> dict[str, Any]:
    """A text with classic buttons."""
    buttons = [_classic_button(button) for button in objects_at(part, "buttons")]
    body, footer = text_at(part, "contenttext"), text_at(part, "footertext")
    menu = {"kind": "buttons", "header": text_at(part, "text"), "body": body, "footer": footer, "buttons": buttons}
    return _below(part, menu)


def template_message(part: Raw) -> dict[str, Any]:
    """A text with buttons of a template."""
    shown = object_at(part, "hydratedtemplate") or object_at(part, "hydratedfourrowtemplate")
    if not shown and isinstance(part.get("interactivemessagetemplate"), dict):
        return interactive_message(part["interactivemessagetemplate"])
    buttons = []
    for button in objects_at(shown, "hydratedbuttons"):
        reply, link, call = (
            object_at(button, "quickreplybutton"),
            object_at(button, "urlbutton"),
            object_at(button, "callbutton"),
        )
        if link:
            buttons.append({"type": "url", "title": text_at(link, "displaytext"), "value": text_at(link, "url")})
        elif call:
            buttons.append(
                {"type": "call", "title": text_at(call, "displaytext"), "value": text_at(call, "phonenumber")}
            )
        else:
            buttons.append({"type": "reply", "title": text_at(reply, "displaytext"), "id": text_at(reply, "id")})
    menu = {
        "kind": "buttons",
        "header": text_at(shown, "hydratedtitletext"),
        "body": text_at(shown, "hydratedcontenttext"),
        "footer": text_at(shown, "hydratedfootertext"),
        "buttons": buttons,
    }
    return _below(shown, menu)


def interactive_message(part: Raw) -> dict[str, Any]:
    """A text with native buttons; a payment becomes a text, one button with rows a list, cards their words.

    The first picture stands above them.
    """
    buttons: list[dict[str, Any]] = []
    sections: list[Raw] = []
    menu = ""
    head = object_at(part, "header")
    title, footer = text_at(head, "title"), text_at(object_at(part, "footer"), "text")
    body = joined(text_at(head, "subtitle"), text_at(object_at(part, "body"), "text"))
    for button in objects_at(object_at(part, "nativeflowmessage"), "buttons"):
        params = lowered(json_object(text_at(button, "buttonparamsjson")))
        progress = _progress(params) if text_at(button, "name") in PROGRESS else ""
        payment = joined(_bill(params), _pix(params)) or progress
        if payment:
            words = joined(title, body, payment, footer)
            file = file_in(head)
            return {**file, "caption": words} if file else {"kind": "text", "body": words}
        if text_at(button, "name") == "single_select":
            menu = text_at(params, "title")
            sections += objects_at(params, "sections")
            continue
        buttons.append(_native_button(text_at(button, "name"), params))
    cards = [interactive_message(card) for card in objects_at(object_at(part, "carouselmessage"), "cards")[:MAX_CARDS]]
    body = "\n\n".join(text for text in (body, *(_words(card) for card in cards)) if text)
    frame = {"header": title, "body": body, "footer": footer}
    file = file_in(head) or next((found for card in cards if (found := _file_of(card))), None)
    listed = _sections(sections, row_id="id")
    if listed and not buttons and file is None:
        return {"kind": "list", **frame, "button": menu, "sections": listed}
    rows = [row for section in listed for row in section["rows"]]  # no list has a picture, or buttons beside its rows
    frame["body"] = joined(body, *(f"{row['title']}: {row['description']}" for row in rows if row["description"]))
    buttons += [{"type": "reply", "id": row["id"], "title": row["title"]} for row in rows]
    buttons += [button for card in cards for button in card.get("buttons", [])]
    shown = _below(head, {"kind": "buttons", **frame, "buttons": buttons[:MAX_BUTTONS]}, file=file)
    return shown if buttons or file or _words(shown) else {"kind": "unsupported", "field": "interactivemessage"}


def _native_button(name: str, params: Raw) -> dict[str, Any]:
    """A native button; one that does something else than we know has its name as its id."""
    kind = BUTTON_TYPES.get(name, "other")
    value = text_at(params, "url") or text_at(params, "phonenumber") or text_at(params, "copycode")
    title = text_at(params, "displaytext") or text_at(params, "title") or name[:MAX_NAME]
    button_id = text_at(params, "id") or (name[:MAX_NAME] if kind == "other" else "")
    return {"type": kind, "title": title, "value": value, "id": button_id}


def _classic_button(button: Raw) -> dict[str, Any]:
    """A classic button, which may hold a native one."""
    inner = object_at(button, "nativeflowinfo")
    native = _native_button(text_at(inner, "name"), lowered(json_object(text_at(inner, "paramsjson")))) if inner else {}
    button_id, title = text_at(button, "buttonid"), text_at(object_at(button, "buttontext"), "displaytext")
    if native.get("type") in ("url", "call", "copy_code"):
        return native | ({"title": title} if title else {})
    return {"type": "reply", "id": button_id or native.get("id", ""), "title": title or native.get("title", "")}


def _file_of(card: dict[str, Any]) -> dict[str, Any] | None:
    """The file of a card that was converted: it may be above buttons, or the card itself."""
    return card if "media" in card else card.get("header_media")


def _below(head: Raw, menu: dict[str, Any], *, file: dict[str, Any] | None = None) -> dict[str, Any]:
    """The menu with the file or the place above it; a file with the words below it where there is no button."""
    file = file or file_in(head)
    if file is not None:
        return {**menu, "header_media": file} if menu["buttons"] else {**file, "caption": _words(menu)}
    place = object_at(head, "locationmessage")
    if not place:
        return menu
    point = f"{float_at(place, 'degreeslatitude')}, {float_at(place, 'degreeslongitude')}"
    return {**menu, "body": joined(text_at(place, "name"), text_at(place, "address"), point, menu["body"])}


def _words(card: Raw) -> str:
    """The words of a card; those of one that became a file stand below that."""
    return joined(*(str(card.get(name) or "") for name in ("header", "body", "caption", "footer")))


def _sections(sections: list[Raw], *, row_id: str) -> list[dict[str, Any]]:
    return [
        {
            "title": text_at(section, "title"),
            "rows": [
                {
                    "id": text_at(row, row_id),
                    "title": text_at(row, "title"),
                    "description": text_at(row, "description"),
                }
                for row in objects_at(section, "rows")
            ],
        }
        for section in sections
    ]


def _bill(params: Raw) -> str:
    """What is to be paid, for what, and under which number."""
    total = object_at(params, "totalamount")
    amount = money(text_at(params, "currency"), int_at(total, "value"), offset=int_at(total, "offset") or 1)
    items = [
        f"{int_at(item, 'quantity') or 1} x {text_at(item, 'name')}"
        for item in objects_at(object_at(params, "order"), "items")[:MAX_ITEMS]
        if text_at(item, "name")
    ]
    return joined(*items, amount, text_at(params, "referenceid")) if amount or items else ""


def _progress(params: Raw) -> str:
    """How far an order or its payment is."""
    order = object_at(params, "order")
    told = (("Payment", text_at(params, "paymentstatus")), ("Order", text_at(order, "status")))
    lines = [f"{what}: {status}" for what, status in told if status]
    return joined(*lines, text_at(order, "description"), text_at(params, "referenceid")) if lines else ""


def _pix(params: Raw) -> str:
    """A Brazilian payment key as a text that can be read and copied."""
    for setting in objects_at(params, "paymentsettings"):
        for name in ("pixstaticcode", "pixdynamiccode"):
            code = object_at(setting, name)
            if code:
                key = f"PIX *{text_at(code, 'keytype')}*: {text_at(code, 'key')}"
                lines = [
                    f"*{text_at(code, 'merchantname')}*",
                    key if text_at(code, "key") else "",
                    text_at(code, "code"),
                ]
                return joined(*lines)
    return ""
