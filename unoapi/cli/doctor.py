"""`unoapi doctor`: what is wrong with an environment, without asking any server."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unoapi.cli.options import as_json, print_json
from unoapi.errors import EX_CONFIG, ConfigurationError
from unoapi.models.former_settings import former_names, misspelt_names
from unoapi.models.graph_versions import warning
from unoapi.settings import load_settings, read_environment, setting_names

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.command()
@click.argument("env_file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_json
def doctor(env_file: Path | None, as_json: bool) -> None:
    """Say what is wrong with a `.env` file or the environment.

    Settings, names that nearly are settings, and names that do nothing here. Ends with 0 when nothing is wrong, 78 when
    a setting is. Names of the Node version are notes.
    """
    code = 0
    for what, how, words in _findings(env_file):
        code = EX_CONFIG if how == "WRONG" else code
        if as_json:
            print_json({"what": what, "state": how, "words": words})
        else:
            click.echo(f"{what:<9} {how:<6} {words}".rstrip())
    sys.exit(code)


def _findings(env_file: Path | None) -> Iterator[tuple[str, str, str]]:
    try:
        settings = load_settings(env_file, alone=env_file is not None)
        yield "settings", "ok", ""
    except ConfigurationError as error:
        yield "settings", "WRONG", f"{error}"
    else:
        if ending := warning(settings.webhook_forward_version, datetime.now(UTC).date()):
            yield "moving", "note", f"{ending}: set WEBHOOK_FORWARD_VERSION"
    environment = read_environment(env_file, alone=env_file is not None)
    for name, meant in misspelt_names(environment, settings=setting_names()).items():
        yield "settings", "note", f"{name} is not a setting and does nothing; did you mean {meant}?"
    for name, advice in former_names(environment).items():
        yield "moving", "note", f"{name} {advice}"
