"""What a client sends to a contact leaves in that order; files at addresses are fetched before, holding up nobody."""

from __future__ import annotations

import io
import os
import time
import wave
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.connector.phones import Phone, connected_phone, events
from tests.integration.test_forwarder import forward
from tests.support.fake_graph_api import SLOW, Graph
from tests.support.file_server import File, FileServer
from tests.support.receiver import Receiver
from tests.support.stack import CONTACT, PHONE, QUEUES, Stack, eventually, stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.devenv.servers import PrivateServers

AT_META = "5521977776666"
CLIENTS, MESSAGES = int(os.environ.get("UNO_TEST_CLIENTS", "8")), int(os.environ.get("UNO_TEST_MESSAGES", "15"))
"""50 and 40 in the full run."""
LONG_S = 60 + CLIENTS * MESSAGES / 4
"""Each tenth message is a voice note, which takes a second of a busy machine."""
SETTINGS = {"UNOAPI_CONNECTOR_SENDS_PER_SECOND": "1000", "UNOAPI_MESSAGE_RETRY_DELAY": "2000"}
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(64)
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(64)
PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>"


def sound() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(2)
        audio.setframerate(8000)
        audio.writeframes(bytes(8000))
    return file.getvalue()


@pytest.fixture(scope="module")
def files() -> Iterator[FileServer]:
    with FileServer() as running:
        yield running


@pytest.fixture(scope="module")
def graph() -> Iterator[Graph]:
    with Graph() as running:
        yield running


@pytest.fixture(scope="module")
def hook() -> Iterator[Receiver]:
    with Receiver() as running:
        running.record("full")
        yield running


@pytest.fixture(scope="module")
def uno(servers: PrivateServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(servers, tmp_path_factory.mktemp("order"), **SETTINGS) as running:
        running.web()
        running.worker(threads=50, queues=tuple(queue for queue in QUEUES if queue != "media"))
        running.worker(threads=2, queues=("media",), name="media", pool="prefork")
        yield running


@pytest.fixture(scope="module")
def phone(uno: Stack, hook: Receiver, graph: Graph) -> Phone:
    uno.register([], phone=AT_META, provider="forwarder", webhookForward=forward(graph, phoneNumberId="1001"))
    return connected_phone(uno, hook.url("/hook"))


def send(uno: Stack, to: str, *, phone: str = PHONE, **message: dict[str, Any]) -> str:
    kind = next(iter(message))
    answer = uno.post(f"/v15.0/{phone}/messages", {"messaging_product": "whatsapp", "to": to, "type": kind, **message})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["messages"][0]["id"])


def left(phone: Phone, to: str) -> list[dict[str, Any]]:
    return [line["message"] for line in phone.sent() if line["to"] == f"{to}@s.whatsapp.net"]


def words(message: dict[str, Any]) -> str:
    """A text's words; what kind of message it is otherwise."""
    text = message.get("conversation") or message.get("extendedTextMessage", {}).get("text")
    return str(text or next(iter(message)))


def test_x1_what_many_clients_send_leaves_in_their_order_with_voice_notes_between(
    uno: Stack, phone: Phone, files: FileServer, graph: Graph
) -> None:
    link = files.put("/sound.wav", File(sound(), "audio/wav"))
    voice = {"link": link, "voice": True}

    def talk(number: int) -> None:
        for count in range(MESSAGES):
            for own, contact in ((PHONE, f"55119000{number:05}"), (AT_META, f"55219000{number:05}")):
                if count % 10 == 4 and own == PHONE:
                    send(uno, contact, phone=own, audio=voice)
                else:
                    send(uno, contact, phone=own, text={"body": f"{count}"})

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(talk, range(CLIENTS)))

    expected = ["audioMessage" if count % 10 == 4 else f"{count}" for count in range(MESSAGES)]
    for number in range(CLIENTS):
        by_phone, by_meta = f"55119000{number:05}", f"55219000{number:05}"
        eventually(partial(_has_left, phone, by_phone), within_s=LONG_S, what="all by phone")
        eventually(partial(_has_come, graph, by_meta), within_s=LONG_S, what="all by Meta")
        assert [words(message) for message in left(phone, by_phone)] == expected
        assert [sent.body["text"]["body"] for sent in graph.messages_to(by_meta)] == [f"{n}" for n in range(MESSAGES)]


def _has_left(phone: Phone, to: str) -> bool:
    return len(left(phone, to)) >= MESSAGES


def _has_come(graph: Graph, to: str) -> bool:
    return len(graph.messages_to(to)) >= MESSAGES


def test_x1_messages_to_a_slow_receiver_are_sent_one_after_the_other(uno: Stack, phone: Phone, graph: Graph) -> None:
    assert phone
    for count in range(4):
        send(uno, SLOW, phone=AT_META, text={"body": f"{count}"})
    began = time.monotonic()
    send(uno, "5521900099999", phone=AT_META, text={"body": "to somebody else"})

    eventually(lambda: graph.messages_to("5521900099999"), within_s=3, what="somebody else's")
    assert time.monotonic() - began < 3
    eventually(lambda: len(graph.messages_to(SLOW)) == 4, within_s=30, what="the slow one's")
    assert [sent.body["text"]["body"] for sent in graph.messages_to(SLOW)] == ["0", "1", "2", "3"]


def test_field_report_45_a_slow_link_holds_up_nobody_but_what_follows_it(
    uno: Stack, phone: Phone, files: FileServer
) -> None:
    slow, other = "5511900010001", "5511900010002"
    send(uno, slow, image={"link": files.put("/slow.jpg", File(JPEG, "image/jpeg", pause_s=4))})
    send(uno, slow, text={"body": "after it"})
    began = time.monotonic()
    send(uno, other, text={"body": "to somebody else"})

    eventually(lambda: left(phone, other), within_s=3, what="somebody else's")
    assert time.monotonic() - began < 3
    eventually(lambda: len(left(phone, slow)) == 2, within_s=20, what="the picture and the text")
    assert [words(message) for message in left(phone, slow)] == ["imageMessage", "after it"]


def failures(hook: Receiver, message_id: str) -> list[dict[str, Any]]:
    every = [status for value in events(hook) for status in value.get("statuses", [])]
    return [status["errors"][0] for status in every if status["id"] == message_id and status["status"] == "failed"]


DEAD: dict[str, tuple[str, File, str]] = {
    "page as a document": ("document", File(PAGE, "text/html"), "web page"),
    "page that says it is a PDF": ("document", File(PAGE, "application/pdf"), "web page"),
    "page as a picture": ("image", File(PAGE, "text/html"), "web page"),
    "words of an error": ("document", File(b'{"error": "expired"}', "application/json"), "application/json"),
    "nothing": ("image", File(b"", "image/jpeg"), "empty"),
    "404": ("image", File(b"no", "text/plain", status=404), "HTTP 404"),
    "403": ("document", File(b"no", "text/plain", status=403), "HTTP 403"),
    "410": ("video", File(b"", status=410), "HTTP 410"),
    "too large": ("document", File(b"%PDF-", "application/pdf", announced=150_000_000), "larger than"),
    "sound as a sticker": ("sticker", File(b"ID3" + bytes(64), "audio/mpeg"), "no sticker"),
    "picture as a video": ("video", File(PNG, "image/png"), "no video"),
    "asks to wait too long": ("image", File(b"", status=429, headers=(("Retry-After", "7000"),)), "come back"),
}


@pytest.mark.parametrize("name", DEAD)
def test_field_report_45_a_file_that_is_none_fails_at_once_with_its_reason(
    uno: Stack, phone: Phone, hook: Receiver, files: FileServer, name: str
) -> None:
    kind, file, why = DEAD[name]
    to, path = f"551190002{list(DEAD).index(name):04}", f"/dead/{list(DEAD).index(name)}.pdf"

    message_id = send(uno, to, phone=PHONE, **{kind: {"link": files.put(path, file)}})

    error = eventually(lambda: failures(hook, message_id), within_s=15, what="the failed status")[0]
    assert error["code"] == 131053
    assert why in error["error_data"]["details"]
    assert (files.asked[path], left(phone, to)) == (1, [])


@pytest.mark.parametrize(
    "first", [File(status=503), File(status=429, headers=(("Retry-After", "1"),)), File(JPEG, announced=10_000)]
)
def test_field_report_45_a_file_that_may_come_later_is_asked_for_again(
    uno: Stack, phone: Phone, files: FileServer, first: File
) -> None:
    to, path = f"5511900030{first.status:03}", f"/later/{first.status}-{first.announced}.jpg"

    send(uno, to, image={"link": files.put(path, first, File(JPEG, "image/jpeg"))})

    (message,) = eventually(lambda: left(phone, to), within_s=25, what="the picture")
    assert message["imageMessage"]["mimetype"] == "image/jpeg"
    assert files.asked[path] == 2


MP4 = b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41" + bytes(64)
WEBP = b"RIFF\x24\x00\x00\x00WEBPVP8 " + bytes(64)
MP3 = b"\xff\xfb\x90\x64" + bytes(64)
AAC = b"\xff\xf1\x50\x80" + bytes(64)
TYPES: dict[str, tuple[str, str, File, str]] = {
    "octet-stream": ("image", "/img/123", File(JPEG, "application/octet-stream"), "image/jpeg"),
    "binary": ("image", "/img/124", File(JPEG, "binary/octet-stream"), "image/jpeg"),
    "plain text": ("image", "/img/125", File(JPEG, "text/plain"), "image/jpeg"),
    "no type": ("image", "/img/126", File(PNG), "image/png"),
    "a picture that is called PDF": ("image", "/img/a.pdf", File(JPEG, "image/jpeg"), "image/jpeg"),
    "video": ("video", "/v/1", File(MP4), "video/mp4"),
    "sticker": ("sticker", "/s/1", File(WEBP, "application/octet-stream"), "image/webp"),
    "document": ("document", "/d/1", File(b"%PDF-1.7", "application/octet-stream"), "application/pdf"),
    "audio by its server's word": ("audio", "/a/1", File(b"sound", "audio/aac"), "audio/aac"),
    "audio by its bytes": ("audio", "/a/2", File(AAC, "audio/mpeg"), "audio/aac"),
    "audio without a type": ("audio", "/a/3", File(MP3), "audio/mpeg"),
}


@pytest.mark.parametrize("name", TYPES)
def test_field_report_42_the_type_of_a_file_is_what_its_bytes_tell(
    uno: Stack, phone: Phone, files: FileServer, name: str
) -> None:
    kind, path, file, mime_type = TYPES[name]
    to = f"551190004{list(TYPES).index(name):04}"

    send(uno, to, phone=PHONE, **{kind: {"link": files.put(path, file)}})

    (message,) = eventually(lambda: left(phone, to), within_s=15, what=kind)
    assert message[f"{kind}Message"]["mimetype"] == mime_type


def test_the_number_is_still_there(phone: Phone, uno: Stack) -> None:
    before = len(left(phone, CONTACT))

    send(uno, CONTACT, text={"body": "last"})

    eventually(lambda: len(left(phone, CONTACT)) == before + 1, within_s=5)
