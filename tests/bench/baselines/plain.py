"""What most people would write: a Celery task that posts with requests and retries by itself."""

import os

import requests
from celery import Celery
from kombu import Queue

app = Celery("plain", broker=os.environ["BENCH_AMQP_URL"])
app.conf.update(
    task_queues=[Queue("plain")],
    task_default_queue="plain",
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
)


@app.task(name="plain.post", autoretry_for=(requests.RequestException,), retry_backoff=True, max_retries=5)
def post(url: str, delivery_id: str, body: str) -> None:
    headers = {"Content-Type": "application/json", "webhook-id": delivery_id}
    requests.post(url, data=body.encode(), headers=headers, timeout=10).raise_for_status()
