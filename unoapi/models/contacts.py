"""Contacts as memories name them: the same contact always under the same key."""

from __future__ import annotations

from functools import lru_cache

from unoapi.models.identity import other_form
from unoapi.models.phones import MAX_WRITTEN_CHARS, read_address, with_ninth_digit

MIN_PHONE_DIGITS, MAX_PHONE_DIGITS = 8, 15


def contact_key(written: str) -> str:
    """A contact as it is remembered: digits, Brazilian mobiles with their ninth one; groups as they are.

    What is neither a number nor the address of a chat stays as it is, without spaces around it.
    """
    return _key_of_short(written) if len(written) <= MAX_WRITTEN_CHARS else _key_of(written)


def contact_keys(written: str) -> tuple[str, ...]:
    """All keys under which a contact may be remembered: a mobile of Mexico or Argentina has one for each form."""
    key = contact_key(written)
    other = other_form(key)
    return (key, other) if other else (key,)


def _key_of(written: str) -> str:
    if written.isascii() and written.isdigit():
        return with_ninth_digit(written)  # as events have them
    try:
        return read_address(written)
    except ValueError:
        return written.strip().lower() if "@" in written else written.strip()


_key_of_short = lru_cache(maxsize=8192)(_key_of)
"""It is asked twice of each event, and most contacts write more than once. Longer ones would fill the memory."""


def is_phone(written: str, *, own: str = "") -> bool:
    """Whether this can be a phone: 8 to 15 digits in international form (E.164), however it is written."""
    try:
        address = read_address(written, own=own)
    except ValueError:
        return False
    return "@" not in address and MIN_PHONE_DIGITS <= len(address) <= MAX_PHONE_DIGITS
