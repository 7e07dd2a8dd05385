"""What the HTTP client sends: exact bytes, headers, one tenant's connection never used for another."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.raw_http_server import (
    LAST,
    LOOPBACK,
    OK,
    Listen,
    Receiver,
    Reply,
    answer_with,
    close,
    connections_of,
    mute,
    reset,
    say,
    send,
)
from tests.support.stack import eventually
from unoapi.http.webhook_client import MAX_BODY_BYTES, CurlSender
from unoapi.models.attempts import Answer


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

    @pytest.mark.parametrize("name", ["Bearer tok", "tok\r\nX-Evil", "", "tok:", "tök", "X-Own: tok"])
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

    def test_proxies_in_the_environment_are_ignored(self, listen: Listen, sender: CurlSender, proxy: Receiver) -> None:
        receiver = listen(OK)

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
            pytest.param(mute, id="silent"),
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

    def test_every_thread_has_its_own(self, listen: Listen) -> None:
        sender = CurlSender(LOOPBACK, most_idle=4)
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

    def test_a_tenants_connection_is_kept_while_others_have_requests(self, listen: Listen) -> None:
        sender, receiver = CurlSender(LOOPBACK, most_idle=2), listen(OK)

        for tenant in ("5511", "5522", "5522", "5511", "5511", "5522"):
            send(sender, receiver.url, tenant=tenant)

        assert connections_of(receiver) == [1, 2, 2, 1, 1, 2]

    def test_a_connection_serves_whatever_thread_has_the_next_request(self, listen: Listen, sender: CurlSender) -> None:
        receiver = listen(OK)

        for _ in range(3):
            thread = threading.Thread(target=send, args=(sender, receiver.url))
            thread.start()
            thread.join()

        assert connections_of(receiver) == [1, 1, 1]

    def test_each_receiver_of_a_tenant_has_its_own(self, listen: Listen) -> None:
        sender, first, second = CurlSender(LOOPBACK, most_idle=2), listen(OK), listen(OK)

        for _ in range(3):
            send(sender, first.url)
            send(sender, second.url)

        assert connections_of(first) == connections_of(second) == [1, 1, 1]

    def test_the_one_that_was_idle_for_longest_gives_way(self, listen: Listen) -> None:
        sender, receiver = CurlSender(LOOPBACK, most_idle=2), listen(OK)

        for tenant in ("5511", "5522", "5533", "5522", "5511"):
            send(sender, receiver.url, tenant=tenant)

        assert connections_of(receiver) == [1, 2, 3, 2, 4]

    def test_what_is_over_the_bound_is_closed(self, listen: Listen, sender: CurlSender) -> None:
        receivers, together = [listen(OK) for _ in range(3)], threading.Barrier(3)

        def work(receiver: Receiver) -> None:
            together.wait(5)
            send(sender, receiver.url)

        with ThreadPoolExecutor(3) as threads:
            list(threads.map(work, receivers))

        eventually(lambda: sum(receiver.client_left.is_set() for receiver in receivers) == 2, within_s=5)

    def test_an_endpoint_that_closes_every_connection_makes_no_handles(self, listen: Listen) -> None:
        sender, receiver = CurlSender(LOOPBACK, most_idle=9), listen(LAST)

        for tenant in ("5511", "5522", "5511"):
            send(sender, receiver.url, tenant=tenant)

        assert len(sender._idle) == 1
