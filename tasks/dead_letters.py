"""The end of dead letters that are older than `UNOAPI_DEAD_MAX_AGE`, if that is set."""

from __future__ import annotations

from datetime import timedelta

from tasks.periodic import hourly
from unoapi.bootstrap import unoapi
from unoapi.broker.dead_letter_queue import DeadLetterQuery
from unoapi.errors import UnoError, describe
from unoapi.telemetry.logging import get_logger

log = get_logger(__name__)

WITHIN_S = 600.0


def expire() -> int:
    """Throw old letters away, unless another process is at the dead queue now. Returns how many. Never raises."""
    uno = unoapi()
    if not uno.settings.unoapi_dead_max_age:
        return 0
    old = DeadLetterQuery(older_than=timedelta(seconds=uno.settings.unoapi_dead_max_age))
    expired = 0
    try:
        for visit in uno.dead_queue("expire").purge(old, within_s=WITHIN_S):
            expired += visit.outcome == "purged"
    except (UnoError, OSError) as error:
        log.warning("dead_letters_not_expired", error=describe(error), hint="it is tried again in an hour")
    if expired:
        log.info("dead_letters_expired", letters=expired, max_age_s=uno.settings.unoapi_dead_max_age)
    return expired


hourly("suspect", expire)
