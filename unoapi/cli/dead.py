"""`unoapi dead`: look at dead letters, put them back, throw them away."""

from __future__ import annotations

import re
import sys
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from unoapi.bootstrap import BUSY_KEY, unoapi
from unoapi.broker.dead_letter_queue import DeadLetterQuery
from unoapi.broker.dead_letters import as_json
from unoapi.cli.screen import screen
from unoapi.errors import Busy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unoapi.broker.dead_letter_queue import DeadLetterResult
    from unoapi.broker.dead_letters import DeadLetter

console = screen()
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Age(click.ParamType[timedelta]):
    """A time span such as 90s, 30m, 12h or 7d."""

    name = "age"

    def convert(self, value: Any, param: Any, ctx: Any) -> timedelta:
        """Read it."""
        match = re.fullmatch(r"(\d{1,9})([smhd])", str(value))
        if match is None:
            self.fail(f"{value!r} is not a time span such as 90s, 30m, 12h or 7d", param, ctx)
        return timedelta(**{UNITS[match[2]]: int(match[1])})


def filters(command: Callable[..., None]) -> Callable[..., None]:
    """The options that choose letters."""
    for option in reversed(
        [
            click.option("--queue", default="", help="Only letters of this queue."),
            click.option("--phone", default="", help="Only letters of this number."),
            click.option("--webhook", default="", help="Only letters of this webhook."),
            click.option("--reason", default="", help="Only letters with this reason."),
            click.option("--older-than", type=Age(), default=None, help="Only letters older than this (90s, 30m, 7d)."),
        ]
    ):
        command = option(command)
    return command


def _walk(visits: Iterator[DeadLetterResult]) -> Iterator[DeadLetterResult]:
    """The visits; when another process is busy, say who."""
    try:
        yield from visits
    except Busy:
        click.echo(f"Busy: {unoapi().busy_with()} is at the dead queue. Try again when it is done.", err=True)
        sys.exit(75)
    else:
        unoapi().store.post(("DEL", BUSY_KEY))


@click.group()
def dead() -> None:
    """Letters that were given up, and kept."""


@dead.command("list")
@filters
@click.option("--json", "json_lines", is_flag=True, help="One object a line.")
def list_letters(json_lines: bool, **chosen: Any) -> None:
    """Show the letters. Nothing is changed."""
    count = 0
    reasons: Counter[str] = Counter()
    page: list[DeadLetter] = []
    for visit in _walk(unoapi().dead_queue("dead list").look(DeadLetterQuery(**chosen))):
        count += 1
        reasons[visit.letter.reason] += 1
        if json_lines:
            click.echo(as_json(visit.letter))
            continue
        page.append(visit.letter)
        if len(page) == 100:  # noqa: PLR2004 (a screen or two)
            _print_page(page, first=count == len(page))
            page = []
    if page:
        _print_page(page, first=count == len(page))
    if not json_lines:
        summary = ", ".join(f"{number} {reason}" for reason, number in reasons.most_common())
        console.print(f"{count} dead letter{'' if count == 1 else 's'}{': ' + summary if summary else ''}")


def _print_page(page: list[DeadLetter], *, first: bool) -> None:
    table = Table(show_header=first, box=None, pad_edge=False)
    for name, width in (("id", 36), ("died (UTC)", 14), ("number", 15), ("webhook", 12), ("reason", 16), ("tries", 5)):
        table.add_column(name, min_width=width, no_wrap=True)
    table.add_column("queue, message, error", overflow="fold")
    for letter in page:
        table.add_row(
            letter.id,
            f"{letter.died_at:%m-%d %H:%M:%S}" if letter.died_at else "",
            letter.phone,
            letter.webhook,
            letter.reason,
            str(len(letter.history.attempts)),
            f"{letter.queue} {letter.message_id} {letter.error}",
        )
    console.print(table)


@dead.command()
@click.argument("letter_id")
def show(letter_id: str) -> None:
    """Show one letter with all its attempts."""
    found = [visit.letter for visit in _walk(unoapi().dead_queue("dead show").look(DeadLetterQuery(id=letter_id)))]
    if not found:
        click.echo(f"There is no dead letter {letter_id}.", err=True)
        sys.exit(1)
    for letter in found:
        console.print(f"[bold]{letter.id}[/bold]  generation {letter.history.replay_count}")
        for name, value in (
            ("queue", letter.queue),
            ("task", letter.task),
            ("number", letter.phone),
            ("webhook", letter.webhook),
            ("message", letter.message_id),
            ("reason", letter.reason),
            ("error", letter.error),
            ("died", letter.died_at.isoformat() if letter.died_at else ""),
            ("size", f"{len(letter.body)} bytes"),
        ):
            console.print(f"  {name:8} {value}", highlight=False, markup=False)
        table = Table("at (UTC)", "status", "ms", "error", title="Attempts", title_justify="left")
        for attempt in letter.history.attempts:
            status = "" if attempt.status is None else str(attempt.status)
            table.add_row(
                attempt.at.isoformat(timespec="milliseconds"), status, str(attempt.duration_ms), attempt.error
            )
        console.print(table)
        if letter.traceback:
            console.print(letter.traceback, markup=False, highlight=False)


@dead.command()
@click.argument("letter_id", default="")
@filters
@click.option("--rate", type=click.FloatRange(min=0.01), default=None, help="At most so many letters per second.")
@click.option("--dry-run", is_flag=True, help="Only say what would be put back.")
@click.option("--force", is_flag=True, help="Also sends whose outcome is unknown: the contact may get them twice.")
def replay(letter_id: str, rate: float | None, dry_run: bool, force: bool, **chosen: Any) -> None:
    """Put letters back: the one with this id, or all that the options choose."""
    wanted = DeadLetterQuery(id=letter_id, **chosen)
    queue = unoapi().dead_queue("dead replay")
    if dry_run:
        outcomes = Counter("would be replayed" for _ in _walk(queue.look(wanted)))
    else:
        visits = unoapi().replay(queue, wanted, force=force, rate=rate)
        outcomes = _count(visits, total=queue.count())
    if outcomes["needs_force"]:
        click.echo(
            f"{outcomes['needs_force']} sends with unknown outcome stay: they may have reached the contact. "
            "Use --force to send them again.",
            err=True,
        )
    _say(outcomes, letter_id)


@dead.command()
@click.argument("letter_id", default="")
@filters
@click.option("--yes", is_flag=True, help="Do not ask before all letters are thrown away.")
def purge(letter_id: str, yes: bool, **chosen: Any) -> None:
    """Throw letters away for good: the one with this id, or all that the options choose."""
    wanted = DeadLetterQuery(id=letter_id, **chosen)
    if wanted.empty and not yes:
        click.confirm("Throw ALL dead letters away? They cannot be brought back.", abort=True)
    queue = unoapi().dead_queue("dead purge")
    _say(_count(queue.purge(wanted), total=queue.count()), letter_id)


def _count(visits: Iterator[DeadLetterResult], *, total: int) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    bar_console = Console(stderr=True)
    with Progress(console=bar_console, transient=True, disable=not bar_console.is_terminal) as progress:
        bar = progress.add_task("letters", total=total)
        for visit in _walk(visits):
            outcomes[visit.outcome] += 1
            progress.advance(bar)
    return outcomes


def _say(outcomes: Counter[str], letter_id: str) -> None:
    if letter_id and not outcomes:
        click.echo(f"There is no dead letter {letter_id}.", err=True)
        sys.exit(1)
    said = ", ".join(f"{number} {outcome.replace('_', ' ')}" for outcome, number in sorted(outcomes.items()))
    click.echo(said or "No letter is meant.")
