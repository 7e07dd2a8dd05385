"""`unoapi session`: list, show and remove the configured numbers."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from unoapi.cli.options import Phone, as_json, complete_phone, is_asked, phone_argument, print_json, yes
from unoapi.cli.parts import pass_uno
from unoapi.cli.screen import plain_table, screen, shown
from unoapi.models.session import without_secrets
from unoapi.services import session_backup, sessions

if TYPE_CHECKING:
    from unoapi.bootstrap import Uno


@click.group()
def session() -> None:
    """The configured numbers."""


@session.command("list")
@as_json
@pass_uno
def list_sessions(uno: Uno, as_json: bool) -> None:
    """Show all stored numbers with their state and their webhooks."""
    phones = uno.sessions.phones()
    known = {one.phone: one for one in uno.directory.all()}
    statuses = uno.directory.statuses(phones)
    table = plain_table("number", "label", "provider", "status", "webhooks")
    for phone in phones:
        stored = known.get(phone)
        line = {
            "phone": phone,
            "label": stored.label if stored else "",
            "provider": stored.provider if stored else "",
            "status": sessions.status_of(stored, statuses.get(phone)) if stored else "unreadable",
            "webhooks": [webhook.id for webhook in stored.webhooks] if stored else [],
        }
        if as_json:
            print_json(line)
        names = (phone, line["label"], line["provider"], line["status"], ", ".join(line["webhooks"]))
        table.add_row(*(shown(f"{name}") for name in names))
    if not as_json:
        screen().print(table if table.rows else "No number is stored.")


@session.command()
@phone_argument
@as_json
@pass_uno
def show(uno: Uno, phone: str, as_json: bool) -> None:
    """Show the configuration of a number, without its secrets."""
    config = uno.sessions.config(phone)
    if config is None:
        click.echo(f"The number {phone} is not stored; the environment's settings serve it.", err=True)
        sys.exit(1)
    click.echo(json.dumps(without_secrets(config), indent=None if as_json else 2, ensure_ascii=False))


@session.command()
@phone_argument
@yes
@pass_uno
def remove(uno: Uno, phone: str, yes: bool) -> None:
    """Remove a number. Its waiting deliveries become dead letters."""
    if not yes and is_asked() and uno.sessions.config(phone) is not None:
        click.confirm(f"Remove {phone}? Its configuration is gone, and what waits for it becomes dead", abort=True)
    removed = sessions.remove(phone, sessions=uno.sessions, max_age_s=uno.settings.unoapi_message_max_age)
    click.echo(f"{phone} removed." if removed else f"{phone} was not stored.")


@session.command()
@yes
@pass_uno
def confirm(uno: Uno, yes: bool) -> None:
    """Say that the numbers stored now are all there are.

    After Redis lost its data, and what could be brought back is there.

    Events of other numbers then go to the environment's webhook again instead of waiting.
    """
    if not yes and is_asked():
        stored = len(uno.sessions.phones())
        click.confirm(f"Are the {stored} numbers that are stored now all there are?", abort=True)
    uno.sessions.confirm()
    click.echo("Confirmed.")


@session.command("export")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.argument("phones", type=Phone(), nargs=-1, shell_complete=complete_phone)
@pass_uno
def export_sessions(uno: Uno, file: Path, phones: tuple[str, ...]) -> None:
    """Write all numbers, or these, to a new file; - prints them.

    With their tokens and secrets, so only its owner may read it. `unoapi session import` puts them back.
    """
    backup = session_backup.save(phones or uno.sessions.phones(), sessions=uno.sessions, templates=uno.templates)
    text = backup.model_dump_json(indent=2)
    try:
        if f"{file}" == "-":
            click.echo(text)
        else:
            _write_new(file, text)
    except FileExistsError:
        raise click.UsageError(f"{file} is there already: name a new file") from None
    except OSError as error:
        raise click.ClickException(
            f"{file} cannot be written: {error.strerror or error}; - prints it instead: "
            "unoapi session export - > sessions.json"
        ) from None
    missing = [phone for phone in phones if phone not in backup.sessions]
    click.echo(f"{len(backup.sessions)} numbers written to {file}, with their secrets.", err=f"{file}" == "-")
    if missing:
        click.echo(f"Not stored here: {', '.join(missing)}.", err=True)
        sys.exit(1)


def _write_new(file: Path, text: str) -> None:
    """Write a file that only its owner may read. Raises OSError."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as written:
        written.write(text)


@session.command("import")
@click.argument("file", type=click.File(encoding="utf-8"))
@click.option("--overwrite", is_flag=True, help="Also those that are stored here: the file's configuration wins.")
@as_json
@pass_uno
def import_sessions(uno: Uno, file: TextIO, overwrite: bool, as_json: bool) -> None:
    """Store the numbers of a file of `session export`.

    Afterwards, when these are all there are: unoapi session confirm
    """
    backup = session_backup.read(file.read())
    outcomes: Counter[str] = Counter()
    for phone, outcome, why in session_backup.restore(
        backup, sessions=uno.sessions, templates=uno.templates, overwrite=overwrite
    ):
        outcomes[outcome] += 1
        if why:
            click.echo(f"{phone}: {why}", err=True)
    if as_json:
        print_json({name: outcomes[name] for name in ("stored", "there", "refused")})
    else:
        there = f", {outcomes['there']} were here already (--overwrite replaces them)" if outcomes["there"] else ""
        refused = f", {outcomes['refused']} are not valid" if outcomes["refused"] else ""
        click.echo(f"{outcomes['stored']} numbers stored{there}{refused}.")
    sys.exit(1 if outcomes["refused"] else 0)
