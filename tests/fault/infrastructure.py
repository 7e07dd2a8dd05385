"""Faults of our own processes and of the servers, in the middle of traffic."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import redis

from tests.fault.breaking import blocked_publishers
from tests.fault.table import Row, duplicates
from tests.support.event_clients import Clients

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fault.stage import Stage

BEFORE = 0.3
"""The share of the events that is accepted before the fault."""
CLIENTS = 8


def row(stage: Stage, fault: str, breaks: Callable[[str], None]) -> Row:
    """Post events, break something on the way and mend it, then count. `breaks` gets the session's number."""
    size, receiver = stage.size, stage.receiver
    phone = stage.phone()
    path = f"/{phone}"
    stage.register(phone, "main", receiver.url(path))

    with Clients(stage.uno.url, phone=phone, events=size.events, rate=size.rate, threads=CLIENTS) as clients:
        clients.wait(lambda: len(clients.accepted) >= BEFORE * size.events, timeout_s=size.within_s)
        breaks(phone)
        mended, owed = time.monotonic(), set(clients.accepted)

        def recovered() -> bool:
            """Whether what was accepted before has arrived, and something that was accepted since."""
            came = stage.arrived(path)
            return owed <= came and (bool(came & clients.accepted - owed) or clients.finished())

        while not recovered() and time.monotonic() - mended < size.within_s:
            time.sleep(0.1)
        recovered_s = time.monotonic() - mended
        clients.wait(clients.finished, timeout_s=size.within_s)
    waiting = stage.drain(lambda: clients.accepted <= stage.arrived(path), within_s=30)
    where = [f"{count} in {queue}" for queue, count in stage.uno.unfinished_by_queue().items()] if waiting else []
    dead = {dead_letter["message_id"] for dead_letter in stage.uno.dead("--phone", phone)}
    died = (clients.accepted & dead) - stage.arrived(path)
    refused = ", ".join(f"{number} x {answer}" for answer, number in sorted(clients.refusals.items()))
    return Row(
        fault=fault,
        messages=len(clients.accepted),
        delivered=len(clients.accepted & stage.arrived(path)),
        duplicated=duplicates(receiver.keys(path)),
        dead=len(died),
        waiting=waiting,
        recovered_s=recovered_s,
        note=f"refused and repeated by the clients: {refused}" if refused else "",
        problems=[*([f"{len(died)} dead, though their endpoint answered"] if died else []), *where],
    )


def workers_killed(stage: Stage) -> Row:
    def breaks(_: str) -> None:
        for number in range(stage.size.kills):
            stage.kill_worker(number % len(stage.workers))

    return row(stage, f"workers killed {stage.size.kills} x", breaks)


def web_killed(stage: Stage) -> Row:
    def breaks(_: str) -> None:
        for _kill in range(stage.size.kills):
            stage.kill_web()

    return row(stage, f"web killed {stage.size.kills} x in the middle of requests", breaks)


def rabbitmq_stopped(stage: Stage) -> Row:
    def breaks(_: str) -> None:
        rabbit = stage.servers.rabbit
        stage.wait_until_registered()
        rabbit.stop()
        time.sleep(stage.size.rabbit_away_s)
        rabbit.start()
        rabbit.wait_ready()

    return row(stage, f"RabbitMQ stopped {stage.size.rabbit_away_s:g} s", breaks)


def rabbitmq_killed(stage: Stage) -> Row:
    def breaks(_: str) -> None:
        rabbit = stage.servers.rabbit
        stage.wait_until_registered()
        rabbit.kill()
        rabbit.start()
        rabbit.wait_ready()

    return row(stage, "RabbitMQ killed", breaks)


def memory_alarm(stage: Stage) -> Row:
    def breaks(_: str) -> None:
        with blocked_publishers(stage.servers):
            time.sleep(stage.size.alarm_s)

    return row(stage, f"RabbitMQ's memory alarm {stage.size.alarm_s:g} s", breaks)


def redis_stopped(stage: Stage) -> Row:
    def breaks(_: str) -> None:
        node = stage.servers.redis
        node.stop()
        time.sleep(stage.size.redis_away_s)
        node.start()
        node.wait_ready()

    return row(stage, f"Redis stopped {stage.size.redis_away_s:g} s", breaks)


def redis_restarted(stage: Stage) -> Row:
    def breaks(_: str) -> None:
        node = stage.servers.redis
        node.kill()
        node.start()
        node.wait_ready()

    return row(stage, "Redis killed and started again", breaks)


def redis_flushed(stage: Stage) -> Row:
    def breaks(phone: str) -> None:
        redis.Redis.from_url(stage.servers.redis_url).flushall()
        stage.kill_worker(0)  # one that has never seen Redis with its data
        time.sleep(2.0)
        stage.register(phone, "main", stage.receiver.url(f"/{phone}"))

    return row(stage, "Redis flushed, a worker killed", breaks)
