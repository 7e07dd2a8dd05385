"""The objects in RabbitMQ are those of the design, and a conflict is reported, not retried for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests
from kombu import Connection

from unoapi.broker.topology import WORK_QUEUES, Topology

if TYPE_CHECKING:
    from tests.support.stack import Process, Stack


def declared(uno: Stack, kind: str) -> dict[str, dict[str, Any]]:
    vhost = uno.environment["AMQP_URL"].rpartition("/")[2]
    answer = requests.get(f"{uno.servers.management_url}/api/{kind}/{vhost}?disable_stats=true", timeout=10)
    return {item["name"]: item for item in answer.json()}


def bindings(uno: Stack) -> dict[str, list[tuple[str, str]]]:
    """For each exchange the queues bound to it, with their keys."""
    vhost = uno.environment["AMQP_URL"].rpartition("/")[2]
    answer = requests.get(f"{uno.servers.management_url}/api/bindings/{vhost}", timeout=10)
    queues: dict[str, list[tuple[str, str]]] = {}
    for item in answer.json():
        queues.setdefault(item["source"], []).append((item["destination"], item["routing_key"]))
    return queues


def test_every_queue_and_exchange_of_the_design_is_declared_with_its_arguments(uno: Stack) -> None:
    uno.cli("topology", "--declare")

    queues, exchanges = declared(uno, "queues"), declared(uno, "exchanges")

    design = {
        "incoming", "outgoing", "media", "notification", "webhook.status.failed", "suspect",
        "incoming.whatsmeow", "outgoing.whatsmeow",
    }  # fmt: skip
    assert design <= WORK_QUEUES.keys()
    for name in WORK_QUEUES:
        arguments = queues[f"unoapi.{name}"]["arguments"]
        assert arguments["x-queue-type"] == "quorum"
        assert arguments["x-dead-letter-exchange"] == "unoapi.dead"
        assert arguments["x-dead-letter-strategy"] == "at-least-once"
        assert arguments["x-overflow"] == "reject-publish"
        assert arguments["x-delivery-limit"] == 20
    waiting = ["unoapi.delayed", *(f"unoapi.delayed.{number}" for number in range(1, 18))]
    assert all(queues[name]["arguments"]["x-dead-letter-exchange"] == "unoapi.broker" for name in waiting)
    assert all("x-dead-letter-routing-key" not in queues[name]["arguments"] for name in waiting)
    assert queues["unoapi.dead"]["arguments"]["x-delivery-limit"] == 2147483647
    assert queues.keys() == {queue.name for queue in Topology("unoapi").queues} | {"unoapi.events"}
    assert queues["unoapi.events"]["arguments"] == {
        "x-queue-type": "stream",
        "x-max-age": "259200s",
        "x-max-length-bytes": 980_000_000,
        "x-stream-max-segment-size-bytes": 10_000_000,
    }
    assert queues["unoapi.outgoing.whatsmeow"]["arguments"]["x-single-active-consumer"] is True
    kinds = {name: item["type"] for name, item in exchanges.items() if name.startswith("unoapi")}
    assert kinds == {"unoapi.broker": "topic", "unoapi.delayed": "headers", "unoapi.dead": "fanout"}
    for name in ("unoapi.broker", "unoapi.delayed"):
        assert exchanges[name]["arguments"]["alternate-exchange"] == "unoapi.dead"


def test_every_work_queue_is_bound_with_exactly_its_own_name_after_the_start_of_a_worker(uno: Stack) -> None:
    uno.worker()

    bound = bindings(uno)

    work = [f"unoapi.{name}" for name in WORK_QUEUES]  # the stream of events is written to by its name
    assert sorted(bound["unoapi.broker"]) == sorted((name, name) for name in work)
    assert bound["unoapi.dead"] == [("unoapi.dead", "")]
    assert len(bound["unoapi.delayed"]) == 18


def test_the_topology_command_prints_every_object(uno: Stack) -> None:
    printed = uno.cli("topology").stdout

    names = Topology("unoapi")
    assert all(queue.name in printed for queue in names.queues)
    assert all(exchange.name in printed for exchange in names.exchanges)


@pytest.mark.parametrize("kind", ["queue", "exchange"])
def test_an_object_of_another_program_ends_every_process_with_one_clear_message(uno: Stack, kind: str) -> None:
    with Connection(uno.environment["AMQP_URL"]) as connection:
        channel: Any = connection.channel()
        if kind == "queue":
            channel.queue_declare("unoapi.outgoing", durable=True, auto_delete=False)
        else:
            channel.exchange_declare("unoapi.broker", "topic", durable=True, auto_delete=False)
    name = "queue unoapi.outgoing" if kind == "queue" else "exchange unoapi.broker"
    vhost = uno.environment["AMQP_URL"].rpartition("/")[2]
    removal = {
        "queue": f"rabbitmqctl --vhost {vhost} delete_queue unoapi.outgoing",
        "exchange": f"rabbitmqadmin --vhost={vhost} delete exchange name=unoapi.broker",
    }

    cli = uno.cli("topology", "--declare", check=False)
    processes = [start_and_wait(uno, "web"), start_and_wait(uno, "worker")]

    for output, code in [(cli.stderr, cli.returncode), *((process.output(), process.wait(1)) for process in processes)]:
        assert code == 78, output
        assert output.count(f"The {name} exists already in the vhost '{vhost}'") == 1, output
        assert "rabbitmqctl add_vhost" in output
        assert "UNOAPI_QUEUE_NAME=" in output
        assert removal[kind] in output
        assert "Traceback" not in output


def start_and_wait(uno: Stack, name: str) -> Process:
    commands = {
        "web": ["gunicorn", "-c", "python:unoapi.web.gunicorn"],
        "worker": ["celery", "--quiet", "-A", "tasks.app", "worker", "--pool", "threads", "--concurrency", "2"],
    }
    process = uno._start(name, commands[name])
    process.wait(30)
    return process
