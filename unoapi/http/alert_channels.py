"""Alerts to chats and mailboxes, by Apprise, which knows what each of them wants.

It is loaded at the first alert: that takes seconds and 40 MB. It is given no logs to write to, because it writes
addresses there, which hold tokens.
"""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING, Any

from unoapi.models.attempts import Answer
from unoapi.services.parallel import run_all
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unoapi.models.alerts import Digest

log = get_logger(__name__)

DEADLINE_S = 30.0
"""For one alert; Apprise gives each connection and each read a few seconds, and the whole none."""
HTTP_STATUS = re.compile(r"\berror=(\d{3})\b")
UNKNOWN = "this address is none that alerts can go to: see its form in the guide"


class AppriseChannels:
    """The addresses of `UNOAPI_ALERT_URLS`. A channel's name is its place and its kind, as in `1-slack`."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = {f"{place}-{url.partition(':')[0]}": url for place, url in enumerate(urls, 1)}

    @property
    def names(self) -> tuple[str, ...]:
        """What each channel is called in jobs."""
        return tuple(self._urls)

    def post(self, name: str, digest: Digest) -> Answer:
        """Send, within half a minute. Never raises for what the network or the service does."""
        began = time.monotonic()
        (outcome,) = run_all([lambda: self._post(self._urls[name], digest)], within_s=DEADLINE_S)
        took_ms = round((time.monotonic() - began) * 1000)
        if outcome is None:
            return Answer(error=f"no answer within {DEADLINE_S:g} s", duration_ms=took_ms)
        if isinstance(outcome, Exception):
            return Answer(error=f"not posted ({type(outcome).__name__})", duration_ms=took_ms)
        status, error = outcome
        return Answer(status, error, took_ms)

    def unknown(self) -> list[str]:
        """The channels whose address Apprise does not know."""
        return [name for name, url in self._urls.items() if _target(url) is None]

    @staticmethod
    def _post(url: str, digest: Digest) -> tuple[int | None, str]:
        target = _target(url)
        if target is None:
            return None, UNKNOWN
        apprise = _apprise()
        with apprise.LogCapture(level=logging.WARNING) as said:
            taken = target.notify(
                title=digest.title, body=digest.body, notify_type=digest.level, body_format=apprise.NotifyFormat.TEXT
            )
            refusal = HTTP_STATUS.search(said.getvalue())
        if taken:
            return 200, ""
        return (int(refusal[1]), "") if refusal else (None, "the service did not take it")


def _target(url: str) -> Any:
    apprise = _apprise()
    asset = apprise.AppriseAsset(app_id="Uno API", app_desc="Uno API", app_url="", image_url_mask="", image_url_logo="")
    return apprise.Apprise.instantiate(url, asset=asset)


def _apprise() -> Any:
    import apprise  # noqa: PLC0415 (see above)

    logger = logging.getLogger("apprise")
    logger.propagate = False
    logger.setLevel(logging.WARNING)
    return apprise
