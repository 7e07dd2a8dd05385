"""Log in, log out, the language; and where `/` leads."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

from flask import Blueprint, g, jsonify, redirect, request, url_for

from unoapi import __version__
from unoapi.errors import RequestError, StoreUnavailable
from unoapi.web.auth import public
from unoapi.web.console.access import (
    Login,
    any_login,
    current_login,
    end_login,
    is_https,
    new_login,
    opens_something,
    save_login,
    to_login_page,
)
from unoapi.web.console.view import render
from unoapi.web.console.words import COOKIE, LANGUAGES, t
from unoapi.web.parts import parts
from unoapi.web.schemas import schema

if TYPE_CHECKING:
    from flask import Response
    from flask.typing import ResponseReturnValue

routes = Blueprint("login", __name__)

YEAR_S = 31_536_000
MAX_TOKEN = 4096
OWN_PAGE = re.compile(r"/(console|session/[A-Za-z0-9_-]{1,64})(/[A-Za-z0-9._~%/+-]*)?(\?[A-Za-z0-9._~%&=+:-]*)?")
"""Where a login may lead on to: nowhere but to a page of ours."""


@routes.get("/")
@public
def root() -> ResponseReturnValue:
    """Lead browsers to the console; tell programs where things are."""
    if request.accept_mimetypes.best_match(["application/json", "text/html"], "application/json") == "text/html":
        return redirect(url_for("console.login.start"), 303)
    return jsonify(name="Uno API", version=__version__, docs="/docs", openapi="/docs/openapi.json", console="/console")


@routes.get("/console")
@any_login
@schema(described=False)
def start() -> ResponseReturnValue:
    """Open the page that the login begins with."""
    login: Login = g.login
    return redirect(url_for("console.overview.page" if login.operator else "console.sessions.page"), 303)


@routes.get("/console/login")
@public
@schema(described=False)
def page() -> ResponseReturnValue:
    """Ask for a token."""
    if current_login() is not None:
        return redirect(_next(), 303)
    if not parts().settings.unoapi_auth_token.get_secret_value():
        return save_login(redirect(_next(), 303), new_login())  # type: ignore[arg-type] # this machine may do all
    return ask()


def ask(status: int = 200, *, then: str = "", **context: object) -> Response:
    """The form to log in, in a login of nobody yet, so that no other page can send it."""
    if g.login is None:
        g.login = new_login()
    return save_login(render("console/login.html", status, next=then or _next(), **context), g.login)


@routes.post("/console/login")
@public
@schema(described=False)
def log_in() -> ResponseReturnValue:
    """Log in with the operator's token or a session's. A new login, so that nobody knows its id beforehand."""
    token = request.form.get("token", "").strip()
    try:
        opened = len(token) <= MAX_TOKEN and opens_something(token)
    except RequestError as error:
        return ask(error.status, refused=error.details)
    if not opened:
        return ask(401, refused=t("login.refused"))
    login = new_login(token)
    login.sign_the_audit()
    return save_login(redirect(_next(), 303), login)  # type: ignore[arg-type]


@routes.post("/console/logout")
@public
@schema(described=False)
def log_out() -> ResponseReturnValue:
    """End the login, also for whoever has copied its cookie."""
    login = current_login()
    if login is None:
        return to_login_page()  # a stranger writes no lines into the audit log
    with suppress(StoreUnavailable):
        login.sign_the_audit()
    return end_login(redirect(url_for("console.login.page"), 303), login)  # type: ignore[arg-type]


@routes.get("/console/language/<language>")
@public
@schema(described=False)
def choose(language: str) -> ResponseReturnValue:
    """Speak this language from now on."""
    answer = redirect(_next(), 303)
    if language in LANGUAGES:
        answer.set_cookie(COOKIE, language, max_age=YEAR_S, httponly=True, samesite="Lax", secure=is_https())
    return answer


def _next() -> str:
    wanted = request.form.get("next") or request.args.get("next") or ""
    return wanted if OWN_PAGE.fullmatch(wanted) else url_for("console.login.start")
