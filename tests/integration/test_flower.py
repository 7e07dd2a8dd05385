"""Flower: behind a password, with all queues, and with a memory."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.support.dead_letters import bury, delivery
from tests.support.stack import BIN, PHONE, TOPOLOGY, Process, Stack, eventually, stack
from unoapi.broker.publisher import ConfirmingPublisher
from unoapi.devenv.ports import free_port
from unoapi.errors import EX_CONFIG

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.receiver import Receiver
    from unoapi.devenv.servers import PrivateServers

LOGIN = ("admin", "password-of-flower")


@pytest.fixture(scope="module")
def uno(servers: PrivateServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Web and a worker, and two dead letters."""
    with stack(servers, tmp_path_factory.mktemp("flower"), RABBITMQ_MANAGEMENT_URL=servers.management_url) as running:
        running.web()
        publisher = ConfirmingPublisher(running.environment["AMQP_URL"], TOPOLOGY)
        bury(publisher, [delivery(1), delivery(2)])
        publisher.close()
        running.worker()
        yield running


def flower(uno: Stack, port: int, *options: str, **settings: str) -> Process:
    environment = {**uno.environment, **settings}
    command = [str(BIN / "python"), "-m", "unoapi.cli.flower", f"--port={port}", *options]
    process = Process("flower", command, environment, uno.folder)
    uno.processes.append(process)
    return process


def ask(port: int, path: str, login: tuple[str, str] | None = LOGIN) -> requests.Response | None:
    try:
        return requests.get(f"http://127.0.0.1:{port}{path}", auth=login, timeout=5)
    except requests.RequestException:
        return None


def tasks_of(port: int, message_id: str) -> Any:
    """The task of an event that has just been accepted, if Flower listened to the workers already."""
    for _ in range(10):
        shown = ask(port, f"/api/tasks?search={message_id}")
        if shown is not None and any(task["result"] for task in shown.json().values()):
            return shown.json()
        time.sleep(0.2)
    return None


def rows(page: str) -> dict[str, list[str]]:
    """The lines of the Broker tab: the queue's name and its other columns."""
    table = re.findall(r"<tr id=.*?</tr>", page, re.DOTALL)
    cells = [[cell.strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)] for row in table]
    return {name: rest for name, *rest in cells}


def test_strangers_see_nothing_and_the_operator_sees_all_queues_even_after_a_restart(
    uno: Stack, receiver: Receiver
) -> None:
    port = free_port()
    first = flower(uno, port, "--address=0.0.0.0", FLOWER_BASIC_AUTH=":".join(LOGIN))
    eventually(lambda: ask(port, "/healthcheck"), within_s=30)
    uno.register([{"id": "fine", "urlAbsolute": receiver.url("/fine"), "token": "t"}])

    doors = [
        ask(port, path, None) for path in ("/", "/broker", "/tasks", "/api/queues/length", "/api/tasks", "/metrics")
    ]
    wrong = ask(port, "/broker", (LOGIN[0], "wrong"))
    alive = ask(port, "/health/live", None)
    page = ask(port, "/broker")
    lengths = ask(port, "/api/queues/length")
    metrics = ask(port, "/metrics")
    tasks = eventually(lambda: tasks_of(port, uno.contact_writes("hello")), what="the task of an event")
    first.stop()
    (uno.folder / "login").write_text(":".join(LOGIN) + "\n")
    second = flower(uno, port, FLOWER_BASIC_AUTH_FILE=str(uno.folder / "login"))
    remembered = eventually(lambda: ask(port, "/api/tasks"), within_s=30)

    assert [door is not None and door.status_code for door in [*doors, wrong]] == [401] * 7
    assert alive is not None
    assert (alive.status_code, alive.text) == (200, "# alive\n")
    assert page is not None
    shown = rows(page.text)
    together = {"unoapi.outgoing.whatsmeow.*", "unoapi.held.*"}
    assert set(shown) == {*(queue.name for queue in TOPOLOGY.queues), *together}
    assert shown["unoapi.dead"][:4] == ["2", "0", "2", "0"]
    assert shown["unoapi.outgoing"][3] == "1"
    assert lengths is not None
    assert metrics is not None
    assert "flower_" in metrics.text
    active = {queue["name"]: queue for queue in lengths.json()["active_queues"]}
    assert active["unoapi.dead"]["messages"] == 2
    [task] = tasks.values()
    assert (task["name"], task["state"]) == ("outgoing.fan_out", "SUCCESS")
    assert PHONE in task["args"]
    assert re.fullmatch(rf"outgoing\.deliver id=\S+ phone={PHONE} .* webhook=fine kind=message", task["result"])
    assert tasks.keys() <= remembered.json().keys()
    files = list((uno.folder / "data").glob("flower*"))
    assert files
    assert [file.stat().st_mode & 0o077 for file in files] == [0] * len(files)
    second.stop()


@pytest.mark.parametrize("address", ["0.0.0.0", "", "::", "192.0.2.1", "flower.example"])
def test_an_open_door_is_refused(uno: Stack, address: str) -> None:
    process = flower(uno, free_port(), f"--address={address}")

    assert process.wait(30) == EX_CONFIG
    assert "FLOWER_BASIC_AUTH" in process.output()


def test_an_ipv6_address_may_stand_in_brackets(uno: Stack) -> None:
    port = free_port()
    process = flower(uno, port, "--address=[::1]")

    eventually(lambda: "flower_listening" in process.output() or not process.running(), within_s=30)

    assert process.running(), process.output()
    assert requests.get(f"http://[::1]:{port}/healthcheck", timeout=5).ok
    process.stop()


def test_without_a_password_it_is_there_for_this_machine_alone(uno: Stack, tmp_path: Path) -> None:
    port = free_port()
    read_only = tmp_path / "file"
    read_only.write_text("")
    process = flower(uno, port, FLOWER_BASIC_AUTH="", BASE_STORE=str(read_only))

    page: Any = eventually(lambda: ask(port, "/broker", None), within_s=30)

    assert "unoapi.delayed.17" in rows(page.text)
    assert ask(port, "/api/tasks", None).status_code == 401  # type: ignore[union-attr]
    process.stop()
    assert not process.running()


def test_it_is_there_while_rabbitmq_is_away(uno: Stack) -> None:
    port = free_port()
    process = flower(uno, port, AMQP_URL=f"amqp://127.0.0.1:{free_port()}", FLOWER_BASIC_AUTH="a:b")

    eventually(lambda: ask(port, "/healthcheck"), within_s=30)
    began = time.monotonic()
    page: Any = eventually(lambda: ask(port, "/broker", ("a", "b")), within_s=15)

    assert rows(page.text) == {}
    assert time.monotonic() - began < 10
    process.stop()
