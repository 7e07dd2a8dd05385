"""`unoapi session`: list, show and remove the configured numbers."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from unoapi.cli.parts import pass_uno
from unoapi.models.session import without_secrets
from unoapi.services import sessions

if TYPE_CHECKING:
    from unoapi.bootstrap import Uno


@click.group()
def session() -> None:
    """The configured numbers."""


@session.command("list")
@pass_uno
def list_sessions(uno: Uno) -> None:
    """Show all stored numbers."""
    for phone in uno.sessions.phones():
        click.echo(phone)


@session.command()
@click.argument("phone")
@pass_uno
def show(uno: Uno, phone: str) -> None:
    """Show the configuration of a number, without its secrets."""
    config = uno.sessions.config(phone)
    if config is None:
        click.echo(f"The number {phone} is not stored; the environment's settings serve it.", err=True)
        sys.exit(1)
    click.echo(json.dumps(without_secrets(config), indent=2, ensure_ascii=False))


@session.command()
@click.argument("phone")
@pass_uno
def remove(uno: Uno, phone: str) -> None:
    """Remove a number on purpose. Its waiting deliveries become dead letters."""
    removed = sessions.remove(phone, sessions=uno.sessions, max_age_s=uno.settings.unoapi_message_max_age)
    click.echo(f"{phone} removed." if removed else f"{phone} was not stored.")


@session.command()
@pass_uno
def confirm(uno: Uno) -> None:
    """After Redis lost its data: say that the numbers stored now are all there are.

    Events of other numbers then go to the environment's webhook again instead of waiting.
    """
    uno.sessions.confirm()
    click.echo("Confirmed.")
