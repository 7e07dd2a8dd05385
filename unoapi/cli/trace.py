"""`unoapi trace`: follow one message, or find it among the latest by its contact, time and state."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from unoapi.cli.options import Phone, TimeSpan, as_json, complete_phone, print_json
from unoapi.cli.parts import pass_uno
from unoapi.cli.screen import plain_table, screen, shown
from unoapi.models.message_log import NOT_SEARCHABLE, STATES, MessageQuery, is_searchable
from unoapi.models.trace import shown_entry
from unoapi.services.message_search import follow, search

if TYPE_CHECKING:
    from datetime import timedelta

    from unoapi.bootstrap import Uno
    from unoapi.models.message_log import FoundMessage
    from unoapi.models.trace import TraceEntry

PAGE = 100


@click.command()
@click.argument("message_id", default="")
@click.option("--to", "--contact", "contact", default="", help="With this contact: a phone, or its last digits.")
@click.option("--phone", type=Phone(), default="", shell_complete=complete_phone, help="Of this number alone.")
@click.option("--since", type=TimeSpan(), help="Not older than 90s, 30m, 12h, 2d.")
@click.option("--state", type=click.Choice(STATES), help="How far it is.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many.")
@as_json
@pass_uno
def trace(  # noqa: PLR0913 (one for each option)
    uno: Uno,
    message_id: str,
    *,
    contact: str,
    phone: str,
    since: timedelta | None,
    state: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Follow one message, or find it without its id.

    Example: unoapi trace --to 5549988887777 --since 1h
    """
    if message_id:
        _follow(uno, message_id, phone=phone, as_json=as_json)
        return
    if not (contact or phone or since is not None or state):
        raise click.UsageError("name a message id, or find one by --to, --phone, --since or --state")
    if not is_searchable(contact):
        raise click.BadParameter(NOT_SEARCHABLE, param_hint="--to")
    query = {"contact": contact[:256], "phone": phone, "state": state or "", "limit": PAGE}
    if since is not None:
        query["since"] = f"{min(round(since.total_seconds()), 999_999_999)}s"
    found = _found(uno, MessageQuery.model_validate(query), limit)
    if not found:
        more = [*([] if phone else ["name the number by --phone"]), *([] if since is None else ["look further back"])]
        latest = "the latest (UNOAPI_MESSAGE_LOG_MAX of each number, and of all together)"
        click.echo(f"No message is found among {latest}{': ' if more else ''}{', or '.join(more)}.", err=True)
        sys.exit(1)
    _print_found(found, as_json=as_json)


def _found(uno: Uno, query: MessageQuery, limit: int) -> list[FoundMessage]:
    found: list[FoundMessage] = []
    while len(found) < limit:
        page = search(query, log=uno.message_log, traces=uno.traces)
        found += page.messages
        if not page.next:
            break
        query = query.model_copy(update={"before": page.next})
    return found[:limit]


def _print_found(found: list[FoundMessage], *, as_json: bool) -> None:
    if as_json:
        for one in found:
            print_json(one.as_json())
        return
    table = plain_table("time (UTC)", "number", "direction", "contact", "type", "state", "message id", "detail")
    for one in found:
        message = one.message
        cells = (message.phone, message.direction, message.contact, message.type, one.state, message.id, one.detail)
        table.add_row(f"{message.at:%m-%d %H:%M:%S}", *(shown(cell) for cell in cells))
    screen().print(table)


def _steps(uno: Uno, message_id: str, phone: str) -> list[TraceEntry]:
    """The steps of a message of a number, or of any: by the client's id, else by one that WhatsApp has for it."""
    found = [] if phone else uno.traces.find(message_id)
    for owner in () if found else [phone] if phone else uno.sessions.phones():
        found = found or follow(message_id, phone=owner, traces=uno.traces, ids=uno.message_ids)
    return found


def _follow(uno: Uno, message_id: str, *, phone: str, as_json: bool) -> None:
    entries = _steps(uno, message_id, phone)
    if not entries:
        click.echo(
            f"Nothing is known of {message_id}: not accepted here, or older than UNOAPI_TRACE_TTL. "
            "Given-up jobs are in `unoapi dead list`.",
            err=True,
        )
        sys.exit(1)
    if as_json:
        for entry in entries:
            click.echo(json.dumps(shown_entry(entry), ensure_ascii=False, separators=(",", ":")))
        return
    also = "" if entries[0].message_id in ("", message_id) else f" = {entries[0].message_id}"
    click.echo(f"{message_id}{also}  (number {entries[0].phone})")
    _print_steps(entries)


def _print_steps(entries: list[TraceEntry]) -> None:
    table = plain_table("time (UTC)", "step", "what", "webhook", "try", "status", "ms", "detail")
    for entry in entries:
        table.add_row(
            f"{entry.at:%m-%d %H:%M:%S}.{entry.at.microsecond // 1000:03d}",
            entry.step,
            entry.kind,
            entry.webhook,
            *("" if value is None else f"{value}" for value in (entry.attempt, entry.status, entry.duration_ms)),
            entry.detail,
        )
    screen().print(table)
