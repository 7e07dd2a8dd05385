"""Cards of contacts: vCard 2.1 to 4.0 on WhatsApp's side, contacts of the Cloud API on ours.

Read line by line: strangers write them, by phones of every age, and one odd line costs no other.
"""

from __future__ import annotations

import base64
import binascii
import quopri
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from unoapi.models.phones import digits_of, is_valid, read_address
from unoapi.models.text import is_visible, mended, plain_text

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_ENTRIES = 50
MAX_CHARS = 1000
END = "END:VCARD"
NAME_PARTS = {"last_name": 0, "first_name": 1, "middle_name": 2, "prefix": 3, "suffix": 4}
ADDRESS_PARTS = {"street": 2, "city": 3, "state": 4, "zip": 5, "country": 6}
"""Where the parts of a name and of an address stand in their lines."""
NOT_A_TYPE = frozenset({"VOICE", "PREF", "INTERNET", "X-INTERNET", "MSG"})
"""What stands beside the type of an entry."""
BIRTHDAY = re.compile(r"([0-9]{4})[-/]?([0-9]{2})[-/]?([0-9]{2})(T.{0,40})?")
NO_YEAR = "X-APPLE-OMIT-YEAR"
"""The parameter of a birthday whose year is made up."""
INTERNATIONAL = re.compile(r"\+[0-9 ().-]+")
SCHEME = re.compile(r"tel:", re.IGNORECASE)
MAIL = re.compile(r"\Amailto:", re.IGNORECASE)
LINE = re.compile(
    r"(?:([\w-]{1,64}+)\.)?([\w-]{1,64}+)((?:\"[^\"]*+\"|[^\":])*+(?=:)|[^:]*+):(.*)", re.DOTALL | re.ASCII
)
"""Group, name, parameters, value. A colon in quotes belongs to the parameters."""
PARAMETER = re.compile(r"(?:\"[^\"]*+\"|[^;])++")
VALUE_OF_PARAMETER = re.compile(r"\"([^\"]*+)\"|([^,\"]++)")
CUSTOM = re.compile(r"X-CUSTOM\((?:[^()]*,)?([^(),]*)\)?", re.IGNORECASE)
"""How Samsung's phones write a label of one's own, in quoted-printable."""
ESCAPED_OR_ONE = re.compile(r"\\.|.", re.DOTALL)
ESCAPE = re.compile(r"\\([nN\\,;:\"])")
KNOWN_TYPE = re.compile(r"[A-Za-z]{1,64}")
CHARSETS = re.compile(
    r"utf-?(?:8|16(?:[bl]e)?)|(?:us-)?ascii|latin-?1|iso-8859-\d{1,2}|(?:windows-|cp)\d{3,4}|koi8-[ru]|gb\w{1,6}|big5"
    r"|shift[_-]jis|euc-(?:jp|kr)",
    re.ASCII | re.IGNORECASE,
)
"""In which cards are written. Python knows others, some of them slow."""
QUOTED_PRINTABLE, BASE64 = "QUOTED-PRINTABLE", frozenset({"BASE64", "B"})


@dataclass(frozen=True)
class Line:
    """One line of a card. `words` are its parameters without a value, `params` the values of the others."""

    group: str
    name: str
    params: dict[str, list[str]]
    words: list[str]
    written: str

    @property
    def value(self) -> str:
        """What stands behind the colon, decoded; escapes are still there."""
        return self._plain(self.written)

    @cached_property
    def _encodings(self) -> set[str]:
        return {word.upper() for word in (*self.words, *self.params.get("ENCODING", []))}

    def _plain(self, written: str) -> str:
        charset = "".join(self.params.get("CHARSET", [])[:1])
        if QUOTED_PRINTABLE in self._encodings:
            return _decoded(quopri.decodestring(written.encode("utf-8", "replace")), charset)
        if self._encodings & BASE64:
            try:
                return _decoded(base64.b64decode("".join(written.split()), validate=True), charset)
            except (binascii.Error, ValueError):
                pass
        return written

    @property
    def text(self) -> str:
        """The value as one text. A comma that nobody escaped belongs to it."""
        return _text(self.value)

    def parts(self, separator: str = " ") -> list[str]:
        """The parts of a value that has some; `separator` stands between several values of one.

        In quoted-printable what is encoded separates nothing: Android writes each part by itself, its signs encoded.
        """
        if QUOTED_PRINTABLE in self._encodings and ";" in self.written:
            return [_text(self._plain("".join(part))) for part in _parted(self.written)]
        return [_text("".join(separator if piece == "," else piece for piece in part)) for part in _parted(self.value)]


NOTHING = Line(group="", name="", params={}, words=[], written="")


def read_card(vcard: str, *, name: str = "") -> dict[str, Any]:
    """A Cloud API contact. A card without a phone has an empty list of them; what cannot be read is left out."""
    lines = list(_lines(vcard))
    labels = {line.group: line.text for line in lines if line.group and line.name == "X-ABLABEL"}
    first = {line.name: line for line in reversed(lines)}
    names = _names(first.get("N", NOTHING))
    whole = " ".join(names[part] for part in ("prefix", "first_name", "middle_name", "last_name", "suffix")
                     if part in names)  # fmt: skip
    full = next(filter(is_visible, (first.get("FN", NOTHING).text, name, whole)), "")
    contact: dict[str, Any] = {"name": {"formatted_name": full, **names}, "phones": []}
    for line in lines:
        words = _type_words(line)
        kind = next((word for word in words if word not in NOT_A_TYPE), "") or _label(labels.get(line.group, ""))
        kind = (kind or next(iter(words), ""))[:64]
        match line.name:
            case "TEL":
                _add(contact, "phones", _phone(line), kind)
            case "EMAIL":
                _add(contact, "emails", {"email": MAIL.sub("", line.text)}, kind)
            case "URL":
                _add(contact, "urls", {"url": line.text}, kind)
            case "ADR":
                _add(contact, "addresses", _address(line), kind)
    org = _organisation(first)
    contact |= {"org": org} if org else {}
    if not full:
        others = (
            first.get("NICKNAME", NOTHING).text,
            org.get("company"),
            *(phone["phone"] for phone in contact["phones"][:1]),
        )
        contact["name"]["formatted_name"] = next(filter(None, others), "")
    born = first.get("BDAY", NOTHING)
    birthday = None if NO_YEAR in born.params else BIRTHDAY.fullmatch(born.text)
    return contact | ({"birthday": "-".join(birthday.groups()[:3])} if birthday else {})


def write_card(contact: dict[str, Any], *, own: str = "") -> tuple[str, str]:
    """The name and the card of a Cloud API contact. `own` is the session's phone: numbers may lack its country."""
    names = _object(contact.get("name"), "formatted_name")
    name = str(names.get("formatted_name") or names.get("first_name") or "")
    given = {**names, "first_name": names.get("first_name") or ("" if names.get("last_name") else name)}
    parts = ";".join(_escaped(given.get(part)) for part in NAME_PARTS)
    lines = ["BEGIN:VCARD", "VERSION:3.0", f"N:{parts}", f"FN:{_escaped(name)}"]
    org = _object(contact.get("org"), "company")
    if department := org.get("department"):
        lines.append(f"ORG:{_escaped(org.get('company'))};{_escaped(department)}")
    elif org.get("company"):
        lines.append(f"ORG:{_escaped(org['company'])}")
    lines += [f"TITLE:{_escaped(org['title'])}"] if org.get("title") else []
    for phone in _objects(contact.get("phones"), "phone"):
        if number := _line(phone.get("phone") or phone.get("wa_id") or ""):
            waid = _waid(str(phone.get("wa_id") or ""), number, own=own)
            shown = f";type=VOICE;waid={waid}" if waid else ";type=VOICE"
            _write(lines, "TEL", phone, _escaped(number), more=shown)
    for email in _objects(contact.get("emails"), "email"):
        _write(lines, "EMAIL", email, _escaped(email.get("email")))
    for url in _objects(contact.get("urls"), "url"):
        _write(lines, "URL", url, _line(url.get("url")))
    for address in _objects(contact.get("addresses"), "street"):
        known = {**address, "country": address.get("country") or address.get("country_code")}
        place = ";".join(_escaped(known.get(part)) for part in ADDRESS_PARTS)
        _write(lines, "ADR", address, f";;{place}" if place.strip(";") else "")
    birthday = BIRTHDAY.fullmatch(str(contact.get("birthday") or ""))
    lines += [f"BDAY:{'-'.join(birthday.groups()[:3])}"] if birthday else []
    return name, "\r\n".join([*lines, END])


def _write(lines: list[str], name: str, entry: dict[str, Any], value: str, *, more: str = "") -> None:
    """Add an entry that has a value. Its type is a word, or else a label, as phones write those of one's own."""
    kind = (plain_text(entry.get("type")).strip() or ("CELL" if name == "TEL" else "HOME"))[:64]
    if not value:
        return
    if KNOWN_TYPE.fullmatch(kind):
        lines.append(f"{name};type={kind.upper()}{more}:{value}")
    else:
        group = f"item{len(lines)}"
        lines += [f"{group}.{name}{more}:{value}", f"{group}.X-ABLabel:{_escaped(kind)}"]


def _lines(vcard: str) -> Iterator[Line]:
    """The lines of the first card in a text, as far as they can be read."""
    text = vcard.lstrip("\ufeff \t\r\n").replace("\r\n", "\n").replace("\r", "\n")
    for written in _unfolded(text.split("\n")):
        if written[: len(END)].upper() == END:
            return
        if (found := LINE.fullmatch(written)) is not None:
            group, name, parameters, value = found.groups("")
            yield _parsed(group, name, parameters, value)


def _unfolded(lines: list[str]) -> Iterator[str]:
    """The lines, each with those that go on with it: they begin with a space, or it ends with `=` and is quoted."""
    whole: list[str] = []
    quoted = False
    for line in lines:
        if quoted and whole[-1].endswith("="):
            whole += ["\n", line]
        elif line[:1] in (" ", "\t") and whole:
            whole.append(line[1:])
        else:
            yield "".join(whole)
            whole, quoted = [line], QUOTED_PRINTABLE in line.partition(":")[0].upper()
    yield "".join(whole)


def _parsed(group: str, name: str, parameters: str, value: str) -> Line:
    params: dict[str, list[str]] = {}
    words: list[str] = []
    for parameter in PARAMETER.findall(parameters):
        field, is_named, given = parameter.partition("=")
        if (custom := CUSTOM.match(parameter)) is not None:
            words.append(_decoded(quopri.decodestring(custom[1].encode("utf-8", "replace")), ""))
        elif is_named:
            values = params.setdefault(field.strip().upper(), [])
            values += [inner or plain for inner, plain in VALUE_OF_PARAMETER.findall(given)]
        else:
            words.append(parameter.strip())
    return Line(group=group, name=name.replace("_", "-").upper(), params=params, words=words, written=value)


def _parted(value: str) -> list[list[str]]:
    """The signs of each part of a value, with their escapes."""
    parts: list[list[str]] = [[]]
    for piece in ESCAPED_OR_ONE.findall(value):
        if piece == ";":
            parts.append([])
        else:
            parts[-1].append(piece)
    return parts


def _names(line: Line) -> dict[str, str]:
    return _named(line.parts(), NAME_PARTS)


def _address(line: Line) -> dict[str, str]:
    """An address. Its box and its suite, for which Meta has no fields, stand behind the street."""
    box, suite, *rest = [*line.parts(","), "", ""]
    street = ", ".join(filter(None, (*rest[:1], suite, box)))
    return _named(["", "", street, *rest[1:]], ADDRESS_PARTS)


def _named(parts: list[str], places: dict[str, int]) -> dict[str, str]:
    return {name: parts[place] for name, place in places.items() if place < len(parts) and parts[place]}


def _organisation(first: dict[str, Line]) -> dict[str, str]:
    """The company, with the name of the business where there is none, and what the contact is there."""
    company, *units = first.get("ORG", NOTHING).parts(",")
    named = {"company": company or first.get("X-WA-BIZ-NAME", NOTHING).text,
             "department": ", ".join(filter(None, units))[:MAX_CHARS],
             "title": first.get("TITLE", NOTHING).text or first.get("ROLE", NOTHING).text}  # fmt: skip
    return {part: text for part, text in named.items() if text}


def _phone(line: Line) -> dict[str, str]:
    text = line.text
    scheme = SCHEME.match(text)
    number = text[scheme.end() if scheme else 0 :].partition(";")[0].strip()
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


def _type_words(line: Line) -> list[str]:
    """What is said of the type of an entry, as `CELL`: in 2.1 words of their own, later the values of `TYPE`."""
    written = [*line.params.get("TYPE", []), *line.words]
    words = [word.strip().upper() for text in written for word in text.split(",")]
    return [mended(word) for word in words if word and word not in {QUOTED_PRINTABLE, *BASE64}]


def _label(text: str) -> str:
    return text.replace("_$!<", "").replace(">!$_", "").strip()[:64]


def _text(written: str) -> str:
    """A value without its escapes, as text that everybody can store."""
    plain = ESCAPE.sub(lambda found: "\n" if found[1] in "nN" else found[1], written)
    return str(mended(plain)).strip()[:MAX_CHARS]


def _decoded(data: bytes, charset: str) -> str:
    """Bytes as text, in the charset that is named, else in that of most cards, else in that of old phones."""
    for name in (charset if CHARSETS.fullmatch(charset) else "utf-8", "utf-8"):
        try:
            return data.decode(name)
        except (LookupError, UnicodeError):
            continue
    return data.decode("cp1252", "replace")


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


def _object(value: object, main: str) -> dict[str, Any]:
    """A part of a contact; `main` is what a plain text in its place is."""
    return next(iter(_objects(value, main)), {})


def _objects(value: object, main: str) -> list[dict[str, Any]]:
    """The entries of a part of a contact, which may be one alone; `main` is what a plain text among them is."""
    listed = value if isinstance(value, list) else [value]
    return [entry if isinstance(entry, dict) else {main: entry} for entry in listed if entry]


def _line(value: object) -> str:
    """A text on one line."""
    return " ".join(plain_text(value).split())


def _escaped(value: object) -> str:
    """Text in a card: nothing in a contact's name can start a line of its own."""
    text = re.sub(r"([\\,;])", r"\\\1", plain_text(value))
    return re.sub(r"[\r\n]+", r"\\n", text)
