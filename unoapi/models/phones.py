"""Phone numbers and WhatsApp's addresses (jids), with the Brazilian ninth digit."""

from __future__ import annotations

import re

import phonenumbers

USER = "s.whatsapp.net"
LID = "lid"
OLD_MOBILE = re.compile(r"55[1-9][0-9][6-9][0-9]{7}", re.ASCII)
"""A Brazilian mobile number as it was before the ninth digit: country, area, eight digits that begin with 6 to 9."""


def to_phone(address: str) -> str:
    """The public phone of a jid or of a number as people write it; no plus.

    A Brazilian mobile without its ninth digit gets it. LIDs lose their host; anything that is no phone stays.
    """
    number = address.partition("@")[0].partition(":")[0].removeprefix("+")
    return number if address.endswith(f"@{LID}") else with_ninth_digit(number)


def with_ninth_digit(number: str) -> str:
    """Add the ninth digit that Brazilian mobiles have since 2016. Landlines and other countries stay as they are."""
    if not OLD_MOBILE.fullmatch(number):
        return number
    candidate = f"{number[:4]}9{number[4:]}"
    return candidate if is_valid(candidate) else number


def to_jid(recipient: str) -> str:
    """The jid of a recipient as the API gets it; the existence look-up of WhatsApp may still change it."""
    return recipient if "@" in recipient else f"{to_phone(recipient)}@{USER}"


def is_valid(number: str) -> bool:
    """Whether the numbering plan of its country has this number, in international form with or without a plus."""
    digits = number.removeprefix("+")
    if not digits.isascii() or not digits.isdigit():
        return False
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(f"+{digits}"))
    except phonenumbers.NumberParseException:
        return False


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
