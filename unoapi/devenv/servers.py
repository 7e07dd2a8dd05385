"""Private RabbitMQ and Redis servers, for `make run` and for everything that tests against the real ones.

Each has its own loopback ports, data folder, node name, port mapper and cookie, so that several sets run side by side.
The data stays in the folder and is there again when the same folder is used again. Every user of the machine reaches
loopback, so each server wants a password, which is drawn once and stands in files of the folder alone (mode 0700).
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import socket
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import quote

from unoapi.devenv import packages, processes
from unoapi.devenv.loopback import ask
from unoapi.devenv.packages import find_or_install
from unoapi.devenv.ports import free_port, is_free
from unoapi.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

__all__ = ["PrivateServers", "RabbitNode", "RedisNode", "find_or_install"]

_START_TIMEOUT_S = 60.0
_STOP_GRACE_S = 30.0
_POLL_S = 0.1
ANSWER_S = 2.0
OK = 2
"""The first digit of a status."""
METHOD_FRAME = b"\x01"
"""How RabbitMQ's first answer begins."""
LEAST_ANSWER, PIECE = len(b"+OK\r\n+PONG\r\n"), 4096
_CONFIGURATION = """\
listeners.tcp.1 = 127.0.0.1:{amqp}
management.tcp.ip = 127.0.0.1
management.tcp.port = {management}
loopback_users.guest = true
load_definitions = {definitions}
disk_free_limit.absolute = 50MB
log.console = false
log.file = rabbit.log
log.file.level = info
log.file.rotation.size = 10485760
log.file.rotation.count = 2
"""


class _Server(ABC):
    """What the two have in common: a folder, ports that stay the same, and processes that end."""

    name: ClassVar[str]
    port_names: ClassVar[tuple[str, ...]]

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._lock = processes.FolderLock(self.folder)
        self._ports: dict[str, int] = {}
        self._process: processes.OwnedProcess | None = None

    @property
    def pid(self) -> int:
        """The process id of the server itself. Raises ConfigurationError when it was not started."""
        if self._process is None:
            raise ConfigurationError(f"the private {self.name} is not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the server's process is there."""
        return self._process is not None and self._process.popen.poll() is None

    def start(self) -> None:
        """Start without waiting; on the same ports as before when this object has run already.

        Raises ConfigurationError when the server is not installed, or when another run uses the folder.
        """
        if self.running:
            return
        self._lock.acquire()
        self.folder.chmod(0o700)
        processes.sweep(self.folder)
        if not self._ports:
            self._ports = self._choose_ports()
        self._process = self._launch()

    def stop(self) -> None:
        """End in order, after 30 seconds by force. Nothing of the server is left afterwards."""
        if self._process is not None:
            self._process.end(grace_s=_STOP_GRACE_S)
        processes.sweep(self.folder)
        self._lock.release()

    def kill(self) -> None:
        """Send SIGKILL to every process of the server: a crash."""
        if self._process is not None:
            self._process.kill()
        processes.sweep(self.folder)

    def wait_ready(self, timeout_s: float = _START_TIMEOUT_S) -> None:
        """Wait until clients are served, on other ports when somebody else was sooner at the chosen ones.

        Raises ConfigurationError that names the log when that does not happen.
        """
        deadline = time.monotonic() + timeout_s
        while not self._is_ready():
            if not self.running:
                self._start_elsewhere()
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    f"the private {self.name} was not ready after {timeout_s:.0f} s; its logs are in {self.folder}"
                )
            time.sleep(_POLL_S)

    def _start_elsewhere(self) -> None:
        """Start again on other ports, when somebody else was sooner at one of these. Raises ConfigurationError."""
        processes.sweep(self.folder)  # the port mapper has one of them
        if all(is_free(port) for port in self._ports.values()):
            raise ConfigurationError(f"the private {self.name} ended while it started; its logs are in {self.folder}")
        self._ports = self._choose_ports()
        self._process = self._launch()

    def _choose_ports(self) -> dict[str, int]:
        saved = _read_object(self.folder / "ports.json")
        ports: dict[str, int] = {}
        for name in self.port_names:
            port = saved.get(name)
            ports[name] = port if isinstance(port, int) and is_free(port) else free_port()
        (self.folder / "ports.json").write_text(json.dumps(ports), "ascii")
        return ports

    @property
    def _password(self) -> str:
        """Drawn at the first start in this folder, and the same ever after."""
        file = self.folder / "password"
        if not file.exists():
            processes.write_private(file, secrets.token_hex(16))
        return file.read_text("utf-8")

    def _start_process(self, command: list[str], name: str, environment: dict[str, str]) -> processes.OwnedProcess:
        clean = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        with (self.folder / f"{name}.output").open("wb") as output:
            return processes.start(
                command,
                record=self.folder / f"{name}.process",
                environment=clean | environment,
                folder=self.folder,
                output=output,
            )

    @abstractmethod
    def _launch(self) -> processes.OwnedProcess: ...

    @abstractmethod
    def _is_ready(self) -> bool: ...


class RedisNode(_Server):
    """A private Redis. With `durable` its data survives a kill; without, it writes no file and is faster."""

    name = "Redis"
    port_names = ("redis",)

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        super().__init__(folder)
        self._durable = durable

    @property
    def redis_url(self) -> str:
        """Where clients connect."""
        return f"redis://:{self._password}@127.0.0.1:{self._ports['redis']}"

    def _launch(self) -> processes.OwnedProcess:
        program = packages.redis_server()
        if program is None:
            raise ConfigurationError("redis-server is not installed")
        options = {
            "port": str(self._ports["redis"]),
            "bind": "127.0.0.1",
            "dir": json.dumps(str(self.folder), ensure_ascii=False),
            "requirepass": self._password,
            "appendonly": "yes" if self._durable else "no",
            "save": '""',
            "daemonize": "no",
            "loglevel": "warning",
        }
        file = self.folder / "redis.conf"  # arguments are seen by everybody on this machine
        processes.write_private(file, "".join(f"{key} {value}\n" for key, value in options.items()))
        return self._start_process([str(program), str(file)], "redis", {"HOME": str(self.folder)})

    def _is_ready(self) -> bool:
        return _answer_of(self._ports["redis"], f"AUTH {self._password}\r\nPING\r\n".encode()) == b"+OK\r\n+PONG\r\n"


class RabbitNode(_Server):
    """A private RabbitMQ of one node, with the management plugin and a port mapper of its own."""

    name = "RabbitMQ"
    port_names = ("amqp", "management", "dist", "epmd")

    @property
    def amqp_url(self) -> str:
        """Where clients connect: the virtual host `/`."""
        return f"amqp://guest:{self._password}@127.0.0.1:{self._ports['amqp']}"

    @property
    def management_url(self) -> str:
        """The management API, with the login."""
        return f"http://guest:{self._password}@127.0.0.1:{self._ports['management']}"

    def add_vhost(self, name: str) -> str:
        """Make a virtual host unless it exists. Returns its AMQP address."""
        vhost = quote(name, safe="")
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        self.manage("PUT", f"vhosts/{vhost}", {})
        self.manage("PUT", f"permissions/{vhost}/guest", everything)
        return f"{self.amqp_url}/{vhost}"

    def _launch(self) -> processes.OwnedProcess:
        server, port_mapper = packages.rabbitmq_server(), packages.epmd()
        if server is None or port_mapper is None:
            raise ConfigurationError("rabbitmq-server is not installed")
        environment = self._prepare()
        # Not left to the node, which would start a daemon that stays behind.
        self._start_process(
            [str(port_mapper), "-port", str(self._ports["epmd"]), "-address", "127.0.0.1"], "epmd", environment
        )
        return self._start_process([str(server)], "rabbitmq", environment)

    def _prepare(self) -> dict[str, str]:
        """Write the node's files; return its environment, which separates it from the machine's own RabbitMQ."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        cookie = home / ".erlang.cookie"
        if not cookie.exists():
            processes.write_private(cookie, secrets.token_hex(16))
            cookie.chmod(0o400)
        name = self.folder / "node.name"  # the data belong to the name, so it is drawn once
        if not name.exists():
            name.write_text(f"unoapi-{secrets.token_hex(4)}@localhost", "ascii")
        definitions = self.folder / "definitions.json"
        processes.write_private(definitions, json.dumps(_definitions(self._password)))
        files = {
            "CONFIG_FILE": ("rabbitmq.conf", _CONFIGURATION.format(**self._ports, definitions=definitions)),
            "CONF_ENV_FILE": ("rabbitmq-env.conf", ""),
            "ENABLED_PLUGINS_FILE": ("enabled_plugins", "[rabbitmq_management].\n"),
        }
        for file, text in files.values():
            (self.folder / file).write_text(text, "ascii")
        settings = {
            **{variable: str(self.folder / file) for variable, (file, _) in files.items()},
            "ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "CONFIG_FILES": str(self.folder / "conf.d"),
            "NODENAME": name.read_text("ascii"),
            "DIST_PORT": str(self._ports["dist"]),
            "MNESIA_BASE": str(self.folder / "data"),
            "LOG_BASE": str(self.folder),
            "PID_FILE": str(self.folder / "rabbitmq.pid"),
        }
        return {f"RABBITMQ_{key}": value for key, value in settings.items()} | {
            "HOME": str(home),
            "ERL_EPMD_PORT": str(self._ports["epmd"]),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_AFLAGS": "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
            # A table has a word for each process that there may be: 1,048,576 by default, which is 16 MB.
            "RABBITMQ_MAX_NUMBER_OF_PROCESSES": "131072",
            "RUNNING_UNDER_SYSTEMD": "true",  # the script then becomes the server instead of waiting for it
        }

    def _is_ready(self) -> bool:
        try:
            self.manage("GET", "overview")
        except ConfigurationError:
            return False
        return _answer_of(self._ports["amqp"], b"AMQP\0\0\x09\x01").startswith(METHOD_FRAME)

    def manage(self, method: str, path: str, body: object = None) -> Any:
        """What the management API answers. Raises ConfigurationError when that is no 2xx."""
        login = base64.b64encode(f"guest:{self._password}".encode()).decode()
        headers = (("Authorization", f"Basic {login}"),)
        answer = ask(method, self._ports["management"], f"/api/{path}", headers=headers, body=body, timeout_s=10)
        if answer is None or answer.status // 100 != OK:
            raise ConfigurationError(f"RabbitMQ did not take {method} {path}: {answer or 'no answer'}")
        return json.loads(answer.body or b"null")


def _answer_of(port: int, question: bytes) -> bytes:
    """What a server of this machine answers at once; nothing if it does not.

    By hand, because their client libraries take 16 MB of a process that only waits afterwards.
    """
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as connection:
            connection.sendall(question)
            answer = b""
            while len(answer) < LEAST_ANSWER and (piece := connection.recv(PIECE)):
                answer += piece
            return answer
    except OSError:
        return b""


class PrivateServers:
    """Both servers, or the wanted one, in one folder."""

    def __init__(
        self, folder: Path, *, wanted: tuple[str, ...] = (packages.RABBITMQ, packages.REDIS), durable: bool = True
    ) -> None:
        self.rabbit = RabbitNode(folder / "rabbitmq")
        self.redis = RedisNode(folder / "redis", durable=durable)
        self._wanted = wanted
        nodes: dict[str, _Server] = {packages.RABBITMQ: self.rabbit, packages.REDIS: self.redis}
        self._nodes = [nodes[package] for package in wanted]

    @property
    def amqp_url(self) -> str:
        """Where RabbitMQ's clients connect."""
        return self.rabbit.amqp_url

    @property
    def redis_url(self) -> str:
        """Where Redis's clients connect."""
        return self.redis.redis_url

    @property
    def management_url(self) -> str:
        """RabbitMQ's management API, with the login."""
        return self.rabbit.management_url

    def start(self) -> None:
        """Install what is missing, start, and wait until all are ready. Raises ConfigurationError."""
        if self._wanted:
            find_or_install(*self._wanted)
        try:
            for node in self._nodes:
                node.start()
            for node in self._nodes:
                node.wait_ready()
        except BaseException:
            self.kill()
            self.stop()
            raise

    def stop(self) -> None:
        """End in order. Nothing is left running afterwards."""
        for node in self._nodes:
            node.stop()

    def kill(self) -> None:
        """Send SIGKILL to all: a crash, or the quick end of servers whose data is not needed again."""
        for node in self._nodes:
            node.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _definitions(password: str) -> dict[str, object]:
    """What RabbitMQ takes over at every start, also with the data of an earlier one: a user and where it may work.

    The form of the hash: https://www.rabbitmq.com/docs/passwords#computing-password-hash.
    """
    salt = secrets.token_bytes(4)
    digest = hashlib.sha256(salt + password.encode()).digest()
    guest = {
        "name": "guest",
        "password_hash": base64.b64encode(salt + digest).decode(),
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": ["administrator"],
    }
    everything = {"user": "guest", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}
    return {"users": [guest], "vhosts": [{"name": "/"}], "permissions": [everything]}


def _read_object(path: Path) -> dict[str, object]:
    try:
        document = json.loads(path.read_text("ascii"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
