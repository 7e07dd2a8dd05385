"""`unoapi doctor`: what is wrong with an installation, in a line each, with what to do about it."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unoapi import __version__
from unoapi.bootstrap import unoapi
from unoapi.cli import checks
from unoapi.cli.findings import ok, wrong
from unoapi.cli.options import as_json
from unoapi.cli.probes import checks_of, mode_of
from unoapi.errors import EX_CONFIG, ConfigurationError, describe
from unoapi.services.parallel import run_all
from unoapi.settings import env_file as settings_file
from unoapi.settings import load_settings, read_environment, repeated_names, unreadable_lines
from unoapi.telemetry.logging import configure_logging

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from unoapi.cli.findings import Finding
    from unoapi.settings import Settings

    Check = Callable[[], Iterable[Finding]]

WITHIN_S = 20.0
"""For all checks together: what has not ended by then is a finding itself."""


@click.command()
@click.argument("env_file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_json
@click.pass_context
def doctor(ctx: click.Context, env_file: Path | None, as_json: bool) -> None:
    """Say what is wrong with this installation, and what to do.

    Settings, servers, processes, clocks, disk, memory, addresses and numbers, within 20 seconds. It changes nothing,
    and prints no secret: its output may go into a bug report. With a file it reads that `.env` alone and connects to
    nothing.

    Ends with 0 when nothing is wrong, 1 when something does not answer or does not work, 78 when somebody has to
    change something.
    """
    worst = 0
    for finding in _findings(env_file, ctx.find_root()):
        finding.show(as_json=as_json)
        worst = max(worst, finding.exit_code)
    sys.exit(worst)


def _findings(env_file: Path | None, root: click.Context) -> Iterator[Finding]:
    environment = read_environment(env_file, alone=env_file is not None)
    settings: Settings | None = None
    try:
        if root.obj is None and env_file is None:
            root.obj = unoapi()
            configure_logging("fatal", "json")
        settings = root.obj.settings if env_file is None else load_settings(env_file, alone=True)
    except ConfigurationError as error:
        yield from (wrong("settings", line.strip(), EX_CONFIG) for line in f"{error}".splitlines()[1:] or [f"{error}"])
    if settings is not None:
        yield from checks.check_settings(settings) if env_file is None else [ok("settings")]
        yield from checks.check_graph_version(settings)
    yield from checks.check_slips(environment)
    yield from checks.check_quotes(environment)
    yield from checks.check_proxies(environment)
    file = f"{env_file or settings_file()}"
    yield from checks.check_lines(file, unreadable_lines(env_file), repeated_names(env_file))
    yield from checks.check_privacy(file, mode_of(file))
    yield from checks.check_former_names(environment)
    if env_file is None and settings is not None:
        yield from checks.check_previous_secrets(settings)
        yield from checks.check_reporting(settings)
        yield _versions()
        yield from all_findings(checks_of(root.obj), within_s=WITHIN_S)


def all_findings(parts: dict[str, Check], *, within_s: float) -> Iterator[Finding]:
    """The findings of all checks, made at the same time, in their order; a line for one that does not end in time."""
    outcomes = run_all([lambda check=check: list(check()) for check in parts.values()], within_s=within_s)  # type: ignore[misc]
    for name, outcome in zip(parts, outcomes, strict=True):
        if outcome is None:
            yield wrong(name, f"no answer within {within_s:g} s: look at its network, then try again")
        elif isinstance(outcome, Exception):
            yield wrong(name, f"could not be looked at: {describe(outcome)}; report it with this line")
        else:
            yield from outcome


def _versions() -> Finding:
    libraries = ", ".join(f"{name} {version(name)}" for name in ("celery", "kombu", "redis", "flask", "pycurl"))
    return ok(
        "versions", f"Uno API {__version__}, Python {platform.python_version()}, {platform.platform()}, {libraries}"
    )
