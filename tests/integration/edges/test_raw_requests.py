"""Whatever comes on a connection: no request that only looks like one, no thread, memory or stop that waits for it."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from tests.integration.edges.calls import registered, second_stack, token_of
from tests.integration.edges.test_slow_clients import UPGRADE, answers, connections, head, status_of
from tests.support.impatient_worker import WRITE_S
from tests.support.stack import OPERATOR, PHONE, ROOT, Stack, stack
from unoapi.devenv.ports import free_port
from unoapi.errors import EX_CONFIG
from unoapi.web.gunicorn_worker import MAX_BUFFERED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.devenv.servers import PrivateServers

THREADS = 16
RATE = 5
PLACES = 60
"""Connections of the crowded API; it begins to make room at 40."""
TENANTS = tuple(f"55119000000{number}" for number in range(10, 18))
PING = head("GET", "/ping")
SIGNED = {"X_Hub_Signature_256": "sha256=00", "Content_Type": "application/json"}
BODY = json.dumps({"label": "slow"}).encode()
CHANGING = re.compile(r'wamid\.[0-9A-F]+|"fbtrace_id":"[^"]+"')


@pytest.fixture(scope="module")
def uno(servers: PrivateServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {"UNOAPI_META_APP_SECRET": "secret-of-the-app"}
    with stack(servers, tmp_path_factory.mktemp("raw"), **settings) as running:
        running.web()
        for phone in (PHONE, *TENANTS):
            registered(running, [], phone=phone)
        yield running


@contextmanager
def second_api(uno: Stack, folder: Path, **settings: str) -> Iterator[Stack]:
    """An API of its own beside the first."""
    with second_stack(uno.servers, folder, **settings) as running:
        running.web()
        registered(running, [])
        yield running


def answer_to(uno: Stack, raw: bytes, *, within_s: float = 5) -> str:
    """Everything that comes back for these bytes until the API closes, or is silent."""
    answer = b""
    with socket.create_connection(("127.0.0.1", uno.port), timeout=within_s) as connection, suppress(OSError):
        connection.sendall(raw)
        while piece := connection.recv(65536):
            answer += piece
    return answer.decode("latin-1")


def websocket(path: str, token: str) -> bytes:
    return head("GET", f"{path}?EIO=4&transport=websocket&access_token={token}", **UPGRADE)


def registering(**headers: str) -> bytes:
    """The head of a request that a session's token opens, and whose body is `BODY`."""
    length = {"Content_Length": f"{len(BODY)}"}
    token = {"Authorization": f"Bearer {token_of(PHONE)}"}
    return head("POST", f"/v15.0/{PHONE}/register", **{**length, **token, **headers})


# --- where a request ends ---


@pytest.mark.parametrize(
    "raw",
    [
        b"POST /ping HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /ping HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"POST /ping HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\n",
        b"POST /ping HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n",
        b"POST /ping HTTP/1.1\r\nHost: a\r\nContent-Length : 0\r\n\r\n",
        b"POST /ping HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n 5\r\n\r\n",
        b"POST /ping HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST /ping HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST /ping HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\x00: chunked\r\n\r\n0\r\n\r\n",
        b"POST /ping HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /ping HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        b"POST /ping HTTP/1.1\r\nHost: a\r\nX: a\nY: b\r\n\r\n",
        b"POST /ping HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
        b"POST /ping HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ],
)  # fmt: skip
def test_a_request_with_two_readings_ends_its_connection(uno: Stack, raw: bytes) -> None:
    answer = answer_to(uno, raw + PING)

    assert answer.count("HTTP/1.1 ") + answer.count("HTTP/1.0 ") == 1, answer
    assert answer.split()[1] in {"400", "405", "501"}, answer
    assert "pong!" not in answer


@pytest.mark.parametrize("size", [b"0x5", b"+5", b"5_0", b"-1", b"", b"5;a\rb"])
def test_a_chunk_whose_size_has_two_readings_is_refused(uno: Stack, size: bytes) -> None:
    chunked = head("POST", f"/v15.0/{PHONE}/register", Authorization=f"Bearer {OPERATOR}", Transfer_Encoding="chunked")

    answer = answer_to(uno, chunked + size + b"\r\nhello\r\n0\r\n\r\n" + PING)

    assert answer.startswith("HTTP/1.1 400 "), answer
    assert "pong!" not in answer


def test_requests_in_one_packet_are_answered_in_their_order(uno: Stack) -> None:
    sized = registering() + BODY
    last = head("GET", "/ping", Connection="close")

    answer = answer_to(uno, PING + sized + PING + last)

    assert [part.split()[0] for part in answer.split("HTTP/1.1 ")[1:]] == ["200"] * 4
    assert answer.count("pong!") == 3


def posted(body: bytes, token: str, **headers: str) -> bytes:
    length = {"Content_Length": f"{len(body)}", "Content_Type": "application/json"}
    return head("POST", f"/v15.0/{PHONE}/messages", **length, Authorization=f"Bearer {token}", **headers) + body


def read_answer(connection: socket.socket) -> tuple[str, list[str], str]:
    """The status line, the headers and the body of one answer, without times and ids."""
    came = b""
    while b"\r\n\r\n" not in came:
        came += connection.recv(65536)
    first, _, rest = came.decode().partition("\r\n\r\n")
    line, *fields = first.split("\r\n")
    length = next(int(field.split()[1]) for field in fields if field.lower().startswith("content-length:"))
    while len(rest.encode()) < length:
        rest += connection.recv(65536).decode()
    return line, [field for field in fields if not field.startswith("Date:")], CHANGING.sub("…", rest)


def test_messages_that_are_accepted_together_are_answered_as_each_by_itself(uno: Stack) -> None:
    text = {"to": "5549988887777", "type": "text"}
    good, bad = ({**text, "text": body} for body in ({"body": "hi"}, {"body": ""}))
    wanted = [
        (json.dumps(good).encode(), token_of(PHONE)), (json.dumps(bad).encode(), token_of(PHONE)),
        (json.dumps(good).encode(), "wrong"), (b"{nonsense", OPERATOR), (json.dumps(good).encode(), OPERATOR),
        (json.dumps(good).encode(), token_of(TENANTS[0])),
    ]  # fmt: skip
    before = uno.depth("unoapi.incoming")

    with ExitStack() as stack:
        together = [stack.enter_context(socket.create_connection(("127.0.0.1", uno.port), 10)) for _ in range(24)]
        apart = stack.enter_context(socket.create_connection(("127.0.0.1", uno.port), 10))
        for _ in range(2):  # the connections go on
            for connection, (body, token) in zip(together, wanted * 4, strict=True):
                connection.sendall(posted(body, token))
            came = [read_answer(connection) for connection in together]
        alone = []
        for body, token in wanted:
            apart.sendall(posted(body, token, TE="trailers"))
            alone.append(read_answer(apart))

    assert came == alone * 4
    assert [line.split()[1] for line, *_ in alone] == ["200", "400", "401", "400", "200", "404"]
    assert uno.depth("unoapi.incoming") - before == 2 * 4 * 2 + 2


def test_messages_in_one_packet_are_answered_one_after_the_other(uno: Stack) -> None:
    message = json.dumps({"to": "5549988887777", "type": "text", "text": {"body": "hi"}}).encode()

    answer = answer_to(uno, posted(message, OPERATOR) * 3 + head("GET", "/ping", Connection="close"))

    assert [part.split()[0] for part in answer.split("HTTP/1.1 ")[1:]] == ["200"] * 4
    assert answer.count("wamid.") == 3


def test_a_request_of_http_1_0_is_answered_and_its_connection_closed(uno: Stack) -> None:
    answer = answer_to(uno, b"GET /ping HTTP/1.0\r\n\r\n")

    assert answer.startswith("HTTP/1.0 200 ")
    assert "Connection: close" in answer


@pytest.mark.parametrize("digits", ["0" * 30 + f"{len(BODY)}", f"{len(BODY)}"], ids=["zeros before it", "plain"])
def test_a_body_that_comes_byte_by_byte_is_taken(uno: Stack, digits: str) -> None:
    with connections(uno, 1, registering(Content_Length=digits)) as (connection,):
        for byte in BODY:
            connection.sendall(bytes([byte]))
            time.sleep(0.01)
        status = status_of(connection, within_s=5)

    assert status == 200


# --- 100-continue ---


def test_who_is_refused_is_not_asked_for_the_body(uno: Stack) -> None:
    answer = answer_to(uno, registering(Expect="100-continue", Authorization="Bearer wrong"))

    assert answer.startswith("HTTP/1.1 401 "), answer


# --- threads ---


@pytest.mark.parametrize("path", ["/%77s/", "/ws", "http://api/ws"], ids=["quoted", "plain", "absolute"])
def test_sockets_of_many_tenants_hold_no_thread_of_others(uno: Stack, path: str) -> None:
    """However the path is spelled; each token has a quarter of the places."""
    with connections(uno, 0, b"") as opened:
        for tenant in TENANTS:
            for _ in range(4):
                connection = socket.create_connection(("127.0.0.1", uno.port), timeout=10)
                connection.sendall(websocket(path, token_of(tenant)))
                opened.append(connection)
        served = [status_of(connection, within_s=3) for connection in opened]
        answered = answers(uno, within_s=3)
        for connection in opened:
            connection.close()

    assert served.count(101) >= THREADS
    assert answered


def test_bodies_that_nobody_vouches_for_do_not_keep_out_a_tenants(uno: Stack) -> None:
    """A signature is read with its body; whoever names any may announce one."""
    announced = head("POST", f"/webhooks/whatsapp/{PHONE}", Content_Length=f"{1024 * 1024}", **SIGNED)

    with connections(uno, 80, announced), connections(uno, 1, registering()) as (connection,):
        connection.sendall(BODY)
        status = status_of(connection, within_s=5)

    assert status == 200


def test_large_bodies_that_nobody_vouches_for_do_not_keep_out_a_tenants_file(uno: Stack, tmp_path: Path) -> None:
    """However many names their senders give themselves."""
    size = 3 * 1024 * 1024
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    form = form + bytes(size) + b"\r\n--b--\r\n"
    file = {"Content_Type": "multipart/form-data; boundary=b", "Content_Length": f"{len(form)}"}
    upload = head("POST", f"/v15.0/{PHONE}/media", Authorization=f"Bearer {token_of(PHONE)}", **file)
    settings = {"UNOAPI_META_APP_SECRET": "secret-of-the-app", "UNOAPI_BODY_MAX_BYTES": f"{2 * size}"}

    with second_api(uno, tmp_path, **settings) as running, ExitStack() as opened:
        for number in range(80):
            name = {"Authorization": f"{number}", "Content_Length": f"{size}"}
            said = head("POST", f"/webhooks/whatsapp/{PHONE}", **SIGNED, **name)
            opened.enter_context(socket.create_connection(("127.0.0.1", running.port))).sendall(said)
        time.sleep(1)
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as honest:
            with suppress(OSError):
                honest.sendall(upload + form)
            status = status_of(honest, within_s=10)

    assert status == 200


# --- the socket's messages ---


def test_a_message_of_the_socket_is_not_gathered_without_a_bound(uno: Stack) -> None:
    size = 64 * 1024 * 1024
    frame = b"\x81" + bytes([0x80 | 127]) + struct.pack(">Q", size) + bytes(4)
    sent = 0

    with connections(uno, 1, websocket("/ws", token_of(PHONE))) as (connection,), suppress(OSError):
        connection.sendall(frame)
        while sent < size:
            connection.sendall(bytes(65536))
            sent += 65536

    assert sent < size


def test_the_end_of_a_socket_costs_nobody_else_a_connection(uno: Stack) -> None:
    """The socket's library closes what it was given: a number that the main loop still watches goes to the next."""
    close = b"\x88\x80" + bytes(4)
    answers_of_others = []

    for _ in range(20):
        with socket.create_connection(("127.0.0.1", uno.port), timeout=5) as connection:
            connection.sendall(websocket("/ws", token_of(PHONE)))
            assert status_of(connection, within_s=5) == 101
            connection.sendall(close)
            answers_of_others += [answer_to(uno, head("GET", "/ping", Connection="close")) for _ in range(10)]

    assert [answer for answer in answers_of_others if "pong!" not in answer] == []


# --- counting ---


def test_a_request_whose_body_comes_late_counts_once(uno: Stack, tmp_path: Path) -> None:
    with second_api(uno, tmp_path, UNOAPI_RATE_LIMIT=f"{RATE}") as running:
        statuses = []
        for _ in range(RATE):
            with connections(running, 1, registering()) as (connection,):
                connection.sendall(BODY)
                statuses.append(status_of(connection, within_s=5))

    assert statuses == [200] * RATE


# --- many connections ---


def test_a_crowd_of_connections_does_not_end_the_process(uno: Stack, tmp_path: Path) -> None:
    """Each new one takes the place of one that may be about to speak."""
    over = threading.Event()
    spoken = []

    def speak(running: Stack) -> None:
        while not over.is_set():
            with suppress(OSError), socket.create_connection(("127.0.0.1", running.port), timeout=2) as connection:
                for _ in range(20):
                    connection.sendall(PING)
                    if not connection.recv(4096):
                        break
                    spoken.append(1)

    with second_api(uno, tmp_path, GUNICORN_CMD_ARGS=f"--worker-connections {PLACES}") as running:
        speakers = [threading.Thread(target=speak, args=(running,)) for _ in range(PLACES)]
        for speaker in speakers:
            speaker.start()
        time.sleep(6)
        over.set()
        for speaker in speakers:
            speaker.join(20)
        log = running.processes[0].output()

        assert len(spoken) > PLACES
        assert "Exception in worker process" not in log
        assert "a connection is dropped" not in log
        assert answers(running, within_s=3)


def test_the_api_may_open_more_files_than_it_has_clients(uno: Stack, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        with second_stack(uno.servers, tmp_path) as running:
            allowed, _ = resource.prlimit(running.web().pid, resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert allowed >= min(2048, hard)


def test_without_a_file_for_another_connection_the_process_rests(uno: Stack, tmp_path: Path) -> None:
    """There is nobody whose connection could be closed for it: it stays ready, and the loop must not turn for it."""
    with second_api(uno, tmp_path) as running:
        (child,) = psutil.Process(running.processes[0].pid).children()
        before = child.rlimit(psutil.RLIMIT_NOFILE)
        time.sleep(3)  # until the connection of the last request is closed
        child.rlimit(psutil.RLIMIT_NOFILE, (lowest_free_file(child.pid), before[1]))
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as waiting:
            began = processor_s(child)
            time.sleep(2)
            used_s = processor_s(child) - began
            child.rlimit(psutil.RLIMIT_NOFILE, before)
            waiting.sendall(PING)
            status = status_of(waiting, within_s=5)

    assert used_s < 0.5
    assert status == 200


def lowest_free_file(pid: int) -> int:
    used = {int(file.name) for file in Path(f"/proc/{pid}/fd").iterdir()}
    return next(number for number in range(4096) if number not in used)


def processor_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def test_the_bodies_that_clients_are_slow_to_send_have_a_bound_together(uno: Stack, tmp_path: Path) -> None:
    """64 MB: whoever waits longest makes room, and is asked to come later."""
    size, here = 1024 * 1024, 1_000_000
    settings = {"UNOAPI_META_APP_SECRET": "secret-of-the-app"}
    said = head("POST", f"/webhooks/whatsapp/{PHONE}", Content_Length=f"{size}", **SIGNED)

    with second_api(uno, tmp_path, **settings) as running, ExitStack() as opened:
        (child,) = psutil.Process(running.processes[0].pid).children()
        before = child.memory_info().rss
        slow = []
        for _ in range(100):
            slow.append(opened.enter_context(socket.create_connection(("127.0.0.1", running.port), timeout=10)))
            with suppress(OSError):
                slow[-1].sendall(said)
                time.sleep(0.1)  # so that its body is asked for
                slow[-1].sendall(bytes(here))
        taken = child.memory_info().rss - before
        refused = [status_of(connection, within_s=0.1) for connection in slow].count(503)
        answered = answers(running, within_s=3)

    assert 100 - MAX_BUFFERED // here <= refused <= 50
    assert taken < 1.5 * MAX_BUFFERED
    assert answered


@pytest.mark.parametrize("large", [False, True], ids=["answers", "file"])
def test_a_client_that_does_not_read_its_answer_is_cut_off(uno: Stack, tmp_path: Path, *, large: bool) -> None:
    """Else its answer stays in the memory, or its thread with it, for as long as it likes."""
    worker = "--worker-class tests.support.impatient_worker.ImpatientWorker"
    with second_api(uno, tmp_path, GUNICORN_CMD_ARGS=worker) as running:
        path, count = (path_of_a_file(running), 1) if large else (path_of_templates(running), 80)
        whole = count * len(running.get(path).content)
        asked = count * head("GET", path, Authorization=f"Bearer {OPERATOR}")
        with connections(running, 1, asked, window=4096) as (client,):
            time.sleep(4 * WRITE_S)
            got = len(all_of(client))

    assert 0 < got < whole


def path_of_a_file(uno: Stack) -> str:
    files, headers = {"file": ("a.mp4", bytes(14 * 1024 * 1024), "video/mp4")}, {"Authorization": f"Bearer {OPERATOR}"}
    media_id = requests.post(f"{uno.url}/v15.0/{PHONE}/media", files=files, headers=headers, timeout=20).json()["id"]
    link = urlsplit(uno.get(f"/v15.0/{media_id}").json()["url"])
    return f"{link.path}?{link.query}"


def path_of_templates(uno: Stack) -> str:
    """An answer that no thread writes: almost as large as may be."""
    for number in range(60):
        body = {"name": f"t{number}", "components": [{"type": "BODY", "text": "x" * 4000}]}
        assert uno.post(f"/v15.0/{PHONE}/message_templates", body).ok
    return f"/v15.0/{PHONE}/message_templates?limit=1000"


def all_of(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    got = b""
    connection.settimeout(20)
    with suppress(OSError):
        while piece := connection.recv(65536):
            got += piece
    return got


# --- the end, and the beginning ---


def test_open_connections_do_not_hold_up_the_end(uno: Stack, tmp_path: Path) -> None:
    """A socket that is connected, a poll that waits, a silent client, and one that was answered."""
    with second_api(uno, tmp_path) as running:
        web = running.processes[0]
        opened = requests.get(
            f"{running.url}/ws/?EIO=4&transport=polling", headers={"Authorization": f"Bearer {OPERATOR}"}, timeout=5
        )
        session = json.loads(opened.text[1:])["sid"]
        poll = head("GET", f"/ws/?EIO=4&transport=polling&sid={session}", Authorization=f"Bearer {OPERATOR}")
        kept = []
        for said in (websocket("/ws", OPERATOR), poll, b"G", PING):
            connection = socket.create_connection(("127.0.0.1", running.port), timeout=10)
            connection.sendall(said)
            kept.append(connection)
        time.sleep(1)
        began = time.monotonic()
        os.kill(web.pid, signal.SIGTERM)
        code = web.wait(60)
        took_s = time.monotonic() - began
        for connection in kept:
            connection.close()

    assert code == 0, web.output()
    assert took_s < 9


@pytest.mark.parametrize("option", ["--proxy-protocol auto", "--certfile /dev/null --keyfile /dev/null"])
def test_what_the_worker_does_not_speak_is_refused_at_the_start(uno: Stack, option: str) -> None:
    """It would serve TLS's port without TLS, and take any request's first line for the proxy's word."""
    environment = {**uno.environment, "GUNICORN_CMD_ARGS": option, "PORT": f"{free_port()}"}
    command = [sys.executable, "-m", "gunicorn", "-c", "python:unoapi.web.gunicorn"]

    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)

    assert done.returncode == EX_CONFIG, done.stderr
    assert "proxy's business" in done.stderr


def test_an_address_of_ipv6_is_listened_on(uno: Stack, tmp_path: Path) -> None:
    with second_stack(uno.servers, tmp_path, UNOAPI_HOST="::1") as running:
        running.url = f"http://[::1]:{running.port}"
        running.web()
        answered = answers(running, within_s=5)

    assert answered
