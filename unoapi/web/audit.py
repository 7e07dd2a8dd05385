"""The audit log: who changed what, and when."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flask import Blueprint, current_app, g, jsonify, request
from pydantic import BaseModel, ConfigDict, Field

from unoapi.models.audit import MAX_CHARS, OPERATOR, SESSION, AuditEntry
from unoapi.web.auth import operator
from unoapi.web.parts import parts
from unoapi.web.schemas import query

if TYPE_CHECKING:
    from flask import Flask, Response
    from flask.typing import ResponseReturnValue

routes = Blueprint("audit", __name__)

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
NO_CHANGES = frozenset(
    {
        *("messages", "media", "uploads", "contacts", "events", "sandbox", "timers", "socketio_broadcast"),
        *("apps.access_token", "console.trying.programs"),
    }
)
"""Resources, and single requests, that are messages, files and questions, and so many."""


class AuditQuery(BaseModel):
    """A page of the audit log; `phone` is one number's lines alone, `before` what the page before gave as `next`."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    phone: str = Field(default="", pattern=r"^[0-9]{0,20}$")
    before: int | None = Field(default=None, ge=0)
    limit: int = Field(default=100, ge=1, le=1000)


@routes.get("/admin/audit")
@operator
@query(AuditQuery)
def audit_log(query: AuditQuery) -> ResponseReturnValue:
    """List what was changed, the newest change first: by which kind of token, what, and when. 10,000 are kept."""
    phones = {query.phone} if query.phone else None
    entries = parts().audit.latest(query.limit, phones=phones, before_ms=query.before)
    page: dict[str, Any] = {"data": [entry.as_json() for entry in entries]}
    if len(entries) == query.limit:
        page["next"] = entries[-1].at_ms
    return jsonify(page)


def note(detail: str) -> None:
    """Add words to the line of this request: ids and counts, never a token or a body."""
    g.audit_detail = detail


def nothing_changed() -> None:
    """Write no line for this request: it only looked."""
    g.audit_unchanged = True


def register_audit(app: Flask) -> None:
    """Write a line for each request that changed something of a configuration, a queue or an endpoint."""

    @app.after_request
    def _write(answer: Response) -> Response:
        endpoint = request.endpoint or ""
        resource = endpoint.rpartition(".")[0]
        changes = resource != "" and NO_CHANGES.isdisjoint({resource, endpoint})
        if request.method in SAFE or not changes or answer.status_code >= HTTPStatus.BAD_REQUEST:
            return answer
        if g.get("audit_unchanged"):
            return answer
        named = {key: f"{value}" for key, value in (request.view_args or {}).items()}
        phone = f"{g.get('opened_phone') or named.get('phone', '')}"[:20]
        parts().audit.add(
            AuditEntry(
                who=OPERATOR if _is_operators() else phone or SESSION,
                what=endpoint[:64],
                phone=phone,
                detail=f"{g.get('audit_detail') or named.get('webhook_id', '')}"[:MAX_CHARS],
                address=(request.remote_addr or "")[:64],
            )
        )
        return answer


def _is_operators() -> bool:
    """Whether the operator's token made this request; the console says by itself whose it is."""
    access = getattr(current_app.view_functions.get(request.endpoint or ""), "access", "")
    logged_in = getattr(g.get("login"), "operator", False)
    return bool(OPERATOR in (g.get("audit_who"), access) or g.get("operator") or logged_in)
