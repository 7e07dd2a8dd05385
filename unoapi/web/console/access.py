"""Who is logged in to the console, and which pages are open to whom.

A login is a signed cookie: an id and a fingerprint of the token, never the token. It is checked against the tokens of
this moment at each request, so that a token that is changed ends what it opened. The key is the installation's own; no
token can be guessed from a cookie.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import quote

from flask import current_app, g, redirect, request
from itsdangerous import BadSignature, URLSafeTimedSerializer

from unoapi.errors import RequestError, StoreUnavailable
from unoapi.web.auth import IS_PHONE, is_operator, same
from unoapi.web.console.words import t
from unoapi.web.errors import not_found
from unoapi.web.parts import parts
from unoapi.web.rate_limits import limits
from unoapi.web.waiting import is_repeated, let_in

if TYPE_CHECKING:
    from flask import Response
    from flask.typing import ResponseReturnValue

    from unoapi.models.session import Session

View = TypeVar("View", bound=Callable[..., Any])
COOKIE = "unoapi_console"
LIFETIME_S = 12 * 3600
EXTENSION = "console"
HTMX = "HX-Request"
LOGIN_PAGE = "/console/login"


@dataclass(frozen=True)
class Login:
    """A browser, and whom it was opened for. Without a `fingerprint` nobody has logged in yet."""

    id: str
    fingerprint: str
    key: str = field(repr=False)

    @property
    def csrf_token(self) -> str:
        """What every form of this login carries, and no other page can know."""
        return _mac(self.key, f"csrf:{self.id}:{self.fingerprint}")

    @property
    def operator(self) -> bool:
        """Whether the operator's token opened it."""
        settings = parts().settings
        if not settings.unoapi_auth_token.get_secret_value():
            return True  # the settings allow that on loopback only
        tokens = settings.unoapi_auth_token, settings.unoapi_auth_token_previous
        return self._was_opened_by(tuple(token.get_secret_value() for token in tokens))

    def opens(self, session: Session) -> bool:
        """Whether it may see this session."""
        return self.operator or self._opens(session)

    def _opens(self, session: Session) -> bool:
        return session.stored and self._was_opened_by(session.tokens_at(time.time()))

    def sign_the_audit(self) -> None:
        """Say for the audit log whose request this is: the operator's, or that of the first number it opens."""
        g.audit_who = "operator" if self.operator else "session"
        if not self.operator and "opened_phone" not in g:
            g.opened_phone = next((session.phone for session in self.sessions()), "")

    def sessions(self) -> list[Session]:
        """The sessions that it may see. Raises StoreUnavailable."""
        if "visible_sessions" not in g:  # a fingerprint for each number is computed once a request
            sessions = parts().directory.all()
            g.visible_sessions = sessions if self.operator else [one for one in sessions if self._opens(one)]
        visible: list[Session] = g.visible_sessions
        return visible

    def _was_opened_by(self, tokens: tuple[str, ...]) -> bool:
        return any(same(self.fingerprint, fingerprint(self.key, token)) for token in tokens if token)


def new_login(token: str = "") -> Login:
    """A login with a new id: one that was known before it is never used on."""
    key = _keys()[-1]
    return Login(secrets.token_urlsafe(16), fingerprint(key, token) if token else "", key)


def fingerprint(key: str, token: str) -> str:
    """What a login knows of its token."""
    return _mac(key, f"token:{token}")


def read_login() -> Login | None:
    """Whom the request's cookie stands for: perhaps nobody yet. None without a valid cookie."""
    written = request.cookies.get(COOKIE, "")
    for key in _keys():
        try:
            id_, print_ = _signer(key).loads(written, max_age=LIFETIME_S)
        except (BadSignature, TypeError, ValueError):
            continue
        login = Login(str(id_), str(print_), key)
        return None if parts().console_logins.is_ended(login.id) else login
    return None


def save_login(answer: Response, login: Login) -> Response:
    """Give the browser its cookie."""
    answer.set_cookie(
        COOKIE,
        str(_signer(login.key).dumps([login.id, login.fingerprint])),
        max_age=LIFETIME_S,
        httponly=True,
        samesite="Lax",
        secure=is_https(),
    )
    return answer


def end_login(answer: Response, login: Login) -> Response:
    """Take the cookie away, and let nobody use it who has copied it."""
    parts().console_logins.end(login.id, within_s=LIFETIME_S)
    answer.delete_cookie(COOKIE, httponly=True, samesite="Lax")
    return answer


def is_https() -> bool:
    """Whether the browser came over TLS, also when a proxy ended it."""
    return request.is_secure


def current_login() -> Login | None:
    """Whoever is logged in, and may see something."""
    login: Login | None = g.get("login")
    return login if login is not None and (login.fingerprint or login.operator) else None


def any_login(view: View) -> View:
    """Whoever is logged in sees it; `g.login` says which sessions that are."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        login = current_login()
        if login is None or not (login.operator or login.sessions()):
            return to_login_page()
        _accept(login)
        return view(*args, **kwargs)

    guarded.access = "console any"  # type: ignore[attr-defined]
    return cast("View", guarded)


def operator_login(view: View) -> View:
    """The operator sees it."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        login = current_login()
        if login is None:
            return to_login_page()
        if not login.operator:
            raise RequestError("Permission denied", code=10, status=403, details=t("error.operators"))
        _accept(login)
        return view(*args, **kwargs)

    guarded.access = "console operator"  # type: ignore[attr-defined]
    return cast("View", guarded)


def session_login(view: View) -> View:
    """The operator, and who logged in with the token of the session in the path, sees it. To others there is none."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        login = current_login()
        if login is None:
            return to_login_page()
        g.opened_phone = phone = opened_phone(login, str(kwargs["phone"]))
        _accept(login)
        return view(*args, **{**kwargs, "phone": phone})

    guarded.access = "console session"  # type: ignore[attr-defined]
    return cast("View", guarded)


def opened_phone(login: Login, node: str) -> str:
    """The phone that an id in a path means to this login. Raises RequestError (404), Postponed."""
    for phone in parts().directory.phones_of(node):
        if IS_PHONE.fullmatch(phone) and login.opens(parts().sessions.find(phone)):
            return phone
    raise not_found(t("error.no_number"))


def ensure_own_form() -> None:
    """Refuse a form that no page of this login made. Raises RequestError."""
    login: Login | None = g.get("login")
    given = request.headers.get("X-CSRF-Token") or request.form.get("csrf_token", "")
    if login is None or not same(given, login.csrf_token):
        raise RequestError("Form out of date", code=10, status=403, details=t("error.old_form"))


def to_login_page() -> ResponseReturnValue:
    """Ask who it is, and come back to the page afterwards."""
    if HTMX in request.headers:
        return "", 401, {"HX-Redirect": LOGIN_PAGE}
    if request.method != "GET":
        raise RequestError("Log in first", code=0, status=401, details=t("error.no_login"))
    return redirect(f"{LOGIN_PAGE}?next={quote(request.full_path.rstrip('?'))}", 303)


def opens_something(token: str) -> bool:
    """Whether a token may log in. Raises RequestError for one of too many wrong ones, StoreUnavailable."""
    counts = limits()
    if is_operator(token):
        return True
    directory = parts().directory
    guessing = counts.is_over(request.remote_addr or "")
    if token and (directory.opened_lately(token) if guessing else directory.opened_by(token)):
        return True
    counts.refuse(request.remote_addr or "")
    return False


def _accept(login: Login) -> None:
    g.operator = login.operator
    login.sign_the_audit()
    let_in(request.environ, login.id)
    if not login.operator and not is_repeated(request.environ):
        limits().accept(login.fingerprint)


def _keys() -> list[str]:
    """What signs, the last one new logins: the installation's key; this process's own while Redis was never there."""
    own: str = current_app.extensions.setdefault(EXTENSION, secrets.token_hex(32))
    try:
        return [own, parts().link_key()]
    except StoreUnavailable:
        return [own]


def _signer(key: str) -> URLSafeTimedSerializer:
    options = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
    return URLSafeTimedSerializer(key, salt="console", signer_kwargs=options)


def _mac(key: str, text: str) -> str:
    return hmac.digest(key.encode(), text.encode("utf-8", "surrogatepass"), "sha256").hex()[:32]
