"""`unoapi dead`: list, show, replay and purge dead letters."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from unoapi.cli.parts import pass_uno
from unoapi.cli.screen import screen
from unoapi.errors import DeadLettersBusy
from unoapi.models.dead_letters import LOST_CAUSES, DeadLetterQuery
from unoapi.services.dead_letters import is_left_alone

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.bootstrap import Uno
    from unoapi.models.dead_letters import DeadLetter, DeadLetterWalk

console = screen()
EX_TEMPFAIL = 75
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Age(click.ParamType[timedelta]):
    """A time span such as 90s, 30m, 12h or 7d."""

    name = "age"

    def convert(self, value: Any, param: Any, ctx: Any) -> timedelta:
        """Read a number and its unit."""
        match = re.fullmatch(r"(\d{1,9})([smhd])", str(value))
        if match is None:
            self.fail(f"{value!r} is not a time span such as 90s, 30m, 12h or 7d", param, ctx)
        return timedelta(**{UNITS[match[2]]: int(match[1])})


def filters(command: Callable[..., None]) -> Callable[..., None]:
    """The options that select dead letters."""
    for option in reversed(
        [
            click.option("--queue", default="", help="Only dead letters of this queue."),
            click.option("--phone", default="", help="Only dead letters of this number."),
            click.option("--webhook", default="", help="Only dead letters of this webhook."),
            click.option("--reason", default="", help="Only dead letters with this reason."),
            click.option("--older-than", type=Age(), default=None, help="Only those older than this (90s, 30m, 7d)."),
        ]
    ):
        command = option(command)
    return command


class _DeadCommands(click.Group):
    """Ends with EX_TEMPFAIL when another process works at the dead queue."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DeadLettersBusy as error:
            click.echo(f"Busy: {error}", err=True)
            sys.exit(EX_TEMPFAIL)


@click.group(cls=_DeadCommands)
def dead() -> None:
    """Jobs that were given up: they stay until they are replayed or purged."""


@dead.command("list")
@filters
@click.option("--json", "json_lines", is_flag=True, help="One object a line.")
@pass_uno
def list_dead_letters(uno: Uno, json_lines: bool, **selection: Any) -> None:
    """List dead letters. Nothing is changed."""
    count = 0
    reasons: Counter[str] = Counter()
    page: list[DeadLetter] = []
    for result in uno.dead_letters.list(DeadLetterQuery(**selection), by="dead list"):
        count += 1
        reasons[result.dead_letter.reason] += 1
        if json_lines:
            click.echo(json.dumps(result.dead_letter.public_fields()))
            continue
        page.append(result.dead_letter)
        if len(page) == 100:  # noqa: PLR2004 (a screen or two)
            _print_page(page, first=count == len(page))
            page = []
    if page:
        _print_page(page, first=count == len(page))
    if not json_lines:
        summary = ", ".join(f"{number} {reason}" for reason, number in reasons.most_common())
        console.print(f"{count} dead letter{'' if count == 1 else 's'}{': ' + summary if summary else ''}")


def _shown(text: str) -> Text:
    """What others wrote, as it is: no markup, and nothing that a terminal obeys."""
    return Text("".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text))


def _print_page(page: list[DeadLetter], *, first: bool) -> None:
    table = Table(show_header=first, box=None, pad_edge=False)
    for name, width in (("id", 36), ("died (UTC)", 14), ("number", 15), ("webhook", 12), ("reason", 16), ("tries", 5)):
        table.add_column(name, min_width=width, no_wrap=True)
    table.add_column("queue, message, error", overflow="fold")
    for dead_letter in page:
        cells = (
            dead_letter.id,
            f"{dead_letter.died_at:%m-%d %H:%M:%S}" if dead_letter.died_at else "",
            dead_letter.phone,
            dead_letter.webhook,
            dead_letter.reason,
            str(len(dead_letter.history.attempts)),
            f"{dead_letter.queue} {dead_letter.message_id} {dead_letter.error}",
        )
        table.add_row(*(_shown(cell) for cell in cells))
    console.print(table)


@dead.command()
@click.argument("letter_id")
@pass_uno
def show(uno: Uno, letter_id: str) -> None:
    """Show one dead letter with all its attempts."""
    dead_letters = uno.dead_letters.show(letter_id, by="dead show")
    if not dead_letters:
        click.echo(f"There is no dead letter {letter_id}.", err=True)
        sys.exit(1)
    for dead_letter in dead_letters:
        console.print(_shown(dead_letter.id), f" generation {dead_letter.history.replay_count}", style="bold")
        for name, value in (
            ("queue", dead_letter.queue),
            ("task", dead_letter.task),
            ("number", dead_letter.phone),
            ("webhook", dead_letter.webhook),
            ("message", dead_letter.message_id),
            ("reason", dead_letter.reason),
            ("error", dead_letter.error),
            ("died", dead_letter.died_at.isoformat() if dead_letter.died_at else ""),
            ("size", f"{len(dead_letter.body)} bytes"),
        ):
            console.print(_shown(f"  {name:8} {value}"), highlight=False)
        table = Table("at (UTC)", "status", "ms", "error", title="Attempts", title_justify="left")
        for attempt in dead_letter.history.attempts:
            status = "" if attempt.status is None else str(attempt.status)
            error = _shown(attempt.error)
            table.add_row(attempt.at.isoformat(timespec="milliseconds"), status, str(attempt.duration_ms), error)
        console.print(table)
        if dead_letter.traceback:
            console.print(_shown(dead_letter.traceback), highlight=False)


@dead.command()
@click.argument("letter_id", default="")
@filters
@click.option("--rate", type=click.FloatRange(min=0.01), default=None, help="At most so many dead letters per second.")
@click.option("--dry-run", is_flag=True, help="Only say what would be put back.")
@click.option("--force", is_flag=True, help="Also sends whose outcome is unknown: the contact may get them twice.")
@click.option("--all", "--yes", "everything", is_flag=True, help="Do not ask before all dead letters are put back.")
@pass_uno
def replay(  # noqa: PLR0913, PLR0917 (click's options)
    uno: Uno, letter_id: str, rate: float | None, dry_run: bool, force: bool, everything: bool, **selection: Any
) -> None:
    """Put dead letters back: the one with this id, or all that the options choose.

    Lost causes (webhook_removed, gone, dropped, blocked, callback_failed) stay, unless --reason or the id names them.
    """
    query = DeadLetterQuery(id=letter_id, **selection)
    dead_letters = uno.dead_letters
    if dry_run:
        outcomes = Counter(
            "left_alone" if is_left_alone(result.dead_letter, query) else "would be replayed"
            for result in dead_letters.list(query, by="dead replay")
        )
    else:
        total = dead_letters.count()
        if query.empty and not everything:
            click.confirm(f"Put ALL dead letters back, {total} of them? (--all does not ask)", abort=True)
        outcomes = _count(dead_letters.replay(query, by="dead replay", force=force, rate=rate), total=total)
    if outcomes["needs_force"]:
        click.echo(
            f"{outcomes['needs_force']} sends with unknown outcome stay: they may have reached the contact. "
            "Use --force to send them again.",
            err=True,
        )
    if outcomes["left_alone"]:
        click.echo(
            f"{outcomes['left_alone']} lost causes stay ({', '.join(sorted(LOST_CAUSES))}): they would die again. "
            "Use --reason to put them back all the same, or purge them.",
            err=True,
        )
    _print_outcomes(outcomes, letter_id)


@dead.command()
@click.argument("letter_id", default="")
@filters
@click.option("--all", "--yes", "everything", is_flag=True, help="Do not ask before all dead letters are thrown away.")
@pass_uno
def purge(uno: Uno, letter_id: str, everything: bool, **selection: Any) -> None:
    """Throw dead letters away for good: the one with this id, or all that the options choose."""
    query = DeadLetterQuery(id=letter_id, **selection)
    if query.empty and not everything:
        click.confirm("Throw ALL dead letters away? They cannot be brought back. (--all does not ask)", abort=True)
    dead_letters = uno.dead_letters
    _print_outcomes(_count(dead_letters.purge(query, by="dead purge"), total=dead_letters.count()), letter_id)


def _count(results: DeadLetterWalk, *, total: int) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    bar_console = Console(stderr=True)
    with Progress(console=bar_console, transient=True, disable=not bar_console.is_terminal) as progress:
        bar = progress.add_task("dead letters", total=total)
        for result in results:
            outcomes[result.outcome] += 1
            progress.advance(bar)
    return outcomes


def _print_outcomes(outcomes: Counter[str], letter_id: str) -> None:
    if letter_id and not outcomes:
        click.echo(f"There is no dead letter {letter_id}.", err=True)
        sys.exit(1)
    summary = ", ".join(f"{number} {outcome.replace('_', ' ')}" for outcome, number in sorted(outcomes.items()))
    click.echo(summary or "No dead letter matches.")
