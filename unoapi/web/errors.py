"""From errors to Cloud API error objects: the one shape of every refusal."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from flask import Response, g, jsonify, request
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from unoapi.errors import (
    BrokerUnavailable,
    DeadLettersBusy,
    Postponed,
    RequestError,
    SessionUnknown,
    StoreRefusesWrites,
    StoreUnavailable,
    describe,
    safe_traceback,
)
from unoapi.services.message_parsing import refusal_of
from unoapi.telemetry.logging import get_logger
from unoapi.web import paths

if TYPE_CHECKING:
    from flask import Flask

log = get_logger(__name__)

OAUTH = "OAuthException"
QUIET = frozenset({401, 429})
"""What strangers can cause as often as they like is logged at debug only."""
NO_CONFIGURATION = "The configuration of this number is not there now, or is not valid."
OPERATORS = "the operator's token (UNOAPI_AUTH_TOKEN)"
NUMBERS = f"the number's token (its authToken), or {OPERATORS}"
ANY_NUMBERS = f"the token of a number that is registered, or {OPERATORS}"
"""Which token a route wants, for whoever came without it."""


def unauthorised(wanted: str = NUMBERS) -> RequestError:
    """No token came with the request; `wanted` says which it needs."""
    details = f"Send Authorization: Bearer <token>, with {wanted}."
    return RequestError("Access token is missing", code=0, status=401, details=details)


def forbidden(wanted: str = NUMBERS) -> RequestError:
    """The token does not open this; `wanted` says which does."""
    details = f"The token does not open this: send {wanted}."
    return RequestError("Invalid access token", code=190, status=401, details=details)


def not_found(details: str) -> RequestError:
    """No such thing, or not for this token: both look alike."""
    return RequestError("Unsupported request", code=100, status=404, details=details)


def error_body(title: str, code: int, details: str) -> dict[str, Any]:
    """Every field that real clients read."""
    return {
        "error": {
            "message": f"(#{code}) {title}",
            "type": OAUTH,
            "code": code,
            "error_data": {"messaging_product": "whatsapp", "details": details},
            "fbtrace_id": secrets.token_urlsafe(8),
        }
    }


def register_errors(app: Flask) -> None:
    """Answer every error in the Cloud API's shape."""

    @app.errorhandler(RequestError)
    def _refused(error: RequestError) -> Response:
        return _answer(error.status, error.title, error.code, error.details, error.retry_after_s)

    @app.errorhandler(ValidationError)
    def _not_valid(error: ValidationError) -> Response:
        return _refused(refusal_of(error))

    @app.errorhandler(BrokerUnavailable)
    def _no_broker(error: BrokerUnavailable) -> Response:
        log.error("request_not_accepted", error=f"{error}", hint="check RabbitMQ")
        return _answer(
            503,
            "Service temporarily unavailable",
            131016,
            "RabbitMQ does not answer, or takes no messages. Try again.",
            5,
        )

    @app.errorhandler(StoreRefusesWrites)
    def _store_refuses(error: StoreRefusesWrites) -> Response:
        log.error("request_not_served", error=f"{error}", hint="make room, or let it write, where the error says")
        return _answer(503, "Service temporarily unavailable", 131016, f"{error}.", 60)

    @app.errorhandler(StoreUnavailable)
    @app.errorhandler(Postponed)
    def _no_store(error: Exception) -> Response:
        details, hint = _why_not_served(error)
        log.error("request_not_served", error=f"{error}", hint=hint)
        return _answer(503, "Service temporarily unavailable", 131016, details, 5)

    @app.errorhandler(DeadLettersBusy)
    def _busy(error: DeadLettersBusy) -> Response:
        return _answer(409, "Busy", 131016, f"{error}", 5)

    @app.errorhandler(HTTPException)
    def _http(error: HTTPException) -> Response:
        status = error.code or 500
        allowed = paths.own_methods(app.url_map, request.path, getattr(error, "valid_methods", None) or [])
        details = {
            404: lambda: paths.no_such_path(app.url_map, request.method, request.path),
            405: lambda: paths.no_such_method(request.method, allowed),
            413: lambda: _too_large(app.config["MAX_CONTENT_LENGTH"]),
        }.get(status, lambda: error.name)()
        answer = _answer(status, error.name, 100 if status < 500 else 131000, details)  # noqa: PLR2004
        if allowed:
            answer.headers["Allow"] = ", ".join(allowed)
        return answer

    @app.errorhandler(Exception)
    def _bug(error: Exception) -> Response:
        log.error("unhandled_error", error=describe(error), traceback=safe_traceback(error))
        return _answer(500, "Something went wrong", 131000, "An unexpected error; the log has it.")


def _why_not_served(error: Exception) -> tuple[str, str]:
    """What the caller reads, and what the operator is advised, when something that is stored cannot be read."""
    if not isinstance(error, SessionUnknown) or isinstance(error.__cause__, StoreUnavailable):
        return "The store does not answer. Try again.", "check Redis, or the bucket of files"
    details = f"{error}." if g.get("operator") else f"{NO_CONFIGURATION} The operator's log says why."
    return details, "store the configuration again with register"


def _too_large(usual: int) -> str:
    most = request.max_content_length
    return f"The request body is larger than {most} bytes{' (UNOAPI_BODY_MAX_BYTES)' if most == usual else ''}."


def _answer(status: int, title: str, code: int, details: str, retry_after_s: int | None = None) -> Response:
    body = error_body(title, code, details)
    level = log.debug if status in QUIET else log.info
    level("request_refused", status=status, code=code, fbtrace_id=body["error"]["fbtrace_id"], details=details)
    answer = jsonify(body)
    answer.status_code = status
    if retry_after_s is not None:
        answer.headers["Retry-After"] = str(retry_after_s)
    if status == 401:  # noqa: PLR2004
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer
