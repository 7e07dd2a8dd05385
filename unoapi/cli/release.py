"""`unoapi release`: before new processes start, say in a line each what is ready and what is wrong.

The platforms' release phase: it ends with 0 when all is well, 1 when a server does not answer (try again), and 78 when
somebody has to change something. Then the platform keeps the old processes.
"""

from __future__ import annotations

import ssl
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click
from amqp.exceptions import AccessRefused, NotAllowed

from unoapi import __version__
from unoapi.cli.options import TimeSpan, as_json, print_json
from unoapi.cli.parts import pass_uno
from unoapi.errors import EX_CONFIG, BrokerUnavailable, ConfigurationError, StoreUnavailable, UnoError
from unoapi.models.former_settings import former_names, misspelt_names
from unoapi.settings import read_environment, setting_names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from unoapi.bootstrap import Uno
    from unoapi.settings import Settings

OK, NOTE, WRONG = "ok", "note", "WRONG"
Finding = tuple[str, str, str, int]
"""What was looked at, how it is, in words, and the exit code that follows from it."""


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
    for what, how, words, code in _findings(uno, wait.total_seconds()):
        if as_json:
            print_json({"what": what, "state": how, "words": words, "exit_code": code})
        else:
            click.echo(f"{what:<9} {how:<6} {words}")
        worst = max(worst, code)
    sys.exit(worst)


def where(uno: Uno | None, error: UnoError) -> str:
    """An error of a server with its address, and the setting that names it."""
    if uno is not None and isinstance(error, StoreUnavailable):
        return f"{error}: {_host(uno.settings.redis_url.get_secret_value())}; check REDIS_URL"
    if uno is not None and isinstance(error, BrokerUnavailable):
        return f"{_hosts(uno.settings)}: {_advice(error)}"
    return f"{error}"


def _findings(uno: Uno, wait_s: float) -> Iterator[Finding]:
    settings = uno.settings
    yield _settings(settings)
    yield from _slips()
    rabbitmq = _rabbitmq(uno, wait_s)
    yield rabbitmq
    if rabbitmq[1] == OK:
        yield _events(uno)
    yield _redis(uno)
    yield _files(settings)
    yield from _notes(uno)


def _settings(settings: Settings) -> Finding:
    where = f"version {__version__}, port {settings.port} on {settings.listen_host}"
    if not settings.unoapi_auth_token.get_secret_value():
        return "settings", WRONG, f"{where}: set UNOAPI_AUTH_TOKEN, else nobody outside reaches the API", EX_CONFIG
    return "settings", OK, f"{where}, Sentry {'on' if settings.sentry_dsn.get_secret_value() else 'off'}", 0


def _slips() -> Iterator[Finding]:
    for name, meant in misspelt_names(read_environment(), settings=setting_names()).items():
        yield "settings", NOTE, f"{name} is not a setting and does nothing; did you mean {meant}?", 0


def _rabbitmq(uno: Uno, wait_s: float) -> Finding:
    where = _hosts(uno.settings)
    try:
        uno.publisher.check(timeout_s=wait_s)
    except ConfigurationError as error:
        return "rabbitmq", WRONG, f"{where}: {error}", EX_CONFIG
    except BrokerUnavailable as error:
        return "rabbitmq", WRONG, f"{where}: {_advice(error)}", 1
    queues, exchanges = len(uno.topology.queues), len(uno.topology.exchanges)
    return "rabbitmq", OK, f"{where}: {queues} queues and {exchanges} exchanges are declared", 0


def _events(uno: Uno) -> Finding:
    settings, trouble = uno.settings, uno.publisher.events_trouble
    if not uno.topology.streams:
        return "events", OK, "not kept: UNOAPI_EVENTS_MAX_AGE or UNOAPI_EVENTS_MAX_BYTES is 0", 0
    if trouble:
        return "events", NOTE, f"{trouble}; the rest works without", 0
    hours, megabytes = settings.unoapi_events_max_age / 3600, settings.unoapi_events_max_bytes / 1_000_000
    return "events", OK, f"kept for {hours:g} h, {megabytes:g} MB at most", 0


def _advice(error: BrokerUnavailable) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AccessRefused):
            return "RabbitMQ refuses the login: check the user and the password in AMQP_URL"
        if isinstance(cause, NotAllowed):
            return "RabbitMQ has no such vhost, or the user may not use it: check what follows the last / of AMQP_URL"
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                "its certificate is not trusted, or is another host's: SSL_CERT_FILE names the file of your authority"
            )
        cause = cause.__cause__ or cause.__context__
    return f"{error}; check AMQP_URL"


def _redis(uno: Uno) -> Finding:
    where = _host(uno.settings.redis_url.get_secret_value())
    trouble = uno.redis.trouble()
    if trouble:
        return "redis", WRONG, f"{where}: {trouble}", 1
    health = uno.redis_monitor.check()
    if health.trouble:
        return "redis", WRONG, f"{where}: {health.trouble}", EX_CONFIG
    if health.warnings:
        return "redis", NOTE, f"{where}: {'; '.join(health.warnings)}", 0
    return "redis", OK, f"{where}: answers and takes writes", 0


def _files(settings: Settings) -> Finding:
    link = f"links begin with {settings.base_url}"
    if urlsplit(f"{settings.base_url}").hostname in {"localhost", "127.0.0.1"}:
        return "files", NOTE, f"{link}: set BASE_URL to the public address, else they lead nowhere", 0
    if settings.storage_endpoint is None:
        words = (
            f"{link}; kept in the folder {settings.base_store}: needs a disk that stays and that all processes share"
        )
        return "files", NOTE, f"{words}, else set STORAGE_ENDPOINT", 0
    return "files", OK, f"{link}; kept in the bucket {settings.storage_bucket_name}", 0


def _notes(uno: Uno) -> Iterator[Finding]:
    """What is set in vain, and what will end."""
    for words in uno.graph_watch.warnings():
        yield "graph", NOTE, f"{words}: set WEBHOOK_FORWARD_VERSION, or webhookForward.version of its sessions", 0
    for name, advice in former_names(read_environment()).items():
        yield "moving", NOTE, f"{name} {advice}", 0


def _hosts(settings: Settings) -> str:
    """The nodes of RabbitMQ."""
    return ", ".join(_host(url) for url in settings.amqp_urls)


def _host(url: str) -> str:
    """An address without its login."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
