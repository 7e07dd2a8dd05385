"""The HTTP clients against receivers on loopback that do what receivers do: answer, dawdle, flood, lie and vanish."""

import base64
import hashlib
import hmac
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Self

import pytest
import trustme
from pydantic import SecretStr
from pydantic_core import Url
from standardwebhooks import Webhook as Verifier

import unoapi.models.session
from unoapi import __version__
from unoapi.delivery.callbacks import CallbackPoster
from unoapi.delivery.curl import (
    MAX_BODY_BYTES,
    MAX_HEADER_BYTES,
    CurlSender,
    WebhookRequest,
    find_ca_bundle,
    parse_retry_after,
)
from unoapi.delivery.webhooks import WebhookClient
from unoapi.models.attempts import Answer
from unoapi.models.session import Webhook

Reply = bytes | Callable[[socket.socket], None]
"""Bytes are sent and the connection stays open; a function does what it likes."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
PARTIAL = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbeginning"
ENDLESS = b"HTTP/1.1 200 OK\r\n\r\n"
LAST = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
SLACK_S = 0.5
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@dataclass(frozen=True)
class Received:
    """One request as it came; `connection` counts from 1."""

    connection: int
    head: str
    body: bytes

    @property
    def target(self) -> str:
        return self.head.split(" ", 2)[1]

    @property
    def headers(self) -> dict[str, str]:
        """By lower-case name; a header that came twice fails the test."""
        pairs = [line.split(":", 1) for line in self.head.split("\r\n")[1:]]
        headers = {name.lower(): value.strip() for name, value in pairs}
        assert len(headers) == len(pairs), self.head
        return headers


class Receiver:
    """A TCP server that gives the n-th request the n-th reply, and all later ones the last."""

    def __init__(self, *replies: Reply, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self.client_left = threading.Event()
        self._replies, self._tls = replies, tls
        self._open: list[socket.socket] = []
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port: int = self._listener.getsockname()[1]
        authority = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if tls else 'http'}://{authority}:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for connection in (self._listener, *self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with suppress(OSError), ExitStack() as ending:
            ending.callback(self.client_left.set)
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            while connection.fileno() != -1 and (request := self._read(connection, number)):
                self.requests.append(request)
                reply = self._replies[min(len(self.requests), len(self._replies)) - 1]
                if isinstance(reply, bytes):
                    connection.sendall(reply)
                else:
                    reply(connection)

    def _read(self, connection: socket.socket, number: int) -> Received | None:
        raw, wanted = b"", 1
        while len(raw) < wanted or b"\r\n\r\n" not in raw:
            if not (piece := connection.recv(1 << 20)):
                return None
            raw += piece
            head, end, body = raw.partition(b"\r\n\r\n")
            if end:
                received = Received(number, head.decode("latin-1"), body)
                wanted = len(head) + len(end) + int(received.headers.get("content-length", 0))
        return received


def close(connection: socket.socket) -> None:
    connection.close()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def silence(connection: socket.socket) -> None:
    connection.recv(1)


def say(text: bytes, *, then: Callable[[socket.socket], None]) -> Reply:
    """Send, wait until it has surely been read, do the rest."""

    def reply(connection: socket.socket) -> None:
        connection.sendall(text)
        time.sleep(0.1)
        then(connection)

    return reply


def repeat(piece: bytes, *, pause_s: float = 0) -> Callable[[socket.socket], None]:
    """Send the same again and again until the client has gone."""

    def reply(connection: socket.socket) -> None:
        while True:
            connection.sendall(piece)
            time.sleep(pause_s)

    return reply


def answer_with(status: int, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status} Word", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


Listen = Callable[..., Receiver]


@pytest.fixture
def listen() -> Iterator[Listen]:
    with ExitStack() as receivers:

        def start(*replies: Reply, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Receiver:
            return receivers.enter_context(Receiver(*replies, host=host, tls=tls))

        yield start


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


@pytest.fixture
def sender() -> CurlSender:
    return CurlSender()


def send(
    sender: CurlSender,
    url: str,
    *,
    tenant: str = "5511",
    headers: tuple[tuple[str, str], ...] = (),
    body: bytes = b"{}",
    timeout_ms: int = 5000,
) -> Answer:
    return sender.post(WebhookRequest(url=url, body=body, headers=headers, tenant=tenant, timeout_ms=timeout_ms))


def make_webhook(url: str, *, token: str = "", secret: str = "", timeout_ms: int = 5000) -> Webhook:
    return Webhook(url=Url(url), token=SecretStr(token), secret=SecretStr(secret), timeout_ms=timeout_ms)


def deliver(webhook: Webhook, *, attempt: int = 1, body: str = "{}") -> Answer:
    return WebhookClient().post(webhook, phone="5511", delivery_id="d-1", attempt=attempt, body=body)


def connections_of(receiver: Receiver) -> list[int]:
    """The connection of each request."""
    return [request.connection for request in receiver.requests]


class TestWhatIsSent:
    def test_the_headers_and_the_exact_bytes_arrive(self, listen: Listen, sender: CurlSender) -> None:
        receiver, body = listen(OK), bytes(range(256)) * 8192
        headers = (("Content-Type", "x/y"), ("User-Agent", "u/1"), ("X-Key", "é k"))

        answer = send(sender, receiver.url + "/a?b=c", body=body, headers=headers)

        assert (answer.status, answer.error, answer.delivered) == (200, "", True)
        [request] = receiver.requests
        assert request.head.split("\r\n")[0] == "POST /a?b=c HTTP/1.1"
        assert request.headers == {
            "host": receiver.url.removeprefix("http://"),
            "accept": "*/*",
            "content-type": "x/y",
            "user-agent": "u/1",
            "x-key": "é k",
            "content-length": str(len(body)),
        }
        assert request.body == body

    def test_an_empty_body_and_an_empty_header_are_sent(self, listen: Listen, sender: CurlSender) -> None:
        receiver = listen(OK)

        send(sender, receiver.url, body=b"", headers=(("X-Empty", ""),))

        [request] = receiver.requests
        assert (request.headers["x-empty"], request.headers["content-length"], request.body) == ("", "0", b"")

    @pytest.mark.parametrize("next_tenant", ["5511", "5522"])
    def test_nothing_of_a_request_appears_in_the_next_one(
        self, listen: Listen, sender: CurlSender, next_tenant: str
    ) -> None:
        receiver = listen(OK)

        send(sender, receiver.url, headers=(("Authorization", "token-1"), ("X-Own", "own-1")), body=b"longer body")
        send(sender, receiver.url, tenant=next_tenant, body=b"short")

        first, second = receiver.requests
        assert first.headers["authorization"] == "token-1"
        assert not {"authorization", "x-own"} & second.headers.keys()
        assert second.body == b"short"

    @pytest.mark.parametrize("value", ["tok\r\nX-Evil: 1", "tok\nX-Evil: 1", "tok\rX", "tok\0", "tok\x7f", "tok€"])
    def test_a_value_that_is_no_header_value_is_refused_and_not_shown(
        self, listen: Listen, sender: CurlSender, value: str
    ) -> None:
        receiver = listen(OK)

        answer = send(sender, receiver.url + "/refused", headers=(("X-Own", value),))

        send(sender, receiver.url + "/next")
        assert answer == Answer(error="header X-Own cannot be sent")
        assert [request.target for request in receiver.requests] == ["/next"]

    @pytest.mark.parametrize("name", ["Bearer tok", "tok\r\nX-Evil", "", "tok:", "tök"])
    def test_a_name_that_is_no_header_name_is_refused_and_not_shown(
        self, listen: Listen, sender: CurlSender, name: str
    ) -> None:
        receiver = listen(OK)

        answer = send(sender, receiver.url + "/refused", headers=((name, "value"),))

        send(sender, receiver.url + "/next")
        assert answer == Answer(error="header name cannot be sent")
        assert [request.target for request in receiver.requests] == ["/next"]

    @pytest.mark.parametrize("character", ["\0", "\n", "\r\nX-Evil: 1", "\x7f", "\u202e", "\ud800"])
    def test_an_address_with_an_unprintable_character_is_not_called(
        self, listen: Listen, sender: CurlSender, character: str
    ) -> None:
        receiver = listen(OK)

        answer = send(sender, f"{receiver.url}/refused{character}")

        send(sender, receiver.url + "/next")
        assert answer == Answer(error="the address is not valid")
        assert [request.target for request in receiver.requests] == ["/next"]

    @pytest.mark.parametrize(
        ("url", "error"),
        [
            ("http://", "the address is not valid"),
            ("", "the address is not valid"),
            ("http://[::1", "the address is not valid"),
            ("http://127.0.0.1:99999/", "the address is not valid"),
            ("file:///dev/null", "only http and https addresses are called"),
            ("ftp://127.0.0.1/a", "only http and https addresses are called"),
            ("gopher://127.0.0.1:1/a", "only http and https addresses are called"),
        ],
    )
    def test_an_address_of_another_kind_is_not_called(self, sender: CurlSender, url: str, error: str) -> None:
        answer = send(sender, url)

        assert (answer.status, answer.error) == (None, error)

    def test_proxies_in_the_environment_are_ignored(
        self, listen: Listen, sender: CurlSender, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        receiver, proxy = listen(OK), listen(OK)
        for name in PROXIES:
            monkeypatch.setenv(name, proxy.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)

        answer = send(sender, receiver.url)

        assert answer.delivered
        assert (len(receiver.requests), proxy.connections) == (1, 0)

    def test_ipv6_is_spoken(self, listen: Listen, sender: CurlSender) -> None:
        try:
            receiver = listen(OK, host="::1")
        except OSError as trouble:
            pytest.skip(f"this machine has no IPv6 loopback: {trouble}")

        answer = send(sender, receiver.url)

        assert answer.delivered
        assert len(receiver.requests) == 1


class TestWhatComesBack:
    @pytest.mark.parametrize("status", [200, 201, 204, 299, 300, 400, 410, 429, 500, 503])
    def test_the_status_is_the_answer(self, listen: Listen, sender: CurlSender, status: int) -> None:
        receiver = listen(answer_with(status, body=b"" if status == 204 else b"the reason"))

        answer = send(sender, receiver.url)

        assert (answer.status, answer.error, answer.delivered) == (status, "", status < 300)

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_no_redirect_is_followed(self, listen: Listen, sender: CurlSender, status: int) -> None:
        other = listen(OK)
        receiver = listen(answer_with(status, f"Location: {other.url}/"))

        answer = send(sender, receiver.url)

        assert (answer.status, answer.error, answer.delivered) == (status, "", False)
        assert other.connections == 0

    def test_an_interim_answer_is_not_the_answer(self, listen: Listen, sender: CurlSender) -> None:
        interim = b"HTTP/1.1 103 Early Hints\r\nRetry-After: 9\r\n\r\n"
        receiver = listen(interim + answer_with(503))

        answer = send(sender, receiver.url)

        assert (answer.status, answer.retry_after_s) == (503, None)

    def test_times_count_from_the_start_of_the_exchange(self, listen: Listen, sender: CurlSender) -> None:
        receiver = listen(say(b"", then=lambda connection: connection.sendall(OK)))

        answer = send(sender, receiver.url)

        times = answer.timings_ms
        assert set(times) == {"name_lookup", "connect", "tls", "first_byte", "total"}
        assert times["name_lookup"] <= times["connect"] < 100 <= times["first_byte"] <= times["total"] < 600
        assert (times["tls"], answer.duration_ms) == (0, times["total"])
        assert answer.as_attempt().timings_ms == times

    def test_at_most_16_kib_of_the_body_are_read(self, listen: Listen, sender: CurlSender) -> None:
        within, beyond = answer_with(200, body=bytes(MAX_BODY_BYTES)), answer_with(200, body=bytes(MAX_BODY_BYTES + 1))
        receiver = listen(within, beyond, OK)

        answers = [send(sender, receiver.url) for _ in range(3)]

        assert MAX_BODY_BYTES == 16 * 1024
        assert all(answer.delivered and not answer.error for answer in answers)
        assert connections_of(receiver) == [1, 1, 2]  # only a body that is too long costs the connection

    @pytest.mark.parametrize(
        "reply",
        [
            pytest.param(say(ENDLESS, then=repeat(bytes(65536))), id="endless"),
            pytest.param(answer_with(200, body=bytes(10_000_000)), id="10 MB"),
        ],
    )
    def test_a_long_body_after_200_counts_as_delivered_and_the_connection_is_dropped(
        self, listen: Listen, sender: CurlSender, reply: Reply
    ) -> None:
        receiver = listen(reply)

        answer = send(sender, receiver.url)

        assert (answer.status, answer.error, answer.delivered) == (200, "", True)
        assert answer.duration_ms < 2500
        assert receiver.client_left.wait(2)

    def test_a_long_body_after_500_leaves_the_status(self, listen: Listen, sender: CurlSender) -> None:
        receiver = listen(answer_with(500, body=bytes(10_000_000)))

        answer = send(sender, receiver.url)

        assert (answer.status, answer.error, answer.delivered) == (500, "", False)

    @pytest.mark.parametrize(
        "then",
        [
            pytest.param(silence, id="silence"),
            pytest.param(repeat(b".", pause_s=0.05), id="drop by drop"),
            pytest.param(reset, id="reset"),
            pytest.param(close, id="closed"),
        ],
    )
    @pytest.mark.parametrize("status", [200, 500])
    def test_a_body_that_does_not_end_leaves_the_status(
        self, listen: Listen, sender: CurlSender, then: Callable[[socket.socket], None], status: int
    ) -> None:
        receiver = listen(say(PARTIAL.replace(b"200", str(status).encode()), then=then))

        answer = send(sender, receiver.url, timeout_ms=300)

        assert (answer.status, answer.error, answer.delivered) == (status, "", status == 200)
        assert answer.duration_ms < 300 + SLACK_S * 1000

    @pytest.mark.parametrize(
        "reply",
        [
            pytest.param(silence, id="silence"),
            pytest.param(say(b"HTTP/1.1 200 OK\r\nX: ", then=repeat(b".", pause_s=0.05)), id="half a header"),
            pytest.param(say(b"HTTP/1.1 200 OK\r\n", then=repeat(b"X: y\r\n", pause_s=0.05)), id="header by header"),
            pytest.param(say(b"HTTP/1.1 100 Continue\r\n\r\n", then=silence), id="an interim answer only"),
        ],
    )
    def test_the_deadline_is_kept_however_slow_the_headers_are(
        self, listen: Listen, sender: CurlSender, reply: Reply
    ) -> None:
        receiver, start = listen(reply), time.monotonic()

        answer = send(sender, receiver.url, timeout_ms=300)

        assert 0.3 <= time.monotonic() - start < 0.3 + SLACK_S
        assert (answer.status, answer.error) == (None, "did not answer within 300 ms")
        assert receiver.client_left.wait(2)

    @pytest.mark.parametrize("reply", [silence, say(b"", then=close), say(b"", then=reset)])
    def test_without_an_answer_there_is_no_first_byte(self, listen: Listen, sender: CurlSender, reply: Reply) -> None:
        answer = send(sender, listen(reply).url, timeout_ms=200)

        assert answer.timings_ms["first_byte"] == 0
        assert answer.duration_ms >= 100

    @pytest.mark.parametrize(
        ("reply", "error"),
        [
            pytest.param(reset, "connection lost before the answer was complete", id="reset"),
            pytest.param(close, "closed the connection without an answer", id="closed"),
            pytest.param(
                say(b"HTTP/1.1 200 OK\r\nX: y\r\n", then=reset),
                "connection lost before the answer was complete",
                id="reset in the headers",
            ),
            pytest.param(say(b"SSH-2.0-OpenSSH_9.2\r\n", then=close), "did not answer in HTTP", id="SSH"),
            pytest.param(say(b"HTTP/9.9 200 OK\r\n\r\n", then=close), "did not answer in HTTP", id="HTTP 9.9"),
            pytest.param(say(b"\0\xff\0", then=close), "did not answer in HTTP", id="noise"),
            pytest.param(say(b"HTTP/1.1 200", then=close), "closed the connection without an answer", id="half a line"),
        ],
    )
    def test_what_is_no_answer_has_no_status(
        self, listen: Listen, sender: CurlSender, reply: Reply, error: str
    ) -> None:
        answer = send(sender, listen(reply).url)

        assert (answer.status, answer.error, answer.delivered) == (None, error, False)

    @pytest.mark.parametrize(
        "text",
        [
            pytest.param(b"HTTP/1.1 200 OK\r\nX: y\r\n", id="closed in the headers"),
            pytest.param(b"\r\nnoise", id="an empty first line"),
        ],
    )
    def test_a_head_that_is_not_complete_has_no_status(self, listen: Listen, sender: CurlSender, text: bytes) -> None:
        answer = send(sender, listen(say(text, then=close)).url)

        assert answer.status is None
        assert answer.error

    @pytest.mark.parametrize(
        "reply",
        [
            pytest.param(say(b"HTTP/1.1 200 OK\r\n", then=repeat(b"X-Flood: " + b"x" * 999 + b"\r\n")), id="headers"),
            pytest.param(repeat(b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n" * 100), id="interim answers"),
        ],
    )
    def test_a_flood_of_headers_is_bounded(self, listen: Listen, sender: CurlSender, reply: Reply) -> None:
        receiver = listen(reply)

        answer = send(sender, receiver.url)

        error = f"answered with more than {MAX_HEADER_BYTES} bytes of headers"
        assert (answer.status, answer.error) == (None, error)
        assert answer.duration_ms < 2500
        assert receiver.client_left.wait(2)

    def test_64_kib_of_headers_are_read_and_not_one_byte_more(self, listen: Listen, sender: CurlSender) -> None:
        lines = [b"HTTP/1.1 200 OK", b"Content-Length: 0", *[b"X: " + b"x" * 995] * 65]
        spare = MAX_HEADER_BYTES - len(b"\r\n".join([*lines, b"Y: ", b"", b""]))
        within, beyond = (b"\r\n".join([*lines, b"Y: " + b"y" * length, b"", b""]) for length in (spare, spare + 1))
        receiver = listen(within, beyond)

        answers = [send(sender, receiver.url) for _ in range(2)]

        assert MAX_HEADER_BYTES == len(within) == 64 * 1024
        assert [answer.status for answer in answers] == [200, None]

    def test_a_port_that_nobody_listens_on(self, sender: CurlSender, closed_port: int) -> None:
        answer = send(sender, f"http://127.0.0.1:{closed_port}")

        assert (answer.status, answer.error) == (None, "connection refused")

    def test_a_name_that_does_not_exist(self, sender: CurlSender) -> None:
        answer = send(sender, "http://nonexistent.invalid/")

        assert (answer.status, answer.error) == (None, "name not found")


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (b"0", 0),
            (b"120", 120),
            (b"\t 7 \r\n", 7),
            (b"7200", 7200),
            (b"7201", 7200),
            (b"9" * 5000, 7200),
            (b"Fri, 31 Dec 2999 23:59:59 GMT", 7200),
            (b"Fri, 31 Dec 1999 23:59:59 GMT", None),
            (b"soon", None),
            (b"", None),
            (b"-5", None),
            (b"1.5", None),
            (b"\xff\xb2", None),
            (b"Fri, 99 Dec 2999 99:99:99 GMT", None),
        ],
    )
    def test_seconds_and_dates_are_read_and_nothing_else(self, value: bytes, expected: int | None) -> None:
        assert parse_retry_after(value) == expected

    @pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000"])
    @pytest.mark.usefixtures("far_east")
    def test_a_date_is_the_time_from_now_wherever_the_machine_is(self, zone: str) -> None:
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True).replace("GMT", zone)

        after_s = parse_retry_after(date.encode())

        assert after_s is not None
        assert 88 <= after_s <= 90

    def test_it_belongs_to_its_own_answer_only(self, listen: Listen, sender: CurlSender) -> None:
        receiver = listen(answer_with(429, "RETRY-after: 30"), answer_with(503))

        answers = [send(sender, receiver.url) for _ in range(2)]

        assert [(answer.status, answer.retry_after_s) for answer in answers] == [(429, 30), (503, None)]

    def test_an_exchange_that_failed_has_none(self, listen: Listen, sender: CurlSender) -> None:
        receiver = listen(say(b"HTTP/1.1 503 Busy\r\nRetry-After: 30\r\n", then=reset))

        answer = send(sender, receiver.url)

        assert (answer.status, answer.retry_after_s) == (None, None)


class TestCertificates:
    @pytest.mark.usefixtures("trusted")
    def test_the_authority_in_ssl_cert_file_is_trusted(self, listen: Listen, tls: ssl.SSLContext) -> None:
        receiver = listen(OK, tls=tls)

        answer = send(CurlSender(), receiver.url, body=b"exact")

        assert (answer.status, answer.error) == (200, "")
        assert [request.body for request in receiver.requests] == [b"exact"]

    @pytest.mark.usefixtures("no_certificates_named")
    def test_another_authority_is_not_trusted(self, listen: Listen, tls: ssl.SSLContext) -> None:
        receiver = listen(OK, tls=tls)

        answer = send(CurlSender(), receiver.url)

        assert answer.status is None
        assert answer.error.startswith("certificate not valid: ")
        assert receiver.requests == []

    @pytest.mark.usefixtures("trusted")
    def test_a_certificate_for_another_name_is_not_trusted(self, listen: Listen, authority: trustme.CA) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("elsewhere.example").configure_cert(context)
        receiver = listen(OK, tls=context)

        answer = send(CurlSender(), receiver.url)

        assert answer.error.startswith("certificate not valid: ")
        assert receiver.requests == []

    @pytest.mark.usefixtures("no_certificates_named")
    def test_the_default_bundle_is_a_file_with_certificates(self) -> None:
        bundle = find_ca_bundle()

        assert Path(bundle).is_file()
        assert ssl.create_default_context(cafile=bundle).cert_store_stats()["x509_ca"] > 50

    def test_a_bundle_that_is_missing_is_named_as_the_trouble(
        self, listen: Listen, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", os.path.join(os.sep, "nowhere", "ca.pem"))  # noqa: PTH118

        answer = send(CurlSender(), listen(OK, tls=tls).url)

        assert answer.error == "our certificate bundle cannot be read"

    def test_a_receiver_without_tls_is_named_as_the_trouble(self, sender: CurlSender) -> None:
        def answer_in_the_clear() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                time.sleep(0.1)
                connection.sendall(answer_with(400))

        with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as thread:
            thread.submit(answer_in_the_clear)
            answer = send(sender, f"https://127.0.0.1:{listener.getsockname()[1]}/")

        assert answer.status is None
        assert answer.error.startswith("TLS handshake failed: ")
        assert answer.duration_ms >= 100
        assert (answer.timings_ms["tls"], answer.timings_ms["first_byte"]) == (0, 0)


class TestConnections:
    def test_one_tenant_uses_one_connection_on_one_thread(self, listen: Listen, sender: CurlSender) -> None:
        receiver = listen(OK)

        for _ in range(3):
            send(sender, receiver.url)

        assert connections_of(receiver) == [1, 1, 1]

    def test_two_tenants_never_share_one(self, listen: Listen, sender: CurlSender) -> None:
        receiver = listen(OK)

        for tenant in ("5511", "5522", "5522", "5511", "5511", "5522"):
            send(sender, receiver.url, tenant=tenant)

        assert connections_of(receiver) == [1, 2, 2, 3, 3, 4]

    @pytest.mark.parametrize(
        "reply",
        [
            pytest.param(LAST, id="answered and closed"),
            pytest.param(close, id="closed"),
            pytest.param(reset, id="reset"),
            pytest.param(silence, id="silent"),
            pytest.param(answer_with(200, body=bytes(MAX_BODY_BYTES + 1)), id="body too long"),
        ],
    )
    def test_a_tenant_whose_connection_is_gone_does_not_fall_back_on_the_one_before(
        self, listen: Listen, sender: CurlSender, reply: Reply
    ) -> None:
        receiver, other = listen(OK), listen(reply)

        send(sender, receiver.url, tenant="5511")
        send(sender, other.url, tenant="5522", timeout_ms=200)
        send(sender, receiver.url, tenant="5522")

        assert connections_of(receiver) == [1, 2]

    @pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "http://nonexistent.invalid:{port}", "ftp://a:{port}"])
    def test_a_tenant_that_never_got_a_connection_does_not_fall_back_on_the_one_before(
        self, listen: Listen, sender: CurlSender, closed_port: int, url: str
    ) -> None:
        receiver = listen(OK)

        send(sender, receiver.url, tenant="5511")
        send(sender, url.format(port=closed_port), tenant="5522")
        send(sender, receiver.url, tenant="5522")

        assert connections_of(receiver) == [1, 2]

    def test_a_request_that_is_refused_changes_no_owner(self, listen: Listen, sender: CurlSender) -> None:
        receiver = listen(OK)

        send(sender, receiver.url, tenant="5511")
        send(sender, receiver.url, tenant="5522", headers=(("X", "\n"),))
        send(sender, receiver.url, tenant="5522")

        assert connections_of(receiver) == [1, 2]

    def test_a_thread_keeps_at_most_one_open(self, listen: Listen, sender: CurlSender) -> None:
        first, second = listen(OK), listen(OK)

        send(sender, first.url)
        send(sender, second.url)

        assert first.client_left.wait(2)
        assert not second.client_left.is_set()

    def test_one_that_the_receiver_closed_meanwhile_is_replaced(self, listen: Listen, sender: CurlSender) -> None:
        receiver = listen(say(OK, then=close), OK)
        send(sender, receiver.url)
        receiver.client_left.wait(2)

        answer = send(sender, receiver.url)

        assert answer.delivered
        assert connections_of(receiver) == [1, 2]

    def test_every_thread_has_its_own(self, listen: Listen, sender: CurlSender) -> None:
        receiver, together = listen(OK), threading.Barrier(4)

        def work(tenant: str) -> None:
            for number in range(3):
                together.wait(5)
                send(sender, f"{receiver.url}/{tenant}/{number}", tenant=tenant)

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(work, ["5511", "5511", "5522", "5533"]))

        by_connection: dict[int, set[str]] = {}
        for request in receiver.requests:
            by_connection.setdefault(request.connection, set()).add(request.target.split("/")[1])
        assert (len(receiver.requests), receiver.connections) == (12, 4)
        assert sorted(map(sorted, by_connection.values())) == [["5511"], ["5511"], ["5522"], ["5533"]]


SECRETS = "user-secret:pass-secret@"
SECRET_PATH = "/path-secret?key=query-secret#fragment-secret"


class TestErrorsTellNoSecrets:
    @pytest.mark.parametrize(
        "reply",
        [
            close,
            reset,
            silence,
            say(b"query-secret\r\n", then=close),
            say(b"HTTP/1.1 200 OK\r\n", then=repeat(b"X: query-secret\r\n")),
        ],
    )
    def test_whatever_the_receiver_does(self, listen: Listen, sender: CurlSender, reply: Reply) -> None:
        url = listen(reply).url.replace("://", f"://{SECRETS}") + SECRET_PATH
        headers = (("Authorization", "token-secret"),)

        webhook = send(sender, url, headers=headers, body=b"body-secret", timeout_ms=200)
        callback = CallbackPoster(timeout_ms=200).post(url, "body-secret")

        assert webhook.error
        assert callback.error
        assert "secret" not in webhook.error + callback.error

    @pytest.mark.parametrize(
        "url",
        [
            "http://user-secret:pass-secret@127.0.0.1:{port}",
            "http://user-secret:pass-secret@nonexistent.invalid",
            "http://user-secret:pass-secret@[::bad",
            "http://user-secret:pass-secret@127.0.0.1:99999",
            "gopher-secret://user-secret:pass-secret@127.0.0.1",
            "user-secret:pass-secret@\n",
        ],
    )
    def test_whatever_the_address_is(self, sender: CurlSender, closed_port: int, url: str) -> None:
        url = url.format(port=closed_port) + SECRET_PATH

        webhook = send(sender, url, headers=(("Authorization", "token-secret"),))
        callback = CallbackPoster().post(url, "body-secret")

        assert webhook.error
        assert callback.error
        assert "secret" not in webhook.error + callback.error

    @pytest.mark.usefixtures("no_certificates_named")
    def test_whatever_the_certificate_is(self, listen: Listen, tls: ssl.SSLContext) -> None:
        url = listen(OK, tls=tls).url.replace("://", f"://{SECRETS}") + SECRET_PATH

        webhook, callback = send(CurlSender(), url), CallbackPoster().post(url, "{}")

        assert "certificate" in webhook.error
        assert "certificate" in callback.error
        assert "secret" not in webhook.error + callback.error

    def test_a_request_shows_its_tenant_and_its_deadline_only(self) -> None:
        request = WebhookRequest("http://secret/", b"secret", (("X", "secret"),), tenant="5511", timeout_ms=7)

        assert repr(request) == "WebhookRequest(tenant='5511', timeout_ms=7)"


class TestWebhookClient:
    def test_a_delivery_arrives_with_its_headers_and_its_exact_body(self, listen: Listen) -> None:
        receiver, body = listen(OK), '{"text":"ol\\u00e1",  "n": 1}\n'

        answer = deliver(make_webhook(receiver.url + "/hook/", token="Bearer t"), attempt=3, body=body)

        [request] = receiver.requests
        assert answer.delivered
        assert (request.target, request.body) == ("/hook/5511", body.encode())
        assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 5
        assert request.headers | {"webhook-timestamp": "now"} == {
            "host": receiver.url.removeprefix("http://"),
            "accept": "*/*",
            "content-type": "application/json; charset=utf-8",
            "user-agent": f"unoapi/{__version__}",
            "webhook-id": "d-1",
            "webhook-timestamp": "now",
            "webhook-attempt": "3",
            "authorization": "Bearer t",
            "content-length": str(len(body)),
        }

    def test_the_signatures_are_right_for_the_bytes_that_arrive(self, listen: Listen) -> None:
        receiver, key = listen(OK), bytes(range(24))
        secret = "whsec_" + base64.b64encode(key).decode()

        deliver(make_webhook(receiver.url, secret=secret), body='{"n":  1}')

        [request] = receiver.requests
        digest = hmac.new(secret.encode(), request.body, hashlib.sha256).hexdigest()
        assert Verifier(secret).verify(request.body, request.headers) == {"n": 1}
        assert request.headers["x-hub-signature-256"] == f"sha256={digest}"

    @pytest.mark.parametrize("name", ["WEBHOOK-SIGNATURE", "x-hub-signature-256", "content-Type", "HOST", "Webhook-Id"])
    def test_the_own_header_does_not_override_ours_on_the_wire(self, listen: Listen, name: str) -> None:
        receiver = listen(OK)
        webhook = Webhook(
            url=Url(receiver.url), header=name, token=SecretStr("forged"), secret=SecretStr("s"), timeout_ms=5000
        )

        deliver(webhook)

        [request] = receiver.requests
        assert request.headers[name.lower()]
        assert "forged" not in request.head

    @pytest.mark.parametrize(
        ("path", "absolute", "target"),
        [
            ("/hook", None, "/hook/5511"),
            ("/hook/", None, "/hook/5511"),
            ("", None, "/5511"),
            ("/hook", "/exactly?here=1", "/exactly?here=1"),
            (None, "/exactly/", "/exactly/"),
        ],
    )
    def test_the_phone_is_appended_except_to_an_absolute_address(
        self, listen: Listen, path: str | None, absolute: str | None, target: str
    ) -> None:
        receiver = listen(OK)
        webhook = Webhook(
            url=None if path is None else Url(receiver.url + path),
            url_absolute=None if absolute is None else Url(receiver.url + absolute),
        )

        deliver(webhook)

        assert [request.target for request in receiver.requests] == [target]

    def test_the_phone_is_the_tenant_of_the_connection(self, listen: Listen) -> None:
        receiver, client = listen(OK), WebhookClient()
        webhook = Webhook(url_absolute=Url(receiver.url + "/same"))

        for phone in ("5511", "5511", "5522"):
            client.post(webhook, phone=phone, delivery_id="d-1", attempt=1, body="{}")

        assert connections_of(receiver) == [1, 1, 2]

    def test_the_timeout_of_the_webhook_is_the_deadline(self, listen: Listen) -> None:
        answer = deliver(make_webhook(listen(silence).url, timeout_ms=200))

        assert answer.error == "did not answer within 200 ms"

    @pytest.mark.parametrize(
        ("timeout_ms", "deadline_ms"), [(1, 1), (60_000, 60_000), (60_001, 60_000), (10**9, 60_000)]
    )
    def test_the_deadline_is_at_most_a_minute(self, timeout_ms: int, deadline_ms: int) -> None:
        assert make_webhook("http://a", timeout_ms=timeout_ms).deadline_ms == deadline_ms

    def test_the_bound_of_the_deadline_holds_on_the_wire(self, listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(unoapi.models.session, "MAX_TIMEOUT_MS", 200)

        answer = deliver(make_webhook(listen(silence).url, timeout_ms=5000))

        assert answer.error == "did not answer within 200 ms"


class TestCallbackPoster:
    def test_the_exact_body_arrives(self, listen: Listen) -> None:
        receiver = listen(OK)

        answer = CallbackPoster().post(receiver.url + "/failed?a=b", '{"text":"olá",  "n": 1}\n')

        [request] = receiver.requests
        assert (answer.status, answer.error, answer.delivered) == (200, "", True)
        assert request.head.startswith("POST /failed?a=b HTTP/1.1\r\n")
        assert request.body == '{"text":"olá",  "n": 1}\n'.encode()
        assert request.headers["content-type"] == "application/json; charset=utf-8"
        assert request.headers["user-agent"] == f"unoapi/{__version__}"

    @pytest.mark.parametrize("status", [200, 204, 299, 302, 307, 404, 500, 503])
    def test_the_status_is_the_answer_and_no_redirect_is_followed(self, listen: Listen, status: int) -> None:
        other = listen(OK)
        receiver = listen(answer_with(status, f"Location: {other.url}/", "Retry-After: 9"))

        answer = CallbackPoster().post(receiver.url, "{}")

        assert (answer.status, answer.error, answer.delivered) == (status, "", status < 300)
        assert (answer.retry_after_s, other.connections) == (9, 0)

    @pytest.mark.parametrize(
        ("reply", "error"),
        [
            pytest.param(silence, "did not answer within 200 ms", id="silence"),
            pytest.param(close, "connection lost before the answer was complete", id="closed"),
            pytest.param(reset, "connection lost before the answer was complete", id="reset"),
            pytest.param(
                say(b"SSH-2.0-OpenSSH_9.2\r\n", then=close),
                "connection lost before the answer was complete",
                id="SSH",
            ),
        ],
    )
    def test_what_is_no_answer_has_no_status(self, listen: Listen, reply: Reply, error: str) -> None:
        start = time.monotonic()

        answer = CallbackPoster(timeout_ms=200).post(listen(reply).url, "{}")

        assert (answer.status, answer.error, answer.delivered) == (None, error, False)
        assert time.monotonic() - start < 0.2 + SLACK_S

    @pytest.mark.parametrize(
        "reply",
        [
            pytest.param(say(ENDLESS, then=repeat(bytes(65536))), id="endless"),
            pytest.param(answer_with(200, body=bytes(10_000_000)), id="10 MB"),
            pytest.param(say(ENDLESS, then=silence), id="silence"),
            pytest.param(say(ENDLESS, then=repeat(b".", pause_s=0.05)), id="drop by drop"),
            pytest.param(say(PARTIAL, then=reset), id="reset"),
        ],
    )
    def test_a_body_that_is_long_slow_or_broken_counts_as_delivered(self, listen: Listen, reply: Reply) -> None:
        receiver = listen(reply)

        answer = CallbackPoster(timeout_ms=300).post(receiver.url, "{}")

        assert (answer.status, answer.error, answer.delivered) == (200, "", True)
        assert answer.duration_ms < 300 + 100 + SLACK_S * 1000
        assert receiver.client_left.wait(2)

    @pytest.mark.parametrize(
        ("url", "error"),
        [
            ("http://127.0.0.1:{port}", "connection refused"),
            ("http://nonexistent.invalid:{port}", "name not found"),
            ("http://", "the address is not valid"),
            ("nonsense", "the address is not valid"),
        ],
    )
    def test_an_address_where_nobody_is(self, closed_port: int, url: str, error: str) -> None:
        answer = CallbackPoster().post(url.format(port=closed_port), "{}")

        assert (answer.status, answer.error) == (None, error)

    def test_proxies_in_the_environment_are_ignored(self, listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
        receiver, proxy = listen(OK), listen(OK)
        for name in PROXIES:
            monkeypatch.setenv(name, proxy.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)

        answer = CallbackPoster().post(receiver.url, "{}")

        assert answer.delivered
        assert (len(receiver.requests), proxy.connections) == (1, 0)

    @pytest.mark.usefixtures("trusted")
    def test_the_authority_in_ssl_cert_file_is_trusted(self, listen: Listen, tls: ssl.SSLContext) -> None:
        answer = CallbackPoster().post(listen(OK, tls=tls).url, "{}")

        assert (answer.status, answer.error) == (200, "")

    @pytest.mark.usefixtures("no_certificates_named")
    def test_another_authority_is_not_trusted(self, listen: Listen, tls: ssl.SSLContext) -> None:
        receiver = listen(OK, tls=tls)

        answer = CallbackPoster().post(receiver.url, "{}")

        assert answer.status is None
        assert answer.error.startswith("certificate not valid: ")
        assert receiver.requests == []
