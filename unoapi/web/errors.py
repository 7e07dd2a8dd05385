"""From errors to Cloud API error objects: the one shape of every refusal."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from flask import Response, jsonify
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from unoapi.errors import (
    BrokerUnavailable,
    DeadLettersBusy,
    Postponed,
    RequestError,
    StoreRefusesWrites,
    StoreUnavailable,
    describe,
    safe_traceback,
)
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from flask import Flask

log = get_logger(__name__)

OAUTH = "OAuthException"
MISSING_TYPES = frozenset({"missing"})
TITLES = {0: "AuthException", 190: "Invalid token", 10: "Permission denied", 100: "Invalid parameter"}


def unauthorised() -> RequestError:
    """No token came with the request."""
    return RequestError("Access token is missing", code=0, status=401, details="Send Authorization: Bearer <token>.")


def forbidden() -> RequestError:
    """The token does not open this phone."""
    return RequestError("Invalid access token", code=190, status=401, details="The token is not valid for this number.")


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


def invalid(error: ValidationError) -> RequestError:
    """A body that does not validate. Names the fields, never their values."""
    problems = error.errors(include_input=False, include_url=False, include_context=False)
    missing = all(problem["type"] in MISSING_TYPES for problem in problems)
    sentences = [
        ": ".join(filter(None, (".".join(str(part) for part in problem["loc"]), problem["msg"])))
        for problem in problems[:5]
    ]
    return RequestError(
        "Required parameter is missing" if missing else "Parameter value is not valid",
        code=131008 if missing else 131009,
        status=400,
        details="; ".join(sentences)[:1000],
    )


def register_errors(app: Flask) -> None:
    """Answer every error in the Cloud API's shape."""

    @app.errorhandler(RequestError)
    def _refused(error: RequestError) -> Response:
        return _answer(error.status, error.title, error.code, error.details, error.retry_after_s)

    @app.errorhandler(ValidationError)
    def _not_valid(error: ValidationError) -> Response:
        return _refused(invalid(error))

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
        log.error("request_not_served", error=f"{error}", hint="check Redis")
        return _answer(503, "Service temporarily unavailable", 131016, f"{error}.", 60)

    @app.errorhandler(StoreUnavailable)
    @app.errorhandler(Postponed)
    def _no_store(error: Exception) -> Response:
        log.error("request_not_served", error=f"{error}", hint="check Redis")
        return _answer(503, "Service temporarily unavailable", 131016, "The store does not answer. Try again.", 5)

    @app.errorhandler(DeadLettersBusy)
    def _busy(error: DeadLettersBusy) -> Response:
        return _answer(409, "Busy", 131016, f"{error}", 5)

    @app.errorhandler(HTTPException)
    def _http(error: HTTPException) -> Response:
        status = error.code or 500
        details = {
            404: "There is no such path.",
            405: "The method is not allowed on this path.",
            413: "The request body is larger than UNOAPI_BODY_MAX_BYTES.",
        }.get(status, error.name)
        answer = _answer(status, error.name, 100 if status < 500 else 131000, details)  # noqa: PLR2004
        if error.get_response() and (allow := error.get_response().headers.get("Allow")):
            answer.headers["Allow"] = allow
        return answer

    @app.errorhandler(Exception)
    def _bug(error: Exception) -> Response:
        log.error("unhandled_error", error=describe(error), traceback=safe_traceback(error))
        return _answer(500, "Something went wrong", 131000, "An unexpected error; the log has it.")


def _answer(status: int, title: str, code: int, details: str, retry_after_s: int | None = None) -> Response:
    answer = jsonify(error_body(title, code, details))
    answer.status_code = status
    if retry_after_s is not None:
        answer.headers["Retry-After"] = str(retry_after_s)
    if status == 401:  # noqa: PLR2004
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer
