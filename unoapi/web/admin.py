"""What the operator sees and does over HTTP: dead letters, events, queues, endpoints.

The same verbs as on the command line.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Literal

from flask import Blueprint, jsonify
from pydantic import BaseModel, ConfigDict, Field, field_validator

from unoapi.errors import RequestError
from unoapi.models.dead_letters import Bounds, DeadLetterQuery
from unoapi.models.endpoints import Endpoint
from unoapi.services.dead_letters import foreseen, misspelt_reason
from unoapi.services.endpoint_test import ensure_stored, find_webhook, try_endpoint
from unoapi.services.endpoints import NONE_LOADED, endpoint_states, waiting
from unoapi.web import audit
from unoapi.web.auth import operator
from unoapi.web.errors import not_found
from unoapi.web.parts import parts
from unoapi.web.schemas import body, query
from unoapi.web.webhooks import (
    OwnEventReplay,
    Pause,
    begin_replay,
    end_replay,
    last_replay,
    pause_webhook,
    resume_webhook,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flask.typing import ResponseReturnValue

    from unoapi.models.dead_letters import DeadLetterResult, DeadLetterWalk
    from unoapi.models.session import Session, Webhook

routes = Blueprint("admin", __name__, url_prefix="/admin")
WITHIN_S = 15.0
"""A request works for about so long; `complete` says whether there is more to do."""
MAX_OFFSET = 10_000
MAX_DEAD_LETTERS = 1000
Text = Annotated[str, Field(max_length=256)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class DeadLetterSelection(_Body):
    """Selects dead letters. Fields that are left out match all."""

    id: Text = ""
    queue: Text = ""
    phone: Text = ""
    webhook: Text = ""
    reason: Text = ""
    older_than_s: int | None = Field(default=None, ge=0, le=1_000_000_000)

    @field_validator("phone")
    @classmethod
    def _digits(cls, value: str) -> str:
        if value and not (value.isascii() and value.isdigit()):
            raise ValueError("must be a number of this installation: digits only, such as 5511999990000")
        return value

    @field_validator("reason")
    @classmethod
    def _no_slip(cls, value: str) -> str:
        if meant := misspelt_reason(value):
            raise ValueError(f"no dead letter has it; did you mean {meant}?")
        return value

    def selection(self) -> DeadLetterQuery:
        """The selection without its bounds."""
        age = None if self.older_than_s is None else timedelta(seconds=self.older_than_s)
        return DeadLetterQuery(
            id=self.id, queue=self.queue, phone=self.phone, webhook=self.webhook, reason=self.reason, older_than=age
        )


class Listing(DeadLetterSelection):
    """A page of dead letters."""

    limit: int = Field(default=100, ge=1, le=MAX_DEAD_LETTERS)
    offset: int = Field(default=0, ge=0, le=MAX_OFFSET)


class Purge(DeadLetterSelection):
    """Dead letters to throw away. Without any filter `all` must be true."""

    all: bool = False
    limit: int = Field(default=MAX_DEAD_LETTERS, ge=1, le=MAX_DEAD_LETTERS)

    def named(self, why: str) -> DeadLetterQuery:
        """The selection. Raises RequestError when it is everything and nobody said so."""
        query = self.selection()
        if query.empty and not self.all:
            details = f'Name a filter, or send {{"all": true}}: {why}.'
            raise RequestError("Invalid parameter", code=100, status=400, details=details)
        return query


class Replay(Purge):
    """Dead letters to put back, all as in a purge. `force`: also sends whose outcome is unknown.

    With `rate` at most so many a second; with `dry_run` they are only counted, and none is put back. Lost causes
    (`webhook_removed`, `number_removed`, `gone`, `dropped`, `blocked`, `callback_failed`) stay unless `id` or `reason`
    names them.
    """

    force: bool = False
    rate: float | None = Field(default=None, ge=0.1, le=10_000)
    dry_run: bool = False


class EventReplay(OwnEventReplay):
    """Events of a time that go to one webhook again: all, or only what it has not got. Times without a zone are UTC."""

    phone: str = Field(pattern=r"^[0-9]{1,20}$")
    webhook: Text


@routes.get("/dead")
@operator
@query(Listing)
def dead_letters(query: Listing) -> ResponseReturnValue:
    """List dead letters; every one stays. `next_offset` is there when there may be more."""
    last = query.offset + query.limit
    walk = parts().dead_letters.list(query.selection(), by="GET /admin/dead", bounds=Bounds(last, WITHIN_S))
    dead_letters = [result.dead_letter for result in walk]
    shown = [dead_letter.public_fields() for dead_letter in dead_letters[query.offset :]]
    page: dict[str, Any] = {"data": shown, "complete": walk.complete}
    if not walk.complete and len(dead_letters) == last:
        page["next_offset"] = last
    return jsonify(page)


@routes.get("/dead/<letter_id>")
@operator
def dead_letter(letter_id: str) -> ResponseReturnValue:
    """Show one dead letter with all its attempts."""
    query, bounds = DeadLetterQuery(id=letter_id), Bounds(1, WITHIN_S)
    walk = parts().dead_letters.list(query, by="GET /admin/dead/<id>", bounds=bounds)
    dead_letter = next(iter([result.dead_letter for result in walk]), None)
    if dead_letter is None and not walk.complete:
        raise not_found(f"It is not among the {walk.seen} dead letters that were read in time; there are {walk.total}.")
    if dead_letter is None:
        raise not_found("There is no such dead letter.")
    return jsonify({**dead_letter.public_fields(), "traceback": dead_letter.traceback, "size": len(dead_letter.body)})


@routes.post("/dead/replay")
@operator
@body(Replay)
def replay(body: Replay) -> ResponseReturnValue:
    """Put dead letters back on their queues; ask again until `complete`."""
    by, bounds = "POST /admin/dead/replay", Bounds(body.limit, WITHIN_S)
    if body.dry_run:
        audit.nothing_changed()
        query = body.selection()
        walk = parts().dead_letters.list(query, by=by, bounds=Bounds(seconds=WITHIN_S))
        return _outcomes(walk, body.id, lambda result: foreseen(result.dead_letter, query, force=body.force))
    query = body.named("every message is sent or delivered again")
    walk = parts().dead_letters.replay(query, by=by, force=body.force, rate=body.rate, bounds=bounds)
    return _outcomes(walk, body.id)


@routes.post("/dead/purge")
@operator
@body(Purge)
def purge(body: Purge) -> ResponseReturnValue:
    """Throw dead letters away for good; ask again until `complete`."""
    query = body.named("dead letters that are thrown away cannot be brought back")
    bounds = Bounds(body.limit, WITHIN_S)
    walk = parts().dead_letters.purge(query, by="POST /admin/dead/purge", bounds=bounds)
    return _outcomes(walk, body.id)


def _outcomes(
    walk: DeadLetterWalk, letter_id: str, outcome_of: Callable[[DeadLetterResult], str] = attrgetter("outcome")
) -> ResponseReturnValue:
    outcomes = Counter(map(outcome_of, walk))
    if letter_id and walk.complete and not outcomes:
        raise not_found("There is no such dead letter.")
    audit.note(", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()) or "none")
    return jsonify(outcomes=outcomes, complete=walk.complete)


@routes.post("/events/replay")
@operator
@body(EventReplay)
def replay_events(body: EventReplay) -> ResponseReturnValue:
    """Begin to deliver events of the past to one webhook again, in their order; `GET` says how far it is.

    The requests have the header `webhook-replay: true` and the same `webhook-id` as before. `oldest_ms` is when the
    oldest event that is there was published, in Unix milliseconds.
    """
    begun, oldest_ms = begin_replay(Endpoint(body.phone, body.webhook), body)
    return jsonify({**begun.public_fields(), "oldest_ms": oldest_ms})


@routes.get("/events/replay/<digits:phone>/<path:webhook_id>")
@operator
def event_replay(phone: str, webhook_id: str) -> ResponseReturnValue:
    """How far the last replay to a webhook is."""
    return jsonify(last_replay(Endpoint(phone, webhook_id)).public_fields())


@routes.delete("/events/replay/<digits:phone>/<path:webhook_id>")
@operator
def cancel_replay(phone: str, webhook_id: str) -> ResponseReturnValue:
    """End the replay to a webhook; what it has delivered stays delivered."""
    return jsonify(end_replay(Endpoint(phone, webhook_id)).public_fields())


@routes.get("/processes")
@operator
def processes() -> ResponseReturnValue:
    """The processes that run, as each one reports itself every 15 seconds.

    `silent` are those that ended without a word, within the last hour, or hang.
    """
    return jsonify(data=[{**one.model_dump(), "silent": one.silent} for one in parts().processes.all()])


@routes.get("/queues")
@operator
def queues() -> ResponseReturnValue:
    """What stands in each queue: ready, held by consumers (with `RABBITMQ_MANAGEMENT_URL`), and how old it is at most.

    The rates are messages a second between the last two looks, of everybody who looks; null after the first one.
    Messages that wait for their time are in the `delayed` queues; those given up are in `dead`.
    """
    return jsonify(data=[asdict(depth) for depth in parts().queue_monitor.queues()])


class EndpointQuery(BaseModel):
    """A page of endpoints, or of those in one state."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    after: Text = ""
    state: Literal["", "open", "paused", "down", "unknown"] = ""


@routes.get("/endpoints")
@operator
@query(EndpointQuery)
def endpoints(query: EndpointQuery) -> ResponseReturnValue:
    """The webhooks of all stored sessions, a thousand numbers at a time (`after` is the last number of a page).

    `since` is when one that is down went down; `state` chooses those that are down, paused or open.
    """
    loaded = {session.phone: session for session in parts().directory.all()}
    phones = [phone for phone in parts().sessions.indexed() if phone > query.after]
    lines = _endpoints_of(*phones[:1000], loaded=loaded)
    page: dict[str, Any] = {"data": [line for line in lines if query.state in ("", line["state"])]}
    if len(phones) > len(phones[:1000]):
        page["after"] = phones[999]
    return jsonify(page)


@routes.get("/endpoints/<digits:phone>")
@operator
def endpoints_of(phone: str) -> ResponseReturnValue:
    """The webhooks of one session."""
    lines = _endpoints_of(phone)
    if not lines:
        ensure_stored(parts().sessions.find(phone))
    return jsonify(data=lines)


@routes.get("/endpoints/<digits:phone>/<path:webhook_id>")
@operator
def endpoint(phone: str, webhook_id: str) -> ResponseReturnValue:
    """One webhook; `waiting` is how many deliveries wait for it in a queue of its own, because it is down or paused."""
    _webhook(phone, webhook_id)
    line = next(line for line in _endpoints_of(phone) if line["webhook"] == webhook_id)
    uno = parts()
    held = waiting(Endpoint(phone, webhook_id), deliveries=uno.deliveries, queues=uno.holding_queues)
    return jsonify({**line, "waiting": held})


def _endpoints_of(*phones: str, loaded: Mapping[str, Session] = NONE_LOADED) -> list[dict[str, Any]]:
    uno = parts()
    return endpoint_states(
        phones,
        loaded=loaded,
        sessions=uno.sessions,
        deliveries=uno.deliveries,
        breakers=uno.breakers,
        activity=uno.activity,
        operators=uno.operator_addresses,
        refusal=uno.address_guard.refusal,
    )


@routes.post("/endpoints/<digits:phone>/<path:webhook_id>/pause")
@operator
@body(Pause)
def pause(phone: str, webhook_id: str, body: Pause) -> ResponseReturnValue:
    """Let deliveries to a webhook wait, without using up attempts; they still grow too old."""
    pause_webhook(Endpoint(phone, webhook_id), seconds=body.seconds)
    return jsonify(success=True, paused_ms=body.seconds * 1000)


@routes.post("/endpoints/<digits:phone>/<path:webhook_id>/resume")
@operator
def resume(phone: str, webhook_id: str) -> ResponseReturnValue:
    """End a pause, also one that the receiver asked for, or try a webhook that is down now."""
    return jsonify(success=True, was_paused=resume_webhook(Endpoint(phone, webhook_id)))


@routes.post("/endpoints/<digits:phone>/<path:webhook_id>/drop")
@operator
def drop(phone: str, webhook_id: str) -> ResponseReturnValue:
    """Give up all that waits for a webhook now: each ends dead, reason `dropped`, when its turn comes."""
    _webhook(phone, webhook_id)
    return jsonify(success=True, dropped_until_ms=parts().deliveries.drop(Endpoint(phone, webhook_id)))


@routes.post("/endpoints/<digits:phone>/<path:webhook_id>/test")
@operator
def test(phone: str, webhook_id: str) -> ResponseReturnValue:
    """Post a test event now, and say where it broke."""
    webhook = _webhook(phone, webhook_id)
    return jsonify(asdict(try_endpoint(webhook, phone=phone, sender=parts().webhook_client)))


def _webhook(phone: str, webhook_id: str) -> Webhook:
    return find_webhook(parts().sessions.find(phone), webhook_id)
