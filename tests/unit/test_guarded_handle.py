"""What holds for every client whose addresses a tenant may choose."""

import gzip
import io
import socket
import time
import tracemalloc
from collections.abc import Callable
from contextlib import nullcontext

import pytest

from tests.support.raw_http_server import LOOPBACK, OK, Listen, Receiver, Reply, answer_with, mute, send
from unoapi.errors import FetchFailed, FileRefused, NotSent, Unanswered, UnoError
from unoapi.http.address_guard import AddressGuard
from unoapi.http.api_client import ApiClient
from unoapi.http.downloader import Downloader, _Body
from unoapi.http.webhook_client import CurlSender

Headers = tuple[tuple[str, str], ...]
Request = Callable[..., str]
"""Makes one request. The error, in words; empty when there was an answer that the client takes."""


def post_webhook(url: str, *, headers: Headers = (), timeout_ms: int = 5000, guard: AddressGuard = LOOPBACK) -> str:
    return send(CurlSender(guard), url, headers=headers, timeout_ms=timeout_ms).error


def call_api(url: str, *, headers: Headers = (), timeout_ms: int = 5000, guard: AddressGuard = LOOPBACK) -> str:
    try:
        ApiClient(guard).request("GET", url, headers=headers, timeout_ms=timeout_ms)
    except (NotSent, Unanswered) as error:
        return f"{error}"
    return ""


def download(url: str, *, headers: Headers = (), timeout_ms: int = 5000, guard: AddressGuard = LOOPBACK) -> str:
    try:
        Downloader(guard).fetch(url, io.BytesIO(), limit=1000, headers=headers, timeout_ms=timeout_ms)
    except FetchFailed as error:
        return f"{error}"
    return ""


@pytest.fixture(params=[post_webhook, call_api, download], ids=["webhook", "API", "download"])
def request_with(request: pytest.FixtureRequest) -> Request:
    client: Request = request.param
    return client


@pytest.mark.parametrize("token", ["tok\r\nX-Evil: 1", "tok\nX-Evil: 1", "tok\rX", "tok\0", "tok€", "tok\ud800"])
def test_a_token_that_is_no_header_value_is_not_sent_and_not_shown(
    listen: Listen, request_with: Request, token: str
) -> None:
    receiver = listen(OK)

    error = request_with(receiver.url, headers=(("Authorization", f"Bearer {token}"),))

    assert error.endswith("header Authorization cannot be sent")
    assert receiver.requests == []


def test_a_header_arrives_as_it_was_given(listen: Listen, request_with: Request) -> None:
    receiver = listen(OK)

    error = request_with(receiver.url, headers=(("Authorization", "Bearer é k"), ("X-Empty", "")))

    [request] = receiver.requests
    assert error == ""
    assert (request.headers["authorization"], request.headers["x-empty"]) == ("Bearer é k", "")


@pytest.mark.parametrize("character", ["\0", "\nx", "\r\nX-Evil: 1", "\ud800"])
def test_an_address_with_an_unprintable_character_is_not_called(
    listen: Listen, request_with: Request, character: str
) -> None:
    receiver = listen(OK)

    error = request_with(f"{receiver.url}/refused{character}")

    assert error.endswith("the address is not valid")
    assert receiver.connections == 0


@pytest.mark.parametrize("client", [post_webhook, call_api])
@pytest.mark.parametrize("character", ["\n", "\u202e"])
def test_an_address_of_ours_is_not_mended(listen: Listen, client: Request, character: str) -> None:
    receiver = listen(OK)

    error = client(f"{receiver.url}/refused{character}")

    assert error.endswith("the address is not valid")
    assert receiver.connections == 0


@pytest.mark.parametrize("url", ["file:///dev/null", "ftp://127.0.0.1/a", "gopher://127.0.0.1:1/a"])
def test_only_http_is_spoken(request_with: Request, url: str) -> None:
    assert request_with(url).endswith("only http and https addresses are called")


def test_the_address_guard_is_asked(listen: Listen, request_with: Request) -> None:
    receiver = listen(OK)

    error = request_with(receiver.url, guard=AddressGuard())

    assert "UNOAPI_ALLOWED_HOSTS" in error
    assert receiver.connections == 0


def test_proxies_in_the_environment_are_ignored(listen: Listen, request_with: Request, proxy: Receiver) -> None:
    receiver = listen(OK)

    error = request_with(receiver.url)

    assert (error, len(receiver.requests), proxy.connections) == ("", 1, 0)


def test_the_request_is_http_1_1(listen: Listen, request_with: Request) -> None:
    receiver = listen(OK)

    request_with(receiver.url)

    [request] = receiver.requests
    assert request.head.splitlines()[0].endswith(" HTTP/1.1")


def test_the_deadline_covers_the_whole_exchange(listen: Listen, request_with: Request) -> None:
    error = request_with(listen(mute).url, timeout_ms=200)

    assert error.endswith("did not answer within 200 ms")


def test_a_port_that_nobody_listens_on_is_named(request_with: Request, closed_port: int) -> None:
    assert request_with(f"http://127.0.0.1:{closed_port}").endswith("connection refused")


class TestApiClient:
    def test_what_could_not_connect_has_certainly_not_left(self, closed_port: int) -> None:
        with pytest.raises(NotSent, match="connection refused"):
            ApiClient(LOOPBACK).request("POST", f"http://127.0.0.1:{closed_port}", headers=(), timeout_ms=500)

    def test_of_a_request_without_an_answer_nobody_knows_whether_it_was_taken(self, listen: Listen) -> None:
        with pytest.raises(Unanswered, match="did not answer within 200 ms"):
            ApiClient(LOOPBACK).request("POST", listen(mute).url, headers=(), body=b"{}", timeout_ms=200)

    def test_an_answer_has_its_status_its_body_and_its_pause(self, listen: Listen) -> None:
        receiver = listen(answer_with(429, "Retry-After: 9", body=b"later"))

        answer = ApiClient(LOOPBACK).request("DELETE", receiver.url + "/x", headers=(), timeout_ms=5000)

        assert (answer.status, answer.body, answer.retry_after_s) == (429, b"later", 9)
        assert receiver.requests[0].head.startswith("DELETE /x HTTP/1.1")


def test_the_errors_of_the_api_client_never_show_a_token(listen: Listen) -> None:
    with pytest.raises(UnoError) as raised:
        ApiClient(LOOPBACK).request("GET", listen(OK).url, headers=(("Bearer secret\r\nX", "v"),), timeout_ms=5000)

    assert "secret" not in f"{raised.value}"


# --- through a proxy: only what WhatsApp itself names is fetched so ---

PICTURE = "http://pps.whatsapp.test/v/t61/1.jpg"


def fetch_through(proxy: str, url: str = PICTURE, *, guard: AddressGuard = LOOPBACK, trusted: bool = False) -> bytes:
    target = io.BytesIO()
    Downloader(guard, proxy=proxy, trusted_proxy=trusted).fetch(url, target, limit=1000, timeout_ms=5000)
    return target.getvalue()


def test_a_proxy_is_asked_for_what_only_it_can_find(listen: Listen) -> None:
    proxy = listen(OK)

    fetch_through(proxy.url)

    [request] = proxy.requests
    assert request.target == PICTURE


def test_a_tenants_proxy_on_the_inner_network_is_not_used_the_operators_is(listen: Listen) -> None:
    proxy = listen(OK)

    with pytest.raises(FileRefused, match="loopback"):
        fetch_through(proxy.url, guard=AddressGuard())
    fetch_through(proxy.url, guard=AddressGuard(), trusted=True)

    assert len(proxy.requests) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/x", "http://169.254.169.254/latest", "http://[::1]/x", "http://2852039166/",
        "http://0xa9fea9fe/", "http://127.1/", "http://%31%36%39.254.169.254/", "http://%6cocalhost/",
        "http://169\u3002254\u3002169\u3002254/",
    ],
)  # fmt: skip
def test_no_proxy_is_asked_for_an_inner_address(listen: Listen, url: str) -> None:
    proxy = listen(OK)

    with pytest.raises(FileRefused):
        fetch_through(proxy.url, url, guard=AddressGuard(), trusted=True)

    assert proxy.requests == []


def test_a_proxy_that_is_not_there_fails_the_picture_alone() -> None:
    with pytest.raises(FetchFailed):
        fetch_through("socks5://127.0.0.1:9")


def test_a_space_in_the_address_of_a_file_is_one_of_its_name(listen: Listen) -> None:
    receiver = listen(OK)

    error = download(f" {receiver.url}/my file.pdf ")

    assert error == ""
    assert receiver.requests[0].target == "/my%20file.pdf"


@pytest.mark.parametrize(
    ("after", "target"),
    [
        ("/10\u202fAM.png", "/10%E2%80%AFAM.png"),
        ("/a\u00a0b.pdf", "/a%C2%A0b.pdf"),
        ("/a\u200db\u200b.png", "/a%E2%80%8Db%E2%80%8B.png"),
        ("/ação.pdf?nome=ação", "/a%C3%A7%C3%A3o.pdf?nome=a%C3%A7%C3%A3o"),
        ("/a.pdf?assinatura=%2Fx+y%3D&b='\n", "/a.pdf?assinatura=%2Fx+y%3D&b=%27"),
    ],
)
def test_the_address_of_a_file_is_asked_for_as_browsers_do(listen: Listen, after: str, target: str) -> None:
    receiver = listen(OK)

    error = download(f"{receiver.url}{after}")

    assert error == ""
    assert receiver.requests[0].target == target


PDF = b"%PDF-1.7" + bytes(500)
PACKED = gzip.compress(PDF, mtime=0)  # the same in each process: it names tests


@pytest.mark.parametrize(
    ("coding", "last", "body", "expected"),
    [
        ("gzip", "a.pdf?x=.gz", PACKED, PDF),
        ("x-gzip", "a", PACKED, PDF),
        ("GZIP", "a", PDF, PDF),
        ("utf-8", "a", PDF, PDF),
        ("aws-chunked", "a", PDF, PDF),
        ("gzip", "a.tar.gz", PACKED, PACKED),
        ("gzip\r\nContent-Type: application/x-gzip", "a", PACKED, PACKED),
    ],
)
def test_an_encoding_that_nobody_asked_for_is_undone(
    listen: Listen, coding: str, last: str, body: bytes, expected: bytes
) -> None:
    receiver, target = listen(answer_with(200, f"Content-Encoding: {coding}", body=body)), io.BytesIO()

    fetched = Downloader(LOOPBACK).fetch(f"{receiver.url}/{last}", target, limit=1000, timeout_ms=5000)

    assert (target.getvalue(), fetched.size) == (expected, len(expected))


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (gzip.compress(bytes(10_000_000), mtime=0), "larger"),
        (PACKED[:-9], "breaks off"),
        (PACKED[:12] + b"x" * 99, "could not be fetched"),
    ],
)
def test_an_encoded_file_is_bounded_and_whole(listen: Listen, body: bytes, error: str) -> None:
    receiver = listen(answer_with(200, "Content-Encoding: gzip", body=body))

    with pytest.raises(FetchFailed, match=error):
        Downloader(LOOPBACK).fetch(receiver.url, io.BytesIO(), limit=20_000, timeout_ms=5000)


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('attachment; filename="Boleto nov.pdf"', "Boleto nov.pdf"),
        ("inline; filename=a.pdf; filename*=UTF-8''n%C2%BA%201.pdf", "n\u00ba 1.pdf"),
        ('attachment; filename="promo\u00e7\u00e3o.pdf"', "promo\u00e7\u00e3o.pdf"),
        ("attachment; filename=Boleto nov.pdf; size=3", "Boleto nov.pdf"),
        ("attachment; filename=a.pdf; filename*=UTF-8''a.pdf", "a.pdf"),
        ("attachment", ""),
        ('; filename="', ""),
        ("attachment; " + "x=1; " * 10_000 + "filename=a.pdf", ""),
    ],
)
def test_a_file_is_told_with_the_name_that_its_server_gives_it(listen: Listen, disposition: str, name: str) -> None:
    receiver = listen(answer_with(200, f"Content-Disposition: {disposition}", body=PDF))

    fetched = Downloader(LOOPBACK).fetch(receiver.url, io.BytesIO(), limit=1000, timeout_ms=5000)

    assert fetched.filename == name


@pytest.mark.parametrize(("hops", "follows"), [(5, True), (6, False)])
def test_the_link_of_a_shared_file_is_followed_to_its_end(listen: Listen, *, hops: int, follows: bool) -> None:
    receiver = listen(answer_with(200, "Content-Type: application/pdf", body=PDF))
    addresses = [receiver.url]
    for _ in range(hops):
        addresses.append(listen(answer_with(302, f"Location: {addresses[-1]}/next")).url)
    target = io.BytesIO()

    with nullcontext() if follows else pytest.raises(FileRefused, match="redirects"):
        Downloader(LOOPBACK).fetch(addresses[-1], target, limit=1000, timeout_ms=5000)

    assert target.getvalue() == (PDF if follows else b"")


def test_redirects_have_the_time_of_one_file(listen: Listen) -> None:
    def later(answer: bytes) -> Reply:
        def reply(connection: socket.socket) -> None:
            time.sleep(0.2)
            connection.sendall(answer)

        return reply

    addresses = [listen(answer_with(200, body=PDF)).url]
    for _ in range(5):
        addresses.append(listen(later(answer_with(302, f"Location: {addresses[-1]}"))).url)

    begun = time.monotonic()
    error = download(addresses[-1], timeout_ms=500)

    assert "did not answer within" in error
    assert time.monotonic() - begun < 0.9


@pytest.mark.parametrize(
    "answer",
    [
        answer_with(200, body=PDF + bytes(3_000_000)),
        answer_with(200, "Content-Encoding: gzip", body=gzip.compress(PDF + bytes(3_000_000), mtime=0)),
        answer_with(200, body=PDF),
    ],
    ids=["long", "packed", "short"],
)
def test_of_a_page_the_beginning_can_be_had_whatever_its_size(listen: Listen, answer: bytes) -> None:
    address, target = listen(answer_with(302, f"Location: {listen(answer).url}")).url, io.BytesIO()

    Downloader(LOOPBACK).fetch_beginning(address, target, limit=1000, timeout_ms=5000)

    assert target.getvalue() == (PDF if answer.endswith(PDF) else (PDF + bytes(1000))[:1000])


def test_an_encoding_is_known_by_a_first_piece_of_one_byte() -> None:
    target = io.BytesIO()
    body = _Body(target, limit=1000)
    body.note(b"Content-Encoding: gzip\r\n")

    assert [body.take(bytes([byte])) for byte in PACKED] == [1] * len(PACKED)
    assert target.getvalue() == PDF


def test_what_follows_the_end_of_an_encoded_file_is_left_out_and_not_gathered(listen: Listen) -> None:
    receiver = listen(answer_with(200, "Content-Encoding: gzip", body=PACKED + bytes(8_000_000)))
    target = io.BytesIO()

    tracemalloc.start()
    try:
        Downloader(LOOPBACK).fetch(receiver.url, target, limit=9_000_000, timeout_ms=5000)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert target.getvalue() == PDF
    assert most < 2_000_000


def test_a_host_with_an_accent_is_asked_for_by_its_name_in_dns(listen: Listen) -> None:
    proxy = listen(OK)

    fetch_through(proxy.url, "http://padaria-s\u00e3o-jo\u00e3o.test/a.png")

    assert proxy.requests[0].target == "http://xn--padaria-so-joo-yhbe.test/a.png"
