"""What was read lately, for however many pages are open: it is read again once in a while, by one of them."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

from flask import current_app

if TYPE_CHECKING:
    from collections.abc import Callable

Read = TypeVar("Read")


@dataclass
class _Recent:
    lock: threading.Lock = field(default_factory=threading.Lock)
    read_at: float = float("-inf")
    value: Any = None


def recent(name: str, read: Callable[[], Read], *, fresh_s: float) -> Read:
    """What `read` gave at most so many seconds ago; whoever comes while it is read waits for it."""
    kept: _Recent = current_app.extensions.setdefault(f"console_{name}", _Recent())
    with kept.lock:
        if time.monotonic() - kept.read_at > fresh_s:
            kept.value, kept.read_at = read(), time.monotonic()
        return cast("Read", kept.value)
