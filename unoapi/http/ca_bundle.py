"""The certificates that every client of ours trusts."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import certifi


def find_ca_bundle() -> str:
    """Find the file with the certificates to trust: `SSL_CERT_FILE`, else the system's, else certifi's.

    The path that is built into the wheel of pycurl does not exist on Debian, so that every caller has to choose.
    """
    candidates = (ssl.get_default_verify_paths().cafile, "/etc/ssl/certs/ca-certificates.crt")
    bundle = next((path for path in candidates if path and Path(path).is_file()), certifi.where())
    return os.environ.get("SSL_CERT_FILE") or bundle
