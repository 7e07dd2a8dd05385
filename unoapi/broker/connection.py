"""A connection to RabbitMQ that, over TLS, checks whose certificate it gets."""

from __future__ import annotations

from typing import Any

import kombu
from amqp.exceptions import AMQPError
from kombu.exceptions import OperationalError

BROKER_ERRORS = (OSError, AMQPError, OperationalError)
"""What the libraries raise when RabbitMQ is away, refuses or breaks off."""


class Connection(kombu.Connection):
    """kombu's connection. With `amqps://` kombu checks the certificate, but not that it is the host's: this one does.

    It also sends the host's name, for servers with several certificates. `SSL_CERT_FILE` adds an authority.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._check_host()

    def switch(self, conn_str: str) -> None:
        """Go on with another address of the same list."""
        super().switch(conn_str)
        self._check_host()

    def _check_host(self) -> None:
        if self.transport_cls == "amqps":
            self.ssl = {"server_hostname": self.hostname}
