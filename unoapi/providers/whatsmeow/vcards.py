"""Cards of contacts: vCard 3.0 on WhatsApp's side, contacts of the Cloud API on ours."""

from __future__ import annotations

import re
from typing import Any

from unoapi.models.phones import digits_of

MAX_PHONES = 50
_UNFOLD = re.compile(r"\r?\n[ \t]")


def read_card(vcard: str, *, name: str = "") -> dict[str, Any]:
    """A Cloud API contact. A card without a phone has an empty list of them."""
    full, first, last = "", "", ""
    phones: list[dict[str, Any]] = []
    for line in _UNFOLD.sub("", vcard).splitlines():
        head, _, value = line.partition(":")
        field, *parameters = head.rpartition(".")[2].split(";")
        if field.upper() == "FN":
            full = _plain(value)
        elif field.upper() == "N":
            last, first, *_ = (_plain(part) for part in [*value.split(";"), "", ""])
        elif field.upper() == "TEL" and len(phones) < MAX_PHONES:
            phones.append(_phone(value, parameters))
    named: dict[str, Any] = {"formatted_name": full or name or " ".join(part for part in (first, last) if part)}
    named |= {key: part for key, part in (("first_name", first), ("last_name", last)) if part}
    return {"name": named, "phones": phones}


def write_card(contact: dict[str, Any]) -> tuple[str, str]:
    """The name and the card of a Cloud API contact."""
    given = contact.get("name")
    names = given if isinstance(given, dict) else {}
    name = str(names.get("formatted_name") or names.get("first_name") or "")
    parts = f"{_escaped(names.get('last_name'))};{_escaped(names.get('first_name') or name)};;;"
    lines = ["BEGIN:VCARD", "VERSION:3.0", f"N:{parts}", f"FN:{_escaped(name)}"]
    phones = contact.get("phones")
    for phone in [entry for entry in phones if isinstance(entry, dict)] if isinstance(phones, list) else []:
        number = str(phone.get("phone") or phone.get("wa_id") or "")
        waid = digits_of(str(phone.get("wa_id") or number))
        kind = re.sub(r"[^A-Z]", "", str(phone.get("type") or "CELL").upper()) or "CELL"
        lines.append(f"TEL;type={kind};type=VOICE;waid={waid}:{_escaped(number)}")
    return name, "\r\n".join([*lines, "END:VCARD"])


def _phone(value: str, parameters: list[str]) -> dict[str, Any]:
    phone: dict[str, Any] = {"phone": value.strip()}
    pairs = [parameter.partition("=")[::2] for parameter in parameters]
    waid = next((text for key, text in pairs if key.lower() == "waid"), "") or value
    if digits_of(waid):
        phone["wa_id"] = digits_of(waid)
    kind = next((text for key, text in pairs if key.lower() == "type"), "")
    if kind:
        phone["type"] = kind
    return phone


def _plain(value: str) -> str:
    return re.sub(r"\\([\\,;nN])", lambda escaped: "\n" if escaped[1] in "nN" else escaped[1], value).strip()


def _escaped(value: object) -> str:
    """Text in a card: nothing in a contact's name can start a line of its own."""
    text = re.sub(r"([\\,;])", r"\\\1", str(value or ""))
    return re.sub(r"[\r\n]+", r"\\n", text)
