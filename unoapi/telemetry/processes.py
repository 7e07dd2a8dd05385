"""Joins this process to the others of its host that write metrics together, and answers Prometheus."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

from unoapi.errors import ConfigurationError
from unoapi.telemetry.exporter import Listener, ProcessRegistry, registry_folder
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from prometheus_client.registry import Collector

log = get_logger(__name__)

WEB = "web"


@lru_cache(maxsize=1)
def _joined(folder: Path) -> ProcessRegistry:
    registry = ProcessRegistry(folder)
    registry.join()
    return registry


def count_together(port: int, *, installation: str) -> ProcessRegistry | None:
    """Write this process's metrics where all processes of this host write them. None without a port.

    When the folder cannot be used this is logged and metrics are off: they must not stop the work.
    `installation` is the same text in all processes of one installation, and in no other; it is not shown.
    """
    if not port:
        return None
    folder = registry_folder(port, installation=hashlib.sha256(installation.encode()).hexdigest()[:12])
    try:
        return _joined(folder)
    except (ConfigurationError, OSError) as error:
        log.error("metrics_off", error=f"{error}", hint="see the folder, or TMPDIR")
        return None


def expose(
    registry: ProcessRegistry, *, host: str, port: int, more: Iterable[Collector] = (), web: bool = False
) -> Listener:
    """Answer Prometheus as soon as no other process of this host does. After a fork, in the process that counts."""
    if web:
        registry.register(WEB)
    listener = Listener(registry, host=host, port=port, more=more)
    listener.start()
    return listener
