"""What only Meta has: asked there with the session's credentials for numbers at Meta, 501 for others.

The ids in the tests' names are those of the field reports that they mend.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.api import Api
from tests.support.api import api as serve_api
from tests.support.fake_graph_api import Graph, Sent, error
from tests.support.fakes import CONTACT
from tests.support.stack import OPERATOR
from unoapi.models.graph import ACCOUNT_EDGES, NUMBER_EDGES
from unoapi.models.jobs import SendMessage
from unoapi.models.phones import without_ninth_digit
from unoapi.models.session import computed_waba_id
from unoapi.services.message_parsing import message_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.devenv.servers import PrivateServers

NUMBER, SANDBOX, PHONE = "5511999990003", "5511999990001", "5511999990002"
AT_META, ACCOUNT = "1001", "2001"
GROUP = "Y2FwaV9ncm91cDoxNzA1NTU1MDEzOToxMjAzNjM0MDQ2OTQyMzM4MjAZD"
META_TOKEN = "EAAG-token-at-meta"
TOKEN = "token-of-the-session"
TEMPLATES = f"/v23.0/{ACCOUNT}/message_templates"


@pytest.fixture(scope="module")
def graph() -> Iterator[Graph]:
    with Graph() as running:
        yield running


@pytest.fixture(scope="module")
def api(servers: PrivateServers, graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve_api(servers, tmp_path_factory.mktemp("graph"), UNOAPI_ALLOWED_HOSTS="127.0.0.0/8") as running:
        account = {
            "url": graph.url, "version": "v23.0", "phoneNumberId": AT_META, "businessAccountId": ACCOUNT,
            "token": META_TOKEN, "timeoutMs": 1500,
        }  # fmt: skip
        running.register([], phone=NUMBER, provider="forwarder", webhookForward=account, authToken=TOKEN)
        other = {
            "url": graph.url,
            "version": "v23.0",
            "phoneNumberId": "1009",
            "businessAccountId": "2009",
            "token": "t",
        }
        running.register([], phone="5511999990009", provider="forwarder", webhookForward=other)
        running.register([], phone=SANDBOX)
        running.register([], phone=PHONE, provider="whatsmeow")
        yield running


@pytest.fixture(autouse=True)
def _clear(graph: Graph) -> None:
    graph.sent.clear()
    graph.replies.clear()


def ask(api: Api, method: str, path: str, *, token: str | None = TOKEN, **options: Any) -> Any:
    return api.request(method, f"/v15.0/{path}", token=token, **options)


def only(graph: Graph) -> Sent:
    (sent,) = graph.sent
    assert sent.token == f"Bearer {META_TOKEN}"
    assert TOKEN not in sent.path
    assert TOKEN.encode() not in sent.raw
    return sent


# --- templates ---


@pytest.mark.parametrize("node", [NUMBER, AT_META, ACCOUNT])
@pytest.mark.parametrize("edge", ["message_templates", "templates"])
def test_field_report_66_the_templates_of_a_number_at_meta_are_metas(
    api: Api, graph: Graph, node: str, edge: str
) -> None:
    listed = {"data": [{"name": "theirs", "id": "77"}], "paging": {
        "cursors": {"before": "B", "after": "A"},
        "next": f"https://graph.facebook.com{TEMPLATES}?access_token={META_TOKEN}&limit=1&after=A",
    }}  # fmt: skip
    graph.replies[f"GET {TEMPLATES}"] = (200, listed)

    answer = ask(api, "GET", f"{node}/{edge}", params={"limit": "1", "name": "theirs"})

    assert answer.status_code == 200, answer.text
    assert answer.json()["data"] == listed["data"]
    assert META_TOKEN not in answer.text
    following = urlsplit(answer.json()["paging"]["next"])
    assert following.path == f"/v15.0/{node}/{edge}"
    assert parse_qs(following.query) == {"limit": ["1"], "after": ["A"]}
    assert only(graph).path == f"{TEMPLATES}?limit=1&name=theirs"


def test_field_report_66_the_next_page_is_metas_too(api: Api, graph: Graph) -> None:
    graph.replies[f"GET {TEMPLATES}"] = (200, {"data": []})

    answer = ask(api, "GET", f"{NUMBER}/message_templates", token=None, params={"after": "A", "access_token": TOKEN})

    assert answer.json() == {"data": []}
    assert only(graph).path == f"{TEMPLATES}?after=A"


@pytest.mark.parametrize(
    ("asked", "query"),
    [
        ({}, "limit=250"),
        ({"limit": "5"}, "limit=5"),
        ({"name": "n"}, "name=n&limit=250"),
        ({"before": "B"}, "before=B"),
    ],
)
def test_field_report_66_who_cannot_follow_to_the_next_page_gets_a_long_one(
    api: Api, graph: Graph, asked: dict[str, str], query: str
) -> None:
    ask(api, "GET", f"{NUMBER}/message_templates", token=None, params={**asked, "access_token": TOKEN})

    assert only(graph).path == f"{TEMPLATES}?{query}"


def test_field_report_66_who_can_follow_gets_metas_own_page(api: Api, graph: Graph) -> None:
    ask(api, "GET", f"{NUMBER}/message_templates")

    assert only(graph).path == TEMPLATES


def test_field_report_66_a_template_is_created_at_meta(api: Api, graph: Graph) -> None:
    template = {"name": "n", "language": "pt_BR", "category": "UTILITY", "components": [{"type": "BODY", "text": "x"}]}
    graph.replies[f"POST {TEMPLATES}"] = (200, {"id": "9", "status": "PENDING", "category": "UTILITY"})

    answer = ask(api, "POST", f"{ACCOUNT}/message_templates", json=template)

    assert answer.json() == {"id": "9", "status": "PENDING", "category": "UTILITY"}
    assert only(graph).body == template
    assert api.redis.exists(f"unoapi-template:{NUMBER}") == 0


@pytest.mark.parametrize(
    ("path", "params", "query"),
    [
        ("message_templates", {"name": "n"}, "name=n"),
        ("message_templates", {"name": "n", "hsm_id": "7"}, "name=n&hsm_id=7"),
        ("message_templates/n", {}, "name=n"),
        ("templates/n", {}, "name=n"),
    ],
)
def test_field_report_66_a_template_is_deleted_at_meta(
    api: Api, graph: Graph, path: str, params: dict[str, str], query: str
) -> None:
    answer = ask(api, "DELETE", f"{ACCOUNT}/{path}", params=params)

    assert answer.json() == {"success": True}
    assert only(graph).path == f"{TEMPLATES}?{query}"


def test_field_report_66_a_number_at_meta_shows_no_template_that_meta_does_not_know(api: Api) -> None:
    assert ask(api, "GET", NUMBER).json()["message_templates"] == {"data": []}


def test_the_library_of_templates_is_metas(api: Api, graph: Graph) -> None:
    graph.replies["GET /v23.0/message_template_library"] = (200, {"data": [{"name": "delivery_update_1"}]})
    params = {"search": "delivery", "language": "pt_BR"}

    answer = ask(api, "GET", "message_template_library", params=params)

    assert answer.json() == {"data": [{"name": "delivery_update_1"}]}
    assert only(graph).path == "/v23.0/message_template_library?search=delivery&language=pt_BR"
    phone = {"token": f"session-token-{PHONE}"}
    assert ask(api, "GET", "message_template_library", **phone).status_code == 501
    assert ask(api, "GET", "message_template_library", token=None).status_code == 401
    assert ask(api, "GET", "message_template_library", token="nobodys-token-at-all").status_code == 401


@pytest.mark.parametrize("phone", [PHONE, SANDBOX])
def test_a_phone_makes_no_template_of_metas_library(api: Api, phone: str) -> None:
    wanted = {"name": "t", "language": "en_US", "category": "UTILITY", "library_template_name": "delivery_update_1"}
    path, token = f"{phone}/message_templates", f"session-token-{phone}"

    refused = ask(api, "POST", path, token=token, json=wanted)
    own = ask(api, "POST", path, token=token, json={**wanted, "components": [{"type": "BODY", "text": "x"}]})

    assert (refused.status_code, refused.json()["error"]["code"], own.status_code) == (501, 131000, 200)


# --- marketing messages ---

PROMO = {"name": "promo", "language": {"code": "pt_BR"}}


def provide(api: Api) -> None:
    """Send the message that was queued last."""
    job = api.queues.jobs("unoapi.incoming")[-1]
    api.uno.providers["forwarder"].send(message_of(job), phone=job.phone, message_id=job.id)


@pytest.mark.parametrize(
    ("said", "statuses"),
    [
        ({}, ["sent"]), ({"message_status": "accepted"}, ["sent"]),
        ({"message_status": "held_for_quality_assessment"}, []), ({"message_status": "paused"}, []),
    ],
)  # fmt: skip
def test_a_template_that_meta_holds_back_is_not_said_to_be_sent(
    api: Api, graph: Graph, said: dict[str, str], statuses: list[str]
) -> None:
    answered = {"contacts": [{"input": CONTACT, "wa_id": CONTACT}], "messages": [{"id": "wamid.HELD", **said}]}
    graph.replies[f"POST /v23.0/{AT_META}/messages"] = (200, answered)
    message = message_of(SendMessage(id="wamid.1", phone=NUMBER, body=json.dumps({
        "to": CONTACT, "type": "template", "template": {"name": "promo"}})))  # fmt: skip

    receipt = api.uno.providers["forwarder"].send(message, phone=NUMBER, message_id="wamid.1")

    assert [update.status for update in receipt.statuses] == statuses


def test_field_report_101_marketing_messages_go_to_metas_own_path(api: Api, graph: Graph) -> None:
    body = {
        "messaging_product": "whatsapp", "to": CONTACT, "type": "template", "template": PROMO,
        "message_activity_sharing": True,
    }  # fmt: skip

    assert ask(api, "POST", f"{NUMBER}/marketing_messages", json=body).status_code == 200
    provide(api)

    sent = only(graph)
    assert (sent.path, sent.body) == (f"/v23.0/{AT_META}/marketing_messages", body)


def test_field_report_101_other_templates_go_where_they_went(api: Api, graph: Graph) -> None:
    ask(api, "POST", f"{NUMBER}/messages", json={"to": CONTACT, "type": "template", "template": PROMO})
    provide(api)

    assert only(graph).path == f"/v23.0/{AT_META}/messages"


@pytest.mark.parametrize("phone", [NUMBER, SANDBOX, PHONE])
def test_field_report_101_a_marketing_message_is_a_template(api: Api, phone: str) -> None:
    body = {"messaging_product": "whatsapp", "to": CONTACT, "type": "text", "text": {"body": "x"}}

    answer = ask(api, "POST", f"{phone}/marketing_messages", token=f"session-token-{phone}", json=body)
    if phone == NUMBER:
        answer = ask(api, "POST", f"{phone}/marketing_messages", json=body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 131009)


CAROUSEL = {"type": "carousel", "cards": [{"card_index": 0, "components": [
    {"type": "header", "parameters": [{"type": "image", "image": {"id": "META1"}}]}]}]}  # fmt: skip
COMPONENTS: dict[str, list[dict[str, Any]]] = {
    "words": [{"type": "body", "parameters": [{"type": "text", "text": "a\nb", "parameter_name": "nome"}]}],
    "a picture": [{"type": "header", "parameters": [{"type": "image", "image": {"link": "https://h.test/a.jpg"}}]}],
    "a place": [{"type": "header", "parameters": [{"type": "location", "location": {
        "latitude": "1", "longitude": "2", "name": "n", "address": "a"}}]}],
    "buttons": [
        {"type": "button", "sub_type": "quick_reply", "index": "0",
         "parameters": [{"type": "payload", "payload": "p"}]},
        {"type": "button", "sub_type": "flow", "index": "1", "parameters": [{"type": "action", "action": {
            "flow_token": "t", "flow_action_data": {"a": 1}}}]},
        {"type": "button", "sub_type": "catalog", "index": 2, "parameters": [{"type": "action", "action": {
            "thumbnail_product_retailer_id": "x"}}]},
    ],
    "an offer": [{"type": "limited_time_offer", "parameters": [
        {"type": "limited_time_offer", "limited_time_offer": {"expiration_time_ms": 1}}]}],
    "a part of next year": [{"type": "hologram", "colour": "blue"}],
}  # fmt: skip


@pytest.mark.parametrize("components", COMPONENTS.values(), ids=COMPONENTS.keys())
def test_meta_sees_exactly_the_template_that_the_client_sent(
    api: Api, graph: Graph, components: list[dict[str, Any]]
) -> None:
    template = {**PROMO, "components": components}
    body = {"messaging_product": "whatsapp", "recipient_type": "individual", "to": CONTACT, "type": "template",
            "template": template}  # fmt: skip

    answer = ask(api, "POST", f"{NUMBER}/messages", json=body)
    assert answer.status_code == 200, answer.text
    provide(api)

    assert only(graph).body == body


EMPTY_TEMPLATES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "components": ({"components": None, "namespace": ""}, {}),
    "a form's components": ({"components": {}}, {}),
    "a condition of JavaScript": ({"components": False}, {}),
    "a length in the place of values": ({"components": [{"type": "body", "parameters": 0}]},
                                        {"components": [{"type": "body"}]}),
    "no components": ({"components": []}, {"components": []}),
    "within a component": (
        {"components": [{"type": "body", "sub_type": None, "index": "", "cards": None, "parameters": [
            {"type": "text", "text": "a", "image": None, "parameter_name": None}]}]},
        {"components": [{"type": "body", "parameters": [{"type": "text", "text": "a"}]}]},
    ),
    "within a card": (
        {"components": [{"type": "carousel", "parameters": None, "cards": [{"card_index": 0, "components": [
            {"type": "button", "sub_type": "quick_reply", "index": 0, "parameters": [
                {"type": "payload", "payload": "p", "text": None}]}]}]}]},
        {"components": [{"type": "carousel", "cards": [{"card_index": 0, "components": [
            {"type": "button", "sub_type": "quick_reply", "index": 0, "parameters": [
                {"type": "payload", "payload": "p"}]}]}]}]},
    ),
    "not within what a flow gets": (
        {"components": [{"type": "button", "sub_type": "flow", "index": "0", "parameters": [
            {"type": "action", "action": {"flow_token": "t", "flow_action_data": {"a": None}}}]}]},
        {"components": [{"type": "button", "sub_type": "flow", "index": "0", "parameters": [
            {"type": "action", "action": {"flow_token": "t", "flow_action_data": {"a": None}}}]}]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("as_text", [False, True], ids=["objects", "a text"])
@pytest.mark.parametrize(("given", "expected"), EMPTY_TEMPLATES.values(), ids=EMPTY_TEMPLATES.keys())
def test_meta_gets_nothing_that_the_client_of_a_template_left_empty(
    api: Api, graph: Graph, given: dict[str, Any], expected: dict[str, Any], as_text: bool
) -> None:
    if as_text and isinstance(given["components"], list):
        given = {**given, "components": json.dumps(given["components"])}
    body = {"messaging_product": "whatsapp", "to": CONTACT, "type": "template", "template": {**PROMO, **given}}

    answer = ask(api, "POST", f"{NUMBER}/messages", json=body)
    assert answer.status_code == 200, answer.text
    provide(api)

    assert only(graph).body["template"] == {**PROMO, **expected}


def test_meta_gets_no_null_of_an_audio(api: Api, graph: Graph) -> None:
    audio = {"link": "https://h.test/a.mp3"}
    body = {"messaging_product": "whatsapp", "to": CONTACT, "type": "audio", "audio": audio}

    answer = ask(api, "POST", f"{NUMBER}/messages", json={**body, "audio": {**audio, "voice": None}})
    assert answer.status_code == 200, answer.text
    provide(api)

    assert only(graph).body == body


def test_a_type_that_only_meta_knows_is_passed_on(api: Api, graph: Graph) -> None:
    pin = {"messaging_product": "whatsapp", "recipient_type": "group", "to": GROUP, "type": "pin",
           "pin": {"type": "pin", "message_id": "wamid.X", "expiration_days": 7}}  # fmt: skip

    answer = ask(api, "POST", f"{NUMBER}/messages", json=pin)
    assert answer.status_code == 200, answer.text
    provide(api)

    assert only(graph).body == pin


PIX = {"payment_type": "br", "reference_id": "1", "total_amount": {"value": 100, "offset": 100}, "currency": "BRL"}


@pytest.mark.parametrize(
    "interactive",
    [
        {"type": "order_details", "body": {"text": "x"}, "action": {"name": "review_and_pay", "parameters": PIX}},
        {"type": "order_status", "body": {"text": "x"}, "action": {"name": "review_order", "parameters": {"a": 1}}},
        {"type": "hologram", "depth": 3, "action": {"angle": None, "words": ""}},
    ],
)
def test_a_kind_of_interactive_message_that_only_meta_knows_is_passed_on(
    api: Api, graph: Graph, interactive: dict[str, Any]
) -> None:
    body = {"messaging_product": "whatsapp", "to": CONTACT, "type": "interactive", "interactive": interactive}

    answer = ask(api, "POST", f"{NUMBER}/messages", json=body)
    assert answer.status_code == 200, answer.text
    provide(api)

    assert only(graph).body == body


@pytest.mark.parametrize("phone", [SANDBOX, PHONE])
@pytest.mark.parametrize(("kind", "code"), [("order_details", 131051), ("order_status", 131051), ("hologram", 131009)])
def test_a_phone_takes_no_kind_of_interactive_message_that_only_meta_knows(
    api: Api, phone: str, kind: str, code: int
) -> None:
    body = {"to": CONTACT, "type": "interactive", "interactive": {"type": kind, "body": {"text": "x"}, "action": {}}}

    answer = ask(api, "POST", f"{phone}/messages", token=f"session-token-{phone}", json=body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


def test_meta_gets_a_list_where_the_components_came_as_json_in_a_text(api: Api, graph: Graph) -> None:
    components = [{"type": "body", "parameters": [{"type": "text", "text": "Ana"}]}]
    body = {"messaging_product": "whatsapp", "to": CONTACT, "type": "template",
            "template": {**PROMO, "components": json.dumps(components)}}  # fmt: skip

    answer = ask(api, "POST", f"{NUMBER}/messages", json=body)
    assert answer.status_code == 200, answer.text
    provide(api)

    assert only(graph).body == {**body, "template": {**PROMO, "components": components}}


@pytest.mark.parametrize(
    "more", [{"type": "beam"}, {"type": "hologram", "hologram": "x"}, {"type": 5}, {"type": "hologram"}]
)
def test_a_type_without_its_object_is_refused(api: Api, more: dict[str, Any]) -> None:
    answer = ask(api, "POST", f"{NUMBER}/messages", json={"to": CONTACT, **more})

    assert answer.status_code in (400, 501)
    assert answer.json()["error"]["code"] == 131051


@pytest.mark.parametrize("phone", [SANDBOX, PHONE])
def test_a_phone_takes_no_type_that_only_meta_knows(api: Api, phone: str) -> None:
    body = {"to": CONTACT, "type": "hologram", "hologram": {"message_id": "wamid.X"}}

    answer = ask(api, "POST", f"{phone}/messages", token=f"session-token-{phone}", json=body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 131051)


# --- uploads, and the profile ---

UPLOAD = "upload:MTphdHRhY2htZW50OmE="


def test_an_upload_for_a_number_at_meta_is_metas(api: Api, graph: Graph) -> None:
    """Only Meta's handles stand in the templates and the profile that Meta keeps."""
    graph.replies["POST /v23.0/1234567/uploads"] = (200, {"id": f"{UPLOAD}?sig=ARZ"})
    graph.replies[f"POST /v23.0/{UPLOAD}"] = (200, {"h": "4::aW1hZ2U="})
    graph.replies[f"GET /v23.0/{UPLOAD}"] = (200, {"id": UPLOAD, "file_offset": 5})

    began = ask(api, "POST", "1234567/uploads", params={"file_length": "5", "file_type": "image/png"})
    asked = ask(api, "GET", UPLOAD, params={"sig": "ARZ"})
    sent = ask(api, "POST", UPLOAD, params={"sig": "ARZ"}, data=b"\x89PNG\x00", headers={"file_offset": "2"})

    assert [answer.json() for answer in (began, asked, sent)] == [
        {"id": f"{UPLOAD}?sig=ARZ"}, {"id": UPLOAD, "file_offset": 5}, {"h": "4::aW1hZ2U="},
    ]  # fmt: skip
    assert [(one.method, one.path) for one in graph.sent] == [
        ("POST", "/v23.0/1234567/uploads?file_length=5&file_type=image%2Fpng"),
        ("GET", f"/v23.0/{UPLOAD}?sig=ARZ"),
        ("POST", f"/v23.0/{UPLOAD}?sig=ARZ"),
    ]
    assert graph.sent[-1].raw == b"\x89PNG\x00"
    assert {one.token for one in graph.sent} == {f"Bearer {META_TOKEN}"}


def test_an_upload_is_passed_on_for_nobody_else(api: Api, graph: Graph) -> None:
    strange = ask(api, "POST", UPLOAD, data=b"x", headers={"file_offset": "a"})
    others = [ask(api, "POST", UPLOAD, token=token, data=b"x") for token in (None, "wrong", f"session-token-{SANDBOX}")]

    assert strange.status_code == 400
    assert [answer.status_code for answer in others] == [401, 401, 404]
    assert graph.sent == []


@pytest.mark.parametrize("node", [NUMBER, AT_META])
def test_the_profile_of_a_number_at_meta_is_metas(api: Api, graph: Graph, node: str) -> None:
    path = f"/v23.0/{AT_META}/whatsapp_business_profile"
    shown = {"data": [{"about": "theirs", "messaging_product": "whatsapp"}]}
    graph.replies[f"GET {path}"], graph.replies[f"POST {path}"] = (200, shown), (200, {"success": True})
    wanted = {"messaging_product": "whatsapp", "about": "new", "profile_picture_handle": "4::aW1hZ2U="}

    read = ask(api, "GET", f"{node}/whatsapp_business_profile", params={"fields": "about"})
    changed = ask(api, "POST", f"{node}/whatsapp_business_profile", json=wanted)

    assert (read.json(), changed.json()) == (shown, {"success": True})
    assert [one.path for one in graph.sent] == [f"{path}?fields=about", path]
    assert graph.sent[-1].body == wanted


FIELDS = "id,display_phone_number,quality_rating,verified_name,name_status,health_status"


@pytest.mark.parametrize("node", [NUMBER, AT_META])
def test_what_only_meta_knows_of_a_number_is_asked_there(api: Api, graph: Graph, node: str) -> None:
    said = {"quality_rating": "RED", "verified_name": "Shop", "health_status": {"can_send_message": "BLOCKED"}}
    graph.replies[f"GET /v23.0/{AT_META}"] = (200, {**said, "id": AT_META})

    shown = ask(api, "GET", node, params={"fields": FIELDS}).json()

    assert {name: shown[name] for name in said} == said
    assert (shown["id"], shown["display_phone_number"]) == (AT_META, NUMBER)
    assert only(graph).path == (f"/v23.0/{AT_META}?fields=health_status%2Cname_status%2Cquality_rating%2Cverified_name")


def test_what_only_meta_knows_of_the_numbers_of_an_account_is_asked_there(api: Api, graph: Graph) -> None:
    graph.replies[f"GET /v23.0/{AT_META}"] = (200, {"quality_rating": "RED", "id": AT_META})
    fields = {"fields": "id,display_phone_number,quality_rating"}

    (listed,) = ask(api, "GET", f"{ACCOUNT}/phone_numbers", params=fields).json()["data"]
    ask(api, "GET", f"{ACCOUNT}/phone_numbers")

    assert listed == {"id": AT_META, "display_phone_number": NUMBER, "quality_rating": "RED"}
    assert only(graph).path == f"/v23.0/{AT_META}?fields=quality_rating"


def test_whether_a_number_is_on_a_phone_too_is_asked_at_meta(api: Api, graph: Graph) -> None:
    graph.replies[f"GET /v23.0/{AT_META}"] = (200, {"is_on_biz_app": True, "platform_type": "CLOUD_API", "id": AT_META})

    shown = ask(api, "GET", AT_META, params={"fields": "is_on_biz_app,platform_type"}).json()

    assert shown == {"id": AT_META, "is_on_biz_app": True, "platform_type": "CLOUD_API"}


def test_c12_what_only_meta_knows_of_an_account_is_asked_there(api: Api, graph: Graph) -> None:
    said = {"name": "Shop", "message_template_namespace": "ns", "health_status": {"can_send_message": "AVAILABLE"}}
    graph.replies[f"GET /v23.0/{ACCOUNT}"] = (200, {**said, "id": ACCOUNT})

    shown = ask(api, "GET", ACCOUNT, params={"fields": ",".join(("id", *said))}).json()
    ask(api, "GET", ACCOUNT)

    assert shown == {**said, "id": ACCOUNT}
    assert only(graph).path == f"/v23.0/{ACCOUNT}?fields=health_status%2Cmessage_template_namespace%2Cname"


def test_a_list_of_numbers_waits_for_meta_for_a_bounded_time(
    api: Api, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unoapi.web.phones.ASK_S", 0)

    (listed,) = ask(api, "GET", f"{ACCOUNT}/phone_numbers", params={"fields": "quality_rating"}).json()["data"]

    assert listed == {"id": AT_META, "quality_rating": "GREEN"}
    assert not graph.sent


@pytest.mark.parametrize("reply", [(500, {}), (400, {"error": {"code": 100}}), (200, []), (200, b"<html>")])
def test_a_number_is_shown_though_meta_says_nothing_of_it(api: Api, graph: Graph, reply: tuple[int, Any]) -> None:
    graph.replies[f"GET /v23.0/{AT_META}"] = reply

    answer = ask(api, "GET", NUMBER, params={"fields": FIELDS})

    assert (answer.status_code, answer.json()["id"]) == (200, AT_META)


def test_meta_is_not_asked_for_what_is_known_here(api: Api, graph: Graph) -> None:
    ask(api, "GET", NUMBER, params={"fields": "id,display_phone_number,status"})
    ask(api, "GET", NUMBER)
    ask(api, "GET", SANDBOX, token=f"session-token-{SANDBOX}", params={"fields": FIELDS})

    assert graph.sent == []


# --- what is changed of a number, and whom it blocks ---

BLOCKED = {"messaging_product": "whatsapp", "block_users": [{"user": CONTACT}]}
BLOCKING = f"/v23.0/{AT_META}/block_users"


def test_a_number_at_meta_blocks_there_and_its_webhooks_get_nothing_more(api: Api, graph: Graph) -> None:
    added = {"messaging_product": "whatsapp", "block_users": {"added_users": [{"input": CONTACT, "wa_id": CONTACT}]}}
    graph.replies |= {f"POST {BLOCKING}": (200, added), f"GET {BLOCKING}": (200, {"data": [{"wa_id": CONTACT}]})}

    answer = ask(api, "POST", f"{NUMBER}/block_users", json=BLOCKED)
    blocked = api.uno.blacklist.blocked(NUMBER)
    listed = ask(api, "GET", f"{NUMBER}/block_users").json()
    removed = ask(api, "DELETE", f"{NUMBER}/block_users", json=BLOCKED)

    assert (answer.json(), listed, removed.json()) == (added, {"data": [{"wa_id": CONTACT}]}, {"success": True})
    assert [(sent.method, sent.path, sent.body) for sent in graph.sent] == [
        ("POST", BLOCKING, BLOCKED), ("GET", BLOCKING, {}), ("DELETE", BLOCKING, BLOCKED),
    ]  # fmt: skip
    assert (blocked, api.uno.blacklist.blocked(NUMBER)) == ([CONTACT], [])


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("told", [{"input": f"+{CONTACT}", "wa_id": CONTACT}, {"wa_id": without_ninth_digit(CONTACT)}])
def test_of_users_whom_meta_blocks_in_part_the_others_go_on_being_heard(
    api: Api, graph: Graph, told: dict[str, str], status: int
) -> None:
    refused, users = "5511988880009", {"block_users": [{"user": f"+{CONTACT}"}, {"user": "5511988880009"}]}
    failed = [{"input": refused, "wa_id": refused, "errors": [{"code": 139103, "message": "Internal error"}]}]

    def partly(done: str) -> tuple[int, Any]:
        lists = {done: [told], "failed_users": failed}
        problems = {"errors": [{"code": 139100, "message": "Failed to block some users"}]} if status != 200 else {}
        return status, {"messaging_product": "whatsapp", "block_users": lists, **problems}

    graph.replies |= {f"POST {BLOCKING}": partly("added_users"), f"DELETE {BLOCKING}": partly("removed_users")}

    answer = ask(api, "POST", f"{NUMBER}/block_users", json=users)
    blocked = api.uno.blacklist.blocked(NUMBER)
    ask(api, "DELETE", f"{NUMBER}/block_users", json=users)

    assert (answer.status_code, answer.json()["block_users"]["failed_users"]) == (status, failed)
    assert (blocked, api.uno.blacklist.blocked(NUMBER)) == ([CONTACT], [])


def test_whom_meta_does_not_block_nobody_blocks(api: Api, graph: Graph) -> None:
    graph.replies[f"POST {BLOCKING}"] = error(139101, "Failed to block users")

    answer = ask(api, "POST", f"{NUMBER}/block_users", json=BLOCKED)
    wrong = ask(api, "POST", f"{NUMBER}/block_users", json={"block_users": [{"user": "nobody"}]})

    assert [refused.json()["error"]["code"] for refused in (answer, wrong)] == [139101, 131009]
    assert len(graph.sent) == 1
    assert api.uno.blacklist.blocked(NUMBER) == []


@pytest.mark.parametrize(
    ("node", "theirs", "change"),
    [
        (NUMBER, AT_META, {"pin": "123456"}),
        (AT_META, AT_META, {"pin": "123456"}),
        (ACCOUNT, ACCOUNT, {"is_enabled_for_insights": True}),
    ],
)
def test_c13_what_meta_keeps_of_a_number_there_is_changed_there(
    api: Api, graph: Graph, node: str, theirs: str, change: dict[str, Any]
) -> None:
    graph.replies[f"POST /v23.0/{theirs}"] = (200, {"success": True})

    assert ask(api, "POST", node, json=change).json() == {"success": True}

    assert (only(graph).path, only(graph).body) == (f"/v23.0/{theirs}", change)


def test_field_report_96_a_registration_with_a_pin_is_made_at_meta(api: Api, graph: Graph) -> None:
    graph.replies[f"POST /v23.0/{AT_META}/register"] = error(133005, "Two step verification PIN mismatch")
    pin = {"messaging_product": "whatsapp", "pin": "123456"}

    wrong = ask(api, "POST", f"{NUMBER}/register", json=pin)
    graph.replies[f"POST /v23.0/{AT_META}/register"] = (200, {"success": True})
    right = ask(api, "POST", f"{NUMBER}/register", json=pin)
    both = ask(api, "POST", f"{NUMBER}/register", json={**pin, "label": "Shop"})

    assert (wrong.json()["error"]["code"], right.json()) == (133005, {"success": True})
    assert (both.json()["success"], both.json()["label"]) == (True, "Shop")
    assert [sent.body for sent in graph.sent] == [pin, pin]


def test_c13_where_the_events_go_is_changed_here_alone(api: Api, graph: Graph) -> None:
    override = {"webhook_configuration": {"override_callback_uri": ""}}

    assert ask(api, "POST", NUMBER, json=override).json() == {"success": True}

    assert graph.sent == []


# --- everything else ---

EDGES = [(edge, AT_META) for edge in sorted(NUMBER_EDGES)] + [
    (edge, ACCOUNT) for edge in sorted(ACCOUNT_EDGES - {"message_templates"})
]


@pytest.mark.parametrize(("edge", "node"), EDGES)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_number_at_meta_has_all_that_meta_has(api: Api, graph: Graph, method: str, edge: str, node: str) -> None:
    body: dict[str, Any] = {} if method == "GET" else {"json": {"a": [1, {"b": None}]}}
    graph.replies[f"{method} /v23.0/{node}/{edge}/x"] = (201, {"id": "1"})

    answer = ask(api, method, f"{NUMBER}/{edge}/x", params={"fields": "a,b"}, **body)

    assert (answer.status_code, answer.json()) == (201, {"id": "1"}), answer.text
    sent = only(graph)
    assert (sent.method, sent.path) == (method, f"/v23.0/{node}/{edge}/x?fields=a%2Cb")
    assert sent.body == body.get("json", {})


@pytest.mark.parametrize(("node", "theirs"), [(NUMBER, AT_META), (AT_META, AT_META), (ACCOUNT, ACCOUNT)])
def test_what_is_not_known_here_belongs_to_the_node_that_was_named(
    api: Api, graph: Graph, node: str, theirs: str
) -> None:
    graph.replies[f"GET /v23.0/{theirs}/an_edge_of_next_year"] = (200, {"ok": True})

    assert ask(api, "GET", f"{node}/an_edge_of_next_year").json() == {"ok": True}
    assert only(graph).path == f"/v23.0/{theirs}/an_edge_of_next_year"


@pytest.mark.parametrize(("phone", "edge"), [(SANDBOX, "calls"), (PHONE, "flows"), (PHONE, "settings"),
                                             (SANDBOX, "groups"), (PHONE, "message_qrdls/X")])  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_phone_has_none_of_it(api: Api, graph: Graph, method: str, phone: str, edge: str) -> None:
    answer = ask(api, method, f"{phone}/{edge}", token=f"session-token-{phone}")

    assert (answer.status_code, answer.json()["error"]["code"]) == (501, 131000)
    assert "Meta" in answer.json()["error"]["error_data"]["details"]
    assert graph.sent == []


def test_a_path_that_nobody_has_is_not_found_and_a_wrong_method_is_named(api: Api) -> None:
    token = f"session-token-{PHONE}"

    assert ask(api, "GET", f"{PHONE}/nonsense", token=token).status_code == 404
    wrong = ask(api, "GET", f"{PHONE}/marketing_messages", token=token)
    assert (wrong.status_code, wrong.headers["Allow"]) == (405, "POST")


JSON, FORM, MULTIPART = "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"


def part(named: bytes, content: bytes) -> bytes:
    return b"--x\r\nContent-Disposition: form-data; " + named + b"\r\n\r\n" + content + b"\r\n--x--\r\n"


PART = part(b'name="a"', b"1")
HUGE = b'{"a":"' + b"x" * 5_000_000 + b'"}'


@pytest.mark.parametrize(
    ("content_type", "data", "there"),
    [
        (JSON, json.dumps({"a": 1, "access_token": TOKEN}).encode(), (JSON, b'{"a": 1}')),
        (FORM, f"a=1&access_token={TOKEN}&b=%C3%A9".encode(), (FORM, b"a=1&b=%C3%A9")),
        (FORM, b'{"a":"curl -d"}', (JSON, b'{"a":"curl -d"}')),
        (MULTIPART, PART, (MULTIPART, PART)),
        (JSON, b"", ("", b"")),
    ],
)
def test_the_body_is_passed_on_without_the_clients_token(
    api: Api, graph: Graph, content_type: str, data: bytes, there: tuple[str, bytes]
) -> None:
    graph.replies[f"POST /v23.0/{AT_META}/calls"] = (200, {"success": True})

    answer = ask(api, "POST", f"{NUMBER}/calls", data=data, content_type=content_type)

    assert answer.status_code == 200, answer.text
    sent = only(graph)
    assert (sent.content_type if data else "", sent.raw) == there


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        ("application/json", b"{nonsense"),
        (MULTIPART, PART.removesuffix(b"--x--\r\n")),
        (MULTIPART, part(b'name="access_token"', TOKEN.encode())),
        (MULTIPART, part(b"name=access_token", TOKEN.encode())),
    ],
)
def test_what_cannot_be_read_is_not_passed_on(api: Api, graph: Graph, content_type: str, data: bytes) -> None:
    answer = ask(api, "POST", f"{NUMBER}/calls", data=data, content_type=content_type)

    assert (answer.status_code, graph.sent) == (400, [])


def test_metas_errors_are_the_clients(api: Api, graph: Graph) -> None:
    status, document = error(138001, "Call error", "No permission")
    graph.replies[f"POST /v23.0/{AT_META}/calls"] = (status, document)

    answer = ask(api, "POST", f"{NUMBER}/calls", json={"to": CONTACT})

    assert (answer.status_code, answer.json()) == (status, document)


@pytest.mark.parametrize("reply", [error(190, "Invalid OAuth access token", status=401), error(190, "expired")])
def test_that_the_sessions_own_token_is_no_good_is_not_the_clients_mistake(
    api: Api, graph: Graph, reply: tuple[int, dict[str, Any]]
) -> None:
    graph.replies[f"GET /v23.0/{AT_META}/settings"] = reply

    answer = ask(api, "GET", f"{NUMBER}/settings")

    assert (answer.status_code, answer.json()["error"]["code"]) == (502, 131005)
    assert "webhookForward.token" in answer.json()["error"]["error_data"]["details"]


@pytest.mark.parametrize(
    "reply", [(200, b"<html>"), (502, b"bad gateway"), (200, b'["paging"'), (200, b'{"a":"' + b"x" * 5_000_000 + b'"}')]
)
def test_what_is_no_answer_of_metas_is_said_to_be_none(api: Api, graph: Graph, reply: tuple[int, bytes]) -> None:
    graph.replies[f"GET /v23.0/{AT_META}/settings"] = reply

    answer = ask(api, "GET", f"{NUMBER}/settings")

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, 131016)
    assert answer.headers["Retry-After"] == "5"


def test_a_short_token_spoils_no_answer(api: Api, graph: Graph) -> None:
    graph.replies["GET /v23.0/2009/message_templates"] = (200, {"data": [{"name": "test"}]})

    answer = ask(api, "GET", "2009/message_templates", token="session-token-5511999990009")

    assert answer.json() == {"data": [{"name": "test"}]}


def test_a_token_in_metas_answer_is_not_shown(api: Api, graph: Graph) -> None:
    graph.replies[f"GET /v23.0/{AT_META}/settings"] = (200, {"echo": f"x{META_TOKEN}y"})

    assert ask(api, "GET", f"{NUMBER}/settings").json() == {"echo": "xy"}


@pytest.mark.parametrize("edge", ["calls/..%2Fx", "calls/%3Fa=1", "calls/a b", "calls/" + "x" * 300, "calls/a/b/c/d/e"])
def test_no_other_path_can_be_reached(api: Api, graph: Graph, edge: str) -> None:
    assert ask(api, "GET", f"{NUMBER}/{edge}").status_code == 404
    assert graph.sent == []


def test_only_the_session_and_the_operator_may_ask(api: Api, graph: Graph) -> None:
    other = f"session-token-{SANDBOX}"

    assert ask(api, "GET", f"{NUMBER}/settings", token=other).status_code == 404
    assert ask(api, "GET", f"{NUMBER}/settings", token=None).status_code == 401
    assert graph.sent == []


# --- things of Meta's ---

FLOW, LIKE_A_PHONE = "1234567890123456", "497423354620536"


@pytest.mark.parametrize(
    "path", [FLOW, f"{FLOW}/assets", LIKE_A_PHONE, GROUP, f"{GROUP}/participants", f"{GROUP}/join_requests/1"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_thing_of_metas_is_asked_for_with_the_account_of_the_token(
    api: Api, graph: Graph, method: str, path: str
) -> None:
    graph.replies[f"{method} /v23.0/{path}"] = (200, {"id": "1"})

    body: dict[str, Any] = {} if method == "GET" else {"json": {"a": 1}}
    answer = ask(api, method, path, **body)

    assert (answer.status_code, answer.json()) == (200, {"id": "1"}), answer.text
    assert only(graph).path == f"/v23.0/{path}"


def test_a_thing_of_metas_is_nothing_to_who_has_no_account_there(api: Api, graph: Graph) -> None:
    for token in (f"session-token-{PHONE}", "wrong", None):
        assert ask(api, "GET", FLOW, token=token).status_code in (401, 404)
        assert ask(api, "GET", f"{FLOW}/assets", token=token).status_code in (401, 404)
    assert graph.sent == []


def test_a_thing_of_metas_is_ambiguous_to_who_has_several_accounts(api: Api, graph: Graph) -> None:
    refused = ask(api, "GET", FLOW, token=OPERATOR)

    assert (refused.status_code, refused.json()["error"]["code"]) == (409, 100)
    assert graph.sent == []


@pytest.mark.parametrize("node", [computed_waba_id(SANDBOX), computed_waba_id("5521977776666")])
def test_nobody_hears_which_numbers_are_here(api: Api, graph: Graph, node: str) -> None:
    graph.replies[f"GET /v23.0/{node}"] = error(100, "Unsupported get request")

    answer = ask(api, "GET", node)

    assert answer.status_code == 400
    assert [sent.token for sent in graph.sent] == [f"Bearer {META_TOKEN}"]


@pytest.mark.parametrize(
    "path",
    [
        "me", "me/accounts", "search", f"{FLOW}/access_tokens", f"{NUMBER}/access_token",
        f"{NUMBER}/message_templates?fields=name,owner{{access_token}}",
        f"{NUMBER}/message_templates?fields=name&fields=owner{{access_token}}",
        f'{NUMBER}/message_templates?fields=["name","access\\u005ftoken"]',
        f'{NUMBER}/message_templates?%20fields=["name","access\\u005ftoken"]',
    ],
)  # fmt: skip
def test_what_hands_out_more_than_a_thing_is_not_passed_on(api: Api, graph: Graph, path: str) -> None:
    answer = ask(api, "GET", path)

    assert answer.status_code in (401, 404) or (path == "me" and answer.json().keys() == {"id", "name"})  # our own
    assert graph.sent == []


@pytest.mark.parametrize(
    "options",
    [
        {"json": {"name": "x", "fields": "id,access_token"}}, {"json": {"fields": ["access_token"]}},
        {"data": {"name": "x", "fields": "id,owner{access_token}"}}, {"data": {"fields[0]": "access_token"}},
        {"data": {" fields": "access_token"}},
        {"data": part(b'name="fields"', b"id,access_token"), "content_type": MULTIPART},
        {"data": part(b"name=fields[]", b"access_token"), "content_type": MULTIPART},
    ],
)  # fmt: skip
def test_no_change_answers_with_a_secret(api: Api, graph: Graph, options: dict[str, Any]) -> None:
    """Graph answers a change with the fields that its body names."""
    assert ask(api, "POST", f"{NUMBER}/assigned_users", **options).status_code == 404
    assert graph.sent == []


def test_no_argument_makes_another_request_of_one(api: Api, graph: Graph) -> None:
    """Graph does what `method` says, whatever the request's own says; who may was decided by that."""
    for query in (
        "method=delete&name=n",
        "method=get&method=POST",
        "name=n&method=Delete",
        "method=",
        "%20method=delete",
    ):
        assert ask(api, "GET", f"{NUMBER}/message_templates?{query}").status_code == 400
    assert graph.sent == []

    graph.replies[f"GET {TEMPLATES}"] = (200, {"data": []})
    assert ask(api, "GET", f"{NUMBER}/message_templates?method=get&name=n").status_code == 200
    assert only(graph).path == f"{TEMPLATES}?name=n"


@pytest.mark.parametrize(
    "options",
    [
        {"json": {"method": "delete"}}, {"data": {"a": "1", "method": "DELETE"}},
        {"data": part(b"name=method", b"delete"), "content_type": MULTIPART},
    ],
)  # fmt: skip
def test_nor_does_one_in_a_body(api: Api, graph: Graph, options: dict[str, Any]) -> None:
    """A number at Meta is deleted by nobody: see `delete_node`."""
    for path in (NUMBER, f"{NUMBER}/message_qrdls/X"):
        assert ask(api, "POST", path, **options).status_code == 400
    assert graph.sent == []


def test_a_change_that_comes_as_a_form_with_parts_has_its_fields_at_meta(api: Api, graph: Graph) -> None:
    graph.replies[f"POST /v23.0/{AT_META}"] = (200, {"success": True})

    answer = ask(api, "POST", NUMBER, data=part(b'name="a"', b"1"), content_type=MULTIPART)

    assert answer.status_code == 200, answer.text
    assert (only(graph).content_type, only(graph).raw) == (FORM, b"a=1")


def test_a_template_that_is_kept_here_is_no_thing_of_metas(api: Api, graph: Graph) -> None:
    template = {"name": "here", "language": "en", "components": [{"type": "BODY", "text": "x"}]}
    created = ask(api, "POST", f"{SANDBOX}/message_templates", token=f"session-token-{SANDBOX}", json=template).json()

    assert ask(api, "GET", created["id"], token=OPERATOR).json()["name"] == "here"
    assert graph.sent == []


def test_the_phone_of_somebody_is_no_thing_of_metas(api: Api, graph: Graph) -> None:
    assert ask(api, "GET", "5521977776666").status_code in (401, 404)
    assert ask(api, "DELETE", NUMBER).status_code == 405
    assert graph.sent == []


def test_the_environments_account_is_the_operators(
    servers: PrivateServers, graph: Graph, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A session's token gets what is its number's alone, and reads the templates."""
    environment = {
        "WEBHOOK_FORWARD_URL": graph.url, "WEBHOOK_FORWARD_VERSION": "v23.0", "WEBHOOK_FORWARD_TOKEN": META_TOKEN,
        "WEBHOOK_FORWARD_PHONE_NUMBER_ID": AT_META, "WEBHOOK_FORWARD_BUSINESS_ACCOUNT_ID": ACCOUNT,
    }  # fmt: skip
    for path in (f"{AT_META}/settings", f"{ACCOUNT}/message_templates", f"{ACCOUNT}/analytics", FLOW):
        graph.replies[f"GET /v23.0/{path}"] = (200, {"data": []})
    with serve_api(servers, tmp_path_factory.mktemp("env"), UNOAPI_ALLOWED_HOSTS="127.0.0.0/8", **environment) as api:
        api.register([], phone=NUMBER, provider="forwarder", authToken=TOKEN)

        def status(method: str, path: str, token: str) -> int:
            return int(ask(api, method, path, token=token).status_code)

        assert status("GET", f"{NUMBER}/settings", TOKEN) == 200
        assert status("GET", f"{NUMBER}/message_templates", TOKEN) == 200
        assert [status("GET", path, TOKEN) for path in (f"{NUMBER}/analytics", FLOW)] == [403, 403]
        assert status("DELETE", f"{NUMBER}/message_templates/n", TOKEN) == 403
        assert status("GET", f"{NUMBER}/message_templates?method=delete&name=n", TOKEN) == 400
        assert [status("GET", path, OPERATOR) for path in (f"{NUMBER}/analytics", FLOW)] == [200, 200]

        graph.replies[f"GET /v23.0/{ACCOUNT}"] = (200, {"name": "the operator's"})
        asked = {token: ask(api, "GET", ACCOUNT, token=token, params={"fields": "name"}) for token in (TOKEN, OPERATOR)}
        assert [answer.json()["name"] for answer in asked.values()] == [NUMBER, "the operator's"]
