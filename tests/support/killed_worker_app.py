"""The Celery application with a bug that ends its process: a delivery with this word in it is never survived."""

from __future__ import annotations

import os
import signal
from typing import Any

from tasks.app import app
from unoapi.http.webhook_client import WebhookClient

__all__ = ["app"]

WORD = os.environ["TESTS_KILLER_WORD"]
_request = WebhookClient.request


def _request_or_die(self: WebhookClient, *args: Any, **options: Any) -> Any:
    if WORD in str(options.get("body", "")):
        os.kill(os.getpid(), signal.SIGKILL)
    return _request(self, *args, **options)


WebhookClient.request = _request_or_die  # type: ignore[method-assign]
