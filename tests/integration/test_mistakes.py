"""Mistakes that people make over HTTP: each answer names what is wrong, where, and what to do about it."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest

from tests.support.api import api as serve_api
from tests.support.fakes import CONTACT, PHONE
from unoapi.devenv.packages import REDIS
from unoapi.devenv.servers import PrivateServers
from unoapi.errors.validation import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.api import Answer, Api

SESSION_TOKEN = f"session-token-{PHONE}"
MESSAGES, REGISTER = f"/v15.0/{PHONE}/messages", f"/v15.0/{PHONE}/register"
TEXT = {"to": CONTACT, "type": "text", "text": {"body": "hello"}}
HOOK = {"id": "crm", "urlAbsolute": "https://crm.example/hook"}
BUTTONS = [{"type": "reply", "reply": {"id": f"{number}", "title": f"Button {number}"}} for number in range(4)]
NOTHING = object()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("redis")
    with (
        PrivateServers(folder, wanted=(REDIS,)) as redis,
        serve_api(redis, tmp_path_factory.mktemp("mistakes")) as running,
    ):
        running.register([HOOK])
        yield running


def interactive(**fields: Any) -> dict[str, Any]:
    return {"to": CONTACT, "type": "interactive", "interactive": {"body": {"text": "Shall we?"}, **fields}}


MESSAGE_MISTAKES: list[tuple[Any, str]] = [
    ({"type": "text", "text": {"body": "x"}}, "to: is missing"),
    ({**TEXT, "to": "abc"}, "to: must be a phone number in international form"),
    ({**TEXT, "to": [CONTACT]}, "to: must be text"),
    ({"to": CONTACT, "type": "text"}, 'text: is missing; for example {"text": {"body": '),
    ({"to": CONTACT, "type": "text", "txt": {"body": "x"}}, "text: is missing; did you mean text by txt?"),
    ({**TEXT, "text": "hello"}, 'text: must be an object: {…}; for example {"text": {"body": '),
    ({**TEXT, "text": {"boddy": "x"}}, "text.body: is missing; did you mean body by boddy?"),
    ({**TEXT, "text": {"body": ""}}, "text.body: must not be empty"),
    ({**TEXT, "text": {"body": ["x"]}}, "text.body: must be text"),
    ({**TEXT, "text": {"body": "x", "preview_url": "perhaps"}}, "text.preview_url: must be true or false"),
    ({**TEXT, "type": "txt"}, "Messages of type 'txt' are not supported; did you mean text? Supported: text, image"),
    ({**TEXT, "messaging_product": "whatsap"}, "messaging_product: must be 'whatsapp'"),
    ({**TEXT, "recipient_type": "grup"}, "recipient_type: must be 'individual' or 'group'; did you mean group?"),
    ({**TEXT, "ttl": -1}, "ttl: must be at least 0"),
    ({**TEXT, "context": "wamid.X"}, "context: must be an object"),
    ({"to": CONTACT, "type": "image", "image": {}}, "image: either id or link is required; for example"),
    ({"to": CONTACT, "type": "image", "image": {"link": "a.jpg"}}, "image.link: must be a complete address such as"),
    (
        {"to": CONTACT, "type": "image", "image": {"link": "data:image/png;base64,iV"}},
        "upload a file first (POST",
    ),
    (
        {"to": CONTACT, "type": "location", "location": {"latitude": "x", "longitude": 1}},
        "location.latitude: must be a",
    ),
    (
        {"to": CONTACT, "type": "location", "location": {"latitude": 100, "longitude": 1}},
        "latitude: must be at most 90",
    ),
    ({"recipient": "abc", "type": "text", "text": {"body": "x"}}, "to: must be a phone number in international form"),
    ({"to": CONTACT, "type": "contacts", "contacts": {}}, "contacts: must be a list: […]"),
    ({"to": CONTACT, "type": "reaction", "reaction": {"emoji": "👍"}}, "reaction.message_id: is missing"),
    (interactive(type="button", action={"buttons": BUTTONS}), "interactive.action.buttons: has at most 3 items, not 4"),
    (interactive(type="buttons", action={}), "interactive: type must be one of button, list, cta_url"),
    (
        interactive(type="list", action={"button": "Open", "sections": []}),
        "interactive.action.sections: must not be em",
    ),
    (interactive(type="button", header={"type": "image"}, action={"buttons": BUTTONS[:1]}), "header.image: is missing"),
    ({"status": "readd", "message_id": "wamid.X"}, "status: must be 'read' or 'deleted'; did you mean read?"),
    ({"status": "read"}, "message_id: is missing"),
    ([TEXT], "The body must be a JSON object"),
    ({**TEXT, "type": ["text"]}, "type: must be text, not list. Supported: text, image"),
    ({"to": CONTACT, "image": {"link": "https://x.example/a.png"}}, 'did you mean "type": "image"?'),
    ({**TEXT, "type": "image"}, 'image: is missing, and text is there; did you mean "type": "text"?'),
    ({"To": CONTACT, "type": "text", "text": {"body": "x"}}, "to: is missing; did you mean to by To?"),
    ({**TEXT, "to": "0000000000"}, "no country code begins with 0"),
    ({**TEXT, "to": f"{CONTACT},{CONTACT}"}, "to: must be a phone number in international form"),
    ({"to": CONTACT, "type": "image", "image": {"id": "999999999"}}, "image.id: no uploaded media of this number has"),
    ({"to": CONTACT, "type": "image", "image": {"link": "file:///etc/passwd"}}, "must be an http or https address"),
    ({"to": CONTACT, "type": "template", "template": {"language": {"code": "pt_BR"}}}, "template.name: is missing"),
    ({"to": CONTACT, "type": "reaction", "reaction": {"message_id": "wamid.X", "emoji": ":+1:"}}, "must be one emoji"),
    ({"status": "read", "message_id": "wamid.X", "typing_indicator": True}, "typing_indicator: must be an object"),
]

REGISTER_MISTAKES: list[tuple[Any, str]] = [
    ({"webhoks": []}, "webhoks: is not known; did you mean webhooks?"),
    ({"auth-token": "x" * 20}, "auth-token: is not known; did you mean authToken?"),
    ({"webhooks": {}}, "webhooks: must be a list"),
    ({"webhooks": HOOK}, "webhooks: must be a list"),
    ({"webhooks": [{**HOOK, "urlAbsolut": "x"}]}, "webhooks[crm].urlAbsolut: is not known; did you mean urlAbsolute?"),
    ({"webhooks": [{**HOOK, "urlAbsolute": "crm.example/hook"}]}, "webhooks[crm].urlAbsolute: must be a complete addr"),
    (
        {"webhooks": [{**HOOK, "urlAbsolute": "ftp://crm.example"}]},
        "webhooks[crm].urlAbsolute: must begin with http://",
    ),
    ({"webhooks": [{"id": "two", "timeoutMs": "5s"}]}, "webhooks[two].timeoutMs: must be a whole number"),
    (
        {"webhooks": [{**HOOK, "sendGroupMessages": "perhaps"}]},
        "webhooks[crm].sendGroupMessages: must be true or false",
    ),
    ({"webhooks": [{**HOOK, "secret": "whsec_…"}]}, "webhooks[crm].secret: base64 must follow whsec_; this makes one"),
    ({"webhooks": [{**HOOK, "id": "a b"}]}, "webhooks.id: 1 to 100 letters, digits"),
    ({"webhooks": [{"id": "three"}]}, "Webhook 'three' needs a url or urlAbsolute"),
    ({"webhooks": [{**HOOK, "urlAbsolute": "http://127.0.0.1/x"}]}, "only UNOAPI_ALLOWED_HOSTS can allow it"),
    ({"authToken": "a"}, "authToken: a token has at least 16 characters"),
    ({"provider": "sandbx"}, "did you mean sandbox?"),
    ({"connectionType": "qr"}, "connectionType: must be 'qrcode', 'pairing_code' or 'forward'"),
    ({"webhookForward": {"version": "21"}}, "webhookForward.version: must have the form v21.0"),
    (
        {"webhookForward": {"phone_number_id": "1"}},
        "webhookForward.phone_number_id: is not known; did you mean phoneNu",
    ),
    ({"ignoreGroupMessages": "perhaps"}, "ignoreGroupMessages: must be true or false"),
    ({"overrideWebhooks": "maybe", "webhooks": [HOOK]}, "overrideWebhooks: must be true or false"),
    ({"overlapSeconds": "1d"}, "overlapSeconds: must be a whole number from 0 to 604800"),
    ({"authToken": "segredo-que-ninguém-envia"}, "authToken: a token is plain text that a header can carry"),
    ({"webhooks": [HOOK["urlAbsolute"]]}, "webhooks[0]: must be an object"),
    ({"webhooks": [{"id": "two", "urlAbsolute": ""}]}, "Webhook 'two' needs a url or urlAbsolute"),
    ({"webhooks": [{**HOOK, "urlAbsolute": "https://<your-host>/hook"}]}, "must be a complete address such as"),
    ({"webhooks": [{**HOOK, "token": "a\nb"}]}, "a header cannot carry"),
    ({"proxyUrl": "proxy:3128"}, "proxyUrl: a proxy is http://host:port, https://host:port, socks5://host:port"),
    ({"bulkHours": "9-18"}, "bulkHours: hours are written as 09:00-18:00"),
    ({"bulkTimezone": "Brasilia"}, "bulkTimezone: a time zone is named as America/Sao_Paulo"),
]

PATH_MISTAKES: list[tuple[str, str, Any, int, str]] = [
    ("POST", f"/v15.0/{PHONE}/message", TEXT, 404, "did you mean POST /<version>/<phone>/messages? See /docs"),
    ("POST", f"/v15.0/{PHONE}/mesages", TEXT, 404, "/messages? See /docs"),
    ("POST", f"/v15.0/+{PHONE}/messages", TEXT, 404, "a number in a path is digits only, without +"),
    ("DELETE", MESSAGES, NOTHING, 405, "DELETE is not allowed on this path, but GET and POST"),
    ("GET", f"/v15.0/{PHONE}/marketing_messages", NOTHING, 405, "GET is not allowed on this path, but POST"),
    ("GET", "/health/redy", NOTHING, 404, "did you mean GET /health/ready?"),
    ("GET", "/admin/deads", NOTHING, 404, "did you mean GET /admin/dead?"),
    ("GET", "/admin/dead?older_than=3", NOTHING, 400, "older_than: is not known here; did you mean older_than_s?"),
    ("GET", "/admin/dead?limit=0", NOTHING, 400, "limit: must be at least 1"),
    ("POST", "/admin/dead/replay", {}, 400, 'Name a filter, or send {"all": true}'),
    ("POST", "/admin/dead/purge", {"fone": "1"}, 400, "fone: is not known here; there are id, queue, phone, webhook"),
    ("POST", f"/admin/endpoints/{PHONE}/crmm/test", NOTHING, 404, "has no webhook 'crmm'. It has: 'crm'"),
    ("POST", f"/admin/endpoints/{PHONE}/crm/pause", {"seconds": "1h"}, 400, "seconds: must be a whole number"),
    ("POST", f"/{PHONE}/blacklist/crmm", {"to": CONTACT, "ttl": 5}, 404, "has no webhook 'crmm'. It has: 'crm'"),
    ("POST", f"/v15.0/{PHONE}/templates", {"name": "a b"}, 400, "name: must be letters, digits, '_' and '-' only"),
    ("POST", f"/v15.0/{PHONE}/media", {}, 400, "file: is missing"),
    ("POST", f"/sandbox/{PHONE}/messages", {"from": "abc", "type": "text"}, 400, "from: must be a phone number in"),
    (
        "POST",
        "/sandbox/5511888880000/messages",
        {"from": CONTACT, "type": "text"},
        400,
        'with {"provider": "sandbox"} f',
    ),
    ("POST", f"/timer/{PHONE}/{CONTACT}", {"message": "x"}, 400, "timeout: is missing"),
    ("POST", f"/{PHONE}/contacts", {"contacts": CONTACT}, 400, "contacts: must be a list"),
    ("POST", f"/V15.0/{PHONE}/Messages", TEXT, 404, "did you mean POST /<version>/<phone>/messages? See /docs"),
    ("POST", "/v15.0/<P>/messages", TEXT, 404, "did you mean POST /<version>/<phone>/messages? See /docs"),
    ("GET", f"/v15.0/{PHONE}/sessions", NOTHING, 404, "did you mean GET /sessions?"),
    ("GET", "/metrics", NOTHING, 404, "UNOAPI_METRICS_PORT"),
    ("GET", "/openapi.json", NOTHING, 404, "for programs at /docs/openapi.json"),
    ("POST", f"/v15.0/{PHONE}/bulk/UNO.CMD.0123456789ABCDEF/pauze", {}, 404, "/bulk/<campaign_id>/pause? See"),
    ("GET", f"{MESSAGES}?since=yesterday", NOTHING, 400, "since: must be a time such as 2026-01-31T08:00:00Z"),
    ("GET", f"{MESSAGES}?contact=77", NOTHING, 400, "contact: must be a phone, its last digits (at least 4)"),
    ("GET", f"{MESSAGES}?state=lost", NOTHING, 400, "state: must be 'accepted', 'waiting', 'sent'"),
    ("GET", "/admin/dead?reason=refusd", NOTHING, 400, "no dead letter has it; did you mean refused?"),
    ("GET", "/admin/dead?phone=%2B55", NOTHING, 400, "phone: must be a number of this installation: digits only"),
    ("GET", "/admin/activity?span=year", NOTHING, 400, "span: must be 'hour', 'day', 'week' or 'month'"),
    ("GET", "/admin/endpoints/5511888880000", NOTHING, 404, "The number 5511888880000 is not registered"),
    ("POST", "/admin/endpoints/5511888880000/crm/test", NOTHING, 404, "The number 5511888880000 is not registered"),
    ("POST", f"/v15.0/{PHONE}/bulk", {"rows": [{"phone": "1"}], "message": {"type": "txt"}}, 400, "did you mean text?"),
    ("POST", f"/timer/{PHONE}/{CONTACT}", {"message": ["x"], "timeout": 5000}, 400, "message: must be text"),
    ("POST", f"/timer/{PHONE}/{CONTACT}", {"message": "x", "timeout": "5s"}, 400, "timeout: must be a whole number"),
    ("POST", f"/{PHONE}/blacklist/crm", {"to": CONTACT, "ttl": "1d"}, 400, "ttl: must be a whole number"),
    ("POST", f"/sandbox/{PHONE}/messages", {"type": "text", "text": {"body": "x"}}, 400, "from: is missing"),
    ("POST", f"/sandbox/{PHONE}/messages", {"from": CONTACT, "type": "text", "text": "x"}, 400, "text: must be an obj"),
    (
        "POST",
        f"/v15.0/{PHONE}/message_templates",
        {"name": "hi", "components": [{"type": "BODDY", "text": "x"}]},
        400,
        "components.0.type: is not known; did you mean BODY?",
    ),
    (
        "POST",
        f"/v15.0/{PHONE}/whatsapp_business_profile",
        {"abouts": "x"},
        400,
        "abouts: is not known; did you mean ab",
    ),
    (
        "GET",
        f"{MESSAGES}/wamid.nope/trace",
        NOTHING,
        404,
        "another number's, older than UNOAPI_TRACE_TTL, or not accept",
    ),
]


def details(answer: Answer) -> str:
    return str(answer.json()["error"]["error_data"]["details"])


@pytest.mark.parametrize(("body", "words"), MESSAGE_MISTAKES, ids=[words[:40] for _, words in MESSAGE_MISTAKES])
def test_a_mistake_in_a_message_is_named(api: Api, body: Any, words: str) -> None:
    answer = api.post(MESSAGES, body)

    assert answer.status_code == 400
    assert words in details(answer)
    assert api.queues.depth() == 0


@pytest.mark.parametrize(("body", "words"), REGISTER_MISTAKES, ids=[words[:40] for _, words in REGISTER_MISTAKES])
def test_a_mistake_in_a_configuration_is_named_and_nothing_is_stored(api: Api, body: Any, words: str) -> None:
    before = api.uno.sessions.config(PHONE)

    answer = api.post(REGISTER, body)

    assert answer.status_code == 400
    assert words in details(answer)
    assert api.uno.sessions.config(PHONE) == before


@pytest.mark.parametrize(("method", "path", "body", "status", "words"), PATH_MISTAKES)
def test_a_mistake_in_a_path_or_a_filter_is_named(  # noqa: PLR0917 (a row of the table)
    api: Api, method: str, path: str, body: Any, status: int, words: str
) -> None:
    answer = api.request(method, path, **({} if body is NOTHING else {"json": body}))

    assert answer.status_code == status
    assert words in details(answer)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ('{"to": 1,,}', "line 1, column 10"),
        ('{"to": "1"\n "type": "text"}', "expecting ',' delimiter, line 2, column 2"),
        (b'{"to": "\xff"}', "it is not UTF-8, byte 8 (the header Content-Type may name it: "),
        (gzip.compress(b"{}", mtime=0), "it is compressed with gzip"),
        ("{}".encode("utf-16"), "it is UTF-16, and must be UTF-8"),
        ("{'to': '1'}", "names stand in straight double quotes"),
        ('{"to": "1",}', "no comma before a closing bracket"),
        ('{"text": "a\nb"}', "a line break within a text is written \\n"),
        ('{"ttl": NaN}', "NaN and Infinity are no numbers in JSON"),
        ('{"ttl": 1e999}', "a number is too large"),
        ('{"preview": True}', "true, false and null are written small"),
        ('{"to": "1"} {"to": "2"}', "it is one object"),
    ],
)
def test_a_body_that_is_no_json_is_answered_with_the_place(api: Api, raw: Any, words: str) -> None:
    answer = api.post(MESSAGES, data=raw, content_type="application/json")

    assert answer.status_code == 400
    assert words in details(answer)


@pytest.mark.parametrize(
    ("path", "token", "words"),
    [
        ("/admin/dead", SESSION_TOKEN, "send the operator's token (UNOAPI_AUTH_TOKEN)"),
        ("/admin/dead", None, "Send Authorization: Bearer <token>, with the operator's token"),
        (f"/v15.0/{PHONE}", "a-wrong-token-of-somebody", "send the number's token (its authToken), or the operator's"),
        (f"/v15.0/{PHONE}", None, "Send Authorization: Bearer <token>, with the number's token"),
        ("/sessions", "a-wrong-token-of-somebody", "send the token of a number that is registered, or the operator's"),
    ],
)
def test_a_refused_token_is_answered_with_the_one_that_is_needed(
    api: Api, path: str, token: str | None, words: str
) -> None:
    answer = api.get(path, token=token)

    assert answer.status_code == 401
    assert words in details(answer)


def test_a_message_of_a_number_that_nothing_serves_is_refused_with_what_to_do(api: Api) -> None:
    answer = api.send("hello", phone="5511888880000")

    assert answer.status_code == 404
    assert "5511888880000 is not registered: POST /v15.0/5511888880000/register first" in details(answer)
    assert api.queues.depth() == 0


def test_a_message_of_a_number_that_is_connected_is_taken_though_it_was_never_stored(api: Api) -> None:
    api.redis.set("unoapi-status:5511888880001", "online")

    answer = api.send("hello", phone="5511888880001")

    assert answer.status_code == 200
    api.queues.jobs("unoapi.incoming")


def test_a_field_that_nothing_reads_is_kept_and_named_and_one_of_the_node_version_is_not(api: Api) -> None:
    answer = api.post(REGISTER, {"crmTeam": "a", "wavoipToken": "b"}).json()

    assert answer["crmTeam"] == "a"
    assert answer["warnings"] == ["crmTeam: kept, and read by nothing here"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            {**TEXT, "text": {"body": "x", "previewUrl": True}},
            "text.previewUrl: is not known; did you mean preview_url?",
        ),
        ({**TEXT, "recipientType": "individual"}, "recipientType: is not known; did you mean recipient_type?"),
        (
            {"to": CONTACT, "type": "document", "document": {"link": "https://x.example/a.pdf", "file_name": "a"}},
            "document.file_name: is not known; did you mean filename?",
        ),
    ],
)
def test_a_field_of_a_message_that_nearly_is_one_is_named_beside_the_id(api: Api, body: Any, words: str) -> None:
    answer = api.post(MESSAGES, body)

    assert answer.status_code == 200
    assert answer.json()["warnings"] == [words]


@pytest.mark.parametrize(
    ("phone", "body", "words"),
    [
        ("05511999990000", {}, "is no number in international form"),
        (PHONE, {"webhooks": [{**HOOK, "timeoutMs": 90_000}]}, "timeoutMs: more than 60000 counts as 60000"),
        (
            "5511777770002",
            {"webhooks": [{"id": "old", "url": "https://crm.example/hook?token=1"}]},
            "webhooks[old].url: /5511777770002 is appended to all of it, its query too; urlAbsolute is used as it is",
        ),
        ("5511777770000", {"provider": "forwarder"}, "needs webhookForward"),
        ("5511777770001", {"authToken": ""}, "the operator's alone opens it"),
        (PHONE, {"webhooks": [HOOK, HOOK]}, "webhooks[crm]: is there 2 times; those that differ have ids of their own"),
    ],
)
def test_what_does_something_else_than_one_may_think_is_named(api: Api, phone: str, body: Any, words: str) -> None:
    answer = api.post(f"/v15.0/{phone}/register", body)

    assert answer.status_code == 200
    assert words in "; ".join(answer.json()["warnings"])


def test_an_answer_of_register_can_be_posted_back_and_shows_the_id_of_each_webhook(api: Api) -> None:
    api.post(REGISTER, {"webhooks": [{"urlAbsolute": "https://crm.example/other"}]})
    answer = api.post(REGISTER, {"crmTeam": "a"}).json()

    again = api.post(REGISTER, answer)

    assert again.status_code == 200
    assert {webhook["id"] for webhook in again.json()["webhooks"]} == {"crm", "default"}


def test_of_more_webhooks_than_a_number_has_no_names_are_compared(api: Api) -> None:
    """Each comparison takes half a tenth of a millisecond, and others wait meanwhile."""
    names = {f"zzNewMes{number}x": 1 for number in range(50)}
    webhooks = [{"id": f"w{number}", "urlAbsolute": HOOK["urlAbsolute"], **names} for number in range(200)]
    with patch("unoapi.services.sessions.nearest", wraps=nearest) as compared:
        answer = api.post(REGISTER, {"webhooks": webhooks})

    assert answer.status_code == 400
    assert compared.call_count <= 20 * 50


def test_the_trace_id_of_an_answer_is_in_the_log_and_no_value_of_the_request(api: Api) -> None:
    answer = api.post(MESSAGES, {**TEXT, "to": "a-secret-that-is-no-number"})

    assert answer.json()["error"]["fbtrace_id"] in api.log.getvalue()
    assert "a-secret-that-is-no-number" not in api.log.getvalue() + answer.text


@pytest.mark.parametrize(
    ("written", "meant"),
    [("webhoks", "webhooks"), ("WEBHOOKS", "webhooks"), ("web_hooks", "webhooks"), ("colour", ""), ("w" * 10_000, "")],
)
def test_a_name_is_compared_by_its_letters_and_only_when_it_is_short(written: str, meant: str) -> None:
    assert nearest(written, ["webhooks", "label"]) == meant


def test_a_number_whose_configuration_is_not_valid_says_so_and_is_corrected(api: Api) -> None:
    phone, token = "5511999990077", "a-session-token-of-old"
    api.redis.set(f"unoapi-config:{phone}", f'{{"authToken": "{token}", "provider": "forward"}}')

    to_operator = api.get(f"/session/{phone}/state")
    to_others = api.post(f"/v15.0/{phone}/messages", TEXT, token=token)
    corrected = api.post(f"/v15.0/{phone}/register", {"provider": "sandbox"})
    sent = api.post(f"/v15.0/{phone}/messages", TEXT, token=token)

    why = f"the stored configuration of {phone} is not valid: Session: provider: literal_error."
    assert (to_operator.status_code, details(to_operator)) == (503, why)
    assert (to_others.status_code, "literal_error" in to_others.text) == (503, False)
    assert "is not there now, or is not valid" in details(to_others)
    assert (corrected.status_code, sent.status_code) == (200, 200)
