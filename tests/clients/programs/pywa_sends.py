"""Run with pywa's own interpreter: sends everything pywa can, and prints what came of each call as one JSON object.

`python pywa_sends.py <base url> <phone> <token> <link of an image>`. The public way to point pywa at another host is a
client of its own whose transport changes the address.
"""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pywa
from pywa import WhatsApp
from pywa.types import Button, Contact, Section, SectionList, SectionRow, URLButton

BASE, PHONE, TOKEN, LINK = sys.argv[1:5]
TO = "5549988887777"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
)


class Elsewhere(httpx.HTTPTransport):
    """SendClaims what is meant for the Graph host to ours."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        base = urlsplit(BASE)
        request.url = request.url.copy_with(scheme=base.scheme, host=base.hostname, port=base.port)
        request.headers["Host"] = base.netloc
        return super().handle_request(request)


wa = WhatsApp(phone_id=PHONE, token=TOKEN, session=httpx.Client(transport=Elsewhere(), timeout=20))
results: dict[str, Any] = {"version": pywa.__version__}


def attempt(name: str, call: Callable[[], Any]) -> Any:
    """Make one call and note its result, or its error with pywa's class and code."""
    try:
        value = call()
    except Exception as error:  # noqa: BLE001 (reported to the test)
        results[name] = {
            "ok": False,
            "error": type(error).__name__,
            "code": getattr(error, "error_code", getattr(error, "code", None)),
            "message": f"{error}"[:300],
        }
        return None
    results[name] = {"ok": True, "id": getattr(value, "id", None), "value": str(value)[:300]}
    return value


sent = attempt("text", lambda: wa.send_message(to=TO, text="hello", preview_url=True))
message_id = sent.id if sent else "wamid.NONE"
attempt("text to a formatted number", lambda: wa.send_message(to="+55 49 98888-7777", text="hello"))
attempt("reply with tracker", lambda: wa.send_message(to=TO, text="re", reply_to_message_id=message_id, tracker="t1"))
attempt(
    "buttons",
    lambda: wa.send_message(
        to=TO, text="choose", header="H", footer="F", buttons=[Button("Yes", "y"), Button("No", "n")]
    ),
)
attempt("url button", lambda: wa.send_message(to=TO, text="look", buttons=URLButton("Open", "https://example.com")))
attempt(
    "list",
    lambda: wa.send_message(
        to=TO,
        text="pick",
        buttons=SectionList(
            "Menu", [Section("Food", [SectionRow(title="Rice", callback_data="rice", description="with beans")])]
        ),
    ),
)
for kind in ("image", "video", "audio", "sticker"):
    attempt(f"{kind} by link", lambda kind=kind: getattr(wa, f"send_{kind}")(TO, LINK))
attempt("document by link", lambda: wa.send_document(TO, LINK, filename="a.png"))
attempt("image with caption and bytes", lambda: wa.send_image(TO, PNG, caption="c", mime_type="image/png"))
attempt(
    "document with a name", lambda: wa.send_document(TO, b"%PDF-1.4 x", filename="a.pdf", mime_type="application/pdf")
)
attempt("location", lambda: wa.send_location(TO, -23.5, -46.6, name="SP", address="Av. Paulista"))
attempt("location request", lambda: wa.request_location(TO, "where are you?"))
attempt(
    "contact",
    lambda: wa.send_contact(
        TO,
        Contact(name=Contact.Name(formatted_name="Ana", first_name="Ana"), phones=[Contact.Phone(phone=TO, wa_id=TO)]),
    ),
)
attempt("reaction", lambda: wa.send_reaction(TO, "👍", message_id))
attempt("reaction removed", lambda: wa.remove_reaction(TO, message_id))
attempt("read", lambda: wa.mark_message_as_read(message_id))
attempt("typing", lambda: wa.indicate_typing(message_id))
if hasattr(wa, "send_voice"):
    attempt("voice", lambda: wa.send_voice(TO, LINK.replace(".png", ".ogg")))

uploaded = attempt("upload", lambda: wa.upload_media(PNG, mime_type="image/png", filename="dot.png"))
media_id = getattr(uploaded, "id", None) or (uploaded if isinstance(uploaded, str) else None)
results["upload"]["id"] = media_id
if media_id:
    attempt("image by id", lambda: wa.send_image(TO, str(media_id), caption="by id"))
    address = attempt("media url", lambda: wa.get_media_url(str(media_id)))
    if address is not None:
        results["media url"] |= {
            "mime_type": address.mime_type,
            "sha256": address.sha256,
            "file_size": address.file_size,
        }
        data = attempt("media bytes", lambda: wa.get_media_bytes(address.url))
        results["media bytes"]["equal"] = data == PNG
        path = attempt("media download", lambda: wa.download_media(url=address.url, path=Path.cwd()))
        results["media download"]["equal"] = path is not None and Path(path).read_bytes() == PNG
        streamed = attempt("media stream", lambda: b"".join(wa.stream_media(address.url)))
        results["media stream"]["equal"] = streamed == PNG
    attempt("media deleted", lambda: wa.delete_media(str(media_id)))
    attempt("media gone", lambda: wa.get_media_url(str(media_id)))
attempt("upload of a stream", lambda: wa.upload_media(io.BytesIO(b"text"), mime_type="text/plain", filename="a.txt"))

attempt("phone number", wa.get_business_phone_number)
attempt("profile", wa.get_business_profile)
attempt("templates", lambda: list(wa.get_templates(waba_id=PHONE)))
attempt("block", lambda: wa.block_users([TO]))
attempt("unblock", lambda: wa.unblock_users([TO]))

attempt("error: empty text", lambda: wa.send_message(to=TO, text=""))
attempt("error: too long", lambda: wa.send_message(to=TO, text="x" * 5000))
attempt("error: no such media", lambda: wa.get_media_url("99999999999999999999"))
wa.api._session.headers["Authorization"] = "Bearer wrong"
attempt("error: wrong token", lambda: wa.send_message(to=TO, text="hello"))

sys.stdout.write(json.dumps(results, default=str))
