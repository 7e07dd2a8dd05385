"""`unoapi alert`: post a test alert now."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from unoapi.cli.options import as_json, print_json
from unoapi.cli.parts import pass_uno
from unoapi.models.alerts import Digest

if TYPE_CHECKING:
    from unoapi.bootstrap import Uno

TEST = Digest(
    "Uno API: a test alert",
    "Somebody ran `unoapi alert`. When deliveries are given up, this channel is told.",
    "info",
)


@click.command()
@as_json
@pass_uno
def alert(uno: Uno, as_json: bool) -> None:
    """Post a test alert to each of UNOAPI_ALERT_URLS.

    Ends with 1 when one of them does not take it.
    """
    channels = uno.alert_channels
    if not channels.names:
        click.echo("No channel is set: UNOAPI_ALERT_URLS is empty.", err=True)
        sys.exit(1)
    failed = False
    for name in channels.names:
        answer = channels.post(name, TEST)
        failed = failed or not answer.delivered
        if as_json:
            line = {"channel": name, "delivered": answer.delivered, "status": answer.status, "error": answer.error}
            print_json({**line, "duration_ms": answer.duration_ms})
        else:
            click.echo(f"{name}: {'delivered' if answer.delivered else answer.summary} ({answer.duration_ms} ms)")
    sys.exit(1 if failed else 0)
