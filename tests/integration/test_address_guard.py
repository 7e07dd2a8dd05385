"""No tenant's address leads to this machine, to private networks or to a cloud's metadata."""

from __future__ import annotations

import io
import os
import socket
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pycurl
import pytest

from tests.support.receiver import Receiver
from unoapi.errors import FetchFailed
from unoapi.http.address_guard import AddressGuard
from unoapi.http.downloader import Downloader
from unoapi.http.webhook_client import CurlSender, WebhookClient, WebhookRequest
from unoapi.models.provenance import OperatorAddresses
from unoapi.models.session import Webhook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.models.attempts import Answer

HOSTILE = [
    "127.0.0.1", "127.1", "127.255.255.254", "2130706433", "0x7f000001", "0177.0.0.1", "0x7f.1", "017700000001",
    "0", "0.0.0.0", "localhost", "LOCALHOST", "localhost.", "x.localhost", "[::1]", "[::]", "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
    "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.1.1", "0xc0a80001",
    "3232235521", "[::ffff:10.0.0.1]", "[::ffff:192.168.0.1]", "[fc00::1]", "[fd12:3456::1]", "[fec0::1]",
    "169.254.169.254", "169.254.0.1", "0xa9fea9fe", "2852039166", "0251.0376.0251.0376", "[::ffff:169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]", "[fe80::1]", "[fd00:ec2::254]", "169.254.170.2", "100.100.100.200", "100.64.0.1",
    "100.127.255.255", "224.0.0.1", "239.255.255.255", "[ff02::1]", "255.255.255.255", "240.0.0.1", "192.0.0.1",
    "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "[2001:db8::1]", "[100::1]", "user@127.0.0.1",
    "example.com@127.0.0.1", "user:pass@[::1]", "127.0.0.1.", "[2002:a00:1::]", "[64:ff9b::c0a8:1]",
    "168.63.129.16", "[::ffff:168.63.129.16]", "192.0.0.192", "192.0.0.8", "[feff::1]",
]  # fmt: skip


class Listener:
    """Counts the connections to a port on all of this machine's addresses."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.port = self._socket.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            connection.close()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    running = Listener()
    yield running
    running.close()


def fetch(guard: AddressGuard, url: str) -> bytes:
    target = io.BytesIO()
    Downloader(guard).fetch(url, target, limit=1000, timeout_ms=1500)
    return target.getvalue()


def test_there_are_at_least_sixty() -> None:
    assert len(set(HOSTILE)) >= 60


@pytest.mark.parametrize("host", HOSTILE)
def test_none_of_them_gets_a_connection(listener: Listener, host: str) -> None:
    before = listener.connections

    with pytest.raises(FetchFailed):
        fetch(AddressGuard(), f"http://{host}:{listener.port}/")

    assert listener.connections == before


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]", "2130706433", "100.64.0.1"])
def test_the_error_names_the_rule_and_the_setting(listener: Listener, host: str) -> None:
    with pytest.raises(FetchFailed, match="UNOAPI_ALLOWED_HOSTS"):
        fetch(AddressGuard(), f"http://{host}:{listener.port}/")


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.0/8"),
        ("2130706433", "127.0.0.0/8"),
        ("[::1]", "::1"),
        ("[::ffff:127.0.0.1]", "127.0.0.0/8"),
        ("localhost", "localhost"),
        ("LOCALHOST", "localhost"),
    ],
)
def test_what_the_operator_allows_is_reached(listener: Listener, host: str, allowed: str) -> None:
    assert fetch(AddressGuard((allowed,)), f"http://{host}:{listener.port}/") == b"ok"


@pytest.mark.parametrize("allowed", ["10.0.0.0/8", "example.com", "*.example.com", "::1"])
def test_what_is_allowed_allows_nothing_else(listener: Listener, allowed: str) -> None:
    with pytest.raises(FetchFailed):
        fetch(AddressGuard((allowed,)), f"http://127.0.0.1:{listener.port}/")


def test_a_name_is_checked_by_what_it_resolves_to_at_the_connection() -> None:
    """Resolving twice would judge the first answer and call the second."""
    guard = AddressGuard()

    assert guard.refusal("http://rebinding.example/", ip="93.184.216.34") == ""
    assert "metadata" in guard.refusal("http://rebinding.example/", ip="169.254.169.254")


@pytest.mark.parametrize("ip", ["8.8.8.8", "2606:4700:4700::1111", "93.184.216.34", "64:ff9b::808:808"])
def test_the_public_internet_is_open(ip: str) -> None:
    assert AddressGuard().refusal("http://example.com/", ip=ip) == ""


@pytest.mark.parametrize(
    ("host", "open_"),
    [("chatwoot", True), ("a.internal.example", True), ("internal.example", False), ("xchatwoot", False)],
)
def test_names_and_suffixes_are_allowed_with_any_address(host: str, open_: bool) -> None:
    guard = AddressGuard(("chatwoot", "*.internal.example"))

    assert (guard.refusal(f"http://{host}/", ip="172.18.0.5") == "") is open_


def test_a_redirect_is_checked_like_the_first_address(listener: Listener) -> None:
    answers: list[Any] = []
    server = socket.create_server(("127.0.0.1", 0))

    def redirect() -> None:
        connection, _ = server.accept()
        answers.append(connection.recv(4096))
        location = f"http://[::1]:{listener.port}/".encode()
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n")
        connection.close()

    threading.Thread(target=redirect, daemon=True).start()
    before = listener.connections

    with pytest.raises(FetchFailed, match="loopback"):
        fetch(AddressGuard(("127.0.0.1",)), f"http://127.0.0.1:{server.getsockname()[1]}/")

    assert answers
    assert listener.connections == before
    server.close()


def test_a_file_over_the_limit_is_refused() -> None:
    server = socket.create_server(("127.0.0.1", 0))

    def flood() -> None:
        connection, _ = server.accept()
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000)
        connection.close()

    threading.Thread(target=flood, daemon=True).start()

    with pytest.raises(FetchFailed, match="larger than 1000 bytes"):
        fetch(AddressGuard(("127.0.0.1",)), f"http://127.0.0.1:{server.getsockname()[1]}/")
    server.close()


# --- webhooks ---


def post(guard: AddressGuard, url: str) -> Answer:
    request = WebhookRequest(url=url, body=b"{}", headers=(), tenant="5511", timeout_ms=1500)
    return CurlSender(guard).post(request)


@pytest.mark.parametrize("host", HOSTILE)
def test_no_webhook_reaches_them_either(listener: Listener, host: str) -> None:
    before = listener.connections

    answer = post(AddressGuard(), f"http://{host}:{listener.port}/")

    assert not answer.delivered
    assert listener.connections == before


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "localhost", "[::1]", "169.254.169.254", "192.168.0.1"])
def test_a_refused_webhook_says_so_with_the_rule_and_the_setting(listener: Listener, host: str) -> None:
    answer = post(AddressGuard(), f"http://{host}:{listener.port}/")

    assert answer.blocked
    assert "UNOAPI_ALLOWED_HOSTS" in answer.error


def test_a_webhook_that_is_only_away_is_not_refused() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))

        answer = post(AddressGuard(("127.0.0.0/8",)), f"http://127.0.0.1:{bound.getsockname()[1]}/")

    assert (answer.blocked, answer.status, answer.error) == (False, None, "connection refused")


def test_the_operators_own_address_is_not_checked_and_only_that(listener: Listener) -> None:
    base = f"http://127.0.0.1:{listener.port}"
    client = WebhookClient(AddressGuard(), OperatorAddresses(url=f"{base}/events", absolute=f"{base}/exact?a=b"))

    def post_to(url: str, phone: str = "5511999990000") -> Answer:
        webhook = Webhook.model_validate({"urlAbsolute": url})
        return client.post(webhook, phone=phone, delivery_id="d", attempt=1, body="{}")

    assert post_to(f"{base}/events/5511999990000").delivered
    assert post_to(f"{base}/exact?a=b").delivered
    for path in ("/events", "/events/", "/events/5511999990001", "/events/5511999990000/", "/exact", "/exact?a=c"):
        assert post_to(f"{base}{path}").blocked
    assert post_to(f"{base}/events/5511999990000", phone="5511999990001").blocked


def test_the_open_connection_of_a_trusted_request_serves_no_other_one() -> None:
    """The guard judges connections: one that was not judged must not carry a request that would be."""
    with Receiver() as receiver:
        sender = CurlSender(AddressGuard())

        def send(path: str, *, trusted: bool) -> Answer:
            request = WebhookRequest(receiver.url(path), b"{}", (), tenant="5511", timeout_ms=5000, trusted=trusted)
            return sender.post(request)

        assert send("/operator", trusted=True).delivered
        assert send("/other", trusted=False).blocked
        assert send("/operator", trusted=True).delivered

        assert receiver.count("/other") == 0


@pytest.mark.parametrize("allowed", ["0.0.0.0/0", "127.0.0.0/8", "127.0.0.1", "localhost", "*.example"])
def test_the_queue_and_the_store_stay_closed_whatever_is_allowed(listener: Listener, allowed: str) -> None:
    guard = AddressGuard((allowed,), own_ports=(listener.port,))
    before = listener.connections

    answer = post(guard, f"http://127.0.0.1:{listener.port}/")

    assert answer.blocked
    assert "no setting" in answer.error
    assert listener.connections == before


def test_a_port_of_ours_without_a_password_is_closed_on_this_machine_alone() -> None:
    guard = AddressGuard(("0.0.0.0/0", "::/0"), local_ports=(5555,))

    assert "no setting" in guard.refusal("http://crm.example:5555/", ip="127.0.0.1")
    assert "no setting" in guard.refusal("http://crm.example:5555/", ip="::1")
    assert guard.refusal("http://crm.example:5555/", ip="10.0.0.7") == ""
    assert guard.refusal("http://crm.example:5556/", ip="127.0.0.1") == ""


@pytest.mark.parametrize(
    "ip",
    [
        "169.254.169.254",
        "169.254.1.1",
        "0.0.0.0",
        "224.0.0.1",
        "::ffff:169.254.169.254",
        "168.63.129.16",
        "192.0.0.192",
    ],
)
def test_no_wide_entry_opens_metadata_and_its_like_but_their_own_does(ip: str) -> None:
    own = ip.rpartition(":")[2]

    assert AddressGuard(("0.0.0.0/0", "evil.example", "::/0")).refusal("http://evil.example/", ip=ip)
    assert AddressGuard((own,)).refusal("http://evil.example/", ip=ip) == ""


def test_a_name_that_changes_its_address_after_the_first_look_up_gets_no_second_socket() -> None:
    """What libcurl asks with is the address that it is about to connect to, so there is no second look-up to cheat."""
    guard = AddressGuard()
    peers = [("93.184.216.34", 80), ("169.254.169.254", 80)]

    sockets = []
    for peer in peers:
        open_socket = guard.socket_opener("http://rebinding.example/")
        sockets.append((open_socket(0, (socket.AF_INET, socket.SOCK_STREAM, 6, peer)), open_socket.refusal))

    assert isinstance(sockets[0][0], socket.socket)
    assert sockets[0][1] == ""
    assert sockets[1][0] == pycurl.SOCKET_BAD
    assert "metadata" in sockets[1][1]
    sockets[0][0].close()


def test_a_socket_of_which_pycurl_has_its_duplicate_is_closed_and_nobody_warned() -> None:
    open_socket = AddressGuard().socket_opener("http://plain.example/")

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        opened = open_socket(0, (socket.AF_INET, socket.SOCK_STREAM, 6, ("93.184.216.34", 80)))
        number = opened.fileno()
        del opened

    assert warned == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_of_several_addresses_the_open_ones_are_tried() -> None:
    open_socket = AddressGuard().socket_opener("http://mixed.example/")

    refused = open_socket(0, (socket.AF_INET, socket.SOCK_STREAM, 6, ("10.0.0.1", 80)))
    opened = open_socket(0, (socket.AF_INET, socket.SOCK_STREAM, 6, ("93.184.216.34", 80)))

    assert refused == pycurl.SOCKET_BAD
    assert open_socket.refusal == ""
    opened.close()


def test_what_is_no_address_of_the_internet_is_refused() -> None:
    assert AddressGuard(("*.example",)).refusal("http://a.example/", ip="/run/docker.sock")
