"""Providers whose connection is not part of this installation: their messages wait, then fail as "no connector"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unoapi.errors import NoConnector

if TYPE_CHECKING:
    from unoapi.models.receipts import Receipt


class Unconnected:
    """Nobody is there to take a message."""

    def ready(self, phone: str) -> None:
        """Raise NoConnector."""
        raise NoConnector(phone)

    def send(self, message: dict[str, Any], *, phone: str, message_id: str) -> Receipt:  # noqa: ARG002 (the port's)
        """Raise NoConnector: a send without a connection sends nothing."""
        raise NoConnector(phone)

    def command(self, command: dict[str, Any], *, phone: str) -> None:  # noqa: ARG002 (the port's)
        """Raise NoConnector."""
        raise NoConnector(phone)
