"""How much happens, and how everything is: counts over time, and the state of now. Nothing here is asked of workers."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from flask import Blueprint, jsonify
from pydantic import BaseModel, ConfigDict

from unoapi.errors import BrokerUnavailable, StoreUnavailable
from unoapi.models.activity import ALL
from unoapi.models.endpoints import Endpoint
from unoapi.services.endpoint_test import find_webhook
from unoapi.services.sessions import status_of
from unoapi.web.auth import operator, session_token
from unoapi.web.parts import parts
from unoapi.web.schemas import query

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

routes = Blueprint("activity", __name__)


class ActivityQuery(BaseModel):
    """Of which time: an hour by the minute, a day by five minutes, a week or 30 days by the hour."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    span: Literal["hour", "day", "week", "month"] = "hour"


@routes.get("/admin/activity")
@operator
@query(ActivityQuery)
def activity(query: ActivityQuery) -> ResponseReturnValue:
    """Count what happened to all numbers: messages received and sent, attempts at webhooks with their durations, dead.

    Counts are written once a second; a process that was killed takes those of its last second with it.
    """
    return jsonify(parts().activity.read(ALL, query.span).as_json())


@routes.get("/<version>/<node:phone>/activity")
@session_token
def activity_of(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001
    """Count what happened to one number in the last seven days, by the hour.

    With more than a hundred numbers at work it is counted some seconds later than that of all together.
    """
    return jsonify(parts().activity.read(phone, "week").as_json())


@routes.get("/admin/endpoints/<digits:phone>/<path:webhook_id>/activity")
@operator
def endpoint_activity(phone: str, webhook_id: str) -> ResponseReturnValue:
    """Count the attempts at one webhook in the last seven days, by the hour: its health over time."""
    return _of_webhook(phone, webhook_id)


@routes.get("/<version>/<node:phone>/webhooks/<path:webhook_id>/activity")
@session_token
def webhook_activity(version: str, phone: str, webhook_id: str) -> ResponseReturnValue:  # noqa: ARG001
    """Count the attempts at one webhook in the last seven days, by the hour: its health over time."""
    return _of_webhook(phone, webhook_id)


def _of_webhook(phone: str, webhook_id: str) -> ResponseReturnValue:
    find_webhook(parts().sessions.find(phone), webhook_id)
    return jsonify(parts().activity.read(Endpoint(phone, webhook_id).key, "week").as_json())


@routes.get("/admin/overview")
@operator
def overview() -> ResponseReturnValue:
    """Say how everything is now: sessions by state, endpoints that are down, what waits, since when, what is dead.

    A figure that cannot be had now is null.
    """
    uno = parts()
    figures: dict[str, Any] = dict.fromkeys(("sessions", "endpoints_down", "dead", "waiting", "oldest_s"))
    with suppress(StoreUnavailable):
        sessions = uno.directory.all()
        words = uno.directory.statuses([session.phone for session in sessions])
        figures["sessions"] = Counter(status_of(session, words.get(session.phone)) for session in sessions)
        figures["endpoints_down"] = uno.breakers.count_open()
    with suppress(BrokerUnavailable):
        depths = uno.queue_monitor.queues()
        work = [depth for depth in depths if depth.queue != uno.topology.dead and depth.ready is not None]
        figures["waiting"] = sum(depth.ready or 0 for depth in work)
        figures["oldest_s"] = max((depth.oldest_s for depth in work if depth.oldest_s is not None), default=None)
        figures["dead"] = next((depth.ready for depth in depths if depth.queue == uno.topology.dead), None)
    return jsonify(figures)
