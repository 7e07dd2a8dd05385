"""An installation whose secrets are canaries, its two tenants, an outsider, and traps that nobody may open."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

import redis

from tests.attack.canaries import Canaries
from tests.support.harness import throw_away_servers
from tests.support.receiver import Receiver
from tests.support.stack import OPERATOR, Stack, eventually, stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from unoapi.devenv.servers import PrivateServers

ATTACKER, VICTIM, HONEST = "5511911110001", "5511922220002", "5511933330003"
UNSTORED = "5511944440004"
CLOSED = ("127.0.0.2", "::1")
"""Loopback addresses that the installation does not allow, unlike 127.0.0.1, where the receivers are."""


@dataclass(frozen=True)
class Caller:
    """Who calls: a name, a number of his own, a token, and the secrets that he knows anyway."""

    name: str
    phone: str
    token: str | None
    knows: tuple[str, ...] = ()


class Trap:
    """Listens where no tenant may lead us, and counts who comes."""

    def __init__(self, hosts: tuple[str, ...] = CLOSED) -> None:
        self.came = 0
        self._sockets: list[socket.socket] = []
        self.urls: list[str] = []
        for host in hosts:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            try:
                listening = socket.create_server((host, 0), family=family)
            except OSError:  # a machine without IPv6
                continue
            port = listening.getsockname()[1]
            self._sockets.append(listening)
            self.urls += [f"http://{f'[{host}]' if ':' in host else host}:{port}/"]
            if host == "127.0.0.2":
                self.urls += [
                    f"http://2130706434:{port}/x",
                    f"http://0x7f.0.0.2:{port}/",
                    f"http://u@127.0.0.2:{port}/",
                ]
                self.urls += [f"http://[::ffff:127.0.0.2]:{port}/"]

    @property
    def port(self) -> int:
        return int(self._sockets[0].getsockname()[1])

    def __enter__(self) -> Self:
        for listening in self._sockets:
            threading.Thread(target=self._count, args=(listening,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for listening in self._sockets:
            listening.close()

    def _count(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            self.came += 1
            connection.close()


@dataclass
class Stage:
    """What the parts of the run share."""

    uno: Stack
    servers: PrivateServers
    canaries: Canaries
    theirs: Receiver
    """Gets the attacker's webhooks."""
    others: Receiver
    """Gets the victim's, the honest tenant's and the operator's."""
    trap: Trap
    flower: Trap
    attacker: Caller
    victim: Caller
    honest: Caller
    outsider: Caller
    stranger: Caller
    document: dict[str, Any] = field(default_factory=dict)

    @property
    def closed(self) -> list[str]:
        """Addresses that no request may open."""
        own = [f"http://127.0.0.1:{self.flower.port}/"]
        metadata = ["http://169.254.169.254/latest/meta-data/", "http://168.63.129.16/"]
        broker, store = (
            url.rpartition(":")[2].partition("/")[0] for url in (self.servers.amqp_url, self.servers.redis_url)
        )
        return [*self.trap.urls, *own, *metadata, f"http://127.0.0.1:{store}/", f"http://127.0.0.1:{broker}/"]

    def restore(self) -> None:
        """Give the attacker his session again: he may have broken it himself. Waits while 503 is answered."""
        with redis.Redis.from_url(self.servers.redis_url) as client:
            client.delete(f"unoapi-config:{ATTACKER}")
        webhooks = [{"id": "main", "urlAbsolute": self.theirs.url("/attacker")}]
        body = {"provider": "sandbox", "authToken": self.attacker.token, "overrideWebhooks": True, "webhooks": webhooks}
        eventually(lambda: self.uno.post(f"/v15.0/{ATTACKER}/register", body).ok, every_s=0.5, what="his session")

    def register(self, caller: Caller, webhooks: list[dict[str, Any]], **config: Any) -> None:
        self.uno.register(webhooks, phone=caller.phone, authToken=caller.token, **config)

    def logs(self) -> dict[str, str]:
        """What every process wrote."""
        return {process.log.name: process.output() for process in self.uno.processes}


@contextmanager
def staged(
    make_servers: Callable[[Path], AbstractContextManager[PrivateServers]] = throw_away_servers,
) -> Iterator[Stage]:
    """Everything that runs; all of it is stopped afterwards, however it ends."""
    canaries = Canaries()
    with ExitStack() as opened:
        folder = Path(opened.enter_context(TemporaryDirectory(prefix="unoapi-attack-")))
        theirs, others = opened.enter_context(Receiver()), opened.enter_context(Receiver())
        trap, flower = opened.enter_context(Trap()), opened.enter_context(Trap(("127.0.0.1",)))
        servers = opened.enter_context(make_servers(folder / "servers"))
        canaries.take(servers)
        canaries.secrets["operator"] = OPERATOR
        settings = {
            "WEBHOOK_URL": others.url("/environment"),
            "WEBHOOK_TOKEN": canaries.make("webhook"),
            "UNOAPI_WEBHOOK_SECRET": canaries.make("signs", signs=True),
            "WEBHOOK_FORWARD_URL": others.url("/graph"),
            "WEBHOOK_FORWARD_PHONE_NUMBER_ID": "106500000000001",
            "WEBHOOK_FORWARD_BUSINESS_ACCOUNT_ID": "106500000000002",
            "WEBHOOK_FORWARD_TOKEN": canaries.make("meta"),
            "UNOAPI_META_APP_SECRET": canaries.make("appsecret"),
            "UNOAPI_META_VERIFY_TOKEN": canaries.make("verify"),
            "STORAGE_ACCESS_KEY_ID": canaries.make("accesskey"),
            "STORAGE_SECRET_ACCESS_KEY": canaries.make("secretkey"),
            "STATUS_FAILED_WEBHOOK_URL": others.url(f"/callback/{canaries.make('callback')}"),
            "UNOAPI_OTLP_HEADERS": f"authorization={canaries.make('collector')}",
            "UNOAPI_ALERT_URLS": others.url(f"/alerts/{canaries.make('alerts')}").replace("http:", "json:"),
            "FLOWER_BASIC_AUTH": f"admin:{canaries.make('flower')}",
            "UNOAPI_LINK_SECRET": canaries.make("links"),
            "UNOAPI_AUTH_TOKEN_PREVIOUS": canaries.make("operatorbefore"),
            "UNOAPI_WEBHOOK_SECRET_PREVIOUS": canaries.make("signedbefore", signs=True),
            "UNOAPI_META_APP_SECRET_PREVIOUS": canaries.make("appsecretbefore"),
            "UNOAPI_LINK_SECRET_PREVIOUS": canaries.make("linksbefore"),
            "OPENAI_API_KEY": canaries.make("openai"),
            "OPENAI_API_BASE_URL": "http://127.0.0.1:1/v1",
            "GROQ_API_KEY": canaries.make("groq"),
            "GROQ_API_BASE_URL": "http://127.0.0.1:1/v1",
            "PROXY_URL": f"http://u:{canaries.make('proxy')}@127.0.0.1:1",
            "FLOWER_PORT": f"{flower.port}",
            "UNOAPI_ALLOWED_HOSTS": "127.0.0.1",
            "UNOAPI_MESSAGE_RETRY_LIMIT": "0",
            "UNOAPI_RATE_LIMIT_REFUSED": "0",
            "LOG_LEVEL": "debug",
        }
        uno = opened.enter_context(stack(servers, folder, **settings))
        uno.web()
        uno.worker()
        uno.worker(queues=("media",), pool="prefork", threads=1, name="media")
        stage = Stage(
            uno, servers, canaries, theirs, others, trap, flower,
            attacker=Caller("attacker", ATTACKER, canaries.make("attacker"), ("attacker",)),
            victim=Caller("victim", VICTIM, canaries.make("victim"), ("victim",)),
            honest=Caller("honest", HONEST, canaries.make("honest"), ("honest",)),
            outsider=Caller("outsider", VICTIM, None),
            stranger=Caller("stranger", VICTIM, "made-up-0123456789abcdef"),
        )  # fmt: skip
        webhook = {
            "id": "main", "urlAbsolute": others.url("/victim"), "header": "X-Token",
            "token": canaries.make("victimwebhook"), "secret": canaries.make("victimsigns", signs=True),
        }  # fmt: skip
        stage.register(stage.victim, [webhook])
        stage.register(stage.honest, [{"id": "main", "urlAbsolute": others.url("/honest")}])
        stage.restore()
        uno.contact_writes(canaries.make("text"), phone=VICTIM, sender="5549977776666")
        uno.send(canaries.make("sent"), phone=VICTIM, token=str(stage.victim.token))
        stage.document = uno.get("/docs/openapi.json").json()
        yield stage
