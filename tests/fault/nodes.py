"""Faults of single nodes, where RabbitMQ and Redis have several: lost is nothing, and the others go on at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tests.fault.cluster import clustered, with_sentinels
from tests.fault.infrastructure import row
from tests.fault.stage import Stage, staged
from tests.support.stack import eventually

if TYPE_CHECKING:
    from tests.fault.cluster import RabbitCluster, RedisPair
    from tests.fault.table import Row


def cluster(stage: Stage) -> list[Row]:
    """One node of three is killed, cut off from the others, and each of them is started anew."""
    with staged(stage.size, clustered) as clustered_stage:
        return [fault(clustered_stage) for fault in (_leader_killed, _leader_cut_off, _rolled)]


def sentinel(stage: Stage) -> Row:
    """The primary of two Redis servers is killed, and comes back as the replica."""
    with staged(stage.size, with_sentinels) as stage_with_sentinels:
        pair: RedisPair = stage_with_sentinels.servers.redis  # type: ignore[assignment]

        def breaks(_: str) -> None:
            before = pair.primary()
            pair.nodes[before].kill()
            eventually(lambda: pair.primary() != before, within_s=60, what="another primary")
            pair.nodes[before].start()
            pair.nodes[before].wait_ready()

        return row(stage_with_sentinels, "the Redis primary killed, its replica takes over", breaks)


def _leader_killed(stage: Stage) -> Row:
    nodes = _cluster(stage)

    def breaks(_: str) -> None:
        leader = _leader(stage)
        nodes.nodes[leader].kill()
        time.sleep(stage.size.node_away_s)
        nodes.restart(leader)

    return row(stage, "RabbitMQ cluster: the leader of the queues killed", breaks)


def _leader_cut_off(stage: Stage) -> Row:
    nodes = _cluster(stage)

    def breaks(_: str) -> None:
        with nodes.cut_off(_leader(stage)):
            time.sleep(stage.size.node_away_s)
        nodes.wait_in_step()

    return row(stage, "RabbitMQ cluster: the leader cut off from the others", breaks)


def _rolled(stage: Stage) -> Row:
    nodes = _cluster(stage)

    def breaks(_: str) -> None:
        for number, node in enumerate(nodes.nodes):
            node.stop()
            nodes.restart(number)

    return row(stage, "RabbitMQ cluster: each node stopped and started in turn", breaks)


def _cluster(stage: Stage) -> RabbitCluster:
    nodes: Any = stage.servers.rabbit
    return nodes  # type: ignore[no-any-return]


def _leader(stage: Stage) -> int:
    vhost = stage.uno.environment["AMQP_URL"].rpartition("/")[2]
    return _cluster(stage).leader_of(vhost, "unoapi.outgoing")
