"""`unoapi dead`: list, show, replay and purge dead letters."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from unoapi.cli.options import Phone, TimeSpan, as_json, complete_phone, print_json
from unoapi.cli.parts import pass_uno
from unoapi.cli.screen import is_wide, plain_table, screen, shown
from unoapi.errors import DeadLettersBusy, StoreUnavailable
from unoapi.errors.validation import did_you_mean
from unoapi.models.dead_letters import LOST_CAUSES, Bounds, DeadLetterQuery
from unoapi.services.dead_letters import foreseen, known_reasons, misspelt_reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from click import Context, Parameter

    from unoapi.bootstrap import Uno
    from unoapi.models.dead_letters import DeadLetter, DeadLetterWalk

EX_TEMPFAIL = 75
PAGE = 100
"""Dead letters: a screen or two."""


class Reason(click.ParamType[str]):
    """Why a job was given up."""

    name = "reason"

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> str:
        """Refuse a slip, for which nothing would be found."""
        if meant := misspelt_reason(str(value)):
            self.fail(f"no dead letter has the reason {value!r}; did you mean {meant}?", param, ctx)
        return str(value)

    def shell_complete(self, ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """The reasons that begin so."""
        return [CompletionItem(reason) for reason in known_reasons() if reason.startswith(incomplete)]


def filters(command: Callable[..., None]) -> Callable[..., None]:
    """The options that select dead letters."""
    for option in reversed(
        [
            click.option("--queue", default="", help="Only dead letters of this queue."),
            click.option(
                "--phone",
                type=Phone(),
                default="",
                shell_complete=complete_phone,
                help="Only dead letters of this number.",
            ),
            click.option("--webhook", default="", help="Only dead letters of this webhook."),
            click.option("--reason", type=Reason(), default="", help="Only dead letters with this reason."),
            click.option(
                "--older-than", type=TimeSpan(), default=None, help="Only those older than this (90s, 30m, 7d)."
            ),
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
    """Jobs that were given up: list, replay, purge."""


@dead.command("list")
@filters
@click.option("--limit", type=click.IntRange(min=1), default=None, help="At most so many.")
@click.option("--summary", is_flag=True, help="Count them by reason, number and webhook.")
@as_json
@pass_uno
def list_dead_letters(uno: Uno, limit: int | None, summary: bool, as_json: bool, **selection: Any) -> None:
    """List dead letters. Nothing is changed.

    Example: unoapi dead list --reason refused --older-than 1h --summary
    """
    count = 0
    reasons: Counter[str] = Counter()
    groups: dict[tuple[str, str, str], _DeadLetterGroup] = {}
    page: list[DeadLetter] = []
    for result in uno.dead_letters.list(DeadLetterQuery(**selection), by="dead list", bounds=Bounds(limit)):
        dead_letter = result.dead_letter
        count += 1
        reasons[dead_letter.reason] += 1
        if summary:
            key = (dead_letter.reason, dead_letter.phone, dead_letter.webhook)
            groups.setdefault(key, _DeadLetterGroup()).add(dead_letter)
        elif as_json:
            print_json(dead_letter.public_fields())
        else:
            page.append(dead_letter)
            if len(page) == PAGE:
                _print_page(page, first=count == len(page))
                page = []
    if summary:
        _print_summary(groups, as_json=as_json)
    elif page:
        _print_page(page, first=count == len(page))
    if not as_json:
        named = ", ".join(f"{number} {reason}" for reason, number in reasons.most_common())
        for unknown in [] if count else _unknown(uno, selection["queue"], selection["phone"]):
            click.echo(unknown, err=True)
        click.echo(f"{count} dead letter{'' if count == 1 else 's'}{': ' + named if named else ''}")


def _unknown(uno: Uno, queue: str, phone: str) -> Iterator[str]:
    """A sentence for each name that was asked for and that nothing here has."""
    names = [known.name for known in uno.topology.queues]
    if queue and queue not in names:
        full = f"{uno.settings.unoapi_queue_name}.{queue}"
        meant = f"; did you mean {full}?" if full in names else did_you_mean(queue, names)
        yield f"There is no queue {queue!r}{meant}"
    with suppress(StoreUnavailable):
        if phone and phone not in uno.sessions.phones():
            yield f"The number {phone} is not stored here: `unoapi session list` shows those that are."


@dataclass
class _DeadLetterGroup:
    count: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None
    error: str = ""

    def add(self, dead_letter: DeadLetter) -> None:
        self.count += 1
        self.error = dead_letter.error
        if (died := dead_letter.died_at) is not None:
            self.oldest = min(self.oldest or died, died)
            self.newest = max(self.newest or died, died)


def _print_summary(groups: dict[tuple[str, str, str], _DeadLetterGroup], *, as_json: bool) -> None:
    table = plain_table("count", "reason", "number", "webhook", "oldest (UTC)", "newest", "last error")
    for (reason, phone, webhook), group in sorted(groups.items(), key=lambda item: -item[1].count):
        if as_json:
            dates = {name: at and at.isoformat() for name, at in (("oldest", group.oldest), ("newest", group.newest))}
            named = {"reason": reason, "phone": phone, "webhook": webhook}
            print_json({"count": group.count, **named, **dates, "error": group.error})
        cells = (f"{group.count}", reason, phone, webhook, _day(group.oldest), _day(group.newest), group.error)
        table.add_row(*(shown(cell) for cell in cells))
    if not as_json and groups:
        screen().print(table)
        click.echo("Put a group back: unoapi dead replay --reason REASON --phone NUMBER --webhook WEBHOOK")


def _day(at: datetime | None) -> str:
    return f"{at:%m-%d %H:%M:%S}" if at else ""


def _print_page(page: list[DeadLetter], *, first: bool) -> None:
    if not is_wide():
        _print_blocks(page)
        return
    table = Table(show_header=first, box=None, pad_edge=False)
    for name, width in (("id", 36), ("died (UTC)", 14), ("number", 15), ("webhook", 12), ("reason", 16), ("tries", 5)):
        table.add_column(name, min_width=width, no_wrap=True)
    table.add_column("queue, message, error", overflow="fold")
    for dead_letter in page:
        cells = (
            dead_letter.id,
            _day(dead_letter.died_at),
            dead_letter.phone,
            dead_letter.webhook,
            dead_letter.reason,
            str(len(dead_letter.history.attempts)),
            f"{dead_letter.queue} {dead_letter.message_id} {dead_letter.error}",
        )
        table.add_row(*(shown(cell) for cell in cells))
    screen().print(table)


def _print_blocks(page: list[DeadLetter]) -> None:
    """Three lines for each, where one has no room."""
    for dead_letter in page:
        tries = len(dead_letter.history.attempts)
        screen().print(shown(f"{dead_letter.id}  {_day(dead_letter.died_at)}"), style="bold")
        tried = "1 try" if tries == 1 else f"{tries} tries"
        words = (dead_letter.reason, dead_letter.phone, dead_letter.webhook, tried)
        screen().print(shown("  " + "  ".join(filter(None, words))))
        screen().print(shown(f"  {dead_letter.queue} {dead_letter.message_id} {dead_letter.error}"))


@dead.command()
@click.argument("letter_id")
@as_json
@pass_uno
def show(uno: Uno, letter_id: str, as_json: bool) -> None:
    """Show one dead letter with all its attempts."""
    console = screen()
    dead_letters = uno.dead_letters.show(letter_id, by="dead show")
    if not dead_letters:
        click.echo(f"There is no dead letter {letter_id}.", err=True)
        sys.exit(1)
    for dead_letter in dead_letters:
        if as_json:
            print_json({**dead_letter.public_fields(), "traceback": dead_letter.traceback})
            continue
        console.print(shown(dead_letter.id), f" generation {dead_letter.history.replay_count}", style="bold")
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
            console.print(shown(f"  {name:8} {value}"), highlight=False)
        table = plain_table("attempt at (UTC)", "status", "ms", "error")
        for attempt in dead_letter.history.attempts:
            status = "" if attempt.status is None else str(attempt.status)
            error = shown(attempt.error)
            table.add_row(attempt.at.isoformat(timespec="milliseconds"), status, str(attempt.duration_ms), error)
        console.print(table)
        if dead_letter.traceback:
            console.print(shown(dead_letter.traceback), highlight=False)


@dead.command()
@click.argument("letter_id", default="")
@filters
@click.option("--rate", type=click.FloatRange(min=0.01), default=None, help="At most so many dead letters per second.")
@click.option("--dry-run", is_flag=True, help="Only say what would be put back.")
@click.option("--force", is_flag=True, help="Also sends whose outcome is unknown: the contact may get them twice.")
@click.option("--all", "--yes", "everything", is_flag=True, help="Do not ask before all dead letters are put back.")
@as_json
@pass_uno
def replay(  # noqa: PLR0913, PLR0917 (click's options)
    uno: Uno, letter_id: str, rate: float | None, dry_run: bool, force: bool, everything: bool, as_json: bool,
    **selection: Any,
) -> None:  # fmt: skip
    """Put dead letters back.

    The one with this id, or all that the options choose.

    Example: unoapi dead replay --webhook crm --rate 10

    Lost causes (webhook_removed, number_removed, gone, dropped, blocked, callback_failed) stay, unless --reason or the
    id names them.
    """
    query = DeadLetterQuery(id=letter_id, **selection)
    dead_letters = uno.dead_letters
    if dry_run:
        outcomes = Counter(
            foreseen(result.dead_letter, query, force=force) for result in dead_letters.list(query, by="dead replay")
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
    _print_outcomes(outcomes, letter_id, as_json=as_json)


@dead.command()
@click.argument("letter_id", default="")
@filters
@click.option("--all", "--yes", "everything", is_flag=True, help="Do not ask before all dead letters are thrown away.")
@as_json
@pass_uno
def purge(uno: Uno, letter_id: str, everything: bool, as_json: bool, **selection: Any) -> None:
    """Throw dead letters away for good.

    The one with this id, or all that the options choose.

    Example: unoapi dead purge --reason webhook_removed --older-than 7d
    """
    query = DeadLetterQuery(id=letter_id, **selection)
    if query.empty and not everything:
        click.confirm("Throw ALL dead letters away? They cannot be brought back. (--all does not ask)", abort=True)
    dead_letters = uno.dead_letters
    outcomes = _count(dead_letters.purge(query, by="dead purge"), total=dead_letters.count())
    _print_outcomes(outcomes, letter_id, as_json=as_json)


def _count(results: DeadLetterWalk, *, total: int) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    bar_console = Console(stderr=True)
    with Progress(console=bar_console, transient=True, disable=not bar_console.is_terminal) as progress:
        bar = progress.add_task("dead letters", total=total)
        for result in results:
            outcomes[result.outcome] += 1
            progress.advance(bar)
    return outcomes


def _print_outcomes(outcomes: Counter[str], letter_id: str, *, as_json: bool) -> None:
    if letter_id and not outcomes:
        click.echo(f"There is no dead letter {letter_id}.", err=True)
        sys.exit(1)
    if as_json:
        print_json(outcomes)
        return
    summary = ", ".join(f"{number} {outcome.replace('_', ' ')}" for outcome, number in sorted(outcomes.items()))
    click.echo(summary or "No dead letter matches.")
