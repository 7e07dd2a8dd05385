"""Redis behind Sentinels: commands go to the primary, also when that is another one than before."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.fault.cluster import SERVICE, RedisPair
from tests.support.stack import eventually
from unoapi.devenv.reachable import reachable
from unoapi.errors import StoreUnavailable
from unoapi.stores import redis as stores_redis
from unoapi.stores.redis import RedisClient
from unoapi.stores.redis_health import RedisMonitor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[RedisPair]:
    running = RedisPair(tmp_path / "pair", sentinels=1)
    try:
        running.start()
        yield running
    finally:
        running.stop()


def test_when_the_primary_is_gone_commands_reach_the_replica_that_took_over(
    pair: RedisPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores_redis, "CALL_TIMEOUT_S", 2.0)  # how soon a busy machine answers is not tested here
    client = RedisClient(pair.redis_url)
    client.call(("SET", "before", "1"))
    eventually(lambda: client.call(("WAIT", 1, 1000)) == [1], what="a replica that has it")
    old = pair.primary()

    pair.nodes[old].kill()

    def works() -> bool:
        try:
            return client.call(("GET", "before"), ("SET", "since", "2")) == ["1", True]
        except StoreUnavailable:
            time.sleep(0.2)
            return False

    try:
        eventually(works, within_s=80, what="the replica as primary")
    except AssertionError as error:
        raise AssertionError(pair.said()) from error
    assert pair.primary() != old
    assert RedisMonitor(client).check().trouble == ""
    pair.nodes[old].start()
    pair.nodes[old].wait_ready()
    assert client.call(("GET", "since")) == ["2"]
    assert reachable(pair.redis_url, timeout_s=5)
    client.close()


def test_a_name_that_no_sentinel_knows_is_redis_away_with_a_word_to_the_operator(pair: RedisPair) -> None:
    client = RedisClient(pair.redis_url.replace(SERVICE, "another"))

    with pytest.raises(StoreUnavailable):
        client.call(("PING",))

    assert client.trouble() == "does not answer (MasterNotFoundError); check REDIS_URL"
    client.close()
