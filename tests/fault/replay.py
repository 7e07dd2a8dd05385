"""A replay of yesterday's events of one number among those of all, whose workers are killed in the middle of it."""

from __future__ import annotations

import json
import time
from itertools import islice
from typing import TYPE_CHECKING, Any

from tests.fault.neighbour import latencies, p95
from tests.fault.stage import EVENTS_MAX_BYTES
from tests.fault.table import Row
from tests.support.event_clients import ID_PATTERN, event, message_id
from tests.support.stack import TOPOLOGY
from unoapi.broker.event_recorder import AT_ONCE, line, together
from unoapi.broker.publisher import ConfirmingPublisher
from unoapi.models.jobs import FanOut, computed_id, now_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.fault.stage import Stage

DAY_MS = 86_400_000
OTHERS = tuple(f"55219000{number:05d}" for number in range(100))
BAR = 1.5
"""Of the 95th percentile of another number's events beside the replay, to that without it."""


def replay_killed(stage: Stage) -> Row:
    size, receiver = stage.size, stage.receiver
    phone = stage.phone()
    path = f"/{phone}"
    stage.register(phone, "main", receiver.url(path))
    receiver.record("full")
    try:
        _write_the_past(stage, phone)
        alone, _ = latencies(stage, hangs=False)
        _replay(stage, phone)
        beside, _ = latencies(stage, hangs=False)
        stage.uno.cli("events", "cancel", "--phone", phone, "--webhook", "main", check=False)
        stage.drain(lambda: True)
        receiver.clear()
        began = time.monotonic()
        _replay(stage, phone)
        _wait(stage, lambda: receiver.count(path) >= size.replay_events // 2)
        for number in range(len(stage.workers)):
            stage.kill_worker(number)
        killed = time.monotonic()
        _wait(stage, lambda: _state(stage, phone)["state"] != "running")
        state, ended = _state(stage, phone), time.monotonic()
        came = [_id_of(request.body) for request in receiver.requests(path)]
    finally:
        receiver.record("count", key=ID_PATTERN)
    disk = _bytes_of_stream(stage)
    floor_ms = size.neighbour_floor_ms
    ratio = max(p95(beside), floor_ms) / max(p95(alone), floor_ms)
    wanted = [message_id(number) for number in range(size.replay_events)]
    first = list(dict.fromkeys(came))
    problems = [] if first == wanted else [f"not in order, or not all: {len(first)} of {len(wanted)} came"]
    problems += [] if state["state"] == "done" else [f"ended as {state['state']}: {state['note']}"]
    problems += [] if 0 < disk <= EVENTS_MAX_BYTES else [f"the stream takes {disk:,} bytes"]
    problems += [] if ratio < BAR else [f"p95 of another number {ratio:.2f} x (bar {BAR:g})"]
    return Row(
        fault=f"a replay of {size.replay_events:,} events of {size.replay_events + size.replay_others:,}, killed",
        messages=len(wanted),
        delivered=len(set(first) & set(wanted)),
        duplicated=len(came) - len(first),
        recovered_s=ended - killed,
        note=f"in order, {size.replay_events / (ended - began):.0f} a second; p95 of another number {ratio:.2f} x; "
        f"the stream takes {disk / 1e6:.0f} MB",
        problems=problems,
    )


def _write_the_past(stage: Stage, phone: str) -> None:
    """Write events of yesterday into the stream, those of the number evenly among those of others."""
    publisher = ConfirmingPublisher(stage.uno.environment["AMQP_URL"], TOPOLOGY)
    past = _past(stage.size.replay_events, stage.size.replay_others, phone)
    try:
        while events := list(islice(past, AT_ONCE)):
            publisher.publish_messages([together(events, TOPOLOGY)], timeout_s=30)
    finally:
        publisher.close()


def _past(own: int, others: int, phone: str) -> Iterator[bytes]:
    published_ms, share = now_ms() - DAY_MS, others // own
    for number in range(own):
        for other in range(share):
            whose = OTHERS[(number * share + other) % len(OTHERS)]
            yield _stored(number * share + other, whose, published_ms)
        yield _stored(number, phone, published_ms)


def _stored(number: int, phone: str, published_ms: int) -> bytes:
    job = FanOut(
        id=computed_id("past", phone, str(number)),
        phone=phone,
        message_id=message_id(number),
        kind="message",
        body=event(number, phone=phone),
        webhook_ids=("main",),
        stored=True,
    )
    return line(job.model_dump_json(), published_ms=published_ms)


def _replay(stage: Stage, phone: str) -> None:
    """Begin to deliver what is of yesterday."""
    stage.uno.cli(
        "events", "replay", "--phone", phone, "--webhook", "main", "--since", "2d", "--until", "12h",
        "--rate", "1000", "--detach",
    )  # fmt: skip


def _bytes_of_stream(stage: Stage) -> int:
    files = stage.servers.rabbit.folder.rglob(f"*{TOPOLOGY.prefix}?events*/*")
    return sum(file.stat().st_size for file in files if file.is_file())


def _state(stage: Stage, phone: str) -> Any:
    return stage.uno.get(f"/admin/events/replay/{phone}/main").json()


def _wait(stage: Stage, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + stage.size.replay_within_s
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError("the replay did not come so far in time")
        time.sleep(0.2)


def _id_of(body: str) -> str:
    return str(json.loads(body)["entry"][0]["changes"][0]["value"]["messages"][0]["id"])
