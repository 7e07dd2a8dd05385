"""Contacts in paths and bodies, however people write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unoapi.errors.validation import invalid_value
from unoapi.models.identity import is_user_id
from unoapi.models.phones import MAX_DIGITS, META_GROUP, read_address

if TYPE_CHECKING:
    from unoapi.models.cloud_api.messages import Sender


def contact_of(written: str, *, sender: Sender, field: str) -> str:
    """The contact that a text means: a phone's digits, the address of a chat, or an id of Meta's.

    `sender` is whose contact it is, `field` what an error calls the text. Raises RequestError.
    """
    if is_user_id(written) or (sender.at_meta and META_GROUP.fullmatch(written)):
        return written
    try:
        return read_address(written, own=sender.phone)
    except ValueError as error:
        if written.isascii() and written.isdigit() and len(written) <= MAX_DIGITS:
            return written  # too short for a phone, and harmless: nothing is sent to it
        details = f"{field}: {error}"
        raise invalid_value(details) from None
