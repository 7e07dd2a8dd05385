"""A gateway with one sandbox session, for all client tests of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.stack import PHONE, Stack, stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.receiver import Receiver
    from unoapi.devenv.servers import PrivateServers

SECRET = "app-secret-of-the-tests"
TOKEN = f"session-token-{PHONE}"


@pytest.fixture(scope="module")
def gateway(servers: PrivateServers, hooks: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("gateway")
    with stack(servers, folder) as running:
        running.web()
        running.worker()
        running.register([{"id": "main", "urlAbsolute": hooks.url("/main"), "secret": SECRET}])
        yield running
