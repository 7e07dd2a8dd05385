"""Private servers run side by side, preserve their data, and leave nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import kombu
import psutil
import pytest
import redis

from tests.support.constants import REGISTERED_S, ROOT
from tests.support.harness import processes_of
from unoapi.devenv import packages, processes
from unoapi.devenv.ports import free_port
from unoapi.devenv.reachable import reachable
from unoapi.devenv.servers import PrivateServers, RedisNode, find_or_install
from unoapi.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


DURABLE = kombu.Queue("durable", durable=True, queue_arguments={"x-queue-type": "quorum"})


def put_durable(amqp_url: str, body: str) -> None:
    with kombu.Connection(amqp_url, transport_options={"confirm_publish": True}) as connection:
        kombu.Producer(connection).publish(body, routing_key="durable", declare=[DURABLE], delivery_mode=2)


def get_durable(amqp_url: str) -> object:
    with kombu.Connection(amqp_url) as connection:
        message = DURABLE(connection.channel()).get()
        return None if message is None else message.payload


def test_two_sets_run_side_by_side_preserve_their_data_and_leave_nothing(
    servers: PrivateServers, tmp_path: Path
) -> None:
    """The second set is that of the whole test run."""
    first = PrivateServers(tmp_path / "first set")
    try:
        first.start()
        vhost_url = first.rabbit.add_vhost("tests/one")
        put_durable(vhost_url, "still here")
        redis.Redis.from_url(first.redis_url).set("durable", "yes")
        addresses = (first.amqp_url, first.redis_url, first.management_url)
        listening = {
            connection.laddr.ip
            for connection in psutil.Process(first.rabbit.pid).net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }

        time.sleep(REGISTERED_S)
        first.kill()

        assert listening == {"127.0.0.1"}
        assert processes_of(tmp_path / "first set") == []
        assert not reachable(addresses[0], timeout_s=1)
        assert reachable(servers.amqp_url, timeout_s=5)
        assert reachable(servers.redis_url, timeout_s=5)

        first.start()

        assert (first.amqp_url, first.redis_url, first.management_url) == addresses
        assert get_durable(vhost_url) == "still here"
        assert redis.Redis.from_url(first.redis_url).get("durable") == b"yes"
        with pytest.raises(ConfigurationError, match="another run uses"):
            PrivateServers(tmp_path / "first set").start()

        first.stop()

        assert processes_of(tmp_path / "first set") == []
    finally:
        first.kill()
        first.stop()
    assert processes_of(tmp_path) == []


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that we did not start through our own machinery."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_servers_die_with_the_program_that_started_them(tmp_path: Path) -> None:
    script = (
        "import sys, time, pathlib\n"
        "from unoapi.devenv.servers import RedisNode\n"
        "node = RedisNode(pathlib.Path(sys.argv[1]))\n"
        "node.start(); node.wait_ready(); print(node.pid, flush=True); time.sleep(60)\n"
    )
    program = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "redis")], stdout=subprocess.PIPE)
    assert program.stdout is not None
    with program.stdout:
        pid = int(program.stdout.readline())

    program.send_signal(signal.SIGKILL)
    program.wait()

    assert gone_within(5, pid)


def test_leftovers_are_ended_by_the_next_start_but_never_a_stranger(
    tmp_path: Path, stranger: subprocess.Popen[bytes]
) -> None:
    leftover = processes.start(
        ["/bin/sh", "-c", "setsid sleep 60 & exec sleep 60"],
        record=tmp_path / "leftover.process",
        environment=dict(os.environ),
        folder=tmp_path,
        output=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 5
    while len(processes_of(tmp_path)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    (tmp_path / "recycled.process").write_text(f"{stranger.pid} 1\n")

    ended = processes.sweep(tmp_path)

    assert ended == 2
    assert leftover.popen.wait(5) == -signal.SIGKILL
    assert processes_of(tmp_path) == []
    assert stranger.poll() is None
    assert list(tmp_path.glob("*.process")) == []


def test_no_other_user_of_the_machine_gets_in(servers: PrivateServers) -> None:
    redis_password, rabbit_password = (urlsplit(url).password for url in (servers.redis_url, servers.amqp_url))
    without = servers.redis_url.replace(f":{redis_password}@", "")
    as_ever = servers.amqp_url.replace(f"guest:{rabbit_password}", "guest:guest")
    shown = [psutil.Process(node.pid).cmdline() for node in (servers.redis, servers.rabbit)]
    modes = [node.folder.stat().st_mode & 0o077 for node in (servers.redis, servers.rabbit)]

    assert reachable(servers.redis_url, timeout_s=5)
    assert reachable(servers.amqp_url, timeout_s=5)
    assert not reachable(without, timeout_s=5)
    assert not reachable(as_ever, timeout_s=5)
    assert all(shown)
    assert f"{redis_password}" not in f"{shown}"
    assert f"{rabbit_password}" not in f"{shown}"
    assert modes == [0, 0]


def test_a_server_whose_port_somebody_else_took_meanwhile_starts_at_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        taken = stranger.getsockname()[1]
        chosen = iter([taken, free_port()])
        monkeypatch.setattr("unoapi.devenv.servers.free_port", lambda: next(chosen))
        folder = tmp_path / "redis"
        folder.mkdir()
        node = RedisNode(folder)
        try:
            node.start()
            node.wait_ready()

            assert reachable(node.redis_url, timeout_s=1)
            assert urlsplit(node.redis_url).port != taken
        finally:
            node.kill()
            node.stop()


def test_a_redis_that_need_not_be_durable_writes_no_file(tmp_path: Path) -> None:
    node = RedisNode(tmp_path, durable=False)
    node.start()
    try:
        node.wait_ready(10)
        redis.Redis.from_url(node.redis_url).set("key", "value")
    finally:
        node.stop()

    assert not list(tmp_path.glob("appendonly*"))
    assert not list(tmp_path.glob("*.rdb"))


def test_an_open_port_that_speaks_nothing_known_is_not_reachable(tmp_path: Path) -> None:
    node = RedisNode(tmp_path)
    node.start()
    try:
        node.wait_ready(10)
        amqp_at_redis = node.redis_url.replace("redis://", "amqp://guest:guest@")

        assert not reachable(amqp_at_redis, timeout_s=1)
        assert not reachable(f"redis://127.0.0.1:{free_port()}", timeout_s=1)
    finally:
        node.stop()


def test_an_address_of_another_kind_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigurationError, match="'http'"):
        reachable("http://localhost", timeout_s=1)


def test_missing_servers_without_root_name_the_three_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "redis_server", lambda: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(ConfigurationError, match=r"compose/.*apt-get install redis-server.*AMQP_URL and REDIS_URL"):
        find_or_install()


def test_the_programs_of_a_named_installation_come_before_those_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program in ("rabbitmq-server", "epmd"):
        (tmp_path / program).touch(mode=0o755)
    monkeypatch.setenv("UNOAPI_RABBITMQ_BIN", str(tmp_path))

    assert (packages.rabbitmq_server(), packages.epmd()) == (tmp_path / "rabbitmq-server", tmp_path / "epmd")


def test_a_named_installation_that_is_not_there_is_a_wrong_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNOAPI_RABBITMQ_BIN", str(tmp_path))

    with pytest.raises(ConfigurationError, match=r"UNOAPI_RABBITMQ_BIN names .*, where no program rabbitmq-server is"):
        find_or_install()


APT_GET = """#!/bin/sh
mkdir "$FOLDER/busy" || { echo "Could not get lock" >&2; exit 100; }
sleep 0.3
if [ "$2" = install ]; then
    echo "$*" >> "$FOLDER/installed"
    printf '#!/bin/sh\\n' > "$FOLDER/bin/ffmpeg"
    chmod +x "$FOLDER/bin/ffmpeg"
fi
rmdir "$FOLDER/busy"
"""
INSTALL = """
import os, pathlib
from unoapi.devenv import packages
os.geteuid = lambda: 0
packages._POLICY = pathlib.Path(os.environ["FOLDER"], "policy")
packages.find_or_install(packages.FFMPEG)
"""


def test_two_processes_that_need_the_same_package_install_it_once_and_one_after_the_other(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "apt-get").write_text(APT_GET)
    (tmp_path / "bin" / "apt-get").chmod(0o755)
    (tmp_path / "tmp").mkdir()
    environment = {
        "PATH": f"{tmp_path / 'bin'}:{tmp_path / 'tools'}",
        "FOLDER": str(tmp_path),
        "TMPDIR": str(tmp_path / "tmp"),
        "PYTHONPATH": str(ROOT),
    }
    (tmp_path / "tools").mkdir()
    for tool in ("sh", "mkdir", "rmdir", "sleep", "chmod"):  # no folder that may have ffmpeg
        (tmp_path / "tools" / tool).symlink_to(shutil.which(tool) or f"/bin/{tool}")

    both = [
        subprocess.Popen([sys.executable, "-c", INSTALL], env=environment, stderr=subprocess.PIPE) for _ in range(2)
    ]
    errors = [process.communicate(timeout=60)[1] for process in both]

    assert [process.returncode for process in both] == [0, 0], errors
    assert (tmp_path / "installed").read_text().splitlines() == ["-q install -y --no-install-recommends ffmpeg"]
    assert not (tmp_path / "policy").exists()


def gone_within(seconds: float, pid: int) -> bool:
    deadline = time.monotonic() + seconds
    while processes.identity(pid) is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    return processes.identity(pid) is None
