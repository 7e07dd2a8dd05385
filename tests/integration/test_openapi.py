"""The description of the API: complete, valid, and true for whatever is sent."""

from __future__ import annotations

import os
import re
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import sampled_from
from openapi_spec_validator import validate
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import status_code_conformance

from tests.support.api import api as serve_api
from tests.support.stack import OPERATOR
from tests.support.vhosts import own_vhost
from unoapi.broker.publisher import ConfirmingPublisher
from unoapi.broker.topology import Topology
from unoapi.models.cloud_api.messages import MESSAGES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Flask
    from hypothesis.strategies import SearchStrategy

    from unoapi.devenv.servers import PrivateServers

PHONE = "5511999990000"
PER_OPERATION = int(os.environ.get("EXAMPLES_PER_OPERATION", "10"))
"""The long form is 30."""
EVENTS = "POST /webhooks/whatsapp"
EVENTS_OF_A_NUMBER = "POST /webhooks/whatsapp/{phone}"
PER_COSTLY = 7
"""Events may hold anything at four levels: one takes as long to make up as fifty other bodies. Both get the same."""
SOCKET = "/ws"
"""Socket.IO, which OpenAPI has no words for; docs/connecting-a-phone.md names it."""
MOST = 12_000
UNBUILT = {501, 503}
"""Answers that say what is missing, and are no fault of ours."""


@pytest.fixture(scope="module")
def app(servers: PrivateServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """The application in this process, with one stored session. The dead letters are on the real RabbitMQ."""
    with own_vhost(servers) as amqp_url:
        publisher = ConfirmingPublisher(amqp_url, Topology("unoapi"))
        publisher.check(timeout_s=10)
        publisher.close()
        with serve_api(servers, tmp_path_factory.mktemp("openapi"), AMQP_URL=amqp_url) as running:
            running.uno.sessions.save(PHONE, {"provider": "sandbox", "authToken": "its-own"})
            yield running.app


@pytest.fixture(scope="module")
def document(app: Flask) -> dict[str, Any]:
    answer = app.test_client().get("/docs/openapi.json")
    assert answer.status_code == 200
    return dict(answer.get_json())


def test_it_is_valid(document: dict[str, Any]) -> None:
    validate(document)
    assert document["openapi"].startswith("3.1")
    both = (document["paths"][label.removeprefix("POST ")]["post"] for label in (EVENTS, EVENTS_OF_A_NUMBER))
    assert len({str(operation["requestBody"]) for operation in both}) == 1


def test_every_route_but_the_socket_and_the_consoles_pages_is_described(app: Flask, document: dict[str, Any]) -> None:
    pages = re.compile(r"/console(/|$)")
    rules = [rule for rule in app.url_map.iter_rules() if rule.rule != SOCKET and not pages.match(rule.rule)]
    wanted = sum(len((rule.methods or set()) - {"HEAD", "OPTIONS"}) for rule in rules)
    operations = [operation for path in document["paths"].values() for operation in path.values()]

    assert sum(1 + operation["summary"].count("; or: ") for operation in operations) == wanted
    for operation in operations:
        assert operation["summary"].endswith(".")
        assert "security" in operation
        assert operation["responses"]


def test_every_message_type_has_an_example(document: dict[str, Any]) -> None:
    body = document["paths"]["/{version}/{phone}/messages"]["post"]["requestBody"]["content"]["application/json"]
    types = {example["value"].get("type") for example in body["examples"].values()}

    assert types >= MESSAGES.keys()


def test_the_page_for_people_needs_nothing_from_elsewhere(app: Flask) -> None:
    answer = app.test_client().get("/docs")

    assert answer.status_code == 200
    assert "POST" in answer.text
    assert "//" not in answer.text.replace("https://example.com", "").replace("http://", "").replace("https://", "")
    assert "<script" not in answer.text


@pytest.mark.timeout(300)
def test_no_answer_is_outside_the_description(app: Flask, document: dict[str, Any]) -> None:
    """Properties of every route under generated requests: no 500, no status that is not described."""
    schema = schemathesis.openapi.from_wsgi("/docs/openapi.json", app)
    headers = {"Authorization": f"Bearer {OPERATOR}"}
    made, events = 0, list[Case[Any]]()

    def check(case: Case[Any]) -> None:
        nonlocal made
        made += 1
        if case.operation.label == EVENTS:
            events.append(case)
        if "phone" in (case.path_parameters or {}) and made % 2:
            case.path_parameters["phone"] = PHONE  # half of the requests are for a number that is there
        answer = case.call(headers=headers)
        checks = [status_code_conformance]
        if answer.status_code not in UNBUILT:
            checks.append(not_a_server_error)
        case.validate_response(answer, checks=checks, headers=headers)
        assert made < MOST

    for result in schema.get_all_operations():
        operation: Any = result.ok()  # type: ignore[union-attr]
        costly = operation.label in {EVENTS, EVENTS_OF_A_NUMBER}
        limits = settings(
            max_examples=PER_COSTLY if costly else PER_OPERATION,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        cases = operation.as_strategy()
        if operation.label == EVENTS_OF_A_NUMBER:
            cases = sampled_from(events).flatmap(partial(with_body_of, operation))
        schemathesis_test(cases, check, limits)()

    assert len(events) >= PER_COSTLY
    assert made >= 70 * PER_OPERATION
    assert document


def with_body_of(operation: Any, case: Case[Any]) -> SearchStrategy[Case[Any]]:
    """Cases of the operation with the body of another one."""
    strategy: SearchStrategy[Case[Any]] = operation.as_strategy(body=case.body, media_type=case.media_type)
    return strategy


def schemathesis_test(cases: SearchStrategy[Case[Any]], check: Any, limits: settings) -> Any:
    """A property of one operation, over what its description allows."""

    @limits
    @given(case=cases)
    def run(case: Case[Any]) -> None:
        check(case)

    return run
