"""One key gone, one queue gone, Redis away, full or read-only: nothing is lost, repeated or reported falsely."""

from __future__ import annotations

import io
import json
import time
import uuid
import wave
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from kombu import Connection

from tests.connector.phones import CHAT, Phone
from tests.integration.edges.calls import (
    arranged,
    copies,
    event,
    happens,
    is_over,
    new_number,
    post_event,
    registered,
    second_stack,
    statuses,
    steps,
    store,
    text,
    trace,
    with_job,
)
from tests.support.fake_graph_api import SILENT, Graph
from tests.support.receiver import Behaviour, Receiver
from tests.support.stack import CONTACT, OPERATOR, Process, Stack, stack
from unoapi.devenv.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests

    from unoapi.devenv.servers import PrivateServers

DAY_MS = 86_400_000
MEASURED = 300
KEY_COST = 64
"""Bytes that Redis needs for the two tables in which each key stands, beside what MEMORY USAGE says."""
LOGGED, LOGGED_B = "unoapi-messages", 250
"""The latest messages, and what `UNOAPI_MESSAGE_LOG_MAX` says that each takes: bounded for a number, not a message."""
COUNTED, MOST_COUNTED = "unoapi-activity", 8
"""Counts over time, in keys of fixed size, on two days at midnight: all by minute and hour, the number, its webhook."""


@pytest.fixture(scope="module")
def hooks() -> Iterator[Receiver]:
    with Receiver() as running:
        running.record("full")
        running.script("/down", Behaviour(status=500))
        yield running


@pytest.fixture(scope="module")
def graph() -> Iterator[Graph]:
    with Graph() as running:
        running.files["voice"] = ("audio/wav", sound())
        yield running


@pytest.fixture(scope="module")
def uno(servers: PrivateServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Nothing is set for numbers that were never stored."""
    settings = {"UNOAPI_MESSAGE_RETRY_LIMIT": "1", "UNOAPI_CONNECTOR_SENDS_PER_SECOND": "1000"}
    with stack(servers, tmp_path_factory.mktemp("edges"), **settings) as running:
        running.web()
        running.worker()
        yield running


@pytest.fixture(scope="module")
def served(
    uno: Stack, servers: PrivateServers, hooks: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """The environment has a webhook for numbers that were never stored, and the files' bucket is away."""
    settings = {
        "WEBHOOK_URL": hooks.url("/environment"),
        "STORAGE_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "STORAGE_ACCESS_KEY_ID": "key",
        "STORAGE_SECRET_ACCESS_KEY": "secret",
        "STORAGE_TIMEOUT_MS": "1000",
        "UNOAPI_SEND_MAX_AGE": "16",  # for half of it a voice message waits
    }
    with second_stack(servers, tmp_path_factory.mktemp("served"), **settings) as running:
        running.web()
        running.worker()
        yield running
    assert uno.port != running.port


@pytest.fixture
def phone(uno: Stack, hooks: Receiver) -> str:
    """A number of its own for each test."""
    hooks.clear()
    return new_number(uno)


def hooked(uno: Stack, hooks: Receiver, phone: str, *, path: str = "", **config: Any) -> str:
    """Register a number with a webhook; returns the webhook's path."""
    path = path or f"/{phone}"
    registered(uno, [{"id": "main", "urlAbsolute": hooks.url(path)}], phone=phone, **config)
    return path


def worker_of(uno: Stack) -> Process:
    return next(process for process in reversed(uno.processes) if process.log.name.startswith("worker"))


def sound() -> bytes:
    """A tenth of a second of silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(8000)
        written.writeframes(bytes(1600))
    return file.getvalue()


# --- Redis by numbers: before others have work, beside whom a burst is put off, which costs a step more ---


def footprint(uno: Stack) -> tuple[int, dict[str, tuple[int, int]]]:
    """Bytes of all keys, and their number and bytes by the first part of their names."""
    client = store(uno)
    names = [str(name) for name in client.scan_iter(count=1000)]
    pipeline = client.pipeline(transaction=False)
    for name in names:
        pipeline.memory_usage(name, samples=0)
    kinds: dict[str, tuple[int, int]] = {}
    for name, size in zip(names, pipeline.execute(), strict=True):
        count, total = kinds.get(name.partition(":")[0], (0, 0))
        kinds[name.partition(":")[0]] = (count + 1, total + int(size or 0) + KEY_COST)
    return sum(total for _, total in kinds.values()), kinds


@pytest.mark.parametrize(("direction", "most"), [("sent", 2048), ("received", 1024)])
def test_a_message_needs_little_memory_in_redis(
    uno: Stack, hooks: Receiver, phone: str, direction: str, most: int
) -> None:
    """Promise 10: with the defaults, all its statuses and one webhook."""
    path = hooked(uno, hooks, phone)
    for _ in range(3):
        skipped = times_skipped(uno)
        hooks.clear()
        _, kinds_before = footprint(uno)
        with ThreadPoolExecutor(2) as clients:
            if direction == "sent":
                contacts = [f"{int(CONTACT) + number}" for number in range(MEASURED)]  # a line of one waits for itself
                list(clients.map(lambda contact: uno.send(contact, phone=phone, to=contact), contacts))
            else:
                list(clients.map(lambda number: uno.contact_writes(f"{number}", phone=phone), range(MEASURED)))
        wanted = 3 * MEASURED if direction == "sent" else MEASURED
        arranged(lambda: hooks.count(path) >= wanted, what="all are delivered", within_s=60, every_s=0.2)  # noqa: B023
        happens(lambda: False, within_s=0.3)  # what is written behind
        _, kinds = footprint(uno)
        if times_skipped(uno) == skipped:
            break
        happens(lambda: False, within_s=3)
    else:
        pytest.skip("the machine is too busy: Redis was skipped in each round, so not everything was stored")

    grown = {name: size - kinds_before.get(name, (0, 0))[1] for name, (_, size) in kinds.items()}
    logged = grown.pop(LOGGED)
    del grown[COUNTED]
    assert sum(grown.values()) / MEASURED <= most, kinds
    assert 0 < logged / MEASURED <= LOGGED_B, kinds
    new = {name: kinds[name][0] - kinds_before.get(name, (0, 0))[0] for name in (LOGGED, COUNTED)}
    assert new[LOGGED] <= 2, "one list of the number, and one of all"
    assert new[COUNTED] <= MOST_COUNTED, kinds


def times_skipped(uno: Stack) -> int:
    """How often a process did without Redis, because it did not answer in time."""
    return sum(process.output().count("redis_skipped") for process in uno.processes)


# --- one key ---


def test_events_of_a_number_that_was_removed_on_purpose_are_not_kept_waiting(
    uno: Stack, hooks: Receiver, phone: str
) -> None:
    """The other side: a key that is gone because somebody wanted it is no loss."""
    hooked(uno, hooks, phone)
    assert uno.post(f"/v15.0/{phone}/deregister").status_code == 204

    assert post_event(uno, phone, event(text("wamid.REMOVED")), token=OPERATOR).ok

    arranged(lambda: is_over(uno, phone, "wamid.REMOVED"), what="it is filtered")


@pytest.mark.parametrize("which", ["uno", "served"])
def test_events_of_a_number_whose_key_is_lost_wait_for_it(
    request: pytest.FixtureRequest, hooks: Receiver, phone: str, which: str
) -> None:
    """The index still knows the number, so it was stored and is lost."""
    stacked: Stack = request.getfixturevalue(which)
    path = hooked(stacked, hooks, phone)
    store(stacked).delete(f"unoapi-config:{phone}")
    happens(lambda: False, within_s=0.7)  # until no process takes it from its memory any more

    accepted = post_event(stacked, phone, event(text("wamid.LOST")), token=OPERATOR)
    lost = happens(lambda: is_over(stacked, phone, "wamid.LOST") or hooks.count("/environment"), within_s=2)
    hooked(stacked, hooks, phone)

    assert accepted.status_code == 200, accepted.text
    assert not lost, steps(stacked, phone, "wamid.LOST")
    assert happens(lambda: hooks.count(path), within_s=20)
    assert hooks.count("/environment") == 0


def test_a_redis_that_throws_keys_away_is_reported_at_the_start(uno: Stack) -> None:
    """With `allkeys-*` a session's key goes when the memory is full."""
    client = store(uno)
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        done = uno.cli("release", check=False)
    finally:
        client.config_set("maxmemory-policy", "noeviction")

    assert "allkeys-lru" in done.stdout + done.stderr


# --- one waiting queue ---


def test_a_retry_whose_waiting_queue_is_missing_is_not_lost(uno: Stack, hooks: Receiver, phone: str) -> None:
    """It is waiting, tried again or dead, but never away."""
    hooked(uno, hooks, phone, path="/down")
    dead_before = uno.depth("unoapi.dead")
    try:
        with Connection(uno.environment["AMQP_URL"]) as connection:
            channel: Any = connection.channel()
            for name in ("unoapi.delayed", "unoapi.delayed.1", "unoapi.delayed.2"):
                channel.queue_delete(name)
        assert post_event(uno, phone, event(text("wamid.RETRIED")), token=OPERATOR).ok
        arranged(lambda: hooks.count("/down"), what="the first attempt")
        happens(lambda: hooks.count("/down") > 1, within_s=4)
        tried_again, dead = hooks.count("/down") > 1, uno.depth("unoapi.dead") - dead_before
    finally:
        uno.cli("release")

    assert tried_again or dead or uno.waiting()


# --- never twice, never falsely ---


@contextmanager
def refusing(uno: Stack, *commands: str) -> Iterator[None]:
    """Redis answers, but refuses these commands: what a hiccup of it at exactly this moment looks like."""
    client = store(uno)
    client.execute_command("ACL SETUSER", "default", *(f"-{command}" for command in commands))  # keeps the password
    try:
        yield
    finally:
        client.execute_command("ACL SETUSER", "default", *(f"+{command}" for command in commands))


@contextmanager
def stopped(servers: PrivateServers) -> Iterator[None]:
    """Redis is away. A Redis that only hangs carries out later what it was sent."""
    servers.redis.stop()
    try:
        yield
    finally:
        servers.redis.start()
        servers.redis.wait_ready()


def test_a_message_that_only_waits_for_its_connector_is_not_taken_for_tried(
    uno: Stack, hooks: Receiver, phone: str
) -> None:
    """A claim that could not be given back is an unknown outcome a minute later, though nothing was ever tried."""
    hooked(uno, hooks, phone, provider="whatsmeow")

    with refusing(uno, "del"):
        message_id = uno.send("waits", phone=phone).json()["messages"][0]["id"]
        arranged(lambda: "postponed" in steps(uno, phone, message_id), what="nobody is connected")
        happens(lambda: False, within_s=0.3)

    assert store(uno).get(f"unoapi-send:{phone}:{message_id}") is None


def test_a_send_without_a_claim_is_not_repeated_after_a_kill(
    uno: Stack, servers: PrivateServers, hooks: Receiver, graph: Graph, phone: str
) -> None:
    """That it was begun without a claim has to travel with the message."""
    forward = {"url": graph.url, "phoneNumberId": f"1{phone}", "token": "t", "timeoutMs": 20_000}
    path = hooked(uno, hooks, phone, provider="forwarder", webhookForward=forward)
    first = uno.send("so that the worker knows the session", phone=phone).json()["messages"][0]["id"]
    arranged(lambda: statuses(hooks, first, path), what="the worker knows the session")
    before = len(graph.messages_to(SILENT))

    with stopped(servers):
        answer = uno.send("once", phone=phone, to=SILENT)
        arranged(lambda: len(graph.messages_to(SILENT)) > before, what="Meta has it")
        worker_of(uno).kill()
    arranged(lambda: uno.get("/health/ready").json()["checks"]["redis"] == "ok", what="Redis is there again")
    uno.worker()
    happens(lambda: len(graph.messages_to(SILENT)) > before + 1, within_s=8)

    assert answer.ok
    assert len(graph.messages_to(SILENT)) == before + 1
    message_id = answer.json()["messages"][0]["id"]
    (status,) = arranged(lambda: statuses(hooks, message_id, path), what="the client gets a status")
    assert status["status"] == "failed"


@pytest.fixture
def sender(uno: Stack, hooks: Receiver, graph: Graph, phone: str) -> str:
    """A number at Meta, which the processes know already when Redis goes away."""
    forward = {"url": graph.url, "phoneNumberId": f"1{phone}", "token": "t"}
    path = hooked(uno, hooks, phone, provider="forwarder", webhookForward=forward)
    first = uno.send("so that the worker knows the session", phone=phone).json()["messages"][0]["id"]
    arranged(lambda: statuses(hooks, first, path), what="the worker knows the session")
    return phone


def with_key(uno: Stack, phone: str, to: str) -> requests.Response:
    """The same request, each time."""
    body = {"to": to, "type": "text", "text": {"body": "once"}}
    return uno.post(f"/v15.0/{phone}/messages", body, headers={"Idempotency-Key": f"order-{to}"})


def test_a_key_of_a_client_is_not_taken_for_free_while_redis_is_away(
    uno: Stack, servers: PrivateServers, graph: Graph, sender: str
) -> None:
    """Neither that it was accepted nor that it was sent can be known: each repetition left for Meta."""
    to = f"44{sender[-9:]}1"

    with stopped(servers):
        away = [with_key(uno, sender, to) for _ in range(2)]
        happens(lambda: graph.messages_to(to), within_s=3)
        sent_meanwhile = len(graph.messages_to(to))
    back = [arranged(lambda: (answer := with_key(uno, sender, to)).ok and answer, what="Redis is used") for _ in "ab"]
    arranged(lambda: graph.messages_to(to), what="Meta has it")
    happens(lambda: len(graph.messages_to(to)) > 1, within_s=3)

    assert [answer.status_code for answer in away] == [503, 503], away[0].text
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in away)
    assert sent_meanwhile == 0
    assert len({answer.json()["messages"][0]["id"] for answer in back}) == 1
    assert len(graph.messages_to(to)) == 1


def test_copies_that_a_client_made_by_its_key_wait_for_redis(
    uno: Stack, servers: PrivateServers, graph: Graph, sender: str
) -> None:
    """Accepted twice, because the first answer was lost; then Redis went away before either was sent."""
    to, other = f"44{sender[-9:]}2", f"44{sender[-9:]}3"
    with copies(uno, "unoapi.incoming") as jobs:
        assert with_key(uno, sender, other).ok
        copy = jobs.take()
        body = json.dumps({"messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": "once"}})
        another = with_job(copy, id="wamid.KEYED", message_id="wamid.KEYED", body=body)
        arranged(lambda: graph.messages_to(other), what="the first one is sent")

        with stopped(servers):
            for _ in range(2):
                jobs.publish(another, "unoapi.incoming")
            happens(lambda: graph.messages_to(to), within_s=4)
            sent_meanwhile = len(graph.messages_to(to))
    arranged(lambda: graph.messages_to(to), what="it is sent when Redis is there again", within_s=30)
    happens(lambda: len(graph.messages_to(to)) > 1, within_s=4)

    assert sent_meanwhile == 0
    assert len(graph.messages_to(to)) == 1


def test_a_replay_does_not_send_again_what_was_sent(uno: Stack, hooks: Receiver, graph: Graph, phone: str) -> None:
    """The dead letter is the broker's, so its reason says nothing of the outcome; the receipt does."""
    forward = {"url": graph.url, "phoneNumberId": f"1{phone}", "token": "t"}
    path = hooked(uno, hooks, phone, provider="forwarder", webhookForward=forward)
    to = f"44{phone[-10:]}"
    with copies(uno, "unoapi.incoming") as jobs:
        message_id = uno.send("once", phone=phone, to=to).json()["messages"][0]["id"]
        copy = jobs.take()
        arranged(lambda: statuses(hooks, message_id, path), what="it is sent")
        jobs.bury(copy)
    arranged(lambda: uno.depth("unoapi.dead"), what="the dead letter")

    uno.cli("dead", "replay", message_id)
    happens(lambda: len(graph.messages_to(to)) > 1, within_s=3)
    with Connection(uno.environment["AMQP_URL"]) as connection:
        channel: Any = connection.channel()
        channel.queue_purge("unoapi.dead")

    assert len(graph.messages_to(to)) == 1


def test_a_sent_message_is_not_failed_because_redis_had_a_hiccup(uno: Stack, hooks: Receiver, phone: str) -> None:
    """The end of the wait is brought forward; by itself it comes after UNOAPI_SEND_MAX_AGE and 30 seconds."""
    simulated = Phone(uno, phone)
    simulated.log_in()
    path = hooked(uno, hooks, phone, provider="whatsmeow")
    connector = uno.connector()
    arranged(lambda: simulated.status() == "online", what="the simulated phone is online", within_s=30)

    with copies(uno, "", exchange="unoapi.delayed") as delayed, copies(uno, "unoapi.incoming") as jobs:
        with refusing(uno, "getdel"):
            message_id = uno.send("sent", phone=phone).json()["messages"][0]["id"]
            wait = delayed.take()
            arranged(simulated.sent, what="it leaves")
            happens(lambda: statuses(hooks, message_id, path), within_s=2)
        arranged(lambda: statuses(hooks, message_id, path), what="the client gets a status")
        store(uno).delete(f"unoapi-told:{phone}:{message_id}")  # as if no receipt had come: the phone is off
        jobs.publish(with_job(wait), "unoapi.incoming")
        happens(lambda: "failed" in str(statuses(hooks, message_id, path)), within_s=3)
    connector.stop()

    assert "failed" not in [status["status"] for status in statuses(hooks, message_id, path)]


# --- every message ends ---


def test_a_voice_message_ends_in_a_status_while_the_bucket_is_away(
    served: Stack, hooks: Receiver, graph: Graph, phone: str
) -> None:
    """It waits for half of what it may, then it is sent as it came."""
    path = hooked(served, hooks, phone)
    audio = {"link": f"{graph.url}/files/voice", "voice": True}

    answer = served.post(f"/v15.0/{phone}/messages", {"to": CONTACT, "type": "audio", "audio": audio})
    message_id = answer.json()["messages"][0]["id"]
    ended = happens(lambda: statuses(hooks, message_id, path), within_s=16)

    assert answer.status_code == 200, answer.text
    assert ended, trace(served, phone, message_id)


def test_a_voice_message_that_is_given_up_is_failed(uno: Stack, hooks: Receiver, graph: Graph, phone: str) -> None:
    """Whatever the reason; here its body cannot be read."""
    path = hooked(uno, hooks, phone)
    audio = {"link": f"{graph.url}/files/voice", "voice": True}
    with copies(uno, "unoapi.media") as jobs:
        uno.post(f"/v15.0/{phone}/messages", {"to": CONTACT, "type": "audio", "audio": audio})
        message_id = f"wamid.{uuid.uuid4().hex.upper()}"
        jobs.publish(with_job(jobs.take(), id=message_id, message_id=message_id, body="{"), "unoapi.media")
        arranged(lambda: "dead" in steps(uno, phone, message_id), what="it is given up")

    ended = happens(lambda: statuses(hooks, message_id, path), within_s=3)

    assert [status["status"] for status in ended] == ["failed"]


def test_an_event_of_the_connector_has_a_maximum_age(uno: Stack, hooks: Receiver, phone: str) -> None:
    """UNOAPI_MESSAGE_MAX_AGE ends all waiting. It came three days ago, and its session is unreadable."""
    hooked(uno, hooks, phone, provider="whatsmeow")
    old = {"accepted_at_ms": time.time_ns() // 1_000_000 - 3 * DAY_MS, "id": str(uuid.uuid4())}
    message = {"id": "3EB0OLD", "chat": CHAT, "sender": CHAT, "timestamp_ms": 1}
    received = {
        "version": 1, "event_id": str(uuid.uuid4()), "type": "message", "session": phone, "seq": 1,
        "data": {**message, "content": {"kind": "text", "body": "x"}},
    }  # fmt: skip
    with copies(uno, "unoapi.outgoing") as jobs, copies(uno, "", exchange="unoapi.dead") as dead_letters:
        assert post_event(uno, phone, event(text("wamid.PATTERN")), token=OPERATOR).ok
        pattern = jobs.take()
        store(uno).set(f"unoapi-config:{phone}", "not JSON")
        happens(lambda: False, within_s=0.7)
        job = with_job(pattern, **old, event=received)
        job.properties["application_headers"]["task"] = "incoming.receive"
        jobs.publish(job, "unoapi.incoming.whatsmeow")

        dead_letter = dead_letters.take_in_time(within_s=4)

    assert dead_letter is not None
    assert (dead_letter.headers or {}).get("unoapi-reason") == "too_old"


# --- Redis that refuses writes ---


@contextmanager
def full(uno: Stack) -> Iterator[None]:
    """No memory left, and nothing may be thrown away."""
    client = store(uno)
    client.config_set("maxmemory", "1mb")
    try:
        yield
    finally:
        client.config_set("maxmemory", "0")


@contextmanager
def read_only(uno: Stack) -> Iterator[None]:
    """A replica of a server that is away."""
    client = store(uno)
    client.replicaof("127.0.0.1", free_port())
    try:
        yield
    finally:
        client.replicaof("NO", "ONE")


REFUSING = pytest.mark.parametrize("broken", [full, read_only])


@REFUSING
def test_readiness_says_that_redis_refuses_writes(uno: Stack, broken: Any) -> None:
    """Promise 9: 200 and degraded, with the reason, and the same at `unoapi release`."""
    with broken(uno):
        answer = uno.get("/health/ready")
        released = uno.cli("release", check=False)

    assert answer.status_code == 200
    assert answer.json()["status"] == "degraded"
    assert "write" in answer.json()["checks"]["redis"]
    assert "write" in released.stdout + released.stderr


@REFUSING
def test_who_cannot_store_a_session_learns_why(uno: Stack, phone: str, broken: Any) -> None:
    """It answers, and trying again helps nobody."""
    with broken(uno):
        answer = uno.post(f"/v15.0/{phone}/register", {"provider": "sandbox"})

    assert answer.status_code == 503
    details = answer.json()["error"]["error_data"]["details"]
    assert "does not answer" not in details
    assert "write" in details or "full" in details


@REFUSING
def test_messages_are_sent_and_delivered_while_redis_refuses_writes(
    uno: Stack, hooks: Receiver, phone: str, broken: Any
) -> None:
    """Promise 9, found to hold: nothing of a message depends on what Redis stores."""
    path = hooked(uno, hooks, phone)

    with broken(uno):
        message_id = uno.send("sent", phone=phone).json()["messages"][0]["id"]
        received = post_event(uno, phone, event(text("wamid.RECEIVED")), token=OPERATOR)
        arranged(lambda: statuses(hooks, message_id, path), what="a status", within_s=10)
        arranged(lambda: "wamid.RECEIVED" in str(hooks.requests(path)), what="the received message", within_s=10)

    assert received.status_code == 200
    assert statuses(hooks, message_id, path)[0]["status"] == "sent"
