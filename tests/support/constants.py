"""The values that tests and harnesses share, each in one place. Only the standard library is imported."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
OPERATOR = "operator-token-of-the-tests"
PHONE = "5511999990000"
CONTACT = "5549988887777"
REGISTERED_S = 3.0
"""How long after the declaration of queues RabbitMQ may not be killed.

RabbitMQ 3.10 confirms the declaration of a quorum queue, and what is published to it, before its registration is on the
disk. Killed at once, it brings the newest queue back without a leader, for good.
"""
