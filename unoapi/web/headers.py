"""Headers of every answer: what browsers may do with it, and which pages may ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flask import request

from unoapi.errors import RequestError
from unoapi.settings import is_loopback
from unoapi.web.paths import own_methods

if TYPE_CHECKING:
    from flask import Flask, Response

CACHE = "Cache-Control"
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    CACHE: "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
POLICY_HEADER, POLICY = "Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"
"""For answers that say nothing else: they are data, not pages."""
CORS = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key",
    "Access-Control-Expose-Headers": "Accept-Ranges, Content-Disposition, Content-Range, ETag, Retry-After",
    "Access-Control-Max-Age": "600",
}


def register_loopback_check(app: Flask, *, origins: frozenset[str]) -> None:
    """Refuse what pages of the web may have asked for, where no token keeps them out: without one everybody is let in.

    A page that this machine's browser shows reaches loopback, too: by its own name after DNS rebinding (`Host`), or
    from its own origin (`Origin`). `origins` are those that the operator allows by name. Browsers name the origin of
    each POST; one that is too old to do so may still send JSON as plain text, which no program has a reason to. Forms
    are served: programs send them, too.
    """

    @app.before_request
    def _from_this_machine() -> None:
        origin = request.headers.get("Origin")
        own_page = origin is None or origin in origins or is_loopback(_host_of(origin))
        if not own_page or not is_loopback(_host_of(f"//{request.host}")) or request.mimetype == "text/plain":
            details = "Without UNOAPI_AUTH_TOKEN only programs and pages of this machine are served, and no plain text."
            raise RequestError("Permission denied", code=10, status=403, details=details)


def _host_of(url: str) -> str:
    """The host; of what is no address something that is no host."""
    try:
        return urlsplit(url).hostname or "?"
    except ValueError:
        return "?"


def register_headers(app: Flask, *, origins: frozenset[str], token_header: str) -> None:
    """Set them on every answer; what never changes may be kept.

    `origins` are those of foreign pages that may call; * stands for all.
    """
    cors = {**CORS, "Access-Control-Allow-Headers": f"{CORS['Access-Control-Allow-Headers']}, {token_header}"}

    @app.after_request
    def _headers(answer: Response) -> Response:
        immutable = answer.cache_control.immutable
        answer.headers.update({name: text for name, text in SECURITY.items() if not (immutable and name == CACHE)})
        answer.headers.setdefault(POLICY_HEADER, POLICY)
        if request.method == "OPTIONS" and answer.allow:
            answer.headers["Allow"] = ", ".join(sorted(own_methods(app.url_map, request.path, answer.allow)))
        origin = request.headers.get("Origin")
        if origins and origin:
            answer.headers.add("Vary", "Origin")
            if origin in origins or "*" in origins:
                answer.headers["Access-Control-Allow-Origin"] = origin if origin in origins else "*"
                answer.headers.update(cors)
        return answer
