"""OpenTelemetry: one trace from a request through the queues to a webhook, as a collector gets it; off: nothing."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from tests.support.api import MemoryApi, make_settings
from tests.support.constants import OPERATOR, ROOT
from tests.support.fakes import PHONE, ScriptedProvider, make_fan_out, make_session, make_webhook
from tests.support.raw_http_server import OK
from tests.support.worker import make_uno, run
from unoapi.broker.messages import from_body, to_message
from unoapi.broker.topology import Topology
from unoapi.errors import ConfigurationError
from unoapi.http.address_guard import AddressGuard
from unoapi.http.webhook_client import WebhookClient
from unoapi.models.jobs import Envelope, NotifyNumber
from unoapi.telemetry import tracing
from unoapi.telemetry.tracing import span, start_tracing, stop_tracing, traceparent

pytest.importorskip("opentelemetry.sdk")
service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.raw_http_server import Listen
    from unoapi.bootstrap import Uno

CLIENTS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECRET = "a-token-that-no-span-may-hold"
LOOPBACK = AddressGuard(("127.0.0.0/8",))


class Collector:
    """Takes OTLP over HTTP as a collector does: protobuf, gzipped perhaps, at /v1/traces."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []

    def take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        request = service.ExportTraceServiceRequest()
        request.ParseFromString(body)
        self.paths.append(path)
        self.headers.append(headers)
        self.spans += [
            span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans
        ]


@contextmanager
def collector() -> Iterator[tuple[Collector, str]]:
    taken = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.take(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.end_headers()
            self.wfile.write(service.ExportTraceServiceResponse().SerializeToString())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield taken, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def traces() -> Iterator[Collector]:
    """What a collector got, after `stop_tracing`."""
    with collector() as (taken, url):
        settings = make_settings(UNOAPI_OTLP_ENDPOINT=url, UNOAPI_OTLP_HEADERS=f"authorization=Bearer {SECRET}, x-a=b")
        start_tracing(settings.otlp_traces_url, headers=settings.otlp_headers, share=settings.unoapi_otlp_share)
        try:
            yield taken
        finally:
            stop_tracing()


def attributes(step: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in step.attributes}


def parts(url: str) -> Uno:
    session = make_session(make_webhook(urlAbsolute=f"{url}/hook?key={SECRET}", token=SECRET, sendNewMessages=True))
    return make_uno(
        session,
        webhook_client=WebhookClient(LOOPBACK),
        providers={"whatsmeow": ScriptedProvider()},
        settings={"UNOAPI_AUTH_TOKEN": OPERATOR},
    )


def work(uno: Uno, queue: str) -> None:
    """Run the next message of a queue as a worker does."""
    message = uno.publisher.take(queue)  # type: ignore[attr-defined]
    run(uno, from_body(message.headers["task"], message.body), headers=message.headers)


def test_one_trace_has_every_hop_from_the_request_to_the_webhook(traces: Collector, listen: Listen) -> None:
    receiver = listen(OK)
    uno = parts(receiver.url)
    api = MemoryApi(uno)

    answer = api.post(
        f"/v15.0/{PHONE}/messages?access={SECRET}",
        {"messaging_product": "whatsapp", "to": "5549988887777", "type": "text", "text": {"body": SECRET}},
        headers={"traceparent": CLIENTS},
    )
    work(uno, "unoapi.incoming")
    work(uno, "unoapi.outgoing")
    stop_tracing()

    steps = {step.name: step for step in traces.spans}
    ids = {step.span_id: step.name for step in traces.spans}
    chain = {name: ids.get(step.parent_span_id, step.parent_span_id.hex()) for name, step in steps.items()}
    request = next(name for name in steps if name.startswith("POST /"))
    (posted,) = receiver.requests
    assert answer.status_code == 200
    assert {step.trace_id.hex() for step in traces.spans} == {CLIENTS.split("-")[1]}
    assert chain == {
        request: CLIENTS.split("-")[2],
        "incoming.send": request,
        "outgoing.fan_out": "incoming.send",
        "outgoing.deliver": "outgoing.fan_out",
        "POST webhook": "outgoing.deliver",
    }
    assert posted.headers["traceparent"] == f"00-{CLIENTS.split('-')[1]}-{steps['POST webhook'].span_id.hex()}-01"
    assert attributes(steps["POST webhook"])["http.response.status_code"] == 200
    assert attributes(steps[request])["http.response.status_code"] == 200
    assert attributes(steps["incoming.send"])["unoapi.phone"] == PHONE
    assert attributes(steps["incoming.send"])["messaging.destination.name"] == "unoapi.incoming"
    assert SECRET not in str(traces.spans)


def test_the_collector_gets_its_headers_at_the_protocols_path(traces: Collector) -> None:
    with span("step", "consumer"):
        pass
    stop_tracing()

    assert traces.paths == ["/v1/traces"]
    assert traces.headers[0]["authorization"] == f"Bearer {SECRET}"
    assert traces.headers[0]["x-a"] == "b"
    assert traces.headers[0]["content-type"] == "application/x-protobuf"


def test_a_retry_goes_on_with_the_trace_of_its_first_attempt(traces: Collector, listen: Listen) -> None:
    uno = parts(listen(b"HTTP/1.1 500 Nope\r\nContent-Length: 0\r\n\r\n").url)
    with span("before", "server", parent=CLIENTS):
        message = to_message(Envelope(make_fan_out()), uno.topology)
    run(uno, from_body(message.headers["task"], message.body), headers=message.headers)
    again = next(
        uno.publisher.take(queue.name)  # type: ignore[attr-defined]
        for queue in uno.topology.queues
        if "delayed" in queue.name and uno.publisher.depth(queue.name)  # type: ignore[attr-defined]
    )
    stop_tracing()

    tried = next(step for step in traces.spans if step.name == "outgoing.deliver")
    assert again.headers["traceparent"].split("-")[1] == CLIENTS.split("-")[1]
    assert again.headers["traceparent"].split("-")[2] == tried.span_id.hex()


NO_PARENTS = ["nonsense", f"00-{'0' * 32}-{'0' * 16}-01", "x" * 10_000, 7, b"\xff", [CLIENTS]]


@pytest.mark.parametrize("parent", NO_PARENTS)
def test_a_header_that_is_none_begins_a_trace_of_its_own(traces: Collector, parent: object) -> None:
    with span("step", "consumer", parent=parent):
        assert traceparent().count("-") == 3
    stop_tracing()

    (step,) = traces.spans
    assert step.parent_span_id == b""


def test_a_failure_is_told_by_its_class_and_not_by_its_text(traces: Collector) -> None:
    with pytest.raises(LookupError), span("step", "consumer"):
        raise LookupError(SECRET)
    stop_tracing()

    (step,) = traces.spans
    assert attributes(step)["unoapi.outcome"] == "LookupError"
    assert SECRET not in str(step)


def test_a_share_of_nothing_exports_nothing_and_still_hands_the_trace_on() -> None:
    with collector() as (taken, url):
        start_tracing(f"{url}/v1/traces", headers={}, share=0.0)
        with span("step", "server", parent=CLIENTS):
            handed = traceparent()
        stop_tracing()

    assert taken.spans == []
    assert handed.startswith(f"00-{CLIENTS.split('-')[1]}-")
    assert handed.endswith("-00")


def test_a_collector_that_is_away_holds_nobody_up(capfd: pytest.CaptureFixture[str]) -> None:
    start_tracing("http://127.0.0.1:1/v1/traces", headers={"authorization": SECRET}, share=1.0)
    began = time.monotonic()
    for _ in range(tracing.MOST_WAITING + 500):
        with span("step", "consumer"):
            pass
    took_s = time.monotonic() - began
    stop_tracing()

    assert took_s < 5
    assert time.monotonic() - began < 10
    assert SECRET not in "".join(capfd.readouterr())


# --- off ---


def test_off_nothing_of_it_is_needed_or_loaded() -> None:
    script = (
        "import sys; sys.modules.update(dict.fromkeys(('opentelemetry', 'apprise')))\n"
        "import unoapi.broker.messages, unoapi.http.webhook_client, unoapi.http.alert_channels, unoapi.web.tracing\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.', 'apprise.', 'google.'))])"
    )

    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=True)

    assert loaded.stdout.strip() == "[]"


@pytest.mark.parametrize("package", ["opentelemetry", "apprise"])
def test_no_module_loads_it_when_it_is_imported(package: str) -> None:
    files = [path for folder in ("unoapi", "tasks") for path in (ROOT / folder).rglob("*.py")]

    assert [
        path for path in files if re.search(rf"^(import|from) {package}", path.read_text("utf-8"), re.MULTILINE)
    ] == []


def test_without_the_packages_the_setting_is_refused_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)

    with pytest.raises(ConfigurationError, match="make otel"):
        start_tracing("http://127.0.0.1:1/v1/traces", headers={}, share=1.0)


def test_off_no_message_has_a_header() -> None:
    notice = NotifyNumber(id="1", phone=PHONE, webhook_id="default", text="x")

    with span("step", "consumer", parent=CLIENTS) as nothing:
        headers = to_message(Envelope(notice), Topology("unoapi")).headers

    assert nothing is None
    assert traceparent() == ""
    assert "traceparent" not in headers


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("http://collector:4318/", "http://collector:4318/v1/traces"),
        ("https://otlp.example/custom/traces", "https://otlp.example/custom/traces"),
    ],
)
def test_an_address_without_a_path_gets_that_of_the_protocol(endpoint: str, url: str) -> None:
    assert make_settings(UNOAPI_OTLP_ENDPOINT=endpoint).otlp_traces_url == url
    assert make_settings().otlp_traces_url == ""


@pytest.mark.parametrize("value", ["no pair", "a=b\nc=d", "=x", "a=" + "x" * 5000])
def test_headers_that_are_none_are_refused_and_not_shown(value: str) -> None:
    with pytest.raises(ValidationError) as refused:
        make_settings(UNOAPI_OTLP_HEADERS=value)

    assert "unoapi_otlp_headers" in str(refused.value)
