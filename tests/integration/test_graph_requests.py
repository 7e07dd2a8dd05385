"""The Graph API as clients call it: each request in the form, and with the liberties, that real libraries have.

The numbers C1 to C20 are those of the findings about real clients; the requests are theirs.
"""

from __future__ import annotations

import errno
import json
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from threading import Barrier
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlencode

import pytest

from tests.support.api import URL, Answer, Api
from tests.support.api import api as serve_api
from tests.support.stack import CONTACT, OPERATOR, PHONE, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.devenv.servers import PrivateServers

TOKEN = f"session-token-{PHONE}"
V = f"/v21.0/{PHONE}"
MESSAGES = f"{V}/messages"
HELLO = {"messaging_product": "whatsapp", "to": CONTACT, "type": "text", "text": {"body": "hi"}}
CARD = [{"name": {"formatted_name": "A"}}]
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def running(servers: PrivateServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve_api(servers, tmp_path_factory.mktemp("graph"), UNOAPI_ALLOWED_HOSTS="127.0.0.0/8") as running:
        yield running


@pytest.fixture
def api(running: Api) -> Api:
    """One sandbox session; nothing is queued or configured otherwise."""
    for key in running.redis.scan_iter("unoapi-*"):
        if key.startswith(("unoapi-config:", "unoapi-template:", "unoapi-blacklist:")):
            running.redis.delete(key)
    running.register([{"id": "crm", "urlAbsolute": "http://127.0.0.1:1/a"}])
    running.queues.jobs("unoapi.incoming", "unoapi.outgoing")
    return running


def sent(api: Api) -> list[dict[str, Any]]:
    """The messages that were queued since, as they go on."""
    return [json.loads(job.body) for job in api.queues.jobs("unoapi.incoming")]


def stored(api: Api) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(api.redis.get(f"unoapi-config:{PHONE}"))
    return config


def ask(api: Api, method: str, path: str, *, token: str | None = TOKEN, **options: Any) -> Answer:
    return api.request(method, path, token=token, **options)


def document(answer: Answer) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(answer: Answer, status: int, code: int) -> str:
    """Fail unless the request was refused so; what the answer says."""
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    return str(answer.json()["error"]["error_data"]["details"])


# --- who gets the message ---


@pytest.mark.parametrize(
    ("addresses", "to"),
    [
        pytest.param({"to": CONTACT, "recipient": CONTACT}, CONTACT, id="the events' user_id beside to"),
        pytest.param({"recipient": CONTACT}, CONTACT, id="digits alone"),
        pytest.param({"recipient": int(CONTACT)}, CONTACT, id="a number"),
        pytest.param({"to": CONTACT, "recipient": "BR.1234567890"}, CONTACT, id="a user id beside to"),
        pytest.param({"to": CONTACT, "recipient": "what@is this"}, CONTACT, id="anything beside to"),
        pytest.param({"to": CONTACT, "recipient": {"user": 1}}, CONTACT, id="an object beside to"),
        pytest.param({"to": CONTACT, "recipient": ""}, CONTACT, id="empty beside to"),
        pytest.param({"to": "", "recipient": CONTACT}, CONTACT, id="digits beside an empty to"),
        pytest.param({"to": None, "recipient": "120363040468224422@g.us"}, "120363040468224422@g.us", id="a group"),
    ],
)
def test_c1_the_user_id_of_our_events_is_taken_as_the_recipient(api: Api, addresses: dict[str, Any], to: str) -> None:
    body = {**HELLO, "recipient_type": "individual", **addresses}

    answer = document(ask(api, "POST", MESSAGES, json=body if "to" in addresses else _without(body, "to")))

    assert answer["contacts"] == [{"input": str(addresses.get("to") or addresses["recipient"]), "wa_id": to}]
    (message,) = sent(api)
    assert message["to"] == to
    assert message.get("recipient") in (None, "BR.1234567890")


def test_c1_a_user_id_alone_stays_the_recipient(api: Api) -> None:
    answer = document(ask(api, "POST", MESSAGES, json={**_without(HELLO, "to"), "to": "", "recipient": "BR.12"}))

    assert answer["contacts"] == [{"input": "BR.12", "user_id": "BR.12"}]
    assert [(message.get("to"), message["recipient"]) for message in sent(api)] == [(None, "BR.12")]


@pytest.mark.parametrize("recipient", ["", None, "nobody", {"user": 1}, True, -5])
def test_c1_what_is_no_address_is_still_refused(api: Api, recipient: Any) -> None:
    answer = ask(api, "POST", MESSAGES, json={**_without(HELLO, "to"), "recipient": recipient})

    assert answer.json()["error"]["code"] in (131008, 131009)
    assert not sent(api)


def _without(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != name}


# --- one reader for all bodies ---


WAYS: dict[str, dict[str, Any]] = {
    "JSON": {"json": HELLO},
    "JSON without a header": {"data": json.dumps(HELLO)},
    "JSON with the header of a form": {"data": json.dumps(HELLO), "content_type": FORM},
    "JSON as plain text": {"data": json.dumps(HELLO), "content_type": "text/plain"},
    "JSON after a mark and spaces": {"data": b"\xef\xbb\xbf  " + json.dumps(HELLO).encode(), "content_type": FORM},
    "JSON with its object as text": {"json": {**HELLO, "text": json.dumps(HELLO["text"])}},
    "form with objects as text": {"data": {**HELLO, "text": json.dumps(HELLO["text"])}},
    "form with brackets": {"data": {**_without(HELLO, "text"), "text[body]": "hi"}},
    "multipart": {"data": {**HELLO, "text": json.dumps(HELLO["text"])}, "content_type": "multipart/form-data"},
    "query": {"params": {**HELLO, "text": json.dumps(HELLO["text"])}},
    "query and body": {"params": {"messaging_product": "whatsapp", "to": CONTACT}, "json": {"text": {"body": "hi"}}},
}


@pytest.mark.parametrize("way", WAYS)
def test_c10_a_message_is_taken_however_it_is_written(api: Api, way: str) -> None:
    document(ask(api, "POST", MESSAGES, **WAYS[way]))

    (message,) = sent(api)
    assert {key: message.get(key) for key in HELLO} == HELLO


OLD = urlencode({**HELLO, "text": '{"body": "Olá, é “só” isto: 5 €"}'}, encoding="cp1252")
OLD_WAYS: dict[str, dict[str, Any]] = {
    "JSON": {
        "data": json.dumps({**HELLO, "text": {"body": "Olá, é “só” isto: 5 €"}}, ensure_ascii=False).encode("cp1252"),
        "content_type": "application/json; charset=ISO-8859-1",
    },
    "form": {"data": OLD, "content_type": FORM},
    "form with its charset": {"data": OLD, "content_type": f"{FORM}; charset=windows-1252"},
    "form as it is typed": {"data": unquote_to_bytes(OLD.replace("+", " ")), "content_type": FORM},
    "query": {"params": OLD},
}


@pytest.mark.parametrize("way", OLD_WAYS)
def test_texts_of_programs_that_know_no_utf_8_are_read_as_they_were_meant(api: Api, way: str) -> None:
    document(ask(api, "POST", MESSAGES, **OLD_WAYS[way]))

    (message,) = sent(api)
    assert message["text"]["body"] == "Olá, é “só” isto: 5 €"


def test_a_letter_that_a_program_cut_in_two_leaves_the_rest_as_it_is(api: Api) -> None:
    cut = urlencode({**HELLO, "text": '{"body": "Olá, é “só” isto…"}'}).replace("%A6", "", 1)

    document(ask(api, "POST", MESSAGES, data=cut, content_type=FORM))

    (message,) = sent(api)
    assert message["text"]["body"].startswith("Olá, é “só” isto")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"Jo\xc3\xe2\x80\xa6 fim", "JoÃ… fim"),
        (b"oi \xf0\x9f\x98\xf0\x9f\x98\x80\xc3\xa9", "oi \u00f0\u0178\u02dc\U0001f600é"),
        (b"N\xc3O \xe9 S\xe3\xf5 \xe1\xe9\xe3\xf5", "NÃO é Sãõ áéãõ"),
    ],
)
def test_a_letter_beside_one_that_was_cut_is_the_same_letter(api: Api, written: bytes, read: str) -> None:
    data = urlencode({**HELLO, "text": b'{"body": "' + written + b'"}'})

    document(ask(api, "POST", MESSAGES, data=data, content_type=FORM))

    (message,) = sent(api)
    assert message["text"]["body"] == read


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "contacts", "contacts": CARD},
        {"type": "interactive", "interactive": {
            "type": "button", "body": {"text": "x"}, "action": json.dumps(
                {"buttons": [{"type": "reply", "reply": {"id": "a", "title": "A"}}]})}},
        {"type": "template", "template": {"name": "hello", "language": {"code": "pt_BR"}, "components": [
            {"type": "body", "parameters": [{"type": "text", "text": "x"}]}]}},
        {"type": "text", "text": {"body": '{"a": 1}'}, "context": {"message_id": "wamid.X"}},
    ],
    ids=lambda fields: fields["type"],
)  # fmt: skip
def test_c10_every_object_may_be_json_text(api: Api, fields: dict[str, Any]) -> None:
    written = {name: json.dumps(value) if isinstance(value, (dict, list)) else value for name, value in fields.items()}

    document(ask(api, "POST", MESSAGES, json={"messaging_product": "whatsapp", "to": CONTACT, **written}))

    (message,) = sent(api)
    if fields["type"] == "interactive":
        assert message["interactive"]["action"]["buttons"][0]["reply"] == {"id": "a", "title": "A"}
    else:
        assert {name: message[name] for name in fields} == fields


@pytest.mark.parametrize("mark", ['{"order": 1}', "[1]", "{", ""])
def test_c10_a_text_that_looks_like_json_stays_a_text(api: Api, mark: str) -> None:
    document(ask(api, "POST", MESSAGES, json={**HELLO, "biz_opaque_callback_data": mark}))

    assert [message["biz_opaque_callback_data"] for message in sent(api)] == [mark]


@pytest.mark.parametrize(
    "options",
    [
        {"data": "{", "content_type": FORM},
        {"data": "[1, 2]", "content_type": FORM},
        {"data": "hello", "content_type": FORM},
        {"data": "hello=1", "content_type": "text/plain"},
        {"json": {**HELLO, "text": '{"body": '}},
        {"json": {**HELLO, "text": '["body"]'}},
        {"json": {**HELLO, "text": "[" * 90 + "]" * 90}},
        {"json": {**HELLO, "text": "[" * 5000 + "]" * 5000}},
        {"json": {**HELLO, "text": '{"body": "a\\u0000b"}'}},
        {"json": {**HELLO, "text": '{"body": "\\ud83d"}'}},
        {"data": {**HELLO, "text": '{"body": "\\ud83d"}'}},
        {"data": {"text": "x", "text[body]": "y"}},
        {"params": {"text": "{"}},
    ],
    ids=lambda options: str(options)[:40],
)
def test_c10_what_cannot_be_read_is_refused(api: Api, options: dict[str, Any]) -> None:
    answer = ask(api, "POST", MESSAGES, **options)

    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] in (100, 131008, 131009)
    assert not sent(api)


@pytest.mark.parametrize(
    ("way", "options"),
    [
        ("form", {"data": {"text[body]": "x", "to": CONTACT, "access_token": TOKEN}}),
        ("multipart", {"data": {"text[body]": "x", "to": CONTACT, "access_token": TOKEN},
                       "content_type": "multipart/form-data"}),
        ("query", {"data": {"text[body]": "x", "to": CONTACT}, "params": {"access_token": TOKEN}}),
        ("OAuth", {"data": {"text[body]": "x", "to": CONTACT}, "headers": {"Authorization": f"OAuth {TOKEN}"}}),
    ],
)  # fmt: skip
def test_c10_c6_a_token_is_taken_wherever_graph_takes_it_and_goes_nowhere(
    api: Api, way: str, options: dict[str, Any]
) -> None:
    document(ask(api, "POST", MESSAGES, token=None, **options))

    (message,) = sent(api)
    assert TOKEN not in json.dumps(message), way


def test_c10_a_token_beside_a_better_one_goes_nowhere_either(api: Api) -> None:
    tokens = {"access_token": TOKEN, "authToken": TOKEN, "auth_token": TOKEN, "appsecret_proof": TOKEN}

    document(ask(api, "POST", MESSAGES, json={**HELLO, **tokens}))

    assert TOKEN not in json.dumps(sent(api))


@pytest.mark.parametrize(
    "options",
    [
        {"data": {"access_token": "wrong", "to": CONTACT}},
        {"json": {**HELLO, "access_token": TOKEN}},
        {"data": {"access_token": TOKEN, "padding": "x" * 20_000}},
    ],
    ids=["wrong", "no form", "large"],
)
def test_c10_a_body_opens_nothing_that_it_should_not(api: Api, options: dict[str, Any]) -> None:
    assert ask(api, "POST", MESSAGES, token=None, **options).status_code == 401


@pytest.mark.parametrize("content_type", [FORM, None, "application/json", "text/plain"])
def test_c3_a_configuration_without_the_header_of_json_configures_and_shows_no_secret(
    api: Api, content_type: str | None
) -> None:
    body = {"label": "Shop", "webhooks": [{"id": "crm", "token": "SECRET2"}]}

    answer = ask(api, "POST", f"{V}/register", data=json.dumps(body), content_type=content_type)

    assert document(answer)["success"] is True
    assert stored(api)["label"] == "Shop"
    assert stored(api)["webhooks"][0]["token"] == "SECRET2"
    assert "SECRET2" not in answer.text + ask(api, "GET", "/sessions").text + ask(api, "GET", V).text
    assert not [name for name in stored(api) if "{" in name]


def test_c3_a_profile_and_an_override_without_the_header_are_not_dropped(api: Api) -> None:
    override = {"override_callback_uri": "http://127.0.0.1:1/new", "verify_token": "x"}

    document(ask(api, "POST", f"{V}/whatsapp_business_profile", data='{"about": "We sell."}', content_type=FORM))
    document(ask(api, "POST", f"{V}/subscribed_apps", data=json.dumps(override), content_type=FORM))

    assert stored(api)["businessProfile"]["about"] == "We sell."
    assert stored(api)["webhooks"][0]["urlAbsolute"] == "http://127.0.0.1:1/new"


@pytest.mark.parametrize(
    "options",
    [
        {"data": {"websites[]": "https://x.y", "about": "x"}},
        {"data": {"websites": '["https://x.y"]', "about": "x"}},
        {"data": {"websites[0]": "https://x.y", "about": "x"}, "content_type": "multipart/form-data"},
        {"json": {"websites": ["https://x.y"], "about": "x"}},
        {"params": {"websites": '["https://x.y"]', "about": "x"}},
    ],
    ids=["brackets", "text", "multipart", "JSON", "query"],
)
def test_c10_a_profile_is_taken_however_it_is_written(api: Api, options: dict[str, Any]) -> None:
    document(ask(api, "POST", f"{V}/whatsapp_business_profile", **options))

    assert stored(api)["businessProfile"] == {"about": "x", "websites": ["https://x.y"]}


@pytest.mark.parametrize("content_type", [FORM, "multipart/form-data"])
def test_c10_a_template_is_taken_as_a_form(api: Api, content_type: str) -> None:
    form = {"name": "csat", "language": "en", "category": "UTILITY", "components": '[{"type": "BODY", "text": "x"}]'}

    made = document(ask(api, "POST", f"{V}/message_templates", data=form, content_type=content_type))

    listed = document(ask(api, "GET", f"{V}/message_templates", params={"name": "csat"}))["data"]
    assert [(one["id"], one["components"]) for one in listed] == [(made["id"], [{"type": "BODY", "text": "x"}])]


def test_c10_a_flag_of_a_form_is_a_flag_and_a_label_a_text(api: Api) -> None:
    form = {"label": "true", "ignoreGroupMessages": "false", "webhooks[0][id]": "crm", "webhooks[0][ordered]": "true"}

    document(ask(api, "POST", f"{V}/register", data=form))

    assert (stored(api)["label"], stored(api)["ignoreGroupMessages"]) == ("true", False)
    assert stored(api)["webhooks"][0]["ordered"] is True


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "text", "text": {"body": 42}},
        {"type": "location", "location": {"latitude": 1, "longitude": "2", "name": 3}},
        {"type": "document", "document": {"link": "https://x.y/a.pdf", "filename": 2026}},
        {"type": "interactive", "interactive": {"type": "list", "body": {"text": 1}, "action": {
            "button": "b", "sections": [{"title": 1, "rows": [{"id": 1, "title": 2, "description": 3}]}]}}},
        {"type": "interactive", "interactive": {"type": "button", "body": {"text": "x"}, "action": {
            "buttons": [{"type": "reply", "reply": {"id": 1, "title": 2}}]}}},
    ],
    ids=["text", "location", "document", "list", "buttons"],
)  # fmt: skip
def test_c19_a_number_is_taken_where_a_text_is_expected(api: Api, fields: dict[str, Any]) -> None:
    document(ask(api, "POST", MESSAGES, json={"messaging_product": "whatsapp", "to": CONTACT, **fields}))

    assert len(sent(api)) == 1


def test_a_message_of_more_than_256_kib_is_refused_before_it_is_parsed(api: Api) -> None:
    large = f'{{"messaging_product": "whatsapp", "x": "{"x" * (256 * 1024)}"'  # no JSON

    answer = ask(api, "POST", MESSAGES, data=large, content_type="application/json")

    assert "262144 bytes" in refused(answer, 413, 100)


def test_the_next_page_has_our_address(api: Api) -> None:
    listed = document(ask(api, "GET", f"{V}/message_templates", params={"limit": 1}))

    assert listed["paging"]["next"].startswith(URL)


# --- webhooks, Meta's way ---


def webhooks(api: Api) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in webhook.items() if name in ("id", "urlAbsolute", "url", "token", "secret")}
        for webhook in stored(api).get("webhooks", [])
    ]


TWO = [
    {"id": "crm", "urlAbsolute": "http://127.0.0.1:1/a", "token": "t", "secret": "s"},
    {"id": "n8n", "urlAbsolute": "http://127.0.0.1:1/b"},
]


def test_c2_unsubscribing_without_an_override_removes_nothing(api: Api) -> None:
    api.register(TWO)

    for _ in range(2):
        document(ask(api, "DELETE", f"{V}/subscribed_apps"))

    assert webhooks(api) == TWO


@pytest.mark.parametrize("way", ["DELETE", "POST without a body", "POST of an empty address", "phone"])
def test_c2_what_an_override_replaced_comes_back_with_its_token_and_secret(api: Api, way: str) -> None:
    api.register(TWO)
    for address in ("http://127.0.0.1:1/new", "http://127.0.0.1:1/newer"):
        override = {"override_callback_uri": address, "verify_token": "x"}
        document(ask(api, "POST", f"{V}/subscribed_apps", json=override))
        assert webhooks(api) == [{**TWO[0], "urlAbsolute": address}, TWO[1]]

    if way == "DELETE":
        document(ask(api, "DELETE", f"{V}/subscribed_apps"))
    elif way == "phone":
        document(ask(api, "POST", V, json={"webhook_configuration": {"override_callback_uri": ""}}))
    else:
        document(ask(api, "POST", f"{V}/subscribed_apps", json={"override_callback_uri": ""} if "of" in way else None))

    assert webhooks(api) == TWO
    assert "replacedUrlAbsolute" not in json.dumps(stored(api))


def test_c2_a_webhook_with_a_relative_address_gets_it_back(api: Api) -> None:
    api.register([{"id": "relative", "url": "http://127.0.0.1:1/a"}])
    document(ask(api, "POST", f"{V}/subscribed_apps", json={"override_callback_uri": "http://127.0.0.1:1/new"}))

    document(ask(api, "DELETE", f"{V}/subscribed_apps"))

    assert webhooks(api) == [{"id": "relative", "url": "http://127.0.0.1:1/a"}]


def test_c2_an_override_of_the_environments_webhook_leaves_nothing_behind(api: Api) -> None:
    api.redis.set(f"unoapi-config:{PHONE}", json.dumps({"provider": "sandbox", "authToken": TOKEN}))
    document(ask(api, "POST", f"{V}/subscribed_apps", json={"override_callback_uri": "http://127.0.0.1:1/new"}))
    assert [webhook["urlAbsolute"] for webhook in webhooks(api)] == ["http://127.0.0.1:1/new"]

    document(ask(api, "DELETE", f"{V}/subscribed_apps"))

    assert webhooks(api) == []


def test_c2_an_address_that_is_registered_after_an_override_stays(api: Api) -> None:
    api.register(TWO)
    document(ask(api, "POST", f"{V}/subscribed_apps", json={"override_callback_uri": "http://127.0.0.1:1/new"}))
    mine = [{"id": "crm", "urlAbsolute": "http://127.0.0.1:1/mine"}]
    document(ask(api, "POST", f"{V}/register", json={"webhooks": mine}))

    document(ask(api, "DELETE", f"{V}/subscribed_apps"))

    assert webhooks(api)[0]["urlAbsolute"] == "http://127.0.0.1:1/mine"


@pytest.mark.parametrize("body", [{"pin": "123456"}, {"new_display_name": "Shop"}, {"search_visibility": "VISIBLE"}])
def test_c13_what_meta_keeps_of_a_number_is_taken(api: Api, body: dict[str, Any]) -> None:
    before = stored(api)

    assert document(ask(api, "POST", V, json={"messaging_product": "whatsapp", **body}))["success"] is True

    assert stored(api) == before


# --- ids ---


@pytest.mark.parametrize("node", ["123456789012345", "5511900000000", "no-such-node", "9" * 20])
@pytest.mark.parametrize(("method", "edge"), [("GET", ""), ("POST", ""), ("GET", "/message_templates"), ("POST", "/x")])
def test_c4_an_id_that_nobody_has_is_not_the_tokens_fault(api: Api, node: str, method: str, edge: str) -> None:
    refused(ask(api, method, f"/v21.0/{node}{edge}", json=None if method == "GET" else {}), 404, 100)
    if edge != "/x":
        refused(ask(api, method, f"/v21.0/{node}{edge}", token="wrong", json=None if method == "GET" else {}), 401, 190)


def test_webhooks_that_are_registered_at_once_are_all_kept(api: Api) -> None:
    def register(number: int) -> int:
        webhook = {"id": f"flow-{number}", "urlAbsolute": f"http://127.0.0.1:1/{number}"}
        return ask(api, "POST", f"{V}/register", json={"webhooks": [webhook]}).status_code

    with ThreadPoolExecutor(8) as others:
        assert set(others.map(register, range(16))) == {200}

    assert {f"flow-{number}" for number in range(16)} <= {webhook["id"] for webhook in webhooks(api)}


def make_template(api: Api, name: str = "csat") -> str:
    body = {"name": name, "language": "en", "category": "UTILITY", "components": [{"type": "BODY", "text": "x"}]}
    return str(document(ask(api, "POST", f"{V}/message_templates", json=body))["id"])


@pytest.mark.parametrize("path", ["/v21.0/{id}", f"{V}/message_templates/{{id}}", f"{V}/message_templates/csat"])
def test_c5_a_template_is_read_by_its_id(api: Api, path: str) -> None:
    template_id = make_template(api)

    shown = document(ask(api, "GET", path.format(id=template_id)))
    chosen = document(ask(api, "GET", path.format(id=template_id), params={"fields": "name,status"}))

    assert (shown["id"], shown["name"], shown["components"][0]["text"]) == (template_id, "csat", "x")
    assert shown["parameter_format"] == "POSITIONAL"
    assert chosen == {"id": template_id, "name": "csat", "status": "APPROVED"}


def test_c5_a_template_is_changed_by_its_id(api: Api) -> None:
    template_id = make_template(api)
    change = {"components": [{"type": "BODY", "text": "y"}], "name": "ignored", "category": "MARKETING"}

    assert document(ask(api, "POST", f"/v21.0/{template_id}", json=change))["success"] is True

    shown = document(ask(api, "GET", f"/v21.0/{template_id}"))
    assert (shown["name"], shown["category"], shown["components"][0]["text"]) == ("csat", "MARKETING", "y")
    assert ask(api, "POST", f"/v21.0/{template_id}", json={"components": "x"}).status_code == 400


def test_c5_a_template_is_its_numbers_alone(api: Api) -> None:
    api.register([], phone="5521977776666")
    template_id = make_template(api)
    opens = {"token": "session-token-5521977776666"}
    eventually(lambda: ask(api, "GET", "/v21.0/", **opens).status_code == 200, within_s=3)

    for method in ("GET", "POST"):
        answer = ask(api, method, f"/v21.0/{template_id}", token="session-token-5521977776666")
        assert answer.status_code == 404
        assert ask(api, method, f"/v21.0/{template_id}", token=None).status_code == 401


def test_c8_a_first_template_leaves_the_others(api: Api) -> None:
    def names() -> set[str]:
        return {one["name"] for one in document(ask(api, "GET", f"{V}/message_templates"))["data"]}

    before = names()
    make_template(api)
    assert names() == before | {"csat"}
    document(ask(api, "DELETE", f"{V}/message_templates", params={"name": "csat"}))
    assert names() == before
    document(ask(api, "DELETE", f"{V}/message_templates", json={"name": "hello"}))
    assert names() == before - {"hello"}


def test_field_report_67_templates_that_are_saved_at_once_are_all_kept(api: Api) -> None:
    with ThreadPoolExecutor(8) as others:
        made = set(others.map(lambda number: make_template(api, f"campaign_{number}"), range(24)))
        assert made <= {one["id"] for one in document(ask(api, "GET", f"{V}/message_templates"))["data"]}
        gone = list(made)[::2]
        deleted = others.map(
            lambda one: ask(api, "DELETE", f"{V}/message_templates", params={"hsm_id": one}).status_code, gone
        )
        assert set(deleted) == {200}

    left = {one["id"] for one in document(ask(api, "GET", f"{V}/message_templates"))["data"]}
    assert left & made == made - set(gone)


def test_field_report_67_two_changes_of_one_template_at_once_are_both_kept(api: Api) -> None:
    template_id, at_once = make_template(api), Barrier(2)

    def change(**fields: Any) -> None:
        at_once.wait(timeout=10)
        document(ask(api, "POST", f"/v21.0/{template_id}", json=fields))

    with ThreadPoolExecutor(2) as others:
        for number in range(20):
            category, words = ("UTILITY", "MARKETING")[number % 2], f"words {number}"
            first = others.submit(change, category=category)
            second = others.submit(change, components=[{"type": "BODY", "text": words}])
            first.result(), second.result()

            shown = document(ask(api, "GET", f"/v21.0/{template_id}"))
            assert (shown["category"], shown["components"][0]["text"]) == (category, words)


@pytest.mark.parametrize("empty", [None, []])
def test_field_report_67_a_change_takes_nothing_that_it_leaves_empty(api: Api, empty: object) -> None:
    template_id = make_template(api)
    change = {"category": "MARKETING", "components": empty, "parameter_format": ""}

    document(ask(api, "POST", f"/v21.0/{template_id}", json=change))

    shown = document(ask(api, "GET", f"/v21.0/{template_id}"))
    assert (shown["category"], shown["components"][0]["text"]) == ("MARKETING", "x")


@pytest.mark.parametrize(("words", "form"), [("Oi {{nome}}", "NAMED"), ("Oi {{1}}", "POSITIONAL")])
def test_field_report_67_the_form_of_the_placeholders_is_that_of_the_new_words(api: Api, words: str, form: str) -> None:
    template_id = make_template(api)
    for text in ("Oi {{1}}", "Oi {{outro}}", words):
        change = {"components": [{"type": "BODY", "text": text}]}
        document(ask(api, "POST", f"/v21.0/{template_id}", json=change))

    assert document(ask(api, "GET", f"/v21.0/{template_id}"))["parameter_format"] == form


@pytest.mark.parametrize("ids", ["{0}", "[{0}]", '["{0}", "{1}"]', "{0},{1}"])
@pytest.mark.parametrize("way", ["params", "json"])
def test_field_report_68_templates_are_deleted_by_their_ids(api: Api, ids: str, way: str) -> None:
    made = [make_template(api, name) for name in ("csat", "csat_2")]
    asked: dict[str, Any] = {way: {"hsm_ids": ids.format(*made)}}
    gone: dict[str, Any] = {way: {"hsm_id": made[0]}}

    assert document(ask(api, "DELETE", f"{V}/message_templates", **asked))["success"] is True

    left = {one["id"] for one in document(ask(api, "GET", f"{V}/message_templates"))["data"]}
    assert left & set(made) == {one for one in made if one not in asked[way]["hsm_ids"]}
    assert ask(api, "DELETE", f"{V}/message_templates", **gone).status_code == 404


@pytest.mark.parametrize("asked", [{"language": "en-US"}, {"language": "en_us"}, {"language": '["EN-us", "pt_BR"]'}])
def test_field_report_68_a_language_is_found_in_each_of_its_spellings(api: Api, asked: dict[str, str]) -> None:
    body = {"name": "greeting", "language": "en_US", "components": [{"type": "BODY", "text": "x"}]}
    document(ask(api, "POST", f"{V}/message_templates", json=body))

    listed = document(ask(api, "GET", f"{V}/message_templates", params={"name": "greeting", **asked}))

    assert [one["language"] for one in listed["data"]] == ["en_US"]


@pytest.mark.parametrize(
    "search", [{"content": "CHEGOU"}, {"name_or_content": "pedido_n"}, {"name_or_content": "chegou"}]
)
def test_field_report_68_templates_are_found_by_their_words(api: Api, search: dict[str, str]) -> None:
    body = {"name": "pedido_novo", "components": [{"type": "BODY", "text": "Seu pedido chegou"}]}
    document(ask(api, "POST", f"{V}/message_templates", json=body))

    listed = document(ask(api, "GET", f"{V}/message_templates", params=search))

    assert [one["name"] for one in listed["data"]] == ["pedido_novo"]


@pytest.mark.parametrize("limit", ["", "1000", "5000"])
def test_field_report_68_a_page_may_be_asked_for_without_a_number_or_with_a_large_one(api: Api, limit: str) -> None:
    listed = document(ask(api, "GET", f"{V}/message_templates", params={"limit": limit, "after": ""}))

    assert listed["data"]
    assert ask(api, "GET", f"{V}/message_templates", params={"limit": "0"}).status_code == 400


@pytest.mark.parametrize(
    "status", ["APPROVED", "approved", '["APPROVED"]', '["PENDING", "APPROVED"]', "PENDING,APPROVED"]
)
def test_c8_templates_are_listed_by_one_value_or_several(api: Api, status: str) -> None:
    listed = document(ask(api, "GET", f"{V}/message_templates", params={"status": status}))

    assert [one["name"] for one in listed["data"]][:1] == ["hello"]
    assert document(ask(api, "GET", f"{V}/message_templates", params={"status": '["REJECTED"]'}))["data"] == []


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("POST", f"/{PHONE}/messages", {"json": HELLO}),
        ("GET", f"/{PHONE}", {}),
        ("GET", f"/{PHONE}/", {}),
        ("GET", f"/{PHONE}/message_templates", {}),
        ("POST", f"/{PHONE}/block_users", {"json": {"block_users": [{"user": CONTACT}]}}),
        ("DELETE", f"/{PHONE}/block_users", {"json": {"block_users": [{"user": CONTACT}]}}),
        ("POST", f"/{PHONE}/blacklist/crm", {"json": {"to": CONTACT, "ttl": 5}}),
        ("GET", "/me", {}),
        ("GET", "/v21.0/me", {}),
        ("GET", "/me/whatsapp_business_accounts", {}),
        ("GET", "/debug_token", {}),
    ],
)
def test_c11_a_path_without_a_version_is_served(api: Api, method: str, path: str, options: dict[str, Any]) -> None:
    document(ask(api, method, path, **options))

    assert ask(api, method, path, token=None, **options).status_code == 401


@pytest.mark.parametrize(
    "path", ["/v21.0//{P}/messages", "/v21.0/{P}//messages", "/{P}//messages", "/v21.0/{P}/messages//"]
)
def test_a_slash_too_many_is_none(api: Api, path: str) -> None:
    document(ask(api, "POST", path.format(P=PHONE), json=HELLO))


@pytest.mark.parametrize(("said", "scheme"), [("https", "https"), ("https, http", "https"), ("http", "http")])
def test_the_next_page_has_the_scheme_by_which_the_client_came(api: Api, said: str, scheme: str) -> None:
    headers = {"X-Forwarded-Proto": said}

    listed = document(ask(api, "GET", f"{V}/message_templates", params={"limit": 1}, headers=headers))

    assert listed["paging"]["next"].startswith(f"{scheme}://")


@pytest.mark.parametrize("path", ["/messages", "/nothing", "/5511999990000/nothing", "/me/nothing", "/55119999900001x"])
def test_c11_what_is_no_path_stays_none(api: Api, path: str) -> None:
    assert ask(api, "GET", path).status_code == 404


def test_c12_an_account_is_shown_as_the_account(api: Api) -> None:
    account = document(ask(api, "GET", V))["business_account_id"]
    fields = "id,name,owner_business_info,message_template_namespace,currency,timezone_id"

    shown = document(ask(api, "GET", f"/v24.0/{account}", params={"fields": fields}))
    whole = document(ask(api, "GET", f"/v24.0/{account}"))

    assert (shown["id"], shown["name"]) == (account, PHONE)
    assert set(shown) == set(fields.split(","))
    assert (whole["id"], whole["name"], whole["display_phone_number"]) == (account, PHONE, PHONE)
    health = "whatsapp_business_manager_messaging_limit,is_official_business_account,quality_rating"
    assert set(document(ask(api, "GET", V, params={"fields": health}))) == {"id", *health.split(",")}


def test_c14_sessions_are_listed_as_the_front_ends_know_them(api: Api) -> None:
    (listed,) = document(ask(api, "GET", "/sessions"))["data"]

    assert (listed["id"], listed["phone"], listed["display_phone_number"]) == (PHONE, PHONE, PHONE)


def interactive(kind: str) -> dict[str, Any]:
    part = {"type": kind, "body": {"text": "Where are you?"}, "action": {"name": kind}}
    return {"messaging_product": "whatsapp", "to": CONTACT, "type": "interactive", "interactive": part}


@pytest.mark.parametrize("provider", ["sandbox", "whatsmeow"])
@pytest.mark.parametrize("kind", ["carousel", "flow", "product", "product_list", "catalog_message", "address_message"])
def test_c16_what_no_phone_can_send_is_refused_at_the_door(api: Api, provider: str, kind: str) -> None:
    api.register([], provider=provider)

    assert kind in refused(ask(api, "POST", MESSAGES, json=interactive(kind)), 400, 131051)
    assert not sent(api)


@pytest.mark.parametrize("provider", ["sandbox", "whatsmeow"])
def test_c16_the_sandbox_takes_what_a_phone_takes(api: Api, provider: str) -> None:
    api.register([], provider=provider)
    template = {"messaging_product": "whatsapp", "to": CONTACT, "type": "template"}
    language = {"language": {"code": "pt_BR"}}

    document(ask(api, "POST", MESSAGES, json=interactive("location_request_message")))
    refused(ask(api, "POST", MESSAGES, json={**template, "template": {"name": "nope", **language}}), 404, 132001)

    assert len(sent(api)) == 1


# --- resumable uploads ---

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(64)


def begin_upload(api: Api, *, token: str | None = TOKEN, app: str = "1234567", **headers: str) -> Answer:
    query = {"file_length": f"{len(PNG)}", "file_type": "image/png", "file_name": "a.png"}
    return ask(api, "POST", f"/v17.0/{app}/uploads", token=token, params=query, headers=headers)


def handle(api: Api) -> str:
    upload_id = document(begin_upload(api))["id"]
    sent = ask(api, "POST", f"/v17.0/{upload_id}", token=None, data=PNG,
               headers={"Authorization": f"OAuth {TOKEN}", "file_offset": "0"})  # fmt: skip
    return str(document(sent)["h"])


def test_c6_a_file_is_uploaded_the_resumable_way(api: Api) -> None:
    upload_id = document(begin_upload(api))["id"]

    assert upload_id.startswith("upload:")
    assert document(ask(api, "GET", f"/v17.0/{upload_id}")) == {"id": upload_id, "file_offset": 0}
    assert handle(api).startswith("4::")


def test_c6_odoo_tests_its_connection_with_the_token_in_the_query(api: Api) -> None:
    query = {"file_length": "67", "file_type": "image/png", "access_token": TOKEN}

    assert document(ask(api, "POST", "/v17.0/1234567/uploads", token=None, params=query))["id"].startswith("upload:")


def test_c6_a_handle_is_a_profiles_picture(api: Api) -> None:
    path = f"{V}/whatsapp_business_profile"

    document(ask(api, "POST", path, json={"messaging_product": "whatsapp", "profile_picture_handle": handle(api)}))

    profile = document(ask(api, "GET", path))["data"][0]
    assert "profile_picture_id" not in profile
    assert ask(api, "GET", profile["profile_picture_url"].removeprefix(URL), token=None).content == PNG
    document(ask(api, "POST", path, json={"profile_picture_url": "https://x.y/a.png"}))
    assert document(ask(api, "GET", path))["data"][0]["profile_picture_url"] == "https://x.y/a.png"


def test_an_upload_to_a_full_disk_is_refused_for_now_with_the_reason(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("unoapi.media.folder.os.fsync", no_space)
    form = {"messaging_product": "whatsapp", "type": "image/png", "file": (BytesIO(PNG), "a.png")}

    refused = ask(api, "POST", f"{V}/media", data=form)

    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == 131016
    assert "takes no file: No space left on device" in refused.text
    assert int(refused.headers["Retry-After"]) > 0


def test_c6_an_upload_opens_to_its_number_alone(api: Api) -> None:
    other = "5521977776666"
    api.register([], phone=other)
    upload_id = document(begin_upload(api))["id"]
    eventually(lambda: ask(api, "GET", "/v21.0/", token=f"session-token-{other}").status_code == 200, within_s=3)

    refused(begin_upload(api, token=None), 401, 0)
    refused(begin_upload(api, token="wrong"), 401, 190)
    refused(begin_upload(api, app=other), 404, 100)
    refused(begin_upload(api, app="5531966665555"), 404, 100)
    refused(ask(api, "POST", f"/v17.0/{upload_id}", token="wrong", data=PNG), 401, 190)
    refused(ask(api, "POST", f"/v17.0/{upload_id}", token=f"session-token-{other}", data=PNG), 404, 100)
    refused(ask(api, "POST", f"/v17.0/{upload_id}x", data=PNG), 404, 100)
    refused(ask(api, "POST", f"/v17.0/{upload_id}", data=b""), 400, 131053)
    refused(ask(api, "POST", f"/v17.0/{upload_id}", data=PNG, headers={"file_offset": "5"}), 400, 100)
    foreign = ask(api, "POST", f"/v17.0/{other}/whatsapp_business_profile", token=f"session-token-{other}",
                  json={"profile_picture_handle": handle(api)})  # fmt: skip
    refused(foreign, 400, 131009)


def test_c6_the_operator_names_the_number(api: Api) -> None:
    api.register([], phone="5521977776666")
    eventually(lambda: len(document(ask(api, "GET", "/sessions", token=OPERATOR))["data"]) == 2, within_s=3)

    refused(begin_upload(api, token=OPERATOR), 400, 100)
    assert document(begin_upload(api, token=OPERATOR, app=PHONE))["id"].startswith("upload:")


@pytest.mark.parametrize("path", [V, "/v21.0/debug_token", "/v21.0/"])
def test_c6_the_scheme_oauth_is_taken(api: Api, path: str) -> None:
    document(ask(api, "GET", path, token=None, headers={"Authorization": f"OAuth {TOKEN}"}))
    refused(ask(api, "GET", path, token=None, headers={"Authorization": "OAuth wrong"}), 401, 190)


# --- apps: n8n's trigger, and logins of Chatwoot and Botpress ---

APP = "/v19.0/1234567/subscriptions"
TRIGGER = {"object": "whatsapp_business_account", "callback_url": "https://n8n.example/hook", "verify_token": "node-1",
           "fields": '["messages"]', "include_values": True}  # fmt: skip


def test_c17_a_trigger_gets_a_token_subscribes_and_unsubscribes(api: Api) -> None:
    login = {"client_id": "1234567", "client_secret": TOKEN, "grant_type": "client_credentials"}
    given = document(ask(api, "POST", "/v19.0/oauth/access_token", token=None, data=login))
    before = stored(api)["webhooks"]

    assert given == {"access_token": TOKEN, "token_type": "bearer"}
    assert document(ask(api, "GET", APP, token=given["access_token"])) == {"data": []}
    assert document(ask(api, "POST", APP, json=TRIGGER)) == {"success": True}
    (listed,) = document(ask(api, "GET", APP))["data"]
    assert (listed["object"], listed["callback_url"], listed["active"]) == (
        "whatsapp_business_account", "https://n8n.example/hook", True,
    )  # fmt: skip
    assert "messages" in [field["name"] for field in listed["fields"]]
    webhook = {"id": "app-1234567", "urlAbsolute": "https://n8n.example/hook", "secret": TOKEN}
    assert stored(api)["webhooks"] == [*before, webhook]
    assert TOKEN not in ask(api, "GET", V).text
    assert document(ask(api, "DELETE", APP)) == {"success": True}
    assert document(ask(api, "DELETE", APP)) == {"success": True}
    assert stored(api)["webhooks"] == before


@pytest.mark.parametrize("path", ["/v19.0/oauth/access_token", "/oauth/access_token"])
@pytest.mark.parametrize("asked", [{"client_secret": TOKEN, "code": "AQ"}, {"fb_exchange_token": TOKEN}])
def test_c17_a_login_that_ends_with_a_number_s_token_goes_on_with_it(
    api: Api, path: str, asked: dict[str, str]
) -> None:
    assert document(ask(api, "GET", path, token=None, params=asked))["access_token"] == TOKEN


@pytest.mark.parametrize("asked", [{}, {"client_secret": ""}, {"client_secret": "wrong"}, {"fb_exchange_token": "x"}])
def test_c17_no_token_comes_of_a_wrong_secret(api: Api, asked: dict[str, str]) -> None:
    code = 190 if any(asked.values()) else 0

    for method, where in (("GET", "params"), ("POST", "json"), ("POST", "data")):
        refused(ask(api, method, "/v19.0/oauth/access_token", token=None, **{where: asked}), 401, code)


def test_c17_an_app_s_token_is_asked_about_with_its_id_and_secret(api: Api) -> None:
    asked = {"input_token": TOKEN, "access_token": f"1234567|{TOKEN}"}

    assert document(ask(api, "GET", "/v21.0/debug_token", token=None, params=asked))["data"]["is_valid"] is True
    refused(ask(api, "GET", "/v21.0/debug_token", token=f"1234567|{TOKEN}x"), 401, 190)
    refused(ask(api, "GET", "/v21.0/debug_token", token="1234567|"), 401, 190)


@pytest.mark.parametrize(
    "wanted", [{}, {"callback_url": ""}, {"callback_url": "ftp://x.y"}, {**TRIGGER, "object": "page"}]
)
def test_c17_what_is_no_subscription_is_refused(api: Api, wanted: dict[str, Any]) -> None:
    before = stored(api)

    assert ask(api, "POST", APP, json=wanted).status_code == 400
    assert stored(api) == before


def test_c17_only_the_numbers_own_token_subscribes(api: Api) -> None:
    refused(ask(api, "POST", f"{V}/subscriptions", token=OPERATOR, json=TRIGGER), 403, 10)
    refused(ask(api, "POST", "/v19.0/5531966665555/subscriptions", json=TRIGGER), 404, 100)
    refused(ask(api, "POST", APP, token="wrong", json=TRIGGER), 401, 190)

    assert document(ask(api, "POST", f"{V}/subscriptions", json=TRIGGER)) == {"success": True}


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("messages", {"GET", "POST"}), ("media", {"POST"}), ("message_qrdls", {"GET", "POST", "DELETE"})],
)
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_method_that_is_not_there_names_those_that_are(api: Api, method: str, path: str, allowed: set[str]) -> None:
    answer = ask(api, method, f"{V}/{path}")

    assert set(answer.headers["Allow"].split(", ")) - {"HEAD", "OPTIONS"} == allowed
    said = refused(answer, 405, 100)
    assert all(one in said for one in allowed)
    for one in {"GET", "POST", "DELETE"} - allowed:
        assert one not in said
