"""Who may call what. Every route names its decision; a route without one is a failing test."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from flask import g, request

from unoapi.bootstrap import unoapi
from unoapi.web.errors import forbidden, unauthorised
from unoapi.web.limits import limits_of

if TYPE_CHECKING:
    from unoapi.errors import RequestError
    from unoapi.models.session import Session
    from unoapi.web.limits import Limits

View = TypeVar("View", bound=Callable[..., Any])
BEARER = "bearer "


def public(view: View) -> View:
    """Anybody may call it."""
    view.access = "public"  # type: ignore[attr-defined]
    return view


def operator(view: View) -> View:
    """The operator's token opens it."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        token = _token()
        if not _is_operator(token):
            raise _refused(token)
        return view(*args, **kwargs)

    guarded.access = "operator"  # type: ignore[attr-defined]
    return cast("View", guarded)


def session_token(view: View) -> View:
    """The operator's token, or the token of the session in the path, opens it."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        _check_session(str(kwargs["phone"]))
        return view(*args, **kwargs)

    guarded.access = "session"  # type: ignore[attr-defined]
    return cast("View", guarded)


def owner(view: View) -> View:
    """Whoever owns the thing in the path: the view finds it and asks `check_phone`."""
    view.access = "owner"  # type: ignore[attr-defined]
    return view


def check_phone(phone: str | None) -> None:
    """Refuse a caller who may not see what belongs to this phone; None for what belongs to nobody."""
    if phone is not None:
        _check_session(phone)
    elif not _token() and not _is_operator(""):
        raise _refused("")


def _check_session(phone: str) -> None:
    token = _token()
    g.operator = _is_operator(token)
    if g.operator:
        return
    if not token:
        raise _refused(token)
    session: Session = unoapi().sessions.find(phone)  # raises Postponed with Redis away: answered 503
    expected = session.auth_token.get_secret_value() if session.stored else ""
    if not expected or not same(token, expected):
        raise _refused(token)
    _limits().accept(token)


def _refused(token: str) -> RequestError:
    _limits().refuse(request.remote_addr or "")
    return forbidden() if token else unauthorised()


def _limits() -> Limits:
    settings = unoapi().settings
    return limits_of(settings.unoapi_rate_limit, settings.unoapi_rate_limit_refused, settings.unoapi_web_processes)


def _token() -> str:
    """The first token found: the configured header, Authorization, then the query."""
    name = unoapi().settings.unoapi_header_name
    value = (
        request.headers.get(name)
        or request.headers.get("Authorization")
        or request.args.get("access_token")
        or request.args.get("hub.verify_token")
        or ""
    )
    return value[len(BEARER) :].strip() if value.lower().startswith(BEARER) else value.strip()


def _is_operator(token: str) -> bool:
    expected = unoapi().settings.unoapi_auth_token.get_secret_value()
    if not expected:
        return True  # the settings allow that on loopback only
    return same(token, expected)


def same(given: str, expected: str) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(given.encode(), expected.encode())
