"""Contacts in paths and bodies, however people write them."""

from __future__ import annotations

from unoapi.errors import RequestError
from unoapi.models.identity import is_user_id
from unoapi.models.phones import MAX_DIGITS, read_address


def contact_of(written: str, *, own: str, field: str) -> str:
    """The contact that a text means: a phone's digits, the address of a chat, or a user id.

    `own` is the session's phone, `field` what an error calls the text. Raises RequestError.
    """
    if is_user_id(written):
        return written
    try:
        return read_address(written, own=own)
    except ValueError as error:
        if written.isascii() and written.isdigit() and len(written) <= MAX_DIGITS:
            return written  # too short for a phone, and harmless: nothing is sent to it
        details = f"{field}: {error}"
        raise RequestError("Parameter value is not valid", code=131009, status=400, details=details) from None
