"""A Redis Cluster, where one command cannot reach keys of several slots: no process starts on it."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.integration.edges.calls import arranged, happens
from tests.support.stack import Stack
from unoapi.devenv import packages
from unoapi.devenv.ports import free_port
from unoapi.devenv.reachable import reachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.stack import Process
    from unoapi.devenv.servers import PrivateServers


@pytest.fixture(scope="module")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One node of a cluster: it answers PING, and INFO says what it is."""
    port, folder = free_port(), tmp_path_factory.mktemp("cluster")
    options = [
        "--port",
        f"{port}",
        "--bind",
        "127.0.0.1",
        "--cluster-enabled",
        "yes",
        "--cluster-port",
        f"{free_port()}",
        "--save",
        "",
        "--dir",
        str(folder),
    ]
    with subprocess.Popen([str(packages.redis_server()), *options], stdout=subprocess.DEVNULL) as node:
        url = f"redis://127.0.0.1:{port}"
        arranged(lambda: reachable(url, timeout_s=1), what="a node of a cluster answers")
        yield url
        node.terminate()


@pytest.mark.parametrize("start", [Stack.web, Stack.worker, Stack.connector])
def test_a_process_on_a_cluster_ends_with_the_reason(
    servers: PrivateServers, amqp_url: str, cluster_url: str, tmp_path: Path, start: Callable[[Stack], Process]
) -> None:
    """Reliability, C: refused at the start, because readiness alone would say ok."""
    uno = Stack(servers, amqp_url, tmp_path, REDIS_URL=cluster_url)
    try:
        with suppress(AssertionError):  # the API is waited for until it answers
            start(uno)
        process = uno.processes[-1]
        happens(lambda: not process.running(), within_s=10)
    finally:
        uno.close()

    assert process.wait(0) == os.EX_CONFIG
    assert "REDIS_URL: this is a Redis Cluster" in process.output()
