"""How each baseline is run once."""

import json
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from kombu import Queue

from tests.bench import queues
from tests.bench.measure import Figures, percentiles, rate
from tests.bench.processes import PYTHON, accepts, listening, own_cpu_s, running
from tests.bench.stage import Stage, event, message
from tests.support.constants import ROOT
from tests.support.open_files import open_files
from tests.support.receiver import Receiver
from tests.support.stack import eventually
from unoapi.devenv.ports import free_port

PLAIN = Queue("plain")
NOOP = Queue("noop", queue_arguments={"x-queue-type": "quorum"})
PATIENCE_S = 120
POLL_S = 0.2  # asking the receiver takes a little of its time
CLIENTS = 32
SPARE_FILES = 256
"""For what a process has open beside its connections."""


def worker(module: str, *options: str) -> list[str]:
    """The command of a Celery worker that sends task events, as ours does."""
    return [*PYTHON, "celery", "-A", module, "worker", "--task-events", "--loglevel", "warning", *options]


def arrivals(receiver: Receiver, count: int, path: str) -> Figures:
    """Wait until all requests are answered and return their rate; raises RuntimeError when an id came twice."""
    eventually(
        lambda: receiver.count(path) >= count, what=f"{count} requests at {path}", within_s=PATIENCE_S, every_s=POLL_S
    )
    eventually(lambda: accepted(receiver, path) >= count, what=f"{count} answers at {path}", within_s=10, every_s=1)
    if (came := receiver.count(path)) > count:
        raise RuntimeError(f"{came} requests came to {path} for {count} ids")
    return {"per_s": rate(receiver.times(path))}


def accepted(receiver: Receiver, path: str) -> int:
    """How many ids were answered with 2xx."""
    return sum(answers > 0 for _, answers in receiver.ids(path).values())


def requests_per_second(port: int, path: str, body: str, stage: Stage, headers: Mapping[str, str]) -> Figures:
    """Requests per second that 32 keep-alive clients get through, all of them accepted, and the server's part of each.

    That is its processor time in microseconds, which busy neighbours change less than the rate.
    """
    eventually(lambda: len(listening(port)) > 1, what="a worker of gunicorn", within_s=30)
    server = listening(port)
    before_s = own_cpu_s(server)
    answered = load(port, path, body, stage.sizes.requests, headers)
    return {"per_s": rate(answered.values()), "cpu_us": (own_cpu_s(server) - before_s) / stage.sizes.requests * 1e6}


def load(
    port: int, path: str, body: str, requests: int, headers: Mapping[str, str], *, per_s: float = 0
) -> dict[int, float]:
    """When each request was answered, by number; raises RuntimeError unless all were accepted."""
    command = [*PYTHON, "tests.bench.load", "--port", str(port), "--path", path, "--rate", str(per_s)]
    command += ["--clients", str(CLIENTS), "--requests", str(requests)]
    for name, value in headers.items():
        command += ["--header", f"{name}: {value}"]
    timeout_s = PATIENCE_S + (requests / per_s if per_s else 0)
    done = subprocess.run(command, cwd=ROOT, input=body, text=True, capture_output=True, timeout=timeout_s, check=True)
    result = json.loads(done.stdout)
    if result["statuses"] != {"200": requests}:
        raise RuntimeError(f"not every request to {path} was accepted: {result['statuses']}")
    return {int(number): at for number, at in result["answered"].items()}


def plain(stage: Stage) -> Figures:
    """Deliveries per second of the plain Celery task on four processes."""
    count = stage.sizes.messages
    address = stage.receiver.url("/plain")
    stage.receiver.record("count")
    stage.receiver.clear()
    arguments = ((address, str(number), event(number)) for number in range(count))
    queues.fill(stage.baseline_url, PLAIN, "plain.post", arguments)
    command = worker("tests.bench.baselines.plain", "--pool", "prefork", "--concurrency", "4")
    with running(command, environment={"BENCH_AMQP_URL": stage.baseline_url}, folder=stage.folder):
        return arrivals(stage.receiver, count, "/plain")


def posts(stage: Stage, endpoints: int) -> Figures:
    """Posts per second of a thread that does nothing else, to so many endpoints in turn, a connection kept to each."""
    stage.receiver.record("count")
    stage.receiver.clear()
    address = urlsplit(stage.receiver.url("/posts"))
    headers = {"Content-Type": "application/json"}
    with open_files(endpoints + SPARE_FILES), ExitStack() as closing:
        kept = [HTTPConnection(f"{address.hostname}", address.port, timeout=PATIENCE_S) for _ in range(endpoints)]
        for connection in kept:
            closing.callback(connection.close)
        for number in range(stage.sizes.messages):
            connection = kept[number % endpoints]
            connection.request("POST", f"{address.path}/{number % endpoints}", event(number), headers)
            with connection.getresponse() as answer:
                answer.read()
    return {"per_s": rate(stage.receiver.times("/posts"))}


def noop(stage: Stage) -> Figures:
    """Tasks per second of a task that does nothing."""
    count = stage.sizes.messages
    arguments = ((time.time(), event(number)) for number in range(count))
    queues.fill(stage.baseline_url, NOOP, "noop.run", arguments)
    file = noop_file(stage)
    with running(noop_worker(), environment=noop_environment(stage, file, count), folder=stage.folder):
        eventually(file.exists, what="the no-op task's file", within_s=PATIENCE_S)
    return {"per_s": rate(json.loads(file.read_text())["times"])}


def noop_latency(stage: Stage) -> Figures:
    """Time from publishing a task that does nothing to its run, at 100 a second."""
    count = stage.sizes.paced
    queues.fresh(stage.baseline_url, NOOP)
    file = noop_file(stage)
    with running(noop_worker(), environment=noop_environment(stage, file, count), folder=stage.folder):
        eventually(lambda: queues.consumers(stage.baseline_url, NOOP.name) > 0, what="the no-op worker", within_s=30)
        queues.trickle(stage.baseline_url, NOOP, "noop.run", count=count, per_s=100, body=event("paced"))
        eventually(file.exists, what="the no-op task's file", within_s=PATIENCE_S)
    return percentiles(json.loads(file.read_text())["waits"])


def noop_worker() -> list[str]:
    options = ["--pool", "threads", "--concurrency", "50", "--without-gossip", "--without-mingle"]
    return worker("tests.bench.baselines.noop", *options)


def noop_file(stage: Stage) -> Path:
    file = stage.folder / "noop.json"
    file.unlink(missing_ok=True)
    return file


def noop_environment(stage: Stage, file: Path, count: int) -> dict[str, str]:
    return {"BENCH_AMQP_URL": stage.baseline_url, "BENCH_FILE": str(file), "BENCH_EXPECT": str(count)}


def constant(stage: Stage) -> Figures:
    """Requests per second of a Flask route that returns a constant."""
    port = free_port()
    options = ["--worker-class", "gthread", "--workers", "1", "--threads", "16"]
    options += ["--keep-alive", "75", "--no-control-socket"]
    command = [*PYTHON, "gunicorn", *options, "--bind", f"127.0.0.1:{port}", "tests.bench.baselines.constant:app"]
    with running(command, environment={}, folder=stage.folder):
        eventually(lambda: accepts(port), what="the constant route", within_s=30)
        return requests_per_second(port, "/constant", message("{n}"), stage, {})
