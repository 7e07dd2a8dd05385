"""The queues, and the processes that take from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flask import Blueprint

from unoapi.errors import BrokerUnavailable, StoreUnavailable
from unoapi.models.jobs import now_ms
from unoapi.web.console.access import operator_login
from unoapi.web.console.recent import recent
from unoapi.web.console.view import live, render
from unoapi.web.parts import parts
from unoapi.web.schemas import schema

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from unoapi.broker.queue_depths import Depth
    from unoapi.models.processes import Process

routes = Blueprint("queues", __name__)

FRESH_S = 3.0
BESIDE = ("delayed", "held", "suspect", "dead")
"""Queues that no worker's lanes are: what waits for its time, what a look of its own takes, what was given up."""


@dataclass(frozen=True)
class Beside:
    """Queues of one kind that no worker's lanes are. `oldest_s` as in a depth."""

    kind: str
    name: str
    ready: int | None
    oldest_s: float | None


def depths() -> list[Depth] | None:
    """The queues as they were some seconds ago; none when RabbitMQ does not answer."""
    return recent("depths", _read_depths, fresh_s=FRESH_S)


def _read_depths() -> list[Depth] | None:
    try:
        return parts().queue_monitor.queues()
    except BrokerUnavailable:
        return None


def short_name(depth: Depth) -> str:
    """A queue's name without the prefix of this installation."""
    return depth.queue.removeprefix(f"{parts().topology.prefix}.")


def has_connector() -> bool | None:
    """Whether a connector takes commands; none when nobody can say."""
    entry = parts().topology.queue("outgoing.whatsmeow")
    return next((bool(depth.consumers) for depth in depths() or () if depth.queue == entry), None)


@routes.get("/console/queues")
@operator_login
@schema(described=False)
def page() -> ResponseReturnValue:
    """Show what stands where, how long it has stood there, and who takes from it."""
    return render("console/queues.html", here="queues", **_state())


@routes.get("/console/queues/live")
@operator_login
@schema(described=False)
def state() -> ResponseReturnValue:
    """Show the part of the page that changes."""
    return live("console/_queues.html", **_state())


def _state() -> dict[str, Any]:
    found = depths()
    named = [(short_name(depth), depth) for depth in found or ()]
    work = [(name, depth) for name, depth in named if not name.startswith(BESIDE)]
    beside = [line for kind in BESIDE if (line := _together(kind, named)) is not None]
    flower = f"{parts().settings.unoapi_flower_url or ''}"
    return {"answered": found is not None, "work": work, "beside": beside, "flower": flower, "processes": _processes()}


def _processes() -> list[tuple[Process, float | None]]:
    """The processes, each with the seconds since it was heard of, if that is too long ago; none while Redis is away."""
    try:
        known = parts().processes.all()
    except StoreUnavailable:
        return []
    return [(one, (now_ms() - one.seen_ms) / 1000 if one.silent else None) for one in known]


def _together(kind: str, named: list[tuple[str, Depth]]) -> Beside | None:
    """The queues of one kind as one line: eighteen of them hold what waits for its time."""
    alike = [depth for name, depth in named if name.startswith(kind)]
    counts = [depth.ready for depth in alike if depth.ready is not None]
    ages = [depth.oldest_s for depth in alike if depth.oldest_s is not None]
    name = kind if len(alike) == 1 and not kind.startswith("held") else f"{kind}*"
    return Beside(kind, name, sum(counts) if counts else None, max(ages, default=None)) if alike else None
