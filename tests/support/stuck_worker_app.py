"""The Celery application with a bug that stops its loop of fibers: one delivery waits where none may."""

from __future__ import annotations

import time
from itertools import count
from typing import Any

import unoapi.services.fibers
from tasks.app import app
from unoapi.http.webhook_client import WebhookClient

__all__ = ["app"]

STUCK_AT = 5
PATIENCE_S = 2
LONG_S = 600
_deliveries = count(1)
_post = WebhookClient.post


def _post_or_stop(self: WebhookClient, *args: Any, **options: Any) -> Any:
    if next(_deliveries) == STUCK_AT:
        time.sleep(LONG_S)
    return _post(self, *args, **options)


WebhookClient.post = _post_or_stop  # type: ignore[method-assign]
vars(unoapi.services.fibers)["PATIENCE_S"] = PATIENCE_S
