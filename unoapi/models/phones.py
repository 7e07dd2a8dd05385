"""Phone numbers and WhatsApp's addresses."""

from __future__ import annotations

import re

_NOT_DIGITS = re.compile(r"[^0-9]")
BRAZIL = "55"
BRAZIL_OLD_MOBILE = 12
"""Digits of a Brazilian number without the ninth digit, with country and area."""


def digits_of(text: str) -> str:
    """Only the digits."""
    return _NOT_DIGITS.sub("", text)


def user_of(jid: str) -> str:
    """The user part of an address, without its device: `5511…:7@s.whatsapp.net` gives `5511…`."""
    return jid.partition("@")[0].partition(":")[0].lstrip("+")


def full_number(number: str) -> str:
    """A phone number as people dial it: Brazil's mobiles have a ninth digit, which WhatsApp's addresses may lack.

    Landlines (third digit of the national number 2 to 5) and short numbers stay as they are.
    """
    old = len(number) == BRAZIL_OLD_MOBILE and number.startswith(BRAZIL) and number[4] in "6789"
    return f"{number[:4]}9{number[4:]}" if old else number


def jid_of(address: str) -> str:
    """The address of a chat: a phone number becomes one, an address stays."""
    return address if "@" in address else f"{digits_of(address)}@s.whatsapp.net"
