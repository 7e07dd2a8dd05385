"""Headers of every answer: what browsers may do with it, and which pages may ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import request

if TYPE_CHECKING:
    from flask import Flask, Response

SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
POLICY = "default-src 'none'; frame-ancestors 'none'"
"""For answers that say nothing else: they are data, not pages."""
CORS = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key",
    "Access-Control-Max-Age": "600",
}


def register_headers(app: Flask, *, origins: frozenset[str], token_header: str) -> None:
    """Set them on every answer. `origins` are those of foreign pages that may call; * stands for all."""
    cors = {**CORS, "Access-Control-Allow-Headers": f"{CORS['Access-Control-Allow-Headers']}, {token_header}"}

    @app.after_request
    def _headers(answer: Response) -> Response:
        answer.headers.update(SECURITY)
        answer.headers.setdefault("Content-Security-Policy", POLICY)
        origin = request.headers.get("Origin")
        if origins and origin:
            answer.headers.add("Vary", "Origin")
            if origin in origins or "*" in origins:
                answer.headers["Access-Control-Allow-Origin"] = origin if origin in origins else "*"
                answer.headers.update(cors)
        return answer
