"""Faults of receivers: each ends in its own class, within its deadline; an outage costs no attempts."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

from tests.fault.misbehaving import Misbehaving
from tests.fault.table import Row, duplicates
from tests.support.event_clients import Clients
from tests.support.receiver import Behaviour
from tests.support.stack import Stack, eventually, stack
from unoapi.devenv.packages import install
from unoapi.devenv.ports import free_port
from unoapi.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.fault.stage import Stage

MESSAGES = 3
"""Fewer than open a breaker, so that each delivery runs through its whole retry schedule."""
EACH = 6
"""Events for each endpoint: enough for it to be down."""
HEALTHY_S, SLOWEST_HEALTHY_S = 0.5, 10.0
"""The 95th percentile of a healthy endpoint meanwhile, and its slowest: RabbitMQ makes a thousand queues meanwhile."""
RECOVERED_S = 20.0
"""However many they are: from the return of their host until the last of what waits in their queues has arrived."""
TIMEOUT_MS = 2_000
SLACK_MS = 1_500
DELIVERED = "delivered"
WRAPPER = "libnss_wrapper.so"


@dataclass(frozen=True)
class Fault:
    """A way to misbehave, and the class in which its deliveries must end."""

    path: str
    summary: str
    ends: str
    scheme: str = "http"


FAULTS = (
    Fault("refuses", "refuses connections", "unreachable"),
    Fault("resets-in-the-body", "500, resets in the body", "refused"),
    Fault("slow-status", "its status line drips", "unreachable"),
    Fault("slow-headers", "500, its headers drip", "refused"),
    Fault("slow-body", "500, its body drips", "refused"),
    Fault("endless-body", "500, an endless body", "refused"),
    Fault("large-body", "200, a body of 10 MB", DELIVERED),
    Fault("throttles", "429 with Retry-After, longer than the retry schedule", DELIVERED),
    Fault("gone", "410", "gone"),
    Fault("redirects", "redirects to loopback", "refused"),
    Fault("expired", "TLS certificate has expired", "unreachable", scheme="https"),
)


def receivers_misbehave(stage: Stage) -> list[Row]:
    """All of them at once: none may delay another."""
    attempts = stage.size.retry_limit + 1
    before = stage.uno.depth("unoapi.dead")
    with (
        Misbehaving(throttled=MESSAGES * attempts + 1) as plain,  # so that one of them is refused more often
        Misbehaving(context=stage.expired) as secure,
    ):
        closed = f"http://127.0.0.1:{free_port()}/refuses"
        phones: dict[str, str] = {}
        for fault in FAULTS:
            phone = phones[fault.path] = stage.phone()
            listener = secure if fault.scheme == "https" else plain
            url = closed if fault.path == "refuses" else listener.url(fault.path, scheme=fault.scheme)
            stage.register(phone, fault.path, url, timeoutMs=TIMEOUT_MS)
        written = {
            path: {stage.uno.contact_writes(f"message {number}", phone=phone) for number in range(MESSAGES)}
            for path, phone in phones.items()
        }
        mortal = MESSAGES * sum(fault.ends != DELIVERED for fault in FAULTS)
        immortal = [fault.path for fault in FAULTS if fault.ends == DELIVERED]

        def ended() -> bool:
            """Whether nothing is on its way; what a worker has taken is on no queue."""
            return stage.uno.depth("unoapi.dead") >= before + mortal and all(
                _delivered(stage.uno, phones[path], message_id) for path in immortal for message_id in written[path]
            )

        _within(stage.size.within_s, ended, every_s=0.5)
        waiting = 0 if ended() else stage.drain(ended, within_s=30)  # looks of the rows before are there for minutes
        return [
            _row(stage, fault, phones[fault.path], written[fault.path], plain=plain, waiting=waiting)
            for fault in FAULTS
        ]


def _row(stage: Stage, fault: Fault, phone: str, written: set[str], *, plain: Misbehaving, waiting: int) -> Row:
    dead_letters = {dead_letter["message_id"]: dead_letter for dead_letter in stage.uno.dead("--phone", phone)}
    delivered = {message_id for message_id in written if _delivered(stage.uno, phone, message_id)}
    problems = []
    reasons = {str(dead_letter["reason"]) for dead_letter in dead_letters.values()}
    ended = reasons | ({DELIVERED} if delivered else set())
    if ended != {fault.ends}:
        problems.append(f"ended as {sorted(ended)}")
    longest_ms = max(
        (attempt["duration_ms"] for dead_letter in dead_letters.values() for attempt in dead_letter["attempts"]),
        default=0,
    )
    if longest_ms > TIMEOUT_MS + SLACK_MS:
        problems.append(f"an attempt took {longest_ms} ms")
    most = max((len(dead_letter["attempts"]) for dead_letter in dead_letters.values()), default=0)
    if most > stage.size.retry_limit + 1:
        problems.append(f"{most} attempts")
    if fault.path == "redirects" and plain.requests["redirected"]:
        problems.append("the redirect was followed")
    return Row(
        fault=f"receiver: {fault.summary}",
        messages=len(written),
        delivered=len(delivered - dead_letters.keys()),
        dead=len(dead_letters),
        waiting=waiting,
        note=f"ends as {fault.ends}" + (f"; attempts of at most {longest_ms} ms" if dead_letters else ""),
        problems=problems,
    )


def _delivered(uno: Stack, phone: str, message_id: str) -> bool:
    steps = uno.get(f"/v15.0/{phone}/messages/{message_id}/trace").json().get("trace", [])
    return DELIVERED in {step["step"] for step in steps}


def endpoint_down(stage: Stage) -> Row:
    """Down for many retry schedules: what had not ended before the breaker opened arrives when it is up again."""
    size, receiver, phone = stage.size, stage.receiver, stage.phone()
    path = f"/{phone}"
    outage_s = size.outage_schedules * size.retry_schedule_s
    before = stage.uno.depth("unoapi.dead")
    stage.register(phone, "crm", receiver.url(path))
    receiver.script(path, Behaviour(status=500))
    with Clients(stage.uno.url, phone=phone, events=size.events, rate=size.rate, threads=8) as clients:
        time.sleep(outage_s)
        clients.wait(clients.finished, timeout_s=size.within_s)
    failed = receiver.count(path)
    receiver.script(path, Behaviour())
    mended = time.monotonic()

    def ended() -> bool:
        return len(stage.arrived(path)) + stage.uno.depth("unoapi.dead") - before >= size.events

    while not ended() and time.monotonic() - mended < size.within_s:
        time.sleep(0.25)
    recovered_s = time.monotonic() - mended
    waiting = 0 if ended() else stage.drain(ended, within_s=30)  # looks of the rows before are there for minutes
    dead_letters = {dead_letter["message_id"]: dead_letter for dead_letter in stage.uno.dead("--phone", phone)}
    problems = []
    if len(dead_letters) > 4:  # the fifth different failure opens the breaker
        problems.append(f"{len(dead_letters)} dead")
    most = max((len(dead_letter["attempts"]) for dead_letter in dead_letters.values()), default=0)
    if most > size.retry_limit + 1:
        problems.append(f"{most} attempts")
    return Row(
        fault=f"endpoint down {outage_s:.0f} s, {size.outage_schedules} x the retry schedule",
        messages=len(clients.accepted),
        delivered=len(clients.accepted & stage.arrived(path)),
        duplicated=duplicates(receiver.keys(path)),
        dead=len(dead_letters),
        waiting=waiting,
        recovered_s=recovered_s,
        note=f"{len(dead_letters)} were given up before the breaker opened; {failed} requests during the outage",
        problems=problems,
    )


def many_endpoints_down(stage: Stage) -> Row:
    """Many numbers at one host that is down: the others do not feel it, and all of it arrives when the host is back."""
    with _first_retry_after(stage, stage.size.many_down_retry_ms):
        return _many_endpoints_down(stage)


@contextlib.contextmanager
def _first_retry_after(stage: Stage, delay_ms: int) -> Iterator[None]:
    """The short pauses of the other rows would use all attempts up before five events of each endpoint have come."""
    name = "UNOAPI_MESSAGE_RETRY_DELAY"
    usual = stage.uno.environment[name]
    stage.uno.environment[name] = f"{delay_ms}"
    stage.restart_workers()
    try:
        yield
    finally:
        stage.uno.environment[name] = usual
        stage.restart_workers()


def _many_endpoints_down(stage: Stage) -> Row:
    size, receiver, healthy = stage.size, stage.receiver, stage.phone()
    phones = [stage.phone() for _ in range(size.endpoints)]
    before = stage.uno.depth("unoapi.dead")
    stage.register(healthy, "crm", receiver.url(f"/{healthy}"))
    for phone in phones:
        stage.register(phone, "crm", receiver.url(f"/many/{phone}"))
    receiver.script("/many", Behaviour(status=503))

    def delivered() -> int:  # their ids are not those of `event_clients`: the deliveries' count
        return sum(answered > 0 for _, answered in receiver.ids("/many").values())

    def ended() -> bool:
        return delivered() + stage.uno.depth("unoapi.dead") - before >= len(written)

    with ThreadPoolExecutor(9) as clients:
        texts = [(phone, f"{number}") for number in range(EACH) for phone in phones]
        over = threading.Event()
        others = clients.submit(_ways_s, stage, healthy, until=over)
        try:
            written = set(clients.map(partial(_write_at, stage, began=time.monotonic()), range(len(texts)), texts))
            # What failed before its endpoint was down comes into its queue when its next attempt is due.
            all_held = _within(size.within_s, lambda: stage.uno.held() >= len(written), every_s=2.0)
            receiver.script("/many", Behaviour())
            mended = time.monotonic()
            _within(size.within_s, ended, every_s=0.5)
            recovered_s = time.monotonic() - mended
        finally:
            over.set()  # whatever happens: who looks at the healthy one would go on for ever
        ways_s = sorted(others.result())
    healthy_s, slowest_s = ways_s[len(ways_s) * 95 // 100], ways_s[-1]
    waiting = 0 if ended() else stage.drain(ended, within_s=30)  # each queue's next look is there for minutes
    dead = stage.uno.depth("unoapi.dead") - before
    problems = [] if all_held else ["not all came to wait in their queues"]
    if healthy_s > HEALTHY_S or slowest_s > SLOWEST_HEALTHY_S:
        problems.append(f"a healthy endpoint waited {healthy_s:.1f} s, {slowest_s:.1f} s once")
    if recovered_s > RECOVERED_S:
        problems.append(f"recovered after {recovered_s:.1f} s")
    return Row(
        fault=f"{size.endpoints} endpoints of one host down",
        messages=len(written),
        delivered=delivered(),
        duplicated=duplicates(receiver.ids("/many")),
        dead=dead,
        waiting=waiting,
        recovered_s=recovered_s,
        note=f"{dead} were given up before their breaker opened; a healthy endpoint: 95th percentile "
        f"{healthy_s * 1000:.0f} ms, at most {slowest_s * 1000:.0f} ms",
        problems=problems,
    )


def _within(seconds: float, done: Callable[[], bool], *, every_s: float) -> bool:
    """Wait for something. Whether it came."""
    deadline = time.monotonic() + seconds
    while not (is_done := done()) and time.monotonic() < deadline:
        time.sleep(every_s)
    return is_done


def _write_at(stage: Stage, number: int, text: tuple[str, str], *, began: float) -> str:
    """Write a message at its time: the row is about what an outage costs, not about how much the machine carries."""
    time.sleep(max(0.0, began + number / stage.size.many_down_rate - time.monotonic()))
    return stage.uno.contact_writes(text[1], phone=text[0])


def _ways_s(stage: Stage, phone: str, *, until: threading.Event) -> list[float]:
    """How long it takes to a webhook that is well, tried again and again."""
    ways_s = [_way_s(stage, phone)]
    while not until.wait(0.2):
        ways_s.append(_way_s(stage, phone))
    return ways_s


def _way_s(stage: Stage, phone: str) -> float:
    """From the answer to a contact's message until its event is at the webhook."""
    path = f"/{phone}"
    before = stage.receiver.count(path)
    stage.uno.contact_writes("healthy", phone=phone)
    began = time.monotonic()
    stage.receiver.wait(before + 1, path)
    return time.monotonic() - began


def name_rebinds(stage: Stage) -> Row:
    """A name that leads to us at the first resolution and to the metadata service at the second.

    On a stack of its own, whose processes resolve names from a file. Flushes Redis: the last row.
    """
    hosts = stage.folder / "hosts"
    hosts.write_text("127.0.0.1 rebinds.example\n")
    path, receiver = "/rebinds", stage.receiver
    receiver.script(path, Behaviour(status=500, headers={"Connection": "close"}))
    settings = {
        "UNOAPI_MESSAGE_RETRY_LIMIT": "5",
        "UNOAPI_MESSAGE_RETRY_DELAY": "3000",
        "LD_PRELOAD": WRAPPER,
        "NSS_WRAPPER_HOSTS": str(hosts),
    }
    with stack(stage.servers, stage.folder, **settings) as uno:
        uno.web()
        worker = uno.worker(threads=2)
        phone = stage.phone()
        uno.register([{"id": "main", "urlAbsolute": f"http://rebinds.example:{receiver.port}{path}"}], phone=phone)
        message_id = uno.contact_writes("hello", phone=phone)
        receiver.wait(1, path)
        worker.stop()  # libcurl remembers names for a minute
        time.sleep(1.1)  # the file's date counts in seconds
        hosts.write_text("169.254.169.254 rebinds.example\n")
        uno.worker(threads=2)
        dead_letters = eventually(uno.dead, within_s=stage.size.within_s, every_s=0.5)
    problems = [] if receiver.count(path) == 1 else [f"{receiver.count(path)} requests"]
    ends = {(dead_letter["message_id"], dead_letter["reason"]) for dead_letter in dead_letters}
    if ends != {(message_id, "blocked")}:
        problems.append(f"ended as {sorted(ends)}")
    return Row(
        fault="receiver: its name leads to 169.254.169.254 at the second resolution",
        messages=1, delivered=0, dead=len(dead_letters), note="ends as blocked", problems=problems,
    )  # fmt: skip


@cache
def names_can_be_redirected() -> bool:
    """Whether names can be resolved from a file here: the library is there, or root on Debian gets it."""
    if not _loads() and os.geteuid() == 0 and shutil.which("apt-get"):
        with contextlib.suppress(ConfigurationError):
            install("libnss-wrapper")
    return _loads()


def _loads() -> bool:
    try:
        ctypes.CDLL(WRAPPER)
    except OSError:
        return False
    return True
