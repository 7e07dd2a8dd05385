"""Metrics: one port for all processes of a host, the numbers that the dashboard and the alerts use, and no others."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn
from wsgiref.simple_server import WSGIServer

import pytest
import redis
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from tests.support.receiver import Behaviour
from tests.support.stack import CONTACT, OPERATOR, PHONE, ROOT, TOPOLOGY, Stack, eventually, stack
from unoapi.bootstrap import bootstrap
from unoapi.broker.messages import to_message
from unoapi.broker.publisher import ConfirmingPublisher
from unoapi.broker.queue_monitor import QueueCollector
from unoapi.devenv.ports import free_port
from unoapi.models.jobs import Envelope, PrepareMessage
from unoapi.settings import Settings
from unoapi.telemetry.exporter import Listener, ProcessRegistry
from unoapi.telemetry.processes import WEB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from prometheus_client import Metric
    from prometheus_client.samples import Sample

    from tests.support.receiver import Receiver
    from unoapi.devenv.servers import PrivateServers

MONITORING = ROOT / "compose" / "monitoring"
NAME = re.compile(r"\bunoapi_\w+")


def asked() -> str:
    """All queries of the dashboard and of the alerts."""
    panels = json.loads((MONITORING / "grafana" / "dashboards" / "unoapi.json").read_text())["panels"]
    shown = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    groups = yaml.load((MONITORING / "prometheus" / "rules.yml").read_text(), Loader=yaml.CSafeLoader)["groups"]
    return " ".join([*shown, *(rule["expr"] for group in groups for rule in group["rules"])])


def used() -> set[str]:
    """The names of our metrics in them."""
    return set(NAME.findall(asked()))


def chosen() -> set[tuple[str, str, str]]:
    """The labels that they choose by: metric, label, and the value if it is a single one."""
    series = set()
    for name, choices in re.findall(r"\b(unoapi_\w+)\{([^}]*)\}", asked()):
        for label, how, value in re.findall(r'(\w+)(=~|!=|!~|=)"([^"]*)"', choices):
            series.add((name, label, value if how in ("=", "!=") else ""))
    return series


class Page:
    """What Prometheus reads."""

    def __init__(self, uno: Stack) -> None:
        began = time.monotonic()
        answer = requests.get(f"http://127.0.0.1:{uno.environment['UNOAPI_METRICS_PORT']}/metrics", timeout=15)
        self.seconds = time.monotonic() - began
        assert answer.status_code == 200
        self.text = answer.text
        self.samples: list[Sample] = [
            sample for family in text_string_to_metric_families(answer.text) for sample in family.samples
        ]

    @property
    def names(self) -> set[str]:
        return {sample.name for sample in self.samples}

    def total(self, name: str, **labels: str) -> float:
        return sum(
            sample.value for sample in self.samples if sample.name == name and labels.items() <= sample.labels.items()
        )

    def waiting(self) -> float:
        """Messages in all waiting buckets."""
        buckets = ["delayed", *(f"delayed.{number}" for number in range(1, 18)), "held.*"]
        return sum(self.total("unoapi_queue_messages", queue=bucket, state="ready") for bucket in buckets)

    def labels(self, name: str, label: str) -> set[str]:
        return {sample.labels[label] for sample in self.samples if sample.name == name}


def read(uno: Stack) -> Page | None:
    try:
        return Page(uno)
    except requests.RequestException:
        return None


def seen(uno: Stack, check: Callable[[Page], Any], *, within_s: float = 20.0) -> Page:
    """The first page that is as it should be."""
    pages: list[Page] = []

    def good() -> bool:
        page = read(uno)
        pages[:] = [page] if page else []
        return bool(page and check(page))

    try:
        eventually(good, within_s=within_s, every_s=0.3)
    except AssertionError as error:
        shown = [line for page in pages for line in page.text.splitlines() if line[0] != "#" and line[-3:] != "0.0"]
        raise AssertionError("\n".join(shown)) from error
    return pages[0]


@pytest.fixture(scope="module")
def running(servers: PrivateServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two web processes, a worker and two pool children for media, on one host."""
    settings = {
        "UNOAPI_METRICS_PORT": str(free_port()),
        "RABBITMQ_MANAGEMENT_URL": servers.management_url,
        "UNOAPI_WEB_PROCESSES": "2",
        "UNOAPI_MESSAGE_RETRY_LIMIT": "1",
        "UNOAPI_MESSAGE_RETRY_DELAY": "300",
        "UNOAPI_BREAKER_FAILURES": "2",
    }
    with stack(servers, tmp_path_factory.mktemp("metrics"), **settings) as uno:
        uno.environment["TMPDIR"] = str(uno.folder)
        redis.Redis.from_url(servers.redis_url).config_set("maxmemory", "1gb")  # without one there is nothing to show
        uno.web()
        uno.worker()
        media(uno)
        yield uno


def outgoing(uno: Stack) -> dict[str, Any]:
    """What the operator sees of the queue."""
    queues = {queue["queue"]: queue for queue in uno.get("/admin/queues").json()["data"]}
    return dict(queues["unoapi.outgoing"])


def media(uno: Stack) -> None:
    command = ["celery", "--quiet", "-A", "tasks.app", "worker", "--pool", "prefork", "--concurrency", "2"]
    uno._start("media", [*command, "--queues", "unoapi.media", "--loglevel", "warning", "-n", "media@%h"])


def test_ages_are_those_of_the_queue_and_not_of_the_message(running: Stack, receiver: Receiver) -> None:
    worker = next(process for process in running.processes if process.log.name.startswith("worker"))
    running.register([{"id": "fine", "urlAbsolute": receiver.url("/fine"), "token": "t"}])
    running.contact_writes("long ago")
    eventually(lambda: receiver.count("/fine") == 1)
    time.sleep(1)  # until its event is acknowledged: the worker that is killed would give it back
    worker.kill()
    time.sleep(5.2)
    began = time.monotonic()  # before it is seen that the queue is empty, from when its age counts
    assert Page(running).total("unoapi_queue_oldest_seconds", queue="outgoing") == 0
    running.contact_writes("waits")

    page = seen(
        running, lambda page: page.total("unoapi_queue_messages", queue="outgoing", state="ready") == 1, within_s=15
    )
    shown = outgoing(running)

    assert 0 < page.total("unoapi_queue_oldest_seconds", queue="outgoing") <= time.monotonic() - began + 0.1
    assert 0 < shown["oldest_s"] <= time.monotonic() - began + 0.1
    assert (shown["ready"], shown["unacked"], shown["consumers"]) == (1, 0, 0)
    table = running.cli("queues").stdout
    assert re.search(r"unoapi\.outgoing +1 +0 +0 +0:00:\d\d ", table), table
    assert "unoapi.incoming" not in table

    running.worker()
    eventually(lambda: receiver.count("/fine") >= 2)
    assert outgoing(running)["oldest_s"] == 0


def test_what_dashboard_and_alerts_use_is_exposed_and_nothing_else(running: Stack, receiver: Receiver) -> None:
    receiver.script("/down", Behaviour(status=500))
    receiver.script("/gone", Behaviour(status=410))
    hooks = [
        {"id": name, "urlAbsolute": receiver.url(f"/{name}/in-the-url"), "token": "t"}
        for name in ("fine", "down", "gone")
    ]
    running.register(hooks)
    ids = [running.contact_writes(text) for text in ("one", "two", "three")]

    page = seen(
        running,
        lambda page: (
            page.total("unoapi_deliveries_total", outcome="delivered") >= 3
            and page.total("unoapi_dead_total", reason="gone") == 3
            and page.total("unoapi_breakers_open") == 1
            and page.total("unoapi_dead_letters_of_one_number") == 3
            and page.total("unoapi_retries_total") > 0
            and page.total("unoapi_queue_messages", queue="dead", state="ready") == 3
            and page.waiting() > 0
        ),
    )

    traces = [running.get(f"/v15.0/{PHONE}/messages/{message_id}/trace").json() for message_id in ids]
    changes = [entry["detail"] for trace in traces for entry in trace["trace"] if entry["step"] == "endpoint"]
    assert changes == ["it is down: deliveries wait"]
    exposed = {name for name in page.names if not name.endswith(("_sum", "_count"))}
    assert exposed == used()
    for name, label, value in chosen():
        values = {sample.labels[label] for sample in page.samples if sample.name == name and label in sample.labels}
        assert values, f"{name} has no {label}"
        assert not value or value in values, f"{name} has no {label}={value}"
    assert ("unoapi_queue_messages", "queue", "dead") in chosen()
    assert page.total("unoapi_delivery_seconds_count") == page.total("unoapi_deliveries_total") >= 8
    assert page.total("unoapi_dead_total") == 3
    # A worker that has just begun on a busy machine may wait for Redis in vain: the reason of its postponed event.
    # And there a receiver may take so long to answer that it has its share.
    reasons = {"refused", "postponed", "held", "session_unknown", "share_used"}
    assert page.labels("unoapi_retries_total", "class") <= reasons
    assert page.labels("unoapi_queue_messages", "queue") >= {
        queue.name.removeprefix("unoapi.") for queue in TOPOLOGY.queues
    }
    assert page.total("unoapi_queue_messages", queue="outgoing.whatsmeow.*", state="ready") == 0
    assert 0 <= page.total("unoapi_queue_oldest_seconds", queue="dead") < 60
    assert page.total("unoapi_queue_oldest_seconds", queue="suspect") == 0
    for secret in (PHONE, CONTACT, "in-the-url", "127.0.0.1", "wamid", OPERATOR):
        assert secret not in page.text


def test_both_web_processes_are_counted_by_rule_and_not_by_path(running: Stack) -> None:
    time.sleep(0.5)  # a request is counted after its answer
    before = Page(running)
    for number in range(30):
        assert running.get(f"/v15.0/{PHONE}{number:02d}").status_code in (200, 404)
        assert running.get(f"/nothing/{number}").status_code == 404
    time.sleep(0.5)
    after = Page(running)

    routes = after.labels("unoapi_requests_total", "route")
    counted = after.total("unoapi_requests_total", route="none") - before.total("unoapi_requests_total", route="none")
    assert counted == 30
    assert after.total("unoapi_request_seconds_count") - before.total("unoapi_request_seconds_count") == 60
    assert len(routes) < 20
    assert any(route.count("<") > 1 for route in routes)
    assert not any(PHONE in route for route in routes)


def test_a_child_of_the_media_pool_is_counted(running: Stack) -> None:
    sound = to_message(Envelope(PrepareMessage(id="voice", phone=PHONE, body="{}")), TOPOLOGY)
    publisher = ConfirmingPublisher(running.environment["AMQP_URL"], TOPOLOGY)
    body = str(sound.body).replace(f'"phone":"{PHONE}"', '"phone":"no number"')
    publisher.publish_messages([type(sound)(sound.exchange, sound.routing_key, body, sound.headers, sound.properties)])
    publisher.close()

    seen(running, lambda page: page.total("unoapi_dead_total", reason="invalid_job") == 1)


def test_another_process_answers_when_one_is_killed_and_counts_stay(running: Stack) -> None:
    web = next(process for process in running.processes if process.log.name.startswith("web"))
    before = Page(running)
    files = set(running.folder.rglob("counter_*.db"))

    web.kill()

    after = seen(running, lambda page: "unoapi_queue_messages" not in page.names)
    assert after.total("unoapi_requests_total") == before.total("unoapi_requests_total") > 30
    assert after.total("unoapi_dead_total") == before.total("unoapi_dead_total") > 0
    assert "unoapi_worker_threads_busy" in after.names
    running.web()
    back = seen(running, lambda page: "unoapi_queue_messages" in page.names)
    assert back.total("unoapi_requests_total") > before.total("unoapi_requests_total")
    assert set(running.folder.rglob("counter_*.db")) == files, "the slots of the killed are used again"


# --- without the rest ---


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[ProcessRegistry]:
    """A registry with a web process, without a process that counts."""
    processes = ProcessRegistry(tmp_path)
    processes.register(WEB)
    yield processes
    for lock in processes._locks:
        lock.close()


def collector(settings: Settings, registry: ProcessRegistry) -> QueueCollector:
    """The collector of the queues, as the web process registers it."""
    uno = bootstrap(settings)
    return QueueCollector(
        uno.queue_monitor,
        prefix=uno.topology.prefix,
        count_open_breakers=uno.breakers.count_open,
        most_dead_letters=uno.dead_letter_counts.largest,
        count_sessions=uno.directory.count_phones,
        is_wanted=lambda: registry.has(WEB),
    )


@pytest.mark.parametrize("manner", ["refuses", "is silent"])
def test_a_read_ends_in_time_while_the_servers_are_away(registry: ProcessRegistry, manner: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if manner == "is silent" else free_port()
        settings = Settings(
            amqp_url=f"amqp://127.0.0.1:{port}",
            redis_url=f"redis://127.0.0.1:{port}",
            rabbitmq_management_url=f"http://guest:guest@127.0.0.1:{port}",
        )
        queue_collector = collector(settings, registry)

        began = time.monotonic()
        families: list[Metric] = list(queue_collector.collect())
        first = time.monotonic() - began
        again = list(queue_collector.collect())

    assert {family.name for family in families} >= {"unoapi_queue_messages", "unoapi_breakers_open"}
    assert [sample for family in [*families, *again] for sample in family.samples] == []
    assert first < 9
    assert time.monotonic() - began - first < 0.1, "one reading serves all requests of some seconds"


def test_without_redis_counts_are_exported_and_ages_are_not(amqp_url: str, registry: ProcessRegistry) -> None:
    publisher = ConfirmingPublisher(amqp_url, TOPOLOGY)
    publisher.publish([Envelope(PrepareMessage(id="voice", phone=PHONE, body="{}"))])
    publisher.close()
    settings = Settings(amqp_url=amqp_url, redis_url=f"redis://127.0.0.1:{free_port()}")

    samples = [sample for family in collector(settings, registry).collect() for sample in family.samples]

    media = [sample for sample in samples if sample.labels.get("queue") == "media"]
    assert [(sample.name, sample.value) for sample in media] == [
        ("unoapi_queue_messages", 1),
        ("unoapi_queue_consumers", 0),
    ]
    assert not {"unoapi_breakers_open", "unoapi_dead_letters_of_one_number", "unoapi_sessions"} & {
        sample.name for sample in samples
    }


def test_a_host_without_a_web_process_does_not_look(tmp_path: Path) -> None:
    settings = Settings(amqp_url="amqp://127.0.0.1:1", redis_url="redis://127.0.0.1:1")

    assert list(collector(settings, ProcessRegistry(tmp_path)).collect()) == []


def test_a_port_of_another_program_is_named_once(tmp_path: Path) -> None:
    with capture_logs() as lines:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            listener = Listener(ProcessRegistry(tmp_path), host="127.0.0.1", port=port)
            listener.start()
            time.sleep(2.5)
        try:
            page = eventually(lambda: answers(port), within_s=5)
        finally:
            listener.stop()

    assert page == 200
    assert [line["event"] for line in lines] == ["metrics_port_not_free", "metrics_listening"]


@pytest.fixture
def metrics_port(tmp_path: Path) -> Iterator[int]:
    """The port of a listener that nothing else of a process goes with."""
    port = free_port()
    listener = Listener(ProcessRegistry(tmp_path), host="127.0.0.1", port=port)
    listener.start()
    eventually(lambda: answers(port))
    yield port
    listener.stop()


def test_without_a_file_for_a_connection_the_listener_rests(metrics_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[float] = []

    def no_file_left(server: object) -> NoReturn:  # noqa: ARG001 (the base's signature)
        tries.append(time.monotonic())
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(WSGIServer, "get_request", no_file_left)
        with socket.create_connection(("127.0.0.1", metrics_port)):
            eventually(lambda: len(tries) >= 2)
            time.sleep(1.0)

        assert len(tries) < 10
    assert eventually(lambda: answers(metrics_port)) == 200


def test_a_reader_that_sends_a_byte_now_and_then_holds_up_no_other(
    metrics_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unoapi.telemetry.exporter.REQUEST_S", 1.0)
    stop = threading.Event()

    def trickle() -> None:
        with socket.create_connection(("127.0.0.1", metrics_port)) as slow, suppress(OSError):
            while not stop.wait(0.2):
                slow.sendall(b"G")

    slow_reader = threading.Thread(target=trickle)
    slow_reader.start()
    time.sleep(0.3)
    try:
        assert eventually(lambda: answers(metrics_port), within_s=8) == 200
    finally:
        stop.set()
        slow_reader.join()


def answers(port: int) -> int | None:
    try:
        return requests.get(f"http://127.0.0.1:{port}/metrics", timeout=2).status_code
    except requests.RequestException:
        return None


def test_a_folder_of_another_user_switches_metrics_off_and_nothing_else(
    servers: PrivateServers, tmp_path: Path
) -> None:
    port = free_port()
    with stack(servers, tmp_path, UNOAPI_METRICS_PORT=str(port), TMPDIR=str(tmp_path / "odd")) as uno:
        (tmp_path / "odd").mkdir()
        first = uno.web()
        (folder,) = (tmp_path / "odd").glob("unoapi-metrics-*")
        os.kill(first.pid, signal.SIGTERM)
        first.wait(20)
        folder.chmod(0o777)

        second = uno.web()

        assert uno.get("/admin/queues").status_code == 200
        assert "metrics_off" in second.output()
        assert answers(port) is None
