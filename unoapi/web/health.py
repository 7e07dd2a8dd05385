"""Whether the service lives, and whether it can do its work."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from flask import Blueprint, Response, current_app, jsonify

from unoapi import __version__
from unoapi.errors import BrokerUnavailable, ConfigurationError
from unoapi.telemetry.logging import get_logger
from unoapi.web.auth import public
from unoapi.web.parts import parts
from unoapi.web.schemas import schema

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

routes = Blueprint("health", __name__)
log = get_logger(__name__)
EXTENSION = "health"
FRESH_S = 0.5


class _RecentChecks:
    """What the servers said lately: anybody may ask, so it costs the same however often they do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._checked_at = float("-inf")
        self._checks: dict[str, str] = {}

    def read(self) -> dict[str, str]:
        """The last ones, while another thread asks: a server that hangs holds one thread, however many want to know."""
        if not self._lock.acquire(blocking=not self._checks):
            return self._checks
        try:
            if time.monotonic() - self._checked_at > FRESH_S:
                self._checks, self._checked_at = _checks(), time.monotonic()
            return self._checks
        finally:
            self._lock.release()


@routes.get("/ping")
@public
@schema(answer="text/plain")
def ping() -> ResponseReturnValue:
    """Say that the process answers."""
    return Response("pong!", mimetype="text/plain")


@routes.get("/health/live")
@public
def live() -> ResponseReturnValue:
    """Say that the process answers, for orchestrators."""
    return jsonify(status="ok", version=__version__)


@routes.get("/health/ready")
@public
@schema(also={"503": "RabbitMQ is not reachable."}, refuses=False)
def ready() -> ResponseReturnValue:
    """Say whether messages are accepted: 503 without RabbitMQ; without Redis they are, so 200 and `degraded`.

    So, too, when Redis refuses writes, throws keys away, or is nearly full; `checks` has the reason. `graph` is there
    when a version of Meta's Graph API that is asked for has ended or ends within 90 days; messages are accepted.
    """
    checks = recent_checks()
    if checks["rabbitmq"] != "ok":
        return jsonify(status="unavailable", checks=checks), 503
    return jsonify(status="ok" if checks["redis"] == "ok" else "degraded", checks=checks)


def recent_checks() -> dict[str, str]:
    """What RabbitMQ, Redis and Meta's versions say, by their names: `ok`, or why not."""
    recent: _RecentChecks = current_app.extensions.setdefault(EXTENSION, _RecentChecks())
    return recent.read()


def _checks() -> dict[str, str]:
    uno = parts()
    checks = {"rabbitmq": "ok", "redis": "ok"}
    try:
        uno.publisher.check(timeout_s=2.0)
    except BrokerUnavailable:
        checks["rabbitmq"] = "not reachable"
    except ConfigurationError as error:
        log.error("topology_conflict", error=f"{error}")
        checks["rabbitmq"] = "holds objects of another program; the log has their names"
    checks["redis"] = uno.redis_monitor.check().words
    if ending := uno.graph_watch.warnings():
        checks["graph"] = "; ".join(ending)
    return checks
