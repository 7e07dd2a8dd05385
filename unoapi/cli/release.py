"""`unoapi release`: before new processes start, say in a line each what is ready and what is wrong.

The platforms' release phase: it ends with 0 when all is well, 1 when a server does not answer (try again), and 78 when
somebody has to change something. Then the platform keeps the old processes.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from unoapi.cli.checks import (
    check_callbacks,
    check_former_names,
    check_lines,
    check_links,
    check_quotes,
    check_settings,
    check_slips,
)
from unoapi.cli.findings import Finding, broker_advice, broker_hosts, note, ok, without_login, wrong
from unoapi.cli.options import TimeSpan, as_json
from unoapi.cli.parts import pass_uno
from unoapi.errors import EX_CONFIG, BrokerUnavailable, ConfigurationError, StoreUnavailable, UnoError
from unoapi.errors.connections import why_not_connected
from unoapi.settings import env_file, read_environment, repeated_names, unreadable_lines
from unoapi.stores.redis_health import NOT_REACHED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from unoapi.bootstrap import Uno


@click.command()
@click.option("--wait", type=TimeSpan(), default="30s", show_default=True, help="How long to wait for RabbitMQ.")
@as_json
@pass_uno
def release(uno: Uno, wait: timedelta, as_json: bool) -> None:
    """Check settings and servers, and declare all queues.

    For the time before new processes start. It ends with 0 when all is well, with 1 when a server does not answer (try
    again), and with 78 when somebody has to change something.
    """
    worst = 0
    for finding in _findings(uno, wait.total_seconds()):
        finding.show(as_json=as_json)
        worst = max(worst, finding.exit_code)
    sys.exit(worst)


def where(uno: Uno | None, error: UnoError) -> str:
    """An error of a server with its address, and the setting that names it."""
    if uno is not None and any(isinstance(one, StoreUnavailable) for one in (error, error.__cause__)):
        why = why_not_connected(error)
        words = f"{error}: {without_login(uno.settings.redis_url.get_secret_value())}; check REDIS_URL"
        return f"{words}{': ' if why else ''}{why}"
    if uno is not None and isinstance(error, BrokerUnavailable):
        return f"{broker_hosts(uno.settings)}: {broker_advice(error)}"
    return f"{error}"


def _findings(uno: Uno, wait_s: float) -> Iterator[Finding]:
    environment = read_environment()
    yield from check_settings(uno.settings)
    yield from check_slips(environment)
    yield from check_quotes(environment)
    yield from check_lines(env_file(), unreadable_lines(), repeated_names())
    rabbitmq = _rabbitmq(uno, wait_s)
    yield rabbitmq
    if rabbitmq.state == "ok":
        yield _events(uno)
    yield _redis(uno)
    yield from check_links(uno.settings)
    for words in uno.graph_watch.warnings():
        yield note("graph", f"{words}: set WEBHOOK_FORWARD_VERSION, or webhookForward.version of its sessions")
    with suppress(StoreUnavailable):  # said above
        yield from check_callbacks(uno.directory.all(), uno.settings)
    yield from check_former_names(environment)


def _rabbitmq(uno: Uno, wait_s: float) -> Finding:
    where = broker_hosts(uno.settings)
    try:
        uno.publisher.check(timeout_s=wait_s)
    except ConfigurationError as error:
        return wrong("rabbitmq", f"{where}: {error}", EX_CONFIG)
    except BrokerUnavailable as error:
        return wrong("rabbitmq", f"{where}: {broker_advice(error)}")
    queues, exchanges = len(uno.topology.queues), len(uno.topology.exchanges)
    return ok("rabbitmq", f"{where}: {queues} queues and {exchanges} exchanges are declared")


def _events(uno: Uno) -> Finding:
    """Whether all events are kept for a while, as far as the publisher knows."""
    settings, trouble = uno.settings, uno.publisher.events_trouble
    if not uno.topology.streams:
        return ok("events", "not kept: UNOAPI_EVENTS_MAX_AGE or UNOAPI_EVENTS_MAX_BYTES is 0")
    if trouble:
        return note("events", f"{trouble}; the rest works without")
    hours, megabytes = settings.unoapi_events_max_age / 3600, settings.unoapi_events_max_bytes / 1_000_000
    return ok("events", f"kept for {hours:g} h, {megabytes:g} MB at most")


def _redis(uno: Uno) -> Finding:
    where = without_login(uno.settings.redis_url.get_secret_value())
    trouble = uno.redis.trouble()
    if trouble:
        return wrong("redis", f"{where}: {trouble}")
    health = uno.redis_monitor.check()
    if health.trouble == NOT_REACHED:  # it answered just now, and only not within a call's time: no setting is wrong
        return wrong("redis", f"{where}: answers too slowly; try again, and look at its load and the network")
    if health.trouble:
        return wrong("redis", f"{where}: {health.trouble}", EX_CONFIG)
    if health.warnings:
        return note("redis", f"{where}: {'; '.join(health.warnings)}")
    return ok("redis", f"{where}: answers and takes writes")
