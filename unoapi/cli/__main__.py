"""`python -m unoapi.cli`: the command line program, also where the package is not installed."""

from __future__ import annotations

from unoapi.cli.main import cli

if __name__ == "__main__":
    cli(prog_name="unoapi")
