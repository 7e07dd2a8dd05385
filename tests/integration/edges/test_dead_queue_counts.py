"""What a verb says it did is what RabbitMQ's own count says afterwards; lost causes stay; a revoked task is no loss."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import requests
from celery import Celery
from kombu import Connection

from tests.integration.edges.calls import (
    AckBursts,
    arranged,
    event,
    happens,
    new_number,
    post_event,
    registered,
    store,
    text,
)
from tests.support.receiver import Behaviour, Receiver
from tests.support.stack import BIN, Process, Stack, stack
from unoapi.devenv.ports import free_port
from unoapi.stores.deliveries import done_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unoapi.devenv.servers import PrivateServers

DEAD_LETTERS = 160
CALLBACKS = 60
LOGIN = ("admin", "password-of-flower")


@pytest.fixture(scope="module")
def hooks() -> Iterator[Receiver]:
    with Receiver() as running:
        running.record("full")
        yield running


@pytest.fixture(scope="module")
def uno(servers: PrivateServers, hooks: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {
        "UNOAPI_MESSAGE_RETRY_LIMIT": "1",
        "UNOAPI_MESSAGE_RETRY_DELAY": "1500",
        "UNOAPI_BREAKER_FAILURES": "0",
        "STATUS_FAILED_WEBHOOK_URL": hooks.url("/callback"),
    }
    with stack(servers, tmp_path_factory.mktemp("dead"), **settings) as running:
        running.web()
        running.worker(threads=20)
        yield running


@pytest.fixture
def phone(uno: Stack, hooks: Receiver) -> Iterator[str]:
    """A number whose webhook is gone: each event is a dead letter at once."""
    number = new_number(uno)
    hooks.script("/gone", Behaviour(status=410))
    hooks.script("/callback", Behaviour())
    hooks.clear()
    registered(uno, [{"id": "gone", "urlAbsolute": hooks.url("/gone")}], phone=number)
    yield number
    hooks.script("/callback", Behaviour())
    with Connection(uno.environment["AMQP_URL"]) as connection:
        channel: Any = connection.channel()
        for _ in range(2):  # between two looks a job may be with the worker
            arranged(lambda: is_idle(channel), what="what was put back has ended", within_s=30, every_s=0.2)
            time.sleep(0.3)
        channel.queue_purge("unoapi.dead")


def is_idle(channel: Any) -> bool:
    """Whether nothing waits to be delivered or posted, now or later."""
    names = ("outgoing", "webhook.status.failed", "delayed", "delayed.1", "delayed.2", "delayed.3")
    return not any(channel.queue_declare(f"unoapi.{name}", passive=True).message_count for name in names)


def bury(uno: Stack, phone: str, count: int, *, prefix: str = "wamid.DEAD") -> None:
    """Let so many events of a number end as dead letters."""
    before = counted(uno)
    messages = [text(f"{prefix}{number}", text={"body": f"{number}"}) for number in range(count)]
    assert post_event(uno, phone, event(*messages)).ok
    arranged(lambda: counted(uno) == before + count, what=f"{count} dead letters", within_s=40, every_s=0.1)


def counted(uno: Stack) -> int:
    """Dead letters by RabbitMQ's own count, as soon as nobody has any: what was taken comes back within a moment."""
    return uno.depth("unoapi.dead")


def settled(uno: Stack, wanted: int) -> int:
    """The count once it does not change any more."""
    happens(lambda: counted(uno) == wanted, within_s=1)
    time.sleep(0.3)
    return counted(uno)


@pytest.fixture
def bursts(uno: Stack) -> Iterator[None]:
    """The command line's acknowledgements reach RabbitMQ in one burst, as they do when only RabbitMQ is busy."""
    before = dict(uno.environment)
    with AckBursts(before["AMQP_URL"]) as address:
        uno.environment = {**before, "AMQP_URL": address}
        yield
    uno.environment = before


@pytest.mark.usefixtures("bursts")
def test_a_purge_that_says_so_has_thrown_all_dead_letters_away(uno: Stack, phone: str) -> None:
    """It said "153 purged", and 120, 46 and 27 were still there in three rounds."""
    bury(uno, phone, DEAD_LETTERS)

    said = uno.cli("dead", "purge", "--yes").stdout

    assert f"{DEAD_LETTERS} purged" in said
    assert settled(uno, 0) == 0


@pytest.mark.usefixtures("bursts")
def test_a_purge_of_one_webhook_leaves_the_dead_letters_of_the_other(uno: Stack, phone: str, hooks: Receiver) -> None:
    """What is kept and what goes lie mixed."""
    both = [{"id": name, "urlAbsolute": hooks.url(f"/gone/{name}")} for name in ("first", "second")]
    registered(uno, both, phone=phone)
    messages = [text(f"wamid.BOTH{number}") for number in range(DEAD_LETTERS // 2)]
    assert post_event(uno, phone, event(*messages)).ok
    arranged(lambda: counted(uno) == DEAD_LETTERS, what="all dead letters", within_s=40)

    uno.cli("dead", "purge", "--webhook", "first")

    assert settled(uno, DEAD_LETTERS // 2) == DEAD_LETTERS // 2
    left = uno.get("/admin/dead?limit=1000").json()["data"]
    assert [dead_letter["webhook"] for dead_letter in left] == ["second"] * (DEAD_LETTERS // 2)


@pytest.mark.usefixtures("bursts")
def test_a_replay_takes_each_dead_letter_out_of_the_queue(uno: Stack, phone: str, hooks: Receiver) -> None:
    """Else a second replay runs them again."""
    bury(uno, phone, DEAD_LETTERS)
    hooks.script("/gone", Behaviour())
    hooks.clear()

    said = uno.cli("dead", "replay", "--reason", "gone").stdout
    arranged(lambda: hooks.count("/gone") >= DEAD_LETTERS, what="all are delivered", within_s=40, every_s=0.1)

    assert f"{DEAD_LETTERS} replayed" in said
    assert settled(uno, 0) == 0
    assert {requests for requests, _ in hooks.ids("/gone").values()} == {1}


@pytest.mark.usefixtures("bursts")
def test_callbacks_are_replayed_once(uno: Stack, phone: str, hooks: Receiver) -> None:
    """60 dead letters made 75 requests; no done-key stops these copies."""
    hooks.script("/callback", Behaviour(status=500))
    messages = [text(f"wamid.CALLBACK{number}") for number in range(CALLBACKS)]
    assert post_event(uno, phone, event(*messages)).ok
    arranged(lambda: counted(uno) == 2 * CALLBACKS, what="dead letters of deliveries and callbacks", within_s=40)
    hooks.script("/callback", Behaviour())
    hooks.clear()

    uno.cli("dead", "replay", "--reason", "callback_failed")
    arranged(lambda: hooks.count("/callback") >= CALLBACKS, what="all are posted", within_s=40, every_s=0.1)
    uno.cli("dead", "replay", "--reason", "callback_failed")
    happens(lambda: hooks.count("/callback") > CALLBACKS, within_s=1)

    assert hooks.count("/callback") == CALLBACKS
    assert settled(uno, CALLBACKS) == CALLBACKS


def test_lists_leave_every_dead_letter_and_show_as_many_as_rabbitmq_counts(uno: Stack, phone: str) -> None:
    """Where it does not hold: what is only looked at is there for the next look."""
    bury(uno, phone, DEAD_LETTERS)

    shown = [
        {dead_letter["id"] for dead_letter in uno.dead()},
        *({dead_letter["id"] for dead_letter in uno.get("/admin/dead?limit=1000").json()["data"]} for _ in range(2)),
    ]

    assert [len(ids) for ids in shown] == [DEAD_LETTERS] * 3
    assert shown[0] == shown[1] == shown[2]
    assert settled(uno, DEAD_LETTERS) == DEAD_LETTERS


# --- a replay leaves lost causes alone ---


def replay_by_command(uno: Stack, phone: str) -> None:
    uno.cli("dead", "replay", "--phone", phone)


def replay_by_api(uno: Stack, phone: str) -> None:
    assert uno.post("/admin/dead/replay", {"phone": phone}).ok


@pytest.mark.parametrize("replay", [replay_by_command, replay_by_api])
def test_a_replay_leaves_lost_causes_alone_unless_they_are_named(
    uno: Stack, phone: str, hooks: Receiver, replay: Callable[[Stack, str], None]
) -> None:
    """`gone` here; `webhook_removed`, `dropped` and `blocked` alike. 85 dead letters replayed were 140 dead."""
    bury(uno, phone, 3)
    hooks.clear()

    replay(uno, phone)
    happens(lambda: hooks.count("/gone"), within_s=1.5)
    unnamed = hooks.count("/gone")
    assert uno.post("/admin/dead/replay", {"phone": phone, "reason": "gone"}).ok
    named = happens(lambda: hooks.count("/gone") == unnamed + 3, within_s=5)

    assert named
    assert unnamed == 0


def test_a_replay_leaves_failed_callbacks_alone_unless_they_are_named(uno: Stack, phone: str, hooks: Receiver) -> None:
    """With the address of the callbacks away each dead letter makes a second one."""
    hooks.script("/callback", Behaviour(status=500))
    assert post_event(uno, phone, event(text("wamid.CALLBACK"))).ok
    arranged(lambda: counted(uno) == 2, what="dead letters of the delivery and of the callback", within_s=20)
    hooks.clear()

    assert uno.post("/admin/dead/replay", {"phone": phone}).ok
    happens(lambda: hooks.count("/callback"), within_s=1.5)

    assert hooks.count("/callback") == 0
    assert len(uno.get("/admin/dead?reason=callback_failed").json()["data"]) == 1


def test_a_replay_of_everything_has_to_be_asked_for(uno: Stack, phone: str, hooks: Receiver) -> None:
    """As a purge does, on the command line and over HTTP."""
    bury(uno, phone, 2)
    hooks.clear()

    by_command = uno.cli("dead", "replay", check=False)
    by_api = uno.post("/admin/dead/replay", {})
    happens(lambda: hooks.count("/gone"), within_s=1)

    assert by_command.returncode != 0
    assert by_api.status_code == 400
    assert hooks.count("/gone") == 0
    assert settled(uno, 2) == 2


def test_a_purge_of_everything_has_to_be_asked_for(uno: Stack, phone: str) -> None:
    bury(uno, phone, 2)

    by_command = uno.cli("dead", "purge", check=False)
    by_api = uno.post("/admin/dead/purge", {})

    assert by_command.returncode != 0
    assert by_api.status_code == 400
    assert settled(uno, 2) == 2


# --- dashboards ---


@pytest.fixture
def flower(uno: Stack) -> Iterator[str]:
    port = free_port()
    environment = {**uno.environment, "FLOWER_BASIC_AUTH": ":".join(LOGIN)}
    command = [str(BIN / "python"), "-m", "unoapi.cli.flower", f"--port={port}"]
    process = Process("flower", command, environment, uno.folder)
    address = f"http://127.0.0.1:{port}"
    try:
        arranged(lambda: answers(address), what="Flower answers", within_s=30)
        yield address
    finally:
        process.stop()


def answers(address: str) -> bool:
    try:
        return requests.get(f"{address}/healthcheck", timeout=2).ok
    except requests.RequestException:
        return False


def test_a_delivery_that_is_revoked_in_flower_is_not_lost(uno: Stack, phone: str, hooks: Receiver, flower: str) -> None:
    """The command is switched off, or its effect is a dead letter with the reason `revoked`."""
    hooks.script("/down", Behaviour(status=500))
    registered(uno, [{"id": "gone", "urlAbsolute": hooks.url("/down")}], phone=phone)
    assert post_event(uno, phone, event(text("wamid.REVOKED"))).ok
    arranged(lambda: hooks.count("/down"), what="the first attempt")
    (delivery,) = hooks.ids("/down")

    answer = requests.post(f"{flower}/api/task/revoke/{delivery}", auth=LOGIN, timeout=10)
    happens(lambda: hooks.count("/down") > 1 or counted(uno), within_s=5)

    assert hooks.count("/down") > 1 or counted(uno) == 1, (answer.status_code, answer.text)


def test_no_command_of_a_dashboard_stops_or_throttles_a_worker(
    uno: Stack, phone: str, hooks: Receiver, flower: str
) -> None:
    """Flower says that they are switched off, and so does a worker to whoever asks it directly."""
    hooks.script("/up", Behaviour())
    registered(uno, [{"id": "gone", "urlAbsolute": hooks.url("/up")}], phone=phone)
    control = Celery(broker=uno.environment["AMQP_URL"], set_as_current=False).control
    names: list[dict[str, Any]] = arranged(lambda: control.ping(timeout=2), what="the workers answer")

    answers = [
        requests.post(f"{flower}/api/{path}", params=values, auth=LOGIN, timeout=10)
        for name in [next(iter(worker)) for worker in names]
        for path, values in (
            (f"worker/shutdown/{name}", {}),
            (f"worker/pool/shrink/{name}", {"n": "20"}),
            (f"worker/queue/cancel-consumer/{name}", {"queue": "unoapi.outgoing"}),
            ("task/rate-limit/outgoing.deliver", {"workername": name, "ratelimit": "1/h"}),
        )
    ]
    commands: dict[str, dict[str, Any]] = {
        "shutdown": {},
        "rate_limit": {"task_name": "outgoing.deliver", "rate_limit": "1/h"},
        "cancel_consumer": {"queue": "unoapi.outgoing"},
        "pool_shrink": {"n": 20},
    }
    replies: list[dict[str, Any]] = []
    for command, arguments in commands.items():
        replies += control.broadcast(command, arguments=arguments, reply=True, timeout=2) or []
    assert post_event(uno, phone, event(*(text(f"wamid.CONTROL{number}") for number in range(5)))).ok
    delivered = happens(lambda: hooks.count("/up") == 5, within_s=10)

    assert {answer.status_code for answer in answers} == {403}
    assert len(replies) == 4 * len(names)
    assert all("error" in said for reply in replies for said in reply.values())
    assert delivered


# --- ordered webhooks ---


def test_an_ordered_delivery_leaves_its_line_together_with_its_done_key(
    uno: Stack, phone: str, hooks: Receiver
) -> None:
    """In the gap its own message, coming back at another worker, finds neither. Seen at Redis, as it happens."""
    hooks.script("/ordered", Behaviour(delay_ms=50))
    registered(uno, [{"id": "ordered", "urlAbsolute": hooks.url("/ordered"), "ordered": True}], phone=phone)
    messages = [text(f"wamid.ORDERED{number}") for number in range(8)]

    seen: list[tuple[float, str]] = []
    with store(uno).monitor() as monitor:
        assert post_event(uno, phone, event(*messages)).ok
        arranged(lambda: hooks.count("/ordered") >= len(messages), what="all are delivered", within_s=20)
        time.sleep(0.5)  # until the last one is answered, and has left
        store(uno).echo("the end")
        for command in monitor.listen():
            seen.append((command["time"], str(command["command"])))
            if "the end" in seen[-1][1]:
                break
        else:
            pytest.fail("the end was not seen")

    gaps = [gap for delivery in hooks.ids("/ordered") if (gap := _gap_s(seen, delivery)) is not None]
    assert len(gaps) > len(messages) // 2
    assert max(gaps) < 0.002, gaps


def _gap_s(seen: list[tuple[float, str]], delivery: str) -> float | None:
    """Seconds from when a delivery left its line to when its done-key was written; none if it was not seen leaving."""
    done = [at for at, command in seen if command.upper().startswith("SET ") and done_key(delivery) in command]
    left = [at for at, command in seen if command.upper().startswith("ZREM ") and delivery in command]
    if not left:
        return None
    return (done[0] if done else seen[-1][0]) - left[0]
