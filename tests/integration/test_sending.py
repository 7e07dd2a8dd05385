"""Messages and commands of clients through the whole program: answers, statuses, idempotency."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import redis
import requests

from tests.support.stack import CONTACT, OPERATOR, PHONE, Stack, eventually, stack
from tests.support.voice_server import KEY, VoiceServer
from unoapi.models.cloud_api.messages import MESSAGES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.receiver import Receiver
    from unoapi.devenv.servers import PrivateServers

PATH = f"/v15.0/{PHONE}/messages"
TEXT = {"messaging_product": "whatsapp", "to": CONTACT, "type": "text", "text": {"body": "hello"}}


@pytest.fixture(scope="module")
def uno(servers: PrivateServers, hooks: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with (
        VoiceServer() as voice,
        stack(
            servers, tmp_path_factory.mktemp("sending"), OPENAI_API_KEY=KEY, OPENAI_API_BASE_URL=voice.url
        ) as running,
    ):
        running.web()
        running.worker()
        running.register([{"id": "main", "urlAbsolute": hooks.url("/main")}])
        yield running


def statuses(hooks: Receiver) -> list[dict[str, Any]]:
    values = [json.loads(request.body)["entry"][0]["changes"][0]["value"] for request in hooks.requests("/main")]
    return [status for value in values for status in value.get("statuses", [])]


def with_key(uno: Stack, key: str, body: dict[str, Any] = TEXT) -> requests.Response:
    return uno.post(PATH, body, headers={"Idempotency-Key": key})


@pytest.mark.parametrize("kind", MESSAGES)
def test_the_sandbox_sends_every_type(uno: Stack, hooks: Receiver, kind: str) -> None:
    (example,) = MESSAGES[kind].model_json_schema()["examples"]

    answer = uno.post(PATH, example)

    assert answer.status_code == 200, answer.text
    assert answer.json()["contacts"] == [{"input": CONTACT, "wa_id": CONTACT}]
    message_id = answer.json()["messages"][0]["id"]
    eventually(lambda: (message_id, "sent") in {(status["id"], status["status"]) for status in statuses(hooks)})


def test_a_brazilian_number_gets_its_ninth_digit_in_the_answer_and_in_the_statuses(uno: Stack, hooks: Receiver) -> None:
    answer = uno.send("hi", to="+55 (49) 8888-7777").json()

    assert answer["contacts"] == [{"input": "+55 (49) 8888-7777", "wa_id": CONTACT}]
    message_id = answer["messages"][0]["id"]
    (status, *_) = eventually(lambda: [status for status in statuses(hooks) if status["id"] == message_id])
    assert status["recipient_id"] == CONTACT


def test_a_user_id_instead_of_a_phone(uno: Stack) -> None:
    body = {key: part for key, part in TEXT.items() if key != "to"} | {"recipient": "BR.1234567890"}

    answer = uno.post(PATH, body)

    assert answer.json()["contacts"] == [{"input": "BR.1234567890", "user_id": "BR.1234567890"}]


def test_the_clients_mark_comes_back_in_every_status(uno: Stack, hooks: Receiver) -> None:
    sent = [
        uno.post(PATH, {**TEXT, "to": to, "biz_opaque_callback_data": "order 1"}).json()["messages"][0]["id"]
        for to in (CONTACT, "15550000001", "15550000007")
    ]

    def marks() -> dict[str, set[str]]:
        seen: dict[str, set[str]] = {}
        for status in statuses(hooks):
            if status["id"] in sent:
                seen.setdefault(status["status"], set()).add(status.get("biz_opaque_callback_data", ""))
        return seen

    eventually(lambda: marks().keys() >= {"sent", "delivered", "read", "failed"})
    assert set().union(*marks().values()) == {"order 1"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", PATH, {"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.C1"}),
        ("POST", PATH, {"status": "read", "message_id": "wamid.C2", "typing_indicator": {"type": "text"}}),
        ("POST", PATH, {"messaging_product": "whatsapp", "status": "deleted", "message_id": "wamid.C3"}),
        ("DELETE", f"{PATH}/wamid.C4", None),
    ],
)
def test_a_command_is_taken_carried_out_and_followed(
    uno: Stack, hooks: Receiver, method: str, path: str, body: Any
) -> None:
    before = len(statuses(hooks))
    headers = {"Authorization": f"Bearer {OPERATOR}"}

    answer = requests.request(method, f"{uno.url}{path}", json=body, headers=headers, timeout=10)

    assert (answer.status_code, answer.json()) == (200, {"success": True})
    message_id = body["message_id"] if body else path.rpartition("/")[2]

    def steps() -> list[str]:
        entries = uno.get(f"{PATH}/{message_id}/trace").json().get("trace", [])
        return [entry["step"] for entry in entries]

    eventually(lambda: steps() == ["accepted", "sent"])
    assert len([status for status in statuses(hooks) if status["id"] == message_id]) == 0
    assert len(statuses(hooks)) >= before


@pytest.mark.parametrize(
    "command",
    [
        {"status": "read"},
        {"status": "flown", "message_id": "x"},
        {"status": None},
        {"typing_indicator": {"type": "song"}},
    ],
)
def test_a_command_that_does_not_fit_is_refused(uno: Stack, command: dict[str, Any]) -> None:
    answer = uno.post(PATH, {"messaging_product": "whatsapp", **command})

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] in (131008, 131009)


def test_the_same_key_and_body_is_one_message_with_one_answer(uno: Stack, hooks: Receiver) -> None:
    key = f"order-{time.time_ns()}"
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: with_key(uno, key), range(8)))
    answers.append(with_key(uno, key))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    message_id = answers[0].json()["messages"][0]["id"]
    eventually(lambda: [status["status"] for status in statuses(hooks) if status["id"] == message_id][-1:] == ["read"])
    assert [status["status"] for status in statuses(hooks) if status["id"] == message_id] == [
        "sent",
        "delivered",
        "read",
    ]


def test_the_same_key_with_another_body_is_refused(uno: Stack) -> None:
    key = f"order-{time.time_ns()}"
    with_key(uno, key)

    answer = with_key(uno, key, {**TEXT, "text": {"body": "another"}})

    assert answer.status_code == 422
    assert answer.json()["error"]["error_data"]["details"]


def test_a_process_that_died_before_it_published_is_made_good_by_the_repeat(
    uno: Stack, servers: PrivateServers
) -> None:
    """What is left of the dead process is the key without its acceptance."""
    key = f"order-{time.time_ns()}"
    first = with_key(uno, key).json()["messages"][0]["id"]
    client = redis.Redis.from_url(servers.redis_url, decode_responses=True)
    names = [str(name) for name in client.scan_iter("unoapi-idempotency:*")]
    eventually(lambda: all(":accepted" in str(client.get(name)) for name in names))
    for name in names:
        client.set(name, str(client.get(name)).removesuffix(":accepted"))

    assert with_key(uno, key).json()["messages"][0]["id"] == first


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "\xe9"])
def test_a_key_that_is_none_is_refused(uno: Stack, key: str) -> None:
    assert with_key(uno, key).status_code == 400
