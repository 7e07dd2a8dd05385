"""`unoapi endpoint`: test, pause, resume and empty the way to a webhook."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from unoapi.cli.parts import pass_uno
from unoapi.errors import RequestError
from unoapi.models.endpoints import Endpoint
from unoapi.services.endpoint_test import find_webhook, try_endpoint

if TYPE_CHECKING:
    from unoapi.bootstrap import Uno
    from unoapi.models.session import Webhook


@click.group()
def endpoint() -> None:
    """Webhooks: test, pause, resume, drop what waits."""


@endpoint.command()
@click.argument("phone")
@click.argument("webhook_id")
@pass_uno
def test(uno: Uno, phone: str, webhook_id: str) -> None:
    """Post a test event now, and say where it broke."""
    tried = try_endpoint(_webhook(uno, phone, webhook_id), phone=phone, sender=uno.webhook_client)
    steps = ", ".join(f"{name} {ms} ms" for name, ms in tried.timings_ms.items() if ms)
    click.echo(f"{'Delivered' if tried.delivered else 'Failed'}: {tried.error or f'HTTP {tried.status}'} ({steps})")
    click.echo(tried.hint)
    if not tried.delivered:
        sys.exit(1)


@endpoint.command()
@click.argument("phone")
@click.argument("webhook_id")
@click.option("--seconds", type=click.IntRange(1, 172_800), default=3600, show_default=True, help="For how long.")
@pass_uno
def pause(uno: Uno, phone: str, webhook_id: str, seconds: int) -> None:
    """Let deliveries wait, without using up attempts."""
    _webhook(uno, phone, webhook_id)
    uno.deliveries.suspend(Endpoint(phone, webhook_id), pause_ms=seconds * 1000)
    click.echo(f"Paused for {seconds} s.")


@endpoint.command()
@click.argument("phone")
@click.argument("webhook_id")
@pass_uno
def resume(uno: Uno, phone: str, webhook_id: str) -> None:
    """End a pause; what waits notices within five minutes."""
    _webhook(uno, phone, webhook_id)
    ended = uno.deliveries.resume(Endpoint(phone, webhook_id))
    click.echo("Resumed." if ended else "It was not paused.")


@endpoint.command()
@click.argument("phone")
@click.argument("webhook_id")
@click.confirmation_option(prompt="Give up all that waits for this webhook? Replaying brings it back")
@pass_uno
def drop(uno: Uno, phone: str, webhook_id: str) -> None:
    """Give up all that waits: each delivery ends dead, reason `dropped`, when its turn comes."""
    _webhook(uno, phone, webhook_id)
    uno.deliveries.drop(Endpoint(phone, webhook_id))
    click.echo("Dropped what was accepted until now.")


def _webhook(uno: Uno, phone: str, webhook_id: str) -> Webhook:
    try:
        return find_webhook(uno.sessions.find(phone), webhook_id)
    except RequestError as error:
        click.echo(error.details, err=True)
        sys.exit(1)
