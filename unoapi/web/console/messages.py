"""The messages: find one among the latest, and see what became of it, step by step."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from flask import Blueprint, g, request, url_for

from unoapi.models.dead_letters import explained_reason
from unoapi.models.message_log import STATES, MessageQuery, OwnMessageQuery, state_of
from unoapi.services.message_search import follow, search
from unoapi.web.console.access import any_login, opened_phone, session_login
from unoapi.web.console.view import live, render
from unoapi.web.console.words import t
from unoapi.web.errors import not_found
from unoapi.web.parts import parts
from unoapi.web.schemas import query, schema

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from unoapi.models.trace import TraceEntry

routes = Blueprint("messages", __name__)

AROUND = timedelta(minutes=1)
"""A message is logged about when its first step is."""
KINDS = {
    "delivered": "ok", "read": "ok", "sent": "ok", "waiting": "warn", "accepted": "warn",
    "failed": "bad", "dead": "bad",
}  # fmt: skip
"""How a state looks; all others are quiet."""
STEPS = {"delivered": "ok", "sent": "ok", "attempt": "warn", "postponed": "warn", "dead": "bad", "failed": "bad"}
"""How a step looks, in the same way."""


@routes.get("/console/messages")
@any_login
@query(MessageQuery)
@schema(described=False)
def page(query: MessageQuery) -> ResponseReturnValue:
    """Show the latest messages of a number, or of all, and search them."""
    uno, phones = parts(), [] if g.login.operator else [session.phone for session in g.login.sessions()]
    phone = opened_phone(g.login, query.phone) if query.phone else "" if g.login.operator else phones[0]
    found = search(query, phone=phone, log=uno.message_log, traces=uno.traces)
    asked: dict[str, Any] = {
        name: value for name, value in request.args.items() if name in MessageQuery.model_fields and value
    }
    return render(
        "console/messages.html",
        here="messages",
        query=query,
        asked=asked,
        phone=phone,
        phones=phones,
        found=found.messages,
        states=STATES,
        kinds=KINDS,
        most=uno.settings.unoapi_message_log_max,
        next=url_for("console.messages.page", **{**asked, "before": found.next}) if found.next else "",
    )


@routes.get("/console/messages/<node:phone>/<path:message_id>")
@session_login
@schema(described=False)
def message(phone: str, message_id: str) -> ResponseReturnValue:
    """Show one message: how far it is, why, and each step."""
    return render(
        "console/message.html", here="messages", body=_body(phone, message_id), **_timeline(phone, message_id)
    )


@routes.get("/console/messages/<node:phone>/<path:message_id>/live")
@session_login
@schema(described=False)
def timeline(phone: str, message_id: str) -> ResponseReturnValue:
    """Show the part of the page that changes."""
    return live("console/_timeline.html", **_timeline(phone, message_id))


def _timeline(phone: str, message_id: str) -> dict[str, Any]:
    uno = parts()
    entries = follow(message_id, phone=phone, traces=uno.traces, ids=uno.message_ids)
    if not entries:
        raise not_found(t("messages.unknown"))
    query = OwnMessageQuery.model_construct(id=entries[0].message_id, since=entries[0].at - AROUND, limit=1)
    found = search(query, phone=phone, log=uno.message_log, traces=uno.traces).messages
    logged = found[0].message if found and found[0].message.contact else None
    direction = logged.direction if logged else "sent" if any(entry.step == "sent" for entry in entries) else "received"
    state, detail = state_of(direction, entries)
    return {
        "phone": phone,
        "message_id": entries[0].message_id,
        "logged": logged,
        "state": state,
        "detail": detail,
        "entries": entries,
        "dead": _dead(entries),
        "kinds": KINDS,
        "step_kinds": STEPS,
    }


def _dead(entries: list[TraceEntry]) -> list[dict[str, str]]:
    """What was given up and not put back since: the dead letter's id, its webhook, and why."""
    dead: dict[tuple[str, str], TraceEntry] = {}
    for entry in entries:
        if entry.step == "dead":
            dead[entry.webhook, entry.kind] = entry
        elif entry.step in ("replayed", "delivered"):
            dead.pop((entry.webhook, entry.kind), None)
    return [
        {
            "id": entry.delivery_id or entry.message_id,
            "webhook": entry.webhook,
            "reason": entry.detail.partition(":")[0],
            "group": explained_reason(entry.detail.partition(":")[0]),
            "detail": entry.detail.partition(": ")[2],
        }
        for entry in dead.values()
    ]


def _body(phone: str, message_id: str) -> str:
    """What the message says, to be read; empty when it is not kept."""
    text = parts().message_log.body(phone, message_id) or ""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text
