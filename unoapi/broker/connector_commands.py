"""Commands to the connector: plain JSON on queues of their own, so that a connector may be written in any language."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from unoapi.broker.messages import PUBLISHED_HEADER, Message, to_message, waiting
from unoapi.errors import InvalidCommand, describe
from unoapi.models.connector.commands import ConnectorCommand
from unoapi.models.jobs import now_ms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unoapi.broker.publisher import ConfirmingPublisher
    from unoapi.broker.topology import Topology
    from unoapi.models.jobs import Envelope

ENTRY = "outgoing.whatsmeow"


class CommandQueue:
    """The queue by which commands enter the connector."""

    def __init__(self, publisher: ConfirmingPublisher) -> None:
        self._publisher = publisher

    def put(self, commands: Sequence[ConnectorCommand], *, then: Sequence[Envelope] = ()) -> None:
        """Publish commands, and jobs about them, all confirmed. Raises BrokerUnavailable."""
        topology = self._publisher.topology
        entry = topology.queue(ENTRY)
        messages = [command_message(command, topology, key=entry) for command in commands]
        self._publisher.publish_messages([*messages, *(to_message(envelope, topology) for envelope in then)])


def command_message(command: ConnectorCommand, topology: Topology, *, key: str, delay_ms: int = 0) -> Message:
    """The message of a command, to the queue named by `key`, at once or after a wait."""
    headers = {
        "type": command.type,
        "session": command.session,
        "version": command.version,
        PUBLISHED_HEADER: now_ms(),
    }
    properties = {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "delivery_mode": 2,
        "message_id": command.command_id,
    }
    body, about = command.model_dump_json(), command.command_id
    if delay_ms <= 0:
        return Message(topology.broker, key, body, headers, properties, about)
    return waiting(Message(topology.delayed, key, body, headers, properties, about), delay_ms, topology)


def parse_command(body: bytes | str) -> ConnectorCommand:
    """The command in a message's body. Raises InvalidCommand."""
    try:
        return ConnectorCommand.model_validate(json.loads(body))
    except (ValueError, RecursionError) as error:
        raise InvalidCommand(describe(error)) from error
