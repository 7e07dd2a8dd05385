"""Events as Meta and the connector send them."""

from __future__ import annotations

import json

from tests.support.constants import CONTACT


def text_event(message_id: str, text: str, *, phone: str) -> str:
    """A received text as a Cloud API event: the same bytes for the same arguments."""
    message = {"from": CONTACT, "id": message_id, "timestamp": "1767225600", "type": "text", "text": {"body": text}}
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": phone, "phone_number_id": phone},
        "contacts": [{"profile": {"name": "Maria"}, "wa_id": CONTACT, "user_id": CONTACT}],
        "messages": [message],
        "statuses": [],
        "errors": [],
    }
    change = {"value": value, "field": "messages"}
    return json.dumps({"object": "whatsapp_business_account", "entry": [{"id": phone, "changes": [change]}]})
