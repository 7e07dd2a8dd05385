"""`unoapi listen`: see what a webhook of a number gets, without a receiver."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click

from unoapi.cli.options import as_json, phone_argument, print_json
from unoapi.cli.parts import pass_uno
from unoapi.cli.screen import shown
from unoapi.errors import StoreUnavailable
from unoapi.services.endpoint_test import ensure_stored
from unoapi.services.request_bin import is_watched, stop_watching, watch

if TYPE_CHECKING:
    from unoapi.bootstrap import Uno
    from unoapi.models.request_bin import BinnedRequest

POLL_S = 0.5


@click.command()
@phone_argument
@click.option("--once", is_flag=True, help="Print what is there already, and end.")
@as_json
@pass_uno
def listen(uno: Uno, phone: str, once: bool, as_json: bool) -> None:
    """Print a number's events as a webhook gets them.

    Ctrl-C ends it. For as long as it runs the number has one more webhook, whose requests are kept for an hour and go
    nowhere.
    """
    session = uno.sessions.find(phone)
    ensure_stored(session)
    has_one = is_watched(session)
    seen = 0
    if not once:
        kept = uno.request_bin.read(phone)
        seen = kept[-1].seq if kept else 0
        if not has_one:
            watch(phone, sessions=uno.sessions)
        click.echo(f"Listening to {phone}. Ctrl-C ends it.", err=True)
    try:
        while True:
            for request in _after(uno, phone, seen):
                seen = request.seq
                _print(request, as_json=as_json)
            if once:
                return
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        pass
    finally:
        if not once and not has_one:
            stop_watching(phone, sessions=uno.sessions)


def _after(uno: Uno, phone: str, seen: int) -> list[BinnedRequest]:
    try:
        return uno.request_bin.read(phone, after=seen)
    except StoreUnavailable as error:
        click.echo(f"{error}; trying again", err=True)
        return []


def _print(request: BinnedRequest, *, as_json: bool) -> None:
    if as_json:
        print_json(request.as_json())
        return
    at = request.as_json()["at"]
    click.echo(f"\n{at}  webhook {request.webhook}, attempt {request.headers.get('webhook-attempt', '')}")
    try:
        body = json.dumps(json.loads(request.body), indent=2, ensure_ascii=False)
    except ValueError:
        body = request.body
    click.echo(f"{shown(body)}")
