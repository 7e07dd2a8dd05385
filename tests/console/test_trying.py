"""Try it: a message of each type, a contact that writes, and what comes of them."""

from __future__ import annotations

import ast
import json
import shlex
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest

from tests.console.conftest import OURS, THEIRS
from unoapi.models.cloud_api.messages import MESSAGES
from unoapi.models.trace import TraceEntry
from unoapi.web.console.trying import RECEIVED

if TYPE_CHECKING:
    from tests.support.api import MemoryApi
    from tests.support.console import Browser

PAGE = f"/console/try/{OURS}"
WANTS = {"speech": "OPENAI_API_KEY"}
"""Types that need a service, and the setting that the refusal names."""


def element(page: str, name: str) -> str:
    """The text of the element with this id."""
    return unescape(page.partition(f'id="{name}"')[2].partition(">")[2].partition("</")[0])


def steps(api: MemoryApi) -> list[tuple[str, str]]:
    return [(entry.step, entry.message_id) for entry in api.uno.traces.entries]  # type: ignore[attr-defined]


def test_a_login_begins_with_a_simulated_number_of_its_own(tenant: Browser) -> None:
    assert tenant.get("/console/try").headers["Location"] == PAGE
    assert tenant.get(f"/console/try?phone={THEIRS}").status_code == 404


@pytest.mark.parametrize("kind", MESSAGES)
def test_every_type_of_message_has_an_example_that_is_taken_or_says_why_not(tenant: Browser, kind: str) -> None:
    page = tenant.page(f"{PAGE}?type={kind}")
    body = element(page, "body")

    answer = tenant.post(PAGE, {"body": body})

    assert json.loads(body)["type"] == kind
    if kind in WANTS:
        assert (answer.status_code, WANTS[kind] in answer.text) == (400, True)
    else:
        assert answer.status_code == 303, answer.text


def test_a_message_that_was_sent_is_followed(api: MemoryApi, tenant: Browser) -> None:
    answer = tenant.post(PAGE, {"body": element(tenant.page(PAGE), "body")})
    (job,) = api.queues.jobs("unoapi.incoming")
    api.uno.traces.add(TraceEntry.of(job, "failed", detail="131026 not on WhatsApp"))
    page = tenant.page(answer.headers["Location"].partition("#")[0])

    assert job.phone == OURS
    assert job.message_id in page
    assert "131026 not on WhatsApp" in page.partition('id="steps"')[2]


@pytest.mark.parametrize("kind", RECEIVED)
def test_a_simulated_contact_writes(api: MemoryApi, tenant: Browser, kind: str) -> None:
    body = element(tenant.page(f"{PAGE}?received={kind}"), "contact-body")

    answer = tenant.post(f"{PAGE}/contact", {"body": body})

    assert answer.status_code == 303, answer.text
    ((step, message_id),) = steps(api)
    assert (step, message_id in answer.headers["Location"].replace("%3D", "=")) == ("accepted", True)


def test_nobody_plays_a_contact_of_a_real_number(api: MemoryApi, operator: Browser) -> None:
    api.register([], phone="5511988880001", provider="whatsmeow")

    page = operator.page("/console/try/5511988880001")
    answer = operator.post("/console/try/5511988880001/contact", {"body": json.dumps(RECEIVED["text"])})

    assert "contact-body" not in page
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{", "JSON"), ("[]", "object"), ("", "empty"), ('{"type": "text", "to": "5549988887777"}', "text"),
        ('{"type": "nothing", "to": "5549988887777"}', "type"), ('{"a": "\\u0000"}', "control character"),
    ],
)  # fmt: skip
def test_a_message_that_is_refused_stays_in_the_form_with_the_reason(tenant: Browser, body: str, said: str) -> None:
    answer = tenant.post(PAGE, {"body": body})

    assert answer.status_code == 400
    assert said in answer.text.partition('role="alert"')[2]
    assert element(answer.text, "body") == body or not body


NASTY = {"type": "text", "to": "5549988887777", "text": {"body": 'it\'s "$(rm -rf /)" `x` </script>\n\\ ${y}'}}


def test_the_message_as_programs_send_it_is_exactly_the_message(tenant: Browser) -> None:
    page = tenant.post(f"{PAGE}/programs", {"body": json.dumps(NASTY)}).text
    curl, python, node = (element(page, f"program-{name}") for name in ("curl", "Python", "Node"))
    words = shlex.split(curl)
    message: Any = next(
        node.value
        for node in ast.parse(python).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "message"  # type: ignore[attr-defined]
    )

    assert json.loads(words[words.index("-d") + 1]) == NASTY
    assert ast.literal_eval(message) == NASTY
    assert json.loads(node.partition("const message = ")[2].partition(";\nconst answer")[0]) == NASTY
    assert "$TOKEN" in curl


def test_to_see_a_message_as_programs_send_it_is_no_change(api: MemoryApi, tenant: Browser) -> None:
    before = api.uno.audit.latest(10)

    tenant.post(f"{PAGE}/programs", {"body": json.dumps(NASTY)})

    assert api.uno.audit.latest(10) == before
