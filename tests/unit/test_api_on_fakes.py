"""The API over fakes: a session is registered, listed, used and removed without Redis and RabbitMQ."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.api import MemoryApi, memory_api
from tests.support.fakes import PHONE, MemoryConnections, MemorySessions
from unoapi.models.connector.events import SessionState
from unoapi.models.jobs import FanOut, SendMessage, now_ms
from unoapi.models.trace import TraceEntry
from unoapi.services.message_parsing import message_of
from unoapi.web import health

if TYPE_CHECKING:
    from collections.abc import Iterator

HOOK = {"id": "main", "urlAbsolute": "http://receiver.test/hook", "token": "token-of-the-webhook"}
TOKEN = f"session-token-{PHONE}"
OTHER = "5521977776666"


@pytest.fixture
def api() -> Iterator[MemoryApi]:
    with memory_api() as running:
        running.register([HOOK])
        yield running


def test_a_session_is_listed_for_its_own_token_without_secrets(api: MemoryApi) -> None:
    api.register([HOOK], phone=OTHER)

    own = api.get("/sessions", token=TOKEN)

    assert [(line["display_phone_number"], line["status"]) for line in own.json()["data"]] == [(PHONE, "online")]
    assert len(api.get("/sessions").json()["data"]) == 2
    assert TOKEN not in own.text
    assert HOOK["token"] not in own.text


def test_what_a_change_does_not_name_stays(api: MemoryApi) -> None:
    answer = api.post(f"/v15.0/{PHONE}/register", {"label": "Shop"}, token=TOKEN)

    assert answer.status_code == 200
    assert answer.json()["label"] == "Shop"
    assert [webhook["urlAbsolute"] for webhook in answer.json()["webhooks"]] == [HOOK["urlAbsolute"]]


def test_a_number_whose_connector_is_gone_is_not_shown_as_connected() -> None:
    with memory_api() as api:
        api.register([], phone=OTHER, provider="whatsmeow")
        api.uno.connections.record(OTHER, SessionState(state="connected"), at_ms=now_ms() - 130_000, seq=1)

        shown = api.get(f"/session/{OTHER}/state").json()

    assert (shown["state"], shown["status"], shown["reason"]) == ("disconnected", "offline", "no connector runs it")


@pytest.mark.parametrize(("ago_ms", "warned"), [(0, True), (130_000, False)])
def test_a_number_whose_connector_is_gone_is_told_of_no_connection(ago_ms: int, *, warned: bool) -> None:
    with memory_api() as api:
        api.register([], phone=OTHER, provider="whatsmeow")
        api.uno.connections.record(OTHER, SessionState(state="connected"), at_ms=now_ms() - ago_ms, seq=1)

        answer = api.request("POST", f"/session/{OTHER}/connect", json={}).json()

    assert ("warnings" in answer) is warned


@pytest.mark.parametrize(("left_s", "state"), [(60, "restricted"), (-60, "connected")])
def test_field_report_93_a_number_is_shown_as_restricted_until_the_time_is_over(left_s: int, state: str) -> None:
    with memory_api() as api:
        api.register([], phone=OTHER, provider="whatsmeow")
        restricted = SessionState(state="restricted", until=int(time.time()) + left_s)
        api.uno.connections.record(OTHER, restricted, at_ms=now_ms(), seq=1)

        shown = api.get(f"/session/{OTHER}/state").json()

    assert (shown["state"], shown["status"], "until" in shown) == (state, "online", left_s > 0)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"provider": "sandbox", "webhooks": [{"id": "main", "timeoutMs": "soon"}]}, 400),
        ({"webhookForward": {"phoneNumberId": OTHER}}, 403),
        ({"authToken": "short"}, 400),
    ],
)
def test_what_is_not_valid_or_not_the_sessions_to_change_is_refused(
    api: MemoryApi, body: dict[str, object], status: int
) -> None:
    before = api.uno.sessions.config(PHONE)

    answer = api.post(f"/v15.0/{PHONE}/register", body, token=TOKEN)

    assert answer.status_code == status, answer.text
    assert api.uno.sessions.config(PHONE) == before


def test_a_token_counts_once_whatever_app_stands_before_it() -> None:
    with memory_api(UNOAPI_RATE_LIMIT="3") as api:
        api.register([HOOK])

        statuses = [api.get("/sessions", token=f"app-{number}|{TOKEN}").status_code for number in range(4)]
        alone = api.get("/sessions", token=TOKEN).status_code

    assert statuses == [200, 200, 200, 429]
    assert alone == 429


def test_a_broker_that_hangs_holds_one_thread_however_many_ask_for_the_health(
    api: MemoryApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, end = threading.Event(), threading.Event()

    def hang(**_: object) -> None:
        asked.set()
        end.wait(10)

    assert api.get("/health/ready").status_code == 200
    monkeypatch.setattr(health, "FRESH_S", 0.0)
    monkeypatch.setattr(api.queues, "check", hang)
    first = threading.Thread(target=api.get, args=("/health/ready",))
    first.start()
    assert asked.wait(10)
    began = time.monotonic()

    answers = [api.get("/health/ready").status_code for _ in range(20)]

    took_s = time.monotonic() - began
    end.set()
    first.join()
    assert answers == [200] * 20
    assert took_s < 2


@pytest.mark.parametrize(
    "path",
    [f"/v15.0/{PHONE}/register", f"/v15.0/{PHONE}/bulk", f"/v15.0/{PHONE}/messages", f"/timer/{PHONE}/{OTHER}"],
)
def test_a_form_with_a_part_that_has_no_name_is_refused(api: MemoryApi, path: str) -> None:
    form = b"--x\r\nContent-Disposition: form-data\r\n\r\nvalue\r\n--x--\r\n"

    answer = api.request("POST", path, data=form, content_type="multipart/form-data; boundary=x")

    assert answer.status_code == 400
    assert answer.json()["error"]["error_data"]["details"] == "A part of the form has no name."


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"webhooks": []}, "webhooks: an empty list changes nothing"),
        ({"webhooks": [], "overrideWebhooks": True}, "webhooks: an empty list changes nothing"),
        ({"provider": "baileys"}, "provider: baileys is read as whatsmeow"),
    ],
)
def test_what_does_something_else_than_it_seems_to_is_said(api: MemoryApi, body: dict[str, object], words: str) -> None:
    answer = api.post(f"/v15.0/{PHONE}/register", body)

    assert answer.status_code == 200
    assert answer.json()["warnings"][0].startswith(words)
    assert [webhook["urlAbsolute"] for webhook in answer.json()["webhooks"]] == [HOOK["urlAbsolute"]]


def test_a_message_and_an_event_stand_on_their_queues(api: MemoryApi) -> None:
    sent = api.send("hello", token=TOKEN).json()["messages"][0]["id"]
    received = api.contact_writes("hi")

    send, event = api.queues.jobs("unoapi.incoming", "unoapi.outgoing")
    assert (type(send), send.id) == (SendMessage, sent)
    assert (type(event), event.message_id, event.webhook_ids) == (FanOut, received, ("main",))


def test_a_removed_session_is_gone_on_purpose(api: MemoryApi) -> None:
    assert api.post(f"/v15.0/{PHONE}/deregister", token=TOKEN).status_code == 204

    assert api.get("/sessions", token=TOKEN).status_code == 401
    assert api.get("/sessions").json()["data"] == []
    assert api.uno.sessions.resolve(PHONE, stored=True).webhooks == ()


def test_with_redis_away_sessions_are_a_503_and_the_operator_still_sends(api: MemoryApi) -> None:
    assert isinstance(api.uno.sessions, MemorySessions)
    api.uno.sessions.away = True

    assert api.get("/sessions").status_code == 503
    assert api.post(f"/v15.0/{PHONE}/register", {"label": "x"}).status_code == 503
    assert api.send("hello", token="not-the-operators").status_code == 503
    assert api.send("hello").status_code == 200


def test_with_rabbitmq_away_a_message_is_refused(api: MemoryApi) -> None:
    api.queues.away = True

    assert api.send("hello").status_code == 503


COMMANDS_ON = [
    ("POST", f"/v15.0/{PHONE}/messages", {"status": "read", "message_id": "wamid.X"}),
    ("POST", f"/v15.0/{PHONE}/messages", {"message_id": "wamid.X", "typing_indicator": {"type": "text"}}),
    ("DELETE", f"/v15.0/{PHONE}/messages/wamid.X", None),
]


@pytest.mark.parametrize(("method", "path", "body"), COMMANDS_ON)
def test_a_command_on_a_message_of_which_a_phone_knows_nothing_is_refused(
    api: MemoryApi, method: str, path: str, body: dict[str, object] | None
) -> None:
    api.register([HOOK], provider="whatsmeow")

    answer = api.request(method, path, json=body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, 100)
    assert "nothing is known of this message" in answer.json()["error"]["error_data"]["details"]
    assert api.queues.depth() == 0


@pytest.mark.parametrize(("method", "path", "body"), COMMANDS_ON)
@pytest.mark.parametrize("known", ["received", "accepted", "while Redis is away"])
def test_a_command_on_a_message_that_is_known_or_of_which_nobody_can_know_is_taken(
    api: MemoryApi, method: str, path: str, body: dict[str, object] | None, known: str
) -> None:
    api.register([HOOK], provider="whatsmeow")
    connections, traces = api.uno.connections, api.uno.traces
    assert isinstance(connections, MemoryConnections)
    if known == "received":
        connections.remember_key(PHONE, "wamid.X", chat=f"{OTHER}@s.whatsapp.net")
    elif known == "accepted":
        traces.add(TraceEntry(step="accepted", phone=PHONE, message_id="wamid.X", kind="text"))
    else:
        connections.away = True

    answer = api.request(method, path, json=body)

    assert answer.status_code == 200, answer.text
    assert api.queues.depth() == 1


LIST_REPLY = {"type": "list_reply", "list_reply": {"id": "1", "title": "One"}}
GIVEN = {"context": {"from": PHONE, "id": "wamid.MENU"}}


@pytest.mark.parametrize(
    ("written", "context"),
    [
        ({"type": "interactive", "interactive": LIST_REPLY}, "made"),
        ({"type": "button", "button": {"text": "Yes", "payload": "y"}}, "made"),
        ({"type": "interactive", "interactive": LIST_REPLY, **GIVEN}, "given"),
        ({"type": "text", "text": {"body": "hi"}}, "none"),
        ({"type": "request_welcome"}, "none"),
    ],
)
def test_a_simulated_choice_names_the_message_that_it_was_made_in(
    api: MemoryApi, written: dict[str, Any], context: str
) -> None:
    answer = api.post(f"/sandbox/{PHONE}/messages", {"from": "5549988887777", **written})

    assert answer.status_code == 200, answer.text
    (event,) = api.queues.jobs("unoapi.outgoing")
    given = json.loads(event.body)["entry"][0]["changes"][0]["value"]["messages"][0].get("context", {})
    kind = "none" if not given else "given" if given == GIVEN["context"] else "made"
    assert (kind, given.get("from", PHONE)) == (context, PHONE)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (f"/v15.0/{PHONE}", "GET, HEAD, OPTIONS, POST"),
        (f"/{PHONE}", "GET, HEAD, OPTIONS, POST"),
        (f"/v15.0/{PHONE}/messages", "GET, HEAD, OPTIONS, POST"),
        (f"/v15.0/{PHONE}/block_users", "DELETE, GET, HEAD, OPTIONS, POST"),
        (f"/v15.0/{PHONE}/phone_numbers", "GET, HEAD, OPTIONS"),
        (f"/v15.0/{PHONE}/calls", "DELETE, GET, HEAD, OPTIONS, POST"),
    ],
)
def test_options_name_the_methods_that_are_there(api: MemoryApi, path: str, allowed: str) -> None:
    assert api.request("OPTIONS", path).headers["Allow"] == allowed


def test_c18_deregister_may_answer_as_meta_does() -> None:
    with memory_api(UNOAPI_DEREGISTER_BODY="true") as running:
        running.register([HOOK])
        answer = running.post(f"/v15.0/{PHONE}/deregister", token=TOKEN)

        assert (answer.status_code, answer.json()) == (200, {"success": True})
        assert running.uno.sessions.config(PHONE) is None


@pytest.mark.parametrize("kind", [{"type": "text"}, {"type": ""}, {"type": None, "typing_indicator": ""}, {}], ids=str)
@pytest.mark.parametrize("status", [None, ""])
def test_a_message_with_a_status_that_says_nothing_is_a_message(
    api: MemoryApi, status: str | None, kind: dict[str, str | None]
) -> None:
    body = {"to": OTHER, **kind, "text": {"body": "x"}, "status": status}

    answer = api.post(f"/v15.0/{PHONE}/messages", body)

    assert answer.status_code == 200, answer.text
    (job,) = api.queues.jobs("unoapi.incoming")
    assert isinstance(job, SendMessage)
    assert "status" not in json.loads(job.body)


def test_a_read_mark_with_an_empty_typing_indicator_is_a_read_mark(api: MemoryApi) -> None:
    body = {"status": "read", "message_id": "wamid.X", "typing_indicator": ""}

    answer = api.post(f"/v15.0/{PHONE}/messages", body)

    assert answer.json() == {"success": True}
    (job,) = api.queues.jobs("unoapi.incoming")
    assert "typing_indicator" not in json.loads(job.body)


def test_a_simulated_contact_may_have_a_username(api: MemoryApi) -> None:
    who = {"from_user_id": "BR.123", "profile": {"name": "Ana", "username": "ana.x"}}

    answer = api.post(f"/sandbox/{PHONE}/messages", {**who, "type": "text", "text": {"body": "x"}})

    assert answer.status_code == 200, answer.text
    (job,) = api.queues.jobs("unoapi.outgoing")
    assert isinstance(job, FanOut)
    (contact,) = json.loads(job.body)["entry"][0]["changes"][0]["value"]["contacts"]
    assert contact["profile"] == {"name": "Ana", "username": "ana.x"}


@pytest.mark.parametrize(("number", "figures"), [(150.0, "150"), (-0.0, "0"), (1.5, "1.5"), (1e300, "1e+300")])
def test_a_whole_number_has_no_point_as_in_javascript(api: MemoryApi, number: float, figures: str) -> None:
    """Tables make points of them, and contacts would read these; an id of a menu came back with one."""
    answer = api.post(f"/v15.0/{PHONE}/messages", {"to": OTHER, "text": {"body": number}, "more": [number]})

    assert answer.status_code == 200, answer.text
    (job,) = api.queues.jobs("unoapi.incoming")
    assert isinstance(job, SendMessage)
    message: Any = message_of(job)
    assert message.text.body == figures
    assert f"{json.loads(job.body)['more'][0]}" == figures


@pytest.mark.parametrize("kind", [None, ""])
def test_a_message_whose_type_is_empty_is_a_text(api: MemoryApi, kind: str | None) -> None:
    answer = api.post(f"/v15.0/{PHONE}/messages", {"to": OTHER, "type": kind, "text": {"body": "x"}})
    read = api.post(f"/v15.0/{PHONE}/messages", {"type": kind, "message_id": "wamid.X", "typing_indicator": {}})

    assert answer.status_code == 200, answer.text
    assert read.json() == {"success": True}
    message = json.loads(api.queues.jobs("unoapi.incoming")[0].body)
    assert message["text"] == {"body": "x"}
    assert message.get("type", "text") == "text"


@pytest.mark.parametrize("status", ["sent", "delivered", "failed", "progress"])
def test_a_mark_that_the_node_version_only_wrote_down_is_taken_and_does_nothing(api: MemoryApi, status: str) -> None:
    body = {"status": status, "message_id": "wamid.X"}
    api.register([HOOK], phone=OTHER, provider="forwarder")

    taken = api.post(f"/v15.0/{PHONE}/messages", body)
    of_nothing = api.post(f"/v15.0/{PHONE}/messages", {"status": status})
    at_meta = api.post(f"/v15.0/{OTHER}/messages", body)

    assert taken.json()["success"] is True
    assert taken.json()["warnings"] == [f"status: {status} does nothing; WhatsApp has read and deleted"]
    assert (of_nothing.status_code, at_meta.status_code) == (400, 400)
    assert api.queues.jobs("unoapi.incoming") == []


def test_an_empty_address_beside_another_one_is_no_unknown_host(api: MemoryApi) -> None:
    hook = {"id": "crm", "url": "", "urlAbsolute": "https://192.0.2.1/hook"}

    answer = api.post(f"/v15.0/{PHONE}/register", {"webhooks": [hook]})

    assert answer.status_code == 200, answer.text
    assert "warnings" not in answer.json()


@pytest.mark.parametrize("edge", ["commerce_settings", "whatsapp_commerce_settings", "settings", "message_qrdls"])
def test_what_only_meta_has_is_not_implemented_for_others(api: MemoryApi, edge: str) -> None:
    assert api.get(f"/v15.0/{PHONE}/{edge}").status_code == 501


@pytest.mark.parametrize(
    ("poll", "details"),
    [
        ({"name": "Day?", "options": ["Monday", "Monday"]}, "poll: options: each must be there once"),
        ({"name": " ", "options": ["Monday", "Friday"]}, "poll: name and options must not be empty"),
        (
            {"name": "Day?", "options": ["Monday", "Friday"], "selectable_count": 3},
            "poll: selectable_count: at most the number of options",
        ),
    ],
)
def test_a_poll_that_nobody_could_answer_is_refused_with_the_reason(
    api: MemoryApi, poll: dict[str, object], details: str
) -> None:
    answer = api.post(f"/v15.0/{PHONE}/messages", {"to": OTHER, "type": "poll", "poll": poll})

    assert answer.status_code == 400
    assert answer.json()["error"]["error_data"]["details"].startswith(details)


def test_a_profile_with_nulls_keeps_what_it_has_and_a_vertical_may_be_written_small(api: MemoryApi) -> None:
    path = f"/v15.0/{PHONE}/whatsapp_business_profile"
    assert api.post(path, {"messaging_product": "whatsapp", "email": "a@example.com"}).ok

    answer = api.post(path, {"messaging_product": "whatsapp", "email": None, "about": None, "vertical": "retail"})

    assert answer.status_code == 200, answer.text
    (profile,) = api.get(path, params={"fields": "email,vertical"}).json()["data"]
    assert (profile["email"], profile["vertical"]) == ("a@example.com", "RETAIL")


@pytest.mark.parametrize("notice", ["UNO.NOT.1", "UNO.CALL.1"])
@pytest.mark.parametrize("mark", [{"status": "read"}, {"status": "read", "typing_indicator": {"type": "text"}}])
def test_a_notice_is_marked_as_read_by_doing_nothing(api: MemoryApi, notice: str, mark: dict[str, Any]) -> None:
    read = api.post(f"/v21.0/{PHONE}/messages", {"messaging_product": "whatsapp", "message_id": notice, **mark})
    deleted = api.request("DELETE", f"/v21.0/{PHONE}/messages/{notice}")

    assert (read.status_code, read.json()) == (200, {"success": True})
    assert deleted.status_code == 400
    assert api.queues.jobs("unoapi.incoming") == []
