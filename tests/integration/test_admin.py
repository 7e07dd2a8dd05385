"""The operator's view over HTTP: dead letters, queues and endpoints, with the same verbs as the command line."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.api import MemoryApi, memory_api
from tests.support.dead_letters import bury, delivery
from tests.support.stack import PHONE, TOPOLOGY, Stack, eventually, stack
from unoapi.models.dead_letters import DeadLetterQuery
from unoapi.models.jobs import now_ms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.receiver import Receiver
    from unoapi.devenv.servers import PrivateServers

ENDPOINT = f"/admin/endpoints/{PHONE}/main"
HOOK = {"id": "main", "urlAbsolute": "http://127.0.0.1:1/hook", "token": "webhook-token"}
SESSION_TOKEN = f"session-token-{PHONE}"


@pytest.fixture
def api() -> Iterator[MemoryApi]:
    """Over fakes, but for the client that posts to webhooks."""
    with memory_api(UNOAPI_ALLOWED_HOSTS="127.0.0.0/8") as running:
        running.register([HOOK])
        yield running


@pytest.fixture(scope="module")
def gateway(servers: PrivateServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Web only, with RabbitMQ and Redis."""
    with stack(servers, tmp_path_factory.mktemp("admin")) as running:
        running.web()
        running.register([HOOK])
        yield running


def ok(answer: Any) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(page: Any) -> list[str]:
    return [dead_letter["id"] for dead_letter in page["data"]]


# --- dead letters ---


def test_dead_letters_are_listed_by_filter_in_pages_and_stay(api: MemoryApi) -> None:
    bury(api.queues, [delivery(number) for number in range(5)])
    bury(api.queues, [delivery(6, webhook="crm")], reason="too_old")

    whole = ok(api.get("/admin/dead"))
    first = ok(api.get("/admin/dead?limit=4"))
    second = ok(api.get(f"/admin/dead?limit=4&offset={first['next_offset']}"))

    assert len(ids(whole)) == 6
    assert whole["complete"]
    assert "next_offset" not in whole
    assert sorted(ids(first) + ids(second)) == sorted(ids(whole))
    assert ids(ok(api.get("/admin/dead?webhook=crm"))) == [delivery(6, webhook="crm").id]
    assert ids(ok(api.get("/admin/dead?reason=too_old"))) == [delivery(6, webhook="crm").id]
    assert ids(ok(api.get("/admin/dead?older_than_s=3600"))) == []
    assert ids(ok(api.get("/admin/dead"))) == ids(whole)


def test_one_dead_letter_is_shown_without_its_body(api: MemoryApi) -> None:
    bury(api.queues, [delivery(1)])

    shown = ok(api.get(f"/admin/dead/{delivery(1).id}"))

    assert shown["attempts"][0]["status"] == 500
    assert shown["reason"] == "delivery_failed"
    assert "body" not in shown
    assert api.get("/admin/dead/nothing").status_code == 404


def test_a_replay_is_bounded_and_goes_on_where_it_stopped(api: MemoryApi) -> None:
    bury(api.queues, [delivery(number) for number in range(10, 15)])

    first = ok(api.post("/admin/dead/replay", {"limit": 3, "all": True}))
    left = len(ids(ok(api.get("/admin/dead"))))
    second = ok(api.post("/admin/dead/replay", {"webhook": "main"}))

    assert first == {"outcomes": {"replayed": 3}, "complete": False}
    assert left == 2
    assert second == {"outcomes": {"replayed": 2}, "complete": True}
    assert api.queues.depth("unoapi.outgoing") == 5
    assert ids(ok(api.get("/admin/dead"))) == []


def test_a_replay_can_be_tried_first_and_takes_its_time(api: MemoryApi) -> None:
    bury(api.queues, [delivery(40), delivery(41)])
    bury(api.queues, [delivery(42)], reason="gone")

    foreseen = ok(api.post("/admin/dead/replay", {"dry_run": True}))
    still_there = len(ids(ok(api.get("/admin/dead"))))
    replayed = ok(api.post("/admin/dead/replay", {"webhook": "main", "rate": 1000}))

    assert foreseen == {"outcomes": {"would be replayed": 2, "left_alone": 1}, "complete": True}
    assert still_there == 3
    assert replayed == {"outcomes": {"replayed": 2, "left_alone": 1}, "complete": True}
    assert api.queues.depth("unoapi.outgoing") == 2
    assert [line["detail"] for line in ok(api.get("/admin/audit"))["data"] if line["what"] == "admin.replay"] == [
        "2 replayed, 1 left_alone"
    ]


def test_a_purge_wants_a_filter_or_the_word_all(api: MemoryApi) -> None:
    bury(api.queues, [delivery(20), delivery(21, webhook="crm")])

    refused = api.post("/admin/dead/purge", {})
    one = ok(api.post("/admin/dead/purge", {"webhook": "crm"}))
    rest = ok(api.post("/admin/dead/purge", {"all": True}))

    assert refused.status_code == 400
    assert one == {"outcomes": {"purged": 1}, "complete": True}
    assert rest == {"outcomes": {"purged": 1}, "complete": True}


@pytest.mark.parametrize(
    "body", [{"limit": 0}, {"limit": 100_000}, {"older_than_s": -1}, {"unknown": 1}, {"id": "x" * 300}]
)
def test_what_does_not_fit_is_refused(api: MemoryApi, body: dict[str, Any]) -> None:
    assert api.post("/admin/dead/replay", body).status_code == 400


def test_a_second_one_at_the_dead_queue_sees_who_is_busy(api: MemoryApi) -> None:
    bury(api.queues, [delivery(30)])
    walk = iter(api.uno.dead_letters.list(DeadLetterQuery(), by="a test"))
    next(walk)

    answer = api.get("/admin/dead")
    walk.close()  # type: ignore[attr-defined]

    assert answer.status_code == 409
    assert "`a test`" in answer.text
    assert answer.headers["Retry-After"]
    assert api.get("/admin/dead").status_code == 200


def test_with_rabbitmq_away_the_dead_letters_are_a_503(api: MemoryApi) -> None:
    api.queues.away = True

    assert api.get("/admin/dead").status_code == 503


def test_a_sessions_token_opens_none_of_it(api: MemoryApi) -> None:
    for path in ("/admin/dead", "/admin/queues", "/admin/endpoints", ENDPOINT):
        assert api.get(path, token=SESSION_TOKEN).status_code == 401


# --- queues ---


def test_queues_show_what_stands_in_them(gateway: Stack) -> None:
    gateway.contact_writes("for the queue")

    depths = {line["queue"]: line for line in ok(gateway.get("/admin/queues"))["data"]}

    assert set(depths) == {*(queue.name for queue in TOPOLOGY.queues), "unoapi.held.*"}
    assert depths["unoapi.outgoing"]["ready"] >= 1
    assert depths["unoapi.outgoing"]["consumers"] == 0


# --- endpoints ---


def test_an_endpoint_is_paused_and_resumed_and_says_so(api: MemoryApi) -> None:
    ok(api.post(f"{ENDPOINT}/pause", {"seconds": 60}))
    paused = ok(api.get(ENDPOINT))
    ended = ok(api.post(f"{ENDPOINT}/resume", {}))
    again = ok(api.post(f"{ENDPOINT}/resume", {}))

    assert paused["state"] == "paused"
    assert 50_000 < paused["paused_ms"] <= 60_000
    assert (ended["was_paused"], again["was_paused"]) == (True, False)
    assert ok(api.get(ENDPOINT))["state"] == "open"


def test_endpoints_are_listed_without_their_secrets(api: MemoryApi) -> None:
    every = api.get("/admin/endpoints")

    assert [(line["phone"], line["webhook"]) for line in ok(every)["data"]] == [(PHONE, "main")]
    assert ok(api.get(f"/admin/endpoints/{PHONE}"))["data"] == ok(every)["data"]
    assert "webhook-token" not in every.text
    assert ok(api.get(f"/admin/endpoints?after={PHONE}"))["data"] == []


@pytest.mark.parametrize("verb", ["pause", "resume", "drop", "test"])
def test_an_unknown_webhook_is_named(api: MemoryApi, verb: str) -> None:
    answer = api.post(f"/admin/endpoints/{PHONE}/nobody/{verb}", {})

    assert answer.status_code == 404
    assert "'main'" in answer.text


def trying(api: MemoryApi, url: str) -> Any:
    api.register(
        [{"id": "tried", "urlAbsolute": url, "timeoutMs": 1000, "token": "webhook-token"}], phone="5521900000000"
    )
    answer = api.post("/admin/endpoints/5521900000000/tried/test")
    assert "webhook-token" not in answer.text
    return ok(answer)


def test_a_test_event_arrives_like_a_delivery_and_is_no_message(api: MemoryApi, receiver: Receiver) -> None:
    result = trying(api, receiver.url("/try"))

    assert (result["delivered"], result["failed_at"], result["status"]) == (True, "", 200)
    assert receiver.count("/try") == 1


def test_a_test_says_where_it_broke(api: MemoryApi, receiver: Receiver) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        socket.socket() as closed,
        socket.create_server(("127.0.0.1", 0)) as plain,
    ):
        closed.bind(("127.0.0.1", 0))

        def answer_nonsense() -> None:
            connection, _ = plain.accept()
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            connection.close()

        threading.Thread(target=answer_nonsense, daemon=True).start()
        addresses = {
            "answer": f"http://127.0.0.1:{silent.getsockname()[1]}/",
            "connection": f"http://127.0.0.1:{closed.getsockname()[1]}/",
            "status": f"http://127.0.0.1:{plain.getsockname()[1]}/",
            "name": "http://no-such-host.invalid/",
            "tls": receiver.url("/").replace("http:", "https:"),
        }
        results = {step: trying(api, url) for step, url in addresses.items()}

    assert {step: result["failed_at"] for step, result in results.items()} == {step: step for step in addresses}
    assert results["status"]["status"] == 404
    assert all(result["hint"] for result in results.values())


def test_the_command_line_has_the_same_verbs(gateway: Stack) -> None:
    done = gateway.cli("endpoint", "test", PHONE, "main", check=False)

    assert done.returncode == 1
    assert "connection refused" in done.stdout
    assert "Paused" in gateway.cli("endpoint", "pause", PHONE, "main", "--seconds", "30").stdout
    assert "Resumed" in gateway.cli("endpoint", "resume", PHONE, "main").stdout
    assert gateway.cli("endpoint", "test", PHONE, "nobody", check=False).returncode == 1


def test_what_waits_is_dropped_and_what_comes_later_is_delivered(uno: Stack, receiver: Receiver) -> None:
    uno.web()
    uno.register([{"id": "main", "urlAbsolute": receiver.url("/hook")}])
    ok(uno.post(f"{ENDPOINT}/pause", {"seconds": 60}))
    uno.contact_writes("dropped")
    mark = ok(uno.post(f"{ENDPOINT}/drop", {}))["dropped_until_ms"]
    eventually(lambda: now_ms() > mark)
    ok(uno.post(f"{ENDPOINT}/resume", {}))
    uno.contact_writes("delivered")

    uno.worker()

    [dead_letter] = eventually(uno.dead, every_s=1)
    assert dead_letter["reason"] == "dropped"
    assert eventually(lambda: receiver.count("/hook") == 1)
    ok(uno.post("/admin/dead/replay", {"reason": "dropped"}))
    assert eventually(lambda: receiver.count("/hook") == 2), "a replay is accepted anew"
