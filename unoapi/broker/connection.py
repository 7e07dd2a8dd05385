"""A connection to RabbitMQ that, over TLS, knows whom it talks to."""

from __future__ import annotations

from typing import Any

import kombu
from amqp.exceptions import AMQPError
from kombu.exceptions import OperationalError

BROKER_ERRORS = (OSError, AMQPError, OperationalError)
"""What the libraries raise when RabbitMQ is away, refuses or breaks off."""


class Connection(kombu.Connection):
    """kombu's connection. Of `amqps://` kombu checks the certificate, but not that it is the host's: this one does.

    It names the host, too, for servers that have the certificates of several. `SSL_CERT_FILE` adds an authority.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._expect_the_host()

    def switch(self, conn_str: str) -> None:
        """Go on with another address of the same list."""
        super().switch(conn_str)
        self._expect_the_host()

    def _expect_the_host(self) -> None:
        if self.transport_cls == "amqps":
            self.ssl = {"server_hostname": self.hostname}
