"""Ways to break RabbitMQ that its own process does not offer."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.support.harness import SharedRabbit
from unoapi.devenv import packages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.devenv.servers import PrivateServers


@contextmanager
def blocked_publishers(servers: PrivateServers) -> Iterator[None]:
    """RabbitMQ's memory alarm: it takes nothing from publishers, and serves consumers."""
    assert not isinstance(servers.rabbit, SharedRabbit), "the tests beside this one would get 503"
    _set_memory_limit(servers, "0")
    try:
        yield
    finally:
        _set_memory_limit(servers, "0.4")


def _set_memory_limit(servers: PrivateServers, share: str) -> None:
    script = packages.rabbitmq_server()
    assert script is not None
    control = script.with_name("rabbitmqctl")
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **servers.rabbit._prepare()}
    done = subprocess.run(
        [str(control), "set_vm_memory_high_watermark", share],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
