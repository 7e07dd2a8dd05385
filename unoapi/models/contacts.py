"""Contacts as memories name them: the same contact always under the same key."""

from __future__ import annotations

import re

from unoapi.models.identity import is_user_id
from unoapi.models.phones import with_ninth_digit

PUNCTUATION = re.compile(r"[\s()+.-]")
PHONE = re.compile(r"[1-9][0-9]{7,14}", re.ASCII)
USER_SUFFIX = "@s.whatsapp.net"


def contact_key(written: str) -> str:
    """A contact as it is remembered: digits, Brazilian mobiles with their ninth one; other ids as they are."""
    text = written.strip().removesuffix(USER_SUFFIX)
    if "@" in text:
        return text.lower()
    if is_user_id(text):
        return text
    return with_ninth_digit(PUNCTUATION.sub("", text))


def is_phone(written: str) -> bool:
    """Whether this can be a phone in international form: 8 to 15 digits (E.164)."""
    return PHONE.fullmatch(PUNCTUATION.sub("", written.strip().removesuffix(USER_SUFFIX))) is not None
