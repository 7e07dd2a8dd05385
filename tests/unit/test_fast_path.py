"""The fast path of messages: every request is answered, queued and recorded as Flask does it."""

from __future__ import annotations

import io
import json
import random
import re
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.support.api import MemoryApi, memory_api
from tests.support.constants import CONTACT, OPERATOR, PHONE
from unoapi.errors import StoreUnavailable
from unoapi.stores.backlog import RedisBacklog
from unoapi.stores.idempotency import RedisIdempotency
from unoapi.stores.message_log import RedisMessageLog
from unoapi.stores.redis import RedisClient
from unoapi.stores.send_order import RedisSendOrder
from unoapi.stores.traces import TIME_CHARS, RedisTraces
from unoapi.telemetry.metrics import metrics
from unoapi.web import messages
from unoapi.web.fast_path import FastPath
from unoapi.web.waiting import CALLER, REPEATED, BodyNotHereError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OTHER, UNKNOWN = "5521977776666", "5531900000000"
TOKEN = f"session-token-{PHONE}"
PATH = f"/v15.0/{PHONE}/messages"
TEXT = {"messaging_product": "whatsapp", "to": CONTACT, "type": "text", "text": {"body": "Olá 😀"}}
MESSAGE_ID, NUMBER = re.compile(r"wamid\.[0-9A-F]{32}"), re.compile(r"(?<![0-9])1[0-9]{12}(?:[0-9]{3})?(?![0-9])")
TRACE_ID = re.compile(r'"fbtrace_id":"[^"]+"')


class RecordedRedis(RedisClient):
    """Notes the commands, in the order in which they are given. `away` stands for a Redis that does not answer."""

    def __init__(self) -> None:
        super().__init__("redis://127.0.0.1:1")
        self.commands: list[str] = []
        self.away = False
        self.waiting = 0
        """How many messages of a number wait to be sent."""

    def begin(self, *commands: Any) -> Callable[[], list[Any]]:
        if self.away:
            raise StoreUnavailable("Redis is away")
        self.post(*commands)
        answers = {"GET": None, "ZCOUNT": self.waiting}
        return lambda: [answers.get(name, 1) for name, *_ in commands]

    def post(self, *commands: Any, **_: Any) -> None:
        if commands[0][0] == "ZREMRANGEBYSCORE":
            return  # how many messages wait is asked once a second
        for name, key, *values in commands:
            packed = name == "RPUSH" and key.startswith("unoapi-trace:")
            shown = [value[TIME_CHARS:] for value in values] if packed else values
            self.commands.append(f"{name} {key} {shown}")


@dataclass(frozen=True)
class Row:
    """A request, and whether Flask is needed for it: without that it is ordinary, or its error is Flask's to say."""

    name: str
    body: Any = field(default_factory=lambda: TEXT)
    path: str = PATH
    method: str = "POST"
    flask: bool = False
    variables: dict[str, str | None] = field(default_factory=dict)

    @property
    def raw(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()

    def environ(self) -> dict[str, Any]:
        """What gunicorn gives an application."""
        environ = {
            "REQUEST_METHOD": self.method, "SCRIPT_NAME": "", "PATH_INFO": self.path, "QUERY_STRING": "",
            "SERVER_NAME": "0.0.0.0", "SERVER_PORT": "9876", "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "api.test:9876", "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": f"{len(self.raw)}",
            "HTTP_AUTHORIZATION": f"Bearer {TOKEN}",
            "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(self.raw),
            "wsgi.errors": sys.stderr, "wsgi.multithread": True, "wsgi.multiprocess": True, "wsgi.run_once": False,
            **self.variables,
        }  # fmt: skip
        return {name: value for name, value in environ.items() if value is not None}


def with_(name: str, *, flask: bool = False, **variables: str | None) -> Row:
    return Row(name, flask=flask, variables=variables)


def said(name: str, **parts: Any) -> Row:
    return Row(name, body={**TEXT, **parts})


ORDINARY = [
    Row("a text"),
    with_("the operator", HTTP_AUTHORIZATION=OPERATOR),
    with_("OAuth", HTTP_AUTHORIZATION=f"oauth   {TOKEN} "),
    with_("the configured header over Authorization", HTTP_X_TOKEN=TOKEN, HTTP_AUTHORIZATION="wrong"),
    with_("an empty configured header", HTTP_X_TOKEN=""),
    with_("a charset", CONTENT_TYPE="Application/JSON; charset=UTF-8"),
    with_("an idempotency key", HTTP_IDEMPOTENCY_KEY="order-1"),
    with_("a cookie and a proxy", HTTP_COOKIE="a=b", HTTP_X_FORWARDED_FOR="1.2.3.4", HTTP_EXPECT="100-continue"),
    Row("another version", path=f"/v999/{PHONE}/messages"),
    Row("a text without its type", body={"to": CONTACT, "text": {"body": "hi"}}),
    Row("white space around", body=b" \r\n" + json.dumps(TEXT).encode() + b"\n"),
    Row("a byte order mark", body=b"\xef\xbb\xbf" + json.dumps(TEXT).encode()),
    Row("escapes", body=json.dumps(TEXT | {"text": {"body": "\u00e9\n\U0001f600"}}).encode()),
    Row("names twice", body=b'{"to":"1","to":"5549988887777","type":"text","text":{"body":"hi"}}'),
    said("JSON within JSON", text='{"body": "hi"}'),
    said("fields that nobody knows", priority="high", nested={"a": [1, None, {}]}),
    said("tokens within", access_token=TOKEN, authToken=TOKEN, auth_token=TOKEN),
    Row("read", body={"status": "read", "message_id": "wamid.ABC"}),
    Row("typing", body={"status": "read", "message_id": "wamid.ABC", "typing_indicator": {"type": "text"}}),
    Row("a picture", body={"to": CONTACT, "type": "image", "image": {"link": "https://files.test/a.png"}}),
    Row("a template", body={
        "to": CONTACT, "type": "template", "template": {"name": "hello", "language": {"code": "en_US"}},
    }),
    Row("buttons", body={"to": CONTACT, "type": "interactive", "interactive": {
        "type": "button", "body": {"text": "?"},
        "action": {"buttons": [{"type": "reply", "reply": {"id": "y", "title": "Yes"}}]},
    }}),
    Row("a user id", body={"recipient": "BR.12345", "type": "text", "text": {"body": "hi"}}),
    Row("a group", body={"to": "120363000000000000@g.us", "recipient_type": "group", "text": {"body": "hi"}}),
]  # fmt: skip
REFUSED = [
    with_("another number's token", flask=True, HTTP_AUTHORIZATION=f"session-token-{OTHER}"),
    with_("a wrong token", flask=True, HTTP_AUTHORIZATION="Bearer wrong"),
    with_("a token that is no text", flask=True, HTTP_AUTHORIZATION="Bearer \xe9\x80\xff"),
    with_("no token", flask=True, HTTP_AUTHORIZATION=None),
    with_("an empty token", flask=True, HTTP_AUTHORIZATION=""),
    with_("a scheme alone", flask=True, HTTP_AUTHORIZATION="Bearer "),
    Row("a number that nobody serves", path=f"/v15.0/{UNKNOWN}/messages", flask=True,
        variables={"HTTP_AUTHORIZATION": OPERATOR}),
    Row("the same for a session", path=f"/v15.0/{UNKNOWN}/messages", flask=True),
    with_("a bad idempotency key", flask=True, HTTP_IDEMPOTENCY_KEY="\xe9 \t"),
    with_("an empty idempotency key", flask=True, HTTP_IDEMPOTENCY_KEY=""),
    *(Row(f"a body: {name}", body=body, flask=True) for name, body in {
        "not JSON": b"{nonsense", "no object": b"[1]", "a text": b'"hi"', "null": b"null", "blank": b"  ",
        "not UTF-8": b'{"to": "\xff"}', "UTF-16": json.dumps(TEXT).encode("utf-16"), "deep": b"[" * 5000,
        "infinite": b'{"to": Infinity}', "NaN": b'{"to": NaN}', "1e999": b'{"to": 1e999}',
        "half a pair": b'{"to": "5549988887777", "text": {"body": "\\ud800"}}',
        "a control character": b'{"to": "5549988887777", "text": {"body": "\\u0007"}}', "a NUL": b"\x00",
        "a form": b"to=5549988887777&type=text", "nothing": {}, "a long number": b'{"to":' + b"9" * 5000 + b"}",
        "no receiver": {"type": "text", "text": {"body": "hi"}}, "no text": {"to": CONTACT, "type": "text"},
        "an unknown type": {"to": CONTACT, "type": "hologram"}, "a list as type": {"to": CONTACT, "type": []},
        "a bad number": TEXT | {"to": "12"}, "too long a text": TEXT | {"text": {"body": "x" * 5000}},
        "a bad status": {"status": "burnt", "message_id": "x"}, "a file that nobody has":
            {"to": CONTACT, "type": "image", "image": {"id": "123456789012345678"}},
        "an object as receiver": TEXT | {"to": {"$ne": ""}}, "text as list": TEXT | {"text": ["hi"]},
    }.items()),
]  # fmt: skip
UNUSUAL = [
    replace(row, flask=True) for row in (
        with_("a query", QUERY_STRING="a=b"),
        with_("a token in the query", QUERY_STRING=f"access_token={TOKEN}", HTTP_AUTHORIZATION=None),
        with_("a query that is no text", QUERY_STRING="a=%00"),
        with_("a page of elsewhere", HTTP_ORIGIN="https://evil.test"),
        with_("an allowed page", HTTP_ORIGIN="https://crm.test"),
        *(with_(f"the host {host!r}", HTTP_HOST=host) for host in (
            None, "", "a..b", "x" * 64, "é", "[::1]:9876", "a b", "a/b", "api.test:99999999", "api.test:x", "a@b",
            "api.test\n", ".",
        )),
        *(with_(f"the type {kind!r}", CONTENT_TYPE=kind) for kind in (
            None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
            "multipart/form-data", "application/json; charset=latin-1", "application/json\n", "nonsense", "*/*",
            "application/jsonx",
        )),
        *(with_(f"the length {length!r}", CONTENT_LENGTH=length) for length in (
            None, "", "0", "-1", "1.5", "abc", "1_0", "٣", "9" * 30, "+5", " 5", f"{300 * 1024}",
        )),
        with_("pieces", HTTP_TRANSFER_ENCODING="chunked", CONTENT_LENGTH=None),
        Row("too large", body={**TEXT, "text": {"body": "x" * 300_000}}),
        Row("a form", body=f'to={CONTACT}&type=text&text={{"body":"hi"}}'.encode(),
            variables={"CONTENT_TYPE": "application/x-www-form-urlencoded"}),
        *(Row(f"the method {method}", method=method) for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "post")),
        *(Row(f"the path {path!r}", path=path) for path in (
            f"/{PHONE}/messages", f"{PATH}/", f"/{PATH}", f"/v15.0/+{PHONE}/messages", f"{PATH}\n",
            f"/latest/{PHONE}/messages", f"/v15.0/{PHONE}/messages/x", "/v15.0/my-account/messages", "/v15.0//messages",
            f"/v15.0.1/{PHONE}/messages", f"/v15.0/{'9' * 21}/messages", "/v15.0/\xd9\xa3\xd9\xa3/messages",
            f"/v15.0/{PHONE}/marketing_messages", "/", "",
            f"/V15.0/{PHONE}/messages", f"/v15.0/{PHONE}/messages\x00",
        )),
    )
]  # fmt: skip
SHORT = with_("a body that breaks off", flask=True, CONTENT_LENGTH="4000")


@dataclass
class Way:
    """One application, of which everything that a request leaves behind is noted."""

    api: MemoryApi
    redis: RecordedRedis
    flask_runs: int = 0

    def ask(self, row: Row, environ: dict[str, Any] | None = None) -> tuple[Any, ...]:
        """Make a request; returns what came of it, without ids and times."""
        random.seed(1)  # the message log is cut by chance
        self.flask_runs = 0
        self.redis.commands.clear()
        environ = row.environ() if environ is None else environ
        heads: list[tuple[str, list[tuple[str, str]]]] = []
        counted = self._counted()

        def start(status: str, headers: list[tuple[str, str]], *_: Any) -> Callable[[bytes], None]:
            heads.append((status, headers))
            return lambda _: None

        pieces = self.api.app(environ, cast("Any", start))
        body = b"".join(pieces)
        cast("Any", getattr(pieces, "close", lambda: None))()
        queues = self.api.queues.topology.queues
        jobs = [job.model_dump(mode="json") for job in self.api.queues.jobs(*(queue.name for queue in queues))]
        counts = {
            key: count - counted.get(key, 0) for key, count in self._counted().items() if count > counted.get(key, 0)
        }
        left = (heads, body.decode(), jobs, self.redis.commands, environ.get(CALLER), sorted(counts.items()))
        return tuple(_plain(part) for part in left)

    def _counted(self) -> dict[str, float]:
        return {
            f"{sample.labels}": sample.value
            for metric in metrics().registry.collect()
            for sample in metric.samples
            if sample.name in ("unoapi_requests_total", "unoapi_request_seconds_count")
        }


def _plain(part: Any) -> str:
    text = TRACE_ID.sub("TRACE", f"{part}")
    return NUMBER.sub("TIME", MESSAGE_ID.sub("ID", text))


@contextmanager
def way(*, fast: bool, **settings: str) -> Iterator[Way]:
    """An application with the fast path, or Flask alone."""
    with memory_api(UNOAPI_HEADER_NAME="X-Token", UNOAPI_CORS_ORIGINS="https://crm.test", **settings) as running:
        noted = RecordedRedis()
        traces = RedisTraces(noted, ttl_s=60)
        uno = replace(
            running.uno,
            send_order=RedisSendOrder(noted),
            backlog=RedisBacklog(noted, traces, most=10_000, max_age_s=600),
            traces=traces,
            message_log=RedisMessageLog(noted, most=100, ttl_s=60),
            idempotency=RedisIdempotency(noted),
        )
        api = MemoryApi(uno)
        made = Way(api, noted)
        path = cast("FastPath", api.app.wsgi_app)
        assert isinstance(path, FastPath)
        flask = path.flask

        def counted(environ: dict[str, Any], start_response: Any) -> Any:
            made.flask_runs += 1
            return flask(environ, start_response)

        path.flask = counted
        if not fast:
            api.app.wsgi_app = counted  # type: ignore[method-assign]
        for phone in (PHONE, OTHER):
            api.register([{"id": "main", "urlAbsolute": "http://receiver.test/hook"}], phone=phone)
        yield made


@pytest.fixture(scope="module")
def ways() -> Iterator[tuple[Way, Way]]:
    with way(fast=True) as fast, way(fast=False) as slow:
        yield fast, slow


@pytest.mark.parametrize("row", [*ORDINARY, *REFUSED, *UNUSUAL, SHORT], ids=lambda row: row.name)
def test_both_ways_answer_queue_and_record_the_same(ways: tuple[Way, Way], row: Row) -> None:
    fast, slow = ways

    assert fast.ask(row) == slow.ask(row)
    assert fast.flask_runs == row.flask


def test_an_ordinary_message_is_queued_with_all_that_is_kept_of_it(ways: tuple[Way, Way]) -> None:
    heads, body, jobs, commands, caller, counts = ways[0].ask(ORDINARY[0])

    assert heads.startswith("[('200 OK', [('Content-Type', 'application/json'), ('Content-Length', '")
    assert json.loads(body)["messages"] == [{"id": "ID"}]
    assert jobs.count("'body'") == 1
    assert all(key in commands for key in ("unoapi-sends:", "unoapi-backlog:", "unoapi-trace:", "unoapi-messages:"))
    assert caller == TOKEN
    assert messages.RULE in counts


def broken_queue(way: Way) -> None:
    way.api.queues.away = True


def redis_away(way: Way) -> None:
    way.redis.away = True
    way.api.uno.sessions.away = True  # type: ignore[attr-defined]


def redis_refuses_only_the_order(way: Way) -> None:
    way.redis.away = True


def full_backlog(way: Way) -> None:
    way.redis.waiting = 10_000


def broken_log(way: Way) -> None:
    cast("Any", way.api.uno.message_log).add = None  # what comes after the publish fails


@pytest.mark.parametrize(
    ("trouble", "status", "queued"),
    [
        (broken_queue, "503", 0),
        (redis_away, "503", 0),
        (redis_refuses_only_the_order, "200", 1),
        (full_backlog, "429", 0),
        (broken_log, "500", 1),
    ],
)
def test_in_trouble_both_ways_answer_the_same_and_publish_at_most_once(
    trouble: Callable[[Way], None], status: str, queued: int
) -> None:
    with way(fast=True) as fast, way(fast=False) as slow:
        trouble(fast)
        trouble(slow)

        came = fast.ask(ORDINARY[0])

        assert came == slow.ask(ORDINARY[0])
        assert came[0].startswith(f"[('{status} ")
        assert came[2].count("'body'") == queued


def test_a_request_counts_once_against_its_tokens_rate_limit() -> None:
    with way(fast=True, UNOAPI_RATE_LIMIT="4") as fast, way(fast=False, UNOAPI_RATE_LIMIT="4") as slow:
        rows = [ORDINARY[0], said("no text", text=None), with_("wrong", HTTP_AUTHORIZATION="x"), *[ORDINARY[0]] * 3]

        answers = [[way.ask(row)[0][3:6] for row in rows] for way in (fast, slow)]

    assert answers == [["200", "400", "401", "200", "200", "429"]] * 2


def test_a_body_that_has_not_come_is_waited_for_and_the_request_counts_once() -> None:
    class NotHere(io.BytesIO):
        def read(self, _: int | None = -1, /) -> bytes:
            raise BodyNotHereError

    with way(fast=True, UNOAPI_RATE_LIMIT="1") as fast:
        environ = ORDINARY[0].environ()

        with pytest.raises(BodyNotHereError):
            fast.ask(ORDINARY[0], {**environ, "wsgi.input": NotHere()})
        again = fast.ask(ORDINARY[0], {**environ, REPEATED: True})

        assert again[0].startswith("[('200 OK'")
        assert fast.flask_runs == 0


def test_without_an_operators_token_every_request_is_flasks() -> None:
    with memory_api(UNOAPI_AUTH_TOKEN="") as running:
        assert not isinstance(running.app.wsgi_app, FastPath)


def test_what_is_done_for_every_request_is_known_here_too() -> None:
    """Whoever adds a hook of all requests decides what it means for those that Flask does not see."""
    with memory_api() as running:
        hooks = [*running.app.before_request_funcs[None], *running.app.after_request_funcs[None]]

        assert {hook.__module__.rpartition(".")[2] for hook in hooks} == {
            "metrics",  # counted there as well
            "headers",  # the same ones
            "request_body",  # the path and the query of an ordinary request are text
            "audit",  # messages are no changes
            "fast_path",
        }
        assert not running.app.teardown_request_funcs
