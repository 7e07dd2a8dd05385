"""Whether a server answers a client, not only whether its port is open."""

from __future__ import annotations

from urllib.parse import urlsplit

import redis
from amqp.exceptions import AMQPError

from unoapi.broker.connection import Connection
from unoapi.errors import ConfigurationError
from unoapi.stores.redis import connect

_AMQP = ("amqp", "amqps", "pyamqp")
_REDIS = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")


def reachable(url: str, *, timeout_s: float) -> bool:
    """Log in to RabbitMQ, or ask Redis for a PING, depending on the address.

    Raises ConfigurationError when the address is of neither.
    """
    scheme = urlsplit(url).scheme
    if scheme in _AMQP:
        return _rabbitmq_answers(url, timeout_s)
    if scheme in _REDIS:
        return _redis_answers(url, timeout_s)
    raise ConfigurationError(
        f"an address must begin with {'://, '.join(_AMQP[:2] + _REDIS[:2])}://, not with {scheme!r}"
    )


def _rabbitmq_answers(url: str, timeout_s: float) -> bool:
    try:
        with Connection(url, connect_timeout=timeout_s) as connection:
            connection.connect()
            return True
    except (AMQPError, OSError, ValueError):
        return False


def _redis_answers(url: str, timeout_s: float) -> bool:
    try:
        with connect(url, timeout_s=timeout_s) as client:
            return bool(client.ping())
    except (redis.RedisError, OSError, ValueError):
        return False
