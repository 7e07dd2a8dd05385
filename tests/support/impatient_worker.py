"""gunicorn's worker of the API with short deadlines, so that a test sees what happens when they are over."""

from __future__ import annotations

from typing import Any

from unoapi.web import client_sockets, gunicorn_worker

WRITE_S, LEAST_BYTES_PER_S = 1.0, 16 * 1024 * 1024


class ImpatientWorker(gunicorn_worker.DiscreetWorker):
    """The deadlines are those of its process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        vars(gunicorn_worker)["WRITE_S"] = WRITE_S
        vars(client_sockets).update(WRITE_S=WRITE_S, LEAST_BYTES_PER_S=LEAST_BYTES_PER_S)
        super().__init__(*args, **kwargs)
