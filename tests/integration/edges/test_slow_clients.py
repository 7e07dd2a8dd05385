"""Clients that are slow, idle or guess: one address cannot hold the API, and is counted wherever it guesses."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from itsdangerous import BadSignature, URLSafeTimedSerializer

from tests.integration.edges.calls import arranged, event, registered, second_stack, text, token_of
from tests.support.stack import CONTACT, OPERATOR, PHONE, Stack, stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unoapi.devenv.servers import PrivateServers

THREADS = 16
GUESSES = 10
PAGE = "https://evil.example"
SLOW_S = 0.12
"""Longer than a request takes that skips Redis, shorter than one that waits for it."""


@pytest.fixture(scope="module")
def uno(servers: PrivateServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The API with a secret for Meta's callbacks; no worker, so that what is accepted waits."""
    settings = {"UNOAPI_META_APP_SECRET": "secret-of-the-app", "UNOAPI_SESSION_BACKLOG_MAX": "1"}
    with stack(servers, tmp_path_factory.mktemp("slow"), **settings) as running:
        running.web()
        registered(running, [])
        yield running


@pytest.fixture(scope="module")
def door(uno: Stack, servers: PrivateServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An API that counts what it refuses."""
    folder = tmp_path_factory.mktemp("door")
    with second_stack(servers, folder, UNOAPI_RATE_LIMIT_REFUSED=f"{GUESSES}") as running:
        running.web()
        registered(running, [])
        yield running
    assert uno.port != running.port


@pytest.fixture(scope="module")
def open_door(uno: Stack, servers: PrivateServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An API on loopback without an operator's token."""
    with second_stack(servers, tmp_path_factory.mktemp("open"), UNOAPI_AUTH_TOKEN="") as running:
        running.web()
        yield running
    assert uno.port != running.port


@contextmanager
def connections(uno: Stack, count: int, said: bytes, *, window: int = 0) -> Iterator[list[socket.socket]]:
    """So many connections that said this and then nothing more."""
    with ExitStack() as opened:
        made = []
        for _ in range(count):
            connection = opened.enter_context(socket.socket())
            if window:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
            connection.settimeout(10)
            connection.connect(("127.0.0.1", uno.port))
            connection.sendall(said)
            made.append(connection)
        time.sleep(0.5)  # until each has found its thread
        yield made
    arranged(lambda: answers(uno, within_s=2), what="the API is free again", within_s=30)


def answers(uno: Stack, *, within_s: float, path: str = "/health/live") -> bool:
    """Whether an honest client is answered in time."""
    with suppress(requests.RequestException):
        return requests.get(f"{uno.url}{path}", timeout=within_s).ok
    return False


def head(method: str, path: str, **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: api", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


# --- slow and idle connections ---

UNSENT = {"Content_Type": "application/json", "Content_Length": "100000"}


@pytest.mark.parametrize(
    "said",
    [b"G", b"GET /ping HTTP/1.1\r\nHost: a\r\nX: ", head("POST", f"/webhooks/fake/{PHONE}", **UNSENT)],
    ids=["one byte", "half a head", "no body"],
)
def test_as_many_silent_connections_as_threads_do_not_stop_the_api(uno: Stack, said: bytes) -> None:
    """Without a token, and for as long as they like."""
    with connections(uno, THREADS, said):
        answered = answers(uno, within_s=3)

    assert answered


def test_five_hundred_slow_connections_do_not_stop_the_api(uno: Stack) -> None:
    """Each sends a byte now and then."""
    with connections(uno, 500, b"GET /ping HTTP/1.1\r\nX-Slow: ") as slow:
        answered = []
        for _ in range(3):
            for connection in slow:
                with suppress(OSError):
                    connection.sendall(b"x")
            answered.append(answers(uno, within_s=3))

    assert answered == [True] * 3


SLOW_BODY = json.dumps({"label": "slow"}).encode()


@pytest.mark.parametrize("continues", [False, True], ids=["as it is", "asks first"])
@pytest.mark.parametrize("chunked", [False, True], ids=["sized", "in pieces"])
def test_a_body_that_comes_late_is_taken(uno: Stack, *, chunked: bool, continues: bool) -> None:
    """The other side: who is slow and has a token is served, once."""
    length = {"Transfer_Encoding": "chunked"} if chunked else {"Content_Length": f"{len(SLOW_BODY)}"}
    asks = {"Expect": "100-continue"} if continues else {}
    said = head("POST", f"/v15.0/{PHONE}/register", Authorization=f"Bearer {OPERATOR}", **length, **asks)
    parts = [b"5\r\n" + SLOW_BODY[:5] + b"\r\n", b"%x\r\n" % len(SLOW_BODY[5:]) + SLOW_BODY[5:] + b"\r\n0\r\n\r\n"]

    with connections(uno, 1, said) as (connection,):
        for part in parts if chunked else [SLOW_BODY[:5], SLOW_BODY[5:]]:
            connection.sendall(part)
            time.sleep(0.3)
        answer = connection.recv(10_000)

    assert answer.count(b"HTTP/1.1 100 Continue") == continues
    assert answer.count(b"HTTP/1.1 200 OK") == 1


def test_idle_connections_that_were_answered_cost_nothing(uno: Stack) -> None:
    """Where it does not hold: kept-alive connections wait in the main loop, not in a thread."""
    with connections(uno, 100, head("GET", "/ping")):
        answered = answers(uno, within_s=3)

    assert answered


@pytest.mark.parametrize(
    ("path", "token"),
    [
        ("/webhooks/whatsapp", ""),
        ("/webhooks/whatsapp", "wrong"),
        (f"/webhooks/whatsapp/{PHONE}", ""),
        (f"/v15.0/{PHONE}/messages", "wrong"),
        (f"/v15.0/{PHONE}/media", "wrong"),
    ],
)
def test_who_has_no_token_is_refused_before_the_body(uno: Stack, path: str, token: str) -> None:
    """Nothing has to be read to know that there is no right token, and the thread is free at once."""
    authorization = {"Authorization": f"Bearer {token}"} if token else {}
    said = head("POST", path, **UNSENT, **authorization)

    with connections(uno, 2 * THREADS, said) as unsent:
        free = answers(uno, within_s=2)
        first = status_of(unsent[0], within_s=2)

    assert first == 401
    assert free


def test_a_signature_alone_does_not_stop_the_api(uno: Stack) -> None:
    """The body of a signed callback has to be read, but not by a thread that others need."""
    said = head("POST", f"/webhooks/whatsapp/{PHONE}", X_Hub_Signature_256="sha256=00", **UNSENT)

    with connections(uno, THREADS, said):
        answered = answers(uno, within_s=3)

    assert answered


def test_slow_readers_of_a_file_do_not_stop_the_api(uno: Stack) -> None:
    """A signed link is all that is needed."""
    files = {"file": ("a.mp4", bytes(14 * 1024 * 1024), "video/mp4")}
    headers = {"Authorization": f"Bearer {OPERATOR}"}
    media_id = requests.post(f"{uno.url}/v15.0/{PHONE}/media", files=files, headers=headers, timeout=20).json()["id"]
    link = urlsplit(uno.get(f"/v15.0/{media_id}").json()["url"])

    with connections(uno, THREADS, head("GET", f"{link.path}?{link.query}"), window=4096):
        answered = answers(uno, within_s=3)

    assert answered


def test_one_client_does_not_take_all_places_of_the_socket(uno: Stack) -> None:
    """Half of the threads are given to the socket, all of them to the first who asks."""
    other = "5511900000077"
    registered(uno, [], phone=other)
    said = head("GET", f"/ws/?EIO=4&transport=websocket&access_token={token_of(PHONE)}", **UPGRADE)

    own = said.replace(token_of(PHONE).encode(), token_of(other).encode())
    with connections(uno, THREADS, said), connections(uno, 1, own) as (connection,):
        status = status_of(connection, within_s=3)

    assert status == 101


UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def status_of(connection: socket.socket, *, within_s: float) -> int:
    """The status that came; 0 when none did in time."""
    connection.settimeout(within_s)
    try:
        return int(connection.recv(1000).split(b" ", 2)[1])
    except (OSError, IndexError, ValueError):
        return 0


def test_a_repeated_key_of_a_refused_message_is_answered_at_once(uno: Stack) -> None:
    """The key of a request that was refused is given back, so its repetition waits for nobody."""
    registered(uno, [], provider="whatsmeow")
    body = {"to": CONTACT, "type": "text", "text": {"body": "x"}}

    def post(key: str) -> tuple[int, float]:
        began = time.monotonic()
        answer = uno.post(f"/v15.0/{PHONE}/messages", body, headers={"Idempotency-Key": key})
        return answer.status_code, time.monotonic() - began

    first = [post(f"p5-{number}")[0] for number in range(6)]
    again = [post(f"p5-{number}") for number in range(2, 6)]

    assert first[-4:] == [429] * 4
    assert [status for status, _ in again] == [429] * 4
    assert statistics.median(took_s for _, took_s in again) < 0.6


def test_a_look_at_the_health_does_not_make_others_wait_for_redis(uno: Stack) -> None:
    """While Redis hangs, it is asked once in three seconds, whoever looks."""
    path = f"{uno.url}/v15.0/{PHONE}/messages/wamid.NONE/trace"
    headers = {"Authorization": f"Bearer {OPERATOR}"}
    pid = uno.servers.redis.pid

    over = threading.Event()

    def ask_health() -> None:
        while not over.is_set():
            requests.get(f"{uno.url}/health/ready", timeout=10)

    os.kill(pid, signal.SIGSTOP)
    try:
        requests.get(path, headers=headers, timeout=10)
        took_s = []
        with ThreadPoolExecutor(3) as clients:
            looking = [clients.submit(ask_health) for _ in range(3)]
            for _ in range(30):
                began = time.monotonic()
                requests.get(path, headers=headers, timeout=10)
                took_s.append(time.monotonic() - began)
            over.set()
            for client in looking:
                client.result()
    finally:
        os.kill(pid, signal.SIGCONT)
    arranged(lambda: uno.get("/health/ready").json()["checks"]["redis"] == "ok", what="Redis is used again")

    assert sum(wait_s > SLOW_S for wait_s in took_s) <= 4


# --- guesses ---


def handshake(door: Stack, guess: str) -> requests.Response:
    query = {"hub.mode": "subscribe", "hub.challenge": "1", "hub.verify_token": guess}
    return requests.get(f"{door.url}/webhooks/whatsapp", params=query, timeout=10)


def socket_token(door: Stack, guess: str) -> requests.Response:
    query = {"EIO": "4", "transport": "polling", "access_token": guess}
    return requests.get(f"{door.url}/ws/", params=query, timeout=10)


def debugged(door: Stack, guess: str) -> requests.Response:
    return door.get(f"/v15.0/debug_token?input_token={guess}", token=token_of(PHONE))


def unknown_number(door: Stack, guess: str) -> requests.Response:
    document = event(text("a"), metadata={"phone_number_id": guess})
    return requests.post(f"{door.url}/webhooks/whatsapp", json=document, timeout=10)


@pytest.mark.parametrize("guesses", [handshake, socket_token, debugged, unknown_number])
def test_wrong_guesses_are_counted_everywhere(door: Stack, guesses: Callable[[Stack, str], requests.Response]) -> None:
    """Over the bound the answer is 429."""
    answered = [guesses(door, f"guess-{number}").status_code for number in range(GUESSES + 2)]

    assert answered[-1] == 429, answered


def test_wrong_tokens_are_counted_on_the_routes_of_sessions(door: Stack) -> None:
    answered = [
        door.get(f"/v15.0/{PHONE}", token=f"guess-{number}").status_code for number in range(GUESSES + 2)
    ]  # fmt: skip

    assert answered[-1] == 429, answered


def test_a_short_operators_token_is_refused_at_the_start(uno: Stack) -> None:
    """At least 16 characters when the API listens to the world."""
    before = dict(uno.environment)
    uno.environment |= {"UNOAPI_AUTH_TOKEN": "a", "UNOAPI_HOST": "0.0.0.0"}
    try:
        done = uno.cli("topology", check=False)
    finally:
        uno.environment = before

    assert done.returncode == os.EX_CONFIG
    assert "UNOAPI_AUTH_TOKEN" in done.stderr


def test_a_link_tells_nothing_of_the_operators_token(uno: Stack) -> None:
    """Whoever gets a link could try tokens without asking us."""
    files = {"file": ("a.png", b"\x89PNG", "image/png")}
    headers = {"Authorization": f"Bearer {OPERATOR}"}
    media_id = requests.post(f"{uno.url}/v15.0/{PHONE}/media", files=files, headers=headers, timeout=10).json()["id"]
    link = urlsplit(uno.get(f"/v15.0/{media_id}").json()["url"])
    (signature,) = parse_qs(link.query)["signature"]
    guessed = hashlib.sha256(b"links:" + OPERATOR.encode()).hexdigest()

    assert not opens(signature, guessed)


def opens(signature: str, key: str) -> bool:
    try:
        return bool(URLSafeTimedSerializer(key, salt="media").loads(signature))
    except BadSignature:
        return False


# --- without a token ---


def test_a_program_on_this_machine_needs_no_token(open_door: Stack) -> None:
    """The other side: on loopback an empty token is allowed."""
    answer = requests.post(f"{open_door.url}/v15.0/{PHONE}/register", json={"provider": "sandbox"}, timeout=10)

    assert answer.status_code == 200, answer.text


def test_a_form_of_a_program_on_this_machine_needs_no_token(open_door: Stack) -> None:
    """The other side: `curl -d` without a type; pages send an Origin with their forms."""
    own = requests.post(f"{open_door.url}/v15.0/{PHONE}/register", data={"label": "own"}, timeout=10)
    page = requests.post(
        f"{open_door.url}/v15.0/{PHONE}/register", data={"label": "owned"}, headers={"Origin": PAGE}, timeout=10
    )

    assert (own.status_code, page.status_code) == (200, 403), own.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": PAGE, "Content-Type": "text/plain"},
        {"Origin": PAGE, "Content-Type": "application/json"},
        {"Content-Type": "text/plain"},
        {"Origin": "null", "Content-Type": "text/plain"},
        {"Host": "rebound.evil.example:9876", "Content-Type": "application/json"},
    ],
    ids=["a page", "a page that speaks JSON", "no JSON", "a page without a name", "another host"],
)
def test_without_a_token_a_page_in_a_browser_is_refused(open_door: Stack, headers: dict[str, Any]) -> None:
    """Foreign Origin, foreign Host, or a body that a page may send without asking."""
    body = b'{"label": "owned"}'

    answer = requests.post(f"{open_door.url}/v15.0/{PHONE}/register", data=body, headers=headers, timeout=10)

    assert 400 <= answer.status_code < 500, answer.text


def test_without_a_token_another_host_reads_nothing(open_door: Stack) -> None:
    """DNS rebinding."""
    answer = requests.get(f"{open_door.url}/sessions", headers={"Host": "rebound.evil.example"}, timeout=10)

    assert 400 <= answer.status_code < 500, answer.text


def test_threads_are_as_many_as_the_tests_think(uno: Stack) -> None:
    """16 requests that wait are served at once, so 16 connections are what it takes."""
    with ThreadPoolExecutor(THREADS) as clients:
        assert all(clients.map(lambda _: answers(uno, within_s=5), range(THREADS)))
