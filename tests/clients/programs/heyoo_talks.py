"""Run with heyoo's own interpreter: makes its calls, reads events with its helpers, and prints one JSON object.

`python heyoo_talks.py <base url> <phone> <token> <link> < events` where the events are one JSON document a line.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from heyoo import WhatsApp

BASE, PHONE, TOKEN, LINK = sys.argv[1:5]
TO = "5549988887777"
wa = WhatsApp(TOKEN, PHONE)
wa.base_url = f"{BASE}/v14.0"
wa.v15_base_url = f"{BASE}/v15.0"
wa.url = f"{wa.base_url}/{PHONE}/messages"
results: dict[str, Any] = {}


def attempt(name: str, call: Callable[[], Any]) -> Any:
    try:
        results[name] = call()
    except Exception as error:  # noqa: BLE001 (reported to the test)
        results[name] = {"raised": type(error).__name__, "text": f"{error}"[:300]}
    return results[name]


sent = attempt("text", lambda: wa.send_message("hello", TO))
message_id = sent["messages"][0]["id"] if "messages" in sent else "wamid.NONE"
attempt("reply", lambda: wa.reply_to_message(message_id, TO, "re"))
attempt("reaction", lambda: wa.send_reaction("👍", message_id, TO))
attempt("location", lambda: wa.send_location("-23.5", "-46.6", "SP", "Av. Paulista", TO))
attempt("image", lambda: wa.send_image(LINK, TO))
attempt("sticker", lambda: wa.send_sticker(LINK, TO))
attempt("audio", lambda: wa.send_audio(LINK, TO))
attempt("video", lambda: wa.send_video(LINK, TO))
attempt("document", lambda: wa.send_document(LINK, TO))
attempt("contacts", lambda: wa.send_contacts([{"name": {"formatted_name": "Ana", "first_name": "Ana"}}], TO))
attempt(
    "list",
    lambda: wa.send_button(
        {
            "header": "H",
            "body": "B",
            "footer": "F",
            "action": {"button": "Menu", "sections": [{"title": "S", "rows": [{"id": "1", "title": "One"}]}]},
        },
        TO,
    ),
)
attempt(
    "buttons",
    lambda: wa.send_reply_button(
        {
            "type": "button",
            "body": {"text": "choose"},
            "action": {"buttons": [{"type": "reply", "reply": {"id": "y", "title": "Yes"}}]},
        },
        TO,
    ),
)
attempt("read", lambda: wa.mark_as_read(message_id))
attempt("wrong", lambda: wa.send_message("", TO))

file = Path.cwd() / "dot.txt"
file.write_text("a text")
uploaded = attempt("upload", lambda: wa.upload_media(str(file)))
if isinstance(uploaded, dict) and "id" in uploaded:
    url = attempt("media url", lambda: wa.query_media_url(uploaded["id"]))
    path = attempt("download", lambda: wa.download_media(url, "text/plain", str(Path.cwd() / "got")))
    results["downloaded"] = bool(path) and Path(path).read_text()
    attempt("delete", lambda: wa.delete_media(uploaded["id"]))

results["events"] = []
for line in sys.stdin:
    event = json.loads(line)
    read: dict[str, Any] = {"is_message": wa.is_message(event), "field": wa.changed_field(event)}
    helpers = ["get_mobile", "get_name"]
    if read["is_message"]:
        helpers += ["get_message_id", "get_message_type", "get_message_timestamp"]
        kind = event["entry"][0]["changes"][0]["value"]["messages"][0]["type"]
        by_type = {"text": "get_message", "interactive": "get_interactive_response", "location": "get_location"}
        by_type |= {kind: f"get_{kind}" for kind in ("image", "document", "audio", "video")}
        helpers += [by_type[kind]] if kind in by_type else []
    else:
        helpers.append("get_delivery")
    for helper in helpers:
        try:
            read[helper] = getattr(wa, helper)(event)
        except Exception as error:  # noqa: BLE001 (reported to the test)
            read[helper] = {"raised": type(error).__name__}
    results["events"].append(read)

sys.stdout.write(json.dumps(results, default=str))
