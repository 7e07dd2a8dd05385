"""Workers killed or ended at the worst moment, retries that cannot be published, and bugs: nothing is lost."""

from __future__ import annotations

import json
import signal
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import redis

from tasks.first_attempts import EX_STOPPED
from tests.fault.breaking import blocked_publishers
from tests.support.fakes import make_send
from tests.support.receiver import Behaviour, Receiver
from tests.support.stack import CONTACT, PHONE, REGISTERED_S, TOPOLOGY, Stack, eventually, stack
from tests.support.vhosts import own_vhost
from unoapi.broker.messages import Message, to_message
from unoapi.broker.publisher import ConfirmingPublisher
from unoapi.errors import BrokerBlocked, BrokerUnavailable
from unoapi.models.jobs import DeliverWebhook, Envelope, FanOut

if TYPE_CHECKING:
    from pathlib import Path

    from unoapi.devenv.servers import PrivateServers

"""RabbitMQ 3.10 must not be killed sooner after queues were declared."""
BLOCKED_S = 8.0
THREADS = 10


def publish(uno: Stack, *messages: Message) -> None:
    publisher = ConfirmingPublisher(uno.environment["AMQP_URL"], TOPOLOGY)
    publisher.publish_messages(messages)
    publisher.close()


def one_webhook(uno: Stack, receiver: Receiver) -> None:
    uno.register([{"id": "main", "urlAbsolute": receiver.url("/main")}])


def messages(receiver: Receiver, path: str) -> list[str]:
    """The message id of each request with one, in order: what a test sends has a status, at any time."""
    values = [json.loads(request.body)["entry"][0]["changes"][0]["value"] for request in receiver.requests(path)]
    return [message["id"] for value in values for message in value.get("messages", ())]


def test_a_delivery_whose_worker_is_killed_in_the_middle_is_made_again(uno: Stack, receiver: Receiver) -> None:
    receiver.script("/main", Behaviour(delay_ms=1500))
    uno.web()
    worker = uno.worker()
    one_webhook(uno, receiver)
    message_id = uno.contact_writes("hello")
    receiver.wait(1, "/main")

    worker.kill()
    uno.worker()
    receiver.wait(2, "/main")
    time.sleep(2.5)

    assert messages(receiver, "/main") == [message_id, message_id]
    (tally,) = receiver.ids("/main").values()
    assert tally == (2, 1)
    assert uno.unfinished() == 0
    assert uno.depth("unoapi.dead") == 0


def test_a_worker_whose_first_attempts_stand_still_ends_and_its_messages_are_another_ones(
    uno: Stack, receiver: Receiver
) -> None:
    receiver.record("count", key=r'"id":\s*"(wamid\.[^"]+)"')
    uno.web()
    one_webhook(uno, receiver)
    written = {uno.contact_writes(f"event {number}") for number in range(60)}

    standing = uno.worker(app="tests.support.standing_worker_app")
    eventually(lambda: not standing.running(), within_s=30)
    uno.worker()

    eventually(lambda: set(receiver.keys("/main")) == written, within_s=30)
    assert standing.wait(1) == EX_STOPPED
    assert "first_attempts_stopped" in standing.output()
    assert uno.unfinished() == 0


def test_fan_outs_killed_half_way_repeat_the_same_delivery_ids(uno: Stack, receiver: Receiver) -> None:
    events, kills, paths = 150, 4, ("/a", "/b", "/c")
    receiver.record("count", key=r'"id":\s*"(wamid\.[^"]+)"')
    uno.web()
    uno.worker().stop()
    uno.register([{"id": path[1:], "urlAbsolute": receiver.url(path)} for path in paths])
    written = {uno.contact_writes(f"event {number}") for number in range(events)}

    for kill in range(kills):
        worker = uno.worker(threads=THREADS)
        wanted = (kill + 1) * events * len(paths) // (kills + 2)
        eventually(lambda wanted=wanted: receiver.count() >= wanted, within_s=30, every_s=0.01)  # type: ignore[misc]
        worker.kill()
    uno.worker(threads=THREADS)
    eventually(lambda: sum(len(receiver.keys(path)) for path in paths) == events * len(paths), within_s=40)
    eventually(lambda: uno.unfinished() == 0, within_s=20, every_s=0.5)

    for path in paths:
        assert set(receiver.keys(path)) == written
        assert len(receiver.ids(path)) == events
    copies = receiver.count() - events * len(paths)
    assert copies <= kills * THREADS
    assert uno.depth("unoapi.dead") == 0


def test_an_event_that_is_fanned_out_twice_is_delivered_once(uno: Stack, receiver: Receiver) -> None:
    uno.web()
    uno.worker()
    one_webhook(uno, receiver)
    message = {"from": CONTACT, "id": "wamid.TWICE", "timestamp": "1767225600", "type": "text", "text": {"body": "x"}}
    event = {"entry": [{"id": PHONE, "changes": [{"field": "messages", "value": {"messages": [message]}}]}]}

    for _ in range(3):
        assert uno.post(f"/webhooks/whatsapp/{PHONE}", event).status_code == 200
        eventually(lambda: receiver.count("/main") and uno.unfinished() == 0)
    marker = uno.contact_writes("comes after the copies")
    eventually(lambda: marker in messages(receiver, "/main"))

    assert messages(receiver, "/main") == ["wamid.TWICE", marker]


def test_a_send_whose_worker_was_killed_is_never_repeated_and_reported_as_unknown(
    uno: Stack, receiver: Receiver
) -> None:
    uno.web()
    uno.worker().stop()
    one_webhook(uno, receiver)
    message_id = uno.send("sent or not?").json()["messages"][0]["id"]
    lease = json.dumps({"until_ms": int(time.time() * 1000) + 1500})
    redis.Redis.from_url(uno.environment["REDIS_URL"]).set(f"unoapi-send:{PHONE}:{message_id}", lease, ex=600)

    uno.worker()
    receiver.wait(1, "/main", timeout_s=20)
    time.sleep(3)  # a send would report sent, delivered and read within that time

    (request,) = receiver.requests("/main")
    (status,) = json.loads(request.body)["entry"][0]["changes"][0]["value"]["statuses"]
    assert (status["id"], status["status"]) == (message_id, "failed")
    assert status["errors"][0]["title"] == "Outcome unknown"
    assert "may have left or not" in status["errors"][0]["error_data"]["details"]
    (dead_letter,) = uno.dead()
    assert (dead_letter["message_id"], dead_letter["reason"]) == (message_id, "outcome_unknown")


def test_a_worker_that_is_asked_to_end_finishes_what_it_began(uno: Stack, receiver: Receiver) -> None:
    events = 60
    receiver.script("/main", Behaviour(delay_ms=400))
    uno.web()
    uno.worker().stop()
    one_webhook(uno, receiver)
    written = {uno.contact_writes(f"event {number}") for number in range(events)}
    worker = uno.worker(threads=THREADS)
    receiver.wait(THREADS, "/main")

    started = time.monotonic()
    worker.stop(timeout_s=30)
    took_s = time.monotonic() - started
    code = worker.wait(1)
    in_time = receiver.count("/main")
    uno.worker(threads=THREADS)
    eventually(lambda: len(receiver.ids("/main")) == events and uno.unfinished() == 0, within_s=40)
    time.sleep(0.6)

    assert code == 0, worker.output()
    assert took_s < 10
    assert in_time < events
    assert sorted(messages(receiver, "/main")) == sorted(written)


def test_a_bug_is_retried_on_the_schedule_and_saved_with_its_traceback(
    servers: PrivateServers, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.script("/main", Behaviour(status=500))
    quick = {"UNOAPI_MESSAGE_RETRY_DELAY": "300", "STATUS_FAILED_WEBHOOK_URL": receiver.url("/callback")}
    with stack(servers, tmp_path, **quick) as uno:
        uno.web()
        uno.worker()
        one_webhook(uno, receiver)
        fan_out = FanOut(id="broken-fan-out", phone=PHONE, kind="message", body="{no JSON", webhook_ids=("main",))
        delivery = DeliverWebhook(
            id="broken-delivery", phone=PHONE, event_id="e", webhook_id="main", kind="message", stored=True, body="{no"
        )
        sound = to_message(Envelope(fan_out), TOPOLOGY)
        invalid = Message(sound.exchange, sound.routing_key, '[[{"id":1}],{},{}]', {**sound.headers, "id": "bad"}, {})
        properties = {**sound.properties, "correlation_id": "bad", "message_id": "bad"}
        invalid = Message(invalid.exchange, invalid.routing_key, invalid.body, invalid.headers, properties)

        publish(uno, sound, to_message(Envelope(delivery), TOPOLOGY), invalid)
        eventually(lambda: uno.depth("unoapi.dead") == 3, within_s=20, every_s=0.2)
        time.sleep(1)

        dead_letters = {dead_letter["id"]: dead_letter for dead_letter in uno.dead()}
        assert set(dead_letters) == {"broken-fan-out", "broken-delivery", "bad"}
        assert dead_letters["broken-fan-out"]["reason"] == "bug"
        assert len(dead_letters["broken-fan-out"]["attempts"]) == 3
        assert dead_letters["broken-delivery"]["reason"] == "refused"
        assert len(dead_letters["broken-delivery"]["attempts"]) == receiver.count("/main") == 3
        assert dead_letters["bad"]["reason"] == "invalid_task"
        shown = uno.cli("dead", "show", "broken-fan-out").stdout
        assert "in fan_out" in shown
        assert "JSONDecodeError" in shown
        assert "no JSON" not in shown
        assert uno.unfinished() == 0


def test_a_retry_that_cannot_be_published_stays_on_its_queue_without_a_tight_loop(
    faulty: PrivateServers, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.script("/main", Behaviour(status=500, delay_ms=2000))
    with stack(faulty, tmp_path) as uno:
        uno.web()
        uno.worker()
        one_webhook(uno, receiver)
        message_id = uno.contact_writes("its retry cannot be published")
        receiver.wait(1, "/main")
        receiver.process.send_signal(signal.SIGSTOP)  # its answer comes after the alarm: rabbitmqctl needs seconds

        with blocked_publishers(faulty):
            receiver.process.send_signal(signal.SIGCONT)
            refused = uno.send("not accepted now")
            time.sleep(BLOCKED_S)
            meanwhile = receiver.times("/main")
        receiver.script("/main", Behaviour())
        eventually(lambda: receiver.count("/main") > len(meanwhile), within_s=45, every_s=0.2)
        eventually(lambda: uno.unfinished() == 0, within_s=20, every_s=0.5)
        accepted = eventually(lambda: (answer := uno.send("accepted again")).ok and answer, within_s=10)

        assert refused.status_code == 503
        assert len(meanwhile) == 1
        assert accepted.status_code == 200
        assert message_id in messages(receiver, "/main")
        assert uno.depth("unoapi.dead") == 0


def test_rabbitmq_killed_during_an_attempt_neither_loses_nor_kills_the_message(
    faulty: PrivateServers, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.script("/main", Behaviour(failures=1, delay_ms=1500))
    with stack(faulty, tmp_path) as uno:
        uno.web()
        uno.worker()
        one_webhook(uno, receiver)
        time.sleep(REGISTERED_S)
        message_id = uno.contact_writes("RabbitMQ goes while this is delivered")
        receiver.wait(1, "/main")

        faulty.rabbit.kill()
        time.sleep(3)
        meanwhile = receiver.count("/main")
        faulty.rabbit.start()
        faulty.rabbit.wait_ready()
        receiver.wait(2, "/main", timeout_s=40)
        eventually(lambda: uno.unfinished() == 0, within_s=30, every_s=0.5)
        time.sleep(2)

        assert meanwhile == 1
        assert set(messages(receiver, "/main")) == {message_id}
        assert receiver.count("/main") <= 3
        (tally,) = receiver.ids("/main").values()
        assert 1 <= tally[1] <= 2
        assert uno.depth("unoapi.dead") == 0


def test_an_alarm_is_named_as_long_as_it_lasts_and_no_longer(faulty: PrivateServers) -> None:
    with own_vhost(faulty) as url, closing(ConfirmingPublisher(url, TOPOLOGY)) as publisher:
        publisher.check(timeout_s=10)

        with blocked_publishers(faulty):
            for _ in range(2):
                with pytest.raises(BrokerBlocked):
                    publisher.check()
                with pytest.raises(BrokerBlocked):
                    publisher.publish([Envelope(make_send())], timeout_s=1.0)
                time.sleep(1.5)  # the maintenance tries to connect meanwhile, and can
        eventually(lambda: _is_confirmed(publisher))

        assert not publisher._pool.get().blocked


def _is_confirmed(publisher: ConfirmingPublisher) -> bool:
    try:
        publisher.publish([Envelope(make_send())])
    except BrokerUnavailable:
        return False
    return True
