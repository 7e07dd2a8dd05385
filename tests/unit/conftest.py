"""Fixtures of the HTTP clients' tests."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme

from tests.support.raw_http_server import LOOPBACK, OK, PROXIES, Listen, Receiver, Reply
from unoapi.http.address_guard import AddressGuard
from unoapi.http.webhook_client import CurlSender, WebhookClient, WebhookExchange, WebhookRequest
from unoapi.http.webhook_loop import WebhookLoop
from unoapi.models.attempts import Answer


@pytest.fixture
def listen() -> Iterator[Listen]:
    with ExitStack() as receivers:

        def start(*replies: Reply, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Receiver:
            return receivers.enter_context(Receiver(*replies, host=host, tls=tls))

        yield start


@pytest.fixture
def exchanges_made(monkeypatch: pytest.MonkeyPatch) -> list[WebhookExchange]:
    """The handles of libcurl that are made for webhooks, as they are made."""
    made: list[WebhookExchange] = []

    class Counted(WebhookExchange):
        def __init__(self, guard: AddressGuard) -> None:
            super().__init__(guard)
            made.append(self)

    for module in ("webhook_client", "webhook_loop"):
        monkeypatch.setattr(f"unoapi.http.{module}.WebhookExchange", Counted)
    return made


@pytest.fixture
def proxy(listen: Listen, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    """A receiver that the environment names as the proxy for every address."""
    receiver = listen(OK)
    for name in PROXIES:
        monkeypatch.setenv(name, receiver.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return receiver


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody listens on, and that nobody else gets."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


@pytest.fixture
def no_certificates_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)


@pytest.fixture
def far_east() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "EAST-9")
        time.tzset()
        yield
    time.tzset()


class LoopSender(CurlSender):
    """The loop of first attempts, in the place of handles that wait: one request after the other."""

    def __init__(self) -> None:
        super().__init__(LOOPBACK)
        self._loop = WebhookLoop(LOOPBACK, WebhookClient(LOOPBACK))
        self._one_at_a_time = threading.Lock()

    def post(self, request: WebhookRequest) -> Answer:
        """Send once, and turn the loop until the answer is there."""
        answers: list[Answer] = []
        with self._one_at_a_time:
            self._loop.begin(request, answers.append)
            while not answers:
                self._loop.turn(1.0)
        assert len(answers) == 1
        return answers[0]

    def close(self) -> None:
        self._loop.close()


@pytest.fixture(params=["thread", "loop"])
def sender(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[CurlSender]:
    """With as little room as there may be: the next request often takes another one's handle over."""
    if request.param == "thread":
        yield CurlSender(LOOPBACK, most_idle=1)
        return
    monkeypatch.setattr("unoapi.http.webhook_loop.MOST_KEPT", 1)
    loop = LoopSender()
    yield loop
    loop.close()
