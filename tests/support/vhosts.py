"""A virtual host for each test that wants one, gone after it: as long as its queues exist RabbitMQ works for them."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import requests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.devenv.servers import PrivateServers


@contextmanager
def own_vhost(servers: PrivateServers) -> Iterator[str]:
    """The AMQP address of a new vhost. It is removed beside the next test, which need not wait for that."""
    address = servers.rabbit.add_vhost(f"test-{time.time_ns()}")
    try:
        yield address
    finally:
        name = address.rpartition("/")[2]
        threading.Thread(target=_remove, args=(f"{servers.management_url}/api/vhosts/{name}",)).start()


def _remove(url: str) -> None:
    with suppress(requests.RequestException):  # the servers may be gone with all their vhosts
        requests.delete(url, timeout=30)
