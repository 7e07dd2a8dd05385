"""`unoapi session`: list, show and remove the configured numbers."""

from __future__ import annotations

import json
import sys

import click

from unoapi.bootstrap import unoapi
from unoapi.models.session import without_secrets
from unoapi.services import sessions


@click.group()
def session() -> None:
    """The configured numbers."""


@session.command("list")
def list_sessions() -> None:
    """Show all stored numbers."""
    for phone in unoapi().sessions.phones():
        click.echo(phone)


@session.command()
@click.argument("phone")
def show(phone: str) -> None:
    """Show the configuration of a number, without its secrets."""
    config = unoapi().sessions.config(phone)
    if config is None:
        click.echo(f"The number {phone} is not stored; the environment's settings serve it.", err=True)
        sys.exit(1)
    click.echo(json.dumps(without_secrets(config), indent=2, ensure_ascii=False))


@session.command()
@click.argument("phone")
def remove(phone: str) -> None:
    """Remove a number on purpose. Its waiting deliveries become dead letters."""
    uno = unoapi()
    removed = sessions.remove(phone, sessions=uno.sessions, max_age_s=uno.settings.unoapi_message_max_age)
    click.echo(f"{phone} removed." if removed else f"{phone} was not stored.")


@session.command()
def confirm() -> None:
    """After Redis lost its data: say that the numbers stored now are all there are.

    Events of other numbers then go to the environment's webhook again instead of waiting.
    """
    unoapi().sessions.confirm()
    click.echo("Confirmed.")
