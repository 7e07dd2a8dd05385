"""The command line program `unoapi`."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import get_completion_class
from dotenv import load_dotenv

from unoapi import __version__
from unoapi.cli.alert import alert
from unoapi.cli.bulk import bulk
from unoapi.cli.dead import dead
from unoapi.cli.doctor import doctor
from unoapi.cli.endpoint import endpoint
from unoapi.cli.events import events
from unoapi.cli.listen import listen
from unoapi.cli.options import as_json, print_json
from unoapi.cli.parts import pass_uno
from unoapi.cli.release import release, where
from unoapi.cli.screen import is_wide, plain_table, screen
from unoapi.cli.session import session
from unoapi.cli.trace import trace
from unoapi.errors import EX_CONFIG, ConfigurationError, RequestError, UnoError

if TYPE_CHECKING:
    from unoapi.bootstrap import Uno
    from unoapi.broker.topology import Topology

MADE_BY_RUN = Path(".run", "environment")
"""Where `make run` writes the addresses of its private servers, in the folder of the checkout."""


class _Errors(click.Group):
    """Prints our errors in one sentence instead of a traceback, and ends only when everything is written."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigurationError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(EX_CONFIG)
        except UnoError as error:
            click.echo(
                f"Error: {error.details if isinstance(error, RequestError) else where(ctx.obj, error)}", err=True
            )
            sys.exit(1)
        finally:
            if ctx.obj is not None:
                ctx.obj.close()


EXIT_CODES = """Exit codes: 0 done, 1 a server or the thing that was named is not there, 2 wrong usage,
75 busy (try again), 78 settings are wrong. --json prints one object a line. For tab completion in bash:
eval "$(unoapi completion bash)" """


@click.group(cls=_Errors, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Uno API: follow messages, watch queues, and put dead letters back."""
    if not os.environ.get("DOTENV_CONFIG_PATH"):
        load_dotenv(MADE_BY_RUN)  # it wins over `.env`: what is set there and does not answer, `make run` replaced


@cli.command("help")
@click.pass_context
def show_help(ctx: click.Context) -> None:
    """Show this list."""
    click.echo(ctx.find_root().get_help())


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what completes commands and names in a shell.

    bash and zsh: eval "$(unoapi completion bash)" in ~/.bashrc or ~/.zshrc; fish: unoapi completion fish | source
    """
    source = get_completion_class(shell)
    if source is None:  # the shells above are click's own
        raise click.UsageError(f"{shell} is not known")
    click.echo(source(cli, {}, "unoapi", "_UNOAPI_COMPLETE").source())


@cli.command()
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


@cli.command()
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


cli.add_command(bulk)
cli.add_command(alert)
cli.add_command(dead)
cli.add_command(doctor)
cli.add_command(endpoint)
cli.add_command(events)
cli.add_command(listen)
cli.add_command(release)
cli.add_command(session)
cli.add_command(trace)
