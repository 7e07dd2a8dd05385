"""The contract's JSON Schemas, made from the models: `python -m unoapi.connector.schemas` writes the files.

A connector in another language needs these files and `contract/README.md`, nothing else of this project.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from unoapi.models.connector.commands import COMMANDS, ConnectorCommand
from unoapi.models.connector.events import EVENTS, ConnectorEvent
from unoapi.models.connector.rpc import RPC_METHODS, RpcReply, RpcRequest

FOLDER = Path(__file__).parent / "contract"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, str]:
    """File names and their text."""
    documents: dict[str, Any] = {
        "event.schema.json": ConnectorEvent.model_json_schema(by_alias=True),
        "command.schema.json": ConnectorCommand.model_json_schema(by_alias=True),
    }
    for name, model in EVENTS.items():
        documents[f"event.{name}.schema.json"] = model.model_json_schema(by_alias=True)
    for name, command in COMMANDS.items():
        documents[f"command.{name}.schema.json"] = command.model_json_schema(by_alias=True)
    documents["rpc.schema.json"] = RpcRequest.model_json_schema(by_alias=True)
    documents["rpc.reply.schema.json"] = RpcReply.model_json_schema(by_alias=True)
    for name, (request, reply) in RPC_METHODS.items():
        documents[f"rpc.{name}.schema.json"] = request.model_json_schema(by_alias=True)
        documents[f"rpc.{name}.reply.schema.json"] = reply.model_json_schema(by_alias=True)
    return {
        # A content of an unknown kind fits more than one of the forms: that is allowed.
        name: json.dumps({"$schema": DIALECT, **document}, indent=1, ensure_ascii=False).replace('"oneOf"', '"anyOf"')
        + "\n"
        for name, document in documents.items()
    }


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in schemas().items():
        (FOLDER / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
