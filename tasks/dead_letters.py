"""Purges dead letters that are older than `UNOAPI_DEAD_MAX_AGE`, if that is set."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from unoapi.errors import UnoError, describe
from unoapi.models.dead_letters import Bounds, DeadLetterQuery
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from unoapi.bootstrap import Uno

log = get_logger(__name__)

BOUNDS = Bounds(seconds=600.0)


def expire(uno: Uno) -> int:
    """Purge old dead letters, unless another process works at the dead queue now. Returns how many. Never raises."""
    max_age_s = uno.settings.unoapi_dead_max_age
    if not max_age_s:
        return 0
    expired = 0
    try:
        old = DeadLetterQuery(older_than=timedelta(seconds=max_age_s))
        for result in uno.dead_letters.purge(old, by="expire", bounds=BOUNDS):
            expired += result.outcome == "purged"
    except (UnoError, OSError) as error:
        log.warning("dead_letters_not_expired", error=describe(error), hint="it is tried again in an hour")
    if expired:
        log.info("dead_letters_expired", letters=expired, max_age_s=max_age_s)
    return expired
