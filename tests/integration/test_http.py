"""The HTTP API: what is accepted is queued, what is refused is not.

In this process, over the real Redis; what is about sockets, gunicorn or RabbitMQ runs on real processes.
"""

from __future__ import annotations

import json
import re
import socket
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.support.api import Answer, Api
from tests.support.api import api as serve_api
from tests.support.receiver import Receiver
from tests.support.stack import CONTACT, OPERATOR, PHONE, Stack, eventually, stack
from unoapi.models.jobs import FanOut, SendMessage
from unoapi.telemetry.logging import LISTENER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.devenv.servers import PrivateServers

OTHER = "5521977776666"
UNSTORED = "5531966665555"
TOKEN = f"session-token-{PHONE}"
OTHER_TOKEN = f"session-token-{OTHER}"
LIMIT = 20_000
MESSAGES = f"/v15.0/{PHONE}/messages"
TEXT = {"messaging_product": "whatsapp", "to": CONTACT, "type": "text", "text": {"body": "hello"}}
ENVIRONMENTS_TOKEN = "token-of-the-environments-webhook"
WEBHOOK = {"id": "crm", "urlAbsolute": "http://127.0.0.1:1/hook", "token": "webhook-token", "secret": "webhook-secret"}


@pytest.fixture(scope="module")
def api(servers: PrivateServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The API alone: what is accepted stays on its queue."""
    settings = {
        "UNOAPI_BODY_MAX_BYTES": str(LIMIT),
        "UNOAPI_ALLOWED_HOSTS": "127.0.0.0/8",
        "WEBHOOK_URL": "http://127.0.0.1:1/environment",
        "WEBHOOK_TOKEN": ENVIRONMENTS_TOKEN,
    }
    with serve_api(servers, tmp_path_factory.mktemp("http"), **settings) as running:
        for phone in (PHONE, OTHER):
            running.register([WEBHOOK], phone=phone)
        yield running


@pytest.fixture(scope="module")
def hooks() -> Iterator[Receiver]:
    with Receiver() as running:
        running.record("full")
        yield running


@pytest.fixture(scope="module")
def gateway(servers: PrivateServers, hooks: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Real processes, for what is about them."""
    settings = {
        "UNOAPI_BODY_MAX_BYTES": str(LIMIT),
        "WEBHOOK_URL": hooks.url("/environment"),
        "WEBHOOK_HEADER": "X-Key",
        "WEBHOOK_TOKEN": "the-key",
    }
    with stack(servers, tmp_path_factory.mktemp("gateway"), **settings) as running:
        running.web()
        yield running


@pytest.fixture(autouse=True)
def _empty_queues(request: pytest.FixtureRequest) -> None:
    if "api" in request.fixturenames:
        request.getfixturevalue("api").queues.jobs("unoapi.incoming", "unoapi.outgoing")


def queued(api: Api) -> int:
    return sum(api.queues.depth(f"unoapi.{queue}") for queue in ("incoming", "outgoing", "notification", "dead"))


def raw(api: Api, body: bytes | str, path: str = MESSAGES) -> Answer:
    return api.post(path, data=body, content_type="application/json")


def check_error(answer: Answer | requests.Response, status: int, code: int | None = None) -> dict[str, Any]:
    """Fail unless it is a Cloud API error object with every field that clients read."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    assert list(answer.json()) == ["error"]
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "code", "error_data", "fbtrace_id"}
    assert error["message"].startswith(f"(#{error['code']}) ")
    assert error["type"] == "OAuthException"
    assert isinstance(error["code"], int)
    assert set(error["error_data"]) == {"messaging_product", "details"}
    assert error["error_data"]["messaging_product"] == "whatsapp"
    assert error["error_data"]["details"]
    assert error["fbtrace_id"]
    if code is not None:
        assert error["code"] == code
    return error


# --- bodies that cannot be read ---


@pytest.mark.parametrize(
    "body",
    [
        b"{", b'{"a": 1,}', b"\xff\xfe", b"hello", b'{"a": NaN}', b'{"a": -Infinity}',
        b"[" * 9_000, b'{"a":' * 3_000,
        b'{"a": ' + b"1" * 5_000 + b"}",
    ],
    ids=lambda body: repr(body[:12]),
)  # fmt: skip
def test_a_body_that_is_no_json_is_refused(api: Api, body: bytes) -> None:
    error = check_error(raw(api, body), 400, 100)

    assert "not valid JSON" in error["error_data"]["details"]
    assert queued(api) == 0


@pytest.mark.parametrize("body", [b"", b" \r\n", b"{}"])
def test_a_body_that_says_nothing_is_refused_with_what_is_missing(api: Api, body: bytes) -> None:
    """Parameters may stand in the query, too: an empty body is none that cannot be read."""
    error = check_error(raw(api, body), 400, 131008)

    assert "text: is missing" in error["error_data"]["details"]
    assert queued(api) == 0


@pytest.mark.parametrize("body", ["[]", "5", '"text"', "null", "true", '[{"messaging_product": "whatsapp"}]'])
@pytest.mark.parametrize(
    "path", [MESSAGES, f"/v15.0/{PHONE}/register", f"/webhooks/whatsapp/{PHONE}", f"/sandbox/{PHONE}/messages"]
)
def test_a_body_that_is_no_object_is_refused_everywhere(api: Api, path: str, body: str) -> None:
    error = check_error(raw(api, body, path), 400, 100)

    assert "JSON object" in error["error_data"]["details"]
    assert queued(api) == 0


@pytest.mark.parametrize("depth", [50, 200, 400, 700, 800, 850, 900, 920, 940, 960, 980, 1000, 2000])
def test_a_deep_body_is_taken_or_refused_but_never_breaks_anything(api: Api, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    event = {"entry": [{"changes": [{"value": {"messages": [{"id": "1", "x": "DEEP"}]}}]}]}
    written = {"from": CONTACT, "type": "location", "location": "DEEP"}
    documents = {
        MESSAGES: {**TEXT, "extra": "DEEP"},
        f"/webhooks/whatsapp/{PHONE}": event,
        f"/sandbox/{PHONE}/messages": written,
    }
    bodies = {path: json.dumps(document).replace('"DEEP"', deep) for path, document in documents.items()}

    statuses = {path: raw(api, body, path).status_code for path, body in bodies.items()}

    assert set(statuses.values()) <= ({200} if depth <= 50 else {400})


def test_a_body_over_the_limit_is_refused_and_one_below_is_not(api: Api) -> None:
    padding = {"extra": "x" * (LIMIT - len(json.dumps({**TEXT, "extra": ""})))}
    fits = json.dumps({**TEXT, **padding})

    assert len(fits) == LIMIT
    check_error(raw(api, fits + " "), 413)
    assert queued(api) == 0
    assert raw(api, fits).status_code == 200


def test_a_body_in_pieces_over_the_limit_is_refused_too(gateway: Stack) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(30):
            yield b"x" * 1000

    headers = {"Authorization": f"Bearer {OPERATOR}"}
    answer = requests.post(f"{gateway.url}{MESSAGES}", data=pieces(), headers=headers, timeout=10)

    check_error(answer, 413)


def test_a_client_that_leaves_in_the_middle_harms_nobody(gateway: Stack) -> None:
    head = f"POST {MESSAGES} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {OPERATOR}\r\nContent-Length: 100\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.sendall(head.encode() + b'{"messaging')

    assert gateway.get("/ping").text == "pong!"
    assert [gateway.depth(f"unoapi.{queue}") for queue in ("incoming", "outgoing", "notification", "dead")] == [0] * 4


# --- messages that do not fit ---


@pytest.mark.parametrize(
    ("change", "code", "named"),
    [
        ({"type": "hologram"}, 131051, "hologram"),
        ({"type": "image"}, 131008, "image"),
        ({"type": 5}, 131051, "int"),
        ({"type": ["text"]}, 131051, "text"),
        ({"to": None}, 131008, "to"),
        ({"to": "Maria"}, 131009, "to"),
        ({"text": {}}, 131008, "text.body"),
        ({"text": None}, 131009, "text"),
        ({"text": {"body": ""}}, 131009, "text.body"),
        ({"text": {"body": "x" * 4097}}, 131009, "text.body"),
        ({"text": {"body": "\ud83d"}}, 131009, "text.body"),
        ({"messaging_product": "telegram"}, 131009, "messaging_product"),
    ],
)
def test_a_message_that_does_not_fit_is_refused_and_names_its_field(
    api: Api, change: dict[str, Any], code: int, named: str
) -> None:
    error = check_error(api.post(MESSAGES, {**TEXT, **change}), 400, code)

    assert named in error["error_data"]["details"]
    assert queued(api) == 0


@pytest.mark.parametrize("field", ["to", "text"])
def test_a_missing_field_is_named(api: Api, field: str) -> None:
    error = check_error(api.post(MESSAGES, {key: value for key, value in TEXT.items() if key != field}), 400, 131008)

    assert field in error["error_data"]["details"]
    assert queued(api) == 0


def test_a_refusal_does_not_quote_what_was_sent(api: Api) -> None:
    answer = api.post(MESSAGES, {**TEXT, "to": "my-secret-friend", "text": {"body": ["my-secret-text"]}})

    assert "my-secret" not in answer.text
    check_error(answer, 400)


# --- tokens ---


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "wrong"},
        {"Authorization": f"Basic {OPERATOR}"},
        {"Authorization": f"Bearer {OPERATOR}x"},
        {"Authorization": "Bearer \xe9"},
    ],
    ids=repr,
)
def test_without_the_right_token_nothing_is_taken(api: Api, headers: dict[str, str]) -> None:
    answer = api.post(MESSAGES, TEXT, token=None, headers=headers)

    check_error(answer, 401)
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert queued(api) == 0


@pytest.mark.parametrize("token", [f"Bearer {OTHER_TOKEN}", OTHER_TOKEN, f"OAuth {OTHER_TOKEN}"])
def test_to_the_token_of_another_number_a_number_is_one_that_nobody_has(api: Api, token: str) -> None:
    """C4: clients take a 401 for the end of their account; and who is served here is nobody's business."""
    for path in (MESSAGES, MESSAGES.replace(PHONE, UNSTORED), MESSAGES.replace(PHONE, "123456789012345")):
        answer = api.post(path, TEXT, token=None, headers={"Authorization": token})
        error = check_error(answer, 404, 100)
        assert error["error_data"]["details"] == "There is nothing of this id, or the token does not open it."

    assert queued(api) == 0


@pytest.mark.parametrize("name", ["access_token", "hub.verify_token"])
def test_a_wrong_token_in_the_query_opens_nothing(api: Api, name: str) -> None:
    for token in ("wrong", OTHER_TOKEN, ""):
        answer = api.post(MESSAGES, TEXT, token=None, params={name: token})
        check_error(answer, 404 if (name, token) == ("access_token", OTHER_TOKEN) else 401)

    assert queued(api) == 0


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"Authorization": f"Bearer {TOKEN}"}, {}),
        ({"Authorization": f"bearer {TOKEN}"}, {}),
        ({"Authorization": TOKEN}, {}),
        ({"Authorization": f"Bearer {OPERATOR}"}, {}),
        ({}, {"access_token": TOKEN}),
        ({}, {"access_token": OPERATOR}),
    ],
    ids=repr,
)
def test_every_usual_place_of_a_token_opens(api: Api, headers: dict[str, str], query: dict[str, str]) -> None:
    answer = api.post(MESSAGES, TEXT, token=None, params=query, headers=headers)

    assert answer.status_code == 200, answer.text
    assert queued(api) == 1


def test_a_phone_without_stored_configuration_opens_to_the_operator_alone(api: Api) -> None:
    path = f"/v15.0/{UNSTORED}/messages"

    check_error(api.post(path, TEXT, token=TOKEN), 404)
    check_error(api.post(path, TEXT, token=ENVIRONMENTS_TOKEN), 401)
    assert api.post(path, TEXT).status_code == 200


# --- paths and methods ---


@pytest.mark.parametrize(
    "path",
    ["/nowhere", "/v15.0/x/messages", "/v15.0/55119999900001234567890/messages", "/v15.0/%2B5511/messages",
     "/v15.0/\u0665\u0665\u0661\u0661/messages", f"/v15.0/{PHONE}/dance", "/webhooks/"],
)  # fmt: skip
def test_an_unknown_path_is_a_404_in_the_same_shape(api: Api, path: str) -> None:
    check_error(api.post(path, TEXT), 404, 100)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", MESSAGES, {"GET", "POST"}),
        ("DELETE", MESSAGES, {"GET", "POST"}),
        ("GET", f"/v15.0/{PHONE}/marketing_messages", {"POST"}),
        ("DELETE", f"/v15.0/{PHONE}/register", {"POST"}),
        ("POST", "/ping", {"GET"}),
        ("POST", "/", {"GET"}),
    ],
)
def test_a_wrong_method_is_a_405_that_names_the_right_ones(api: Api, method: str, path: str, allowed: set[str]) -> None:
    answer = api.request(method, path, token=None)

    check_error(answer, 405)
    named = set(answer.headers["Allow"].split(", ")) - {"HEAD", "OPTIONS"}
    assert allowed <= named
    assert method not in named


@pytest.mark.parametrize(
    "path", [MESSAGES, f"{MESSAGES}/", MESSAGES.replace("v15.0", "v24.0"), MESSAGES.replace("v15.0", "x")]
)
def test_any_version_is_served_with_or_without_a_slash(api: Api, path: str) -> None:
    assert api.post(path, TEXT).status_code == 200


def test_every_answer_has_the_security_headers(api: Api) -> None:
    for answer in (api.get("/ping"), api.get("/nowhere"), api.post(MESSAGES, {}), api.post(MESSAGES, TEXT)):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"


# --- messages that fit ---


def test_a_message_is_answered_with_its_id_and_stands_on_the_queue(api: Api) -> None:
    answer = api.post(MESSAGES, TEXT, token=TOKEN)

    message_id = answer.json()["messages"][0]["id"]
    assert answer.status_code == 200
    assert re.fullmatch(r"wamid\.[0-9A-F]{32}", message_id)
    assert answer.json() == {
        "messaging_product": "whatsapp",
        "contacts": [{"input": CONTACT, "wa_id": CONTACT}],
        "messages": [{"id": message_id}],
    }
    (job,) = api.queues.jobs("unoapi.incoming")
    assert isinstance(job, SendMessage)
    assert (job.id, job.message_id, job.phone, job.notify_on_failure) == (message_id, message_id, PHONE, True)
    assert json.loads(job.body) == TEXT


@pytest.mark.parametrize("to", ["+55 (49) 98888-7777", "55.49.98888-7777", 5549988887777])
def test_a_recipient_may_be_written_with_punctuation(api: Api, to: Any) -> None:
    answer = api.post(MESSAGES, {**TEXT, "to": to})

    assert answer.json()["contacts"] == [{"input": str(to), "wa_id": "5549988887777"}]
    (job,) = api.queues.jobs("unoapi.incoming")
    assert json.loads(job.body)["to"] == "5549988887777"


def test_fields_that_we_do_not_know_are_passed_on(api: Api) -> None:
    message = {**TEXT, "biz_opaque_callback_data": "order 1", "recipient_type": "individual", "context": None}

    api.post(MESSAGES, message)

    (job,) = api.queues.jobs("unoapi.incoming")
    assert json.loads(job.body) == message


def test_the_same_message_twice_is_two_messages(api: Api) -> None:
    first, second = (api.post(MESSAGES, TEXT).json()["messages"][0]["id"] for _ in range(2))

    assert first != second
    assert queued(api) == 2


# --- register ---


def register(api: Api, change: Any, phone: str = UNSTORED + "1") -> Answer:
    return api.post(f"/v15.0/{phone}/register", change)


def stored(api: Api, phone: str = UNSTORED + "1") -> dict[str, Any]:
    return dict(json.loads(api.redis.get(f"unoapi-config:{phone}")))


@pytest.fixture
def registered(api: Api) -> dict[str, Any]:
    change = {
        "provider": "sandbox",
        "authToken": "its-token-of-the-shop",
        "overrideWebhooks": True,
        "webhooks": [WEBHOOK],
    }
    assert register(api, change).status_code == 200
    return stored(api)


def test_register_stores_and_its_answer_holds_no_secret(api: Api, registered: dict[str, Any]) -> None:
    answer = register(api, {"label": "Shop"})

    assert stored(api) == {**registered, "label": "Shop"}
    assert stored(api)["webhooks"] == [WEBHOOK]
    assert answer.json()["success"] is True
    assert answer.json()["display_phone_number"] == UNSTORED + "1"
    assert answer.json()["label"] == "Shop"
    for secret in ("its-token-of-the-shop", "webhook-token", "webhook-secret", ENVIRONMENTS_TOKEN):
        assert secret not in answer.text


def test_register_merges_webhooks_by_their_id(api: Api, registered: dict[str, Any]) -> None:
    register(api, {"webhooks": [{"id": "crm", "sendGroupMessages": False}, {"id": "new", "url": "http://new.test"}]})

    assert stored(api)["webhooks"] == [
        {**registered["webhooks"][0], "sendGroupMessages": False},
        {"id": "new", "url": "http://new.test"},
    ]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"messaging_product": "whatsapp", "pin": "123456"},
        {"webhooks": []},
        {"webhooks": [], "overrideWebhooks": True},
    ],
)
def test_a_body_that_configures_nothing_wipes_nothing(
    api: Api, registered: dict[str, Any], change: dict[str, Any]
) -> None:
    assert register(api, change).status_code == 200

    assert stored(api) == registered


def test_the_answer_may_be_posted_back(api: Api, registered: dict[str, Any]) -> None:
    answer = register(api, {}).json()

    assert register(api, answer).status_code == 200
    assert register(api, {}).status_code == 200
    assert stored(api) == registered


@pytest.mark.parametrize(
    "wrong",
    [
        {"provider": "telegram"},
        {"label": ["x"]},
        {"authToken": 5},
        {"webhooks": 5},
        {"webhooks": "text"},
        {"webhooks": {"id": "a"}},
        {"webhooks": [5]},
        {"webhooks": [{"id": ["x"]}]},
        {"webhooks": [{"id": "x" * 101}]},
        {"webhooks": [{"id": "a", "urlAbsolute": "ftp://x.test"}]},
        {"webhooks": [{"id": "a", "urlAbsolute": "http://["}]},
        {"webhooks": [{"id": "a", "url": "nonsense"}]},
        {"webhooks": [{"id": "a", "url": "http://x.test", "header": "X\r\nY"}]},
        {"webhooks": [{"id": "a", "url": "http://x.test", "timeoutMs": "soon"}]},
        {"webhooks": [{"id": str(number), "url": "http://x.test"} for number in range(21)]},
    ],
    ids=lambda wrong: json.dumps(wrong)[:50],
)
def test_wrong_values_are_refused_and_nothing_is_changed(
    api: Api, registered: dict[str, Any], wrong: dict[str, Any]
) -> None:
    check_error(register(api, wrong), 400)

    assert stored(api) == registered


def test_a_new_token_opens_and_the_old_one_no_more(api: Api, registered: dict[str, Any]) -> None:  # noqa: ARG001
    phone = UNSTORED + "1"

    register(api, {"authToken": "its-new-token-of-the-shop"})

    assert api.post(f"/v15.0/{phone}/messages", TEXT, token="its-new-token-of-the-shop").status_code == 200
    eventually(lambda: api.post(f"/v15.0/{phone}/messages", TEXT, token="its-token-of-the-shop").status_code == 401)


def test_a_session_may_configure_itself_and_no_other(api: Api) -> None:
    assert api.post(f"/v15.0/{PHONE}/register", {"label": "mine"}, token=TOKEN).status_code == 200
    check_error(api.post(f"/v15.0/{OTHER}/register", {"label": "mine"}, token=TOKEN), 404)
    check_error(api.post(f"/v15.0/{UNSTORED}2/register", {"label": "mine"}, token=TOKEN), 404)


# --- events that enter ---


def callback(**value: Any) -> dict[str, Any]:
    metadata = {"display_phone_number": PHONE, "phone_number_id": PHONE}
    full = {"messaging_product": "whatsapp", "metadata": metadata, **value}
    return {
        "object": "whatsapp_business_account",
        "entry": [{"id": "1", "changes": [{"field": "messages", "value": full}]}],
    }


EVENTS = f"/webhooks/whatsapp/{PHONE}"


def test_three_messages_and_two_statuses_become_five_jobs(api: Api) -> None:
    contacts = [{"wa_id": CONTACT, "profile": {"name": "Maria"}}]
    messages = [
        {"id": f"m{n}", "from": CONTACT, "timestamp": 1, "type": "text", "text": {"body": "x"}} for n in range(3)
    ]
    statuses = [{"id": f"s{n}", "status": "read", "timestamp": 1, "recipient_id": CONTACT} for n in range(2)]

    answer = api.post(EVENTS, callback(contacts=contacts, messages=messages, statuses=statuses))

    assert (answer.status_code, answer.json()) == (200, {"success": True})
    jobs = api.queues.jobs("unoapi.outgoing")
    assert sorted(job.message_id for job in jobs) == ["m0", "m1", "m2", "s0", "s1"]
    for job in jobs:
        assert isinstance(job, FanOut)
        assert (job.phone, job.webhook_ids, job.stored) == (PHONE, ("crm",), True)
        value = json.loads(job.body)["entry"][0]["changes"][0]["value"]
        assert value["contacts"] == [{"profile": {"name": "Maria"}, "wa_id": CONTACT, "user_id": CONTACT}]


def test_the_same_callback_twice_gives_the_same_jobs(api: Api) -> None:
    payload = callback(statuses=[{"id": "s", "status": "read", "timestamp": "1", "recipient_id": CONTACT}])

    api.post(EVENTS, payload)
    api.post(EVENTS, payload)

    first, second = api.queues.jobs("unoapi.outgoing")
    assert first.id == second.id


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"entry": []},
        {"entry": {}},
        {"entry": [{}]},
        {"entry": [{"changes": []}]},
        {"entry": [{"changes": [{}]}]},
        {"entry": [{"changes": [{"value": 5}]}]},
        callback(messages={}),
        callback(messages=["x"]),
        callback(messages=[{"id": ""}]),
        callback(messages=[{"id": "x" * 513}]),
        callback(messages=[{"id": 5}]),
        callback(statuses=[{"id": "1", "status": "x" * 65}]),
        callback(messages=[{"id": "1"}], contacts=["x"]),
        callback(messages=[{"id": "1"}], metadata=5),
    ],
    ids=lambda payload: json.dumps(payload)[-60:],
)
def test_an_event_that_makes_no_sense_is_refused(api: Api, payload: dict[str, Any]) -> None:
    check_error(api.post(EVENTS, payload), 400)

    assert queued(api) == 0


@pytest.mark.parametrize(
    "payload",
    [callback(messages=[{"id": "\ud83d"}]), callback(statuses=[{"id": "1", "status": "\ud83d"}])],
    ids=["message", "status"],
)
def test_half_a_sign_is_refused_from_a_tenant_and_mended_from_the_operator(api: Api, payload: dict[str, Any]) -> None:
    check_error(api.post(EVENTS, payload, token=TOKEN), 400)
    assert api.post(EVENTS, payload).status_code == 200


@pytest.mark.parametrize(
    "value",
    [
        {"messages": [{"id": "1"}]},
        {"messages": [{"id": "1", "from": None, "timestamp": None}], "contacts": [{}]},
        {"messages": [{"id": "1", "from": CONTACT}], "contacts": [{"profile": "Maria", "wa_id": None}]},
        {"statuses": [{"id": "1", "status": "failed", "errors": "no list"}]},
        {"statuses": [{"id": "1"}]},
        {"event": "APPROVED"},
    ],
    ids=json.dumps,
)
def test_an_odd_event_is_taken_and_made_complete(api: Api, value: dict[str, Any]) -> None:
    assert api.post(EVENTS, callback(**value)).status_code == 200

    (job,) = api.queues.jobs("unoapi.outgoing")
    full = json.loads(job.body)["entry"][0]["changes"][0]["value"]
    for contact in full.get("contacts", []):
        assert isinstance(contact["profile"]["name"], str)
        assert {"wa_id", "user_id"} <= contact.keys()


# --- sandbox and trace ---


def test_a_simulated_contact_writes(api: Api) -> None:
    message_id = api.contact_writes("hi", token=TOKEN)

    (job,) = api.queues.jobs("unoapi.outgoing")
    assert (job.message_id, job.kind) == (message_id, "message")


@pytest.mark.parametrize(
    "wrong",
    [{"from": "x"}, {"type": "image"}, {"type": "NO"}, {"timestamp": {}}, {"id": "a b"}, {"profile": "Maria"}],
    ids=repr,
)
def test_a_simulated_message_must_be_possible(api: Api, wrong: dict[str, Any]) -> None:
    body = {"from": CONTACT, "type": "text", "text": {"body": "hi"}, **wrong}

    check_error(api.post(f"/sandbox/{PHONE}/messages", body), 400)
    assert queued(api) == 0


@pytest.mark.parametrize("provider", [None, "forwarder"])
def test_no_contact_writes_to_a_session_outside_the_sandbox(api: Api, provider: str | None) -> None:
    phone = f"{UNSTORED}3"
    if provider:
        register(api, {"provider": provider}, phone)

    answer = api.post(f"/sandbox/{phone}/messages", {"from": CONTACT, "type": "text", "text": {"body": "hi"}})

    error = check_error(answer, 400)
    assert "sandbox" in error["message"]
    assert queued(api) == 0


def test_a_message_can_be_followed_by_its_own_session_alone(api: Api) -> None:
    message_id = api.send("hello").json()["messages"][0]["id"]
    path = f"{MESSAGES}/{message_id}/trace"

    trace = eventually(lambda: (answer := api.get(path, token=TOKEN)).ok and answer.json())

    assert (trace["message_id"], trace["phone"]) == (message_id, PHONE)
    assert [step["step"] for step in trace["trace"]] == ["accepted"]
    assert "hello" not in json.dumps(trace)
    check_error(api.get(path, token=OTHER_TOKEN), 404)
    check_error(api.get(path.replace(PHONE, OTHER), token=OTHER_TOKEN), 404)


@pytest.mark.parametrize("message_id", ["wamid.UNKNOWN", "x" * 600])
def test_the_trace_of_an_unknown_message_is_a_404(api: Api, message_id: str) -> None:
    check_error(api.get(f"{MESSAGES}/{message_id}/trace"), 404)


def test_an_id_that_is_no_text_is_refused(api: Api) -> None:
    check_error(api.get(f"{MESSAGES}/%00/trace"), 400, 131009)


# --- health ---


def test_health_needs_no_token(gateway: Stack) -> None:
    ping, live, ready = (
        requests.get(f"{gateway.url}{path}", timeout=10) for path in ("/ping", "/health/live", "/health/ready")
    )

    assert (ping.status_code, ping.text) == (200, "pong!")
    assert (live.status_code, live.json()["status"]) == (200, "ok")
    assert ready.status_code == 200
    assert ready.json() == {"status": "ok", "checks": {"rabbitmq": "ok", "redis": "ok"}}


def test_a_phone_without_stored_configuration_is_served_by_the_environments_webhook(
    gateway: Stack, hooks: Receiver
) -> None:
    event = callback(messages=[{"id": "m1", "from": CONTACT, "timestamp": 1, "type": "text", "text": {"body": "olá"}}])

    gateway.worker()
    assert gateway.post(f"/webhooks/whatsapp/{UNSTORED}", event).status_code == 200
    hooks.wait(1, "/environment")

    (request,) = hooks.requests("/environment")
    assert request.path == f"/environment/{UNSTORED}"
    assert request.headers["x-key"] == "the-key"
    value = json.loads(request.body)["entry"][0]["changes"][0]["value"]
    assert value["messages"][0]["text"]["body"] == "olá"
    assert value["messages"][0]["timestamp"] == "1"


# --- last, so that it sees what all the tests above made the processes log ---


def test_no_token_and_no_message_is_in_the_log(api: Api, gateway: Stack) -> None:
    log = api.log.getvalue() + "".join(process.output() for process in gateway.processes)

    assert LISTENER in api.log.getvalue()
    assert "unhandled_error" not in log
    for secret in (
        OPERATOR,
        TOKEN,
        "its-token-of-the-shop",
        "webhook-token",
        "webhook-secret",
        ENVIRONMENTS_TOKEN,
        "hello",
    ):
        assert secret not in log
