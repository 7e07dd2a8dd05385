"""All pages of the console, and what holds for each of them."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, g, render_template, request, send_from_directory, url_for

from unoapi import __version__
from unoapi.web.auth import public
from unoapi.web.console import (
    changes,
    dead_letters,
    login,
    messages,
    overview,
    queues,
    sessions,
    trying,
    webhooks,
)
from unoapi.web.console.access import any_login, current_login, ensure_own_form, read_login
from unoapi.web.console.view import at, csrf, load_form, notice, part, span
from unoapi.web.console.words import LANGUAGES, language, named, num, t, tn
from unoapi.web.errors import not_found
from unoapi.web.schemas import schema

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

PAGES = (login, overview, sessions, messages, webhooks, dead_letters, queues, trying, changes)
NAVIGATION = (
    ("overview", "console.overview.page", True),
    ("sessions", "console.sessions.page", False),
    ("messages", "console.messages.page", False),
    ("webhooks", "console.webhooks.page", False),
    ("dead_letters", "console.dead_letters.page", True),
    ("queues", "console.queues.page", True),
    ("try", "console.trying.start", False),
    ("audit", "console.changes.page", False),
)
"""The pages that the head names: the name of the page, its endpoint, and whether it is the operator's alone."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
STATIC = Path(__file__).parent / "static"
YEAR_S = 31_536_000

routes = Blueprint("console", __name__, template_folder="templates")


@routes.before_request
def prepare() -> None:
    """Find out who asks, in which language, and that a form is ours. Raises RequestError."""
    g.login = read_login()
    if request.method != "GET":
        load_form()
        ensure_own_form()


@routes.context_processor
def context() -> dict[str, Any]:
    """What every template knows."""
    who = current_login()
    return {
        "t": t,
        "tn": tn,
        "num": num,
        "named": named,
        "at": at,
        "span": span,
        "csrf": csrf,
        "notice": notice,
        "part": part,
        "login": who,
        "language": language(),
        "languages": LANGUAGES,
        "version": __version__,
        "asset": _asset,
        "navigation": [
            (name, url_for(endpoint))
            for name, endpoint, operators in NAVIGATION
            if who is not None and (who.operator or not operators)
        ],
    }


@routes.after_request
def as_page(answer: Response) -> Response:
    """An error of the API as a page; and what the browser may load."""
    if answer.status_code >= 400 and answer.is_json:  # noqa: PLR2004 (HTTP's errors)
        error = answer.get_json()["error"]
        title = t(f"error.{answer.status_code}")
        text = render_template("console/error.html", title=title, details=error["error_data"]["details"], error=error)
        answer.data, answer.mimetype = text, "text/html"
        answer.headers.pop("WWW-Authenticate", None)
    if answer.mimetype == "text/html":
        answer.headers["Content-Security-Policy"] = POLICY
    return answer


def _asset(name: str) -> str:
    return url_for("console.static_file", name=name, v=_digest(name))


@lru_cache(maxsize=32)
def _digest(name: str) -> str:
    """What changes with a file's content, so that browsers may keep it."""
    return hashlib.blake2b((STATIC / name).read_bytes(), digest_size=6).hexdigest()


@routes.get("/console/static/<path:name>")
@public
@schema(described=False)
def static_file(name: str) -> ResponseReturnValue:
    """A file that the pages load: its address changes with its content."""
    answer = send_from_directory(STATIC, name, max_age=YEAR_S)
    answer.cache_control.immutable = True
    return answer


@routes.get("/console/<path:rest>")
@any_login
@schema(described=False)
def nowhere(rest: str) -> ResponseReturnValue:  # noqa: ARG001 (whatever it is)
    """Say in the console's own form that there is no such page."""
    raise not_found(t("error.no_page"))


for _page in PAGES:
    routes.register_blueprint(_page.routes)
