"""Commands that the API gives to the connector about a session as a whole."""

from __future__ import annotations

from typing import Any

from unoapi.models.cloud_api.messages import new_message_id
from unoapi.models.connector.commands import ConnectorCommand
from unoapi.models.jobs import now_ms
from unoapi.web.parts import parts

COMMAND_TTL_MS = 60_000


def publish_command(phone: str, what: str, data: dict[str, Any]) -> None:
    """Publish a `session.*` command. Raises BrokerUnavailable: answered 503."""
    now = now_ms()
    command = ConnectorCommand(
        type=what,
        command_id=new_message_id(),
        session=phone,
        created_at=now,
        expires_at=now + COMMAND_TTL_MS,
        data=data,
    )
    parts().connector_commands.put([command])
