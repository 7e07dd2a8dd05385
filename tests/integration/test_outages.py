"""RabbitMQ or Redis stopped, hanging or emptied under a running Uno API, on servers of this file's own."""

from __future__ import annotations

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.support.receiver import Behaviour, Receiver
from tests.support.stack import CONTACT, OPERATOR, PHONE, REGISTERED_S, Stack, eventually, stack
from unoapi.errors import StoreUnavailable
from unoapi.stores.redis import SKIP_S, RedisClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import requests

    from unoapi.devenv.servers import PrivateServers

SESSION_TOKEN = f"session-token-{PHONE}"
ENVIRONMENT_PHONE = "5511900000001"


@pytest.fixture(scope="module")
def live(faulty: PrivateServers, hooks: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Web and worker that go through several outages without being restarted."""
    folder = tmp_path_factory.mktemp("live")
    with stack(faulty, folder, UNOAPI_MESSAGE_RETRY_LIMIT="5", WEBHOOK_URL=hooks.url("/environment")) as running:
        running.web()
        running.worker()
        running.register([{"id": "main", "urlAbsolute": hooks.url("/main")}])
        yield running


@pytest.fixture(autouse=True)
def _forget(hooks: Receiver) -> None:
    hooks.clear()


def timed(request: Callable[[], requests.Response]) -> tuple[requests.Response, float]:
    started = time.monotonic()
    answer = request()
    return answer, time.monotonic() - started


def received_text(text: str, *, phone: str, message_id: str) -> dict[str, Any]:
    """A Cloud API event with one received message."""
    message = {"from": CONTACT, "id": message_id, "timestamp": "1767225600", "type": "text", "text": {"body": text}}
    value = {"messaging_product": "whatsapp", "metadata": {"phone_number_id": phone}, "messages": [message]}
    return {"object": "whatsapp_business_account", "entry": [{"id": phone, "changes": [{"value": value}]}]}


def accept(uno: Stack, phone: str, message_id: str) -> requests.Response:
    answer = uno.post(f"/webhooks/whatsapp/{phone}", received_text("hello", phone=phone, message_id=message_id))
    assert answer.status_code == 200, answer.text
    return answer


def messages_at(hooks: Receiver, path: str) -> set[str]:
    """Ids of the messages that came to a path."""
    values = [json.loads(request.body)["entry"][0]["changes"][0]["value"] for request in hooks.requests(path)]
    return {item["id"] for value in values for item in value.get("messages", [])}


def statuses_at(hooks: Receiver, path: str) -> list[dict[str, Any]]:
    values = [json.loads(request.body)["entry"][0]["changes"][0]["value"] for request in hooks.requests(path)]
    return [item for value in values for item in value.get("statuses", [])]


@contextmanager
def stopped(server: Any) -> Iterator[None]:
    server.stop()
    try:
        yield
    finally:
        server.start()
        server.wait_ready()


@contextmanager
def hanging(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_without_rabbitmq_every_request_is_refused_in_time_and_all_goes_on_after_it(
    live: Stack, faulty: PrivateServers, hooks: Receiver
) -> None:
    hooks.script("/main", Behaviour(failures=1))
    time.sleep(REGISTERED_S)
    waiting = live.contact_writes("waits for its retry while RabbitMQ is stopped")
    hooks.wait(1, "/main")
    web = [process for process in live.processes if process.log.name.startswith("web")]

    with stopped(faulty.rabbit):
        with ThreadPoolExecutor(20) as clients:  # more than the API has threads
            answers = list(clients.map(lambda _: timed(lambda: live.send("all at once")), range(20)))
        answers += [timed(lambda: live.send("one by one")) for _ in range(3)]
        readiness, readiness_s = timed(lambda: live.get("/health/ready"))
        liveness = live.get("/health/live")
    back = time.monotonic()
    accepted = eventually(lambda: (answer := live.send("again")).ok and answer, within_s=20, every_s=0.2)
    accepted_after_s = time.monotonic() - back
    hooks.script("/main", Behaviour())
    later = live.contact_writes("after the outage")
    eventually(lambda: {waiting, later} <= messages_at(hooks, "/main"), within_s=40)

    assert [answer.status_code for answer, _ in answers] == [503] * 23
    assert max(seconds for _, seconds in answers) < 5.0
    for answer, _ in answers:
        assert int(answer.headers["Retry-After"]) > 0
        assert set(answer.json()["error"]) >= {"message", "type", "code", "error_data", "fbtrace_id"}
    assert readiness.status_code == 503
    assert readiness.json()["checks"] == {"rabbitmq": "not reachable", "redis": "ok"}
    assert readiness_s < 5.0
    assert liveness.status_code == 200
    assert accepted_after_s < 10.0
    sent = accepted.json()["messages"][0]["id"]
    eventually(lambda: sent in {status["id"] for status in statuses_at(hooks, "/main")}, within_s=20)
    assert all(process.running() for process in web)
    assert live.get("/health/ready").status_code == 200
    assert live.depth("unoapi.dead") == 0


def test_without_redis_known_sessions_are_served_and_deliveries_go_out(
    live: Stack, faulty: PrivateServers, hooks: Receiver
) -> None:
    unseen = "5511900000002"
    client = redis.Redis.from_url(faulty.redis_url)
    client.set(f"unoapi-config:{unseen}", json.dumps({"provider": "sandbox", "authToken": "token-of-the-unseen"}))
    before = live.contact_writes("while Redis is there", token=SESSION_TOKEN)
    hooks.wait(1, "/main")

    with stopped(faulty.redis):
        answers = {
            "stored": timed(lambda: live.send("operator", phone=PHONE)),
            "environment": timed(lambda: live.send("operator", phone=ENVIRONMENT_PHONE)),
            "session": timed(lambda: live.send("session", token=SESSION_TOKEN)),
            "unseen": timed(lambda: live.send("unseen", phone=unseen, token="token-of-the-unseen")),
            "wrong": timed(lambda: live.send("wrong", token="wrong")),
            "event": timed(lambda: accept(live, PHONE, "wamid.NOREDIS")),
        }
        answers |= {f"session {n}": timed(lambda: live.send("session", token=SESSION_TOKEN)) for n in range(10)}
        eventually(lambda: live.get("/health/ready").json()["status"] == "degraded", within_s=10)
        answers["ready"] = timed(lambda: live.get("/health/ready"))
        written = live.contact_writes("while Redis is away")
        eventually(lambda: {written, "wamid.NOREDIS"} <= messages_at(hooks, "/main"), within_s=15)
        sent = answers["session"][0].json()["messages"][0]["id"]
        eventually(lambda: sent in {status["id"] for status in statuses_at(hooks, "/main")}, within_s=15)
    normal = eventually(
        lambda: (answer := live.send("now seen", phone=unseen, token="token-of-the-unseen")).ok and answer,
        within_s=15,
        every_s=0.5,
    )

    statuses = {name: answer.status_code for name, (answer, _) in answers.items()}
    assert statuses.pop("unseen") == 503
    assert answers["unseen"][0].headers["Retry-After"]
    assert statuses.pop("wrong") == 503  # it may be good for a number that cannot be read now
    assert set(statuses.values()) == {200}
    assert answers["ready"][0].json() == {"status": "degraded", "checks": {"rabbitmq": "ok", "redis": "not reachable"}}
    assert max(seconds for _, seconds in answers.values()) < 1.0
    assert before in messages_at(hooks, "/main")
    eventually(lambda: live.get("/health/ready").json()["status"] == "ok", within_s=10)
    trace = f"/v15.0/{unseen}/messages/{normal.json()['messages'][0]['id']}/trace"
    eventually(lambda: live.get(trace).status_code == 200, within_s=10)


def test_a_hanging_redis_costs_200_ms_once_and_is_then_skipped(
    live: Stack, faulty: PrivateServers, hooks: Receiver
) -> None:
    store = RedisClient(faulty.redis_url)
    store.call(("PING",))

    def failing_call() -> float:
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):
            store.call(("PING",))
        return time.monotonic() - started

    with hanging(faulty.redis.pid):
        first_s = failing_call()
        skipped_s = [failing_call() for _ in range(50)]
        requests_s = sorted(timed(partial(accept, live, PHONE, f"wamid.HANGING{n}"))[1] for n in range(20))
        eventually(lambda: len(messages_at(hooks, "/main")) == 20, within_s=15)
    time.sleep(SKIP_S)

    assert store.call(("PING",)) == [True]
    assert 0.1 < first_s < 0.5  # 200 ms, and a machine that is busy with other things
    assert sorted(skipped_s)[25] < 0.005
    assert requests_s[-1] < 1.0
    assert requests_s[10] < 0.2
    store.close()


def test_a_webhook_or_session_removed_on_purpose_ends_its_deliveries(live: Stack, hooks: Receiver) -> None:
    hooks.script("/down", Behaviour(status=500))
    phones = ("5511900000003", "5511900000004")
    for phone in phones:
        live.register([{"id": "down", "urlAbsolute": hooks.url(f"/down/{phone}")}], phone=phone)
    sent = {live.contact_writes("never arrives", phone=phone) for phone in phones}
    hooks.wait(1, f"/down/{phones[0]}")
    hooks.wait(1, f"/down/{phones[1]}")

    live.register([{"id": "other", "urlAbsolute": hooks.url("/other")}], phone=phones[0])
    live.cli("session", "remove", phones[1])
    eventually(lambda: live.depth("unoapi.dead") == 2, within_s=20, every_s=0.2)

    dead_letters = live.dead()
    assert {dead_letter["message_id"] for dead_letter in dead_letters} == sent
    assert {(dead_letter["phone"], dead_letter["webhook"], dead_letter["reason"]) for dead_letter in dead_letters} == {
        (phone, "down", "webhook_removed") for phone in phones
    }
    assert hooks.count("/other") == 0
    assert hooks.count("/environment") == 0
    live.cli("dead", "purge", "--yes")


def test_after_a_flush_events_wait_for_the_configuration_and_never_go_to_the_environments_webhook(
    faulty: PrivateServers, hooks: Receiver, tmp_path: Path
) -> None:
    never_stored = "5511900000005"
    redis_url = f"{faulty.redis_url}/1"  # not the one in which the processes of other tests keep their marker
    with stack(faulty, tmp_path, WEBHOOK_URL=hooks.url("/environment"), REDIS_URL=redis_url) as uno:
        uno.web()
        worker = uno.worker()
        accept(uno, never_stored, "wamid.BEFORE")
        hooks.wait(1, f"/environment/{never_stored}")
        uno.register([{"id": "main", "urlAbsolute": hooks.url("/main")}])
        accept(uno, PHONE, "wamid.STORED")
        hooks.wait(1, "/main")
        worker.stop()
        accept(uno, PHONE, "wamid.WAITING")

        redis.Redis.from_url(redis_url).flushdb()
        accept(uno, PHONE, "wamid.NEW")
        accept(uno, never_stored, "wamid.UNKNOWN")
        uno.worker()  # it has never seen Redis with its data
        time.sleep(2)

        assert hooks.count("/main") == 1
        assert hooks.count("/environment") == 1

        uno.register([{"id": "main", "urlAbsolute": hooks.url("/main")}])
        eventually(lambda: {"wamid.WAITING", "wamid.NEW"} <= messages_at(hooks, "/main"), within_s=40, every_s=0.2)

        assert hooks.count("/environment") == 1

        uno.cli("session", "confirm")
        eventually(lambda: "wamid.UNKNOWN" in messages_at(hooks, "/environment"), within_s=40, every_s=0.2)

        assert messages_at(hooks, "/main") == {"wamid.STORED", "wamid.WAITING", "wamid.NEW"}
        assert messages_at(hooks, f"/environment/{never_stored}") == {"wamid.BEFORE", "wamid.UNKNOWN"}
        assert hooks.count(f"/environment/{PHONE}") == 0
        assert uno.depth("unoapi.dead") == 0


def test_waiting_ends_with_the_maximum_age(faulty: PrivateServers, hooks: Receiver, tmp_path: Path) -> None:
    hooks.script("/down", Behaviour(status=500))
    unconnected = "5511900000006"
    ages = {"UNOAPI_MESSAGE_MAX_AGE": "8", "UNOAPI_SEND_MAX_AGE": "2", "UNOAPI_MESSAGE_RETRY_LIMIT": "50"}
    with stack(faulty, tmp_path, **ages) as uno:
        uno.web()
        uno.worker()
        uno.register([{"id": "down", "urlAbsolute": hooks.url("/down")}])
        uno.register([{"id": "main", "urlAbsolute": hooks.url("/main")}], phone=unconnected, provider="whatsmeow")

        delivered = uno.contact_writes("never taken")
        sent = uno.send("nobody is connected", phone=unconnected).json()["messages"][0]["id"]
        eventually(lambda: statuses_at(hooks, "/main"), within_s=30)
        eventually(lambda: uno.depth("unoapi.dead") == 2, within_s=20, every_s=0.2)

        dead_letters = {dead_letter["message_id"]: dead_letter for dead_letter in uno.dead()}
        assert dead_letters[delivered]["reason"] == "too_old"
        assert {attempt["status"] for attempt in dead_letters[delivered]["attempts"]} == {500}
        assert dead_letters[sent]["reason"] == "too_old"
        (status,) = statuses_at(hooks, "/main")
        assert (status["id"], status["status"]) == (sent, "failed")
        assert "no connector" in status["errors"][0]["error_data"]["details"]
        assert OPERATOR not in json.dumps(dead_letters)
