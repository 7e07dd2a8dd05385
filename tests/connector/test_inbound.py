"""Received messages become what webhooks expect: the cases of the Node version, and messages of any form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.compatibility.census import GROUPS, OTHERS
from tests.connector.raw import received
from tests.support.fakes import PHONE, MemoryIds, MemorySessions, make_session
from unoapi.connector.convert.inbound import WRAPPERS, content_of, context_of
from unoapi.models.connector.content import KINDS
from unoapi.models.connector.events import ReceivedMessage
from unoapi.models.jobs import ReceiveEvent
from unoapi.providers.whatsmeow.events import receive

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "received.json").read_text("utf-8"))
EVERYTHING = {"ignoreOwnMessages": False, "ignoreGroupMessages": False, "ignoreBroadcastStatuses": False}


def event_of(case: dict[str, Any]) -> dict[str, Any] | None:
    data = received(case["raw"])
    event = {"version": 1, "type": "message", "event_id": "e", "session": PHONE, "data": data}
    session = make_session(**{**EVERYTHING, **case["config"]})
    jobs, _ = receive(ReceiveEvent(id="e", phone=PHONE, event=event), ids=MemoryIds(), sessions=MemorySessions(session))
    if not jobs:
        return None
    value = json.loads(jobs[0].body)["entry"][0]["changes"][0]["value"]
    items = {"message": "messages", "status": "statuses"}
    return {"contact": value["contacts"][0], **{key: value[name][0] for key, name in items.items() if name in value}}


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_every_known_form_of_a_message_reaches_the_webhook_as_it_always_did(case: dict[str, Any]) -> None:
    assert event_of(case) == case["out"]


def test_all_cases_of_the_node_version_are_here() -> None:
    all_cases = {case["id"].removeprefix("raw_"): case for case in GROUPS["raw_to_event"]["cases"]}
    wanted = {name for name, case in all_cases.items() if case["id"] not in OTHERS}

    assert {case["id"] for case in CASES} == wanted
    for case in CASES:
        assert all_cases[case["id"]]["in"] == {"config": case["config"], "raw": case["raw"]}


OF_OTHER_LIBRARIES: dict[str, dict[str, Any]] = {
    "pin": {"pinInChatMessage": {"key": {"id": "P1"}, "type": "PIN_FOR_ALL"}},
    "poll_vote": {"pollUpdateMessage": {"pollCreationMessageKey": {"id": "P1"}, "vote": {}}},
    "flow_reply": {
        "interactiveResponseMessage": {
            "nativeFlowResponseMessage": {"name": "flow", "paramsJson": '{"screen": "END", "flow_token": "t"}'}
        }
    },
}
"""Kinds of which the Node version knew no case."""


def test_every_kind_comes_out_of_some_message() -> None:
    """A converter that is not registered makes no error: its message would be "unsupported"."""
    messages = [case["raw"]["message"] for case in CASES] + list(OF_OTHER_LIBRARIES.values())

    assert {content_of(message)["kind"] for message in messages} == set(KINDS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
NAMES = sorted(
    {name for case in CASES for name in case["raw"]["message"]}
    | {"pollUpdateMessage", "albumMessage", "somethingNewMessage"}
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from([*NAMES, *sorted(WRAPPERS)]), JSON, max_size=3))
def test_no_message_stops_the_conversion(message: dict[str, Any]) -> None:
    content, context = content_of(message), context_of(message)

    data = {**received({"key": {"remoteJid": "1@s.whatsapp.net", "id": "A"}, "messageTimestamp": 1, "message": {}})}
    assert ReceivedMessage.model_validate({**data, "content": content, "context": context}).content.kind


def test_endless_wrappers_become_unsupported() -> None:
    message: dict[str, Any] = {"conversation": "deep"}
    for _ in range(60):
        message = {"ephemeralMessage": {"message": message}}

    assert content_of(message)["kind"] in ("unsupported", "protocol")


def test_an_advertisement_is_a_referral() -> None:
    advert = {"title": "T", "body": "B", "sourceURL": "https://ad.test/1", "ctwaClid": "c", "mediaType": 1}

    context = context_of({"extendedTextMessage": {"text": "hi", "contextInfo": {"externalAdReply": advert}}})

    assert context is not None
    assert context["referral"]["source_url"] == "https://ad.test/1"
    assert (context["referral"]["media_type"], context["referral"]["headline"]) == ("image", "T")
