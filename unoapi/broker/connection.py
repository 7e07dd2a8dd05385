"""A connection to RabbitMQ on which nothing waits for ever, and that, over TLS, checks whose certificate it gets."""

from __future__ import annotations

from typing import Any

import kombu
from amqp.exceptions import AMQPError
from kombu.exceptions import OperationalError

BROKER_ERRORS = (OSError, AMQPError, OperationalError)
"""What the libraries raise when RabbitMQ is away, refuses or breaks off."""
IO_TIMEOUT_S = 10.0
"""For an answer, and for what is sent to leave. Waiting for messages is bounded by who waits."""


class Connection(kombu.Connection):
    """kombu's connection. With `amqps://` kombu checks the certificate, but not that it is the host's: this one does.

    It also sends the host's name, for servers with several certificates. `SSL_CERT_FILE` adds an authority. Without
    `read_timeout` and `write_timeout` among its `transport_options` it has `IO_TIMEOUT_S` for both.
    """

    io_timeout_s: float | None = IO_TIMEOUT_S

    def __init__(self, *args: Any, **options: Any) -> None:
        bounds = {"read_timeout": self.io_timeout_s, "write_timeout": self.io_timeout_s}
        options["transport_options"] = bounds | (options.get("transport_options") or {})
        super().__init__(*args, **options)
        self._check_host()

    def switch(self, conn_str: str) -> None:
        """Go on with another address of the same list."""
        super().switch(conn_str)
        self._check_host()

    def _check_host(self) -> None:
        if self.transport_cls == "amqps":
            self.ssl = {"server_hostname": self.hostname}
