"""What the routes in the Graph's manner share: fields, pages, and numbers as they are shown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from flask import request
from pydantic import BaseModel, ConfigDict, Field, field_validator

from unoapi.web.request_body import json_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse

    from flask import Flask

VERSIONLESS = re.compile(r"/(?:[0-9]{1,20}|me|debug_token|oauth)(?:/|$)")
SLASHES = re.compile(r"/{2,}")
DEFAULT_VERSION = "v24.0"
"""Any is served alike."""
INNER = re.compile(r"\{[^{}]*\}|\([^()]*\)|\.[a-z_]+")
MAX_PAGE = 1000
NOT_REPEATED = frozenset({"after", "before", "access_token", "hub.verify_token"})
"""Arguments that the address of the next page does not have: cursors, and tokens under every name."""


def register_default_version(app: Flask) -> None:
    """Serve the nodes of the Graph at paths without a version, too, as Graph does, and with a slash too many.

    That is what comes of a base address that ends with one: few clients follow a redirect of a POST. The addresses of
    pages have the scheme of a proxy in front.
    """
    serve, routes = app.wsgi_app, app.url_map.bind("")

    def with_version(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"] = SLASHES.sub("/", environ["PATH_INFO"])
        if environ.get("HTTP_X_FORWARDED_PROTO", "").partition(",")[0].strip().lower() == "https":
            environ["wsgi.url_scheme"] = "https"  # gunicorn believes that of a proxy on the same machine alone
        if VERSIONLESS.match(path) and not routes.test(path, environ["REQUEST_METHOD"]):
            environ["PATH_INFO"] = f"/{DEFAULT_VERSION}{path}"
        return serve(environ, start_response)

    app.wsgi_app = with_version  # type: ignore[method-assign] # Flask's own way


class Page(BaseModel):
    """Which part of a list is wanted. `after` and `before` are ids."""

    model_config = ConfigDict(hide_input_in_errors=True)

    limit: int = Field(default=MAX_PAGE, ge=1, description=f"At most {MAX_PAGE}: of more than that there are pages.")
    after: str = Field(default="", max_length=200)
    before: str = Field(default="", max_length=200)

    @field_validator("limit", mode="before")
    @classmethod
    def _usual_limit(cls, value: object) -> object:
        return MAX_PAGE if value == "" else value

    @field_validator("limit")
    @classmethod
    def _of_one_page(cls, value: int) -> int:
        return min(value, MAX_PAGE)


def asked_fields() -> list[str]:
    """The names in `fields=`; what follows a name in brackets does not matter."""
    text = request.args.get("fields", "")[:2000]
    return [name.strip() for name in INNER.sub("", text).split(",") if name.strip()]


def listed(name: str, written: str) -> list[Any]:
    """A list as Graph takes one in a query: JSON, or with commas. Raises RequestError."""
    if not written.startswith("["):
        return [part.strip() for part in written.split(",") if part.strip()]
    found: list[Any] = json_of(written, name=name)
    return found


def page(items: list[dict[str, Any]]) -> dict[str, Any]:
    """One page of a list; cursors are ids. After the last page there is no `next`: clients follow it even if null."""
    asked = Page.model_validate(request.args.to_dict())
    ids = [str(item.get("id")) for item in items]
    start = ids.index(asked.after) + 1 if asked.after in ids else 0
    if asked.before in ids:
        end = ids.index(asked.before)
        start = max(0, end - asked.limit)
    else:
        end = start + asked.limit
    shown = items[start:end]
    answer: dict[str, Any] = {"data": shown}
    if shown:
        answer["paging"] = {"cursors": {"before": str(shown[0].get("id")), "after": str(shown[-1].get("id"))}}
        if end < len(items):
            others = {key: value for key, value in request.args.items() if key not in NOT_REPEATED}
            arguments = urlencode({**others, "after": ids[end - 1]})
            answer["paging"]["next"] = f"{request.base_url}?{arguments}"
    return answer
