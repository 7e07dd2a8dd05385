"""What the HTTP client makes of receivers that answer, dawdle, flood, lie and vanish."""

import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from tests.support.raw_http_server import (
    ENDLESS,
    OK,
    PARTIAL,
    SLACK_S,
    Listen,
    Reply,
    answer_with,
    close,
    connections_of,
    mute,
    repeat,
    reset,
    say,
    send,
)
from unoapi.http.callback_client import CallbackClient
from unoapi.http.webhook_client import MAX_BODY_BYTES, CurlSender


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

    @pytest.mark.parametrize(
        ("location", "shown"),
        [
            ("https://crm.example/hook", "https://crm.example/hook"),
            ("https://user:secret@crm.example/hook?token=secret#x", "https://crm.example/hook"),
            ("/other", "{url}/other"),
            ("https://crm.example/\xe9", ""),
            ("https://[", ""),
        ],
    )
    def test_field_report_86_a_redirect_is_named(
        self, listen: Listen, sender: CurlSender, location: str, shown: str
    ) -> None:
        receiver = listen(answer_with(301, f"Location: {location}"))

        answer = send(sender, receiver.url)

        assert answer.redirect == shown.format(url=receiver.url)
        assert "secret" not in f"{answer}"

    def test_an_interim_answer_is_not_the_answer(self, listen: Listen, sender: CurlSender) -> None:
        interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
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
            pytest.param(mute, id="mute"),
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
            pytest.param(mute, id="mute"),
            pytest.param(say(b"HTTP/1.1 ", then=repeat(b"2", pause_s=0.05)), id="half a status line"),
            pytest.param(say(b"HTTP/1.1 100 Continue\r\n\r\n", then=mute), id="an interim answer only"),
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

    @pytest.mark.parametrize(
        ("reply", "error"),
        [
            pytest.param(mute, "did not answer within 300 ms", id="mute"),
            pytest.param(say(b"SSH-2.0", then=close), "did not answer in HTTP", id="noise"),
        ],
    )
    def test_who_does_not_answer_on_a_connection_that_was_there_is_a_slow_receiver(
        self, listen: Listen, sender: CurlSender, reply: Reply, error: str
    ) -> None:
        receiver = listen(OK, reply)
        send(sender, receiver.url)

        answer = send(sender, receiver.url, timeout_ms=300)

        assert connections_of(receiver) == [1, 1]
        assert (answer.failed_at, answer.error) == ("answer", error)

    @pytest.mark.parametrize("reply", [mute, say(b"", then=close), say(b"", then=reset)])
    def test_without_an_answer_there_is_no_first_byte(self, listen: Listen, sender: CurlSender, reply: Reply) -> None:
        answer = send(sender, listen(reply).url, timeout_ms=200)

        assert answer.timings_ms["first_byte"] == 0
        assert answer.duration_ms >= 100

    @pytest.mark.parametrize(
        ("reply", "error"),
        [
            pytest.param(reset, "connection lost before the answer was complete", id="reset"),
            pytest.param(close, "closed the connection without an answer", id="closed"),
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
        assert answer.failed_at == "answer"

    @pytest.mark.parametrize("status", [200, 503])
    @pytest.mark.parametrize(
        "then",
        [
            pytest.param(close, id="closed"),
            pytest.param(reset, id="reset"),
            pytest.param(mute, id="mute"),
            pytest.param(repeat(b"X: y\r\n", pause_s=0.05), id="header by header"),
        ],
    )
    def test_the_status_line_decides_whatever_becomes_of_the_headers(
        self, listen: Listen, sender: CurlSender, status: int, then: Callable[[socket.socket], None]
    ) -> None:
        receiver, start = listen(say(f"HTTP/1.1 {status} Word\r\nX: y\r\n".encode(), then=then)), time.monotonic()

        answer = send(sender, receiver.url, timeout_ms=300)

        assert (answer.status, answer.error, answer.delivered) == (status, "", status == 200)
        assert time.monotonic() - start < 0.3 + SLACK_S

    def test_noise_after_an_empty_line_is_no_answer(self, listen: Listen, sender: CurlSender) -> None:
        answer = send(sender, listen(say(b"\r\nnoise", then=close)).url)

        assert answer.status is None
        assert answer.error

    @pytest.mark.parametrize(
        ("reply", "status"),
        [
            pytest.param(
                say(b"HTTP/1.1 200 OK\r\n", then=repeat(b"X-Flood: " + b"x" * 999 + b"\r\n")), 200, id="headers"
            ),
            pytest.param(repeat(b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n" * 100), None, id="interim answers"),
        ],
    )
    def test_a_flood_of_headers_is_bounded(
        self, listen: Listen, sender: CurlSender, reply: Reply, status: int | None
    ) -> None:
        receiver = listen(reply)

        answer = send(sender, receiver.url)

        assert answer.status == status
        assert bool(answer.error) == (status is None)
        assert answer.duration_ms < 2500
        assert receiver.client_left.wait(2)

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
            ("120", 120),
            ("\t 7 ", 7),
            ("7200", 7200),
            ("7201", 7200),
            ("Fri, 31 Dec 2999 23:59:59 GMT", 7200),
            ("0", None),
            ("Fri, 31 Dec 1999 23:59:59 GMT", None),
            ("soon", None),
            ("", None),
            ("-5", None),
            ("\xff\xb2", None),
        ],
    )
    def test_both_clients_read_seconds_and_dates_and_nothing_else(
        self, listen: Listen, sender: CurlSender, value: str, expected: int | None
    ) -> None:
        answer = answer_with(429, f"Retry-After: {value}")

        assert send(sender, listen(answer).url).retry_after_s == expected
        assert CallbackClient().post(listen(answer).url, "{}").retry_after_s == expected

    @pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000"])
    @pytest.mark.usefixtures("far_east")
    def test_a_date_is_the_time_from_now_wherever_the_machine_is(
        self, listen: Listen, sender: CurlSender, zone: str
    ) -> None:
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True).replace("GMT", zone)
        answer = answer_with(503, f"Retry-After: {date}")

        for read in (send(sender, listen(answer).url), CallbackClient().post(listen(answer).url, "{}")):
            assert read.retry_after_s is not None
            assert 88 <= read.retry_after_s <= 90

    def test_it_belongs_to_its_own_answer_only(self, listen: Listen, sender: CurlSender) -> None:
        receiver = listen(answer_with(429, "RETRY-after: 30"), answer_with(503))

        answers = [send(sender, receiver.url) for _ in range(2)]

        assert [(answer.status, answer.retry_after_s) for answer in answers] == [(429, 30), (503, None)]
