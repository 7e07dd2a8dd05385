"""`unoapi topology` and `unoapi queues`: what is in RabbitMQ, and what waits there."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from unoapi.cli.options import as_json, print_json
from unoapi.cli.parts import pass_uno
from unoapi.cli.screen import is_wide, plain_table, screen

if TYPE_CHECKING:
    from unoapi.bootstrap import Uno
    from unoapi.broker.topology import Topology


@click.command()
@click.option("--declare", is_flag=True, help="Declare everything in RabbitMQ first.")
@as_json
@pass_uno
def topology(uno: Uno, declare: bool, as_json: bool) -> None:
    """Print all exchanges and queues."""
    names = uno.topology
    if declare:
        uno.publisher.check(timeout_s=10.0)
    if as_json:
        for kind, things in (("exchange", names.exchanges), ("queue", (*names.queues, *names.streams))):
            for thing in things:
                print_json({"kind": kind, **asdict(thing)})
        return
    _print_topology(names)


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also those that are empty.")
@as_json
@pass_uno
def queues(uno: Uno, everything: bool, as_json: bool) -> None:
    """Show what waits in each queue, and for how long at most."""
    depths = uno.queue_monitor.queues()
    if as_json:
        for depth in depths:
            print_json(asdict(depth))
        return
    table = plain_table("queue", "ready", "unacked", "consumers", "oldest", *(["for"] if is_wide() else []))
    table.columns[0].no_wrap = True
    for number in range(1, 5):
        table.columns[number].justify = "right"
    for depth in depths:
        if everything or depth.ready != 0 or depth.unacked:
            age = "" if not depth.oldest_s else f"{timedelta(seconds=round(depth.oldest_s))}"
            cells = (depth.queue, _text(depth.ready), _text(depth.unacked), _text(depth.consumers), age, depth.purpose)
            table.add_row(*cells[: len(table.columns)])
    screen().print(table if table.rows else "All queues are empty.")


def _print_topology(names: Topology) -> None:
    exchanges = plain_table("exchange", "type", "arguments", "purpose")
    for exchange in names.exchanges:
        exchanges.add_row(exchange.name, exchange.type, _pairs(exchange.arguments), exchange.purpose)
    queues = plain_table("queue", "bound to", "key", "arguments", "purpose")
    queues.columns[0].no_wrap = True
    for queue in (*names.queues, *names.streams):
        key = queue.routing_key or _pairs(queue.binding_arguments)
        queues.add_row(queue.name, queue.exchange, key, _pairs(queue.arguments), queue.purpose)
    screen().print(exchanges, "", queues, sep="\n")


def _pairs(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in arguments.items())


def _text(value: int | None) -> str:
    return "" if value is None else str(value)
