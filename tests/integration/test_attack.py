"""The attack run, short: every part is fine. And the attack itself finds what is wrong when there is something."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from tests.attack import hostile
from tests.attack.__main__ import run, table
from tests.attack.canaries import Canaries
from tests.attack.honest import Honest
from tests.attack.parts import PARTS, SHORT, Row
from tests.attack.stage import ATTACKER, CLOSED, Caller, Trap
from tests.support.harness import throw_away_servers
from unoapi.settings import Settings

if TYPE_CHECKING:
    from unoapi.devenv.servers import PrivateServers


@pytest.fixture(scope="module")
def rows(servers: PrivateServers) -> dict[str, Row]:
    console = Console(width=160)
    made = run(SHORT, list(PARTS), console, make_servers=partial(throw_away_servers, rabbit=servers.rabbit))
    console.print(table(made))  # shown when an assertion below fails
    return dict(zip(PARTS, made, strict=True))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", PARTS)
def test_nobody_gets_in_gets_hold_of_something_or_harms_others(rows: dict[str, Row], part: str) -> None:
    assert rows[part].problems == []
    assert rows[part].tried > 0


def test_a_canary_is_found_wherever_it_does_not_belong() -> None:
    canaries = Canaries()
    secret = canaries.make("meta")
    canaries.make("webhook")

    (leak,) = canaries.leaks(f"Authorization: Bearer {secret}", where="a request")

    assert (leak.secret, leak.where) == ("meta", "a request")
    assert canaries.leaks(secret, where="a request", own=("meta",)) == []


def test_a_row_that_tried_nothing_is_not_fine() -> None:
    assert not Row("x").ok
    assert not Row("x", tried=1, problems=["found"]).ok
    assert Row("x", tried=1).ok


def test_an_honest_caller_who_waits_or_is_refused_is_noticed() -> None:
    honest = Honest("http://127.0.0.1:1", Caller("honest", "1", "token"))
    honest.waits_ms += [10.0] * 90 + [900.0] * 10
    honest.refused.append("503")

    refused, waited = honest.problems(10.0)

    assert "refused 1 x: 503" in refused
    assert "900 ms" in waited


def test_every_field_gets_a_hostile_value_and_every_kind_of_caller_asks() -> None:
    schema = {"type": "object", "properties": {"to": {"type": "string"}, "text": {"$ref": "#/components/schemas/Text"}}}
    operation = {
        "parameters": [],
        "security": [{}],
        "requestBody": {"content": {"application/json": {"schema": schema}}},
    }
    text = {"type": "object", "properties": {"body": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}
    document = {
        "paths": {"/{version}/{phone}/messages": {"post": operation}},
        "components": {"schemas": {"Text": text}},
    }
    callers = [Caller("attacker", ATTACKER, "t"), Caller("outsider", ATTACKER, None)]

    ((label, made),) = hostile.attempts(
        document, callers, paths=hostile.filler([], ["odd"]), values_per_field=2, hostile=["\ud800", 10**400]
    )

    assert label == "POST /{version}/{phone}/messages"
    assert {attempt.caller.name for attempt in made} == {"attacker", "outsider"}
    changed = {attempt.what for attempt in made} - {"no body"}
    assert changed == {"0 to", "0 text", "0 text.body", "0 unheard_of"}
    assert {attempt.path for attempt in made} == {f"/v15.0/{ATTACKER}/messages"}
    assert all(isinstance(json.loads(attempt.body), dict) for attempt in made if attempt.body)


def test_a_trap_counts_who_comes() -> None:
    import socket  # noqa: PLC0415 (only here)
    import time  # noqa: PLC0415 (only here)

    with Trap() as trap:
        for _ in range(2):
            socket.create_connection((CLOSED[0], trap.port)).close()
        time.sleep(0.3)

        assert trap.came == 2


def test_every_secret_of_the_settings_is_a_canary() -> None:
    """A new one is to be added to `tests/attack/stage.py`, or below with the reason."""
    from tests.attack import stage  # noqa: PLC0415 (its text)

    text = stage.__loader__.get_source(stage.__name__)  # type: ignore[union-attr]
    elsewhere = {"amqp_url", "redis_url", "unoapi_auth_token"}  # drawn with the servers; the operator's of all tests
    nowhere = {"rabbitmq_management_url", "sentry_dsn"}  # not set: nothing listens there
    secrets = (
        {name for name, field in Settings.model_fields.items() if "Secret" in f"{field.annotation}"}
        - elsewhere
        - nowhere
    )

    assert secrets
    assert {name for name in secrets if name.upper() not in text} == set()
