"""The door: rates, broken requests, foreign pages, addresses that are refused early.

In this process; what is broken before Flask sees it goes to a real gunicorn.
"""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.api import Api
from tests.support.api import api as serve_api
from tests.support.stack import OPERATOR, PHONE, Stack, eventually, stack
from unoapi.errors import RequestError
from unoapi.web.rate_limits import Limits, network_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.receiver import Receiver
    from unoapi.devenv.servers import PrivateServers

TRACE = f"/v15.0/{PHONE}/messages/wamid.none/trace"
TOKEN = f"session-token-{PHONE}"
SECRET = "token-that-nobody-may-see"
PAGE = "https://panel.example"
RATE = 30
REFUSED = 10


SETTINGS = {
    "UNOAPI_RATE_LIMIT": str(RATE),
    "UNOAPI_RATE_LIMIT_REFUSED": str(REFUSED),
    "UNOAPI_CORS_ORIGINS": f"{PAGE}, https://other.example/",
    "UNOAPI_ALLOWED_HOSTS": "10.1.2.3",
}


@pytest.fixture(scope="module")
def door(servers: PrivateServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve_api(servers, tmp_path_factory.mktemp("door"), **SETTINGS) as running:
        running.register([{"id": "crm", "urlAbsolute": "https://crm.example/hook"}])
        yield running


@pytest.fixture(scope="module")
def gunicorn(servers: PrivateServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(servers, tmp_path_factory.mktemp("gunicorn"), **SETTINGS) as running:
        running.web()
        yield running


def answer_to(gunicorn: Stack, raw: bytes) -> str:
    """What comes back for these bytes."""
    with socket.create_connection(("127.0.0.1", gunicorn.port), timeout=10) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer.decode("latin-1")


@pytest.mark.parametrize(
    "raw",
    [
        f"GET /ping?access_token={SECRET} HTTP/9.9\r\n\r\n",
        f"GET /ping?access_token={SECRET}\r\n\r\n",
        f"{SECRET}\r\n\r\n",
        f"G(T /ping?access_token={SECRET} HTTP/1.1\r\n\r\n",
        f"GET /ping HTTP/1.1\r\nAuthorization: Bearer {SECRET}\x01\r\n\r\n",
        f"GET /ping HTTP/1.1\r\nBearer {SECRET}\r\n\r\n",
        f"GET /ping?access_token={SECRET} HTTP/1.1\r\nTransfer-Encoding: {SECRET}\r\n\r\n",
        f"GET /ping?access_token={SECRET}{'x' * 9000} HTTP/1.1\r\n\r\n",
        f"GET /ping?access_token={SECRET} HTTP/1.1\r\nX: {'x' * 20000}\r\n\r\n",
        f"GET /ping?access_token={SECRET} HTTP/1.1\r\n" + "X-A: b\r\n" * 150 + "\r\n",
    ],
)
def test_a_broken_request_is_refused_without_an_echo(gunicorn: Stack, raw: str) -> None:
    answer = answer_to(gunicorn, raw.encode("latin-1"))

    assert answer == "" or answer.split()[1] in {"400", "414", "431", "501"}, answer
    assert SECRET not in answer


@pytest.mark.parametrize(
    "path", ["/nowhere", f"/v15.0/{PHONE}/messages", TRACE, "/ping"], ids=["unknown", "method", "refused", "open"]
)
def test_a_token_in_the_query_is_never_echoed(door: Api, path: str) -> None:
    answer = door.get(f"{path}?access_token={SECRET}", token=None)

    assert SECRET not in answer.text
    assert SECRET not in str(answer.headers)


def test_wrong_tokens_are_limited_and_the_right_one_goes_on(door: Api) -> None:
    answers = [door.get(TRACE, token=f"wrong-{number}") for number in range(REFUSED * 2)]

    last = answers[-1]
    assert {answer.status_code for answer in answers} == {401, 429} or last.status_code == 429
    assert last.status_code == 429
    assert last.json()["error"]["code"] == 80007
    assert 1 <= int(last.headers["Retry-After"]) <= 60
    assert door.get(TRACE, token=TOKEN).status_code == 404
    assert door.get(TRACE).status_code == 404


def test_a_sessions_token_is_limited_and_the_operators_is_not(door: Api) -> None:
    answers = [door.get(TRACE, token=TOKEN) for _ in range(2 * RATE)]

    assert answers[-1].status_code == 429
    assert answers[-1].json()["error"]["code"] == 130429
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
    assert {door.get(TRACE).status_code for _ in range(RATE + 5)} == {404}


@pytest.mark.parametrize("origin", [PAGE, "https://other.example"])
def test_pages_of_the_named_origins_may_call(door: Api, origin: str) -> None:
    asked = door.request(
        "OPTIONS",
        f"/v15.0/{PHONE}/messages",
        token=None,
        headers={"Origin": origin, "Access-Control-Request-Method": "POST"},
    )

    assert asked.status_code == 200
    assert asked.headers["Access-Control-Allow-Origin"] == origin
    assert "Authorization" in asked.headers["Access-Control-Allow-Headers"]
    assert {"Content-Disposition", "Retry-After"} < set(asked.headers["Access-Control-Expose-Headers"].split(", "))
    assert "Access-Control-Allow-Credentials" not in asked.headers


def test_pages_of_other_origins_may_not(door: Api) -> None:
    for origin in ("https://evil.example", "null", f"{PAGE}.evil.example", ""):
        answer = door.get("/ping", token=None, headers={"Origin": origin})
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_every_answer_forbids_what_browsers_might_do_with_it(door: Api) -> None:
    for path in ("/ping", "/nowhere", TRACE):
        headers = door.get(path).headers
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "default-src 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://localhost:3000/", "http://2130706433/", "http://0x7f.1/", "http://[::1]/",
        "http://[::ffff:10.0.0.1]/", "http://169.254.169.254/latest/meta-data/", "http://192.168.0.1/",
        "http://user@10.0.0.1/", "http://0/", "http://10.1.2.3:6379/" ,
    ],
)  # fmt: skip
def test_a_webhook_that_may_never_be_called_is_refused_when_it_is_written_down(door: Api, url: str) -> None:
    url = url.replace(":6379", f":{door.servers.redis_url.rpartition(':')[2]}")

    answer = door.post(f"/v15.0/{PHONE}/register", {"webhooks": [{"id": "crm", "urlAbsolute": url}]})

    assert answer.status_code == 400, answer.text
    assert "UNOAPI_ALLOWED_HOSTS" in answer.text or "no setting" in answer.text


def test_the_same_holds_for_the_address_that_gets_contacts(door: Api) -> None:
    body = {"contacts": ["+5549988887777"], "webhook": "http://169.254.169.254/"}

    answer = door.post(f"/v15.0/{PHONE}/contacts", body)

    assert answer.status_code == 400, answer.text
    assert "metadata" in answer.text


@pytest.mark.parametrize("url", ["http://10.1.2.3/", "https://crm.example/", "http://chatwoot:3000/"])
def test_what_is_allowed_or_not_known_yet_is_stored(door: Api, url: str) -> None:
    answer = door.post(f"/v15.0/{PHONE}/register", {"webhooks": [{"id": "crm", "urlAbsolute": url}]})

    assert answer.status_code == 200, answer.text


def test_nothing_of_all_that_is_in_the_log(door: Api, gunicorn: Stack) -> None:
    log = door.log.getvalue() + "".join(process.output() for process in gunicorn.processes)

    assert "request is not valid HTTP" in log
    assert SECRET not in log
    assert OPERATOR not in log
    assert "unhandled_error" not in log


def test_a_refused_delivery_is_dead_at_once_with_the_rule(
    servers: PrivateServers, receiver: Receiver, tmp_path: Path
) -> None:
    """The webhook was stored while it was allowed."""
    import redis  # noqa: PLC0415 (only here)

    with stack(servers, tmp_path, UNOAPI_ALLOWED_HOSTS="") as running:
        running.web()
        running.worker()
        webhook = {"id": "inner", "urlAbsolute": receiver.url("/inner")}
        config = {"provider": "sandbox", "webhooks": [webhook]}
        redis.Redis.from_url(servers.redis_url).set(f"unoapi-config:{PHONE}", json.dumps(config))

        running.contact_writes("hello")

        [dead_letter] = eventually(running.dead, every_s=1)
        assert dead_letter["reason"] == "blocked"
        assert "loopback" in dead_letter["error"]
        assert "UNOAPI_ALLOWED_HOSTS" in dead_letter["error"]
        assert len(dead_letter["attempts"]) == 1
        assert receiver.count("/inner") == 0


class TestLimits:
    def test_one_token_does_not_count_for_another(self) -> None:
        limits = Limits(accepted=2, refused=1)

        for token in ("a", "b", "a", "b"):
            limits.accept(token)
        with pytest.raises(RequestError) as refused:
            limits.accept("a")

        assert (refused.value.status, refused.value.code) == (429, 130429)
        assert 1 <= (refused.value.retry_after_s or 0) <= 60

    def test_zero_is_no_limit(self) -> None:
        limits = Limits(accepted=0, refused=0)

        for _ in range(1000):
            limits.accept("a")
            limits.refuse("127.0.0.1")

    def test_several_processes_divide_the_bound(self) -> None:
        limits = Limits(accepted=10, refused=0, processes=4)

        for _ in range(3):
            limits.accept("a")
        with pytest.raises(RequestError):
            limits.accept("a")

    @pytest.mark.parametrize(
        ("address", "counted"),
        [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::/64"),
            ("2001:db8::ffff:2", "2001:db8::/64"),
            ("", "unknown"),
        ],
    )
    def test_a_customer_of_ipv6_is_a_network(self, address: str, counted: str) -> None:
        assert network_of(address) == counted
