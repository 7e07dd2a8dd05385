"""A connector whose leases run out after three seconds: `python -m tests.connector.short_leases`."""

from __future__ import annotations

import sys

from unoapi.connector import __main__, leases

leases.LEASE_MS, leases.RENEW_S = 3000, 1.0

if __name__ == "__main__":
    sys.exit(__main__.main())
