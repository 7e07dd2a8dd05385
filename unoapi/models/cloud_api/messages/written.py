"""How clients write the parts of a message that Meta has another form for: forms, tables and PHP most of all."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from pydantic import TypeAdapter, ValidationError

from unoapi.models.strict_json import MAX_DEPTH, is_too_deep, parsed
from unoapi.models.text import mended

LISTS = frozenset(
    {
        "addresses", "buttons", "cards", "components", "contacts", "emails", "options", "parameters", "phones", "rows",
        "sections", "urls",
    }
)  # fmt: skip
"""The parts of messages that are lists; a `cta_url` has an object of `parameters`."""
INNER = LISTS | {"action", "interactive", "org", "poll", "reply", "template"}
"""These, and those that are objects."""
FOLDED = ("contacts", "interactive", "poll", "template")
"""The types that have lists and objects within."""
OF_SHOPS_AND_FORMS = frozenset(
    {
        "catalog_id", "flow_cta", "flow_id", "flow_message_version", "flow_token", "product_retailer_id",
        "thumbnail_product_retailer_id",
    }
)  # fmt: skip
"""What is a text in the actions of any kind."""
TEXTS = OF_SHOPS_AND_FORMS | frozenset(
    {
        "address", "birthday", "body", "button", "caption", "city", "company", "country", "country_code", "coupon_code",
        "department", "description", "display_text", "email", "fallback_value", "filename", "first_name",
        "formatted_name", "id", "last_name", "middle_name", "name", "options", "parameter_name", "payload", "phone",
        "prefix", "state", "street", "suffix", "text", "title", "url", "wa_id", "zip",
    }
)  # fmt: skip
"""What is a text in a message, wherever it stands: clients write a number there."""
FLAGS = frozenset({"preview_url", "voice"})
"""What is true or false there."""
DEGREES = frozenset({"latitude", "longitude"})
DEGREE = re.compile(r"-?[0-9]{1,3}(?:\.[0-9]{1,18})?", re.ASCII)
FLAG = TypeAdapter(bool)
"""What the fields of phones take for true or false."""
TOO_DEEP = f"is nested more than {MAX_DEPTH} levels deep"
MENUS = ("button", "list", "cta_url")
"""The kinds of interactive messages that have no fields of a client's own."""
FRAME = ("header", "body", "footer")
KINDS = frozenset(
    {
        "audio", "contacts", "document", "image", "interactive", "location", "poll", "speech", "sticker", "template",
        "text", "video",
    }
)  # fmt: skip
"""The types whose parts are known: one of next year is passed on as it is."""
THEIR_OWN = frozenset({"flow_action_data", "flow_action_payload"})
"""What is a form's affair."""


def unfolded(document: dict[str, Any], kind: str) -> dict[str, Any]:
    """A message with the lists and objects within its part of this type out of what stands for them.

    That is a JSON text, or for a list an object that is numbered. What a client says to a form or a shop stays. A text
    that is no such JSON stays, too, as do all when texts within texts are nested too deep: their fields refuse them.
    """
    if kind not in FOLDED or kind not in document:
        return document
    try:
        return {**document, **_unfolded({kind: document[kind]})}
    except ValueError:
        return document


def as_meant(message: dict[str, Any]) -> dict[str, Any]:
    """A message that was taken, for Meta and for webhooks: its texts, flags and degrees are such.

    Phones show it either way. Meta refuses it, and webhooks of strict readers do.
    """
    return {**message, **{name: _meant(message[name], name) for name in KINDS & message.keys()}}


def from_json(value: Any) -> Any:
    """What a text of JSON stands for, anything else as it is. Raises ValueError."""
    if not isinstance(value, str):
        return value
    try:
        document = parsed(value)
    except (ValueError, RecursionError):
        raise ValueError("must be JSON, or a text of it") from None
    if is_too_deep(document):
        raise ValueError(TOO_DEEP)
    if document != mended(document):
        raise ValueError("holds a control character or half of a surrogate pair")
    return document


def _unfolded(part: Any, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError(TOO_DEEP)
    if isinstance(part, list):
        return [_unfolded(inner, depth + 1) for inner in part]
    if not isinstance(part, dict):
        return part
    return {name: _unfolded(_read(held, name), depth + 1) if name in INNER else held for name, held in part.items()}


def _read(written: Any, name: str) -> Any:
    if name in LISTS and written in (False, 0):
        return None  # what JavaScript makes of a condition before a list
    if name in LISTS and isinstance(written, dict) and written and all(key.isdecimal() for key in written):
        return list(written.values())  # PHP's list from which something was taken
    if not (isinstance(written, str) and written.lstrip().startswith(("{", "["))):
        return written
    try:
        return from_json(written)
    except ValueError:
        return written


def _meant(part: Any, kind: str) -> Any:
    if kind == "interactive" and isinstance(part, dict) and part.get("type") not in MENUS:
        texts = {name: TEXTS if name in FRAME else OF_SHOPS_AND_FORMS for name in part}  # the rest is another's affair
        return {name: _plain(held, texts=texts[name]) for name, held in part.items()}
    plain = _plain(part)
    if kind == "location" and isinstance(plain, dict):
        return {name: _degree(held, name) for name, held in plain.items()}
    return plain


def _plain(part: Any, name: str = "", *, texts: frozenset[str] = TEXTS) -> Any:
    """A part with its texts and flags as such, at every depth."""
    if isinstance(part, dict):
        return {key: held if key in THEIR_OWN else _plain(held, key, texts=texts) for key, held in part.items()}
    if isinstance(part, list):
        return [_plain(held, name, texts=texts) for held in part]
    if isinstance(part, bool):
        return part
    if name in FLAGS and isinstance(part, int | str):
        with suppress(ValidationError):
            return FLAG.validate_python(part)
        return part
    return str(part) if name in texts and isinstance(part, int | float) else part


def _degree(written: Any, name: str) -> Any:
    is_degree = name in DEGREES and isinstance(written, str) and DEGREE.fullmatch(written)
    return float(written) if is_degree else written
