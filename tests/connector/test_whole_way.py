"""A client sends by HTTP, a simulated phone delivers, receipts come back; and the other way round."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import time
import wave
from itertools import count
from typing import TYPE_CHECKING, Any

import amqp
import pytest
from kombu import Connection
from PIL import Image

from tests.connector.phones import Phone, connected_phone, events, messages, messages_with, statuses
from tests.support.receiver import Receiver
from tests.support.stack import CONTACT, PHONE, Stack, eventually, stack
from unoapi.broker.topology import Topology
from unoapi.connector.engines.simulated import NOT_ON_WHATSAPP, PICTURE, UNSTEADY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.devenv.servers import PrivateServers

FAST = {"UNOAPI_CONNECTOR_SENDS_PER_SECOND": "1000", "UNOAPI_SEND_MAX_AGE": "600"}


@pytest.fixture(scope="module")
def uno(servers: PrivateServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(
        servers, tmp_path_factory.mktemp("whole-way"), **FAST, RABBITMQ_MANAGEMENT_URL=servers.management_url
    ) as running:
        running.web()
        running.worker()
        yield running


@pytest.fixture(scope="module")
def hook() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture(scope="module")
def phone(uno: Stack, hook: Receiver) -> Phone:
    return connected_phone(uno, hook.url("/hook"))


def send(uno: Stack, to: str, **message: Any) -> str:
    kind = next(iter(message))
    answer = uno.post(f"/v15.0/{PHONE}/messages", {"messaging_product": "whatsapp", "to": to, "type": kind, **message})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["messages"][0]["id"])


def test_a_message_is_sent_once_and_its_receipts_come_back(uno: Stack, phone: Phone, hook: Receiver) -> None:
    before = len(phone.sent())

    message_id = send(uno, CONTACT, text={"body": "hello"})

    eventually(lambda: set(statuses(hook, message_id)) == {"sent", "delivered", "read"}, what="three statuses")
    (sent,) = phone.sent()[before:]
    assert sent["to"] == f"{CONTACT}@s.whatsapp.net"
    assert sent["message"] == {"conversation": "hello"}


def test_a_received_message_reaches_the_webhook_and_can_be_answered(uno: Stack, phone: Phone, hook: Receiver) -> None:
    phone.receives("3EB0RECEIVED", {"kind": "text", "body": "anybody there?"})
    (got,) = eventually(lambda: messages(hook), what="the message")
    before = len(phone.sent())

    send(uno, CONTACT, text={"body": "yes"}, context={"message_id": "3EB0RECEIVED"})

    sent = eventually(lambda: phone.sent()[before:], what="the answer")
    assert got["text"] == {"body": "anybody there?"}
    quoted = sent[0]["message"]["extendedTextMessage"]["contextInfo"]
    assert (quoted["stanzaID"], quoted["participant"]) == ("3EB0RECEIVED", f"{CONTACT}@s.whatsapp.net")


def test_a_received_picture_reaches_the_webhook_with_a_working_download(
    uno: Stack, phone: Phone, hook: Receiver
) -> None:
    media = {"state": "pending", "descriptor": {"direct_path": "/v/1", "media_type": "image", "file_length": 15}}

    phone.receives("3EB0PICTURE", {"kind": "image", "mime_type": "image/png", "caption": "look", "media": media})
    got = eventually(lambda: messages_with(hook, "3EB0PICTURE"), what="the picture")

    image = got[0]["image"]
    described = uno.get(f"/v15.0/{image['id']}").json()
    downloaded = uno.get(described["url"].partition(uno.url)[2] or described["url"].partition("9876")[2])
    assert (image["caption"], image["mime_type"]) == ("look", "image/png")
    assert downloaded.content == PICTURE
    assert described["sha256"] == image["sha256"] == hashlib.sha256(PICTURE).hexdigest()


def test_a_message_whose_picture_is_gone_arrives_without_its_file(phone: Phone, hook: Receiver) -> None:
    media = {"state": "pending", "descriptor": {"direct_path": "/gone", "media_type": "image"}}

    phone.receives("3EB0GONE", {"kind": "image", "mime_type": "image/png", "media": media})
    got = eventually(lambda: messages_with(hook, "3EB0GONE"), within_s=30, what="the message")

    assert got[0]["errors"][0]["code"] == 131052
    assert "id" not in got[0]["image"]


def test_an_uploaded_file_is_sent_by_its_id(uno: Stack, phone: Phone) -> None:
    before = len(phone.sent())
    files = {"file": ("bill.pdf", b"%PDF-1.4 bill", "application/pdf")}
    uploaded = uno.post(f"/v15.0/{PHONE}/media", files=files, data={"messaging_product": "whatsapp"})

    send(uno, CONTACT, document={"id": uploaded.json()["id"], "caption": "see"})

    sent = eventually(lambda: phone.sent()[before:], what="the document")[0]["message"]
    document = sent["documentWithCaptionMessage"]["message"]["documentMessage"]
    assert (document["mimetype"], document["fileName"], document["caption"]) == ("application/pdf", "bill.pdf", "see")


def test_field_reports_39_and_40_files_are_prepared_and_a_text_after_them_stays_after_them(
    uno: Stack, phone: Phone
) -> None:
    """By the `media` process, so later than the text could go by itself."""
    picture, sound = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (640, 480), "red").save(picture, "JPEG")
    with wave.open(sound, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(range(256)) * 125)  # two seconds
    ids = []
    for name, data, mime_type in (("a.jpg", picture, "image/jpeg"), ("a.wav", sound, "audio/wav")):
        files = {"file": (name, data.getvalue(), mime_type)}
        answer = uno.post(f"/v15.0/{PHONE}/media", files=files, data={"messaging_product": "whatsapp"})
        ids.append(str(answer.json()["id"]))
    before = len(phone.sent())

    send(uno, CONTACT, image={"id": ids[0]})
    send(uno, CONTACT, audio={"id": ids[1], "voice": True})
    send(uno, CONTACT, text={"body": "that is it"})

    eventually(lambda: len(phone.sent()) == before + 3, within_s=30, what="three messages")
    shown, heard, said = (line["message"] for line in phone.sent()[before:])
    assert (shown["imageMessage"]["width"], shown["imageMessage"]["height"]) == (640, 480)
    assert shown["imageMessage"]["JPEGThumbnail"]
    assert heard["audioMessage"]["mimetype"] == "audio/ogg; codecs=opus"
    assert heard["audioMessage"]["seconds"] == 2
    assert len(base64.b64decode(heard["audioMessage"]["waveform"])) == 64
    assert said == {"conversation": "that is it"}


def test_marks_and_typing_reach_the_phone(uno: Stack, phone: Phone, hook: Receiver) -> None:
    phone.receives("3EB0MARK", {"kind": "text", "body": "mark me"})
    eventually(lambda: messages_with(hook, "3EB0MARK"), what="the message")
    mark = {"messaging_product": "whatsapp", "status": "read", "message_id": "3EB0MARK"}

    answer = uno.post(f"/v15.0/{PHONE}/messages", {**mark, "typing_indicator": {"type": "text"}})

    assert answer.ok, answer.text
    chat = f"{CONTACT}@s.whatsapp.net"
    eventually(lambda: {"typing": "composing", "chat": chat} in phone.written(), what="typing")
    assert [line for line in phone.written() if line.get("read") == ["3EB0MARK"]]


@pytest.mark.parametrize(
    ("to", "outcome", "code", "left"),
    [
        ("15550000001", ["failed"], 131026, 0),
        ("15550000007", ["failed"], 131000, 1),
        ("15550000010", ["failed"], 131000, 1),
    ],
    ids=["refused", "no answer", "killed while sending"],
)
def test_a_send_that_failed_or_whose_outcome_is_unknown_gets_its_status_and_is_not_repeated(  # noqa: PLR0917
    uno: Stack, phone: Phone, hook: Receiver, to: str, outcome: list[str], code: int, left: int
) -> None:
    before = len(phone.sent())

    message_id = send(uno, to, text={"body": "perhaps"})

    eventually(lambda: statuses(hook, message_id) == outcome, within_s=30, what="failed")
    (error,) = [
        status["errors"][0]
        for value in events(hook)
        for status in value.get("statuses", [])
        if status["id"] == message_id
    ]
    assert error["code"] == code
    assert ("not sent again" in error["error_data"]["details"]) == bool(left)
    phone.wait_online()
    assert len(phone.sent()) - before == left


def test_a_send_that_certainly_did_not_leave_is_tried_again(uno: Stack, phone: Phone, hook: Receiver) -> None:
    before = len(phone.sent())

    message_id = send(uno, "15550000005", text={"body": "third time"})

    eventually(lambda: "read" in statuses(hook, message_id), within_s=30, what="read")
    assert len(phone.sent()) - before == 1


def test_a_message_waits_while_the_connection_is_gone_and_then_leaves(uno: Stack, phone: Phone, hook: Receiver) -> None:
    phone.simulate(do="drop")
    eventually(lambda: phone.status() == "offline", what="offline")
    message_id = send(uno, CONTACT, text={"body": "later"})
    phone.simulate(do="back")

    eventually(lambda: "sent" in statuses(hook, message_id), within_s=30, what="sent")


@pytest.mark.usefixtures("phone")
def test_the_queues_of_sessions_are_shown_together_with_the_age_of_the_oldest_message(
    uno: Stack, hook: Receiver
) -> None:
    def together() -> dict[str, Any]:
        depths = {depth["queue"]: depth for depth in uno.get("/admin/queues").json()["data"]}
        return dict(depths["unoapi.outgoing.whatsmeow.*"])

    queue = Topology("unoapi").session_queue("5521900000000")  # of a number that nobody connects
    before = together()
    with Connection(uno.environment["AMQP_URL"]) as connection:
        channel: Any = connection.channel()
        channel.queue_declare(queue.name, durable=True, auto_delete=False, arguments=queue.arguments)
        channel.basic_publish(amqp.Message(b"{}"), routing_key=queue.name)
        eventually(lambda: together()["ready"] == 1)
        passed_by = send(uno, CONTACT, text={"body": "passes by"})
        eventually(lambda: "read" in statuses(hook, passed_by))
        time.sleep(0.5)
        waiting = together()
        channel.queue_delete(queue.name)
    eventually(lambda: together()["ready"] == 0)

    assert (before["ready"], before["oldest_s"]) == (0, 0)
    assert (waiting["ready"], waiting["unacked"]) == (1, 0)
    assert waiting["oldest_s"] >= 0.5
    assert "of 2 sessions together" in waiting["purpose"]


def test_contacts_are_looked_up_at_whatsapp_itself(uno: Stack, phone: Phone) -> None:
    del phone  # connected
    body = {"contacts": [f"+{CONTACT}", NOT_ON_WHATSAPP, UNSTEADY, "nobody"]}

    answer = uno.post(f"/{PHONE}/contacts", body)

    assert answer.ok, answer.text
    assert [contact["status"] for contact in answer.json()["contacts"]] == ["valid", "invalid", "valid", "invalid"]


def test_while_the_phone_is_not_there_the_form_of_a_number_decides(uno: Stack, hook: Receiver) -> None:
    absent = "5521911110000"
    uno.register([{"id": "crm", "urlAbsolute": hook.url("/none")}], phone=absent, provider="whatsmeow")
    started = time.monotonic()

    answer = uno.post(f"/{absent}/contacts", {"contacts": [CONTACT, UNSTEADY]})

    assert [contact["status"] for contact in answer.json()["contacts"]] == ["valid", "invalid"]
    assert time.monotonic() - started < 4, "the API does not wait for a reply that cannot come"
    assert uno.depth("unoapi.dead") == 0, "a request never becomes a dead letter"


def test_a_campaign_reaches_each_contact_once_and_a_reply_goes_before_it(uno: Stack, phone: Phone) -> None:
    before = len(phone.sent())
    numbers = [f"55119{91000000 + position}" for position in range(25)]
    rows = [
        {"telefone": number, "nome": "JOAO SILVA", "mensagem": "Oi #NOME"} for number in [*numbers, numbers[3], "123"]
    ]
    assert uno.post(f"/v15.0/{PHONE}/bulk/opt_outs", {"numbers": [numbers[7]]}).ok

    begun = uno.post(f"/v15.0/{PHONE}/bulk", {"rows": rows, "batch": 20, "delay": 2})
    eventually(lambda: len(phone.sent()) > before + 3, what="the campaign")
    asked_at, reply = time.time(), "5521991000000"
    send(uno, reply, text={"body": "a reply"})
    campaign = f"/v15.0/{PHONE}/bulk/{begun.json()['id']}"
    eventually(lambda: uno.get(campaign).json()["status"] == "done", what="done")

    lines = phone.sent()[before:]
    left = [line["to"].partition("@")[0] for line in lines]
    shown = uno.get(campaign).json()
    (replied,) = (line["at"] for line in lines if line["to"].startswith(reply))
    assert sorted(left) == sorted([*(number for number in numbers if number != numbers[7]), reply])
    assert "Oi Joao" in json.dumps(lines[0])
    assert (shown["rows"]["bad"], shown["rows"]["duplicates"]) == (1, 1)
    assert sum(shown["counts"].get(word, 0) for word in ("sent", "delivered", "read")) == 24
    assert replied - asked_at < 2


def test_what_was_written_before_the_link_comes_as_history_and_can_be_pinned(
    uno: Stack, phone: Phone, hook: Receiver
) -> None:
    uno.register([{"id": "crm", "urlAbsolute": hook.url("/hook")}], provider="whatsmeow", ignoreHistoryMessages=False)
    before, numbers = len(phone.sent()), count(1)

    def history() -> list[dict[str, Any]]:
        """What was told: the process that knows the new option begins a moment after the registration."""
        content = {"kind": "text", "body": "of last week"}
        phone.receives(f"3EB0PAST{next(numbers)}", content, history=True, history_status="read")
        return [value for value in events(hook) if "history" in value]

    value, *_ = eventually(history, every_s=1.0, what="the history")
    (thread,) = value["history"][0]["threads"]
    past = thread["messages"][0]
    message_id = send(uno, CONTACT, pin={"message_id": past["id"], "expiration_days": 1})
    eventually(lambda: "sent" in statuses(hook, message_id), what="the pin")

    assert (thread["id"], past["text"]["body"]) == (CONTACT, "of last week")
    assert messages_with(hook, past["id"]) == []
    (pinned,) = phone.sent()[before:]
    assert pinned["message"]["pinInChatMessage"]["key"]["ID"] == past["id"]
