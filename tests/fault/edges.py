"""Faults at the edges: a Redis that refuses, a key or a queue that is gone, hostile bodies, and sends beside them."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import redis
import requests
from kombu import Connection

from tests.fault.breaking import blocked_publishers
from tests.fault.infrastructure import row
from tests.support.constants import OPERATOR
from tests.support.fake_graph_api import TOKEN, Graph
from tests.support.receiver import Behaviour, Receiver
from unoapi.devenv.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.fault.stage import Stage
    from tests.fault.table import Row

SENDS_PER_S = 5.0
REFUSES_S = 4.0
"""Longer than Redis is left alone after an error."""
HOSTILE_PER_S = 20.0
WAITING = ("unoapi.delayed", "unoapi.delayed.1", "unoapi.delayed.2")
"""Where retries of the stage's delay wait."""
HOSTILE: tuple[bytes, ...] = (
    b'{"to":"5549988887777","type":"text","text":{"body":"\\ud800"}}',
    b'{"to":"5549988887777","type":"text","text":{"body":"a\\u0000b"}}',
    b'{"entry":[{"id":"1","changes":[{"field":"messages","value":{"messages":[{"id":"\\udfff","from":"1"}]}}]}]}',
    b'{"entry":[{"id":"\\u0000","changes":[{"field":"messages","value":{"messages":[{"id":"m\\u0000","from":"1"}]}}]}]}',
    json.dumps(
        {"entry": [{"id": "1", "changes": [{"field": "messages", "value": {"messages": [{}] * 5_000}}]}]}
    ).encode(),
    b"[" * 50_000,
    json.dumps({f"k{number}": number for number in range(5_000)}).encode(),
    b'{"to":' + b"9" * 200_000 + b"}",
    b"\xff\xfe\x00",
    b'{"name":"t","components":[{"type":"BODY","text":"{{' + b" " * 300 + b'"}]}',
)


class Sends:
    """A client that sends texts through Meta's API (a stand-in) while something breaks, and never repeats one.

    `problems` afterwards: a text that arrived at Meta twice, one that was accepted and did not, a `failed` that is not
    true, an accepted message whose `sent` did not come.
    """

    def __init__(self, stage: Stage) -> None:
        self.accepted: dict[str, str] = {}
        self.refused = 0
        self._stage = stage
        self._phone = stage.phone()
        self._graph = Graph()
        self._hook = Receiver()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        self._graph.__enter__()
        self._hook.start()
        forward = {"url": self._graph.url, "phoneNumberId": f"1065{self._phone}", "token": TOKEN}
        webhooks = [{"id": "main", "urlAbsolute": self._hook.url("/")}]
        self._stage.uno.register(webhooks, phone=self._phone, provider="forwarder", webhookForward=forward)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        self._hook.stop()
        self._graph.__exit__()

    def stop(self) -> None:
        """Send no more."""
        self._stop.set()
        self._thread.join(30)

    def problems(self) -> list[str]:
        """Stop sending, wait for the statuses, and compare."""
        self.stop()
        deadline = time.monotonic() + self._stage.size.within_s
        while not self.accepted.keys() <= self._statuses()["sent"] and time.monotonic() < deadline:
            time.sleep(0.25)
        statuses = self._statuses()
        arrived = Counter(sent.body["text"]["body"] for sent in self._graph.sent if "text" in sent.body)
        counts = {
            "sent twice": sum(number > 1 for number in arrived.values()),
            "accepted and not sent": len(set(self.accepted.values()) - arrived.keys()),
            "failed falsely": len(statuses["failed"]),
            "without a sent status": len(self.accepted.keys() - statuses["sent"]),
        }
        return [f"{number} {what}" for what, number in counts.items() if number]

    def _statuses(self) -> dict[str, set[str]]:
        statuses: dict[str, set[str]] = {"sent": set(), "failed": set()}
        for request in self._hook.requests("/"):
            value = json.loads(request.body)["entry"][0]["changes"][0]["value"]
            for status in value.get("statuses", []):
                statuses.setdefault(status["status"], set()).add(status["id"])
        return statuses

    def _work(self) -> None:
        number = 0
        while not self._stop.wait(1 / SENDS_PER_S):
            text, number = f"text {number}", number + 1
            try:
                answer = self._stage.uno.send(text, phone=self._phone)
            except requests.RequestException:
                self.refused += 1
                continue
            if answer.status_code == 200:
                self.accepted[answer.json()["messages"][0]["id"]] = text
            else:
                self.refused += 1


def beside_sends(stage: Stage, fault: str, breaks: Callable[[str], None], *, refusals: bool = False) -> Row:
    """The row of a fault with sends beside its events. Without `refusals` nobody may have been refused."""
    with Sends(stage) as sends:

        def broken(phone: str) -> None:
            breaks(phone)
            time.sleep(1.0)
            sends.stop()  # the row counts what waits when its events have arrived

        events = row(stage, fault, broken)
        problems = [*events.problems, *sends.problems()]
        if not refusals and (events.note or sends.refused):
            problems.append(f"honest callers were refused: {events.note or 'no events'}, {sends.refused} sends")
        note = f"{len(sends.accepted)} sends beside it, {sends.refused} refused"
        return replace(events, note=f"{events.note}; {note}" if events.note else note, problems=problems)


def redis_full(stage: Stage) -> Row:
    def breaks(_: str) -> None:
        with _redis(stage) as client:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", "1mb")
            try:
                time.sleep(max(REFUSES_S, stage.size.redis_away_s))
            finally:
                client.config_set("maxmemory", "0")

    return beside_sends(stage, "Redis full, with noeviction", breaks)


def redis_read_only(stage: Stage) -> Row:
    def breaks(_: str) -> None:
        with _redis(stage) as client:
            client.replicaof("127.0.0.1", free_port())
            try:
                time.sleep(max(REFUSES_S, stage.size.redis_away_s))
            finally:
                client.replicaof("NO", "ONE")

    return beside_sends(stage, "Redis read-only: a replica whose leader is away", breaks)


def session_key_deleted(stage: Stage) -> Row:
    def breaks(phone: str) -> None:
        with _redis(stage) as client:
            client.delete(f"unoapi-config:{phone}")
        stage.kill_worker(0)  # one that has never seen the key
        time.sleep(2.0)
        stage.register(phone, "main", stage.receiver.url(f"/{phone}"))

    return beside_sends(stage, "one session's key deleted, a worker killed", breaks)


def long_alarm(stage: Stage) -> Row:
    def breaks(_: str) -> None:
        with blocked_publishers(stage.servers):
            time.sleep(stage.size.long_alarm_s)

    return beside_sends(stage, f"RabbitMQ's memory alarm {stage.size.long_alarm_s / 60:.2g} min", breaks, refusals=True)


def waiting_queue_deleted(stage: Stage) -> Row:
    """The queues in which the next retries wait are deleted while traffic begins, and declared again a little later."""

    def breaks(phone: str) -> None:
        with Connection(stage.uno.environment["AMQP_URL"]) as connection:
            channel: Any = connection.channel()
            for name in WAITING:
                _wait_until_empty(channel, name, within_s=stage.size.within_s)
                channel.queue_delete(name)
        stage.receiver.script(f"/{phone}", Behaviour(failures=1, share=0.2))  # nothing waited before
        time.sleep(5.0)
        stage.uno.cli("release")  # so that they can be counted

    return beside_sends(stage, "the waiting queues deleted", breaks)


def _wait_until_empty(channel: Any, queue: str, *, within_s: float) -> None:
    """On a busy machine a delivery may wait for a thread, and what stands in a queue goes with it."""
    deadline = time.monotonic() + within_s
    while channel.queue_declare(queue, passive=True).message_count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{queue} was not empty within {within_s:.0f} s")
        time.sleep(0.05)


def hostile_bodies(stage: Stage) -> Row:
    """Somebody with a token of his own posts what breaks parsers, all the while."""
    hostile = stage.phone()
    stage.register(hostile, "main", stage.receiver.url(f"/{hostile}"))
    stop, answers = threading.Event(), Counter[int]()

    def post() -> None:
        headers = {"Authorization": f"Bearer session-token-{hostile}", "Content-Type": "application/json"}
        routes = (f"/v15.0/{hostile}/messages", f"/webhooks/whatsapp/{hostile}", f"/v15.0/{hostile}/register",
                  f"/v15.0/{hostile}/templates")  # fmt: skip
        number = 0
        while not stop.wait(1 / HOSTILE_PER_S):
            url = f"{stage.uno.url}{routes[number % len(routes)]}"
            body, number = HOSTILE[number % len(HOSTILE)], number + 1
            try:
                answers[requests.post(url, data=body, headers=headers, timeout=30).status_code] += 1
            except requests.RequestException:
                answers[0] += 1

    thread = threading.Thread(target=post, daemon=True)
    thread.start()
    try:
        result = beside_sends(stage, "hostile bodies beside honest traffic", lambda _: time.sleep(2.0))
    finally:
        stop.set()
        thread.join(40)
        stage.uno.request("POST", f"/v15.0/{hostile}/deregister", token=OPERATOR)
    counts = ", ".join(f"{number} x {status}" for status, number in sorted(answers.items()))
    broken = [f"{answers[500]} hostile bodies were answered with 500"] if answers[500] else []
    return replace(result, note=f"{result.note}; hostile: {counts}", problems=[*result.problems, *broken])


@contextmanager
def _redis(stage: Stage) -> Iterator[Any]:
    with redis.Redis.from_url(stage.servers.redis_url) as client:
        yield client
