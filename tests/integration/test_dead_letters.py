"""Dead letters stay until a person decides: listing, replaying and purging never lose one, not even when killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from amqp import Message as AmqpMessage
from kombu import Connection

from tests.integration.edges.calls import AckBursts
from tests.support.dead_letters import bury, dead_letters, delivery
from tests.support.stack import BIN, ROOT, TOPOLOGY, Stack, eventually
from unoapi.broker import dead_letter_queue
from unoapi.broker.publisher import ConfirmingPublisher
from unoapi.models.attempts import Attempt, History
from unoapi.models.dead_letters import DeadLetterQuery
from unoapi.models.jobs import Envelope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.receiver import Receiver


@pytest.fixture
def publisher(uno: Stack) -> Iterator[ConfirmingPublisher]:
    opened = ConfirmingPublisher(uno.environment["AMQP_URL"], TOPOLOGY)
    opened.check(timeout_s=10)
    yield opened
    opened.close()


def ids(uno: Stack, *arguments: str) -> list[str]:
    return [dead_letter["id"] for dead_letter in uno.dead(*arguments)]


def messages(uno: Stack, queue: str) -> list[AmqpMessage]:
    """Take everything from a queue."""
    taken = []
    with Connection(uno.environment["AMQP_URL"]) as connection:
        channel: Any = connection.channel()
        while (message := channel.basic_get(queue, no_ack=True)) is not None:
            taken.append(message)
    return taken


def test_filters_choose_dead_letters(uno: Stack, publisher: ConfirmingPublisher) -> None:
    bury(publisher, [delivery(1), delivery(2, webhook="crm"), delivery(3, phone="5511000000000")])
    bury(publisher, [delivery(4)], reason="too_old")

    one, two, three, four = (
        delivery(1).id, delivery(2, webhook="crm").id, delivery(3, phone="5511000000000").id, delivery(4).id,
    )  # fmt: skip
    assert sorted(ids(uno)) == sorted([one, two, three, four])
    assert ids(uno, "--webhook", "crm") == [two]
    assert ids(uno, "--phone", "5511000000000") == [three]
    assert ids(uno, "--reason", "too_old") == [four]
    assert len(ids(uno, "--queue", "unoapi.outgoing")) == 4
    assert ids(uno, "--queue", "unoapi.incoming") == []
    assert ids(uno, "--older-than", "1h") == []
    assert len(ids(uno, "--older-than", "0s")) == 4
    shown = uno.cli("dead", "show", two).stdout
    assert "crm" in shown
    assert "500" in shown
    assert uno.cli("dead", "show", "nothing", check=False).returncode == 1


def test_fifty_lists_leave_every_dead_letter_there(uno: Stack, publisher: ConfirmingPublisher) -> None:
    bury(publisher, [delivery(number) for number in range(7)])
    queue = dead_letters(uno, publisher)

    for _ in range(50):
        assert len(list(queue.list(DeadLetterQuery(), by="a test"))) == 7

    assert len(ids(uno)) == 7


def test_a_replay_keeps_the_id_raises_the_generation_and_strips_the_brokers_headers(
    uno: Stack, publisher: ConfirmingPublisher
) -> None:
    bury(publisher, [delivery(1), delivery(2)])

    dry = uno.cli("dead", "replay", "--dry-run").stdout
    before = uno.depth("unoapi.outgoing")
    uno.cli("dead", "replay", delivery(1).id)
    (message,) = messages(uno, "unoapi.outgoing")

    assert "2 would be replayed" in dry
    assert before == 0
    headers: dict[str, Any] = message.headers or {}
    assert headers["id"] == delivery(1).id
    assert headers["retries"] == 0
    assert not [name for name in headers if "death" in name]
    history = json.loads(headers["unoapi-history"])
    assert history["generation"] == 1
    assert [attempt["status"] for attempt in history["attempts"]] == [500]
    assert json.loads(message.body)[0][0]["body"] == delivery(1).body
    assert ids(uno) == [delivery(2).id]


def test_a_dead_letter_the_broker_made_of_a_task_comes_back_clean_and_one_generation_later_each_time(
    uno: Stack, publisher: ConfirmingPublisher
) -> None:
    history = History().with_attempt(Attempt(status=503, duration_ms=3))
    publisher.publish([Envelope(delivery(1), retries=1, history=history)])

    for generation in (1, 2):
        reject(uno, "unoapi.outgoing")
        (dead_letter,) = eventually(uno.dead, every_s=0.5)
        ((raw, _),) = raw_dead_letters(uno)
        uno.cli("dead", "replay", delivery(1).id)
        with Connection(uno.environment["AMQP_URL"]) as connection:
            channel: Any = connection.channel()
            message = channel.basic_get("unoapi.outgoing")
            headers: dict[str, Any] = message.headers  # given back when the connection closes

        assert dead_letter["reason"] == "rejected"
        assert dead_letter["queue"] == "unoapi.outgoing"
        assert "x-death" in (raw.headers or {})
        assert not [name for name in headers if name.startswith("x-") and name != "x-delivery-count"]
        history = json.loads(headers["unoapi-history"])
        assert history["generation"] == generation
        assert [attempt["status"] for attempt in history["attempts"]] == [503]
        assert headers["retries"] == 0
        eventually(lambda: uno.depth("unoapi.outgoing") == 1)
    assert ids(uno) == []


def test_a_dead_letter_of_unknown_age_is_never_taken_for_an_old_one(uno: Stack, publisher: ConfirmingPublisher) -> None:
    publisher.check()
    with Connection(uno.environment["AMQP_URL"]) as connection:
        channel: Any = connection.channel()
        channel.basic_publish(AmqpMessage(b"{}", message_id="undated"), "unoapi.broker", "unoapi.nowhere")
    eventually(lambda: ids(uno) == ["undated"], every_s=0.5)

    uno.cli("dead", "purge", "--older-than", "1d")

    assert ids(uno) == ["undated"]


def test_a_rate_slows_a_replay_down(uno: Stack, publisher: ConfirmingPublisher) -> None:
    bury(publisher, [delivery(number) for number in range(6)])
    started = time.monotonic()

    uno.cli("dead", "replay", "--all", "--rate", "2")

    assert time.monotonic() - started >= 2.5
    assert uno.depth("unoapi.outgoing") == 6


def test_purging_takes_what_is_chosen_and_everything_only_when_asked_twice(
    uno: Stack, publisher: ConfirmingPublisher
) -> None:
    bury(publisher, [delivery(1), delivery(2), delivery(3, webhook="crm")])

    uno.cli("dead", "purge", delivery(1).id)
    uno.cli("dead", "purge", "--webhook", "crm")
    refused = uno.cli("dead", "purge", check=False)

    assert ids(uno) == [delivery(2).id]
    assert refused.returncode != 0
    uno.cli("dead", "purge", "--yes")
    assert ids(uno) == []


def test_a_dead_letter_that_was_delivered_meanwhile_is_removed_and_said_so(
    uno: Stack, receiver: Receiver, publisher: ConfirmingPublisher
) -> None:
    uno.web()
    worker = uno.worker()
    uno.register([{"id": "main", "urlAbsolute": receiver.url("/main")}])
    publisher.publish([Envelope(delivery(1))])
    receiver.wait(1, "/main")
    worker.stop()
    bury(publisher, [delivery(1)])

    said = uno.cli("dead", "replay", "--all").stdout

    assert "1 already delivered" in said
    assert uno.depth("unoapi.outgoing") == 0
    assert ids(uno) == []


def test_a_send_with_unknown_outcome_goes_again_only_by_force(uno: Stack, receiver: Receiver) -> None:
    uno.web()
    uno.worker()
    uno.register([{"id": "main", "urlAbsolute": receiver.url("/main")}])
    message_id = uno.send("did it leave?", to="15550000007").json()["messages"][0]["id"]
    (dead_letter,) = eventually(uno.dead, every_s=0.5)
    receiver.wait(1, "/main")

    unforced = uno.cli("dead", "replay", "--all")

    status = json.loads(receiver.requests("/main")[0].body)["entry"][0]["changes"][0]["value"]["statuses"][0]
    assert status["status"] == "failed"
    assert status["id"] == message_id
    assert "not sent again by itself" in status["errors"][0]["error_data"]["details"]
    assert dead_letter["reason"] == "outcome_unknown"
    assert "1 needs force" in unforced.stdout
    assert ids(uno) == [message_id]
    assert "1 replayed" in uno.cli("dead", "replay", "--all", "--force").stdout
    again = eventually(uno.dead, every_s=0.5)  # the same number: its outcome is unknown again
    assert [(dead_letter["id"], dead_letter["generation"]) for dead_letter in again] == [(message_id, 1)]


def test_dead_letters_by_the_brokers_own_hand_are_in_the_list_with_their_reason(
    uno: Stack, publisher: ConfirmingPublisher
) -> None:
    uno.worker()
    plain = b'{"type": "send", "command_id": "c-1"}'
    with Connection(uno.environment["AMQP_URL"]) as connection:
        channel: Any = connection.channel()
        channel.basic_publish(AmqpMessage(plain, message_id="unroutable-1"), "unoapi.broker", "unoapi.nowhere")
        unknown = AmqpMessage("[[], {}, {}]", application_headers={"task": "nope", "id": "unknown-1", "lang": "py"},
                              content_type="application/json", content_encoding="utf-8")  # fmt: skip
        channel.basic_publish(unknown, "unoapi.broker", "unoapi.outgoing")
        channel.basic_publish(AmqpMessage(plain, message_id="killer-1"), "unoapi.broker", "unoapi.suspect")
        for _ in range(25):
            message = channel.basic_get("unoapi.suspect")
            if message is None:
                time.sleep(0.1)
                continue
            channel.basic_reject(message.delivery_tag, requeue=True)

    dead_letters = eventually(lambda: len(listed := uno.dead()) == 3 and listed, every_s=0.5)

    assert {dead_letter["id"]: dead_letter["reason"] for dead_letter in dead_letters} == {
        "unroutable-1": "unroutable",
        "unknown-1": "unknown_task",
        "killer-1": "delivery_limit",
    }
    uno.cli("dead", "replay", "killer-1")
    (message,) = messages(uno, "unoapi.suspect")
    assert message.body == plain
    assert message.delivery_info["routing_key"] == "unoapi.suspect"
    counted = {name: value for name, value in (message.headers or {}).items() if name.startswith(("x-", "unoapi-"))}
    assert counted in ({}, {"x-delivery-count": 0}), "the broker counts anew"
    assert publisher.topology.dead == "unoapi.dead"


def test_a_second_verb_says_who_is_busy(uno: Stack, publisher: ConfirmingPublisher) -> None:
    bury(publisher, [delivery(number) for number in range(20)])
    slow = spawn(uno, "dead", "replay", "--all", "--rate", "1")
    try:
        eventually(lambda: uno.depth("unoapi.outgoing") >= 2, what="the first is at work")

        second = uno.cli("dead", "purge", "--yes", check=False)
    finally:
        slow.kill()
        slow.wait()

    assert second.returncode == 75
    assert "Busy: `dead replay` on" in second.stderr
    assert f"process {slow.pid}" in second.stderr
    eventually(lambda: settled(uno))
    moved = {(message.headers or {})["id"] for message in messages(uno, "unoapi.outgoing")}
    assert set(ids(uno)) | moved == {delivery(number).id for number in range(20)}


def test_a_killed_verb_is_not_named_as_the_busy_one(uno: Stack, publisher: ConfirmingPublisher) -> None:
    bury(publisher, [delivery(number) for number in range(40)])
    killed = spawn(uno, "dead", "replay", "--all", "--rate", "1")
    eventually(lambda: uno.depth("unoapi.outgoing") >= 1, what="the first is at work")
    killed.kill()
    killed.wait()
    eventually(lambda: settled(uno))
    before = uno.depth("unoapi.outgoing")
    slow = spawn(uno, "dead", "replay", "--all", "--rate", "1")
    try:
        eventually(lambda: uno.depth("unoapi.outgoing") > before, what="the second is at work")

        third = uno.cli("dead", "list", check=False)
    finally:
        slow.kill()
        slow.wait()

    assert third.returncode == 75
    assert f"process {slow.pid} " in third.stderr


@pytest.mark.parametrize("verb", [["list", "--json"], ["replay", "--all"], ["purge", "--all"]])
def test_a_kill_in_the_middle_of_a_verb_leaves_every_dead_letter(
    uno: Stack, publisher: ConfirmingPublisher, verb: list[str]
) -> None:
    amount = 4000
    buried = [delivery(number) for number in range(amount)]
    bury(publisher, buried)
    process = spawn(uno, "dead", *verb)
    if verb[0] == "list":
        assert process.stdout is not None
        process.stdout.readline()
    else:
        eventually(lambda: uno.depth("unoapi.dead") < amount, what="it is at work", every_s=0.01)
        time.sleep(0.1)

    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    left = eventually(lambda: settled(uno), what="everything is given back")
    replayed = uno.depth("unoapi.outgoing")

    if verb[0] == "list":
        assert left == amount
    if verb[0] == "replay":
        assert left + replayed >= amount
    dead_letters_left = [
        result.dead_letter for result in dead_letters(uno, publisher).list(DeadLetterQuery(), by="a test")
    ]
    assert len(dead_letters_left) == left
    left_ids = [dead_letter.id for dead_letter in dead_letters_left]
    jobs = {job.id: job for job in buried}
    assert all(dead_letter.job == jobs[dead_letter.id] for dead_letter in dead_letters_left)
    assert {(dead_letter.reason, len(dead_letter.history.attempts)) for dead_letter in dead_letters_left} == {
        ("delivery_failed", 1)
    }
    if verb[0] == "replay":
        moved = {(message.headers or {})["id"] for message in messages(uno, "unoapi.outgoing")}
        assert set(left_ids) | moved == set(jobs)
    if verb[0] == "purge":
        assert len(set(left_ids)) == left


def test_a_long_queue_is_walked_to_its_end_and_stays_whole(
    uno: Stack, publisher: ConfirmingPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letter_queue, "MAX_UNACKED", 50)
    monkeypatch.setattr(dead_letter_queue, "BATCH", 20)
    jobs = [delivery(number) for number in range(230)]
    bury(publisher, jobs, reason="too_old")
    queue = dead_letters(uno, publisher)

    for _ in range(3):
        seen = [result.dead_letter for result in queue.list(DeadLetterQuery(), by="a test")]
        eventually(lambda: queue.count() == len(jobs))

        assert sorted(dead_letter.id for dead_letter in seen) == sorted(job.id for job in jobs)
        assert {dead_letter.reason for dead_letter in seen} == {"too_old"}
        assert {dead_letter.job for dead_letter in seen} == set(jobs)
        assert all(dead_letter.history.attempts[0].status == 500 for dead_letter in seen)
        assert all(dead_letter.died_at is not None for dead_letter in seen)


def test_a_filtered_replay_through_a_long_queue_leaves_the_others_as_they_were(
    uno: Stack, publisher: ConfirmingPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letter_queue, "MAX_UNACKED", 30)
    monkeypatch.setattr(dead_letter_queue, "BATCH", 20)
    plain = [f'{{"command_id": "c-{number}"}}'.encode() for number in range(3)]
    with Connection(uno.environment["AMQP_URL"], transport_options={"confirm_publish": True}) as connection:
        channel: Any = connection.channel()
        for body in plain:
            channel.basic_publish(AmqpMessage(body, content_type="text/x", application_headers={"n": 1}),
                                  "unoapi.broker", "unoapi.nowhere")  # fmt: skip
    meant = [delivery(number, webhook="crm") for number in range(60)]
    others = [delivery(number) for number in range(60)]
    bury(publisher, [job for pair in zip(meant, others, strict=True) for job in pair])
    queue = dead_letters(uno, publisher)
    eventually(lambda: queue.count() == 123)
    before = content(raw_dead_letters(uno))
    eventually(lambda: queue.count() == 123)

    results = list(queue.replay(DeadLetterQuery(webhook="crm"), by="a test"))

    assert [result.outcome for result in results] == ["replayed"] * 60
    assert {(m.headers or {})["id"] for m in messages(uno, "unoapi.outgoing")} == {job.id for job in meant}
    eventually(lambda: queue.count() == 63)
    left = [result.dead_letter for result in queue.list(DeadLetterQuery(), by="a test")]
    assert {dead_letter.id for dead_letter in left if dead_letter.job} == {job.id for job in others}
    assert sorted(dead_letter.body for dead_letter in left if not dead_letter.job) == plain
    assert {(dead_letter.reason, dead_letter.queue) for dead_letter in left if not dead_letter.job} == {
        ("unroutable", "unoapi.nowhere")
    }
    eventually(lambda: queue.count() == 63)
    assert content(raw_dead_letters(uno)) <= before


def test_a_kill_while_a_long_queue_is_turned_over_loses_nothing(uno: Stack, publisher: ConfirmingPublisher) -> None:
    amount = 2000
    buried = [delivery(number) for number in range(amount)]
    bury(publisher, buried)
    small = (
        "from unoapi.broker import dead_letter_queue; dead_letter_queue.MAX_UNACKED = 200; "
        "from unoapi.cli.main import cli; cli(['dead', 'list', '--json'])"
    )
    process = start([str(BIN / "python"), "-c", small], uno)
    assert process.stdout is not None
    for _ in range(1000):
        process.stdout.readline()

    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    left = eventually(lambda: settled(uno), what="everything is given back")

    dead_letters_left = [
        result.dead_letter for result in dead_letters(uno, publisher).list(DeadLetterQuery(), by="a test")
    ]
    assert len(dead_letters_left) == left >= amount
    assert {dead_letter.job for dead_letter in dead_letters_left} == set(buried)


def content(messages: list[tuple[AmqpMessage, str]]) -> set[tuple[bytes, str, str, str]]:
    """What of dead letters must never change: bytes, the product's headers, the properties of others, the key."""
    contents = set()
    for message, key in messages:
        body = message.body.encode() if isinstance(message.body, str) else bytes(message.body)
        headers = {name: value for name, value in (message.headers or {}).items() if not name.startswith("x-")}
        for name in ("unoapi-reason", "unoapi-queue"):
            headers.pop(name, None)  # written down when a dead letter that the broker made goes to the queue's end
        properties = {name: message.properties.get(name) for name in ("content_type", "message_id", "correlation_id")}
        contents.add((body, json.dumps(headers, sort_keys=True), json.dumps(properties), key))
    return contents


def raw_dead_letters(uno: Stack) -> list[tuple[AmqpMessage, str]]:
    """All dead letters as the broker has them, with their routing keys; they are given back."""
    messages = []
    with Connection(uno.environment["AMQP_URL"]) as connection:
        channel: Any = connection.channel()
        while (message := channel.basic_get("unoapi.dead")) is not None:
            messages.append((message, str(message.delivery_info["routing_key"])))
    return messages


def reject(uno: Stack, queue: str) -> None:
    """Let the broker make a dead letter of the next message."""
    with Connection(uno.environment["AMQP_URL"]) as connection:
        channel: Any = connection.channel()
        message = eventually(lambda: channel.basic_get(queue))
        channel.basic_reject(message.delivery_tag, requeue=False)


def settled(uno: Stack) -> int:
    """Dead letters in the dead queue, once the count does not change any more."""
    before = uno.depth("unoapi.dead")
    time.sleep(0.7)
    after = uno.depth("unoapi.dead")
    return after if before == after else 0


def spawn(uno: Stack, *arguments: str) -> subprocess.Popen[str]:
    return start([str(BIN / "unoapi"), *arguments], uno)


def start(command: list[str], uno: Stack) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        env=uno.environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        start_new_session=True,
    )  # fmt: skip


def test_each_verb_says_of_a_thousand_letters_what_rabbitmq_counts_afterwards(
    uno: Stack, publisher: ConfirmingPublisher
) -> None:
    """Of two webhooks, mixed: looked at three times, those of one replayed, those of the other purged."""
    meant = [delivery(number, webhook="crm") for number in range(500)]
    others = [delivery(number) for number in range(500)]
    bury(publisher, [job for pair in zip(meant, others, strict=True) for job in pair])
    direct = uno.environment

    with AckBursts(direct["AMQP_URL"]) as address:
        uno.environment = {**direct, "AMQP_URL": address}
        try:
            for _ in range(3):
                assert len(set(ids(uno))) == 1000
                assert dead_count(uno, 1000) == 1000
            replayed = uno.cli("dead", "replay", "--webhook", "crm").stdout
            assert dead_count(uno, 500) == 500
            purged = uno.cli("dead", "purge", "--webhook", "main").stdout
        finally:
            uno.environment = direct

    assert "500 replayed" in replayed
    assert "500 purged" in purged
    assert dead_count(uno, 0) == 0
    put_back = [(message.headers or {})["id"] for message in messages(uno, "unoapi.outgoing")]
    assert sorted(put_back) == sorted(job.id for job in meant)


def dead_count(uno: Stack, wanted: int) -> int:
    """RabbitMQ's own count, as soon as it is the wanted one and stays so; else what it is after some seconds."""
    with contextlib.suppress(AssertionError):
        eventually(lambda: uno.depth("unoapi.dead") == wanted, within_s=5)
    time.sleep(0.5)
    return uno.depth("unoapi.dead")


@pytest.mark.parametrize(("verb", "question"), [("replay", "Put ALL dead letters back, 2"), ("purge", "Throw ALL")])
def test_a_person_is_asked_before_everything_is_moved(
    uno: Stack, publisher: ConfirmingPublisher, verb: str, question: str
) -> None:
    bury(publisher, [delivery(1), delivery(2)])
    command = [str(BIN / "unoapi"), "dead", verb]

    no, yes = (
        subprocess.run(
            command, env=uno.environment, input=said, capture_output=True, text=True, timeout=60, check=False
        )
        for said in ("n\n", "y\n")
    )

    assert question in no.stdout
    assert no.returncode
    assert "No dead letter" not in yes.stdout
    assert yes.returncode == 0
    assert ids(uno) == []
