"""What an operator and the owner of a number see over HTTP, on fakes: messages, counts, endpoints, audit log, bin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.api import MemoryApi, memory_api
from tests.support.fakes import CONTACT, PHONE, SECRET, MemoryRequestBin
from unoapi.models.request_bin import BIN_URL

if TYPE_CHECKING:
    from collections.abc import Iterator

OTHER = "5521977776666"
TOKEN = f"session-token-{PHONE}"
CRM = {"id": "crm", "urlAbsolute": "http://receiver.test/hook", "token": SECRET}
BIN = {"id": "bin", "urlAbsolute": BIN_URL, "token": SECRET, "secret": SECRET}


@pytest.fixture
def api() -> Iterator[MemoryApi]:
    with memory_api(UNOAPI_CONSOLE_BODIES="true") as running:
        running.register([CRM])
        yield running


def data(api: MemoryApi, path: str, *, token: str = TOKEN, **params: Any) -> Any:
    answer = api.get(path, token=token, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def test_a_received_and_a_sent_message_are_found_with_how_far_they_are(api: MemoryApi) -> None:
    received = api.contact_writes("hello")
    sent = api.send("hi").json()["messages"][0]["id"]
    api.work(200, 503)

    found = data(api, f"/v15.0/{PHONE}/messages", contact="8888-7777", since="1h")

    assert {line["id"]: (line["direction"], line["contact"], line["type"], line["state"]) for line in found} == {
        received: ("received", CONTACT, "text", "delivered"),
        sent: ("sent", CONTACT, "text", "sent"),
    }
    assert [line["id"] for line in data(api, f"/v15.0/{PHONE}/messages", state="delivered")] == [received]
    assert data(api, f"/v15.0/{PHONE}/messages", until="1h") == []


def test_the_operator_searches_all_numbers_and_an_owner_the_own_one(api: MemoryApi) -> None:
    api.register([CRM], phone=OTHER)
    theirs = api.send("hi", phone=OTHER).json()["messages"][0]["id"]
    ours = api.send("hi").json()["messages"][0]["id"]

    by_operator = api.get("/admin/messages").json()["data"]

    assert [line["id"] for line in by_operator] == [ours, theirs]
    assert [line["id"] for line in data(api, f"/v15.0/{PHONE}/messages")] == [ours]
    assert data(api, f"/v15.0/{PHONE}/messages", id=theirs) == []
    assert api.get(f"/v15.0/{OTHER}/messages", token=TOKEN).status_code == 404
    assert api.get("/admin/messages", token=TOKEN).status_code == 401


def test_a_body_is_for_its_own_number(api: MemoryApi) -> None:
    message_id = api.send("hi").json()["messages"][0]["id"]
    api.register([CRM], phone=OTHER)

    body = api.get(f"/v15.0/{PHONE}/messages/{message_id}/body", token=TOKEN).json()["body"]

    assert body["text"] == {"body": "hi"}
    assert api.get(f"/v15.0/{OTHER}/messages/{message_id}/body").status_code == 404


def test_without_the_switch_no_body_is_kept() -> None:
    with memory_api() as api:
        api.register([CRM])
        message_id = api.send("hi").json()["messages"][0]["id"]

        answer = api.get(f"/v15.0/{PHONE}/messages/{message_id}/body", token=TOKEN)

    assert answer.status_code == 404
    assert "UNOAPI_CONSOLE_BODIES" in answer.text


@pytest.mark.parametrize(
    "query",
    [
        {"since": "soon"}, {"since": "9" * 40}, {"limit": "0"}, {"limit": "201"}, {"state": "lost"},
        {"contact": "1" * 257}, {"before": "x" * 601}, {"direction": "up"}, {"page": "2"},
    ],
    ids=str,
)  # fmt: skip
def test_a_search_that_cannot_be_meant_is_refused(api: MemoryApi, query: dict[str, str]) -> None:
    answer = api.get(f"/v15.0/{PHONE}/messages", token=TOKEN, params=query)

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] in (100, 131009)


@pytest.mark.parametrize(
    "query", [{"since": "0001-01-01T00:00:00Z"}, {"since": "999999999d"}, {"until": "-1"}], ids=str
)
def test_a_time_may_be_far_away(api: MemoryApi, query: dict[str, str]) -> None:
    api.contact_writes("hello")
    api.work(200)

    assert len(data(api, f"/v15.0/{PHONE}/messages", **query)) == int("since" in query)


def test_a_token_may_stand_in_the_query(api: MemoryApi) -> None:
    answer = api.get(f"/v15.0/{PHONE}/messages", token=None, params={"access_token": TOKEN})

    assert answer.status_code == 200


def test_counts_say_what_happened_to_all_to_a_number_and_to_a_webhook(api: MemoryApi) -> None:
    api.contact_writes("hello")
    api.send("hi")
    api.work(200, 503)

    totals = [
        api.get(path).json()["totals"]
        for path in (
            "/admin/activity", "/admin/activity?span=month", f"/v15.0/{PHONE}/activity",
            f"/admin/endpoints/{PHONE}/crm/activity", f"/v15.0/{PHONE}/webhooks/crm/activity",
        )
    ]  # fmt: skip

    attempts = {"delivered": 1, "failed": 1, "dead": 0, "success_rate": 0.5, "p50_ms": 18, "p95_ms": 24}
    assert totals == [
        *[{"received": 1, "sent": 1, "send_failed": 0, **attempts}] * 3,
        *[{"received": 0, "sent": 0, "send_failed": 0, **attempts}] * 2,
    ]
    assert api.get("/admin/activity?span=year").status_code == 400
    assert api.get(f"/admin/endpoints/{PHONE}/none/activity").status_code == 404


def test_an_endpoint_says_why_it_failed_last(api: MemoryApi) -> None:
    api.contact_writes("hello")
    api.work(503)

    line = api.get(f"/admin/endpoints/{PHONE}/crm").json()

    assert (line["state"], line["since"], line["waiting"]) == ("open", None, 0)
    assert (line["last_error"]["status"], line["last_error"]["error"]) == (503, "HTTP 503")
    assert [endpoint["webhook"] for endpoint in api.get("/admin/endpoints?state=open").json()["data"]] == ["crm"]
    assert api.get("/admin/endpoints?state=down").json()["data"] == []


def test_an_overview_says_what_cannot_be_had_now(api: MemoryApi) -> None:
    api.register([CRM], phone=OTHER, provider="whatsmeow")

    assert api.get("/admin/overview").json() == {
        "sessions": {"online": 1, "disconnected": 1}, "endpoints_down": 0,
        "dead": None, "waiting": None, "oldest_s": None,
    }  # fmt: skip


def test_each_change_is_a_line_of_the_audit_log_without_secrets(api: MemoryApi) -> None:
    api.post(f"/v15.0/{PHONE}/register", {"webhooks": [CRM]}, token=TOKEN)
    api.post(f"/admin/endpoints/{PHONE}/crm/pause", {"seconds": 60})
    api.post("/admin/dead/replay", {"phone": PHONE})
    api.post("/admin/dead/purge", {"nonsense": 1})
    api.send("hi")
    api.get("/admin/queues")

    answer = api.get("/admin/audit")

    assert [(line["who"], line["what"], line["phone"], line["detail"]) for line in answer.json()["data"]] == [
        ("operator", "admin.replay", "", "none"),
        ("operator", "admin.pause", PHONE, "crm"),
        (PHONE, "sessions.register", PHONE, ""),
        ("operator", "sessions.register", PHONE, ""),
    ]
    assert SECRET not in answer.text
    assert TOKEN not in answer.text
    first = api.get("/admin/audit?limit=1").json()
    assert len(first["data"]) == 1
    assert first["next"] == first["data"][0]["at_ms"]
    assert api.get("/admin/audit", params={"phone": OTHER}).json() == {"data": []}


def test_a_developer_without_a_receiver_sees_what_a_webhook_gets(api: MemoryApi) -> None:
    api.register([BIN])
    api.contact_writes("hello")
    api.work()

    answer = api.get(f"/v15.0/{PHONE}/bin", token=TOKEN)

    (request,) = answer.json()["data"]
    assert request["webhook"] == "bin"
    assert '"body":"hello"' in request["body"].replace(" ", "")
    assert {"webhook-id", "webhook-signature", "X-Hub-Signature-256"} <= request["headers"].keys()
    assert request["headers"]["Authorization"] == "***"
    assert SECRET not in answer.text
    assert data(api, f"/v15.0/{PHONE}/bin", after=request["seq"]) == []
    assert data(api, f"/v15.0/{PHONE}/messages")[0]["state"] == "delivered"


def test_a_request_to_the_bin_is_tried_again_when_redis_is_away(api: MemoryApi) -> None:
    assert isinstance(api.uno.request_bin, MemoryRequestBin)
    api.uno.request_bin.away = True
    api.register([BIN])
    api.contact_writes("hello")
    api.work()

    (message,) = data(api, f"/v15.0/{PHONE}/messages")

    assert message["state"] == "waiting"
    assert "request bin" in message["detail"]
