"""Finding the programs of RabbitMQ and Redis on this machine, or installing them."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unoapi.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

# The wrapper in sbin insists on root or the user rabbitmq, so the scripts that it wraps come first.
_RABBITMQ_SERVERS = (
    "/usr/lib/rabbitmq/bin/rabbitmq-server",
    "/usr/lib64/rabbitmq/bin/rabbitmq-server",
    "/opt/rabbitmq/sbin/rabbitmq-server",
    "/usr/local/sbin/rabbitmq-server",
    "/opt/homebrew/opt/rabbitmq/sbin/rabbitmq-server",
)
_RABBITMQ_PATTERN = "lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server"
_EPMD_PATTERNS = ("lib/erlang/erts-*/bin/epmd", "lib64/erlang/erts-*/bin/epmd", "local/lib/erlang/erts-*/bin/epmd")
_POLICY = Path("/usr/sbin/policy-rc.d")
_APT_TIMEOUT_S = 900

RABBITMQ_FOLDER = "UNOAPI_RABBITMQ_BIN"
"""Environment variable that names a folder with `rabbitmq-server`, `rabbitmqctl` and `epmd`, used instead of those of
this machine."""
RABBITMQ = "rabbitmq-server"
REDIS = "redis-server"
FFMPEG = "ffmpeg"


def rabbitmq_server() -> Path | None:
    """Find the start script of RabbitMQ that works for every user, or take that of `UNOAPI_RABBITMQ_BIN`.

    Raises ConfigurationError when the named folder has none.
    """
    if named := _from_named_folder("rabbitmq-server"):
        return named
    fixed = [Path(path) for path in _RABBITMQ_SERVERS]
    in_path = shutil.which("rabbitmq-server")
    return _first(
        [*fixed, *sorted(Path("/usr").glob(_RABBITMQ_PATTERN), reverse=True), *([Path(in_path)] if in_path else [])]
    )


def epmd() -> Path | None:
    """Find Erlang's port mapper, which comes with RabbitMQ, as `rabbitmq_server` does."""
    if named := _from_named_folder("epmd"):
        return named
    in_path = shutil.which("epmd")
    globbed = [path for pattern in _EPMD_PATTERNS for path in sorted(Path("/usr").glob(pattern), reverse=True)]
    return _first([*([Path(in_path)] if in_path else []), *globbed])


def redis_server() -> Path | None:
    """Find the Redis server."""
    in_path = shutil.which("redis-server") or shutil.which("valkey-server")
    return Path(in_path) if in_path else _first([Path("/usr/bin/redis-server"), Path("/usr/local/bin/redis-server")])


def missing(*wanted: str) -> list[str]:
    """Name those of the wanted packages that are not installed."""
    present = {RABBITMQ: rabbitmq_server() is not None and epmd() is not None, REDIS: redis_server() is not None}
    present[FFMPEG] = shutil.which(FFMPEG) is not None
    return [package for package in wanted if not present[package]]


def find_or_install(*wanted: str) -> None:
    """Make sure that the wanted packages (default: both servers) are there. Root on Debian gets them installed.

    Raises ConfigurationError that names every way out.
    """
    wanted = wanted or (RABBITMQ, REDIS)
    if not (lacking := missing(*wanted)):
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        with _installation_lock():
            if still := missing(*lacking):  # another process may have installed them meanwhile
                _install(still)
        if not (lacking := missing(*wanted)):
            return
    names = " and ".join(lacking)
    raise ConfigurationError(
        f"{names} not found here. Do one of these: start them with docker compose (see the folder compose/); "
        f"install them (sudo apt-get install {' '.join(lacking)}); or set AMQP_URL and REDIS_URL to servers that run."
    )


def install(*names: str) -> None:
    """Install Debian's packages of these names, as root, when no other process installs. Raises ConfigurationError."""
    with _installation_lock():
        _install(list(names))


@contextmanager
def _installation_lock() -> Iterator[None]:
    """One installation at a time: apt-get does not wait for another one, it fails."""
    with Path(tempfile.gettempdir(), "unoapi-apt-get.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(lacking: list[str]) -> None:
    """Install without letting the packages start services of their own on this machine."""
    click.echo(f"Installing {' and '.join(lacking)} with apt-get (once; a minute or two) ...", err=True)
    made_here = not _POLICY.exists()
    if made_here:
        _POLICY.write_text("#!/bin/sh\nexit 101\n", "ascii")
        _POLICY.chmod(0o755)
    try:
        _apt_get("update")
        _apt_get("install", "-y", "--no-install-recommends", *lacking)
    finally:
        if made_here:
            _POLICY.unlink(missing_ok=True)


def _apt_get(*words: str) -> None:
    command = ["apt-get", "-q", *words]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_APT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(f"{' '.join(command)} took longer than {_APT_TIMEOUT_S} s") from error
    if done.returncode != 0:
        last = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()[-3:]
        raise ConfigurationError(f"{' '.join(command)} failed: {' / '.join(last)[:500]}")


def _from_named_folder(program: str) -> Path | None:
    if not (folder := os.environ.get(RABBITMQ_FOLDER)):
        return None
    path = Path(folder, program)
    if not os.access(path, os.X_OK):
        raise ConfigurationError(f"{RABBITMQ_FOLDER} names {folder}, where no program {program} is")
    return path


def _first(paths: list[Path]) -> Path | None:
    return next((path for path in paths if os.access(path, os.X_OK)), None)
