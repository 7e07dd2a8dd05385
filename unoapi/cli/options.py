"""What all commands have in common: time spans, JSON, questions, and names that a shell completes."""

from __future__ import annotations

import json
import re
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from unoapi.bootstrap import unoapi
from unoapi.errors import UnoError
from unoapi.models.message_log import UNITS

if TYPE_CHECKING:
    from collections.abc import Callable

    from click import Context, Parameter

    from unoapi.bootstrap import Uno

FORM = "a time span such as 90s, 30m, 12h or 7d"

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
yes = click.option("--yes", is_flag=True, help="Do not ask.")


class TimeSpan(click.ParamType[timedelta]):
    """A time span such as 90s, 30m, 12h or 7d; a mere number is seconds."""

    name = "time span"

    def __init__(self, *, least: timedelta = timedelta(0), most: timedelta = timedelta.max) -> None:
        self._least, self._most = least, most

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> timedelta:
        """Read a number and its unit."""
        if isinstance(value, timedelta):
            return value
        match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)([smhd]?)", str(value))
        if match is None:
            self.fail(f"{value!r} is not {FORM}", param, ctx)
        span = timedelta(**{UNITS[match[2] or "s"]: float(match[1])})
        if not self._least <= span <= self._most:
            self.fail(f"{value!r} must be from {written(self._least)} to {written(self._most)}", param, ctx)
        return span


class Phone(click.ParamType[str]):
    """A number of this installation, as people write it; digits remain."""

    name = "number"

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> str:
        """Leave out what stands between the digits."""
        digits = re.sub(r"[+() .-]", "", str(value))
        if str(value) and not re.fullmatch(r"[0-9]{1,20}", digits):
            self.fail(f"{value!r} is no number: digits only, such as 5511999990000", param, ctx)
        return digits


def written(span: timedelta) -> str:
    """A time span as it is typed, in its largest whole unit."""
    seconds = round(span.total_seconds())
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def is_asked() -> bool:
    """Whether somebody is there to answer a question: a script that went without one before goes on."""
    return sys.stdin.isatty()


def print_json(document: Any) -> None:
    """One line of JSON."""
    click.echo(json.dumps(document, ensure_ascii=False))


def phone_argument(command: Callable[..., None]) -> Callable[..., None]:
    """The number, which a shell completes."""
    return click.argument("phone", type=Phone(), shell_complete=complete_phone)(command)


def webhook_arguments(command: Callable[..., None]) -> Callable[..., None]:
    """A number and one of its webhooks, which a shell completes."""
    return phone_argument(click.argument("webhook_id", shell_complete=complete_webhook)(command))


def complete_phone(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001 (click's)
    """The stored numbers that begin so; none when they cannot be read."""
    return _completed(lambda uno: uno.sessions.phones(), incomplete)


def complete_webhook(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001 (click's)
    """The webhooks of the number before, that begin so."""
    phone = str(ctx.params.get("phone") or "")
    return _completed(lambda uno: [webhook.id for webhook in uno.sessions.find(phone).webhooks], incomplete)


def _completed(names: Callable[[Uno], list[str]], incomplete: str) -> list[CompletionItem]:
    try:
        return [CompletionItem(name) for name in names(unoapi()) if name.startswith(incomplete)][:100]
    except UnoError:
        return []
