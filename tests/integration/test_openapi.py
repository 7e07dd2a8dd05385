"""The description of the API: complete, valid, and true for whatever is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from openapi_spec_validator import validate
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import status_code_conformance

from tests.support.stack import OPERATOR
from unoapi.bootstrap import unoapi as parts
from unoapi.models.cloud_api.messages import MESSAGES
from unoapi.settings import Settings
from unoapi.web.app import create_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Flask

    from unoapi.devenv.servers import PrivateServers

PHONE = "5511999990000"
PER_OPERATION = 30
MOST = 12_000
UNBUILT = {501, 503}
"""What is told as such and is no fault."""


@pytest.fixture(scope="module")
def app(servers: PrivateServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """The application in this process, with one stored session."""
    with pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(name.upper(), raising=False)
        patch.setenv("AMQP_URL", servers.rabbit.add_vhost("openapi"))
        patch.setenv("REDIS_URL", servers.redis_url)
        patch.setenv("UNOAPI_AUTH_TOKEN", OPERATOR)
        patch.setenv("BASE_STORE", str(tmp_path_factory.mktemp("openapi")))
        parts.cache_clear()
        made = create_app()
        parts().sessions.save(PHONE, {"provider": "sandbox", "authToken": "its-own"})
        yield made
        parts().close()
        parts.cache_clear()


@pytest.fixture(scope="module")
def document(app: Flask) -> dict[str, Any]:
    answer = app.test_client().get("/docs/openapi.json")
    assert answer.status_code == 200
    return dict(answer.get_json())


def test_it_is_valid(document: dict[str, Any]) -> None:
    validate(document)
    assert document["openapi"].startswith("3.1")


def test_every_route_is_described(app: Flask, document: dict[str, Any]) -> None:
    wanted = sum(len((rule.methods or set()) - {"HEAD", "OPTIONS"}) for rule in app.url_map.iter_rules())
    uses = [each for path in document["paths"].values() for each in path.values()]

    assert sum(1 + each["summary"].count("; or: ") for each in uses) == wanted
    for each in uses:
        assert each["summary"].endswith(".")
        assert "security" in each
        assert each["responses"]


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


def test_no_answer_is_outside_the_description(app: Flask, document: dict[str, Any]) -> None:
    """Properties of every route under generated requests: no 500, no status that is not described."""
    schema = schemathesis.openapi.from_wsgi("/docs/openapi.json", app)
    headers = {"Authorization": f"Bearer {OPERATOR}"}
    made = 0

    def check(case: Case[Any]) -> None:
        nonlocal made
        made += 1
        if "phone" in (case.path_parameters or {}) and made % 2:
            case.path_parameters["phone"] = PHONE  # half of the requests are for a number that is there
        answer = case.call(headers=headers)
        checks = [status_code_conformance]
        if answer.status_code not in UNBUILT:
            checks.append(not_a_server_error)
        case.validate_response(answer, checks=checks, headers=headers)
        assert made < MOST

    limits = settings(
        max_examples=PER_OPERATION,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    for result in schema.get_all_operations():
        operation: Any = result.ok()  # type: ignore[union-attr]
        test = schemathesis_test(operation, check, limits)
        test()

    assert made >= 2000
    assert document


def schemathesis_test(operation: Any, check: Any, limits: settings) -> Any:
    """A property of one operation, over what its description allows."""

    @limits
    @given(case=operation.as_strategy())
    def run(case: Case[Any]) -> None:
        check(case)

    return run
