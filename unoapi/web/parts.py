"""What the views work with: the parts that `create_app` was given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import current_app

if TYPE_CHECKING:
    from unoapi.bootstrap import Uno

EXTENSION = "uno"
"""The parts' name among the application's extensions."""


def parts() -> Uno:
    """The parts of the application that serves this request."""
    uno: Uno = current_app.extensions[EXTENSION]
    return uno
