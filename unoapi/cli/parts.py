"""How a command gets the parts of the program."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from unoapi.bootstrap import unoapi
from unoapi.telemetry.logging import configure_logging

if TYPE_CHECKING:
    from collections.abc import Callable


def pass_uno(command: Callable[..., None]) -> Callable[..., None]:
    """Call the command with the parts: those that the caller of `cli` gave as `obj`, else the environment's.

    They are joined when the command runs, so that `--help` needs no settings. Raises ConfigurationError.
    """

    @wraps(command)
    def with_uno(*args: Any, **options: Any) -> None:
        root = click.get_current_context().find_root()
        if root.obj is None:
            root.obj = unoapi()
            configure_logging("fatal", "json")  # what went wrong is said once; --json prints nothing but JSON
        command(root.obj, *args, **options)

    return with_uno
