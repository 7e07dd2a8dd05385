"""What a page of the console needs: its template, parts that renew themselves, forms, and the way on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from flask import Response, g, redirect, render_template, request, url_for
from jinja2 import pass_context
from markupsafe import Markup
from pydantic import BaseModel, ValidationError

from unoapi.errors.validation import names_of, refused
from unoapi.web.console.words import NOTHING, catalogue, language, num, t
from unoapi.web.request_body import ensure_named_parts, limit_body, raw_body

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue
    from jinja2.runtime import Context

    from unoapi.web.console.access import Login

View = TypeVar("View", bound=Callable[..., Any])
MAX_FORM = 256 * 1024
SEEN = "seen"


def render(template: str, status: int = 200, **context: Any) -> Response:
    """A page."""
    return Response(render_template(template, **context), status=status, mimetype="text/html")


def live(template: str, **context: Any) -> ResponseReturnValue:
    """A part of a page that asks for itself again and again: 204 for as long as nothing in it has changed.

    So nothing moves under the reader's hands, and what has the focus keeps it. The template begins with `live_part`;
    the page shows it with `part(…)`.
    """
    text, seen = _rendered(template, context)
    if request.args.get(SEEN) == seen:
        return Response(status=204)
    return Response(text, mimetype="text/html")


@pass_context
def part(context: Context, template: str) -> Markup:
    """The same part within its page, which has given the template what it needs."""
    return Markup(_rendered(template, context.get_all())[0])  # noqa: S704 (a template of ours, which escapes)


def _rendered(template: str, context: dict[str, Any]) -> tuple[str, str]:
    """The part, and what stands for its content."""
    text = render_template(template, **context)
    seen = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return text.replace("__SEEN__", seen, 1), seen


def form(model: type[BaseModel]) -> Callable[[View], View]:
    """Check a form; the view gets it as `form`. Stands below who may send it."""

    def decorate(view: View) -> View:
        @wraps(view)
        def checked(*args: Any, **kwargs: Any) -> Any:
            return view(*args, form=read_form(model), **kwargs)

        return cast("View", checked)

    return decorate


def read_form(model: type[BaseModel]) -> Any:
    """The request's form. Raises RequestError."""
    try:
        return model.model_validate({name: value for name, value in request.form.items() if name != "csrf_token"})
    except ValidationError as error:
        raise refused(error, known=names_of(model)) from None


def load_form() -> None:
    """Read the body of a form, which is never large. Raises RequestError."""
    limit_body(MAX_FORM)
    raw_body()
    ensure_named_parts()


def done(endpoint: str, notice: str = "", *, n: int | None = None, **values: Any) -> ResponseReturnValue:
    """Lead on to a page of the console after something was done; the page says so with the text of `notice`."""
    said: dict[str, Any] = {"done": notice} | ({} if n is None else {"n": n}) if notice else {}
    return redirect(url_for(f"console.{endpoint}", **values, **said), 303)


def notice() -> str:
    """What the page before did: a text of ours, with nothing but a number of what the address holds."""
    key, number = request.args.get("done", ""), request.args.get("n", "")
    if not key.startswith("done.") or key not in catalogue(language()):
        return ""
    is_count = number.isascii() and number.isdigit() and len(number) < 12  # noqa: PLR2004 (short)
    return t(key, n=num(int(number)) if is_count else "0")


def csrf() -> Markup:
    """The field that shows that a form is ours."""
    login: Login | None = g.get("login")
    return Markup('<input type="hidden" name="csrf_token" value="{}">').format(login.csrf_token if login else "")


def at(moment: datetime | float | None) -> Markup:
    """A moment (milliseconds since 1970, or aware) in UTC; the browser shows it in its own zone."""
    if moment is None:
        return Markup.escape(NOTHING)
    when = moment if isinstance(moment, datetime) else datetime.fromtimestamp(moment / 1000, UTC)
    when = when.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        when.isoformat(timespec="milliseconds"), when.strftime("%Y-%m-%d %H:%M:%S")
    )


def span(seconds: float | None) -> str:
    """How long, in the largest unit that says something."""
    if seconds is None:
        return NOTHING
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{num(seconds / size, 0 if seconds >= 10 * size else 1)} {unit}"
    return f"{num(seconds)} s"
