"""A request of the usual form is read as gunicorn reads it; every other form is left to gunicorn."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gunicorn import http  # type: ignore[import-untyped]
from gunicorn.config import Config  # type: ignore[import-untyped]
from gunicorn.http import wsgi  # type: ignore[import-untyped]

from tests.support.constants import CONTACT, PHONE
from unoapi.web.client_sockets import Gathered
from unoapi.web.ordinary_requests import begins_ordinary, environ_of
from unoapi.web.request_framing import Inbox

BODY = json.dumps({"to": CONTACT, "type": "text", "text": {"body": "hi\r\n\r\nthere"}}).encode()
PATH = f"/v15.0/{PHONE}/messages"
HOST, TYPE, LENGTH = "Host: api.test:9876", "Content-Type: application/json", f"Content-Length: {len(BODY)}"
USUAL = (HOST, TYPE, LENGTH, "Authorization: Bearer a-token")


def request(*fields: str, line: str = f"POST {PATH} HTTP/1.1", body: bytes = BODY) -> bytes:
    return "".join(f"{text}\r\n" for text in (line, *fields)).encode("latin-1") + b"\r\n" + body


def read(raw: bytes) -> dict[str, Any] | None:
    inbox = Inbox(raw)
    return environ_of(inbox) if begins_ordinary(inbox) else None


def read_by_gunicorn(raw: bytes) -> dict[str, Any]:
    config = Config()
    parser = http.get_parser(config, iter([]), ("127.0.0.1", 4711))
    parser.unreader = Gathered(bytes(Inbox(raw).data))
    parsed = next(parser)
    assert not parsed.should_close()
    _, environ = wsgi.create(parsed, None, ("127.0.0.1", 4711), ("127.0.0.1", 9876), config)
    return dict(environ)


ORDINARY = {
    "usual": request(*USUAL),
    "the case of names": request("hOST: a", "content-TYPE: application/json", LENGTH, "AUTHORIZATION: x"),
    "white space around": request("Host:   a  ", TYPE, LENGTH, "Authorization:x", "X-Empty:", "X-Blank:  "),
    "a proxy": request(*USUAL, "X-Forwarded-For: 1.2.3.4, 5.6.7.8", "X-Forwarded-Proto: https", "X-Real-IP: 1.2.3.4"),
    "keep-alive": request(*USUAL, "Connection: Keep-Alive", "User-Agent: curl/8", "Accept: */*", "Cookie: a=b; c=d"),
    "another address": request(*USUAL, line="POST /nowhere HTTP/1.1"),
    "no body": request(HOST, "Content-Length: 0", body=b""),
    "an empty line first": b"\r\n" + request(*USUAL),
}
OTHER = {
    "a GET": request(*USUAL, line=f"GET {PATH} HTTP/1.1"),
    "HTTP/1.0": request(*USUAL, line=f"POST {PATH} HTTP/1.0"),
    "an escaped path": request(*USUAL, line="POST /v15.0/%35/messages HTTP/1.1"),
    "a query": request(*USUAL, line=f"POST {PATH}?a=b HTTP/1.1"),
    "a fragment": request(*USUAL, line=f"POST {PATH}#a HTTP/1.1"),
    "a whole address": request(*USUAL, line=f"POST http://api.test{PATH} HTTP/1.1"),
    "two spaces": request(*USUAL, line=f"POST  {PATH} HTTP/1.1"),
    "a bare line feed": request(*USUAL).replace(b"\r\nHost", b"\nHost", 1),
    "a folded line": request(*USUAL, "X-Long: a", " b"),
    "a name twice": request(*USUAL, "host: b"),
    "a length twice": request(*USUAL, LENGTH),
    "a name with an underscore": request(*USUAL, "X_Token: a"),
    "a space before the colon": request(*USUAL, "X-Token : a"),
    "no colon": request(*USUAL, "nonsense"),
    "no name": request(*USUAL, ": a"),
    "not ASCII": request(*USUAL, "X-Name: \xe9"),
    "a tab": request(*USUAL, "X-Name: a\tb"),
    "a NUL": request(*USUAL, "X-Name: a\x00b"),
    "a bare carriage return": request(*USUAL, "X-Name: a\rb"),
    "close": request(*USUAL, "Connection: close"),
    "an upgrade": request(*USUAL, "Connection: Upgrade", "Upgrade: websocket"),
    "several about the connection": request(*USUAL, "Connection: keep-alive, TE"),
    "pieces": request(HOST, TYPE, "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "pieces and a length": request(*USUAL, "Transfer-Encoding: chunked"),
    "100-continue": request(*USUAL, "Expect: 100-continue"),
    "trailers": request(*USUAL, "TE: trailers"),
    "a forwarded scheme that may contradict": request(*USUAL, "X-Forwarded-Proto: https", "X-Forwarded-Ssl: off"),
    "no length": request(HOST, TYPE),
    "a length with a sign": request(HOST, TYPE, f"Content-Length: +{len(BODY)}"),
    "a length with a zero": request(HOST, TYPE, f"Content-Length: 0{len(BODY)}"),
    "two lengths in one": request(HOST, TYPE, f"Content-Length: {len(BODY)},{len(BODY)}"),
    "less than its length": request(HOST, TYPE, "Content-Length: 4000"),
    "something behind it": request(*USUAL) + b"POST /next",
    "a long head": request(*USUAL, *(f"X-{number}: {'a' * 4000}" for number in range(3))),
    "a long value": request(*USUAL, f"X-Long: {'a' * 5000}"),
    "many fields": request(*USUAL, *(f"X-{number}: a" for number in range(60))),
}


def assert_read_alike(raw: bytes) -> None:
    environ, by_gunicorn = read(raw), read_by_gunicorn(raw)

    assert environ is not None
    assert environ.pop("wsgi.input").read() == by_gunicorn["wsgi.input"].read()
    assert environ == {key: by_gunicorn.get(key, "") for key in environ}, raw
    said = {key for key in by_gunicorn if key.startswith(("HTTP_", "CONTENT_"))}
    assert said - environ.keys() <= {"HTTP_CONNECTION"}, raw


@pytest.mark.parametrize("name", ORDINARY)
def test_what_is_read_is_what_gunicorn_reads(name: str) -> None:
    assert_read_alike(ORDINARY[name])


@pytest.mark.parametrize("name", OTHER)
def test_another_form_is_left_to_gunicorn(name: str) -> None:
    assert read(OTHER[name]) is None


def test_no_changed_byte_makes_it_read_something_else_than_gunicorn() -> None:
    raw, taken = ORDINARY["usual"], 0

    for place in range(raw.index(b"\r\n\r\n")):
        for byte in b" \t\r\n:,0aZ\x00\x7f\xff_-%?#":
            changed = raw[:place] + bytes([byte]) + raw[place + 1 :]
            if read(changed) is not None:
                assert_read_alike(changed)
                taken += 1

    assert taken > 100
