"""Phone numbers and WhatsApp's addresses (jids), with the Brazilian ninth digit."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote

import phonenumbers

from unoapi.models.text import FILLERS

if TYPE_CHECKING:
    from collections.abc import Iterator

USER = "s.whatsapp.net"
LID = "lid"
GROUP = "g.us"
CHANNEL = "newsletter"
PERSONS = frozenset({USER, "c.us", "hosted", "wa.gw.msging.net"})
"""Hosts of addresses that are a phone; `c.us` is that of WhatsApp Web and of the gateways built on it, `hosted` that of
the device that Meta runs for a number with its Cloud API, the last one Blip's."""
LIDS = frozenset({LID, "hosted.lid"})
STATUS_POSTS = "status@broadcast"
MIN_DIGITS, MAX_DIGITS = 5, 20
LONGEST_NATIONAL = 12
"""Digits of a number without its country's code."""
TWICE_MARKED = 15
"""Of a mobile of Argentina with both of its marks."""
LOCAL_DIGITS = 8
"""Of a number as it is dialled within its own town; fewer are an extension, or a service."""
MAX_WRITTEN_CHARS = 128
DEVICE = re.compile(r"[.:_].*")
"""What follows the phone in the address of one of its devices."""
CHAT_ID = re.compile(r"[0-9]{1,32}(-[0-9]{1,32})?", re.ASCII)
META_GROUP = re.compile(r"(?=[^A-Za-z]*[A-Za-z])[A-Za-z0-9+/=_-]{16,128}", re.ASCII)
"""A group's id at Meta: a text in base64."""
NEW_GROUP = re.compile(r"120363[0-9]{12,14}", re.ASCII)
"""A group's id without its host: longer than any phone."""
OLD_GROUP = re.compile(r"[0-9]{8,15}-1[0-9]{9}", re.ASCII)
"""The same of a group that is older than 2021: the phone of who made it, and when."""
GROUP_OF_Z_API = re.compile(r"([0-9]{8,32}(?:-[0-9]{1,32})?)-group", re.ASCII | re.IGNORECASE)
"""A group as Z-API writes it."""
BEFORE_A_NUMBER = re.compile(
    r"(?:https?://)?(?:www\.)?(?:wa\.me/|(?:api|web)\.whatsapp\.com/send/?\?(?:[^#]*&)?phone=)"
    r"|whatsapp://send/?\?(?:[^#]*&)?phone=|(?:whatsapp|tel|sms|callto|p):(?://)?",
    re.IGNORECASE,
)
"""What stands before a number in a link or a form; `p:` in the leads of Meta's advertisements."""
AFTER_A_LINK = re.compile(r"[?&#;].*", re.DOTALL)
FROM_A_SPREADSHEET = re.compile(r"(\+?[0-9]{8,})[.,]0{1,2}", re.ASCII)
"""What a table makes of a number that it takes for an amount, with the sign of its country."""
SHORTENED = re.compile(r"\+?[0-9][.,]?[0-9]{0,20}E\+?[0-9]{1,2}", re.ASCII | re.IGNORECASE)
"""What a table shows of a number for which its column is too narrow: 5,51199E+12."""
AROUND = "'\"`\u2018\u2019\u201c\u201d,;=<>*"
"""What stands around a number in a line of a table: Excel's marks of a text, quotes, the sign between two columns.

And the stars of a number in bold, out of a chat.
"""
MEANINGLESS = frozenset({"Cf", "Zs", "Zl", "Zp", "Mn", "Me", "So"})
"""Unicode categories of what is copied with a number: invisible marks, spaces, the frames of keycaps, pictures."""
SEPARATORS = frozenset("-()[]./_\t\r\n\v\f\u2212\u00b7\u2022\u30fb\u30fc\u02d7\u2043\u2053\u223c~")
ANY_CARRIER = re.compile(r"^(\(?0)(?:xx|\*\*)", re.IGNORECASE)
"""How Brazilians write that a carrier's code may stand between the zero and the area."""
TRUNK_ZERO = re.compile(
    r"^((?:\+|00)?(?!39|37[89]|225|229|24[12])[1-9][0-9]{0,2})\(0(?:xx|\*\*)?(?=[0-9]{0,4}\))", re.IGNORECASE
)
"""A zero in brackets behind the country's code, dialled within the country alone. In Italy and in some countries of
Africa it belongs to the number."""
FORMER_MEXICAN_PREFIX = re.compile(r"^(?:01|04[45])(?=[0-9]{10}$)", re.ASCII)
"""What was dialled in Mexico before a number of another area, or of a mobile, until 2019."""
COUNTRY_CODES = frozenset(f"{code}" for code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE)
MARKED_ARGENTINE = re.compile(r"^549(?=[0-9]{12}$)(?=[0-9]{2,4}15[0-9]{6,8}$)", re.ASCII)
"""The 9 of Argentina's mobiles beside their 15, which is not dialled with the country's code."""
MEXICO = "52"
MEXICAN_OF_WHATSAPP = re.compile(r"^521(?=[0-9]{10}$)", re.ASCII)
"""A mobile of Mexico as WhatsApp writes it, with a digit that the numbering plan has no more."""
ZERO_OF_THE_NUMBER = ("39", "378", "379", "225", "229", "241", "242")
"""Countries where a zero behind the code belongs to most numbers: Italy and its neighbours, some of Africa."""
MOBILE_INFIX = {"AR": 2}
"""Digits that a mobile's number has within the country alone: the 15 behind an area of Argentina."""
OLD_MOBILE = re.compile(r"55[1-9][0-9][6-9][0-9]{7}", re.ASCII)
"""A Brazilian mobile number as it was before the ninth digit: country, area, eight digits that begin with 6 to 9."""

NUMBER_IN_TEXT = re.compile(r"(?<![\w@.])@\+?([1-9][0-9]{7,14})(?![0-9])", re.ASCII)
"""A person who is named in a text: `@5511999990000`."""


def to_phone(address: str) -> str:
    """The public phone of a jid or of a number as people write it; no plus.

    A Brazilian mobile without its ninth digit gets it. LIDs lose their host; anything that is no phone stays.
    """
    number = address.partition("@")[0].partition(":")[0].removeprefix("+")
    return number if address.endswith(f"@{LID}") else with_ninth_digit(number)


def read_address(written: str, *, own: str = "") -> str:
    """The one reader of numbers and addresses as people write them.

    Gives the digits of a phone in international form, with the Brazilian ninth digit, or the address of a chat:
    `…@lid`, `…@g.us`, `…@newsletter`, `status@broadcast`. `own` is the phone of the session: numbers without a country
    are read as those of its country, if in no other way. Raises ValueError with what is wrong.
    """
    if written.isascii() and written.isdigit() and _is_surely_international(written, own):
        return with_ninth_digit(written)  # nearly all of them, and the library takes its time
    if len(written) > MAX_WRITTEN_CHARS:
        raise ValueError(f"has more than {MAX_WRITTEN_CHARS} characters")
    user, at, host = _unwrapped(written).partition("@")
    host = host.lower()
    if at and host not in PERSONS:
        return _chat(user, host)
    if at:
        user, own = DEVICE.sub("", user), ""
    elif group := _group_of(user):
        return group
    digits, readings, is_marked = _readings(user, own=own)
    if not at and NEW_GROUP.fullmatch(digits):
        return f"{digits}@{GROUP}"
    if not MIN_DIGITS <= len(digits) <= MAX_DIGITS:
        raise ValueError(f"must be a phone number in international form: {MIN_DIGITS} to {MAX_DIGITS} digits")
    return _likeliest(digits, readings, is_marked=is_marked, own=own)


def _group_of(written: str) -> str:
    """The address of a group that is written without its host as no number is; empty for anything else."""
    if found := GROUP_OF_Z_API.fullmatch(written):
        return f"{found[1]}@{GROUP}"
    return f"{written}@{GROUP}" if OLD_GROUP.fullmatch(written) else ""


def _likeliest(digits: str, readings: list[tuple[str, str]], *, is_marked: bool, own: str) -> str:
    """The number by the first reading that a numbering plan has, else by one that it may have. Raises ValueError."""
    # Without a plus it may be of the session's own country, unless it is too long; and it is read again without that.
    is_whole = is_marked or len(digits) > LONGEST_NATIONAL
    international = [whole for whole, region in readings if is_whole and not region]
    others = [(bare, "") for whole in international if (bare := _without_marks(whole)) != whole]
    number = next(filter(None, (_planned(*reading) for reading in dict.fromkeys([*readings, *others]))), "")
    if not number and not digits.startswith("0") and LOCAL_DIGITS <= len(digits) < _national_digits(own):
        raise ValueError("must be a phone number in international form: it lacks the codes of its country and its area")
    likely = [other for other in others if not other[0].startswith(ZERO_OF_THE_NUMBER)]
    number = number or next(filter(None, (_possible(*reading) for reading in [*likely, *readings])), "")
    if not number and digits.startswith("0"):
        raise ValueError("must be a phone number in international form: no country code begins with 0")
    return number or digits


def is_group(address: str) -> bool:
    """Whether it is the address of a group of phones."""
    return address.endswith(f"@{GROUP}")


def _meaningful(written: str) -> Iterator[str]:
    """The characters that mean something: wide ones in their usual form, dashes and digits of every kind as one."""
    for character in unicodedata.normalize("NFKC", written):
        category = unicodedata.category(character)
        if category == "Nd":
            yield str(unicodedata.decimal(character))
        elif category not in MEANINGLESS and character not in FILLERS:
            yield "-" if category == "Pd" else character


def _unwrapped(written: str) -> str:
    """The characters that mean something, out of a link or an address and without what stands around them."""
    text = "".join(_meaningful(written))
    if found := BEFORE_A_NUMBER.match(text):
        linked = AFTER_A_LINK.sub("", text[found.end() :])
        text = linked[:1] + linked[1:].replace("+", " ")  # a space in a query
    return "".join(_meaningful(unquote(text))).strip(AROUND)


def _chat(user: str, host: str) -> str:
    if f"{user.lower()}@{host}" == STATUS_POSTS:
        return STATUS_POSTS
    host = LID if host in LIDS else host
    if host not in (LID, GROUP, CHANNEL):
        raise ValueError("must be a phone number or the address of a chat: the part behind the @ is unknown")
    user = DEVICE.sub("", user).removeprefix("+")
    if not CHAT_ID.fullmatch(user):
        raise ValueError(f"must be digits before @{host}")
    return f"{user}@{host}"


def _readings(text: str, *, own: str) -> tuple[str, list[tuple[str, str]], bool]:
    """The digits, and how they may be read, the likeliest first: digits, and the country whose form it is, if any.

    `+` and `00` mark an international form, which the last value tells; an area in brackets or a 0 in front a national
    one.
    """
    if whole := FROM_A_SPREADSHEET.fullmatch(text):
        text = whole[1]
    if SHORTENED.fullmatch(text):
        raise ValueError(
            "must be a phone number in international form: a table has shortened it, and its last digits are gone; "
            "give its column the format of a text"
        )
    text = TRUNK_ZERO.sub(r"\1(", ANY_CARRIER.sub(r"\1", text))
    kept = "".join(character for character in text if character not in SEPARATORS)
    digits = kept.lstrip("+")
    if not digits.isascii() or not digits.isdigit():
        raise ValueError("must be a phone number in international form, digits only, or the address of a chat")
    region = region_of(own)
    if region == "MX" and kept == digits:
        digits = kept = FORMER_MEXICAN_PREFIX.sub("", digits)
    if digits.startswith("00"):
        return digits[2:], [(digits[2:], ""), *([] if kept != digits else [(digits, region)])], True
    if kept != digits:
        return digits, [(digits, "")], True
    national, international = (digits, region), (digits, "")
    if digits.startswith("0") or text.startswith("("):
        return digits, [national, international], False
    return digits, [international, *([national] if len(digits) <= _longest_national(own) else [])], False


def _without_marks(digits: str) -> str:
    """An international number without what belongs to its national form alone."""
    bare = MARKED_ARGENTINE.sub("54", digits)
    if bare.startswith(MEXICO):
        bare = MEXICO + FORMER_MEXICAN_PREFIX.sub("", bare.removeprefix(MEXICO))
    code = next((bare[:size] for size in (1, 2, 3) if bare[:size] in COUNTRY_CODES), "")
    return code + bare[len(code) :].lstrip("0") if code else bare


def _is_surely_international(digits: str, own: str) -> bool:
    """Whether they are too many for a number of the session's country without its code, and hold no trunk zero."""
    return _longest_national(own) < len(digits) <= MAX_DIGITS and not (
        "0" in digits[:4] or (len(digits) == TWICE_MARKED and digits.startswith("549"))
    )


@lru_cache(maxsize=4096)
def _longest_national(own: str) -> int:
    """Digits of the longest number, without marks, that is taken for one of the session's country without its code.

    At most one more than the session's own has: where numbers have any length, a contact's whose country is newer than
    the numbering plans must not become somebody else's.
    """
    metadata = phonenumbers.PhoneMetadata.metadata_for_region(region_of(own), None)
    plan = metadata.general_desc if metadata is not None else None
    if plan is None:
        return MIN_DIGITS
    return min(max(plan.possible_length), _national_digits(own) + 1) + MOBILE_INFIX.get(region_of(own), 0)


def _national_digits(own: str) -> int:
    """Digits of the session's own number without its country's code; 0 when its country is unknown."""
    region = region_of(own)
    return len(own) - len(str(phonenumbers.country_code_for_region(region))) if region else 0


def _parsed(digits: str, region: str) -> phonenumbers.PhoneNumber | None:
    """The digits as a number of a country, else as an international one. None for what is no number."""
    try:
        return phonenumbers.parse(digits if region else f"+{digits}", region or None)
    except phonenumbers.NumberParseException:
        return None


@lru_cache(maxsize=4096)
def _planned(digits: str, region: str) -> str:
    """The number in its plan's form, without trunk zeros: that of a country, else international. Empty: not in it."""
    parsed = _parsed(digits, region)
    if parsed is None:
        return ""
    number = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)[1:]
    if OLD_MOBILE.fullmatch(number):
        return with_ninth_digit(number)
    return number if phonenumbers.is_valid_number(parsed) else ""


@lru_cache(maxsize=4096)
def _possible(digits: str, region: str) -> str:
    """The number if its country's numbers have so many digits: it may be newer than the plan. Empty: they have not."""
    parsed = _parsed(digits, region)
    if parsed is None:
        return ""
    reason = phonenumbers.is_possible_number_with_reason(parsed)
    if reason != phonenumbers.ValidationResult.IS_POSSIBLE or parsed.italian_leading_zero:
        return ""
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)[1:] if region else digits


@lru_cache(maxsize=4096)
def region_of(phone: str) -> str:
    """The country of a phone in international form, as `BR`; empty when there is none."""
    try:
        parsed = phonenumbers.parse(f"+{phone}")
    except phonenumbers.NumberParseException:
        return ""
    region = phonenumbers.region_code_for_number(parsed)
    return region or phonenumbers.region_code_for_country_code(parsed.country_code or 0).replace("ZZ", "")


def with_ninth_digit(number: str) -> str:
    """Add the ninth digit that Brazilian mobiles have since 2016. Landlines and other countries stay as they are."""
    if not OLD_MOBILE.fullmatch(number):
        return number
    candidate = f"{number[:4]}9{number[4:]}"
    return candidate if is_valid(candidate) else number


def without_ninth_digit(number: str) -> str:
    """A Brazilian mobile number as it was written before 2016; any other number stays as it is."""
    before = f"{number[:4]}{number[5:]}"
    return before if number[4:5] == "9" and OLD_MOBILE.fullmatch(before) else number


def to_jid(recipient: str) -> str:
    """The jid of a recipient as the API gets it; the existence look-up of WhatsApp may still change it."""
    return recipient if "@" in recipient else f"{to_phone(recipient)}@{USER}"


def is_valid(number: str) -> bool:
    """Whether the numbering plan of its country has this number, in international form with or without a plus.

    Mexico's mobiles count in WhatsApp's form, too.
    """
    digits = MEXICAN_OF_WHATSAPP.sub(MEXICO, number.removeprefix("+"))
    if not digits.isascii() or not digits.isdigit():
        return False
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(f"+{digits}"))
    except phonenumbers.NumberParseException:
        return False


@lru_cache(maxsize=4096)
def country_code_of(phone: str) -> str:
    """The code of a phone's country, as `55`; empty when there is none."""
    region = region_of(phone)
    return str(phonenumbers.country_code_for_region(region)) if region else ""


def is_possible(number: str) -> bool:
    """Whether a number in international form, digits only, has a length that its country's numbers can have."""
    if not number.isascii() or not number.isdigit():
        return False
    try:
        return phonenumbers.is_possible_number(phonenumbers.parse(f"+{number}"))
    except phonenumbers.NumberParseException:
        return False


def is_channel(address: str) -> bool:
    """Whether it is the address of a channel."""
    return address.endswith(f"@{CHANNEL}")


def is_individual(address: str) -> bool:
    """Whether it is the address of one person."""
    host = address.partition("@")[2]
    return host in ("", USER, LID)


def user_of(jid: str) -> str:
    """The user part of an address, without its device: `5511…:7@s.whatsapp.net` gives `5511…`."""
    return jid.partition("@")[0].partition(":")[0].removeprefix("+")


def digits_of(text: str) -> str:
    """Only the digits."""
    return re.sub(r"[^0-9]", "", text)


def without_device(jid: str) -> str:
    """The jid of the account, without the number of one of its devices."""
    user, at, host = jid.partition("@")
    return f"{user.partition(':')[0]}{at}{host}"


def phone_or_jid(address: str) -> str:
    """The phone of a person; groups and other chats keep their address."""
    return to_phone(address) if is_individual(address) else address
