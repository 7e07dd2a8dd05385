"""gunicorn's worker, which says nothing of what a request held when it is broken: a token may be in it."""

from __future__ import annotations

import contextlib
from typing import Any

from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

BROKEN = "the request is not valid HTTP"


class DiscreetWorker(ThreadWorker):  # type: ignore[misc] # gunicorn has no types
    """The thread worker whose log lines and answers quote neither the request line nor a header."""

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer and log, without quoting."""
        if hasattr(req, "uri"):
            req.uri = str(req.uri).partition("?")[0]
        kind = type(exc)
        if kind.__module__.startswith("gunicorn.http"):
            with contextlib.suppress(TypeError):
                exc.__class__ = type(kind.__name__, (kind,), {"__str__": lambda _: BROKEN})
        super().handle_error(req, client, addr, exc)
