"""The baselines' queues: made anew for each run and filled while no worker runs."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery
from kombu import Connection, Queue

from tests.support.stack import eventually


def fresh(url: str, queue: Queue) -> None:
    """Replace a queue by an empty one."""
    with Connection(url) as connection:
        bound = queue.bind(connection.default_channel)
        bound.delete()
        bound.declare()


def declared(url: str, name: str) -> Any:
    """The broker's counts of a queue that exists: `message_count` and `consumer_count`."""
    with Connection(url) as connection:
        channel: Any = connection.default_channel
        return channel.queue_declare(name, passive=True)


def depth(url: str, name: str) -> int:
    """Messages that wait in a queue."""
    return int(declared(url, name).message_count)


@contextmanager
def counted(url: str) -> Iterator[Callable[[str], int]]:
    """How many messages wait in a queue, asked on one connection: to look often must not be what the broker does."""
    with Connection(url) as connection:
        channel: Any = connection.default_channel
        yield lambda name: int(channel.queue_declare(name, passive=True).message_count)


def consumers(url: str, name: str) -> int:
    """Workers that consume a queue."""
    return int(declared(url, name).consumer_count)


def fill(url: str, queue: Queue, task: str, arguments: Iterable[tuple[object, ...]]) -> None:
    """Make the queue anew and publish one task for each tuple of arguments."""
    fresh(url, queue)
    app = Celery("filler", broker=url, set_as_current=False)
    app.conf.task_queues = [queue]
    count = 0
    with app.producer_or_acquire() as producer:
        for args in arguments:
            app.send_task(task, args=args, queue=queue.name, producer=producer, ignore_result=True)
            count += 1
    eventually(lambda: depth(url, queue.name) >= count, what=f"{count} messages in {queue.name}", within_s=60)
    app.close()


def trickle(url: str, queue: Queue, task: str, *, count: int, per_s: float, body: str) -> None:
    """Publish `task(now, body)` at a steady rate; `now` is in epoch seconds."""
    app = Celery("filler", broker=url, set_as_current=False)
    app.conf.task_queues = [queue]
    with app.producer_or_acquire() as producer:
        start = time.monotonic()
        for number in range(count):
            time.sleep(max(0.0, start + number / per_s - time.monotonic()))
            app.send_task(task, args=(time.time(), body), queue=queue.name, producer=producer, ignore_result=True)
    app.close()
