"""The exact requests of Chatwoot, Typebot and n8n, and their rules for reading over every webhook that we can make."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.clients.checkers import violations
from tests.clients.conftest import TOKEN
from tests.clients.received import RECEIVED
from tests.support.stack import CONTACT, PHONE, Stack, eventually
from unoapi.providers.sandbox import MAGIC_NUMBERS

if TYPE_CHECKING:
    from tests.support.receiver import Receiver

BEARER = {"Authorization": f"Bearer {TOKEN}"}
JSON = {**BEARER, "Content-Type": "application/json"}
LINK = "https://chat.example.com/rails/active_storage/blobs/redirect/x/photo.png"
BUTTONS = json.dumps({"buttons": [{"type": "reply", "reply": {"id": "Yes", "title": "Yes"}}]})
ROWS = [{"id": f"Option {number}", "title": f"Option {number}"} for number in range(1, 5)]
LIST = json.dumps({"button": "Choose an item", "sections": [{"rows": ROWS}]})
PARAMETERS = [{"type": "text", "text": "Maria"}]
TEMPLATE = {
    "name": "hello",
    "language": {"policy": "deterministic", "code": "pt_BR"},
    "components": [{"type": "body", "parameters": PARAMETERS}],
}

CHATWOOT: dict[str, dict[str, Any]] = {
    "C2 text": {"context": None, "to": CONTACT, "text": {"body": "hi"}, "type": "text"},
    "C2 reply": {"context": {"message_id": "wamid.X"}, "to": CONTACT, "text": {"body": "hi"}, "type": "text"},
    "C3 image": {"context": None, "to": CONTACT, "type": "image", "image": {"link": LINK, "caption": None}},
    "C3 audio": {"context": None, "to": CONTACT, "type": "audio", "audio": {"link": LINK}},
    "C3 document": {
        "context": None,
        "to": CONTACT,
        "type": "document",
        "document": {"link": LINK, "caption": "see", "filename": "a.pdf"},
    },
    "C4 buttons": {
        "to": CONTACT,
        "type": "interactive",
        "interactive": {"type": "button", "body": {"text": "choose"}, "action": BUTTONS},
    },
    "C4 list": {
        "to": CONTACT,
        "type": "interactive",
        "interactive": {"type": "list", "body": {"text": "choose"}, "action": LIST},
    },
    "C5 template": {"recipient_type": "individual", "to": CONTACT, "type": "template", "template": TEMPLATE},
    "C6 BSUID": {
        "recipient_type": "individual",
        "recipient": "BR.1234567890",
        "type": "text",
        "text": {"body": "hi"},
    },
}
TYPEBOT: dict[str, dict[str, Any]] = {
    "text": {"to": CONTACT, "type": "text", "text": {"body": "hi", "preview_url": False}},
    "image": {"to": CONTACT, "type": "image", "image": {"link": LINK}},
    "video": {"to": CONTACT, "type": "video", "video": {"link": LINK}},
    "location": {"to": CONTACT, "type": "location", "location": {"latitude": -23.5, "longitude": -46.6}},
    "buttons": {
        "to": CONTACT,
        "type": "interactive",
        "interactive": {
            "type": "button",
            "header": {"type": "image", "image": {"link": LINK}},
            "body": {"text": "choose"},
            "action": {"buttons": [{"type": "reply", "reply": {"id": "a", "title": "A"}}]},
        },
    },
}
N8N: dict[str, dict[str, Any]] = {
    "text": {"to": "+55 (49) 98888-7777", "type": "text", "text": {"body": "hi", "preview_url": True}},
    "contacts": {
        "to": CONTACT,
        "type": "contacts",
        "contacts": [{"name": {"formatted_name": "Ana", "first_name": "Ana"}, "phones": [{"phone": "+5511988887777"}]}],
    },
    "template": {
        "to": CONTACT,
        "type": "template",
        "template": {
            "name": "hello",
            "language": {"code": "pt_BR"},
            "components": [{"type": "body", "parameters": PARAMETERS}],
        },
    },
}
SENDS = [
    pytest.param(version, {"messaging_product": "whatsapp", **body}, id=f"{client} {name}")
    for client, version, bodies in (
        ("Chatwoot", "v13.0", CHATWOOT),
        ("Typebot", "v17.0", TYPEBOT),
        ("n8n", "v13.0", N8N),
    )
    for name, body in bodies.items()
]


@pytest.mark.parametrize(("version", "body"), SENDS)
def test_each_message_of_the_clients_is_taken(gateway: Stack, version: str, body: dict[str, Any]) -> None:
    answer = requests.post(f"{gateway.url}/{version}/{PHONE}/messages", json=body, headers=JSON, timeout=10)

    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert "error" not in document
    assert document["messages"][0]["id"]
    contact = document["contacts"][0]
    assert contact["input"]
    assert contact["wa_id"].isdigit() if "to" in body else contact["user_id"] == body["recipient"]


def test_chatwoot_validates_and_reads_templates_with_the_token_in_the_query(gateway: Stack) -> None:
    """C1, C9."""
    address = f"{gateway.url}/v14.0/{PHONE}/message_templates"

    listed = requests.get(address, params={"access_token": TOKEN}, timeout=10)
    refused = requests.get(address, params={"access_token": "wrong"}, timeout=10)

    assert listed.status_code == 200
    assert isinstance(listed.json()["data"], list)
    assert not listed.json().get("paging", {}).get("next")
    for template in listed.json()["data"]:
        assert template.keys() >= {"id", "name", "language", "status", "category", "components", "parameter_format"}
    assert refused.status_code in (401, 403)
    assert refused.json()["error"]["message"]


def test_chatwoot_makes_finds_and_deletes_its_survey_template(gateway: Stack) -> None:
    """C9."""
    address = f"{gateway.url}/v14.0/{PHONE}/message_templates"
    buttons = [{"type": "URL", "text": "Answer", "url": "https://chat.example.com/{{1}}", "example": ["x"]}]
    name = "customer_satisfaction_survey"
    body = {
        "name": name,
        "language": "en",
        "category": "UTILITY",
        "components": [{"type": "BODY", "text": "Please rate us"}, {"type": "BUTTONS", "buttons": buttons}],
    }

    made = requests.post(address, json=body, headers=JSON, timeout=10)
    page = requests.get(address, params={"name": name}, headers=BEARER, timeout=10).json()
    deleted = requests.delete(address, params={"name": name}, headers=BEARER, timeout=10)
    gone = requests.get(address, params={"name": name}, headers=BEARER, timeout=10).json()

    assert made.status_code == 200
    assert made.json()["id"]
    assert [template["name"] for template in page["data"]] == [name]
    assert page["data"][0].keys() >= {"id", "status", "language"}
    assert deleted.status_code == 200
    assert gone["data"] == []


@pytest.mark.parametrize("kind", ["Typebot", "n8n"])
def test_an_upload_without_a_file_name_or_a_type_comes_back(gateway: Stack, kind: str) -> None:
    """Typebot sends "blob"; n8n sends no type. Chatwoot reads the file with Bearer and a JSON content type (C7, C8)."""
    form = {"messaging_product": "whatsapp"} | ({"type": "image/png"} if kind == "Typebot" else {})
    file = ("blob", b"\x89PNG\r\n\x1a\n data", "image/png")

    up = requests.post(
        f"{gateway.url}/v21.0/{PHONE}/media", data=form, files={"file": file}, headers=BEARER, timeout=10
    )
    media = requests.get(
        f"{gateway.url}/v13.0/{up.json()['id']}", params={"phone_number_id": PHONE}, headers=BEARER, timeout=10
    )
    down = requests.get(media.json()["url"], headers=JSON, timeout=10)
    deleted = requests.delete(f"{gateway.url}/v13.0/{up.json()['id']}", headers=BEARER, timeout=10)
    missing = requests.get(f"{gateway.url}/v13.0/{up.json()['id']}", headers=BEARER, timeout=10)

    assert up.status_code == 200
    assert up.json()["id"].isdigit()
    assert media.json().keys() >= {"url", "mime_type", "sha256", "file_size", "id", "messaging_product"}
    assert (down.content, down.headers["Content-Type"]) == (file[1], "image/png")
    assert deleted.json() == {"success": True}
    assert missing.status_code in (400, 404)
    assert missing.json()["error"]["code"] == 100


def test_typebot_sets_itself_up(gateway: Stack) -> None:
    def get(path: str, **query: str) -> Any:
        answer = requests.get(f"{gateway.url}/v17.0/{path}", params=query, headers=BEARER, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()

    token = get("debug_token", input_token=TOKEN)["data"]
    phone = get(PHONE)
    phones = get(f"{PHONE}/phone_numbers", fields="id,display_phone_number", limit="100")
    apps = get(f"{PHONE}/subscribed_apps")
    subscribed = requests.post(f"{gateway.url}/v17.0/{PHONE}/subscribed_apps", headers=BEARER, timeout=10)

    assert set(token["scopes"]) >= {"whatsapp_business_management", "whatsapp_business_messaging"}
    assert (token["expires_at"], token["is_valid"]) == (0, True)
    assert "".join(filter(str.isdigit, phone["display_phone_number"])) == PHONE
    assert PHONE in {item["id"] for item in phones["data"]}
    assert "next" not in phones.get("paging", {})
    assert isinstance(apps["data"], list)
    assert subscribed.status_code == 200


def test_typebot_reads_and_types(gateway: Stack) -> None:
    body = {
        "messaging_product": "whatsapp",
        "status": "read",
        "message_id": "wamid.X",
        "typing_indicator": {"type": "text"},
    }

    answer = requests.post(f"{gateway.url}/v21.0/{PHONE}/messages", json=body, headers=JSON, timeout=10)

    assert (answer.status_code, answer.json()) == (200, {"success": True})


def test_n8n_tests_its_credential_and_lists(gateway: Stack) -> None:
    def get(path: str, token: str = TOKEN) -> Any:
        return requests.get(
            f"{gateway.url}/v13.0/{path}", headers={"Authorization": f"Bearer {token}"}, timeout=10
        ).json()

    assert get("").get("error", {}).get("type") != "OAuthException"
    assert get("", "wrong")["error"]["type"] == "OAuthException"
    assert get(f"{PHONE}/phone_numbers")["data"][0].keys() >= {"id", "display_phone_number", "verified_name"}
    assert all(item.keys() >= {"name", "language"} for item in get(f"{PHONE}/message_templates")["data"])


def test_n8n_reads_a_sentence_in_every_400(gateway: Stack) -> None:
    body = {"messaging_product": "whatsapp", "to": CONTACT, "type": "image", "image": {"id": "99999999999999999999"}}

    answer = requests.post(f"{gateway.url}/v13.0/{PHONE}/messages", json=body, headers=JSON, timeout=10)

    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_every_webhook_that_we_can_make_is_readable_for_all_receivers(gateway: Stack, hooks: Receiver) -> None:
    hooks.clear()
    for message in RECEIVED.values():
        answer = gateway.post(f"/sandbox/{PHONE}/messages", {"from": CONTACT, "profile": {"name": "Maria"}, **message})
        assert answer.status_code == 200, answer.text
    nameless = gateway.post(f"/sandbox/{PHONE}/messages", {"from": CONTACT, "type": "text", "text": {"body": "x"}})
    assert nameless.status_code == 200
    gateway.send("delivered and read")
    failing = [number for number, magic in MAGIC_NUMBERS.items() if number not in ("15550000005", "15550000006")]
    for number in failing:
        gateway.send("special", to=number)

    wanted = {message["type"] for message in RECEIVED.values()} | {"sent", "delivered", "read", "failed"}
    eventually(lambda: wanted <= kinds(events_at(hooks)), within_s=30, what="webhooks of every kind")

    problems = {json.dumps(event)[:500]: broken for event in events_at(hooks) if (broken := violations(event))}
    assert problems == {}


def events_at(hooks: Receiver) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in hooks.requests("/main")]


def kinds(events: list[dict[str, Any]]) -> set[str]:
    """Types of the messages and statuses in the events."""
    values = [event["entry"][0]["changes"][0]["value"] for event in events]
    items = [item for value in values for key in ("messages", "statuses") for item in value.get(key, [])]
    return {item.get("type") or item["status"] for item in items}


def test_the_checkers_see_what_is_wrong() -> None:
    """A checker that passes everything would prove nothing."""
    value: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": f"+{PHONE}", "phone_number_id": ""},
        "messages": [{"type": "image", "image": {"id": "1"}, "timestamp": 1, "from": 5}],
        "statuses": [{"status": "pending", "timestamp": "1", "errors": [{"code": "1"}], "conversation": {"id": "x"}}],
    }
    event = {
        "object": "whatsapp_business_account",
        "entry": [{"id": "", "changes": [{"field": "messages", "value": value}]}],
    }

    assert len(violations(event)) >= 15
