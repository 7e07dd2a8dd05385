"""Cards of contacts: vCard 2.1 to 4.0 on WhatsApp's side, contacts of the Cloud API on ours."""

from __future__ import annotations

import base64
import binascii
import codecs
import importlib
import logging
import re
from functools import lru_cache
from typing import Any

from unoapi.models.phones import digits_of, is_valid, read_address

MAX_ENTRIES = 50
MAX_CHARS = 1000
END = "END:VCARD"
NAME_PARTS = {"last_name": "family", "first_name": "given", "middle_name": "additional", "prefix": "prefix",
              "suffix": "suffix"}  # fmt: skip
ADDRESS_PARTS = {"street": "street", "city": "city", "state": "region", "zip": "code", "country": "country"}
NOT_A_TYPE = frozenset({"VOICE", "PREF", "INTERNET", "X-INTERNET", "MSG"})
"""What stands beside the type of an entry."""
BIRTHDAY = re.compile(r"([0-9]{4})[-/]?([0-9]{2})[-/]?([0-9]{2})(T.{0,40})?")
NO_YEAR = "X-APPLE-OMIT-YEAR"
"""The parameter of a birthday whose year is made up."""
PLAIN_ENCODING = re.compile(r";(?:ENCODING=)?(?:7BIT|8BIT)(?=[;:])", re.IGNORECASE)
NAMED_ENCODING = re.compile(r";(?:ENCODING|CHARSET)=[\w.-]{1,40}(?=[;:])", re.IGNORECASE)
INTERNATIONAL = re.compile(r"\+[0-9 ().-]+")
LINE_END = re.compile(r"(?<!=)\n(?![ \t])")
"""What ends a line that no other one continues."""
MAX_LINES = 200
BEGIN = "BEGIN:VCARD"


def read_card(vcard: str, *, name: str = "") -> dict[str, Any]:
    """A Cloud API contact. A card without a phone has an empty list of them; what cannot be read is left out."""
    lines = _lines(vcard)
    labels = {line.group: _text(line) for line in lines if line.group and line.name == "X-ABLABEL"}
    first = {line.name: line for line in reversed(lines)}
    names = _names(first.get("N"))
    full = _text(first.get("FN")) or name or " ".join(
        names[part] for part in ("prefix", "first_name", "middle_name", "last_name", "suffix") if part in names
    )  # fmt: skip
    contact: dict[str, Any] = {"name": {"formatted_name": full, **names}, "phones": []}
    for line in lines:
        words = _type_words(line)
        kind = next((word for word in words if word not in NOT_A_TYPE), "") or _label(labels.get(line.group, ""))
        kind = (kind or next(iter(words), ""))[:64]
        match line.name:
            case "TEL":
                _add(contact, "phones", _phone(line), kind)
            case "EMAIL":
                _add(contact, "emails", {"email": _text(line)}, kind)
            case "URL":
                _add(contact, "urls", {"url": _text(line).replace("\\:", ":")}, kind)
            case "ADR":
                _add(contact, "addresses", _address(line), kind)
    org = _organisation(first)
    contact |= {"org": org} if org else {}
    if not full:
        others = (
            _text(first.get("NICKNAME")),
            org.get("company"),
            *(phone["phone"] for phone in contact["phones"][:1]),
        )
        contact["name"]["formatted_name"] = next(filter(None, others), "")
    born = first.get("BDAY")
    birthday = None if born is not None and NO_YEAR in born.params else BIRTHDAY.fullmatch(_text(born))
    return contact | ({"birthday": "-".join(birthday.groups()[:3])} if birthday else {})


def write_card(contact: dict[str, Any], *, own: str = "") -> tuple[str, str]:
    """The name and the card of a Cloud API contact. `own` is the session's phone: numbers may lack its country."""
    names = _object(contact.get("name"))
    name = str(names.get("formatted_name") or names.get("first_name") or "")
    given = {**names, "first_name": names.get("first_name") or ("" if names.get("last_name") else name)}
    parts = ";".join(_escaped(given.get(part)) for part in NAME_PARTS)
    lines = ["BEGIN:VCARD", "VERSION:3.0", f"N:{parts}", f"FN:{_escaped(name)}"]
    org = _object(contact.get("org"))
    if org.get("company") or org.get("department"):
        company = ";".join(_escaped(org.get(part)) for part in ("company", "department"))
        lines.append(f"ORG:{company.rstrip(';')}")
    lines += [f"TITLE:{_escaped(org['title'])}"] if org.get("title") else []
    lines += [line for phone in _objects(contact.get("phones")) if (line := _tel(phone, own=own))]
    for email in _objects(contact.get("emails")):
        lines += [f"EMAIL;type={_type(email, 'HOME')}:{_escaped(email['email'])}"] if email.get("email") else []
    for url in _objects(contact.get("urls")):
        lines += [f"URL;type={_type(url, 'HOME')}:{_line(url['url'])}"] if url.get("url") else []
    for address in _objects(contact.get("addresses")):
        place = ";".join(_escaped(address.get(part)) for part in ADDRESS_PARTS)
        lines += [f"ADR;type={_type(address, 'HOME')}:;;{place}"] if place.strip(";") else []
    birthday = BIRTHDAY.fullmatch(str(contact.get("birthday") or ""))
    lines += [f"BDAY:{'-'.join(birthday.groups()[:3])}"] if birthday else []
    return name, "\r\n".join([*lines, END])


@lru_cache(maxsize=1)
def _vobject() -> Any:
    """The library, loaded at the first card; it would log the lines that it cannot read."""
    library = importlib.import_module("vobject")
    logging.getLogger("vobject.base").disabled = True
    return library


def _lines(vcard: str) -> list[Any]:
    """The lines of the first card in a text, as far as they can be read; one that breaks the library costs no other."""
    text = vcard.lstrip("\ufeff \t\r\n").replace("\r\n", "\n").replace("\r", "\n")
    text = text if END in text.upper() else f"{text.rstrip()}\n{END}\n"
    text = NAMED_ENCODING.sub(_known_encoding, PLAIN_ENCODING.sub("", text))
    lines = _parsed(text)
    if lines is not None:
        return lines
    inner = LINE_END.split(text[: text.upper().index(END)])[1 : MAX_LINES + 1]
    return [line for written in inner for line in _parsed(f"{BEGIN}\n{written}\n{END}\n") or []]


def _parsed(text: str) -> list[Any] | None:
    library = _vobject()
    try:
        card = library.readOne(text, validate=False, transform=True, ignoreUnreadable=True, allowQP=True)
        return list(card.lines()) if card is not None else []
    except Exception:  # noqa: BLE001 (a stranger's card: the library foresees some of what can stand in it)
        return None


def _known_encoding(parameter: re.Match[str]) -> str:
    """An encoding in capitals, as the library knows it; nothing for a charset that nobody knows."""
    name, _, value = parameter[0].partition("=")
    if name.upper() == ";CHARSET":
        try:
            codecs.lookup(value)
        except LookupError:
            return ""
    return f"{name}={value}".upper()


def _names(line: Any) -> dict[str, str]:
    parts = {part: getattr(getattr(line, "value", None), field, "") for part, field in NAME_PARTS.items()}
    return {part: text for part, value in parts.items() if (text := _joined(value))}


def _address(line: Any) -> dict[str, str]:
    parts = {part: _joined(getattr(line.value, field, "")) for part, field in ADDRESS_PARTS.items()}
    return {part: text for part, text in parts.items() if text}


def _organisation(first: dict[str, Any]) -> dict[str, str]:
    """The company, with the name of the business where there is none, and what the contact is there."""
    parts = getattr(first.get("ORG"), "value", [])
    company, department, *_ = [*(_joined(part) for part in parts if isinstance(parts, list)), "", ""]
    named = {"company": company or _text(first.get("X-WA-BIZ-NAME")), "department": department,
             "title": _text(first.get("TITLE"))}  # fmt: skip
    return {part: text for part, text in named.items() if text}


def _phone(line: Any) -> dict[str, str]:
    number = _text(line).removeprefix("tel:").partition(";")[0].strip()
    written = ""
    if number.startswith(("+", "00")) or is_valid(digits_of(number)):
        written = _phone_in(number) or (digits_of(number) if INTERNATIONAL.fullmatch(number) else "")
    waid = digits_of("".join(line.params.get("WAID", ["", ""])[:1]))
    if not waid or (written and not is_valid(waid)):  # an id of WhatsApp's own is no phone
        waid = written
    number = number or (f"+{waid}" if waid else "")
    return {"phone": number} | ({"wa_id": waid} if waid else {}) if number else {}


def _add(contact: dict[str, Any], name: str, entry: dict[str, str], kind: str) -> None:
    if any(entry.values()) and len(contact.setdefault(name, [])) < MAX_ENTRIES:
        contact[name].append(entry | ({"type": kind} if kind else {}))


def _type_words(line: Any) -> list[str]:
    """What is said of the type of an entry, as `CELL`: in 2.1 words of their own, later the values of `TYPE`."""
    written = [*line.params.get("TYPE", []), *line.singletonparams]
    words = [word.strip().upper() for text in written for word in str(text).split(",")]
    return [word for word in words if word]


def _label(text: str) -> str:
    return text.replace("_$!<", "").replace(">!$_", "").strip()[:64]


def _text(line: Any) -> str:
    """The value of a line as one text; empty when there is no line."""
    if line is None:
        return ""
    value = getattr(line, "value", "")
    if isinstance(value, bytes):
        value = _decoded(value, line)
    elif isinstance(value, str) and "BASE64" in [str(word).upper() for word in line.params.get("ENCODING", [])]:
        with_bytes = _from_base64(value)
        value = _decoded(with_bytes, line) if with_bytes else value
    return _joined(value)


def _decoded(data: bytes, line: Any) -> str:
    charsets: list[str] = line.params.get("CHARSET", [])
    try:
        return data.decode(charsets[0] if charsets else "utf-8", "replace")
    except LookupError:
        return data.decode("utf-8", "replace")


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _joined(value: object) -> str:
    parts = value if isinstance(value, list) else [value]
    return " ".join(str(part).strip() for part in parts if part).strip()[:MAX_CHARS]


def _tel(phone: dict[str, Any], *, own: str) -> str:
    number = _line(phone.get("phone") or phone.get("wa_id") or "")
    if not number:
        return ""
    waid = _waid(str(phone.get("wa_id") or ""), number, own=own)
    shown = f";waid={waid}" if waid else ""
    return f"TEL;type={_type(phone, 'CELL')};type=VOICE{shown}:{_escaped(number)}"


def _waid(given: str, number: str, *, own: str) -> str:
    """WhatsApp's id of a phone, always with its country; empty for what has none."""
    if digits := _phone_in(given, own=own):
        return digits
    if number.startswith("0"):
        return ""  # dialled within a country: a service's number mostly, of no account
    digits = _phone_in(number, own=own)
    return digits if number.startswith("+") or is_valid(digits) else ""


def _phone_in(written: str, *, own: str = "") -> str:
    """The digits of a phone as people write it; empty for what is none."""
    try:
        address = read_address(written, own=own)
    except ValueError:
        return ""
    return address if address.isdigit() else ""


def _type(entry: dict[str, Any], otherwise: str) -> str:
    return re.sub(r"[^A-Z]", "", str(entry.get("type") or otherwise).upper())[:64] or otherwise


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _line(value: object) -> str:
    """A text on one line."""
    return " ".join(str(value or "").split())


def _escaped(value: object) -> str:
    """Text in a card: nothing in a contact's name can start a line of its own."""
    text = re.sub(r"([\\,;])", r"\\\1", str(value or ""))
    return re.sub(r"[\r\n]+", r"\\n", text)
