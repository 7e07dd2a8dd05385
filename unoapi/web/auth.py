"""Who may call what. Every route names its decision; a route without one is a failing test."""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from flask import g, request

from unoapi.errors import RequestError
from unoapi.web.errors import ANY_NUMBERS, NUMBERS, OPERATORS, forbidden, unauthorised
from unoapi.web.parts import parts
from unoapi.web.rate_limits import limits
from unoapi.web.request_body import body_token
from unoapi.web.waiting import is_repeated, let_in

if TYPE_CHECKING:
    from unoapi.models.session import Session

View = TypeVar("View", bound=Callable[..., Any])
SCHEMES = re.compile(r"(?:bearer|oauth)\s+", re.IGNORECASE)
"""Before a token; Graph takes both."""
IS_PHONE = re.compile(r"[0-9]{1,20}", re.ASCII)


def public(view: View) -> View:
    """Anybody may call it."""
    view.access = "public"  # type: ignore[attr-defined]
    return view


def operator(view: View) -> View:
    """The operator's token opens it."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        check_operator()
        return view(*args, **kwargs)

    guarded.access = "operator"  # type: ignore[attr-defined]
    return cast("View", guarded)


def session_token(view: View) -> View:
    """The operator's token, or the token of the session in the path, opens it.

    The path may name the session by its phone, its phone number id or its business account id: the view gets the phone.
    """

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        g.opened_phone = opened_phone(str(kwargs["phone"]))
        return view(*args, **{**kwargs, "phone": g.opened_phone})

    guarded.access = "session"  # type: ignore[attr-defined]
    return cast("View", guarded)


def any_session_token(view: View) -> View:
    """The operator's token, or the token of any session, opens it; `visible_sessions` says what it may see."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        token = _token()
        g.operator = is_operator(token)
        if not g.operator:
            g.sessions = _opened_sessions(token)
        accept(token, request.environ)
        return view(*args, **kwargs)

    guarded.access = "any session"  # type: ignore[attr-defined]
    return cast("View", guarded)


def check_token() -> None:
    """Refuse a caller whose token opens nothing at all. Raises StoreUnavailable."""
    token = _token()
    g.operator = is_operator(token)
    if not g.operator:
        _opened_sessions(token)
    let_in(request.environ, token)


def check_secret(secret: str) -> None:
    """Refuse a caller whose secret, which the request carries as no token, opens nothing. Raises StoreUnavailable."""
    g.operator = bool(secret) and is_operator(secret)
    if not g.operator:
        _opened_sessions(secret)
    accept(secret, request.environ)


def _opened_sessions(token: str) -> list[Session]:
    """The sessions that a token opens, at least one. Raises StoreUnavailable: answered 503.

    A token of an app, as `<app>|<secret>`, opens what its secret does.
    """
    sessions = _opened_by(token) if token else []
    if not sessions and (secret := _secret_in(token)) != token:
        sessions = _opened_by(secret)
    if not sessions:
        raise _refused(token, ANY_NUMBERS)
    return sessions


def _secret_in(token: str) -> str:
    """What counts of a token of an app: whatever stands before it, it is the caller's one secret."""
    return token.partition("|")[2] or token


def _opened_by(token: str) -> list[Session]:
    """The sessions that a token opens; from an address that guesses, only as they were read last."""
    directory = parts().directory
    guessing = limits().is_over(request.remote_addr or "")
    return directory.opened_lately(token) if guessing else directory.opened_by(token)


def is_stored(node: str) -> bool:
    """Whether an id is that of a stored number, whoever may open it. Raises Postponed: answered 503."""
    uno = parts()
    return any(uno.sessions.find(phone).stored for phone in uno.directory.phones_of(node) if IS_PHONE.fullmatch(phone))


def opened_sessions() -> list[Session]:
    """The sessions that the caller's token opens, for a thing that one of them may own. Raises StoreUnavailable.

    Raises RequestError when it opens nothing at all.
    """
    token = _token()
    g.operator = is_operator(token)
    return parts().directory.all() if g.operator else _opened_sessions(token)


def visible_sessions() -> list[Session]:
    """The stored sessions that the caller may see. Raises StoreUnavailable."""
    if g.operator:
        return parts().directory.all()
    opened: list[Session] = g.sessions
    return opened


def token_opens(token: str) -> tuple[bool, list[Session]]:
    """Whether a token opens anything, and the sessions that it opens. Raises StoreUnavailable."""
    if token and is_operator(token):
        return True, parts().directory.all()
    opened = _opened_by(token) if token else []
    return bool(opened), opened


def may_see(token: str, phone: str) -> bool:
    """Whether the token of a caller who was let in opens a phone now. Needs no request. Raises Postponed."""
    return is_operator(token) or opens(phone, token) or opens(phone, _secret_in(token))


def owner(view: View) -> View:
    """Whoever owns the thing in the path may call it: the view calls `opened_phone` or `check_owner`."""
    view.access = "owner"  # type: ignore[attr-defined]
    return view


def check_owner(phone: str | None) -> None:
    """Refuse a caller who may not see what belongs to exactly this phone; None for what belongs to nobody.

    Of what belongs to nobody a caller hears that only when the token opens something. Raises Postponed and
    StoreUnavailable with Redis away: answered 503.
    """
    token = _token()
    g.operator = is_operator(token)
    if not (g.operator or (token and _opens_thing_of(phone, token))):
        raise _unknown_or_refused(token)
    accept(token, request.environ)


def _opens_thing_of(phone: str | None, token: str) -> bool:
    return opens(phone, token) if phone is not None else bool(_opened_by(token))


def check_operator() -> None:
    """Refuse everybody but the operator."""
    token = _token()
    g.operator = is_operator(token)
    if not g.operator:
        raise _refused(token, OPERATORS)
    let_in(request.environ, token)


def refuse_guess() -> None:
    """Count a wrong token that is answered otherwise than with 401. Raises RequestError over the bound."""
    limits().refuse(request.remote_addr or "")


def session_at_meta(node: str) -> Session | None:
    """The one session at Meta that the caller's token opens, for an id that is none of the caller's sessions.

    Whether it is somebody else's does not matter: nobody shall hear which numbers are here. None when the token opens
    no such session. Raises RequestError when their accounts are several; StoreUnavailable.
    """
    token = _token()
    g.operator = is_operator(token)
    opened = parts().directory.all() if g.operator else _opened_by(token) if token else []
    at_meta = {session.waba_id: session for session in opened if session.provider == "forwarder"}
    if not at_meta or any(session.answers_to(node) for session in opened):
        return None
    accept(token, request.environ)
    if len(at_meta) > 1:
        details = f"The token opens {len(at_meta)} accounts at Meta: use the token of the number that it belongs to."
        raise RequestError("Ambiguous id", code=100, status=409, details=details)
    return next(iter(at_meta.values()))


def opened_phone(node: str) -> str:
    """The phone that the caller's token opens, out of those that the id means: go on with this one, not with the id."""
    token = _token()
    phone = phone_opened_by(token, node)
    if phone is None:
        raise unknown_id() if g.operator else _unknown_or_refused(token)
    accept(token, request.environ)
    return phone


def phone_opened_by(token: str, node: str) -> str | None:
    """The phone that a token opens, out of those that an id means; None when it opens none of them.

    Raises RequestError (409) for an operator's id of several numbers, and Postponed with Redis away: answered 503.
    """
    g.operator = is_operator(token)
    phones = [phone for phone in parts().directory.phones_of(node) if IS_PHONE.fullmatch(phone)]
    if g.operator:
        return _only(node, phones) if phones else None
    return next((phone for phone in phones if opens(phone, token)), None) if token else None


def _only(node: str, phones: list[str]) -> str:
    """The number of an id. Raises RequestError (409) when several claim it as theirs; an account may have several."""
    claiming = [phone for phone in phones if len(phones) > 1 and _session_of(phone).phone_number_id == node]
    if len(claiming) > 1:
        details = f"The numbers {', '.join(claiming[:5])} all have the phone number id {node}: use their phones."
        raise RequestError("Ambiguous id", code=100, status=409, details=details)
    return claiming[0] if claiming else phones[0]


def _session_of(phone: str) -> Session:
    return parts().sessions.find(phone)


def accept(token: str, environ: dict[str, Any]) -> None:
    """Let the caller in and count it, but for the operator, and once for a request that is run anew.

    Raises RequestError over the bound.
    """
    let_in(environ, token)
    if not g.operator and not is_repeated(environ):
        limits().accept(_secret_in(token))


def _unknown_or_refused(token: str) -> RequestError:
    """Why a thing is not opened. Another number's and nobody's look alike to a token that opens something.

    Clients take a 401 for a token that expired, and ask for a new one; and an account id can be computed of a phone, so
    that a tenant could ask which phones are here.
    """
    if not token or not _opened_by(token):
        return _refused(token)
    if not is_repeated(request.environ):
        limits().accept(token)  # it counts as any other request of this token
    return unknown_id()


def _refused(token: str, wanted: str = NUMBERS) -> RequestError:
    limits().refuse(request.remote_addr or "")
    return forbidden(wanted) if token else unauthorised(wanted)


def unknown_id() -> RequestError:
    """The answer to who asks for a thing that is not there, or that the token does not open: both look alike."""
    details = "There is nothing of this id, or the token does not open it."
    return RequestError("Unsupported request: unknown id", code=100, status=404, details=details)


def _token() -> str:
    """The first token that the request carries: the configured header, Authorization, the query, then a small form."""
    name = parts().settings.unoapi_header_name
    value = request.headers.get(name) or request.headers.get("Authorization") or request.args.get("access_token")
    return without_scheme(body_token() if value is None else value)


def without_scheme(value: str) -> str:
    """The token in the value of a header."""
    value = value.strip()
    scheme = SCHEMES.match(value)
    return value[scheme.end() :] if scheme else value


def given_token() -> str:
    """The token that the request carries, if there is one."""
    return _token()


def opens(phone: str, token: str) -> bool:
    """Whether it is the token of this phone's session. Raises Postponed with Redis away."""
    session = parts().sessions.find(phone)
    tokens = session.tokens_at(time.time()) if session.stored else ()
    return any(same(token, expected) for expected in tokens)


def is_operator(token: str) -> bool:
    """Whether it is the operator's token."""
    expected = parts().settings.unoapi_auth_token.get_secret_value()
    if not expected:
        return True  # the settings allow that on loopback only
    previous = parts().settings.unoapi_auth_token_previous.get_secret_value()
    return any(same(token, opening) for opening in (expected, previous) if opening)


def same(given: str, expected: str) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(given.encode(), expected.encode())
