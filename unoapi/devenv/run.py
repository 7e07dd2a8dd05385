"""`make run`: starts private servers where none are set, then the processes of the Procfile, and prints a welcome."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

import click
from dotenv import dotenv_values

import unoapi
from unoapi.devenv import packages, ports, processes, welcome
from unoapi.devenv.servers import PrivateServers
from unoapi.devenv.supervisor import RECORDS, Supervisor, parse_procfile, take_signals
from unoapi.errors import EX_CONFIG, ConfigurationError
from unoapi.models.former_settings import former_names
from unoapi.settings import secrets_from_files, unreadable_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROOT = Path(unoapi.__file__).resolve().parents[1]
_REACH_TIMEOUT_S = 3.0
_WELCOME_JOIN_S = 15.0
_SERVERS = {"AMQP_URL": packages.RABBITMQ, "REDIS_URL": packages.REDIS}
_WHILE_IT_RUNS = ("AMQP_URL", "REDIS_URL", "RABBITMQ_MANAGEMENT_URL", "FLOWER_BROKER_API", "BASE_URL", "PORT")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class RunFile:
    """`.run/environment`: tokens and private servers of this checkout. The command line program reads it, too."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def read(self) -> dict[str, str]:
        """Read the entries that are not empty."""
        return _dotenv(self._path)

    def change(self, *, remove: Iterable[str] = (), add: Mapping[str, str] | None = None) -> None:
        """Replace the file in one step; only its owner may read it."""
        with self._lock:
            entries = {key: value for key, value in self.read().items() if key not in set(remove)} | dict(add or {})
            self._path.parent.mkdir(parents=True, exist_ok=True)
            processes.write_private(self._path, "".join(f"{key}={value}\n" for key, value in entries.items()))


def run(root: Path = ROOT) -> int:
    """Run everything until Ctrl-C, SIGINT or SIGTERM. Returns the exit code: 0, or 78 when settings are wrong."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    take_signals(_interrupt)
    lock = processes.FolderLock(root / ".run")
    try:
        lock.acquire()
        (root / ".run").chmod(0o700)  # tokens, messages and the data of sessions
        return _run(root)
    except ConfigurationError as error:
        click.echo(f"unoapi: {error}", err=True)
        return EX_CONFIG
    except KeyboardInterrupt:
        return 0
    finally:
        lock.release()
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt() -> NoReturn:
    """Raise KeyboardInterrupt once; a second signal must not disturb the clean-up."""
    take_signals(lambda: None)
    raise KeyboardInterrupt


def _run(root: Path) -> int:
    procfile = root / "Procfile"
    if not procfile.is_file():
        raise ConfigurationError(f"no Procfile in {root}")
    commands = parse_procfile(procfile.read_text("utf-8"))
    commands.pop("release", None)  # for platforms: it ends by itself, and each process declares the topology, too
    run_file = RunFile(root / ".run" / "environment")
    run_file.change(remove=_WHILE_IT_RUNS)  # of a run that was killed
    environment = _environment(root)
    processes.sweep(root / RECORDS)
    port = _port(environment, "PORT", 9876) if "web" in commands else None
    flower = _port(environment, "FLOWER_PORT", 5555) if "flower" in commands else None
    if flower is not None:
        environment.setdefault("UNOAPI_FLOWER_URL", f"http://127.0.0.1:{flower}")
    token = _token(environment, run_file)
    print_former_names(environment)
    for line in unreadable_lines(root / ".env"):
        click.echo(f".env, line {line}: is not NAME=value, and does nothing.", err=True)

    wanted = tuple(package for variable, package in _SERVERS.items() if _needs_private_server(variable, environment))
    if wanted:
        click.echo(f"Starting a private {' and '.join(wanted)} ...", err=True)
    with PrivateServers(root / ".run" / "servers", wanted=wanted) as servers:
        private = _addresses(servers, wanted)
        if port is not None:
            private |= {"PORT": f"{port}", "BASE_URL": environment.get("BASE_URL") or f"http://127.0.0.1:{port}"}
        run_file.change(add=private)
        supervisor = Supervisor(
            commands,
            folder=root,
            environment={**environment, **private, "UNOAPI_AUTH_TOKEN": token},
        )
        stopped = threading.Event()
        greeter = None
        if port is not None:
            header = environment.get("UNOAPI_HEADER_NAME", "Authorization")
            has_webhook = bool(environment.get("WEBHOOK_URL") or environment.get("WEBHOOK_URL_ABSOLUTE"))
            api = welcome.Api(port, token=token, header=header, has_webhook=has_webhook)
            greeter = threading.Thread(target=_welcome, args=(api, flower, run_file, supervisor, stopped), daemon=True)
        try:
            take_signals(supervisor.stop)
            if greeter is not None:
                greeter.start()
            code = supervisor.run()
            supervisor.output.write("Stopped. Start again: make run\n")
            return code
        finally:
            stopped.set()
            if greeter is not None:
                greeter.join(_WELCOME_JOIN_S)
            run_file.change(remove=_WHILE_IT_RUNS)


def print_former_names(environment: Mapping[str, str]) -> None:
    """A line for each name of the Node version that is set in vain."""
    for name, advice in former_names(environment).items():
        click.echo(f"{name} {advice}.", err=True)


def _welcome(
    api: welcome.Api, flower: int | None, run_file: RunFile, supervisor: Supervisor, stopped: threading.Event
) -> None:
    if not api.wait_ready(cancelled=stopped.is_set):
        if not stopped.is_set():
            supervisor.output.write(f"\nThe API at {api.address} is not ready after a minute; see the lines above.\n\n")
        return
    session_token, trouble = welcome.sandbox_token(api, saved=run_file.read().get("SANDBOX_TOKEN"))
    if session_token is not None:
        run_file.change(add={"SANDBOX_TOKEN": session_token})
    supervisor.output.write(welcome.text(api, flower=flower, session_token=session_token, trouble=trouble))


def _environment(root: Path) -> dict[str, str]:
    """Our environment over the `.env` file, with the programs of this virtual environment first in the path.

    An empty variable counts as not set, as it does for the settings. A secret that stands in a file (`<NAME>_FILE`) is
    read here. Raises ConfigurationError.
    """
    named = os.environ.get("DOTENV_CONFIG_PATH")
    file = Path(named) if named else root / ".env"
    from_files, faults = secrets_from_files(file)
    if faults:
        raise ConfigurationError("; ".join(faults))
    merged = _dotenv(file) | from_files | {key: value for key, value in os.environ.items() if value}
    for name in [name for name in merged if name.endswith("_FILE") and name.removesuffix("_FILE") in merged]:
        del merged[name]
    merged["PATH"] = os.pathsep.join([str(Path(sys.prefix) / "bin"), merged.get("PATH", os.defpath)])
    if sys.stdout.isatty():
        merged.setdefault("UNOAPI_LOG_FORMAT", "console")  # what they write comes through us to a terminal
    merged["PYTHONUNBUFFERED"] = "1"  # the output is a pipe now, and its lines should come as they are written
    return merged


def _dotenv(path: Path) -> dict[str, str]:
    return {key: value for key, value in dotenv_values(path).items() if value}


def _port(environment: Mapping[str, str], variable: str, default: int) -> int:
    chosen = environment.get(variable, str(default))
    if not (chosen.isascii() and chosen.isdigit() and 0 < int(chosen) <= 65_535):  # noqa: PLR2004 (highest port)
        raise ConfigurationError(f"{variable} must be a port, a number from 1 to 65535, not {chosen!r}")
    if not ports.is_free(int(chosen), host=""):
        raise ConfigurationError(
            f"port {chosen} is taken by another program: stop it, or set {variable} to a free port"
        )
    return int(chosen)


def _token(environment: Mapping[str, str], run_file: RunFile) -> str:
    """The operator's token: the one that is set, else the one that the first run in this checkout made."""
    chosen = environment.get("UNOAPI_AUTH_TOKEN") or run_file.read().get("UNOAPI_AUTH_TOKEN")
    if chosen is None:
        chosen = secrets.token_hex(24)
        run_file.change(add={"UNOAPI_AUTH_TOKEN": chosen})
    return chosen


def _needs_private_server(variable: str, environment: Mapping[str, str]) -> bool:
    url = environment.get(variable)
    if not url:
        return True
    from unoapi.devenv.reachable import reachable  # noqa: PLC0415 (both client libraries, for who names servers alone)

    if reachable(url, timeout_s=_REACH_TIMEOUT_S):
        return False
    where = urlsplit(url)  # shown without its login
    click.echo(
        f"{variable} is set, but {where.hostname or where.path} does not answer or refuses the login: "
        "this run uses a private server instead.",
        err=True,
    )
    return True


def _addresses(servers: PrivateServers, wanted: tuple[str, ...]) -> dict[str, str]:
    addresses = {}
    if packages.RABBITMQ in wanted:
        addresses["AMQP_URL"] = servers.amqp_url
        addresses["RABBITMQ_MANAGEMENT_URL"] = servers.management_url
        addresses["FLOWER_BROKER_API"] = f"{servers.management_url}/api/"
    if packages.REDIS in wanted:
        addresses["REDIS_URL"] = servers.redis_url
    return addresses


if __name__ == "__main__":
    sys.exit(run(*(Path(word).resolve() for word in sys.argv[1:2])))
