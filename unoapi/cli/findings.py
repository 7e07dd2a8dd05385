"""What a check of an installation found: a line for a person, an object for a program, and an exit code."""

from __future__ import annotations

import ssl
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import click
from amqp.exceptions import AccessRefused, NotAllowed

from unoapi.cli.options import print_json
from unoapi.errors.connections import why_not_connected

if TYPE_CHECKING:
    from unoapi.errors import BrokerUnavailable
    from unoapi.settings import Settings

AWAY = 1
"""The exit code of what may be well in a moment, without a change: a server that does not answer."""


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is, in words, and the exit code that follows from it."""

    what: str
    state: Literal["ok", "note", "WRONG"]
    words: str
    exit_code: int = 0

    def show(self, *, as_json: bool) -> None:
        """Print it."""
        if as_json:
            print_json(asdict(self))
        else:
            click.echo(f"{self.what:<9} {self.state:<6} {self.words}".rstrip())


def ok(what: str, words: str = "") -> Finding:
    """Nothing is to be done."""
    return Finding(what, "ok", words)


def note(what: str, words: str) -> Finding:
    """It works, and something may be better."""
    return Finding(what, "note", words)


def wrong(what: str, words: str, exit_code: int = AWAY) -> Finding:
    """It does not work."""
    return Finding(what, "WRONG", words, exit_code)


def without_login(url: str) -> str:
    """An address without its login."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def broker_hosts(settings: Settings) -> str:
    """The nodes of RabbitMQ."""
    return ", ".join(without_login(url) for url in settings.amqp_urls)


def broker_advice(error: BrokerUnavailable) -> str:
    """What an error of RabbitMQ's is about, and what to check."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AccessRefused) and "login" not in f"{cause}".lower():
            return "RabbitMQ lets the user in and not work: `rabbitmqctl set_permissions -p VHOST USER '.*' '.*' '.*'`"
        if isinstance(cause, AccessRefused):
            return "RabbitMQ refuses the login: check the user and the password in AMQP_URL"
        if isinstance(cause, NotAllowed):
            return "RabbitMQ has no such vhost, or the user may not use it: check what follows the last / of AMQP_URL"
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                "its certificate is not trusted, or is another host's: SSL_CERT_FILE names the file of your authority"
            )
        cause = cause.__cause__ or cause.__context__
    why = why_not_connected(error)
    return f"{error}; check AMQP_URL{': ' if why else ''}{why}"
