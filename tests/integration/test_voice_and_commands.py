"""Audios that are written down, texts that are said, and commands: real processes, with a stand-in of the service."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.support.receiver import Behaviour, Receiver
from tests.support.stack import CONTACT, Stack, eventually, stack
from tests.support.voice_server import KEY, SPEECH, Answered, VoiceServer, error_body

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.devenv.servers import PrivateServers

OGG = b"OggS" + bytes(16_000)
SLOW, HANGING, SPEAKING, MUTE, COMMANDING, KILLED = (f"55119999001{number:02}" for number in range(6))
"""A number for each test: a worker may not have seen yet that another test has changed a configuration."""


@pytest.fixture(scope="module")
def service() -> Iterator[VoiceServer]:
    with VoiceServer() as running:
        yield running


@pytest.fixture(scope="module")
def uno(servers: PrivateServers, service: VoiceServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {
        "OPENAI_API_KEY": KEY,
        "OPENAI_API_BASE_URL": service.url,
        "UNOAPI_MESSAGE_RETRY_DELAY": "300",
        "UNOAPI_VOICE_TIMEOUT_MS": "1500",
    }
    with stack(servers, tmp_path_factory.mktemp("voice"), **settings) as running:
        running.web()
        running.worker()
        yield running


def audio_arrives(uno: Stack, phone: str) -> str:
    """A contact sends an audio; returns the message's id."""
    token = {"Authorization": f"Bearer session-token-{phone}"}
    form: Any = {"file": ("a.ogg", OGG, "audio/ogg"), "messaging_product": (None, "whatsapp")}
    uploaded = requests.post(f"{uno.url}/v15.0/{phone}/media", headers=token, files=form, timeout=10).json()
    body = {"from": CONTACT, "type": "audio", "audio": {"id": uploaded["id"], "mime_type": "audio/ogg", "voice": True}}
    return str(uno.post(f"/sandbox/{phone}/messages", body).json()["messages"][0]["id"])


def messages(receiver: Receiver, path: str) -> list[dict[str, Any]]:
    """What came to an address, in its order."""
    values = [json.loads(r.body)["entry"][0]["changes"][0]["value"] for r in receiver.requests(path)]
    return [value["messages"][0] for value in values if "messages" in value]


def test_a_webhook_gets_the_audio_first_and_its_words_second_once_each(
    uno: Stack, service: VoiceServer, receiver: Receiver
) -> None:
    service.script += [Answered(500), Answered(429, headers=(("Retry-After", "1"),)), Answered(200, b"<html>")]
    receiver.script("/slow", Behaviour(status=200, delay_ms=1000))
    uno.register(
        [{"id": "crm", "urlAbsolute": receiver.url("/slow"), "sendTranscribeAudio": True},
         {"id": "bot", "urlAbsolute": receiver.url("/plain")}],
        phone=SLOW,
    )  # fmt: skip

    audio = audio_arrives(uno, SLOW)
    eventually(lambda: len(messages(receiver, "/slow")) == 2, within_s=30, what="audio and text")
    time.sleep(1.5)

    first, second = messages(receiver, "/slow")
    assert (first["id"], first["type"]) == (audio, "audio")
    assert (second["type"], second["text"]["body"], second["context"]["id"]) == ("text", service.heard, audio)
    assert [message["type"] for message in messages(receiver, "/plain")] == ["audio"]
    steps = uno.get(f"/v15.0/{SLOW}/messages/{audio}/trace").json()["trace"]
    assert any("written down" in step.get("detail", "") for step in steps), steps


def test_a_service_that_hangs_holds_neither_the_audio_nor_anything_else(
    uno: Stack, service: VoiceServer, receiver: Receiver
) -> None:
    service.script += [Answered(200, pause_s=4.0)] * 3
    uno.register([{"id": "crm", "urlAbsolute": receiver.url("/hang"), "sendTranscribeAudio": True}], phone=HANGING)

    began = time.monotonic()
    audio_arrives(uno, HANGING)
    uno.contact_writes("and a text", phone=HANGING)
    eventually(lambda: len(messages(receiver, "/hang")) == 2, within_s=10)

    assert time.monotonic() - began < 1.4 * 3
    assert sorted(message["type"] for message in messages(receiver, "/hang")) == ["audio", "text"]
    eventually(lambda: uno.dead("--reason", "voice_failed"), within_s=30, every_s=0.5)
    service.script.clear()


def texts(receiver: Receiver, path: str) -> list[dict[str, Any]]:
    return [message for message in messages(receiver, path) if message["type"] == "text"]


def test_a_worker_that_is_killed_while_audios_are_written_down_loses_none_and_doubles_none(
    uno: Stack, service: VoiceServer, receiver: Receiver
) -> None:
    count = 3
    service.script[:] = [Answered(200, pause_s=3)] * count
    uno.register([{"id": "crm", "urlAbsolute": receiver.url("/killed"), "sendTranscribeAudio": True}], phone=KILLED)
    before = len(service.asked)
    audios = [audio_arrives(uno, KILLED) for _ in range(count)]
    eventually(lambda: len(service.asked) == before + count, every_s=0.01, what="all audios at the service")
    eventually(lambda: len(messages(receiver, "/killed")) >= count, every_s=0.001, what="all audios at the webhook")

    uno.processes[-1].kill()  # the worker
    asked_again = len(service.asked)
    uno.worker()
    eventually(lambda: len(texts(receiver, "/killed")) >= count, within_s=60, what="the texts")
    eventually(lambda: uno.unfinished() == 0, within_s=20)

    answered = [message["context"]["id"] for message in texts(receiver, "/killed")]
    heard = {message["text"]["body"] for message in texts(receiver, "/killed")}
    assert sorted(answered) == sorted(audios)
    assert heard == {service.heard}
    assert len(service.asked) == asked_again + count


def test_the_processes_are_listed_with_what_they_take(uno: Stack) -> None:
    def listed() -> dict[str, Any]:
        return {one["kind"]: one for one in uno.get("/admin/processes").json()["data"]}

    eventually(lambda: {"web", "worker"} <= listed().keys(), what="both processes")
    worker = listed()["worker"]
    assert (worker["places"], "transcribe" in worker["queues"], worker["silent"]) == (10, True, False)


def test_a_speech_leaves_as_a_voice_note(uno: Stack, service: VoiceServer, receiver: Receiver) -> None:
    service.script.clear()
    uno.register([{"id": "crm", "urlAbsolute": receiver.url("/speech"), "sendNewMessages": True}], phone=SPEAKING)

    body = {"to": CONTACT, "type": "speech", "speech": {"body": "hello"}}
    answer = uno.post(f"/v15.0/{SPEAKING}/messages", body)
    eventually(lambda: messages(receiver, "/speech"), what="the sent message")

    (sent,) = messages(receiver, "/speech")
    assert (sent["id"], sent["type"]) == (answer.json()["messages"][0]["id"], "audio")
    link = uno.get(f"/v15.0/{sent['audio']['id']}").json()["url"]
    assert (sent["audio"]["voice"], requests.get(link, timeout=10).content) == (True, SPEECH)


def test_what_cannot_be_said_is_a_failed_status(uno: Stack, service: VoiceServer, receiver: Receiver) -> None:
    service.script[:] = [Answered(400, error_body("The voice does not exist", code="invalid_voice"))]
    uno.register([{"id": "crm", "urlAbsolute": receiver.url("/unsaid")}], phone=MUTE)

    uno.post(f"/v15.0/{MUTE}/messages", {"to": CONTACT, "type": "speech", "speech": {"body": "hello"}})
    eventually(lambda: receiver.count("/unsaid") == 1)

    (request,) = receiver.requests("/unsaid")
    assert "invalid_voice" in request.body
    assert '"failed"' in request.body


def test_a_command_is_answered_in_the_numbers_own_chat_and_nobody_else_gives_one(
    uno: Stack, receiver: Receiver
) -> None:
    uno.register([{"id": "crm", "urlAbsolute": receiver.url("/commands")}], phone=COMMANDING, commands=True)

    uno.contact_writes("help", phone=COMMANDING)
    eventually(lambda: messages(receiver, "/commands"), what="the contact's message")
    uno.contact_writes("status", phone=COMMANDING, sender=COMMANDING)
    eventually(lambda: "read" in statuses(receiver, "/commands").values(), what="the answer in the own chat")

    assert statuses(receiver, "/commands") == {COMMANDING: "read"}
    assert [message["from"] for message in messages(receiver, "/commands")] == [CONTACT, COMMANDING]


def statuses(receiver: Receiver, path: str) -> dict[str, str]:
    """The last status of what was sent to each number."""
    values = [json.loads(r.body)["entry"][0]["changes"][0]["value"] for r in receiver.requests(path)]
    return {item["recipient_id"]: item["status"] for value in values for item in value.get("statuses", [])}
