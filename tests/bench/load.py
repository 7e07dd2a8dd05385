"""Keep-alive HTTP clients in one cheap process: `python -m tests.bench.load --port 80 --path / ... < body`.

Posts the body of standard input, with `{n}` replaced by the request's number and `{c}` by that of one of 40 contacts,
and prints a JSON object: how often each status came (0: no answer), and when each accepted request was answered, by
number, in epoch seconds.
"""

import argparse
import asyncio
import json
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field

CONTACTS = 40


@dataclass
class Load:
    """What all clients share: the requests to make and the answers that came."""

    port: int
    head: str
    body: str
    numbers: deque[int]
    rate: float  # requests per second; 0 is as fast as the answers come
    start: float = 0.0  # loop time
    statuses: Counter[int] = field(default_factory=Counter)
    answered: dict[int, float] = field(default_factory=dict)

    def request(self, number: int) -> bytes:
        body = self.body.replace("{n}", str(number)).replace("{c}", f"{number % CONTACTS:02}").encode()
        return f"{self.head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def answer(self, number: int, status: int) -> None:
        self.statuses[status] += 1
        if status // 100 == 2:
            self.answered[number] = time.time()


class Client(asyncio.Protocol):
    """One connection with at most one request under way; the answers need a Content-Length."""

    transport: asyncio.Transport

    def __init__(self, load: Load) -> None:
        self.load = load
        self.loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = self.loop.create_future()
        self.buffer = b""
        self.number: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.next()

    def next(self) -> None:
        if not self.load.numbers:
            self.transport.close()
            return
        self.number = self.load.numbers.popleft()
        if self.load.rate:
            self.loop.call_at(self.load.start + self.number / self.load.rate, self.send, self.number)
        else:
            self.send(self.number)

    def send(self, number: int) -> None:
        if not self.closed.done():
            self.transport.write(self.load.request(number))

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, end, rest = self.buffer.partition(b"\r\n\r\n")
        if not end or self.number is None:
            return
        length = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        if len(rest) >= int(length):
            self.load.answer(self.number, int(head[9:12]))
            self.buffer, self.number = b"", None
            self.next()

    def connection_lost(self, _: Exception | None) -> None:
        if self.number is not None:
            self.load.answer(self.number, 0)
        self.closed.set_result(None)


async def drive(load: Load, clients: int) -> None:
    loop = asyncio.get_running_loop()
    load.start = loop.time() + 0.2

    async def client() -> None:
        while load.numbers:
            _, protocol = await loop.create_connection(lambda: Client(load), "127.0.0.1", load.port)
            await protocol.closed

    await asyncio.gather(*(client() for _ in range(clients)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--requests", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--clients", type=int, default=32)
    options = parser.parse_args()

    lines = [f"POST {options.path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", *options.header]
    load = Load(
        port=options.port,
        head="".join(f"{line}\r\n" for line in lines),
        body=sys.stdin.read(),
        numbers=deque(range(options.requests)),
        rate=options.rate,
    )
    asyncio.run(drive(load, options.clients))
    json.dump({"statuses": load.statuses, "answered": load.answered}, sys.stdout)


if __name__ == "__main__":
    main()
