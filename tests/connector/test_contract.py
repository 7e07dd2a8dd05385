"""The contract's files say what the code does, for connectors in any language."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jsonschema
import pytest

from tests.connector.phones import CHAT
from tests.support.fakes import PHONE, MemoryIds, MemorySessions, make_session
from unoapi.connector.convert.outbound import message_of
from unoapi.connector.schemas import FOLDER, schemas
from unoapi.models.cloud_api.event_content import EventContent
from unoapi.models.connector import content as content_models
from unoapi.models.connector.commands import Send
from unoapi.models.connector.content import KINDS
from unoapi.models.jobs import EventJob, ReceiveEvent
from unoapi.providers.whatsmeow.events import receive

EXAMPLES: dict[str, list[dict[str, Any]]] = json.loads((FOLDER / "examples.json").read_text("utf-8"))
SILENT = {"protocol", "pin"}


@cache
def validator(file: str) -> jsonschema.Draft202012Validator:
    """Of a file of the contract; the schemas of all models are made once for all examples."""
    schema = json.loads(schemas()[file])
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_files_are_those_of_the_models() -> None:
    stored = {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.schema.json")}

    assert stored == schemas(), "run: python -m unoapi.connector.schemas"


def test_every_content_has_its_kind() -> None:
    contents = {model for model in vars(content_models).values() if isinstance(model, type) and "kind" in fields(model)}

    assert contents - {content_models.Unsupported} == set(KINDS.values())


def fields(model: type) -> set[str]:
    return set(getattr(model, "model_fields", ()))


def test_there_is_an_example_of_every_kind() -> None:
    assert {example["kind"] for example in EXAMPLES["received"]} == {*KINDS, "unsupported"}


@pytest.mark.parametrize("content", EXAMPLES["received"], ids=lambda content: str(content["kind"]))
def test_every_kind_that_is_received_fits_its_schema_and_becomes_an_event(content: dict[str, Any]) -> None:
    data = {"id": "3EB0AA", "chat": CHAT, "sender": CHAT, "timestamp_ms": 1, "content": content}
    event = {"version": 1, "type": "message", "event_id": "e", "session": PHONE, "data": data}

    validator("event.schema.json").validate(event)
    validator("event.message.schema.json").validate(data)
    job = ReceiveEvent(id="e", phone=PHONE, event=event)
    jobs, _ = receive(job, ids=MemoryIds(), sessions=MemorySessions(make_session()))

    assert len(jobs) == (0 if content["kind"] in SILENT else 1)
    types = [EventContent.of(job.body, kind="message").item.get("type") for job in jobs if isinstance(job, EventJob)]
    assert ("unsupported" in types) == (content["kind"] == "unsupported"), "unoapi/providers/whatsmeow/content.py"


@pytest.mark.parametrize("mode", ["text", "classic", "native"])
@pytest.mark.parametrize("content", EXAMPLES["sent"], ids=lambda content: str(content["kind"]))
def test_every_kind_that_is_sent_fits_its_schema_and_becomes_a_message(content: dict[str, Any], mode: str) -> None:
    data = {"content": content, "interactive_mode": mode, "context": {"id": "3EB0", "participant": CHAT["jid"]}}

    validator("command.send.schema.json").validate(data)
    message = message_of(Send.model_validate(data), to=CHAT["jid"], uploaded={"URL": "https://mmg.test/x"})

    assert len(message.keys() - {"messageContextInfo"}) == 1, "beside it the secret of a poll"


def test_choices_are_numbered_lines_unless_the_session_says_otherwise() -> None:
    (menu,) = [content for content in EXAMPLES["sent"] if content["kind"] == "list"]

    text = message_of(Send.model_validate({"content": menu}), to=CHAT["jid"])["conversation"]

    assert text == "*H*\nB\n*S*\n1. One (D)\n_F_"
