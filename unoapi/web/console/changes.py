"""What people changed: who, what and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from flask import Blueprint, g, url_for
from pydantic import BaseModel, ConfigDict, Field

from unoapi.web.console.access import any_login
from unoapi.web.console.view import render
from unoapi.web.console.words import named
from unoapi.web.parts import parts
from unoapi.web.schemas import query, schema

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

routes = Blueprint("changes", __name__)

ON_A_PAGE = 50


class ChangesQuery(BaseModel):
    """Which lines: of one number, and before a moment."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    phone: Annotated[str, Field(pattern=r"^[0-9]{0,20}$")] = ""
    before: Annotated[int | None, Field(ge=0, le=10**15)] = None


@routes.get("/console/audit")
@any_login
@query(ChangesQuery)
@schema(described=False)
def page(query: ChangesQuery) -> ResponseReturnValue:
    """Show the newest changes first: all to the operator, to others those of their numbers."""
    phones = {query.phone} if query.phone else None
    if not g.login.operator:
        own = {session.phone for session in g.login.sessions()}
        phones = own & phones if phones is not None else own
    entries = parts().audit.latest(ON_A_PAGE, phones=phones, before_ms=query.before)
    older = ""
    if len(entries) == ON_A_PAGE:
        older = url_for("console.changes.page", phone=query.phone or None, before=entries[-1].at_ms)
    return render("console/audit.html", here="audit", entries=entries, query=query, older=older, action=_action)


def _action(what: str) -> str:
    """What was done, in words where there are some; the console and the API do the same things."""
    return named("action", what.removeprefix("console.").replace(".", "_"), otherwise=what)
