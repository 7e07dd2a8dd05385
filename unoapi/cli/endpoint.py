"""`unoapi endpoint`: test, pause, resume and empty the way to a webhook."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from unoapi.cli.options import Phone, TimeSpan, as_json, complete_phone, print_json, webhook_arguments, written
from unoapi.cli.parts import pass_uno
from unoapi.cli.screen import plain_table, screen, shown
from unoapi.models.endpoints import Endpoint
from unoapi.services.endpoint_test import ensure_stored, find_webhook, try_endpoint
from unoapi.services.endpoints import endpoint_states

if TYPE_CHECKING:
    from unoapi.bootstrap import Uno
    from unoapi.models.session import Webhook


@click.group()
def endpoint() -> None:
    """Webhooks: test, pause, resume, drop what waits."""


@endpoint.command("list")
@click.argument("phone", type=Phone(), default="", shell_complete=complete_phone)
@as_json
@pass_uno
def list_endpoints(uno: Uno, phone: str, as_json: bool) -> None:
    """Show the state of all webhooks, or of one number's."""
    table = plain_table("number", "webhook", "state", "since (UTC)", "paused for", "error")
    for number in [phone] if phone else uno.sessions.phones():
        for line in _states(uno, number):
            if as_json:
                print_json(line)
            pause = f"{line['paused_ms'] // 1000} s" if line.get("paused_ms") else ""
            since = (line.get("since") or "")[:16].replace("T", " ")
            last = _last_error(line)
            cells = (number, line["webhook"] or "", line["state"], since, pause, line["error"] or last)
            table.add_row(*(shown(f"{cell}") for cell in cells))
    if phone and not table.rows:
        ensure_stored(uno.sessions.find(phone))
    if not as_json:
        screen().print(table if table.rows else "No number has a webhook.")


@endpoint.command()
@webhook_arguments
@as_json
@pass_uno
def test(uno: Uno, phone: str, webhook_id: str, as_json: bool) -> None:
    """Post a test event now, and say where it broke."""
    tried = try_endpoint(_webhook(uno, phone, webhook_id), phone=phone, sender=uno.webhook_client)
    if as_json:
        print_json(asdict(tried))
        sys.exit(0 if tried.delivered else 1)
    steps = ", ".join(f"{name} {ms} ms" for name, ms in tried.timings_ms.items() if ms)
    answered = ", ".join(filter(None, (f"HTTP {tried.status}" if tried.status else "", tried.error)))
    outcome = f"{'Delivered' if tried.delivered else 'Failed'}: {answered}"
    click.echo(f"{outcome} ({steps})" if steps else outcome)
    if tried.said:
        click.echo(f"It says: {tried.said}")
    click.echo(tried.hint)
    if not tried.delivered:
        sys.exit(1)


@endpoint.command()
@webhook_arguments
@click.option(
    "--for", "--seconds", "span", default="1h", show_default=True, help="For how long: 90s, 30m, 12h, 2d.",
    type=TimeSpan(least=timedelta(seconds=1), most=timedelta(days=2)),
)  # fmt: skip
@pass_uno
def pause(uno: Uno, phone: str, webhook_id: str, span: timedelta) -> None:
    """Let deliveries wait, without using up attempts.

    Example: unoapi endpoint pause 5511999990000 crm --for 30m
    """
    _webhook(uno, phone, webhook_id)
    uno.deliveries.suspend(Endpoint(phone, webhook_id), pause_ms=round(span.total_seconds() * 1000))
    click.echo(f"Paused for {written(span)}.")


@endpoint.command()
@webhook_arguments
@pass_uno
def resume(uno: Uno, phone: str, webhook_id: str) -> None:
    """End a pause, or try one that is down now.

    What waits goes on within seconds.
    """
    _webhook(uno, phone, webhook_id)
    click.echo("Resumed." if uno.deliveries.resume(Endpoint(phone, webhook_id)) else "It was neither paused nor down.")


@endpoint.command()
@webhook_arguments
@click.confirmation_option(
    prompt="Give up all that waits for this webhook? Replaying brings it back", help="Do not ask."
)
@pass_uno
def drop(uno: Uno, phone: str, webhook_id: str) -> None:
    """Give up all that waits.

    Each delivery ends dead, reason `dropped`, when its turn comes.
    """
    _webhook(uno, phone, webhook_id)
    uno.deliveries.drop(Endpoint(phone, webhook_id))
    click.echo("Dropped what was accepted until now.")


def _last_error(line: dict[str, Any]) -> str:
    """The last error of a webhook; of one that is not down when that was, for it may be mended since."""
    last = line.get("last_error")
    if not last:
        return ""
    at = "" if line["state"] == "down" else f" ({last['at'][5:16].replace('T', ' ')})"
    return f"{last['error']}{at}"


def _states(uno: Uno, phone: str) -> list[dict[str, Any]]:
    return endpoint_states(
        [phone],
        sessions=uno.sessions,
        deliveries=uno.deliveries,
        breakers=uno.breakers,
        activity=uno.activity,
        operators=uno.operator_addresses,
        refusal=uno.address_guard.refusal,
    )


def _webhook(uno: Uno, phone: str, webhook_id: str) -> Webhook:
    return find_webhook(uno.sessions.find(phone), webhook_id)
