"""Commands that the API gives to the connector about a session as a whole."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from flask import jsonify

from unoapi.errors import StoreUnavailable
from unoapi.models.cloud_api.messages import new_message_id
from unoapi.models.connector.commands import ConnectorCommand
from unoapi.models.jobs import now_ms
from unoapi.web.parts import parts

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

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


def code_is_asked_for(phone: str) -> ResponseReturnValue:
    """The answer to who wants a code: none comes for a number that is connected."""
    with suppress(StoreUnavailable):
        connections = parts().connections
        if connections.status(phone) == "online" and connections.is_served(phone):  # its connector may be gone
            warning = (
                f"The number is connected already, and no code comes: POST /session/{phone}/logout unlinks it first."
            )
            return jsonify(success=True, warnings=[warning])
    return jsonify(success=True)
