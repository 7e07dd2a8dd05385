"""The API in this process: the real application over Redis or fakes; what it publishes stays in memory."""

from __future__ import annotations

import json
import logging
import os
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, replace
from io import StringIO
from typing import TYPE_CHECKING, Any, cast
from unittest import mock

import redis
import structlog
from celery.exceptions import Retry
from jinja2 import BytecodeCache

from tests.support.fakes import MemoryPublisher, WebhookRecorder
from tests.support.stack import CONTACT, OPERATOR, PHONE
from tests.support.worker import make_uno, run
from unoapi.bootstrap import bootstrap
from unoapi.broker.connector_commands import CommandQueue
from unoapi.errors import UnoError
from unoapi.http.request_bin import WithRequestBin
from unoapi.http.webhook_client import WebhookClient
from unoapi.models.attempts import Answer as HttpAnswer
from unoapi.settings import Settings
from unoapi.telemetry.logging import configure_logging
from unoapi.web.app import create_app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import CodeType

    from flask import Flask
    from jinja2.bccache import Bucket
    from werkzeug.datastructures import Headers

    from unoapi.bootstrap import Uno
    from unoapi.devenv.servers import PrivateServers

URL = "http://api.test"
DATABASE = 1
"""Another one than that of the real processes, so that a test may have both."""


class _CompiledTemplates(BytecodeCache):
    """The console's templates, compiled once for the applications of all tests."""

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], CodeType | None] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._codes[bucket.key, bucket.checksum] = bucket.code


_COMPILED = _CompiledTemplates()


@dataclass(frozen=True)
class Answer:
    """What the API answered, read like an answer of `requests`."""

    status_code: int
    headers: Headers
    content: bytes

    @property
    def ok(self) -> bool:
        return self.status_code < 400

    @property
    def text(self) -> str:
        return self.content.decode(errors="replace")

    def json(self) -> Any:
        return json.loads(self.content)


class MemoryApi:
    """The application over these parts, none of which needs Redis or RabbitMQ."""

    def __init__(self, uno: Uno) -> None:
        self.url = URL
        self.uno = uno
        self.app: Flask = create_app(uno)
        self.app.jinja_env.bytecode_cache = _COMPILED

    @property
    def queues(self) -> MemoryPublisher:
        """The queues that the parts publish to."""
        return cast("MemoryPublisher", self.uno.publisher)

    def request(self, method: str, path: str, *, token: str | None = OPERATOR, **options: Any) -> Answer:
        """One request; `options` are those of werkzeug's test client, and `params` for the query."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        answer = self.app.test_client().open(
            path,
            method=method,
            base_url=URL,
            query_string=options.pop("params", None),
            headers={**headers, **options.pop("headers", {})},
            **options,
        )
        return Answer(answer.status_code, answer.headers, answer.get_data())

    def post(self, path: str, body: Any = None, *, token: str | None = OPERATOR, **options: Any) -> Answer:
        return self.request("POST", path, token=token, **({} if body is None else {"json": body}), **options)

    def get(self, path: str, *, token: str | None = OPERATOR, **options: Any) -> Answer:
        return self.request("GET", path, token=token, **options)

    def register(self, webhooks: list[dict[str, Any]], *, phone: str = PHONE, **config: Any) -> None:
        """Store a sandbox session."""
        body = {"provider": "sandbox", "authToken": f"session-token-{phone}", "overrideWebhooks": True, **config}
        answer = self.post(f"/v15.0/{phone}/register", {**body, "webhooks": webhooks})
        assert answer.status_code == 200, answer.text

    def contact_writes(self, text: str, *, phone: str = PHONE, token: str = OPERATOR) -> str:
        """A simulated contact writes; returns the message id."""
        body = {"from": CONTACT, "profile": {"name": "Maria"}, "type": "text", "text": {"body": text}}
        answer = self.post(f"/sandbox/{phone}/messages", body, token=token)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["messages"][0]["id"])

    def send(self, text: str, *, phone: str = PHONE, token: str = OPERATOR) -> Answer:
        """A client sends a text."""
        body = {"messaging_product": "whatsapp", "to": CONTACT, "type": "text", "text": {"body": text}}
        return self.post(f"/v15.0/{phone}/messages", body, token=token)

    def work(self, *answers: int, duration_ms: int = 20, error: str = "") -> None:
        """Do what stands on the queues, and what follows at once; the webhooks answer so, one after the other."""
        sender = WebhookRecorder(
            *(HttpAnswer(status, error="" if status < 400 else error, duration_ms=duration_ms) for status in answers)
        )
        uno = replace(self.uno, webhook_client=WithRequestBin(sender, self.uno.request_bin))
        while jobs := self.queues.jobs("unoapi.incoming", "unoapi.outgoing"):
            for job in jobs:
                with suppress(Retry, UnoError):
                    run(uno, job)

    def close(self) -> None:
        self.uno.close()


class Api(MemoryApi):
    """The application over the real Redis."""

    def __init__(self, servers: PrivateServers, folder: Path, **settings: str) -> None:
        self.servers = servers
        self.folder = folder
        self.log = StringIO()
        redis_url = f"{servers.redis_url}/{DATABASE}"
        own = {"REDIS_URL": redis_url, "BASE_STORE": str(folder / "data"), "BASE_URL": URL}
        self.settings = make_settings(**{**own, **settings})
        joined = bootstrap(self.settings)
        queues = MemoryPublisher(joined.topology, ordering=joined.ordering)
        super().__init__(replace(joined, publisher=queues, connector_commands=CommandQueue(queues)))
        self.redis: Any = redis.Redis.from_url(redis_url, decode_responses=True)

    def close(self) -> None:
        super().close()
        self.redis.close()


def make_settings(**values: str) -> Settings:
    """The settings of an environment that holds these variables and nothing else."""
    environment = {"UNOAPI_AUTH_TOKEN": OPERATOR, "UNOAPI_RATE_LIMIT_REFUSED": "0", **values}
    with mock.patch.dict(os.environ, environment, clear=True):
        return Settings(_env_file=None)


@contextmanager
def memory_api(**settings: str) -> Iterator[MemoryApi]:
    """The API over fakes; the requests that it makes itself are real."""
    own = {"UNOAPI_AUTH_TOKEN": OPERATOR, "UNOAPI_RATE_LIMIT_REFUSED": "0", "BASE_URL": URL}
    uno = make_uno(settings={**own, **settings})
    running = MemoryApi(replace(uno, webhook_client=WebhookClient(uno.address_guard, uno.operator_addresses)))
    try:
        yield running
    finally:
        running.close()


@contextmanager
def api(servers: PrivateServers, folder: Path, **settings: str) -> Iterator[Api]:
    """The API over an empty Redis; everything that it logs is in its `log`."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    # What the API does with what is stored is tested here, not how soon a busy machine answers.
    with mock.patch("unoapi.stores.redis.CALL_TIMEOUT_S", 2.0):
        running = Api(servers, folder, **settings)
        running.redis.flushdb()
        with redirect_stdout(running.log):
            configure_logging("debug", "json")
        structlog.configure(cache_logger_on_first_use=False)
        try:
            yield running
        finally:
            running.close()
            root.handlers[:] = handlers
            root.setLevel(level)
            structlog.reset_defaults()
