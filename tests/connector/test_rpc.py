"""Rpc to a connected phone: the contract, and an answer to whatever is asked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from tests.support.fakes import PHONE, MemoryConnections, MemorySessions, make_session
from unoapi.broker.rpc import BrokerRpc
from unoapi.broker.topology import Topology
from unoapi.connector.engines.simulated import NOT_ON_WHATSAPP, SimulatedEngine
from unoapi.connector.rpc_server import answer
from unoapi.connector.schemas import schemas
from unoapi.errors import NobodyAnswers
from unoapi.models.connector.rpc import RpcRequest
from unoapi.providers.whatsmeow.provider import WhatsmeowProvider

if TYPE_CHECKING:
    from pathlib import Path

ASKED = {"phones": ["5549988887777", NOT_ON_WHATSAPP]}


@pytest.fixture
def twin(tmp_path: Path) -> SimulatedEngine:
    twin = SimulatedEngine(tmp_path, PHONE)
    twin._connected = True
    return twin


def test_question_and_answer_fit_their_schemas(twin: SimulatedEngine) -> None:
    question = RpcRequest(method="contacts.check", session=PHONE, data=ASKED)

    reply = answer(question.model_dump_json(), twin)

    files = {name: json.loads(text) for name, text in schemas().items()}
    jsonschema.validate(question.model_dump(mode="json"), files["rpc.schema.json"])
    jsonschema.validate(ASKED, files["rpc.contacts.check.schema.json"])
    jsonschema.validate(reply.model_dump(mode="json"), files["rpc.reply.schema.json"])
    jsonschema.validate(reply.model_dump(mode="json")["data"], files["rpc.contacts.check.reply.schema.json"])
    assert reply.data == {"there": (True, False)}


@pytest.mark.parametrize(
    "body",
    [
        "no json",
        "[]",
        "[" * 100_000,
        json.dumps({"method": "group.list", "session": PHONE}),
        json.dumps({"method": "contacts.check", "session": PHONE, "data": {"phones": []}}),
        json.dumps({"method": "contacts.check", "session": PHONE, "data": {"phones": ["1"] * 1001}}),
    ],
    ids=["text", "list", "deep", "unknown", "nobody", "too many"],
)
def test_whatever_is_asked_is_answered(twin: SimulatedEngine, body: str) -> None:
    reply = answer(body, twin)

    assert (reply.data, bool(reply.error)) == (None, True)


def test_a_phone_that_is_not_connected_says_so(tmp_path: Path) -> None:
    question = RpcRequest(method="contacts.check", session=PHONE, data=ASKED)

    assert answer(question.model_dump_json(), SimulatedEngine(tmp_path, PHONE)).error == "not connected"


def test_with_rabbitmq_away_nobody_answers() -> None:
    with pytest.raises(NobodyAnswers):
        BrokerRpc("amqp://guest:guest@127.0.0.1:1/", Topology("unoapi")).ask(PHONE, "contacts.check", {}, timeout_s=1)


@pytest.mark.parametrize("found", [{}, {"there": [True]}, {"there": "x"}])
def test_an_answer_of_another_form_is_no_answer(found: dict[str, Any]) -> None:
    class Strange:
        def ask(self, *_: Any, **__: Any) -> dict[str, Any]:
            return found

    provider = WhatsmeowProvider(
        commands=None, connections=MemoryConnections(), sessions=MemorySessions(make_session()),  # type: ignore[arg-type]
        rendered=lambda message, _: message, max_age_s=60, questions=Strange(),
    )  # fmt: skip

    assert provider.contacts(PHONE, ["+5549988887777", NOT_ON_WHATSAPP, "nobody"]) == [True, False, False]
