"""`unoapi doctor`: what is wrong with an environment, without asking any server."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from unoapi.errors import EX_CONFIG, ConfigurationError
from unoapi.models.former_settings import former_names
from unoapi.models.graph_versions import warning
from unoapi.settings import load_settings, read_environment


@click.command()
@click.argument("env_file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def doctor(env_file: Path | None) -> None:
    """Say what is wrong with a `.env` file, or with the environment: settings, and names that do nothing here.

    Ends with 0 when nothing is wrong, 78 when a setting is. Names of the Node version are notes.
    """
    code = 0
    try:
        settings = load_settings(env_file, alone=env_file is not None)
        ending = warning(settings.webhook_forward_version, datetime.now(UTC).date())
        notes = [f"{ending}: set WEBHOOK_FORWARD_VERSION"] if ending else []
        click.echo("settings  ok")
    except ConfigurationError as error:
        click.echo(f"settings  WRONG  {error}")
        notes, code = [], EX_CONFIG
    environment = read_environment(env_file, alone=env_file is not None)
    for words in [*notes, *(f"{name} {advice}" for name, advice in former_names(environment).items())]:
        click.echo(f"moving    note   {words}")
    sys.exit(code)
