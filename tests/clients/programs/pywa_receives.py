"""Run with pywa's own interpreter: its webhook server, which notes for each event the handler that ran.

`python pywa_receives.py <port> <phone> <app secret> <notes file>`. pywa answers 200 even when it could not parse an
event, so that only the notes show it.
"""

import json
import sys
from typing import Any

from flask import Flask
from pywa import WhatsApp
from werkzeug.serving import make_server

PORT, PHONE, SECRET, NOTES = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
flask = Flask("pywa-webhook")
wa = WhatsApp(
    phone_id=PHONE,
    token="token",
    server=flask,
    webhook_endpoint="/hook",
    verify_token="verify",
    app_secret=SECRET,
    validate_updates=True,
    filter_updates=True,
    continue_handling=True,
)


def note(handler: str, update: Any) -> None:
    """One line for each handler that ran. All the fields are read, so that lazy parsing would fail here."""
    sender = getattr(update, "from_user", None)
    kind = getattr(update, "type", None)
    line = {
        "handler": handler,
        "id": getattr(update, "id", None),
        "type": getattr(kind, "value", kind),
        "status": getattr(getattr(update, "status", None), "value", None),
        "from": getattr(sender, "wa_id", None),
        "name": getattr(sender, "name", None),
        "text": getattr(update, "text", None),
        "error": getattr(getattr(update, "error", None), "error_code", None)
        or getattr(getattr(update, "error", None), "code", None),
        "media": getattr(getattr(update, "media", None), "id", None),
        "data": str(getattr(update, "data", "") or ""),
        "tracker": str(getattr(update, "tracker", "") or ""),
        "timestamp": str(getattr(update, "timestamp", "")),
    }
    with open(NOTES, "a") as file:  # noqa: PTH123
        file.write(json.dumps(line, default=str) + "\n")


for name in (
    "message",
    "message_status",
    "callback_button",
    "callback_selection",
    "phone_number_change",
    "edited_message",
    "deleted_message",
    "outgoing_message",
    "template_status_update",
    "call_connect",
    "call_terminate",
    "raw_update",
):
    register = getattr(wa, f"on_{name}", None)
    if register is not None and name != "raw_update":

        def handler(_: WhatsApp, update: Any, name: str = name) -> None:
            note(name, update)

        register(handler)

with open(NOTES, "a") as ready:  # noqa: PTH123
    ready.write(json.dumps({"handler": "ready", "id": None, "status": None}) + "\n")
make_server("127.0.0.1", PORT, flask, threaded=True).serve_forever()
