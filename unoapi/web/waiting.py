"""What the application and gunicorn's worker say to each other about a request, in its WSGI environment.

No thread of the pool waits for a client. A request that has to wait is run anew: with its body, when that has come, or
in a thread that may wait.
"""

from __future__ import annotations

from typing import Any

CALLER = "unoapi.caller"
MAY_WAIT = "unoapi.may_wait"
REPEATED = "unoapi.repeated"


class RunAnewError(BaseException):
    """This thread cannot finish the request. No Exception, so that it passes all handlers of errors."""


class BodyNotHereError(RunAnewError):
    """The application reads what has not come yet."""


class MayNotWaitError(RunAnewError):
    """The application would wait for the client, and this thread is one of the pool."""


def ensure_may_wait(environ: dict[str, Any]) -> None:
    """Go on in a thread that may wait. Called when the caller is known: whoever has no right gets no such thread."""
    if not environ.get(MAY_WAIT, True):
        raise MayNotWaitError


def let_in(environ: dict[str, Any], caller: str) -> None:
    """Record whose right opened the request: the threads and the memory that it takes are this caller's."""
    environ[CALLER] = caller


def is_repeated(environ: dict[str, Any]) -> bool:
    """Whether the same request was run before, and was counted then."""
    return bool(environ.get(REPEATED))
