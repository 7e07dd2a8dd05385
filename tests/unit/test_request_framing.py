"""Where a request ends, however its bytes come."""

from __future__ import annotations

import pytest

from unoapi.web.request_framing import Inbox

HEAD = b"POST /a?b=c HTTP/1.1\r\nHost: a\r\n"
SIZED = HEAD + b"Content-Length: 5\r\nAuthorization: Bearer t\r\n\r\nhello"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\n"


@pytest.mark.parametrize(
    "request_bytes",
    [HEAD + b"\r\n", b"\r\n" + HEAD + b"\r\n", SIZED, CHUNKED + b"\r\n", CHUNKED + b"X: trailer\r\n\r\n"],
    ids=["no body", "empty line", "sized", "in pieces", "trailers"],
)
def test_a_request_is_complete_with_its_last_byte(request_bytes: bytes) -> None:
    inbox = Inbox()
    complete = []
    for byte in request_bytes:
        inbox.feed(bytes([byte]))
        complete.append(inbox.complete)

    assert complete == [False] * (len(request_bytes) - 1) + [True]
    assert Inbox(request_bytes).complete


@pytest.mark.parametrize(
    "broken",
    [HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", HEAD + b"Content-Length: -1\r\n\r\n"],
    ids=["a size that is none", "a length that is none"],
)
def test_what_has_no_clear_end_is_left_to_the_parser(broken: bytes) -> None:
    assert Inbox(broken).complete


@pytest.mark.parametrize(
    "padded",
    [
        HEAD + b"Content-Length: %s5\r\n\r\n" % (b"0" * 30),
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n%s5\r\n" % (b"0" * 30),
    ],
    ids=["length", "size"],
)
def test_zeros_before_a_number_do_not_end_a_request(padded: bytes) -> None:
    """The parser takes them: what was taken for complete would be run again with each byte that comes."""
    assert not Inbox(padded + b"hell").complete


def test_the_head_says_how_long_the_body_is() -> None:
    inbox = Inbox(SIZED)

    assert (inbox.body_length, inbox.body_here) == (5, 5)


def test_what_follows_a_request_is_kept() -> None:
    assert Inbox(SIZED + SIZED).data == SIZED + SIZED


@pytest.mark.parametrize(
    ("came", "ends"),
    [
        (SIZED, True),
        (HEAD + b"\r\n", True),
        (SIZED[:-1], False),
        (SIZED + HEAD, False),
        (HEAD + b"\r\n" + b"P", False),
        (CHUNKED + b"\r\n", False),
    ],
    ids=["sized", "no body", "not whole", "another behind it", "its first byte", "in pieces"],
)
def test_of_a_sized_request_is_known_whether_anything_came_behind_it(came: bytes, ends: bool) -> None:
    assert Inbox(came).ends_here is ends
