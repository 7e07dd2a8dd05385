"""What the token of a number does with the number's own webhooks: pause one, and deliver its events again."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from flask import Blueprint, g, jsonify
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from unoapi.models.endpoints import Endpoint
from unoapi.models.replays import DEFAULT_RATE, MAX_RATE
from unoapi.services import replaying
from unoapi.services.endpoint_test import find_webhook
from unoapi.web import audit
from unoapi.web.auth import session_token
from unoapi.web.errors import not_found
from unoapi.web.parts import parts
from unoapi.web.schemas import body

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from unoapi.models.replays import Replay

routes = Blueprint("webhooks", __name__)

LONGEST_PAUSE_S = 172_800
DAY = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})", re.ASCII)
DayOfDigits = BeforeValidator(lambda value: DAY.sub(r"\1-\2-\3", f"{value}") if DAY.fullmatch(f"{value}") else value)
"""Eight digits are a day, as ISO 8601 has it, and not the seconds of one in 1970."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Pause(_Body):
    """For how long."""

    seconds: int = Field(default=3600, ge=1, le=LONGEST_PAUSE_S)


class OwnEventReplay(_Body):
    """Events of a time that go to the webhook again: all, or only what it has not got. Times without a zone are UTC."""

    since: Annotated[datetime, DayOfDigits]
    until: Annotated[datetime | None, DayOfDigits] = None
    only_missing: bool = False
    rate: int = Field(default=DEFAULT_RATE, ge=1, le=MAX_RATE, description="Events a second.")


@routes.post("/<version>/<node:phone>/webhooks/<path:webhook_id>/pause")
@session_token
@body(Pause)
def pause(version: str, phone: str, webhook_id: str, body: Pause) -> ResponseReturnValue:  # noqa: ARG001
    """Let deliveries to a webhook wait, without using up attempts; they still grow too old."""
    pause_webhook(Endpoint(phone, webhook_id), seconds=body.seconds)
    return jsonify(success=True, paused_ms=body.seconds * 1000)


@routes.post("/<version>/<node:phone>/webhooks/<path:webhook_id>/resume")
@session_token
def resume(version: str, phone: str, webhook_id: str) -> ResponseReturnValue:  # noqa: ARG001
    """End a pause, also one that the receiver asked for, or try a webhook that is down now."""
    return jsonify(success=True, was_paused=resume_webhook(Endpoint(phone, webhook_id)))


@routes.post("/<version>/<node:phone>/webhooks/<path:webhook_id>/replay")
@session_token
@body(OwnEventReplay)
def replay(version: str, phone: str, webhook_id: str, body: OwnEventReplay) -> ResponseReturnValue:  # noqa: ARG001
    """Begin to deliver events of the past to the webhook again, in their order; `GET` says how far it is.

    The requests have the header `webhook-replay: true` and the same `webhook-id` as before. `oldest_ms` is when the
    oldest event that is there was published, in Unix milliseconds.
    """
    begun, oldest_ms = begin_replay(Endpoint(phone, webhook_id), body)
    return jsonify({**begun.public_fields(), "oldest_ms": oldest_ms})


@routes.get("/<version>/<node:phone>/webhooks/<path:webhook_id>/replay")
@session_token
def replay_state(version: str, phone: str, webhook_id: str) -> ResponseReturnValue:  # noqa: ARG001
    """How far the last replay to the webhook is."""
    return jsonify(last_replay(Endpoint(phone, webhook_id)).public_fields())


@routes.delete("/<version>/<node:phone>/webhooks/<path:webhook_id>/replay")
@session_token
def cancel_replay(version: str, phone: str, webhook_id: str) -> ResponseReturnValue:  # noqa: ARG001
    """End the replay to the webhook; what it has delivered stays delivered."""
    return jsonify(end_replay(Endpoint(phone, webhook_id)).public_fields())


# --- the same for whoever is asked: operators, the console ---


def pause_webhook(endpoint: Endpoint, *, seconds: int) -> None:
    """Let deliveries wait. Raises RequestError when there is no such webhook, StoreUnavailable."""
    _ensure_there(endpoint)
    parts().deliveries.suspend(endpoint, pause_ms=seconds * 1000)


def resume_webhook(endpoint: Endpoint) -> bool:
    """End a pause; whether there was one. Raises RequestError when there is no such webhook, StoreUnavailable."""
    _ensure_there(endpoint)
    return parts().deliveries.resume(endpoint)


def begin_replay(endpoint: Endpoint, wanted: OwnEventReplay) -> tuple[Replay, int | None]:
    """Begin a replay; see `replaying.begin`. What the number got before it was removed is the operator's to deliver."""
    uno = parts()
    _ensure_there(endpoint)
    earliest_ms = 0 if g.operator else uno.sessions.find(endpoint.phone).began_ms
    return replaying.begin(
        endpoint.phone,
        endpoint.webhook_id,
        since_ms=max(earliest_ms, _ms(wanted.since)),
        until_ms=_ms(wanted.until or datetime.now(UTC)),
        only_missing=wanted.only_missing,
        rate=wanted.rate,
        sessions=uno.sessions,
        events=uno.events,
        replays=uno.replays,
        publisher=uno.publisher,
    )


def last_replay(endpoint: Endpoint) -> Replay:
    """The last replay to a webhook. Raises RequestError when there was none, StoreUnavailable."""
    replay = parts().replays.find(endpoint)
    if replay is None:
        raise not_found("There was no replay to this webhook in the last week.")
    return replay


def end_replay(endpoint: Endpoint) -> Replay:
    """End the replay that goes on. Raises RequestError when none does, StoreUnavailable."""
    audit.note(endpoint.webhook_id)
    replay = replaying.cancel(endpoint, parts().replays)
    if replay is None:
        raise not_found("No replay to this webhook goes on.")
    return replay


def _ensure_there(endpoint: Endpoint) -> None:
    find_webhook(parts().sessions.find(endpoint.phone), endpoint.webhook_id)


def _ms(moment: datetime) -> int:
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
