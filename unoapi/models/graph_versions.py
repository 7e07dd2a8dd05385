"""How long Meta serves the versions of its Graph API: from Meta's changelog."""

from __future__ import annotations

import re
from datetime import date, timedelta

ENDS = {
    "v17": date(2025, 9, 12), "v18": date(2026, 1, 26), "v19": date(2026, 5, 21), "v20": date(2026, 9, 24),
    "v21": date(2027, 1, 21),
}  # fmt: skip
"""The last days that Meta has named; earlier versions ended before."""
RELEASES = {
    "v22": date(2025, 1, 21), "v23": date(2025, 5, 29), "v24": date(2025, 10, 8), "v25": date(2026, 2, 18),
    "v26": date(2026, 7, 29),
}  # fmt: skip
PROMISED = timedelta(days=730)
"""Meta serves a version for at least two years."""
SOON = timedelta(days=90)
NUMBER = re.compile(r"v?([0-9]{1,3})", re.ASCII | re.IGNORECASE)


def last_day(version: str) -> date | None:
    """The last day on which a version is surely served; none for one that is newer than this program."""
    name = _name(version)
    if not name:
        return None
    known = ENDS.get(name) or (RELEASES[name] + PROMISED if name in RELEASES else None)
    oldest = min(int(old[1:]) for old in ENDS)
    return known or (min(ENDS.values()) if int(name[1:]) < oldest else None)


def _name(version: str) -> str:
    """`v17` for `v17.0`, `V17` and `17.0`; empty for what is no version."""
    match = NUMBER.match(version)
    return f"v{int(match[1])}" if match else ""


def warning(version: str, today: date) -> str:
    """What is to be said of a version that has ended or ends within 90 days; empty otherwise."""
    last = last_day(version)
    if last is None or today + SOON < last:
        return ""
    how = "ended" if last < today else "ends"
    surely = "" if _name(version) in ENDS or how == "ended" else " at the earliest"
    return f"version {version} of Meta's Graph API {how} on {last}{surely}"
