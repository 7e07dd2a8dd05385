"""The first page of the operator: is everything well, what happens, and if something is wrong, where to look."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

from flask import Blueprint
from pydantic import BaseModel, ConfigDict

from unoapi.errors import StoreUnavailable
from unoapi.models.activity import ALL
from unoapi.services.sessions import status_of
from unoapi.web.console.access import operator_login
from unoapi.web.console.queues import depths, has_connector, short_name
from unoapi.web.console.recent import recent
from unoapi.web.console.view import live, render
from unoapi.web.console.words import named, t
from unoapi.web.health import recent_checks
from unoapi.web.parts import parts
from unoapi.web.schemas import query, schema

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from unoapi.models.activity import Activity

routes = Blueprint("overview", __name__)

STATES = ("online", "connecting", "standby", "offline", "disconnected")
COUNTED_S = 5.0
"""Thousands of numbers are counted no more often than one page asks."""
SPANS = ("hour", "day", "month")
NOT_WORK = ("delayed", "held", "dead")
"""How the names of queues begin that no worker takes from."""
CHARTS: dict[str, tuple[tuple[str, str], ...]] = {
    "messages": (("received", "in"), ("sent", "out")),
    "webhooks": (("delivered", "in"), ("failed", "failed")),
    "latency": (("p50_ms", "out"), ("p95_ms", "third")),
}
"""The lines of each chart, each with its colour."""
GOOD_RATE, FAIR_RATE = 0.99, 0.9


class OverviewQuery(BaseModel):
    """Of which time the charts are."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    span: Literal["hour", "day", "month"] = "hour"


@routes.get("/console/overview")
@operator_login
@query(OverviewQuery)
@schema(described=False)
def page(query: OverviewQuery) -> ResponseReturnValue:
    """Show the state of everything, and what happened."""
    return render("console/overview.html", here="overview", **_state(), **_charts(query))


@routes.get("/console/overview/live")
@operator_login
@schema(described=False)
def state() -> ResponseReturnValue:
    """Show the figures of now."""
    return live("console/_overview.html", **_state())


@routes.get("/console/overview/charts")
@operator_login
@query(OverviewQuery)
@schema(described=False)
def charts(query: OverviewQuery) -> ResponseReturnValue:
    """Show what happened over time."""
    return live("console/_charts.html", **_charts(query))


def _state() -> dict[str, Any]:
    return {"checks": recent_checks(), "states": STATES, **recent("numbers", _numbers, fresh_s=COUNTED_S), **_queues()}


def _numbers() -> dict[str, Any]:
    """How many numbers have which state, and how many endpoints are down; none while Redis is away."""
    uno = parts()
    try:
        sessions = uno.directory.all()
        statuses = uno.directory.statuses([session.phone for session in sessions])
        down = uno.breakers.count_open()
    except StoreUnavailable:
        return {"sessions": None, "down": None}
    return {"sessions": Counter(status_of(session, statuses.get(session.phone)) for session in sessions), "down": down}


def _queues() -> dict[str, Any]:
    found = {short_name(depth): depth for depth in depths() or ()}
    work = [(name, depth) for name, depth in found.items() if not name.startswith(NOT_WORK)]
    later = [depth for name, depth in found.items() if name.startswith(("delayed", "held"))]
    ages = [depth.oldest_s for _, depth in work if depth.oldest_s]
    return {
        "dead": found["dead"].ready if "dead" in found else None,
        "now": sum(depth.ready or 0 for _, depth in work) if found else None,
        "later": sum(depth.ready or 0 for depth in later) if found else None,
        "oldest_s": max(ages, default=0.0) if found else None,
        "unserved": [name for name, depth in work if depth.consumers == 0 and depth.ready],
        "connector": has_connector(),
    }


def _charts(query: OverviewQuery) -> dict[str, Any]:
    """The lines of the charts, for each minute, and the sums; none while Redis is away."""
    try:
        activity = parts().activity.read(ALL, query.span)
    except StoreUnavailable:
        return {"span_name": query.span, "spans": SPANS, "charts": None, "totals": None}
    rate = activity.success_rate
    return {
        "span_name": query.span,
        "spans": SPANS,
        "charts": {name: _chart(activity, lines) for name, lines in CHARTS.items()},
        "totals": activity.totals.as_json(),
        "rate": rate,
        "rate_kind": "" if rate is None else "ok" if rate >= GOOD_RATE else "warn" if rate >= FAIR_RATE else "bad",
    }


def _chart(activity: Activity, lines: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    points = [point.as_json() for point in activity.points]
    in_ms = lines[0][0].endswith("_ms")
    minutes = 1 if in_ms else activity.step_s / 60
    return {
        "x": [int(point.at.timestamp()) for point in activity.points],
        "time": t("overview.time"),
        "unit": "ms" if in_ms else "",
        "series": [
            {
                "label": named("overview.line", name),
                "kind": kind,
                "values": [None if point[name] is None else round(point[name] / minutes, 2) for point in points],
            }
            for name, kind in lines
        ],
    }
