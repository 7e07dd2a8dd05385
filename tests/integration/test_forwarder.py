"""Numbers at Meta: what is passed on, what comes back, and what a send means whose answer never came."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import redis
import requests

from tests.support.fake_graph_api import BROKEN, NUMBER_ID, SILENT, SLOW, TOKEN, Graph
from tests.support.receiver import Receiver
from tests.support.stack import CONTACT, OPERATOR, PHONE, Stack, eventually, stack
from unoapi.models.cloud_api.event_catalogue import name_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from unoapi.devenv.servers import PrivateServers

APP_SECRET = "secret-of-the-app-at-meta"
SESSION_TOKEN = f"session-token-{PHONE}"
PNG = b"\x89PNG\r\n\x1a\n a received picture"


@pytest.fixture(scope="module")
def graph() -> Iterator[Graph]:
    with Graph() as running:
        yield running


def forward(graph: Graph, **more: Any) -> dict[str, Any]:
    return {
        "url": graph.url,
        "version": "v21.0",
        "phoneNumberId": NUMBER_ID,
        "businessAccountId": "102290129340398",
        "token": TOKEN,
        "appSecret": APP_SECRET,
        "timeoutMs": 3000,
        **more,
    }


@pytest.fixture(scope="module")
def uno(
    servers: PrivateServers, hooks: Receiver, graph: Graph, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    with stack(servers, tmp_path_factory.mktemp("forwarder"), UNOAPI_MESSAGE_RETRY_DELAY="300") as running:
        running.web()
        running.worker()
        webhooks = [{"id": "main", "urlAbsolute": hooks.url("/main")}]
        running.register(webhooks, provider="forwarder", webhookForward=forward(graph))
        yield running


def values(hooks: Receiver, path: str = "/main") -> list[dict[str, Any]]:
    return [json.loads(request.body)["entry"][0]["changes"][0]["value"] for request in hooks.requests(path)]


def statuses(hooks: Receiver, message_id: str) -> list[dict[str, Any]]:
    return [status for value in values(hooks) for status in value.get("statuses", []) if status["id"] == message_id]


def received(hooks: Receiver, message_id: str) -> list[dict[str, Any]]:
    return [item for value in values(hooks) for item in value.get("messages", []) if item["id"] == message_id]


def callback(**value: Any) -> dict[str, Any]:
    metadata = {"display_phone_number": f"+{PHONE}", "phone_number_id": NUMBER_ID}
    full = {"messaging_product": "whatsapp", "metadata": metadata, **value}
    change = {"field": "messages", "value": full}
    return {"object": "whatsapp_business_account", "entry": [{"id": "102290129340398", "changes": [change]}]}


def call_back(
    uno: Stack, document: dict[str, Any], *, path: str = f"/webhooks/whatsapp/{PHONE}", secret: str = APP_SECRET
) -> requests.Response:
    body = json.dumps(document).encode()
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {"X-Hub-Signature-256": f"sha256={signature}", "Content-Type": "application/json"}
    return requests.post(f"{uno.url}{path}", data=body, headers=headers, timeout=10)


def a_text(message_id: str, **more: Any) -> dict[str, Any]:
    message = {"from": CONTACT, "id": message_id, "timestamp": "1767225600", "type": "text", "text": {"body": "hi"}}
    return {"contacts": [{"profile": {"name": "Maria"}, "wa_id": CONTACT}], "messages": [{**message, **more}]}


def a_status(message_id: str, status: str, **more: Any) -> dict[str, Any]:
    return {
        "statuses": [{"id": message_id, "status": status, "timestamp": "1767225601", "recipient_id": CONTACT, **more}]
    }


# --- towards Meta ---


def test_a_message_is_passed_on_once_with_the_accounts_token(uno: Stack, graph: Graph, hooks: Receiver) -> None:
    to = "5511977770001"

    message_id = uno.send("to Meta", to=to).json()["messages"][0]["id"]

    eventually(lambda: [status["status"] for status in statuses(hooks, message_id)] == ["sent"])
    (sent,) = graph.messages_to(to)
    assert (sent.path, sent.token) == (f"/v21.0/{NUMBER_ID}/messages", f"Bearer {TOKEN}")
    assert sent.body == {"messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": "to Meta"}}


@pytest.mark.parametrize(
    ("to", "code"),
    [("15550000101", 131026), ("15550000102", 131047), ("15550000103", 190), ("15550000104", 100)],
)
def test_what_meta_refuses_is_a_failed_status_with_metas_code(
    uno: Stack, graph: Graph, hooks: Receiver, to: str, code: int
) -> None:
    message_id = uno.send("refused", to=to).json()["messages"][0]["id"]

    (status,) = eventually(lambda: statuses(hooks, message_id))
    assert status["status"] == "failed"
    assert status["errors"][0]["code"] == code
    assert status["errors"][0]["error_data"]["details"]
    assert len(graph.messages_to(to)) == 1


@pytest.mark.parametrize("to", ["15550000105", "15550000106", "15550000107", "15550000109"])
def test_what_meta_cannot_do_now_is_tried_again(uno: Stack, graph: Graph, hooks: Receiver, to: str) -> None:
    message_id = uno.send("again", to=to).json()["messages"][0]["id"]

    eventually(lambda: [status["status"] for status in statuses(hooks, message_id)] == ["sent"])
    assert len(graph.messages_to(to)) == 2


def test_x1_what_follows_a_message_that_meta_refuses_for_its_rate_stays_behind_it(uno: Stack, graph: Graph) -> None:
    to = "15550000113"

    for text in "abc":
        uno.send(text, to=to)

    eventually(lambda: len(graph.messages_to(to)) == 4)
    assert [sent.body["text"]["body"] for sent in graph.messages_to(to)] == ["a", "a", "b", "c"]


@pytest.mark.parametrize("to", [SILENT, BROKEN, "15550000108"])
def test_an_unknown_outcome_is_reported_and_never_repeated(uno: Stack, graph: Graph, hooks: Receiver, to: str) -> None:
    message_id = uno.send("perhaps", to=to).json()["messages"][0]["id"]

    (status,) = eventually(lambda: statuses(hooks, message_id), within_s=15)
    time.sleep(1.5)  # longer than all retries would take
    assert status["status"] == "failed"
    assert "not sent again by itself" in status["errors"][0]["error_data"]["details"]
    assert len(graph.messages_to(to)) == 1


def test_a_slow_answer_is_waited_for(uno: Stack, graph: Graph, hooks: Receiver) -> None:
    message_id = uno.send("slow", to=SLOW).json()["messages"][0]["id"]

    eventually(lambda: [status["status"] for status in statuses(hooks, message_id)] == ["sent"])
    assert len(graph.messages_to(SLOW)) == 1


def test_an_address_that_nobody_listens_on_is_tried_again_and_then_failed(
    uno: Stack, hooks: Receiver, graph: Graph
) -> None:
    phone = "5511900000011"
    webhooks = [{"id": "main", "urlAbsolute": hooks.url("/main")}]
    uno.register(
        webhooks,
        phone=phone,
        provider="forwarder",
        webhookForward=forward(graph, url="http://127.0.0.1:1", phoneNumberId="2"),
    )

    message_id = uno.send("nobody", phone=phone).json()["messages"][0]["id"]

    (status,) = eventually(lambda: statuses(hooks, message_id))
    assert status["status"] == "failed"
    assert "Meta was not reached" in status["errors"][0]["error_data"]["details"]
    (dead_letter,) = eventually(lambda: [dead for dead in uno.dead() if dead["message_id"] == message_id])
    assert len(dead_letter["attempts"]) == 3


def test_a_session_without_an_account_says_what_is_missing(uno: Stack, hooks: Receiver) -> None:
    phone = "5511900000012"
    uno.register([{"id": "main", "urlAbsolute": hooks.url("/main")}], phone=phone, provider="forwarder")

    message_id = uno.send("no account", phone=phone).json()["messages"][0]["id"]

    (status,) = eventually(lambda: statuses(hooks, message_id))
    assert status["errors"][0]["code"] == 133010
    assert "webhookForward" in status["errors"][0]["error_data"]["details"]


def test_quotes_reactions_and_read_marks_name_metas_ids(uno: Stack, graph: Graph, hooks: Receiver) -> None:
    to = "5511977770002"
    first = uno.send("first", to=to).json()["messages"][0]["id"]
    eventually(lambda: statuses(hooks, first))
    theirs = {"id": "wamid.FROMCONTACT"}
    path = f"/v15.0/{PHONE}/messages"

    uno.post(path, {"to": to, "type": "text", "text": {"body": "re"}, "context": {"message_id": first}})
    uno.post(path, {"to": to, "type": "reaction", "reaction": {"message_id": first, "emoji": "👍"}})
    uno.post(path, {"status": "read", "message_id": theirs["id"]})

    eventually(lambda: len(graph.messages_to(to)) == 3)
    quoting, reacting = sorted(graph.messages_to(to)[1:], key=lambda sent: sent.body["type"] == "reaction")
    assert quoting.body["context"]["message_id"].startswith("wamid.META")
    assert reacting.body["reaction"]["message_id"] == quoting.body["context"]["message_id"]
    (read,) = eventually(lambda: [sent for sent in graph.sent if sent.body.get("status") == "read"])
    assert read.body["message_id"] == theirs["id"]


def test_an_uploaded_file_goes_to_meta_as_a_link(uno: Stack, graph: Graph) -> None:
    to = "5511977770003"
    headers = {"Authorization": f"Bearer {OPERATOR}"}
    files = {"file": ("a.png", PNG, "image/png")}
    media_id = requests.post(f"{uno.url}/v15.0/{PHONE}/media", files=files, headers=headers, timeout=10).json()["id"]

    uno.post(f"/v15.0/{PHONE}/messages", {"to": to, "type": "image", "image": {"id": media_id, "caption": "c"}})

    (sent,) = eventually(lambda: graph.messages_to(to))
    assert "id" not in sent.body["image"]
    assert requests.get(sent.body["image"]["link"], timeout=10).content == PNG


# --- from Meta ---


def test_a_signed_callback_reaches_the_webhook(uno: Stack, hooks: Receiver) -> None:
    assert call_back(uno, callback(**a_text("wamid.SIGNED"))).status_code == 200

    eventually(lambda: received(hooks, "wamid.SIGNED"))
    (value,) = [value for value in values(hooks) if value.get("messages", [{}])[0].get("id") == "wamid.SIGNED"]
    assert value["metadata"]["display_phone_number"] == PHONE
    assert value["contacts"][0]["user_id"] == CONTACT


@pytest.mark.parametrize("path", [f"/webhooks/whatsapp/{PHONE}", "/webhooks/whatsapp"])
def test_a_callback_needs_the_right_signature_or_a_token(uno: Stack, path: str) -> None:
    document = callback(**a_text("wamid.FORGED"))

    assert call_back(uno, document, path=path, secret="wrong").status_code == 401
    assert requests.post(f"{uno.url}{path}", json=document, timeout=10).status_code == 401
    headers = {"Authorization": "Bearer wrong"}
    assert requests.post(f"{uno.url}{path}", json=document, headers=headers, timeout=10).status_code == 401
    assert uno.post(path, callback(**a_text("wamid.BYTOKEN")), token=SESSION_TOKEN).status_code == 200


def test_one_address_serves_all_numbers(uno: Stack, hooks: Receiver) -> None:
    answer = call_back(uno, callback(**a_text("wamid.SHARED")), path="/webhooks/whatsapp")
    unknown = callback(**a_text("wamid.UNKNOWN"))
    unknown["entry"][0]["changes"][0]["value"]["metadata"] = {"phone_number_id": "111", "display_phone_number": "222"}

    assert answer.status_code == 200
    eventually(lambda: received(hooks, "wamid.SHARED"))
    refused = uno.post("/webhooks/whatsapp", unknown)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, 100)


def test_the_handshake_echoes_the_challenge_to_who_knows_the_token(uno: Stack) -> None:
    def challenge(path: str, token: str, number: str = "1158201444") -> requests.Response:
        query = {"hub.mode": "subscribe", "hub.verify_token": token, "hub.challenge": number}
        return requests.get(f"{uno.url}{path}", params=query, timeout=10)

    for path, tokens in (
        (f"/webhooks/whatsapp/{PHONE}", (OPERATOR, SESSION_TOKEN)),
        ("/webhooks/whatsapp", (OPERATOR,)),
    ):
        for token in tokens:
            answer = challenge(path, token)
            assert (answer.status_code, answer.text) == (200, "1158201444")
            assert answer.headers["Content-Type"].startswith("text/plain")
        assert challenge(path, "wrong").status_code == 403
        assert challenge(path, OPERATOR, "<script>").status_code in (400, 403)
    assert challenge("/webhooks/whatsapp", SESSION_TOKEN).status_code == 403


def test_statuses_come_back_with_our_id_and_never_go_backwards(uno: Stack, hooks: Receiver) -> None:
    message_id = uno.send("followed", to="5511977770004").json()["messages"][0]["id"]
    eventually(lambda: statuses(hooks, message_id))
    client = redis.Redis.from_url(uno.servers.redis_url, decode_responses=True)
    theirs = str(client.get(f"unoapi-id:{PHONE}:{message_id}"))

    for status in ("delivered", "read", "sent", "delivered"):
        assert call_back(uno, callback(**a_status(theirs, status))).status_code == 200
        time.sleep(0.2)
    call_back(uno, callback(**a_text("wamid.AFTER")))

    eventually(lambda: received(hooks, "wamid.AFTER"))
    eventually(lambda: len(statuses(hooks, message_id)) >= 3)
    time.sleep(0.5)
    published = [status["status"] for status in statuses(hooks, message_id)]
    assert sorted(published, key=["sent", "delivered", "read"].index) == ["sent", "delivered", "read"]
    trace = uno.get(f"/v15.0/{PHONE}/messages/{message_id}/trace").json()["trace"]
    assert [entry["kind"] for entry in trace if entry["step"] == "superseded"] == ["sent", "delivered"]


def test_a_received_picture_is_saved_before_the_event_goes_on(uno: Stack, hooks: Receiver, graph: Graph) -> None:
    graph.files["1003383421387256"] = ("image/png", PNG)
    picture = {"id": "1003383421387256", "mime_type": "image/png", "sha256": "x", "caption": "look"}

    call_back(uno, callback(**a_text("wamid.PICTURE", type="image", image=picture)))

    (message,) = eventually(lambda: received(hooks, "wamid.PICTURE"))
    assert message["image"]["caption"] == "look"
    media_id = message["image"]["id"]
    assert media_id.isdigit()
    assert media_id != picture["id"]
    described = uno.get(f"/v15.0/{media_id}").json()
    assert described["sha256"] == message["image"]["sha256"] == hashlib.sha256(PNG).hexdigest()
    assert requests.get(described["url"], timeout=10).content == PNG


def test_a_picture_that_cannot_be_had_loses_no_message(uno: Stack, hooks: Receiver) -> None:
    picture = {"id": "404", "mime_type": "image/png", "sha256": "x"}

    call_back(uno, callback(**a_text("wamid.NOPICTURE", type="image", image=picture)))

    (message,) = eventually(lambda: received(hooks, "wamid.NOPICTURE"), within_s=30)
    assert message["image"]["id"] == "404"
    assert message["errors"][0]["code"] == 131052
    assert [dead["queue"] for dead in uno.dead() if dead["message_id"] == "wamid.NOPICTURE"] == ["unoapi.media"]


def test_field_report_51_an_echo_whose_file_cannot_be_had_arrives_without_it(uno: Stack, hooks: Receiver) -> None:
    picture = {"id": "404", "mime_type": "image/jpeg", "caption": "eco"}
    echo = {"from": PHONE, "to": CONTACT, "id": "wamid.ECHO", "timestamp": "1", "type": "image", "image": picture}
    document = callback(message_echoes=[echo])
    document["entry"][0]["changes"][0]["field"] = "smb_message_echoes"

    call_back(uno, document)

    def echoes() -> list[dict[str, Any]]:
        return [item for value in values(hooks) for item in value.get("message_echoes", [])]

    (told,) = eventually(echoes, within_s=30)
    assert (told["image"], told["errors"][0]["code"]) == (picture, 131052)


@pytest.mark.parametrize("status", ["failed", "delivered"])
def test_field_report_77_a_status_before_the_answer_has_the_clients_id(
    uno: Stack, graph: Graph, hooks: Receiver, status: str
) -> None:
    to, theirs = {"failed": "5511977770077", "delivered": "5511977770078"}[status], ""

    def report(message_id: str) -> None:
        nonlocal theirs
        theirs = message_id
        why = {"errors": [{"code": 131047, "title": "Re-engagement message"}]} if status == "failed" else {}
        document = callback(**a_status(message_id, status, **why))
        assert call_back(uno, document, path="/webhooks/whatsapp").status_code == 200

    graph.before_answer[to] = report

    message_id = uno.send("early", to=to).json()["messages"][0]["id"]

    eventually(lambda: status in [told["status"] for told in statuses(hooks, message_id)])
    assert theirs
    assert statuses(hooks, theirs) == []


def test_a_batch_is_taken_apart(uno: Stack, hooks: Receiver) -> None:
    document = callback(**a_text("wamid.BATCH1"))
    document["entry"].append(callback(**a_text("wamid.BATCH2"))["entry"][0])

    assert call_back(uno, document, path="/webhooks/whatsapp").status_code == 200

    eventually(lambda: received(hooks, "wamid.BATCH1") and received(hooks, "wamid.BATCH2"))


def test_the_node_versions_sink_takes_everything(uno: Stack) -> None:
    answer = requests.post(f"{uno.url}/webhooks/fake/{PHONE}", json={"any": 1}, timeout=10)

    assert (answer.status_code, answer.json()) == (200, {"success": True})


def test_every_event_of_these_tests_is_in_the_catalogue(uno: Stack, hooks: Receiver) -> None:
    schemas = {entry["name"]: entry["schema"] for entry in uno.get("/docs/events").json()["data"]}
    bodies = [json.loads(request.body) for request in hooks.requests("/main")]

    for body in bodies:
        jsonschema.validate(body, schemas[name_of(body)])
    assert {name_of(body) for body in bodies} >= {
        "status.sent",
        "status.failed",
        "message.text",
        "message.image",
        "echo",
    }


# --- last, because it empties Redis ---


def test_a_worker_killed_in_the_middle_of_a_send_never_sends_twice(
    servers: PrivateServers, graph: Graph, tmp_path: Path
) -> None:
    to = SILENT
    with Receiver() as hooks, stack(servers, tmp_path, UNOAPI_MESSAGE_RETRY_DELAY="300") as uno:
        hooks.record("full")
        uno.web()
        worker = uno.worker()
        webhooks = [{"id": "main", "urlAbsolute": hooks.url("/main")}]
        uno.register(webhooks, provider="forwarder", webhookForward=forward(graph, timeoutMs=20_000))
        before = len(graph.messages_to(to))
        message_id = uno.send("killed", to=to).json()["messages"][0]["id"]
        eventually(lambda: len(graph.messages_to(to)) == before + 1)

        worker.kill()
        client = redis.Redis.from_url(uno.servers.redis_url, decode_responses=True)
        client.set(f"unoapi-send:{PHONE}:{message_id}", json.dumps({"until_ms": 0}))  # as after its lease of a minute
        uno.worker(name="second")

        (status,) = eventually(lambda: statuses(hooks, message_id), within_s=90, every_s=0.5)
        assert status["status"] == "failed"
        assert len(graph.messages_to(to)) == before + 1
