"""How gunicorn serves the API: `gunicorn -c python:unoapi.web.gunicorn`.

The entry point of the web processes, and gunicorn's configuration file: unlike all other modules it reads the
environment when it is imported.
"""

from __future__ import annotations

import resource
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

from unoapi.bootstrap import ensure_usable, expose_metrics, freeze_imports, unoapi
from unoapi.broker.publisher import ConfirmingPublisher
from unoapi.errors import EX_CONFIG, BrokerUnavailable, ConfigurationError
from unoapi.models.processes import this_process
from unoapi.services.process_reports import ProcessReports
from unoapi.web.app import create_app

if TYPE_CHECKING:
    from flask import Flask

MIN_FILES = 4096
"""Connections are files: 1,000 of clients, and those to RabbitMQ and Redis, which must not be refused for them."""


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


try:
    _settings = unoapi().settings
except ConfigurationError as error:
    sys.stderr.write(f"{error}\n")
    sys.exit(EX_CONFIG)

wsgi_app = "unoapi.web.gunicorn:application()"
bind = f"{_bracketed(_settings.listen_host)}:{_settings.port}"
worker_class = "unoapi.web.gunicorn_worker.DiscreetWorker"
workers = _settings.unoapi_web_processes
threads = _settings.unoapi_web_threads
timeout = 30
graceful_timeout = 20
keepalive = 75
limit_request_line = 8190
limit_request_fields = 100
limit_request_field_size = 16_380
proc_name = "unoapi web"
control_socket_disable = True  # it lies in the home folder, shared by all installations of a user
accesslog = None
errorlog = "-"
loglevel = "warning"


def application() -> Flask:
    """The API over the parts that the environment describes. Called in each web process, after the fork."""
    return create_app(unoapi())


def on_starting(_: Any) -> None:
    """Declare the topology once, before the first request. RabbitMQ may come later; a conflict ends the start."""
    _allow_files()
    freeze_imports()  # the web processes share with this one what nobody touches
    publisher = ConfirmingPublisher(_settings.amqp_url.get_secret_value(), unoapi().topology)
    try:
        ensure_usable(unoapi(), publisher)
    except BrokerUnavailable:
        return  # requests are answered 503 until it is there
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(EX_CONFIG)
    finally:
        publisher.close()


def _allow_files() -> None:
    """Raise the bound on open files as far as it is allowed: many systems begin with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MIN_FILES if hard == resource.RLIM_INFINITY else min(MIN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def post_worker_init(_: Any) -> None:
    """Load Redis's marker, so that a loss of its data is noticed from the first request on; count the requests."""
    unoapi().sessions.load_marker()
    expose_metrics(unoapi(), web=True)
    freeze_imports()
    _reports().start()


def worker_exit(server: Any, worker: Any) -> None:  # noqa: ARG001 (gunicorn counts the arguments)
    """Publish what is waiting."""
    _reports().end()
    unoapi().close()


@cache
def _reports() -> ProcessReports:
    """Those of this web process."""
    return ProcessReports(this_process("web", places=threads), unoapi().processes)
