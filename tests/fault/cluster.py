"""Three nodes of RabbitMQ, and two of Redis with Sentinels, on one machine: each has its own ports, folder and name."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import redis

from tests.support.stack import eventually
from unoapi.devenv import packages, processes
from unoapi.devenv.ports import free_port
from unoapi.devenv.servers import PrivateServers, RabbitNode, RedisNode
from unoapi.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

NODES = 3
SERVICE = "mymaster"
DOWN_AFTER_MS = 2_000
"""A primary that has not answered for so long counts as down."""
_CLUSTER = """
cluster_formation.peer_discovery_backend = classic_config
cluster_partition_handling = pause_minority
cluster_keepalive_interval = 2000
"""


class ClusterNode(RabbitNode):
    """One node of a cluster. All have one cookie, one password and one port mapper, by which they find each other."""

    def __init__(self, folder: Path, *, name: str, peers: Sequence[str], epmd: int, secrets: tuple[str, str]) -> None:
        super().__init__(folder)
        self.node_name = name
        self._peers = peers
        self._epmd_port = epmd
        self._cookie, self._shared_password = secrets

    @property
    def _password(self) -> str:
        return self._shared_password

    def _launch(self) -> processes.OwnedProcess:
        server = packages.rabbitmq_server()
        assert server is not None
        return self._start_process([str(server)], "rabbitmq", self._prepare())

    def _prepare(self) -> dict[str, str]:
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        cookie = home / ".erlang.cookie"
        if not cookie.exists():
            processes.write_private(cookie, self._cookie)
            cookie.chmod(0o400)
        (self.folder / "node.name").write_text(self.node_name, "ascii")
        environment = super()._prepare()
        peers = "".join(f"cluster_formation.classic_config.nodes.{n} = {p}\n" for n, p in enumerate(self._peers, 1))
        with (self.folder / "rabbitmq.conf").open("a", encoding="ascii") as file:
            file.write(_CLUSTER + peers)
        (self.folder / "advanced.config").write_text("[{kernel, [{net_ticktime, 8}]}].\n", "ascii")
        return environment | {"ERL_EPMD_PORT": str(self._epmd_port)}

    def control(self, *arguments: str) -> str:
        """Run rabbitmqctl at this node."""
        script = packages.rabbitmq_server()
        assert script is not None
        done = subprocess.run(
            [str(script.with_name("rabbitmqctl")), *arguments],
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **self._prepare()},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


class RabbitCluster:
    """What `RabbitNode` is to the others, for three nodes at once. Addresses are those of all."""

    def __init__(self, folder: Path) -> None:
        self._epmd_port = free_port()
        self._folder = folder
        self._epmd: processes.OwnedProcess | None = None
        names = [f"unoapi-{os.getpid()}-{number}@localhost" for number in range(NODES)]
        secrets = ("cookie" + os.urandom(16).hex(), os.urandom(16).hex())
        self.nodes = [
            ClusterNode(folder / f"node{number}", name=name, peers=names, epmd=self._epmd_port, secrets=secrets)
            for number, name in enumerate(names)
        ]
        for node in self.nodes:
            node.folder.mkdir(parents=True)
        self._cookie = secrets[0]

    @property
    def amqp_url(self) -> str:
        return ";".join(node.amqp_url for node in self.nodes)

    @property
    def management_url(self) -> str:
        """That of a node that answers: one that sees none of the others does not."""
        return next(node for node in self.nodes if _answer_of(node, "overview") is not None).management_url

    def add_vhost(self, name: str) -> str:
        def added() -> str:
            with suppress(ConfigurationError):  # a young cluster takes a minute for it, and answers 500 then
                return self.nodes[0].add_vhost(name)
            return ""

        address = eventually(added, within_s=180, every_s=3, what="a virtual host")
        path = address.rpartition("/")[2]
        return ";".join([address, *(f"{node.amqp_url}/{path}" for node in self.nodes[1:])])

    def start(self) -> None:
        port_mapper = packages.epmd()
        assert port_mapper is not None
        with (self._folder / "epmd.output").open("wb") as output:
            self._epmd = processes.start(
                [str(port_mapper), "-port", str(self._epmd_port), "-address", "127.0.0.1"],
                record=self._folder / "epmd.process",
                environment={"PATH": os.environ["PATH"]},
                folder=self._folder,
                output=output,
            )
        for node in self.nodes:
            node.start()
            node.wait_ready(180)
        eventually(lambda: self._members() == NODES, within_s=60, what="three nodes that know each other")

    def wait_ready(self) -> None:
        """It is, when it is started."""

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()
        if self._epmd is not None:
            self._epmd.kill()

    def stop(self) -> None:
        self.kill()
        for node in self.nodes:
            node.stop()

    def restart(self, number: int) -> None:
        """Start a node again, and wait until it has what the others have."""
        self.nodes[number].start()
        self.nodes[number].wait_ready(180)
        self.wait_in_step()

    def wait_in_step(self) -> None:
        """Wait until every quorum queue has all its members: before that the next node must not go."""

        def in_step() -> bool:
            return all(self._is_in_step(node) for node in self.nodes)

        eventually(in_step, within_s=120, every_s=1, what="all members of all queues")

    def leader_of(self, vhost: str, queue: str) -> int:
        """The number of the node that leads a queue."""
        listed = self.nodes[0].control("list_queues", "--vhost", vhost, "--quiet", "name", "leader")
        leader = next(line.split()[1] for line in listed.splitlines() if line.split()[:1] == [queue])
        return [node.node_name for node in self.nodes].index(leader)

    @contextmanager
    def cut_off(self, number: int) -> Iterator[None]:
        """No word goes between this node and the others; clients reach all of them."""
        self._trust(number, "nobody")
        try:
            yield
        finally:
            self._trust(number, self._cookie)

    def _trust(self, number: int, cookie: str) -> None:
        """Let a node speak with the others only under this cookie. At once with all: RabbitMQ sees it else."""
        alone = self.nodes[number]
        others = ", ".join(f"'{node.node_name}'" for node in self.nodes if node is not alone)
        change = f"erlang:set_cookie(N, {cookie}), erlang:disconnect_node(N)"
        alone.control("eval", f"lists:foreach(fun(N) -> {change} end, [{others}]).")

    def _members(self) -> int:
        return sum(bool(node.get("running")) for node in _answer_of(self.nodes[0], "nodes") or ())

    def _is_in_step(self, node: ClusterNode) -> bool:
        queues = _answer_of(node, "queues?disable_stats=true")
        replicated = [queue for queue in queues or () if queue.get("type") == "quorum"]  # of a stream it says nothing
        return bool(replicated) and all(len(queue.get("online", ())) == NODES for queue in replicated)


class ReplicaNode(RedisNode):
    """A Redis that may follow another one. Sentinel changes its file when another one becomes the primary."""

    def __init__(self, folder: Path, *, password: str) -> None:
        folder.mkdir(parents=True)
        super().__init__(folder)
        self._shared_password = password
        self.follows: int | None = None

    @property
    def _password(self) -> str:
        return self._shared_password

    @property
    def port(self) -> int:
        return self._ports["redis"]

    def _launch(self) -> processes.OwnedProcess:
        program, file = packages.redis_server(), self.folder / "replica.conf"
        assert program is not None
        if not file.exists():
            following = "" if self.follows is None else f"replicaof 127.0.0.1 {self.follows}\n"
            processes.write_private(
                file,
                f'port {self.port}\nbind 127.0.0.1\ndir "{self.folder}"\nrequirepass {self._password}\n'
                f'masterauth {self._password}\nappendonly yes\nsave ""\nrepl-diskless-sync-delay 0\n{following}',
            )  # fmt: skip
        return self._start_process([str(program), str(file)], "redis", {"HOME": str(self.folder)})


@dataclass
class RedisPair:
    """A primary and a replica, and Sentinels that make the replica the primary when that does not answer."""

    folder: Path
    sentinels: int = 3
    nodes: list[ReplicaNode] = field(default_factory=list)
    _ports: list[int] = field(default_factory=list)
    _watching: list[processes.OwnedProcess] = field(default_factory=list)
    _password: str = field(default_factory=lambda: os.urandom(16).hex())

    @property
    def redis_url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        return f"redis+sentinel://:{self._password}@{hosts}/{SERVICE}"

    def start(self) -> None:
        self.nodes = [ReplicaNode(self.folder / name, password=self._password) for name in ("first", "second")]
        for node in self.nodes:
            node.follows = None if node is self.nodes[0] else self.nodes[0].port
            node.start()
            node.wait_ready()
        eventually(lambda: self.replicas() == 1, within_s=20, what="a replica that is in step")
        for number in range(self.sentinels):
            self._watch(number)
        eventually(self._is_known, within_s=20, what="Sentinels that know the replica and each other")

    def stop(self) -> None:
        for process in self._watching:
            process.kill()
        for node in self.nodes:
            node.kill()
            node.stop()

    def kill(self) -> None:
        self.stop()

    def wait_ready(self) -> None:
        """It is, when it is started."""

    def primary(self) -> int:
        """Which node the Sentinels name."""
        _, port = self._ask(0, "SENTINEL", "get-master-addr-by-name", SERVICE)
        return [node.port for node in self.nodes].index(int(port))

    def said(self) -> str:
        """What the Sentinels wrote."""
        return "\n".join(file.read_text() for file in sorted(self.folder.glob("sentinel*/output")))

    def replicas(self) -> int:
        """How many replicas are in step with the first node."""
        with redis.Redis.from_url(self.nodes[0].redis_url, decode_responses=True) as client:
            info: dict[str, Any] = client.info("replication")
        return sum(info.get(f"slave{number}", {}).get("state") == "online" for number in range(2))

    def _is_known(self) -> bool:
        for number in range(self.sentinels):
            fields = self._ask(number, "SENTINEL", "master", SERVICE)
            state = dict(zip(fields[::2], fields[1::2], strict=True))
            if (int(state["num-slaves"]), int(state["num-other-sentinels"])) != (1, self.sentinels - 1):
                return False
        return True

    def _ask(self, number: int, *command: str) -> list[str]:
        with redis.Redis(port=self._ports[number], decode_responses=True, socket_timeout=5) as client:
            answer: Any = client.execute_command(*command)
        # The library makes a dictionary of some answers.
        parts = [part for pair in answer.items() for part in pair] if isinstance(answer, dict) else answer
        return [f"{part}" for part in parts]

    def _watch(self, number: int) -> None:
        program = packages.redis_server()
        assert program is not None
        folder = self.folder / f"sentinel{number}"
        folder.mkdir()
        port, quorum = free_port(), self.sentinels // 2 + 1
        file = folder / "sentinel.conf"
        processes.write_private(
            file,
            f'port {port}\nbind 127.0.0.1\ndir "{folder}"\n'
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.nodes[0].port} {quorum}\n"
            f"sentinel auth-pass {SERVICE} {self._password}\n"
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {SERVICE} 5000\n",
        )
        with (folder / "output").open("wb") as output:
            process = processes.start(
                [str(program), str(file), "--sentinel"],
                record=folder / "sentinel.process",
                environment={"HOME": str(folder)},
                folder=folder,
                output=output,
            )
        self._watching.append(process)
        self._ports.append(port)
        eventually(lambda: _answers(port), within_s=10, what="a Sentinel")


def _answer_of(node: ClusterNode, path: str) -> Any:
    """What its management answers, or none."""
    try:
        return node.manage("GET", path)
    except ConfigurationError:
        return None


def _answers(port: int) -> bool:
    try:
        with redis.Redis(port=port, socket_timeout=1) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


class Servers(PrivateServers):
    """RabbitMQ and Redis, one of them with several nodes."""

    def __init__(self, *, rabbit: Any, redis: Any) -> None:
        self.rabbit, self.redis = rabbit, redis
        self._wanted = (packages.RABBITMQ, packages.REDIS)
        self._nodes = [redis, rabbit]


@contextmanager
def clustered(folder: Path) -> Iterator[Servers]:
    """A cluster of RabbitMQ beside one Redis."""
    with _running(Servers(rabbit=RabbitCluster(folder / "rabbitmq"), redis=RedisNode(folder / "redis"))) as servers:
        yield servers


@contextmanager
def with_sentinels(folder: Path) -> Iterator[Servers]:
    """One RabbitMQ beside a pair of Redis."""
    with _running(Servers(rabbit=RabbitNode(folder / "rabbitmq"), redis=RedisPair(folder / "redis"))) as servers:
        yield servers


@contextmanager
def _running(servers: Servers) -> Iterator[Servers]:
    try:
        servers.start()
        yield servers
    finally:
        servers.kill()
        servers.stop()
