"""Every kind of process reports to Sentry, also one that is asked to end at that moment."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest
import redis

from tests.connector.phones import Phone
from tests.support.fake_sentry import Ingest
from tests.support.stack import OPERATOR, PHONE, Process, Stack, eventually, stack
from unoapi.broker.messages import to_message
from unoapi.broker.publisher import ConfirmingPublisher
from unoapi.broker.topology import Topology
from unoapi.models.jobs import Envelope, FanOut, Job, PrepareMessage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from unoapi.devenv.servers import PrivateServers

BODY = "b0dy-of-the-message"


@pytest.fixture
def ingest() -> Iterator[Ingest]:
    with Ingest() as running:
        yield running


@pytest.fixture
def uno(servers: PrivateServers, ingest: Ingest, tmp_path: Path) -> Iterator[Stack]:
    with stack(servers, tmp_path, SENTRY_DSN=ingest.dsn, UNOAPI_MESSAGE_RETRY_LIMIT="0") as running:
        yield running


FAN_OUT = FanOut(
    id="stumbles", phone=PHONE, message_id="wamid.STUMBLES", kind="message", body=json.dumps({"entry": [BODY]})
)
VOICE = PrepareMessage(id="stumbles", phone=PHONE, message_id="wamid.STUMBLES", body=f"{{{BODY}")


def publish(uno: Stack, job: Job) -> None:
    publisher = ConfirmingPublisher(uno.environment["AMQP_URL"], Topology("unoapi"))
    publisher.publish_messages([to_message(Envelope(job), Topology("unoapi"))], timeout_s=10)
    publisher.close()


def end(process: Process) -> None:
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(30) == 0, process.output()


@pytest.mark.parametrize(("job", "pool"), [(FAN_OUT, "threads"), (VOICE, "prefork")])
def test_a_bug_in_a_worker_is_reported_with_its_line_and_without_the_message(
    uno: Stack, ingest: Ingest, job: Job, pool: str
) -> None:
    publish(uno, job)

    worker = uno.worker(queues=(job.queue,), pool=pool, threads=1)
    eventually(lambda: uno.depth("unoapi.dead") == 1, within_s=30)
    end(worker)

    (event,) = ingest.events
    assert event["tags"]["message_id"] == "wamid.STUMBLES"
    assert (event["tags"]["reason"], event["tags"]["queue"]) == ("bug", f"unoapi.{job.queue}")
    assert event["fingerprint"][:3] == ["given_up", job.task, "bug"]
    frames = event["exception"]["values"][-1]["stacktrace"]["frames"]
    assert any(frame.get("in_app") and frame["module"].startswith("unoapi.services") for frame in frames)
    assert BODY not in ingest.text
    assert OPERATOR not in ingest.text


def test_a_connectors_trouble_is_reported_with_its_session(uno: Stack, ingest: Ingest) -> None:
    uno.web()
    uno.worker()
    phone = Phone(uno)
    phone.log_in()
    uno.register([{"id": "none", "urlAbsolute": "http://127.0.0.1:9/"}], provider="whatsmeow")
    connector = uno.connector()
    phone.wait_online()

    phone.simulate(type="message", data={"id": "3EB0BROKEN", "content": BODY})
    eventually(lambda: "event_not_converted" in connector.output(), within_s=20)
    end(connector)

    assert "event_not_converted" in {event["fingerprint"][0] for event in ingest.events}
    assert BODY not in ingest.text


def test_an_error_of_the_api_is_reported(uno: Stack, ingest: Ingest) -> None:
    other = "5511000000009"
    web = uno.web()
    spoilt = json.dumps({"authToken": BODY, "webhooks": BODY})
    redis.Redis.from_url(uno.environment["REDIS_URL"]).set(f"unoapi-config:{other}", spoilt)

    uno.get(f"/v15.0/{other}")
    end(web)

    reported = {event["fingerprint"][0]: event for event in ingest.events}
    assert reported["session_unreadable"]["tags"]["phone"] == other
    assert BODY not in ingest.text
