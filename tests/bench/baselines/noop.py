"""A task that does nothing, on the pool and the kind of queue that we use: the floor of every figure.

It records in memory when each message ran and how long after its publication, and writes both to `BENCH_FILE` once
`BENCH_EXPECT` messages have run.
"""

import json
import os
import time
from pathlib import Path

from celery import Celery
from kombu import Queue

EXPECTED = int(os.environ["BENCH_EXPECT"])
FILE = Path(os.environ["BENCH_FILE"])

app = Celery("noop", broker=os.environ["BENCH_AMQP_URL"])
app.conf.update(
    task_queues=[Queue("noop", queue_arguments={"x-queue-type": "quorum"})],
    task_default_queue="noop",
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
)
runs: list[tuple[float, float]] = []


@app.task(name="noop.run")
def run(published_at: float, body: str) -> None:  # noqa: ARG001 (as big as ours)
    now = time.time()
    runs.append((now, now - published_at))
    if len(runs) == EXPECTED:
        part = FILE.with_suffix(".part")
        part.write_text(json.dumps({"times": [at for at, _ in runs], "waits": [wait for _, wait in runs]}))
        part.rename(FILE)
