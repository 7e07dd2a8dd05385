"""Try it: compose a message, see it as a program would send it, play a contact, and watch what comes of it."""

from __future__ import annotations

import json
import shlex
from pprint import pformat
from typing import TYPE_CHECKING, Annotated, Any, cast

from flask import Blueprint, g, redirect, request, url_for
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unoapi.errors import RequestError, StoreUnavailable
from unoapi.models.cloud_api.messages import MESSAGES, SandboxMessage, Sender
from unoapi.services import request_bin
from unoapi.services.message_parsing import refusal_of
from unoapi.services.request_bin import is_watched
from unoapi.web import messages, sandbox
from unoapi.web.console.access import any_login, opened_phone, session_login
from unoapi.web.console.view import live, read_form, render
from unoapi.web.console.words import t
from unoapi.web.parts import parts
from unoapi.web.request_body import json_of
from unoapi.web.schemas import query, schema

if TYPE_CHECKING:
    from flask import Response
    from flask.typing import ResponseReturnValue

routes = Blueprint("trying", __name__)

MAX_CHOICES = 200
"""Numbers that the page offers; any other can be typed."""
MOST_SHOWN = 20
"""Requests of the request bin."""
CONTACT = "5549988887777"
EXAMPLES: dict[str, dict[str, Any]] = {
    name: cast("Any", model.model_config["json_schema_extra"])["examples"][0] for name, model in MESSAGES.items()
}
"""A message of each type, the one of the API's description."""
RECEIVED = {
    name: {"from": CONTACT, "profile": {"name": "Maria"}, "type": name, name: content}
    for name, content in {
        "text": {"body": "Is my order on its way?"},
        "image": {"id": "1234567890", "mime_type": "image/jpeg", "sha256": "x", "caption": "Look"},
        "location": {"latitude": -23.56, "longitude": -46.65, "name": "MASP"},
        "reaction": {"message_id": "wamid.X", "emoji": "👍"},
        "button": {"text": "Yes", "payload": "yes"},
        "interactive": {"type": "button_reply", "button_reply": {"id": "yes", "title": "Yes"}},
    }.items()
}
"""What a simulated contact may write, for a start."""


class TryQuery(BaseModel):
    """What the page begins with: a type, what a contact writes, and the message to follow."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    type: Annotated[str, Field(max_length=32)] = "text"
    received: Annotated[str, Field(max_length=32)] = "text"
    id: Annotated[str, Field(max_length=512)] = ""


class Draft(BaseModel):
    """A message as JSON."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    body: Annotated[str, Field(max_length=messages.MAX_MESSAGE_BYTES)]


@routes.get("/console/try")
@any_login
@schema(described=False)
def start() -> ResponseReturnValue:
    """Lead on to the number that was chosen, else to a simulated one, else to the first."""
    chosen = request.args.get("phone", "")
    if chosen:
        return redirect(url_for("console.trying.page", phone=opened_phone(g.login, chosen)), 303)
    sessions = g.login.sessions()
    simulated = [session for session in sessions if session.provider == "sandbox"]
    for session in (*simulated, *sessions):
        return redirect(url_for("console.trying.page", phone=session.phone), 303)
    return render("console/try_nothing.html", here="try")


@routes.get("/console/try/<node:phone>")
@session_login
@query(TryQuery)
@schema(described=False)
def page(phone: str, query: TryQuery) -> ResponseReturnValue:
    """Show a message of a type to send, and what came of the last one."""
    return _page(phone, query)


@routes.post("/console/try/<node:phone>")
@session_login
@schema(described=False)
def send(phone: str) -> ResponseReturnValue:
    """Send the message."""
    written = request.form.get("body", "")
    try:
        body = _object(written)
        accepted = messages.accept(phone, body)
    except (RequestError, ValidationError) as error:
        return _page(phone, TryQuery(), body=written, error=_details(error))
    message_id = accepted["messages"][0]["id"] if "messages" in accepted else str(body.get("message_id", ""))
    kind = body.get("type")
    return _to_page(phone, id=message_id, type=kind if kind in EXAMPLES else "text")


@routes.post("/console/try/<node:phone>/contact")
@session_login
@schema(described=False)
def contact_writes(phone: str) -> ResponseReturnValue:
    """Let a simulated contact write."""
    written = request.form.get("body", "")
    try:
        body = SandboxMessage.model_validate(_object(written), context=Sender(phone=phone))
        message_id = sandbox.receive(phone, body)
    except (RequestError, ValidationError) as error:
        return _page(phone, TryQuery(), contact_body=written, contact_error=_details(error))
    return _to_page(phone, id=message_id, received=body.type)


@routes.post("/console/try/<node:phone>/programs")
@session_login
@schema(described=False)
def programs(phone: str) -> ResponseReturnValue:
    """Show the message as programs send it, while it is being written."""
    try:
        body = _object(read_form(Draft).body)
    except RequestError as error:
        return render("console/_said.html", text=error.details, kind="problem")
    return render("console/_programs.html", programs=_programs(phone, body))


@routes.get("/console/try/<node:phone>/trace")
@session_login
@query(TryQuery)
@schema(described=False)
def trace(phone: str, query: TryQuery) -> ResponseReturnValue:
    """Show what has come of a message by now."""
    return live("console/_steps.html", **_steps(phone, query.id))


@routes.get("/console/try/<node:phone>/bin")
@session_login
@schema(described=False)
def bin_part(phone: str) -> ResponseReturnValue:
    """Show what the webhook of the request bin got."""
    return live("console/_bin.html", **_binned(phone))


@routes.post("/console/try/<node:phone>/watch")
@session_login
@schema(described=False)
def watch(phone: str) -> ResponseReturnValue:
    """Give the number a webhook whose requests are shown here."""
    request_bin.watch(phone, sessions=parts().sessions)
    return redirect(url_for("console.trying.page", phone=phone, _anchor="watch"), 303)


@routes.post("/console/try/<node:phone>/unwatch")
@session_login
@schema(described=False)
def unwatch(phone: str) -> ResponseReturnValue:
    """Take that webhook away."""
    request_bin.stop_watching(phone, sessions=parts().sessions)
    return redirect(url_for("console.trying.page", phone=phone, _anchor="watch"), 303)


def _page(phone: str, query: TryQuery, **refused: str) -> Response:
    """The page; with `refused` the drafts that were not taken, and why: `body` and `error`, or those of the contact."""
    uno = parts()
    session = uno.sessions.find(phone)
    example = EXAMPLES.get(query.type, EXAMPLES["text"])
    received = RECEIVED.get(query.received, RECEIVED["text"])
    return render(
        "console/try.html",
        400 if refused else 200,
        here="try",
        session=session,
        choices=g.login.sessions()[:MAX_CHOICES],
        types=EXAMPLES,
        chosen=example["type"],
        received_types=RECEIVED,
        received=received["type"],
        programs=_programs(phone, example),
        watched=is_watched(session),
        **(_steps(phone, query.id) | _binned(phone)),
        **{"body": _pretty(example), "contact_body": _pretty(received), **refused},
    )


def _to_page(phone: str, **values: Any) -> ResponseReturnValue:
    return redirect(url_for("console.trying.page", phone=phone, _anchor="steps", **values), 303)


def _steps(phone: str, message_id: str) -> dict[str, Any]:
    steps = parts().traces.read(phone, message_id) if message_id else []
    return {"phone": phone, "message_id": message_id, "steps": steps}


def _binned(phone: str) -> dict[str, Any]:
    """The newest requests first, each with its body as people read it; none while Redis is away."""
    try:
        newest = parts().request_bin.read(phone)[: -MOST_SHOWN - 1 : -1]
    except StoreUnavailable:
        newest = []
    return {"phone": phone, "requests": [(request, _readable(request.body)) for request in newest]}


def _readable(body: str) -> str:
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return body


def _object(written: str) -> dict[str, Any]:
    """The JSON object that somebody wrote. Raises RequestError."""
    document = json_of(written, name="The message")
    if not isinstance(document, dict):
        raise RequestError("Invalid parameter", code=100, status=400, details=t("try.no_object"))
    return document


def _details(error: RequestError | ValidationError) -> str:
    return error.details if isinstance(error, RequestError) else refusal_of(error).details


def _pretty(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)


def _programs(phone: str, body: dict[str, Any]) -> dict[str, str]:
    """The request as programs make it, by the name of the language. The token is the reader's, and stays there."""
    settings = parts().settings
    url = f"{settings.base_url}".rstrip("/") + f"/v15.0/{phone}/messages"
    header, short = settings.unoapi_header_name, json.dumps(body, ensure_ascii=False)
    curl = (
        f'curl -X POST {shlex.quote(url)} \\\n  -H "{header}: Bearer $TOKEN" -H "Content-Type: application/json" \\\n'
        f"  -d {shlex.quote(short)}"
    )
    python = (
        "import os\n\nimport requests\n\n"
        f"message = {pformat(body, sort_dicts=False, width=88)}\n"
        f"answer = requests.post(\n    {url!r},\n    json=message,\n"
        f"    headers={{{header!r}: f\"Bearer {{os.environ['TOKEN']}}\"}},\n    timeout=30,\n)\n"
        "print(answer.status_code, answer.json())"
    )
    node = (
        f"const message = {_pretty(body)};\n"
        f"const answer = await fetch({json.dumps(url)}, {{\n"
        '  method: "POST",\n'
        f'  headers: {{ {json.dumps(header)}: `Bearer ${{process.env.TOKEN}}`, "Content-Type": "application/json" }},\n'
        "  body: JSON.stringify(message),\n});\n"
        "console.log(answer.status, await answer.json());"
    )
    return {"curl": curl, "Python": python, "Node": node}
