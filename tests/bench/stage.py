"""What every run stands on: private servers, a receiver, a folder, and how much to do."""

import json
from dataclasses import dataclass
from pathlib import Path

from tests.support.constants import CONTACT, PHONE
from tests.support.events import text_event
from tests.support.receiver import Receiver


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How many messages, requests and rounds; the quick form shows that everything works, not how fast."""

    rounds: int = 3
    messages: int = 6_000
    steady: int = 12_000
    steady_rounds: int = 7
    """Where two rates differ by little: a worker's first second, and what a neighbour does, count for less."""
    close_rounds: int = 15
    """Where their ratio is near its bar: of seven rounds the median varies by a tenth on a machine with neighbours."""
    slow_messages: int = 8_000
    requests: int = 8_000
    paced: int = 2_000
    endurance: int = 100_000
    outages_s: tuple[float, ...] = (3.0, 20.0)
    after_hanging_s: float = 150.0
    """Until the probe that succeeds new events wait, too."""
    waiting: int = 200_000
    watch_s: float = 60.0
    endpoints: int = 2_000
    tenants: int = 200
    idle_s: float = 60.0


QUICK = Sizes(
    rounds=1,
    messages=400,
    steady=400,
    steady_rounds=1,
    close_rounds=1,
    slow_messages=1_000,
    requests=400,
    paced=200,
    endurance=4_000,
    outages_s=(3.0,),
    after_hanging_s=8.0,
    waiting=2_000,
    watch_s=3.0,
    endpoints=100,
    tenants=10,
    idle_s=5.0,
)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The two AMQP addresses are vhosts of one node: the baselines' and ours."""

    baseline_url: str
    amqp_url: str
    redis_url: str
    receiver: Receiver
    folder: Path
    authority: Path
    """Of the receiver's certificate."""
    sizes: Sizes
    before: Path | None = None  # a checkout of an older commit, to compare with


def event(number: int | str) -> str:
    """A received text message of usual size (about 600 bytes) as a Cloud API event."""
    return text_event(f"wamid.BENCH{number}", "Hello, is my order on its way? " * 3, phone=PHONE)


def message(number: int | str) -> str:
    """A text message as a client of the API posts it."""
    text = {"body": f"Hello, your order {number} is on its way."}
    return json.dumps({"messaging_product": "whatsapp", "to": CONTACT, "type": "text", "text": text})
