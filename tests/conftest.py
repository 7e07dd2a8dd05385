"""Throw-away servers for the whole run; hostile values in the environment that no test may use."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.support import long_run, warm_start
from tests.support.constants import ROOT
from tests.support.harness import SharedRabbit, throw_away_servers
from tests.support.receiver import Receiver
from tests.support.stack import Stack, stack
from tests.support.vhosts import own_vhost
from unoapi.devenv.packages import FFMPEG, RABBITMQ, REDIS, find_or_install
from unoapi.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from unoapi.devenv.servers import PrivateServers

# A test that connected with these would fail, or reach servers that are not its own: nothing listens there.
os.environ["AMQP_URL"] = "amqp://hostile:hostile@127.0.0.1:1/hostile"
os.environ["REDIS_URL"] = "redis://127.0.0.1:1"
os.environ["DOTENV_CONFIG_PATH"] = os.devnull
for _name in ("AMQP_URL_FILE", "REDIS_URL_FILE"):
    os.environ.pop(_name, None)
warm_start.use()


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(long_run)
    if not hasattr(config, "workerinput"):
        with suppress(ConfigurationError):  # who needs one of them says so, or is skipped with its reason
            find_or_install(RABBITMQ, REDIS, FFMPEG)  # before the first test: each sees the same machine


LONG_ONES_FIRST = ("contracts", "integration", "connector", "clients")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Folders whose files take long come first, so that the many short ones fill the gaps at the end of the run."""
    items.sort(key=_order)


def _order(item: pytest.Item) -> int:
    folder = item.path.relative_to(ROOT / "tests").parts[0]
    return LONG_ONES_FIRST.index(folder) if folder in LONG_ONES_FIRST else len(LONG_ONES_FIRST)


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServers]:
    """A real RabbitMQ, shared with the other processes of this run, and a real Redis of this process alone."""
    folder = tmp_path_factory.getbasetemp()
    beside = hasattr(request.config, "workerinput")
    rabbit = SharedRabbit((folder.parent if beside else folder) / "rabbitmq")
    rabbit.join()
    try:
        with throw_away_servers(tmp_path_factory.mktemp("servers"), rabbit=rabbit) as private:
            yield private
    finally:
        if not beside:
            rabbit.kill()


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServers]:
    """Servers that the tests of one file may break."""
    with throw_away_servers(tmp_path_factory.mktemp("faulty")) as private:
        yield private


@pytest.fixture
def amqp_url(servers: PrivateServers) -> Iterator[str]:
    """A vhost of its own."""
    with own_vhost(servers) as url:
        yield url


@pytest.fixture
def uno(servers: PrivateServers, tmp_path: Path) -> Iterator[Stack]:
    """An Uno API on a vhost of its own; no process runs yet."""
    with stack(servers, tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def hooks() -> Iterator[Receiver]:
    """A scriptable webhook receiver for all tests of one file."""
    with Receiver() as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A scriptable webhook receiver."""
    with Receiver() as running:
        yield running
