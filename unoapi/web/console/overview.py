"""The first page of the operator: is everything well, and if not, where to look."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from flask import Blueprint

from unoapi.errors import StoreUnavailable
from unoapi.services.sessions import status_of
from unoapi.web.console.access import operator_login
from unoapi.web.console.queues import depths, has_connector, short_name
from unoapi.web.console.view import live, render
from unoapi.web.health import recent_checks
from unoapi.web.parts import parts
from unoapi.web.schemas import schema

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

routes = Blueprint("overview", __name__)

STATES = ("online", "connecting", "standby", "offline", "disconnected")


@routes.get("/console/overview")
@operator_login
@schema(described=False)
def page() -> ResponseReturnValue:
    """Show the state of everything."""
    return render("console/overview.html", here="overview", **_state())


@routes.get("/console/overview/live")
@operator_login
@schema(described=False)
def state() -> ResponseReturnValue:
    """Show the part of the page that changes."""
    return live("console/_overview.html", **_state())


def _state() -> dict[str, Any]:
    return {"checks": recent_checks(), "sessions": _sessions(), "states": STATES, **_queues()}


def _sessions() -> Counter[str] | None:
    """How many numbers have which state; none while Redis is away."""
    uno = parts()
    try:
        sessions = uno.directory.all()
        statuses = uno.directory.statuses([session.phone for session in sessions])
    except StoreUnavailable:
        return None
    return Counter(status_of(session, statuses.get(session.phone)) for session in sessions)


def _queues() -> dict[str, Any]:
    found = {short_name(depth): depth for depth in depths() or ()}
    lanes = [depth for name, depth in found.items() if not name.startswith(("delayed", "held", "dead"))]
    later = [depth for name, depth in found.items() if name.startswith(("delayed", "held"))]
    ages = [depth.oldest_s for depth in lanes if depth.oldest_s]
    without = [name for name, depth in found.items() if depth.consumers == 0 and depth.ready]
    return {
        "dead": found["dead"].ready if "dead" in found else None,
        "now": sum(depth.ready or 0 for depth in lanes) if found else None,
        "later": sum(depth.ready or 0 for depth in later) if found else None,
        "oldest_s": max(ages, default=0.0) if found else None,
        "unserved": [name for name in without if not name.startswith(("delayed", "held", "dead"))],
        "connector": has_connector(),
    }
