"""Secrets that are recognised wherever they turn up: one for each that an installation has."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from unoapi.devenv.servers import PrivateServers


def canary(name: str) -> str:
    """A secret that says what it is, long enough to be taken, with nothing in it that an escape could change."""
    return f"canary0{name}0tweet0tweet"


@dataclass(frozen=True)
class Leak:
    """A secret where it does not belong."""

    secret: str
    where: str


@dataclass
class Canaries:
    """Each secret by its name, and the search for them."""

    secrets: dict[str, str] = field(default_factory=dict)

    def make(self, name: str, *, signs: bool = False) -> str:
        """A new secret. One that signs has the form of Standard Webhooks."""
        secret = canary(name)
        if signs:
            secret = f"whsec_{base64.b64encode(secret.encode()).decode()}"
        self.secrets[name] = secret
        return secret

    def take(self, servers: PrivateServers) -> None:
        """The passwords of RabbitMQ and Redis, which are drawn."""
        for name, url in (("rabbitmq", servers.amqp_url), ("redis", servers.redis_url)):
            self.secrets[name] = urlsplit(url).password or ""

    def leaks(self, text: str, *, where: str, own: Iterable[str] = ()) -> list[Leak]:
        """The secrets in a text, but those that belong there."""
        return [Leak(name, where) for name, secret in self.secrets.items() if name not in set(own) and secret in text]
