"""Bodies that are valid JSON and hostile: their sender alone is refused, quickly, and nobody else notices."""

from __future__ import annotations

import json
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import requests
from kombu import Connection

from tests.integration.edges.calls import (
    arranged,
    config_of,
    copies,
    event,
    happens,
    job_of,
    new_number,
    post_event,
    register,
    registered,
    store,
    text,
    token_of,
    values,
    with_job,
)
from tests.support.fake_graph_api import Graph
from tests.support.receiver import Behaviour, Receiver
from tests.support.stack import CONTACT, OPERATOR, Stack, stack
from unoapi.http.signatures import sign_hub
from unoapi.stores.deliveries import done_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from amqp import Message as AmqpMessage

    from unoapi.devenv.servers import PrivateServers

HALF = "\ud800"
"""Half of a surrogate pair: valid in JSON, and in no UTF-8."""
MARKUP = "<!channel> <https://evil.example|your bank>"


@pytest.fixture(scope="module")
def hooks() -> Iterator[Receiver]:
    with Receiver() as running:
        running.record("full")
        running.script("/gone", Behaviour(status=410))
        yield running


@pytest.fixture(scope="module")
def graph() -> Iterator[Graph]:
    with Graph() as running:
        yield running


@pytest.fixture(scope="module")
def uno(servers: PrivateServers, hooks: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {"STATUS_FAILED_WEBHOOK_URL": hooks.url("/callback"), "UNOAPI_MESSAGE_RETRY_LIMIT": "0"}
    with stack(servers, tmp_path_factory.mktemp("bodies"), **settings) as running:
        running.web()
        running.worker()
        yield running


@pytest.fixture
def tenant(uno: Stack, hooks: Receiver) -> str:
    """A number of the attacker's, without a webhook."""
    phone = new_number(uno)
    registered(uno, [], phone=phone)
    hooks.clear()
    return phone


@pytest.fixture
def neighbour(uno: Stack, hooks: Receiver) -> str:
    """An honest tenant's number with a webhook."""
    phone = new_number(uno)
    registered(uno, [{"id": "main", "urlAbsolute": hooks.url(f"/{phone}")}], phone=phone)
    return phone


def post(uno: Stack, path: str, body: Any, *, token: str = "") -> requests.Response:
    """A body as Python writes JSON, with escapes for what is not ASCII."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return requests.post(f"{uno.url}{path}", data=data, headers=headers, timeout=20)


# --- half of a surrogate pair ---

HOSTILE_CALLBACK = event(text("a"), metadata={"phone_number_id": HALF})


def surrogates(phone: str) -> dict[str, tuple[str, Any]]:
    """Requests with half a surrogate pair, by what they try."""
    messages = f"/v15.0/{phone}/messages"
    words = {"to": CONTACT, "type": "text", "text": {"body": "x"}}
    return {
        "callback": ("/webhooks/whatsapp", HOSTILE_CALLBACK),
        "sender": (f"/webhooks/whatsapp/{phone}", event(text("a", sender=HALF))),
        "message id": (f"/webhooks/whatsapp/{phone}", event(text(HALF))),
        "status": (f"/webhooks/whatsapp/{phone}", event(statuses=[{"id": "a", "status": HALF}])),
        "text": (messages, {**words, "text": {"body": HALF}}),
        "recipient": (messages, {**words, "to": HALF}),
        "user id": (messages, {"recipient": HALF, "type": "text", "text": {"body": "x"}}),
        "context": (messages, {**words, "context": {"message_id": HALF}}),
        "reaction": (messages, {"to": CONTACT, "type": "reaction", "reaction": {"message_id": HALF, "emoji": "x"}}),
        "media id": (messages, {"to": CONTACT, "type": "image", "image": {"id": HALF}}),
        "read": (messages, {"status": "read", "message_id": HALF}),
        "label": (f"/v15.0/{phone}/register", {"label": HALF}),
        "unknown option": (f"/v15.0/{phone}/register", {HALF: HALF}),
        "session token": (f"/v15.0/{phone}/register", {"authToken": HALF * 20}),
        "webhook id": (f"/v15.0/{phone}/register", {"webhooks": [{"id": HALF, "urlAbsolute": "https://a.example"}]}),
        "template": (
            f"/v15.0/{phone}/message_templates",
            {"name": "t", "components": [{"type": "BODY", "text": HALF}]},
        ),
        "user": (f"/v15.0/{phone}/block_users", {"block_users": [{"user": HALF}]}),
        "contact": (f"/v15.0/{phone}/contacts", {"contacts": [HALF]}),
        "timer": (f"/timer/{phone}/{CONTACT}", {"timeout": 60_000, "message": HALF}),
        "sandbox": (f"/sandbox/{phone}/messages", {"from": HALF, "type": "text", "text": {"body": "x"}}),
    }


@pytest.mark.parametrize("tried", surrogates(""))
def test_a_body_that_is_no_text_is_refused(uno: Stack, tenant: str, tried: str) -> None:
    """400, because the body is at fault, or 401, because there is no token."""
    path, body = surrogates(tenant)[tried]

    answer = post(uno, path, body, token="" if tried == "callback" else token_of(tenant))

    assert answer.status_code in ((400, 401) if tried == "callback" else (400,)), answer.text


def test_honest_callers_do_not_notice_a_callback_that_is_no_text(uno: Stack, neighbour: str) -> None:
    """Three hostile clients without a token, in a loop, beside an honest one."""
    over = threading.Event()
    path = f"/v15.0/{neighbour}/messages/wamid.NONE/trace"  # asks Redis each time

    def attack() -> None:
        while not over.is_set():
            post(uno, "/webhooks/whatsapp", HOSTILE_CALLBACK)

    with ThreadPoolExecutor(7) as clients:
        attackers = [clients.submit(attack) for _ in range(3)]
        honest = list(clients.map(lambda _: uno.get(path).status_code, range(300)))
        over.set()
        for attacker in attackers:
            attacker.result()

    assert {status: honest.count(status) for status in set(honest)} == {404: 300}


def test_events_of_others_are_noted_beside_one_that_is_no_text(
    uno: Stack, tenant: str, neighbour: str, hooks: Receiver
) -> None:
    """In the worker: such an event may be queued already, whatever the API refuses by now."""
    with copies(uno, "unoapi.outgoing") as jobs:
        assert post_event(uno, tenant, event(text("wamid.COPIED"))).ok
        hostile = jobs.take()
        for number in range(100):
            jobs.publish(with_sender(hostile, HALF, number), "unoapi.outgoing")
            assert post_event(uno, neighbour, event(text(f"wamid.HONEST{number}"))).ok

    arranged(lambda: hooks.count(f"/{neighbour}") >= 100, what="all are delivered", within_s=30)
    keys = [done_key(delivery) for delivery in hooks.ids(f"/{neighbour}")]
    happens(lambda: store(uno).exists(*keys) == 100, within_s=2)

    assert store(uno).exists(*keys) == len(keys) == 100


def with_sender(message: AmqpMessage, sender: str, number: int) -> AmqpMessage:
    """The same job for another event, from this sender."""
    document = json.loads(job_of(message)["body"])
    message_id = f"wamid.HOSTILE{number}"
    document["entry"][0]["changes"][0]["value"]["messages"][0] |= {"from": sender, "id": message_id}
    return with_job(message, id=str(uuid.uuid4()), message_id=message_id, body=json.dumps(document))


NUL = "a\0b"
NO_TEXT: dict[str, tuple[str, str, dict[str, Any]]] = {
    "path": ("GET", "/v15.0/{phone}/messages/wamid%00/trace", {}),
    "query": ("GET", "/v15.0/{phone}/message_templates?name=a%00b", {}),
    "form": ("POST", "/v15.0/{phone}/register", {"data": {"label": NUL}}),
    "parts": ("POST", "/v15.0/{phone}/register", {"files": {"label": (None, NUL)}}),
    "JSON": ("POST", "/v15.0/{phone}/register", {"json": {"label": NUL}}),
    "key": ("POST", "/v15.0/{phone}/register", {"json": {NUL: "x"}}),
    "JSON in a form": ("POST", "/timer/{phone}/" + CONTACT, {"data": {"timeout": "1", "nexts": '["\\ud800"]'}}),
    "raw surrogate": ("POST", "/v15.0/{phone}/register", {"data": b'{"label": "\xed\xa0\x80"}'}),
    "endless number": ("POST", "/v15.0/{phone}/register", {"json": None, "data": b'{"a": 1e999}'}),
}


@pytest.mark.parametrize("tried", NO_TEXT)
def test_what_is_no_text_is_refused_wherever_it_stands(uno: Stack, tenant: str, tried: str) -> None:
    """One rule for path, query, forms and JSON; U+0000 is refused, too, and what is no number."""
    method, path, sent = NO_TEXT[tried]
    headers = {"Authorization": f"Bearer {token_of(tenant)}"}

    answer = requests.request(method, uno.url + path.format(phone=tenant), headers=headers, timeout=20, **sent)

    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] in (100, 131009)


def test_what_is_no_text_in_a_callback_of_metas_does_not_cost_its_messages(
    uno: Stack, neighbour: str, hooks: Receiver
) -> None:
    """The other side: Meta would repeat a callback that is refused for days, and all that is in it is lost."""
    secret = "secret-of-the-app"
    registered(uno, [], phone=neighbour, webhookForward={"appSecret": secret})
    document = event(text("wamid.ODD", text={"body": f"a\0b{HALF}c"}), text("wamid.EVEN"), contacts=[{"profile": HALF}])
    raw = json.dumps(document).encode()
    signed = {"X-Hub-Signature-256": sign_hub(secret, raw), "Content-Type": "application/json"}

    by_meta = requests.post(f"{uno.url}/webhooks/whatsapp/{neighbour}", data=raw, headers=signed, timeout=20)
    arranged(lambda: hooks.count(f"/{neighbour}") >= 2, what="both messages are delivered")
    document["entry"][0]["changes"][0]["value"]["messages"][0]["id"] = "wamid.THIRD"
    by_operator = post(uno, f"/webhooks/whatsapp/{neighbour}", document, token=OPERATOR)
    arranged(lambda: hooks.count(f"/{neighbour}") >= 3, what="the operator's, too")

    bodies = {
        message["id"]: message["text"]["body"]
        for value in values(hooks.requests(f"/{neighbour}"))
        for message in value["messages"]
    }
    assert (by_meta.status_code, by_operator.status_code) == (200, 200), by_meta.text
    assert bodies == {"wamid.ODD": "ab\ufffdc", "wamid.EVEN": "hi", "wamid.THIRD": "ab\ufffdc"}


def test_pairs_of_surrogates_are_text(uno: Stack, tenant: str) -> None:
    """The other side: whoever spells an emoji in ASCII is understood."""
    assert post(uno, f"/v15.0/{tenant}/register", b'{"label": "\\ud83d\\ude00"}', token=token_of(tenant)).ok
    assert config_of(uno, tenant)["label"] == "\U0001f600"


# --- patterns that take their time ---


@pytest.mark.parametrize("route", ["message_templates", "templates"])
def test_a_template_of_spaces_is_shown_at_once(uno: Stack, tenant: str, route: str) -> None:
    """1,000 spaces take more than a second today, the 4,096 that are allowed a minute."""
    template = {"name": "t", "components": [{"type": "BODY", "text": "{{" + " " * 1000}]}

    began = time.monotonic()
    saved = uno.post(f"/v15.0/{tenant}/{route}", template, token=token_of(tenant))
    shown = uno.get(f"/v15.0/{tenant}/message_templates", token=token_of(tenant))
    took_s = time.monotonic() - began

    assert saved.status_code in (200, 400)
    assert shown.status_code == 200
    assert took_s < 0.8


def test_a_text_of_spaces_to_a_group_is_sent_at_once(uno: Stack, tenant: str) -> None:
    """30,000 spaces take the worker some seconds today, in which nothing else goes on."""
    store(uno).set(f"unoapi-status:{tenant}", "online")
    register(uno, tenant, {"provider": "whatsmeow"}, token=uno.environment["UNOAPI_AUTH_TOKEN"])
    template = {"name": "t", "language": "en", "components": [{"type": "BODY", "text": "{{1}}"}]}
    assert uno.post(f"/v15.0/{tenant}/message_templates", template, token=token_of(tenant)).ok
    before = uno.depth("unoapi.outgoing.whatsmeow")
    parameter = {"type": "text", "text": "x" + " " * 30_000 + "x"}
    asked = {
        "name": "t", "language": {"code": "en"}, "components": [{"type": "body", "parameters": [parameter]}],
    }  # fmt: skip

    answer = post(
        uno, f"/v15.0/{tenant}/messages", {"to": "120363021033254949@g.us", "type": "template", "template": asked},
        token=token_of(tenant),
    )  # fmt: skip
    began = time.monotonic()
    if answer.ok:
        arranged(lambda: uno.depth("unoapi.outgoing.whatsmeow") > before, what="the command is queued")

    assert answer.status_code in (200, 400), answer.text
    assert time.monotonic() - began < 1.5


# --- small bodies that grow ---


def test_a_callback_does_not_grow_when_it_is_taken_apart(uno: Stack, neighbour: str, hooks: Receiver) -> None:
    """22 KB with 50 items become 1 MB today, and 1 MB with 1,000 items a gigabyte."""
    document = event(*(text(f"wamid.GROWN{number}") for number in range(50)), pad="A" * 20_000)
    size = len(json.dumps(document))

    answer = post_event(uno, neighbour, document)
    if answer.ok:
        arranged(lambda: hooks.count(f"/{neighbour}") >= 50, what="all are delivered")

    assert sum(len(request.body) for request in hooks.requests(f"/{neighbour}")) <= 5 * size


def test_one_request_makes_at_most_a_thousand_events(uno: Stack, tenant: str) -> None:
    """60 x 40 events of 13 bytes; a body of 1 MiB holds 81,000."""
    entry: dict[str, Any] = {"changes": [{"value": {}}] * 40}

    answer = post(uno, f"/webhooks/whatsapp/{tenant}", {"entry": [entry] * 60}, token=token_of(tenant))

    assert answer.status_code in (400, 413)


def test_a_thousand_events_in_one_request_are_taken(uno: Stack, tenant: str) -> None:
    """The other side: what is within the bound is accepted."""
    entry: dict[str, Any] = {"changes": [{"value": {}}] * 40}

    answer = post(uno, f"/webhooks/whatsapp/{tenant}", {"entry": [entry] * 25}, token=token_of(tenant))

    assert answer.status_code == 200, answer.text


# --- what is stored ---


def test_a_configuration_has_a_bound(uno: Stack, tenant: str) -> None:
    """64 KiB, in one request or in many."""
    for number in range(10):
        register(uno, tenant, {f"x{number}": "A" * 20_000})

    assert len(json.dumps(config_of(uno, tenant))) <= 64 * 1024


def test_a_configuration_of_many_times_the_bound_is_refused_before_it_is_parsed(uno: Stack, tenant: str) -> None:
    """60,000 options in a body took a tenth of a second of everybody's interpreter."""
    before = config_of(uno, tenant)

    answer = uno.post(
        f"/v15.0/{tenant}/register", {f"k{number}": number for number in range(20_000)}, token=token_of(tenant)
    )

    assert (answer.status_code, config_of(uno, tenant)) == (413, before)


def test_the_templates_of_a_number_have_a_bound(uno: Stack, tenant: str) -> None:
    """512 KiB, in one request or in many."""
    for number in range(4):
        uno.post(f"/v15.0/{tenant}/templates", {"name": f"t{number}", "x": "A" * 250_000}, token=token_of(tenant))

    assert store(uno).strlen(f"unoapi-template:{tenant}") <= 512 * 1024


def test_the_blocked_users_of_a_number_have_a_bound(uno: Stack, tenant: str) -> None:
    """10,000."""
    for part in range(11):
        users = [{"user": f"55119{part:02}{number:06}"} for number in range(1000)]
        uno.post(f"/v15.0/{tenant}/block_users", {"block_users": users}, token=token_of(tenant))

    assert store(uno).scard(f"unoapi-blocked:{tenant}") <= 10_000


def test_the_blacklists_of_a_number_have_a_bound(uno: Stack, neighbour: str) -> None:
    """20,000 contacts; who is on one may be put there again, and others have room."""
    path, ends = f"/{neighbour}/blacklist/main", time.time() + 600
    store(uno).zadd(f"unoapi-blacklisted:{neighbour}", {f"main:5511{number:09}": ends for number in range(20_000)})

    over = uno.post(path, {"to": CONTACT, "ttl": -1}, token=token_of(neighbour))
    again = uno.post(path, {"to": "5511000000001", "ttl": 60}, token=token_of(neighbour))

    assert (over.status_code, again.status_code) == (400, 200), over.text
    assert over.json()["error"]["message"].endswith("Too many contacts on the blacklist")
    assert store(uno).exists(f"unoapi-blacklist:{neighbour}:main:{CONTACT}") == 0


def test_the_timers_of_a_number_have_a_bound(uno: Stack, tenant: str, neighbour: str) -> None:
    """10,000 that wait, started anew for the same contact or not: each stands in RabbitMQ."""
    key, timer = f"unoapi-timers:{tenant}", {"timeout": 600_000, "message": "are you there?"}
    for _ in range(2):
        assert uno.post(f"/timer/{tenant}/{CONTACT}", timer, token=token_of(tenant)).ok
    arranged(lambda: store(uno).zcard(key) == 2, what="both timers count")
    store(uno).zadd(key, {f"{number}": (time.time() + 600) * 1000 for number in range(9_998)})

    over = uno.post(f"/timer/{tenant}/{CONTACT}", timer, token=token_of(tenant))
    others = uno.post(f"/timer/{neighbour}/{CONTACT}", timer, token=token_of(neighbour))

    assert (over.status_code, others.status_code) == (429, 200), over.text
    assert over.json()["error"]["code"] == 130429


def test_a_message_has_a_size(uno: Stack, tenant: str) -> None:
    """Unknown fields are passed on, and 10,000 messages of a number may wait."""
    message = {"to": CONTACT, "type": "text", "text": {"body": "x"}, "unknown": "x" * 300_000}

    answer = uno.post(f"/v15.0/{tenant}/messages", message, token=token_of(tenant))

    assert answer.status_code == 413, answer.text
    assert "bytes" in answer.json()["error"]["error_data"]["details"]


def test_the_files_that_a_number_uploads_have_a_bound(uno: Stack, tenant: str, neighbour: str) -> None:
    """10 GiB together; a deleted one makes room."""
    key, today = f"unoapi-media-bytes:{tenant}", int(time.time()) // 86_400

    def upload(phone: str) -> requests.Response:
        headers = {"Authorization": f"Bearer {token_of(phone)}"}
        files = {"file": ("a.png", b"\x89PNG", "image/png")}
        return requests.post(f"{uno.url}/v15.0/{phone}/media", files=files, headers=headers, timeout=10)

    first = upload(tenant)
    arranged(lambda: store(uno).hget(key, f"{today}"), what="it counts")
    store(uno).hset(key, f"{today}", 10 * 1024**3)
    over, others = upload(tenant), upload(neighbour)
    uno.request("DELETE", f"/v15.0/{first.json()['id']}", token=token_of(tenant))

    assert (over.status_code, others.status_code) == (400, 200), over.text
    assert over.json()["error"]["code"] == 131053
    assert "UNOAPI_SESSION_MEDIA_MAX" in over.json()["error"]["error_data"]["details"]
    assert happens(lambda: upload(tenant).ok, within_s=5)


def test_a_timer_has_a_size(uno: Stack, tenant: str) -> None:
    """It waits for up to 30 days, and so do those that follow it."""
    step = {"timeout": 600_000, "message": "é" * 4096}

    answer = uno.post(f"/timer/{tenant}/{CONTACT}", {**step, "nexts": [step] * 39}, token=token_of(tenant))

    assert answer.status_code == 400, answer.text
    assert "bytes" in answer.json()["error"]["error_data"]["details"]


def test_a_blacklist_belongs_to_a_webhook(uno: Stack, tenant: str) -> None:
    """Any name makes a key today."""
    answer = uno.post(f"/{tenant}/blacklist/made-up", {"to": CONTACT, "ttl": -1}, token=token_of(tenant))

    assert answer.status_code in (400, 404), answer.text
    assert list(store(uno).scan_iter(f"unoapi-blacklist:{tenant}:made-up:*")) == []


def test_a_slow_answer_of_redis_fails_its_caller_alone(uno: Stack, tenant: str, neighbour: str) -> None:
    """The big value of one session is an outage for all today. The big value is put there by hand."""
    client = store(uno)
    for part in range(20):
        client.sadd(f"unoapi-blocked:{tenant}", *(f"55{part:02}{number:08}" for number in range(10_000)))
    path = f"/v15.0/{neighbour}/messages/wamid.NONE/trace"
    arranged(lambda: uno.get(path).status_code == 404, what="Redis is used", every_s=0.2)

    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            uno.get(f"/v15.0/{tenant}/block_users?limit=10", token=token_of(tenant))

    with ThreadPoolExecutor(1) as clients:
        asking = clients.submit(ask)
        honest = []
        for _ in range(10):
            honest.append(uno.get(path).status_code)
            time.sleep(0.1)
        over.set()
        asking.result()
    client.delete(f"unoapi-blocked:{tenant}")

    assert {status: honest.count(status) for status in set(honest)} == {404: 10}


# --- what others read ---


@pytest.mark.parametrize(
    "named",
    [("a\nb.pdf", "application/pdf"), ("a.pdf", "application/pd\u0142"), ("a.pdf", "text/plain\r\nX-Injected: yes")],
)
def test_a_received_file_can_be_downloaded_whatever_its_sender_calls_it(
    uno: Stack, graph: Graph, hooks: Receiver, neighbour: str, named: tuple[str, str]
) -> None:
    """Name and type come from the contact's program."""
    filename, mime_type = named
    graph.files["777"] = ("application/pdf", b"%PDF a file")
    forward = {"url": graph.url, "token": "t", "phoneNumberId": f"1{neighbour}"}
    operator = uno.environment["UNOAPI_AUTH_TOKEN"]
    register(uno, neighbour, {"provider": "forwarder", "webhookForward": forward}, token=operator)
    document = {"id": "777", "mime_type": mime_type, "filename": filename}

    assert post_event(uno, neighbour, event(text("wamid.FILE", type="document", document=document))).ok
    arranged(lambda: hooks.count(f"/{neighbour}"), what="the event is delivered")
    (request,) = hooks.requests(f"/{neighbour}")
    (message,) = json.loads(request.body)["entry"][0]["changes"][0]["value"]["messages"]
    download = requests.get(uno.get(f"/v15.0/{message['document']['id']}").json()["url"], timeout=10)

    assert download.status_code == 200
    assert download.content == b"%PDF a file"
    assert "X-Injected" not in download.headers


@pytest.mark.parametrize(
    "written", [["[/x]"], ["\x1b[2J\x1b]0;owned\x07", "[link=https://evil.example]click[/link]"]], ids=["tag", "others"]
)
def test_a_list_of_dead_letters_shows_what_a_tenant_wrote_as_it_is(
    uno: Stack, tenant: str, hooks: Receiver, written: list[str]
) -> None:
    """An id of an event is free text; it neither breaks the list nor reaches the terminal as a command."""
    register(uno, tenant, {"webhooks": [{"id": "gone", "urlAbsolute": hooks.url("/gone")}]})

    accepted = sum(post_event(uno, tenant, event(text(f"wamid{part}"))).ok for part in written)
    arranged(lambda: uno.depth("unoapi.dead") == accepted, what="the dead letters are there")
    listed = uno.cli("dead", "list", check=False)
    with Connection(uno.environment["AMQP_URL"]) as connection:
        channel: Any = connection.channel()
        channel.queue_purge("unoapi.dead")

    assert listed.returncode == 0, listed.stderr[-500:]
    assert "\x1b" not in listed.stdout
    assert accepted < len(written) or "[" in listed.stdout


@pytest.mark.parametrize("webhook_id", ["[/x]", "\x1b[2J", "a b", "a\nb", MARKUP, "a:b"])
def test_the_id_of_a_webhook_is_a_name(uno: Stack, tenant: str, webhook_id: str) -> None:
    """It stands in keys, tables and callbacks."""
    webhook = {"id": webhook_id, "urlAbsolute": "https://crm.example/hook"}

    answer = register(uno, tenant, {"webhooks": [webhook]})

    assert answer.status_code == 400, answer.text


def test_the_text_of_a_callback_holds_no_markup_of_a_tenant(uno: Stack, tenant: str, hooks: Receiver) -> None:
    """Slack reads <!channel> and links in it."""
    problem = {"code": 131000, "title": MARKUP}
    failed = {"id": f"wamid.{MARKUP}", "status": "failed", "recipient_id": CONTACT, "errors": [problem]}

    if uno.post(f"/webhooks/whatsapp/{tenant}", event(statuses=[failed]), token=token_of(tenant)).ok:
        hooks.wait(1, "/callback")
    texts = [json.loads(request.body)["text"] for request in hooks.requests("/callback")]

    assert [written for written in texts if "<!channel>" in written or "<https:" in written] == []


# --- deep and wide ---


def deep(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


ROUTES = {
    "messages": "/v15.0/{phone}/messages",
    "register": "/v15.0/{phone}/register",
    "events": "/webhooks/whatsapp/{phone}",
    "any event": "/webhooks/whatsapp",
    "templates": "/v15.0/{phone}/message_templates",
    "users": "/v15.0/{phone}/block_users",
    "contacts": "/v15.0/{phone}/contacts",
    "timer": "/timer/{phone}/" + CONTACT,
    "profile": "/v15.0/{phone}/whatsapp_business_profile",
    "sandbox": "/sandbox/{phone}/messages",
}


@pytest.mark.parametrize("route", ROUTES)
def test_a_deep_body_is_refused_everywhere(uno: Stack, tenant: str, route: str) -> None:
    """Deep JSON, found sound: 101, 5,000 and 100,000 levels are 400, or 413 where so much is too large; never 500."""
    for levels in (101, 5_000, 100_000):
        answer = post(uno, ROUTES[route].format(phone=tenant), deep(levels), token=token_of(tenant))

        too_large = route in ("register", "messages") and levels == 100_000
        assert answer.status_code == (413 if too_large else 400), (levels, answer.text)


@pytest.mark.parametrize("route", ROUTES)
def test_numbers_that_are_none_are_refused_everywhere(uno: Stack, tenant: str, route: str) -> None:
    """Huge and infinite numbers, found sound: 400, never 500."""
    for number in (b"1" * 5_000, b"NaN", b"-Infinity"):
        answer = post(uno, ROUTES[route].format(phone=tenant), b'{"a":' + number + b"}", token=token_of(tenant))

        assert answer.status_code == 400, (number[:9], answer.text)


@pytest.mark.parametrize("route", ROUTES)
def test_a_wide_body_is_answered_in_time_and_others_meanwhile(uno: Stack, tenant: str, route: str) -> None:
    """Wide JSON: a megabyte of fields costs its sender some time, and others next to nothing."""
    wide = json.dumps({f"k{number}": number for number in range(50_000)}).encode()
    path = ROUTES[route].format(phone=tenant)

    with ThreadPoolExecutor(1) as clients:
        began = time.monotonic()
        answering = clients.submit(post, uno, path, wide, token=token_of(tenant))
        pings: list[float] = []
        while not pings or not answering.done():  # one that is refused by its size is answered before the first ping
            asked = time.monotonic()
            requests.get(f"{uno.url}/ping", timeout=10)
            pings.append(time.monotonic() - asked)
        answer, took_s = answering.result(), time.monotonic() - began

    assert answer.status_code < 500, answer.text
    assert took_s < 4
    assert max(pings) < 2
