"""A whole Uno API on throw-away servers, as real processes: what most tests and all fault tests run against."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import requests

from tests.support import warm_start
from tests.support.constants import BIN, CONTACT, OPERATOR, PHONE, REGISTERED_S, ROOT
from tests.support.vhosts import own_vhost
from unoapi.broker.topology import WORK_QUEUES, Topology
from unoapi.devenv.ports import free_port
from unoapi.stores.holdings import INDEX_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from unoapi.devenv.servers import PrivateServers

__all__ = [
    "BIN", "CONTACT", "OPERATOR", "PHONE", "REGISTERED_S", "ROOT", "TOPOLOGY", "Process", "Stack", "eventually",
    "stack",
]  # fmt: skip

TOPOLOGY = Topology("unoapi")
QUEUES = tuple(name for name in WORK_QUEUES if name not in {"outgoing.whatsmeow", "suspect"})
"""Those that a worker takes from in a test that names none."""


def eventually(check: Callable[[], Any], *, within_s: float = 20.0, every_s: float = 0.05, what: str = "") -> Any:
    """The first true result of `check`; fails when there is none in time."""
    deadline = time.monotonic() + within_s
    while True:
        result = check()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what or check}; last: {result!r}")
        time.sleep(every_s)


class Process:
    """One process of the product, in a session of its own, with its output in a file."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self.log = folder / f"{name}-{time.time_ns()}.log"
        self._process = warm_start.start(command, environment=environment, folder=ROOT, output=self.log)

    @property
    def pid(self) -> int:
        return self._process.pid

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def running(self) -> bool:
        return self._process.poll() is None

    def wait(self, timeout_s: float) -> int:
        return self._process.wait(timeout_s)

    def kill(self) -> None:
        """SIGKILL to the whole group."""
        if self.running():
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        if self.running():
            self._process.terminate()

    def stop(self, timeout_s: float = 15.0) -> None:
        """SIGTERM, then SIGKILL."""
        if self.running():
            self._process.terminate()
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()


def _counts(connection: Any, queues: Iterable[str]) -> dict[str, int]:
    """Ready messages of queues; those that were removed meanwhile are left out."""
    from amqp.exceptions import NotFound  # noqa: PLC0415 (only tests of queues need it)

    channel, counts = connection.channel(), {}
    for queue in queues:
        try:
            counts[queue] = int(channel.queue_declare(queue, passive=True).message_count)
        except NotFound:
            channel = connection.channel()  # it ended the other one
    return counts


class Stack:
    """Web and worker processes on the servers' own vhost. Settings come from here alone, never from the machine."""

    def __init__(self, servers: PrivateServers, amqp_url: str, folder: Path, **settings: str) -> None:
        self.servers = servers
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(folder),
            "DOTENV_CONFIG_PATH": os.devnull,
            "AMQP_URL": amqp_url,
            "REDIS_URL": servers.redis_url,
            "PORT": str(self.port),
            "UNOAPI_HOST": "127.0.0.1",
            "UNOAPI_AUTH_TOKEN": OPERATOR,
            "UNOAPI_MESSAGE_RETRY_LIMIT": "2",
            "UNOAPI_MESSAGE_RETRY_DELAY": "1000",
            "NOTIFY_FAILED_MESSAGES": "false",
            "UNOAPI_LOG_FORMAT": "json",
            "LOG_LEVEL": "debug",
            "UNOAPI_RATE_LIMIT_REFUSED": "0",
            "UNOAPI_ALLOWED_HOSTS": "127.0.0.0/8,::1",
            "BASE_STORE": str(folder / "data"),
            "BASE_URL": self.url,
            **settings,
        }
        self.processes: list[Process] = []

    def web(self) -> Process:
        """Start the API and wait until it is ready."""
        command = ["gunicorn", "-c", "python:unoapi.web.gunicorn"]
        process = self._start("web", command)
        eventually(lambda: self._answers() or not process.running(), within_s=30, what="web")
        if not process.running():
            raise AssertionError(process.output())
        return process

    def worker(
        self,
        *,
        threads: int = 10,
        name: str = "worker",
        queues: tuple[str, ...] = QUEUES,
        pool: str = "threads",
        app: str = "tasks.app",
    ) -> Process:
        """Start a worker and wait until it consumes."""
        prefix = self.environment.get("UNOAPI_QUEUE_NAME", "unoapi")
        command = [
            "celery", "--quiet", "-A", app, "worker", "--pool", pool, "--concurrency", str(threads),
            "--queues", ",".join(f"{prefix}.{queue}" for queue in queues), "--task-events", "--without-gossip",
            "--without-mingle", "--loglevel", "warning", "-n", f"{name}-{time.time_ns()}@%h",
        ]  # fmt: skip
        process = self._start(name, command)
        eventually(lambda: "topology_declared" in process.output() or not process.running(), within_s=30, what="worker")
        return process

    def suspect(self, *, app: str = "tasks.app") -> Process:
        """Start the process for suspect messages and wait until it consumes."""
        return self.worker(threads=1, name="suspect", queues=("suspect",), pool="prefork", app=app)

    def connector(self, *, name: str = "connector", **settings: str) -> Process:
        """Start the connector with simulated phones and wait until it runs."""
        self.environment |= {"UNOAPI_CONNECTOR_ENGINE": "twin", "UNOAPI_CONNECTOR_STORE": str(self.folder / "phones")}
        self.environment |= settings
        process = self._start(name, ["python", "-m", "unoapi.connector"])
        eventually(lambda: "connector_started" in process.output() or not process.running(), within_s=30, what=name)
        return process

    def cli(self, *arguments: str, check: bool = True, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run the command line program."""
        with TemporaryDirectory(dir=self.folder) as name:
            out, err = Path(name) / "out", Path(name) / "err"
            process = warm_start.start(
                [str(BIN / "unoapi"), *arguments], environment=self.environment, folder=ROOT, output=out, errors=err
            )
            try:
                code = process.wait(timeout_s)
            finally:
                process.kill()
            done = subprocess.CompletedProcess(arguments, code, out.read_text(), err.read_text())
        if check and done.returncode:
            raise AssertionError(f"unoapi {arguments}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def dead(self, *arguments: str) -> list[dict[str, Any]]:
        """The dead letters."""
        return [json.loads(line) for line in self.cli("dead", "list", "--json", *arguments).stdout.splitlines()]

    def request(self, method: str, path: str, *, token: str | None = OPERATOR, **options: Any) -> requests.Response:
        """One request to the API; `options` are those of `requests`."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return requests.request(method, f"{self.url}{path}", headers=headers, timeout=10, **options)

    def post(self, path: str, body: Any = None, *, token: str = OPERATOR, **options: Any) -> requests.Response:
        """One request to the API."""
        headers = {"Authorization": f"Bearer {token}", **options.pop("headers", {})}
        return requests.post(f"{self.url}{path}", json=body, headers=headers, timeout=10, **options)

    def get(self, path: str, *, token: str = OPERATOR) -> requests.Response:
        return requests.get(f"{self.url}{path}", headers={"Authorization": f"Bearer {token}"}, timeout=10)

    def register(self, webhooks: list[dict[str, Any]], *, phone: str = PHONE, **config: Any) -> None:
        """Store a sandbox session."""
        body = {"provider": "sandbox", "authToken": f"session-token-{phone}", "overrideWebhooks": True, **config}
        answer = self.post(f"/v15.0/{phone}/register", {**body, "webhooks": webhooks})
        assert answer.status_code == 200, answer.text

    def contact_writes(self, text: str, *, phone: str = PHONE, sender: str = CONTACT, token: str = OPERATOR) -> str:
        """A simulated contact writes; returns the message id."""
        body = {"from": sender, "profile": {"name": "Maria"}, "type": "text", "text": {"body": text}}
        answer = self.post(f"/sandbox/{phone}/messages", body, token=token)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["messages"][0]["id"])

    def send(self, text: str, *, phone: str = PHONE, to: str = CONTACT, token: str = OPERATOR) -> requests.Response:
        """A client sends a text."""
        body = {"messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": text}}
        return self.post(f"/v15.0/{phone}/messages", body, token=token)

    def queues(self) -> dict[str, int]:
        """Messages per queue, ready or delivered to a consumer, read from RabbitMQ's management."""
        return {name: self.depth(name) for name in self._all_queues()}

    def _all_queues(self) -> list[str]:
        vhost = self.environment["AMQP_URL"].rpartition("/")[2]
        answer = requests.get(f"{self.servers.management_url}/api/queues/{vhost}?disable_stats=true", timeout=10)
        return [queue["name"] for queue in answer.json()]

    def depth(self, queue: str) -> int:
        """Ready messages of one queue, as the broker counts them now."""
        from kombu import Connection  # noqa: PLC0415 (only tests of queues need it)

        with Connection(self.environment["AMQP_URL"]) as connection:
            channel: Any = connection.channel()
            return int(channel.queue_declare(queue, passive=True).message_count)

    def unfinished(self) -> int:
        """Ready messages on all queues but the dead one, as the broker counts them now, without the looks at queues."""
        return max(0, sum(self.unfinished_by_queue().values()) - self._looks())

    def unfinished_by_queue(self) -> dict[str, int]:
        """The same for each queue that has some, looks included."""
        from kombu import Connection  # noqa: PLC0415 (only tests of queues need it)

        with Connection(self.environment["AMQP_URL"]) as connection:
            names = [queue.name for queue in TOPOLOGY.queues if queue.name != TOPOLOGY.dead]
            names += [name for name in self._all_queues() if name.startswith(TOPOLOGY.holding_queues)]
            counts = _counts(connection, names)
        return {name: count for name, count in counts.items() if count}

    def held(self) -> int:
        """Deliveries in all holding queues."""
        counts = self.unfinished_by_queue()
        return sum(count for name, count in counts.items() if name.startswith(TOPOLOGY.holding_queues))

    def waiting(self) -> int:
        """Messages in all waiting buckets but the looks at holding queues."""
        buckets = sum(self.depth("unoapi.delayed" if n == 0 else f"unoapi.delayed.{n}") for n in range(18))
        return max(0, buckets - self._looks())

    def _looks(self) -> int:
        """How many messages look after holding queues: one for each, for minutes after it was emptied."""
        from unoapi.stores.redis import REDIS_ERRORS, connect  # noqa: PLC0415 (only here)

        try:
            return len(connect(self.environment["REDIS_URL"], timeout_s=5.0).zrange(INDEX_KEY, 0, -1))
        except REDIS_ERRORS:
            return 0

    def close(self) -> None:
        """End all processes, at the same time."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.stop()

    def _start(self, name: str, command: list[str]) -> Process:
        process = Process(name, [str(BIN / command[0]), *command[1:]], self.environment, self.folder)
        self.processes.append(process)
        return process

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/ping", timeout=1).ok
        except requests.RequestException:
            return False


@contextmanager
def stack(servers: PrivateServers, folder: Path, **settings: str) -> Iterator[Stack]:
    """A stack on a vhost of its own and an empty Redis."""
    from unoapi.stores.redis import connect  # noqa: PLC0415 (only here)

    connect(servers.redis_url, timeout_s=5.0).flushdb()
    with own_vhost(servers) as amqp_url, closing(Stack(servers, amqp_url, folder, **settings)) as running:
        yield running
