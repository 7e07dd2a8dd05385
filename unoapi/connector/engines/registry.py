"""The engines by name: makes the one of `UNOAPI_CONNECTOR_ENGINE`."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, cast

from unoapi.connector.engines.simulated import SimulatedEngine

if TYPE_CHECKING:
    from unoapi.connector.engines.base import Engine
    from unoapi.connector.session_folder import SessionFolder
    from unoapi.settings import Settings


SIMULATED = "twin"
"""The setting's value for the simulated engine, and the name of its folder."""


def make_engine(settings: Settings, folder: SessionFolder, phone: str) -> Engine:
    """An engine for one session."""
    if settings.unoapi_connector_engine == SIMULATED:
        return SimulatedEngine(folder.path / SIMULATED, phone)
    module = importlib.import_module("unoapi.connector.engines.neonize")
    engine = module.NeonizeEngine(
        folder,
        phone,
        client_name=settings.config_session_phone_client,
        validate_number=settings.validate_session_number,
    )
    return cast("Engine", engine)


def is_installed(settings: Settings) -> bool:
    """Whether the engine's library is installed. Does not load it."""
    return settings.unoapi_connector_engine == SIMULATED or importlib.util.find_spec("neonize") is not None
