"""Counts of what the API answers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from flask import g, request

from unoapi.telemetry.metrics import metrics

if TYPE_CHECKING:
    from flask import Flask, Response

NO_ROUTE = "none"


def register_counting(app: Flask) -> None:
    """Count every answer by the rule that matched, never by the path: a path holds phones and tokens."""

    @app.before_request
    def _begin() -> None:
        g.began = time.perf_counter()

    @app.after_request
    def _end(answer: Response) -> Response:
        route = NO_ROUTE if request.url_rule is None else request.url_rule.rule
        seconds = time.perf_counter() - g.get("began", time.perf_counter())
        metrics().answered(route, answer.status_code, seconds=seconds)
        return answer
