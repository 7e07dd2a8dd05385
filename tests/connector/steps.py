"""A session's process that kills itself at one step: `python -m tests.connector.steps <step> <phone> <method>`."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from unoapi.broker.publisher import ConfirmingPublisher
from unoapi.connector import session_process
from unoapi.connector.command_handler import CommandHandler
from unoapi.connector.engines.base import CONTRACT_EVENT
from unoapi.connector.engines.simulated import SimulatedEngine
from unoapi.connector.outbox import Outbox


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def around(owner: Any, name: str, *, before: bool, when: Any = lambda *_: True) -> None:
    """Die before or after a call."""
    inner = getattr(owner, name)

    def dying(*args: Any, **options: Any) -> Any:
        if before and when(*args):
            die()
        result = inner(*args, **options)
        if not before and when(*args):
            die()
        return result

    setattr(owner, name, dying)


def is_message(*args: Any) -> bool:
    return args[1] == CONTRACT_EVENT and b'"message"' in args[2]


def publishes_message(*args: Any) -> bool:
    return any(
        "incoming.receive" in str(message.headers) and '"type":"message"' in str(message.body) for message in args[1]
    )


def published(name: str, *, before: bool) -> Any:
    return lambda: around(ConfirmingPublisher, name, before=before, when=publishes_message)


STEPS: dict[str, Any] = {
    "never": lambda: None,
    "receive: before the disk": lambda: around(Outbox, "append", before=True, when=is_message),
    "receive: on the disk": lambda: around(Outbox, "append", before=False, when=is_message),
    "receive: before the confirm": published("publish_messages", before=True),
    "receive: confirmed, not removed": published("publish_messages", before=False),
    "send: taken, not begun": lambda: around(CommandHandler, "handle", before=True),
    "send: begun": lambda: around(Outbox, "begin", before=False),
    "send: marked, not called": lambda: around(Outbox, "mark_sending", before=False),
    "send: left, not logged": lambda: around(SimulatedEngine, "send", before=False),
    "send: logged, not acknowledged": lambda: around(Outbox, "finish", before=False),
}

if __name__ == "__main__":
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # no supervisor is at the other end
    STEPS[sys.argv[1]]()
    code = session_process.main(sys.argv[2:])
    sys.stdout.flush()
    os._exit(code)
