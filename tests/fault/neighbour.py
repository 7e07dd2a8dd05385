"""Half of the traffic goes to an endpoint that hangs: what it costs the healthy half, against being alone."""

from __future__ import annotations

import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.fault.table import Row
from tests.support.event_clients import ID_PATTERN
from tests.support.receiver import Behaviour

if TYPE_CHECKING:
    from tests.fault.stage import Stage

RATE = 20.0
"""Messages per second to the healthy endpoint, and as many to its neighbour, if there is one."""
HANGS_MS = 60_000
BAR = 2.0


def bad_neighbour(stage: Stage) -> Row:
    """Alternate: without a neighbour, beside a bad one; the ratio of the medians of the 95th percentiles."""
    size, receiver = stage.size, stage.receiver
    receiver.record("full")
    alone: list[float] = []
    bad: list[float] = []
    messages = delivered = 0
    try:
        for _ in range(size.neighbour_rounds):
            for into, hangs in ((alone, False), (bad, True)):
                came_ms, sent = latencies(stage, hangs=hangs)
                into.append(p95(came_ms))
                messages, delivered = messages + sent, delivered + len(came_ms)
    finally:
        receiver.record("count", key=ID_PATTERN)
    floor_ms = size.neighbour_floor_ms
    before, after = max(statistics.median(alone), floor_ms), max(statistics.median(bad), floor_ms)
    ratio = after / before
    note = f"p95 of the healthy half {after:.0f} ms, alone {before:.0f} ms: {ratio:.2f} x (bar {BAR:g})"
    return Row(
        fault="half of the traffic to an endpoint that hangs",
        messages=messages,
        delivered=delivered,
        note=note,
        problems=[] if ratio < BAR else [f"p95 {ratio:.2f} x"],
    )


def latencies(stage: Stage, *, hangs: bool) -> tuple[list[float], int]:
    """Latencies in ms from the request of the client to the webhook's, and how many healthy messages were sent."""
    uno, receiver = stage.uno, stage.receiver
    healthy, neighbour = stage.phone(), stage.phone()
    stage.register(healthy, "healthy", receiver.url(f"/{healthy}"))
    receiver.script(f"/{neighbour}", Behaviour(delay_ms=HANGS_MS))
    stage.register(neighbour, "neighbour", receiver.url(f"/{neighbour}"), timeoutMs=stage.size.neighbour_deadline_ms)
    count = int(RATE * stage.size.neighbour_s)
    sent_at: dict[str, float] = {}
    began = time.monotonic()

    def write(number: int) -> None:
        time.sleep(max(0.0, began + number / RATE - time.monotonic()))
        at = time.time()
        sent_at[uno.contact_writes(f"message {number}", phone=healthy)] = at
        if hangs:
            uno.contact_writes(f"message {number}", phone=neighbour)

    with ThreadPoolExecutor(8) as clients:
        list(clients.map(write, range(count)))
    deadline = time.monotonic() + stage.size.within_s
    while receiver.count(f"/{healthy}") < count and time.monotonic() < deadline:
        time.sleep(0.1)
    came: dict[str, float] = {}
    for request in receiver.requests(f"/{healthy}"):
        value = json.loads(request.body)["entry"][0]["changes"][0]["value"]
        came.setdefault(value["messages"][0]["id"], request.received_at)
    _drop_neighbour(stage, neighbour)
    return [(came[message_id] - at) * 1000 for message_id, at in sent_at.items() if message_id in came], count


def _drop_neighbour(stage: Stage, neighbour: str) -> None:
    """Let what waits for the neighbour end, so that the next round begins with empty queues."""
    answer = stage.uno.post(f"/admin/endpoints/{neighbour}/neighbour/drop")
    assert answer.ok, answer.text
    stage.drain(lambda: True)


def p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]
