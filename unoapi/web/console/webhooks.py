"""The webhooks: how each one is and was, a test, a pause, and its settings."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal

from flask import Blueprint, g, url_for
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from unoapi.errors import RequestError
from unoapi.models.activity import DELIVERED, FAILED
from unoapi.models.endpoints import Endpoint
from unoapi.models.jobs import now_ms
from unoapi.models.replays import DEFAULT_RATE, MAX_RATE
from unoapi.services import sessions as service
from unoapi.services.endpoint_test import find_webhook, try_endpoint
from unoapi.services.endpoints import endpoint_states, in_state, waiting
from unoapi.web import audit
from unoapi.web import webhooks as api
from unoapi.web.console.access import any_login, operator_login, session_login
from unoapi.web.console.view import done, form, live, read_form, render
from unoapi.web.console.words import t
from unoapi.web.parts import parts
from unoapi.web.schemas import query, schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flask.typing import ResponseReturnValue

    from unoapi.models.activity import Activity
    from unoapi.models.session import Session, Webhook

routes = Blueprint("webhooks", __name__)

ON_A_PAGE = 50
KINDS = {"open": "ok", "paused": "warn", "down": "bad"}
FILTERS = (
    "sendNewMessages", "sendIncomingMessages", "sendOutgoingMessages", "sendUpdateMessages", "sendGroupMessages",
    "sendNewsletterMessages", "sendHistory", "sendCalls", "sendAccountEvents",
)  # fmt: skip
"""What a webhook gets, in the order of the form."""
OVERLAPS = {"0": 0, "1h": 3600, "1d": 86_400, "7d": 604_800}
REPLAYED = {"1h": 3600, "6h": 21_600, "1d": 86_400, "7d": 604_800}
STANDS_MS = 60_000
"""A replay that has not moved for so long has perhaps no worker."""
PAUSES = {"10m": 600, "1h": 3600, "12h": 43_200, "2d": 172_800}
Line = Annotated[str, StringConstraints(max_length=2048, strip_whitespace=True)]


class EndpointQuery(BaseModel):
    """What the list is to show. `page` counts from 1."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    phone: Annotated[str, StringConstraints(max_length=20, strip_whitespace=True)] = ""
    state: Literal["", "open", "paused", "down"] = ""
    page: int = Field(default=1, ge=1, le=100_000)


class PauseForm(BaseModel):
    """For how long."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    span: Literal["10m", "1h", "12h", "2d"] = "1h"


class ReplayForm(BaseModel):
    """Which events are delivered again, and how many a second."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    since: Literal["1h", "6h", "1d", "7d"] = "1h"
    only_missing: bool = False
    rate: int = Field(default=DEFAULT_RATE, ge=1, le=MAX_RATE)


class SettingsForm(BaseModel):
    """A webhook's settings. A switch that is off is not sent; an empty token or secret leaves the one that is set."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    url: Line
    header: Line = ""
    token: Line = ""
    secret: Line = ""
    overlap: Literal["0", "1h", "1d", "7d"] = "1d"
    sendNewMessages: bool = False  # noqa: N815 (as the settings are named)
    sendIncomingMessages: bool = False  # noqa: N815
    sendOutgoingMessages: bool = False  # noqa: N815
    sendUpdateMessages: bool = False  # noqa: N815
    sendGroupMessages: bool = False  # noqa: N815
    sendNewsletterMessages: bool = False  # noqa: N815
    sendHistory: bool = False  # noqa: N815
    sendCalls: bool = False  # noqa: N815
    sendAccountEvents: bool = False  # noqa: N815

    def change(self, webhook: Webhook, address: str) -> dict[str, Any]:
        """What is changed of the number; an address that is left as it is shown stays as it is stored."""
        changed: dict[str, Any] = {"id": webhook.id, **{name: getattr(self, name) for name in FILTERS}}
        if self.url != address:
            changed["urlAbsolute"] = self.url
        for name in ("header", "token", "secret"):
            if value := getattr(self, name):
                changed[name] = value
        return {"webhooks": [changed], "overlapSeconds": OVERLAPS[self.overlap]}


@routes.get("/console/webhooks")
@any_login
@query(EndpointQuery)
@schema(described=False)
def page(query: EndpointQuery) -> ResponseReturnValue:
    """Show the webhooks of the numbers that the login may see, with how each one is."""
    sessions = [session for session in g.login.sessions() if query.phone in session.phone]
    start = (query.page - 1) * ON_A_PAGE
    if not query.state:
        has_more, lines = len(sessions) > start + ON_A_PAGE, _lines(sessions[start : start + ON_A_PAGE])
    else:
        has_more, lines = _lines_in(query.state, sessions, start)
    return render(
        "console/webhooks.html",
        here="webhooks",
        query=query,
        lines=lines,
        kinds=KINDS,
        moment=datetime.fromisoformat,
        previous=_page_url(query, query.page - 1) if query.page > 1 else "",
        next=_page_url(query, query.page + 1) if has_more else "",
    )


@routes.get("/console/webhooks/<node:phone>/<path:webhook_id>")
@session_login
@schema(described=False)
def webhook(phone: str, webhook_id: str) -> ResponseReturnValue:
    """Show one webhook: how it is, how it was, and its settings."""
    return _webhook_page(phone, webhook_id)


@routes.post("/console/webhooks/<node:phone>/<path:webhook_id>/test")
@session_login
@schema(described=False)
def test(phone: str, webhook_id: str) -> ResponseReturnValue:
    """Post a test event now, and say where it broke."""
    found = _webhook(phone, webhook_id)
    return _webhook_page(phone, webhook_id, tested=try_endpoint(found, phone=phone, sender=parts().webhook_client))


@routes.post("/console/webhooks/<node:phone>/<path:webhook_id>/pause")
@session_login
@form(PauseForm)
@schema(described=False)
def pause(phone: str, webhook_id: str, form: PauseForm) -> ResponseReturnValue:
    """Let deliveries wait, without using up attempts."""
    api.pause_webhook(Endpoint(phone, webhook_id), seconds=PAUSES[form.span])
    return _after(phone, webhook_id, "done.paused", detail=f"{webhook_id} for {form.span}")


@routes.post("/console/webhooks/<node:phone>/<path:webhook_id>/resume")
@session_login
@schema(described=False)
def resume(phone: str, webhook_id: str) -> ResponseReturnValue:
    """End a pause; what waits goes on."""
    api.resume_webhook(Endpoint(phone, webhook_id))
    return _after(phone, webhook_id, "done.resumed")


@routes.get("/console/webhooks/<node:phone>/<path:webhook_id>/replay")
@session_login
@schema(described=False)
def replay_part(phone: str, webhook_id: str) -> ResponseReturnValue:
    """Show how far the last replay is."""
    _webhook(phone, webhook_id)
    return live("console/_replay.html", **_replay(Endpoint(phone, webhook_id)))


@routes.post("/console/webhooks/<node:phone>/<path:webhook_id>/replay")
@session_login
@form(ReplayForm)
@schema(described=False)
def replay(phone: str, webhook_id: str, form: ReplayForm) -> ResponseReturnValue:
    """Deliver events of the past again."""
    since = datetime.now(UTC) - timedelta(seconds=REPLAYED[form.since])
    wanted = api.OwnEventReplay(since=since, only_missing=form.only_missing, rate=form.rate)
    try:
        api.begin_replay(Endpoint(phone, webhook_id), wanted)
    except RequestError as error:
        return _webhook_page(phone, webhook_id, error=error.details, status=error.status)
    return _after(phone, webhook_id, "done.replay_began", detail=f"{webhook_id} since {form.since}")


@routes.post("/console/webhooks/<node:phone>/<path:webhook_id>/replay/cancel")
@session_login
@schema(described=False)
def cancel_replay(phone: str, webhook_id: str) -> ResponseReturnValue:
    """End the replay that goes on."""
    with suppress(RequestError):  # it has ended meanwhile
        api.end_replay(Endpoint(phone, webhook_id))
    return _after(phone, webhook_id, "done.replay_ended")


@routes.post("/console/webhooks/<node:phone>/<path:webhook_id>/drop")
@operator_login
@schema(described=False)
def drop(phone: str, webhook_id: str) -> ResponseReturnValue:
    """Give up all that waits for the webhook now."""
    _webhook(phone, webhook_id)
    parts().deliveries.drop(Endpoint(phone, webhook_id))
    return _after(phone, webhook_id, "done.dropped")


@routes.post("/console/webhooks/<node:phone>/<path:webhook_id>/settings")
@session_login
@schema(described=False)
def save(phone: str, webhook_id: str) -> ResponseReturnValue:
    """Change the address, the token, the secret and what the webhook gets."""
    found = _webhook(phone, webhook_id)
    try:
        wanted = read_form(SettingsForm).change(found, _address(phone, found))
        service.change(phone, wanted, sessions=parts().sessions, by_operator=g.operator)
    except RequestError as error:
        return _webhook_page(phone, webhook_id, error=error.details)
    changed = wanted["webhooks"][0]
    names = [name for name in ("urlAbsolute", "header", "token", "secret") if name in changed]
    return _after(phone, webhook_id, "done.saved", detail=f"{webhook_id}: {', '.join([*names, 'filters'])}")


def _after(phone: str, webhook_id: str, notice: str, *, detail: str = "") -> ResponseReturnValue:
    audit.note(detail or webhook_id)
    return done("webhooks.webhook", notice, phone=phone, webhook_id=webhook_id)


def _replay(endpoint: Endpoint) -> dict[str, Any]:
    """The last replay, if there was one; `stands` says whether it has not moved for long."""
    last = parts().replays.find(endpoint)
    running = last is not None and last.state == "running"
    stands = last is not None and running and now_ms() - last.updated_ms > STANDS_MS
    return {"endpoint": endpoint, "replay": last, "running": running, "stands": stands}


def _webhook_page(
    phone: str, webhook_id: str, *, tested: Any = None, error: str = "", status: int = 400
) -> ResponseReturnValue:
    uno, found, endpoint = parts(), _webhook(phone, webhook_id), Endpoint(phone, webhook_id)
    activity = uno.activity.read(endpoint.key, "week")
    line = next(line for line in _lines([uno.sessions.find(phone)]) if line["webhook"] == webhook_id)
    return render(
        "console/webhook.html",
        status if error else 200,
        here="webhooks",
        phone=phone,
        line=line,
        waiting=waiting(endpoint, deliveries=uno.deliveries, queues=uno.holding_queues),
        activity=activity,
        chart=_chart(activity),
        settings=found.model_dump(by_alias=True, mode="json", exclude={"token", "secret", "previous_secret"}),
        has_token=bool(found.token.get_secret_value()),
        has_secret=bool(found.secret.get_secret_value()),
        filters=FILTERS,
        overlaps=OVERLAPS,
        pauses=PAUSES,
        kinds=KINDS,
        moment=datetime.fromisoformat,
        tested=tested,
        error=error,
        replayed=REPLAYED,
        rate=DEFAULT_RATE,
        max_rate=MAX_RATE,
        keeps_events=bool(uno.topology.streams),
        **_replay(endpoint),
    )


def _chart(activity: Activity) -> dict[str, Any]:
    """What the script draws: attempts by the hour."""
    counts = [point.counts for point in activity.points]
    return {
        "x": [round(point.at.timestamp()) for point in activity.points],
        "time": t("messages.time"),
        "series": [
            {"label": t("webhooks.delivered"), "values": [count[DELIVERED] for count in counts], "kind": "in"},
            {"label": t("webhooks.failed"), "values": [count[FAILED] for count in counts], "kind": "failed"},
        ],
    }


def _lines(sessions: Sequence[Session]) -> list[dict[str, Any]]:
    uno = parts()
    lines = endpoint_states(
        [session.phone for session in sessions],
        loaded={session.phone: session for session in sessions},
        sessions=uno.sessions,
        deliveries=uno.deliveries,
        breakers=uno.breakers,
        activity=uno.activity,
        operators=uno.operator_addresses,
        refusal=uno.address_guard.refusal,
    )
    addresses = {
        (session.phone, webhook.id): _address(session.phone, webhook)
        for session in sessions
        for webhook in session.webhooks
    }
    return [{**line, "address": addresses.get((line["phone"], line["webhook"]), "")} for line in lines]


def _lines_in(state: str, sessions: Sequence[Session], start: int) -> tuple[bool, list[dict[str, Any]]]:
    """A page of the webhooks in a state, and whether there are more behind it."""
    uno = parts()
    endpoints = [Endpoint(session.phone, webhook.id) for session in sessions for webhook in session.webhooks]
    selected = in_state(state, endpoints, deliveries=uno.deliveries, breakers=uno.breakers)
    shown = list(islice(selected, start, start + ON_A_PAGE + 1))
    page = set(shown[:ON_A_PAGE])
    phones = {endpoint.phone for endpoint in page}
    lines = _lines([session for session in sessions if session.phone in phones])
    return len(shown) > ON_A_PAGE, [line for line in lines if (line["phone"], line["webhook"]) in page]


def _address(phone: str, webhook: Webhook) -> str:
    return service.shown_address(webhook.address(phone), phone=phone, operators=parts().operator_addresses)


def _webhook(phone: str, webhook_id: str) -> Webhook:
    return find_webhook(parts().sessions.find(phone), webhook_id)


def _page_url(query: EndpointQuery, number: int) -> str:
    named: dict[str, Any] = {name: value for name in ("phone", "state") if (value := getattr(query, name))}
    return url_for("console.webhooks.page", **named, page=number)
