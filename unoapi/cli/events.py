"""`unoapi events`: deliver events of the past to one webhook again."""

from __future__ import annotations

import re
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import Progress

from unoapi.cli.options import Phone, TimeSpan, as_json, complete_phone, print_json
from unoapi.cli.parts import pass_uno
from unoapi.models.endpoints import Endpoint
from unoapi.models.jobs import now_ms
from unoapi.models.replays import DEFAULT_RATE, MAX_RATE
from unoapi.services import replaying
from unoapi.services.endpoint_test import find_webhook

if TYPE_CHECKING:
    from collections.abc import Callable

    from click import Context, Parameter

    from unoapi.bootstrap import Uno
    from unoapi.models.replays import Replay

LOOK_S = 0.5


class Moment(click.ParamType[datetime]):
    """A time: how long ago (90s, 30m, 12h, 7d), or a date with or without a time, in UTC where it names no zone."""

    name = "moment"

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> datetime:
        """Read a time span before now, or ISO 8601."""
        if isinstance(value, datetime):
            return value
        try:
            if re.fullmatch(r"[\d.]+[smhd]|\d{1,7}", str(value)):  # eight digits are a day
                return datetime.now(UTC) - TimeSpan().convert(value, param, ctx)
            moment = datetime.fromisoformat(str(value))
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither a time span such as 12h or 3d nor a date such as 2026-01-31T08:00")
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def endpoint_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that name a webhook."""
    phone = click.option("--phone", type=Phone(), required=True, help="The number.", shell_complete=complete_phone)
    webhook = click.option("--webhook", required=True, help="One of its webhooks.")
    return phone(webhook(command))


@click.group()
def events() -> None:
    """Events of the last days: deliver them again."""


@events.command()
@endpoint_options
@click.option("--since", type=Moment(), required=True, help="From when on: 12h, 3d, 2026-01-31T08:00 (UTC).")
@click.option("--until", type=Moment(), default="0s", help="Until when; without it until now.")
@click.option("--only-missing", is_flag=True, help="Only what this webhook has not got.")
@click.option(
    "--rate", type=click.IntRange(1, MAX_RATE), default=DEFAULT_RATE, show_default=True, help="Events per second."
)
@click.option("--detach", is_flag=True, help="Do not wait for the end.")
@as_json
@pass_uno
def replay(  # noqa: PLR0913, PLR0917 (click's options)
    uno: Uno, phone: str, webhook: str, since: datetime, until: datetime, only_missing: bool, rate: int, detach: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Deliver the events of a time to one webhook again, in their order.

    Example: unoapi events replay --phone 5511999990000 --webhook crm --since 1d --only-missing

    The workers do it: it goes on when this command ends. Its requests have the header `webhook-replay: true` and the
    same `webhook-id` as before.
    """
    find_webhook(uno.sessions.find(phone), webhook)
    begun, oldest_ms = replaying.begin(
        phone,
        webhook,
        since_ms=_ms(since),
        until_ms=_ms(until),
        only_missing=only_missing,
        rate=rate,
        sessions=uno.sessions,
        events=uno.events,
        replays=uno.replays,
        publisher=uno.publisher,
    )
    if oldest_ms is not None and oldest_ms > _ms(since):
        click.echo(
            f"Events are there from {_written(oldest_ms)} on, not from {_written(max(0, _ms(since)))} on.", err=True
        )
    last = begun if detach or begun.state != "running" else _follow(uno, begun)
    _print(last, as_json=as_json)
    if last.state not in {"done", "running"}:
        sys.exit(1)


@events.command()
@endpoint_options
@as_json
@pass_uno
def show(uno: Uno, phone: str, webhook: str, as_json: bool) -> None:
    """Show how far the last replay to a webhook is."""
    known = uno.replays.find(Endpoint(phone, webhook))
    if known is None:
        click.echo("There was no replay to this webhook in the last week.", err=True)
        sys.exit(1)
    _print(known, as_json=as_json)


@events.command()
@endpoint_options
@as_json
@pass_uno
def cancel(uno: Uno, phone: str, webhook: str, as_json: bool) -> None:
    """End a replay; what it has delivered stays delivered."""
    cancelled = replaying.cancel(Endpoint(phone, webhook), uno.replays)
    if cancelled is None:
        click.echo("No replay to this webhook goes on.", err=True)
        sys.exit(1)
    _print(cancelled, as_json=as_json)


def _follow(uno: Uno, begun: Replay) -> Replay:
    """The replay at its end. Ctrl-C ends the waiting, not the replay."""
    console = Console(stderr=True)
    last = begun
    try:
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
            bar = bars.add_task("events", total=1.0)
            while last.state == "running":
                time.sleep(LOOK_S)
                known = uno.replays.find(begun.endpoint)
                if known is None or known.id != begun.id:
                    break
                last = known
                bars.update(bar, completed=last.progress.share, description=last.note or "events")
    except KeyboardInterrupt:
        names = f"--phone {begun.phone} --webhook {begun.webhook_id}"
        click.echo(f"It goes on. See it: unoapi events show {names}. End it: unoapi events cancel {names}", err=True)
    return last


def _print(replay: Replay, *, as_json: bool) -> None:
    if as_json:
        print_json(replay.public_fields())
        return
    progress = replay.progress
    counts = f"{progress.delivered} delivered, {progress.skipped} skipped, {progress.retrying} to be tried again"
    click.echo(f"{replay.state}: {counts} ({progress.share:.0%} read){': ' + replay.note if replay.note else ''}")
    if replay.state == "running" and now_ms() - replay.updated_ms > 60_000:  # noqa: PLR2004 (a minute)
        click.echo("It has not moved for a minute: does a worker run?", err=True)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _written(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
