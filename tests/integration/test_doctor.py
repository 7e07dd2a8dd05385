"""`unoapi doctor` on real servers: what is missing, what is another program's, and that nothing is changed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import requests
from click.testing import CliRunner
from kombu import Connection

from tests.support.api import make_settings
from unoapi.bootstrap import bootstrap
from unoapi.broker.inspection import inspect_broker
from unoapi.cli.main import cli

if TYPE_CHECKING:
    from tests.support.stack import Stack


def diagnose(uno: Stack) -> list[dict[str, Any]]:
    own = {name: uno.environment[name] for name in ("AMQP_URL", "REDIS_URL", "BASE_STORE", "BASE_URL")}
    joined = bootstrap(make_settings(**own, RABBITMQ_MANAGEMENT_URL=uno.servers.management_url))
    done = CliRunner().invoke(cli, ["doctor", "--json"], obj=joined)
    return [json.loads(line) for line in done.output.splitlines() if line.startswith("{")]


def words_of(what: str, findings: list[dict[str, Any]]) -> str:
    return " | ".join(f"{finding['state']} {finding['words']}" for finding in findings if finding["what"] == what)


def test_it_names_what_is_missing_and_what_is_another_programs_and_changes_nothing(uno: Stack) -> None:
    with Connection(uno.environment["AMQP_URL"]) as connection:
        channel: Any = connection.channel()
        channel.queue_declare("unoapi.outgoing", durable=True, auto_delete=False)

    findings = diagnose(uno)
    again = diagnose(uno)

    rabbitmq = words_of("rabbitmq", findings)
    assert "unoapi.outgoing of another program or version" in rabbitmq
    assert "unoapi.dead, unoapi.broker, unoapi.delayed" in rabbitmq
    assert "run `unoapi release`" in rabbitmq
    assert words_of("rabbitmq", again) == rabbitmq
    assert words_of("redis", findings).startswith("ok")
    assert words_of("clock", findings).startswith("ok")


def test_it_names_the_processes_that_are_not_there(uno: Stack) -> None:
    joined = bootstrap(make_settings(AMQP_URL=uno.environment["AMQP_URL"], REDIS_URL=uno.environment["REDIS_URL"]))
    joined.publisher.check()

    findings = diagnose(uno)
    state = inspect_broker(uno.environment["AMQP_URL"], joined.topology, within_s=8.0)
    joined.close()

    assert "takes messages" in words_of("rabbitmq", findings)
    assert all(
        f"start `{process}` of the Procfile" in words_of("processes", findings) for process in ("worker", "media")
    )
    assert (state.product, state.missing, state.conflicts, state.alarm) == ("RabbitMQ", (), (), "")
    assert len(state.depths) == len(joined.topology.queues)


def test_a_policy_that_loses_messages_is_named(uno: Stack) -> None:
    joined = bootstrap(make_settings(AMQP_URL=uno.environment["AMQP_URL"], REDIS_URL=uno.environment["REDIS_URL"]))
    joined.publisher.check()
    joined.close()
    vhost = uno.environment["AMQP_URL"].rpartition("/")[2]
    put_policy(uno, vhost, {"max-length": 5})

    rabbitmq = words_of("rabbitmq", diagnose(uno))

    assert "a policy sets max-length for" in rabbitmq
    assert "unoapi.media" in rabbitmq


def put_policy(uno: Stack, vhost: str, definition: dict[str, Any]) -> None:
    answer = requests.put(
        f"{uno.servers.management_url}/api/policies/{vhost}/test",
        json={"pattern": r"unoapi\.media", "definition": definition, "apply-to": "queues"},
        timeout=10,
    )
    assert answer.ok, answer.text
