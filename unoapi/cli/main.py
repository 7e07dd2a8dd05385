"""The command line program `unoapi`."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from click.shell_completion import get_completion_class
from dotenv import load_dotenv

from unoapi import __version__
from unoapi.errors import EX_CONFIG, ConfigurationError, RequestError, UnoError

MADE_BY_RUN = Path(".run", "environment")
"""Where `make run` writes the addresses of its private servers, in the folder of the checkout."""
COMMANDS = {
    "alert": "Post a test alert to each of UNOAPI_ALERT_URLS.",
    "bulk": "Campaigns: one message to many contacts, at a number's pace.",
    "dead": "Jobs that were given up: list, replay, purge.",
    "doctor": "Say what is wrong with this installation, and what to do.",
    "endpoint": "Webhooks: test, pause, resume, drop what waits.",
    "events": "Events of the last days: deliver them again.",
    "listen": "Print a number's events as a webhook gets them.",
    "queues": "Show what waits in each queue, and for how long at most.",
    "release": "Check settings and servers, and declare all queues.",
    "session": "The configured numbers.",
    "topology": "Print all exchanges and queues.",
    "trace": "Follow one message, or find it without its id.",
}
"""The commands that have a module, with the first line of each one's help: to list them none is imported, which takes
ten times as long as to list them. A test holds the lines against the commands."""
MODULES = {"topology": "queues"}
"""Of the commands whose module has another name than they have."""


class _Program(click.Group):
    """The commands, each imported when it is called.

    Prints our errors in one sentence instead of a traceback, and ends only when everything is written.
    """

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigurationError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(EX_CONFIG)
        except UnoError as error:
            click.echo(f"Error: {_sentence(ctx, error)}", err=True)
            sys.exit(1)
        finally:
            if ctx.obj is not None:
                ctx.obj.close()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        command: click.Command = getattr(import_module(f"unoapi.cli.{MODULES.get(cmd_name, cmd_name)}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 (click's)
        with formatter.section("Commands"):
            lines = ((name, command.get_short_help_str(formatter.width)) for name, command in self.commands.items())
            formatter.write_dl(sorted(lines))


def _sentence(ctx: click.Context, error: UnoError) -> str:
    if isinstance(error, RequestError):
        return error.details
    from unoapi.cli.release import where  # noqa: PLC0415 (only a command that failed needs it)

    return where(ctx.obj, error)


EXIT_CODES = """Exit codes: 0 done, 1 a server or the thing that was named is not there, 2 wrong usage,
75 busy (try again), 78 settings are wrong. --json prints one object a line. For tab completion in bash:
eval "$(unoapi completion bash)" """


@click.group(cls=_Program, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Uno API: follow messages, watch queues, and put dead letters back."""
    if not os.environ.get("DOTENV_CONFIG_PATH"):
        load_dotenv(MADE_BY_RUN)  # it wins over `.env`: what is set there and does not answer, `make run` replaced


@cli.command("help")
@click.argument("words", nargs=-1, metavar="[COMMAND]...")
@click.pass_context
def show_help(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Show this list, or what a command does."""
    place, command = ctx.find_root(), ctx.find_root().command
    for word in words:
        if not isinstance(command, click.Group):
            raise click.UsageError(f"{place.info_name} has no commands of its own", place)
        name, found, _ = command.resolve_command(place, [word])  # which says what was meant
        if found is None:  # click's own programs never do
            return
        command, place = found, click.Context(found, info_name=name, parent=place)
    click.echo(command.get_help(place))


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


for command_name, line in COMMANDS.items():
    cli.add_command(click.Command(command_name, help=line))  # stands for the command that `get_command` imports
