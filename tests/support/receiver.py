"""A scriptable HTTP receiver in its own process, for tests and benchmarks.

`python -m tests.support.receiver --port 0` listens on loopback and prints its port; with `--certificate FILE` also over
TLS on a second one. It answers as the script of the path says and records what came. `Receiver` starts such a process
and talks to it over `POST /_control/<verb>` with JSON. A path stands for itself and everything below it; the longest
scripted one decides; without one the answer is 200.
"""

import argparse
import asyncio
import http.client
import json
import os
import re
import select
import ssl
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

from tests.support.constants import ROOT
from tests.support.open_files import open_files

Mode = Literal["full", "count"]
Tallies = dict[str, tuple[int, int]]
"""For each id how many requests came, and how many of them were answered with 2xx."""

CONTROL = "/_control/"
MOST_FILES = 4096


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """How a path answers. The first `failures` requests of a `webhook-id` fail, the later ones get `status`."""

    status: int = 200  # 0 closes the connection without an answer
    headers: Mapping[str, str] = field(default_factory=dict)  # on every answer
    delay_ms: int = 0
    failures: int = 0
    failure_statuses: tuple[int, ...] = (500,)  # in turn, the last one stays
    share: float = 1.0  # of the ids, chosen by `in_share`, that fail at all


@dataclass(frozen=True)
class Received:
    """One request. Names of headers are in lower case; `received_at` is in epoch seconds."""

    method: str
    path: str
    headers: dict[str, str]
    body: str
    received_at: float


def in_share(delivery_id: str, share: float) -> bool:
    """Whether an id belongs to the share of ids that fail; the same in every run."""
    return zlib.crc32(delivery_id.encode()) < share * 2**32


def covers(prefix: str, path: str) -> bool:
    """Whether a path is the prefix or lies below it."""
    return path == prefix or path.startswith(prefix.rstrip("/") + "/")


class Script:
    """A behaviour with the failures that it has already dealt out."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.failed: Counter[str] = Counter()

    def status(self, delivery_id: str) -> int:
        """Choose the answer to the next request of an id."""
        behaviour, done = self.behaviour, self.failed[delivery_id]
        if done >= behaviour.failures or not in_share(delivery_id, behaviour.share):
            return behaviour.status
        self.failed[delivery_id] += 1
        return behaviour.failure_statuses[min(done, len(behaviour.failure_statuses) - 1)]


@dataclass
class PathLog:
    """What came to one path."""

    times: list[float] = field(default_factory=list)
    requests: list[Received] = field(default_factory=list)
    ids: dict[str, list[int]] = field(default_factory=dict)
    keys: dict[str, list[int]] = field(default_factory=dict)


class Memory:
    """The scripts and the logs of all paths, with the verbs that read and change them."""

    def __init__(self) -> None:
        self.mode: Mode = "full"
        self.key: re.Pattern[str] | None = None
        self.scripts: dict[str, Script] = {}
        self.default = Script(Behaviour())
        self.logs: dict[str, PathLog] = {}
        self.handshakes = 0
        self.verbs: dict[str, Callable[..., Any]] = {
            "script": self.script,
            "record": self.record,
            "clear": self.clear,
            "handshakes": lambda: self.handshakes,
            "requests": lambda path: [asdict(request) for log in self.under(path) for request in log.requests],
            "count": lambda path: sum(len(log.times) for log in self.under(path)),
            "times": lambda path: [at for log in self.under(path) for at in log.times],
            "ids": lambda path: merged(log.ids for log in self.under(path)),
            "keys": lambda path: merged(log.keys for log in self.under(path)),
        }

    def script(self, path: str, behaviour: dict[str, Any]) -> None:
        self.scripts[path] = Script(Behaviour(**behaviour))
        self.scripts = dict(sorted(self.scripts.items(), key=lambda item: len(item[0]), reverse=True))

    def record(self, mode: Mode, key: str | None) -> None:
        self.mode, self.key = mode, re.compile(key) if key else None

    def clear(self) -> None:
        self.logs.clear()
        self.handshakes = 0

    def under(self, path: str) -> list[PathLog]:
        return [log for logged, log in self.logs.items() if covers(path, logged)]

    def script_of(self, path: str) -> Script:
        return next((script for prefix, script in self.scripts.items() if covers(prefix, path)), self.default)

    def remember(self, request: Received) -> list[list[int]]:
        """Record what the mode asks for; return the tallies that a 2xx answer adds to."""
        log = self.logs.setdefault(request.path, PathLog())
        log.times.append(request.received_at)
        if self.mode == "full":
            log.requests.append(request)
        tallies = [log.ids.setdefault(request.headers.get("webhook-id", ""), [0, 0])]
        if self.key and (match := self.key.search(request.body)):
            tallies.append(log.keys.setdefault(match[1], [0, 0]))
        for tally in tallies:
            tally[0] += 1
        return tallies


def merged(mappings: Iterator[dict[str, list[int]]]) -> dict[str, list[int]]:
    """Add the tallies of several paths."""
    total: dict[str, list[int]] = {}
    for mapping in mappings:
        for name, (requests, accepted) in mapping.items():
            before = total.get(name, [0, 0])
            total[name] = [before[0] + requests, before[1] + accepted]
    return total


class Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive and Content-Length, as little of it as clients of webhooks need."""

    transport: asyncio.Transport

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.buffer = b""
        self.head: tuple[str, str, dict[str, str]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.memory.handshakes += transport.get_extra_info("sslcontext") is not None

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.head is None:
            head, end, rest = self.buffer.partition(b"\r\n\r\n")
            if not end:
                return
            first, *lines = head.decode("latin-1").split("\r\n")
            method, path, _ = first.split(" ", 2)
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            self.head, self.buffer = (method, path, headers), rest
            if headers.get("expect", "").lower() == "100-continue":
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        method, path, headers = self.head
        length = int(headers.get("content-length", 0))
        if len(self.buffer) >= length:
            body, self.buffer, self.head = self.buffer[:length].decode(errors="replace"), self.buffer[length:], None
            self.serve(Received(method, path, headers, body, time.time()))

    def serve(self, request: Received) -> None:
        if request.path.startswith(CONTROL):
            verb = self.memory.verbs[request.path.removeprefix(CONTROL)]
            self.write(200, {}, json.dumps(verb(**json.loads(request.body))))
            return
        tallies = self.memory.remember(request)
        script = self.memory.script_of(request.path)
        status, behaviour = script.status(request.headers.get("webhook-id", "")), script.behaviour
        if behaviour.delay_ms:
            loop = asyncio.get_running_loop()
            loop.call_later(behaviour.delay_ms / 1000, self.answer, status, behaviour.headers, tallies)
        else:
            self.answer(status, behaviour.headers, tallies)

    def answer(self, status: int, headers: Mapping[str, str], tallies: list[list[int]]) -> None:
        if status == 0 or self.transport.is_closing():
            self.transport.abort()
            return
        self.write(status, headers)
        if status // 100 == 2:
            for tally in tallies:
                tally[1] += 1

    def write(self, status: int, headers: Mapping[str, str], body: str = "") -> None:
        content = body.encode()
        lines = [f"HTTP/1.1 {status} {http.client.responses.get(status, '')}", f"Content-Length: {len(content)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.transport.write("\r\n".join([*lines, "\r\n"]).encode("latin-1") + content)


async def serve(port: int, certificate: str) -> None:
    """Print the ports and answer requests until the process that started this one is gone."""
    memory, parent = Memory(), os.getppid()
    contexts: list[ssl.SSLContext | None] = [None]
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        contexts.append(context)
    listen = partial(asyncio.get_running_loop().create_server, lambda: Connection(memory), "127.0.0.1", backlog=1024)
    servers = [await listen(0 if context else port, ssl=context) for context in contexts]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)  # noqa: T201
    while os.getppid() == parent:  # noqa: ASYNC110
        await asyncio.sleep(0.5)


class Receiver:
    """A receiver process on a free loopback port: `with Receiver() as receiver: ...`.

    With a `certificate` (a PEM file that has its key, too) it also listens over TLS, on `tls_port`.
    """

    def __init__(self, certificate: Path | None = None) -> None:
        self._certificate = certificate

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the process; raises TimeoutError when it does not answer within ten seconds."""
        command = [sys.executable, "-m", "tests.support.receiver", "--port", "0"]
        if self._certificate:
            command += ["--certificate", f"{self._certificate}"]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        if not select.select([self.process.stdout], [], [], 10)[0]:
            self.stop()
            raise TimeoutError("the receiver did not start")
        self.port, *more = (int(port) for port in self.process.stdout.readline().split())
        self.tls_port = more[0] if more else 0

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()

    def url(self, path: str = "/", *, tls: bool = False) -> str:
        return f"https://127.0.0.1:{self.tls_port}{path}" if tls else f"http://127.0.0.1:{self.port}{path}"

    def script(self, path: str, behaviour: Behaviour) -> None:
        """Change how a path answers from now on; failures are counted from the beginning again."""
        self._control("script", path=path, behaviour=asdict(behaviour))

    def record(self, mode: Mode, *, key: str | None = None) -> None:
        """Record whole requests or only counts; `key` is a pattern whose group 1 is the key in a body."""
        self._control("record", mode=mode, key=key)

    def clear(self) -> None:
        """Forget what came; the scripts and the mode stay."""
        self._control("clear")

    def handshakes(self) -> int:
        """How many connections over TLS were made."""
        return int(self._control("handshakes"))

    def requests(self, path: str = "/") -> list[Received]:
        return [Received(**request) for request in self._control("requests", path=path)]

    def count(self, path: str = "/") -> int:
        return int(self._control("count", path=path))

    def times(self, path: str = "/") -> list[float]:
        """When the requests came, in epoch seconds, the earliest first."""
        return sorted(self._control("times", path=path))

    def ids(self, path: str = "/") -> Tallies:
        """Requests and 2xx answers by `webhook-id`; requests without one count for the empty id."""
        return {name: (requests, accepted) for name, (requests, accepted) in self._control("ids", path=path).items()}

    def keys(self, path: str = "/") -> Tallies:
        """Requests and 2xx answers by what the `key` pattern found in the body."""
        return {name: (requests, accepted) for name, (requests, accepted) in self._control("keys", path=path).items()}

    def wait(self, count: int, path: str = "/", *, timeout_s: float = 20) -> int:
        """Wait until at least `count` requests came; returns how many, raises TimeoutError when too few did."""
        deadline = time.monotonic() + timeout_s
        while (came := self.count(path)) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{came} of {count} requests came to {path} within {timeout_s} s")
            time.sleep(0.05)
        return came

    def _control(self, verb: str, **arguments: object) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", CONTROL + verb, json.dumps(arguments))
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--certificate", metavar="FILE", default="")
    options = parser.parse_args()
    with open_files(MOST_FILES):
        asyncio.run(serve(options.port, options.certificate))
