"""How long each page of the console takes with much behind it: `make console-figures`.

Real RabbitMQ and Redis, the application in this process, 5,000 numbers, 100,000 dead letters and 1,000,000 messages
with their traces. A page is slow when its 95th percentile is over 300 ms. `--share 0.01` fills in the hundredth part.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis

from tests.support.api import make_settings
from tests.support.console import Browser
from tests.support.stack import BIN, CONTACT, OPERATOR, eventually
from unoapi.bootstrap import bootstrap
from unoapi.broker.dead_letters import to_dead_letter
from unoapi.devenv.servers import PrivateServers
from unoapi.models.jobs import DeliverWebhook, Envelope, now_ms
from unoapi.models.message_log import LoggedMessage
from unoapi.models.trace import read_entry
from unoapi.stores.message_log import RedisMessageLog
from unoapi.stores.traces import RedisTraces
from unoapi.web.app import create_app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unoapi.bootstrap import Uno
    from unoapi.stores.redis import Command

    Steps = tuple[dict[str, Any], ...]

SESSIONS, LETTERS, MESSAGES = 5_000, 100_000, 1_000_000
TIMES, MOST_MS = 30, 300.0
WATCHED_S, MOST_WORKER_SHARE = 10.0, 0.01
"""So long a worker is watched while pages are opened all the time, and so much of a core it may take for them."""
AT_ONCE = 20_000
WEBHOOK = {"id": "crm", "urlAbsolute": "https://203.0.113.9/hook", "token": "x" * 20}


class Collected:
    """A Redis client that keeps the commands that a store posts, to be written by thousands."""

    def __init__(self, direct: Any) -> None:
        self._direct = direct
        self._commands: list[Command] = []

    def post(self, *commands: Command) -> None:
        self._commands += commands
        if len(self._commands) >= AT_ONCE:
            self.write()

    def write(self) -> None:
        pipeline = self._direct.pipeline(transaction=False)
        for command in self._commands:
            pipeline.execute_command(*command)
        pipeline.execute()
        self._commands.clear()


def phone_of(number: int) -> str:
    return f"5511{number:09}"


def token_of(number: int) -> str:
    return f"token-of-{number:012}"


def fill(uno: Uno, direct: Any, share: float) -> str:
    """Write it all; returns the id of one message of the first number."""
    sessions, messages = max(10, int(SESSIONS * share)), int(MESSAGES * share)
    written: Any = Collected(direct)
    for number in range(sessions):
        config = {"provider": "sandbox", "authToken": token_of(number), "label": f"Shop {number}"}
        written.post(
            ("SET", f"unoapi-config:{phone_of(number)}", json.dumps({**config, "webhooks": [WEBHOOK]})),
            ("SADD", "unoapi-sessions", phone_of(number)),
        )
    traces = RedisTraces(written, ttl_s=86_400)
    log = RedisMessageLog(written, most=uno.settings.unoapi_message_log_max, ttl_s=86_400)
    to_webhook = {"kind": "message", "webhook": "crm", "attempt": 1}
    begun: Steps = ({"step": "accepted", "kind": "text"}, {"step": "queued", **to_webhook})
    delivered: Steps = ({"step": "delivered", **to_webhook, "status": 200, "duration_ms": 20},)
    refused: Steps = ({"step": "attempt", **to_webhook, "status": 500, "detail": "HTTP 500; again in 10 s"},)
    dead: Steps = ({"step": "dead", **to_webhook, "status": 500, "detail": "refused: HTTP 500"},)
    odd = {0: begun + refused + dead, 1: begun + refused + delivered}
    for number in range(messages):
        phone, message_id = phone_of(number % sessions if number % 4 else 0), f"wamid.{number:032X}"
        contact = f"{int(CONTACT) + number % 10_000}"
        log.add(LoggedMessage(now_ms(), phone, "received", contact, "text", message_id))
        for step in odd.get(number % 200, begun + delivered):
            traces.add(read_entry({**step, "phone": phone, "message_id": message_id}))
    written.write()
    for start in range(0, int(LETTERS * share), 500):
        jobs = (
            DeliverWebhook(
                id=f"letter-{number}", phone=phone_of(number % sessions), message_id=f"wamid.{number:032X}",
                event_id=f"{number}", webhook_id="crm", kind="message", stored=True, body="{}" * 400,
            )
            for number in range(start, start + 500)
        )  # fmt: skip
        letters = [to_dead_letter(Envelope(job), uno.topology, reason="refused", error="HTTP 500") for job in jobs]
        uno.publisher.publish_messages(letters, timeout_s=30.0)
    return f"wamid.{0:032X}"


def pages(message_id: str, sessions: int, letters: int) -> dict[str, str]:
    """What the operator opens, by name."""
    first = phone_of(0)
    return {
        "overview": "/console/overview",
        "numbers": "/console/sessions",
        "numbers, last page": f"/console/sessions?page={max(1, sessions // 50)}",
        "numbers, found": "/console/sessions?q=Shop+49",
        "numbers by state": "/console/sessions?state=standby",
        "number": f"/session/{first}",
        "messages": "/console/messages",
        "messages of a number": f"/console/messages?phone={first}",
        "messages of a contact": f"/console/messages?phone={first}&contact=7777&since=1h",
        "messages, none found": f"/console/messages?phone={first}&contact=00000000",
        "messages by state": f"/console/messages?phone={first}&state=failed",
        "messages given up, of all": "/console/messages?state=dead",
        "messages that wait, of all": "/console/messages?state=waiting",
        "given up, of a contact": "/console/messages?state=dead&contact=7777",
        "message": f"/console/messages/{first}/{message_id}",
        "webhooks": "/console/webhooks",
        "webhooks that are down": "/console/webhooks?state=down",
        "webhooks that are paused": "/console/webhooks?state=paused",
        "webhooks that work": "/console/webhooks?state=open&page=10",
        "webhook": f"/console/webhooks/{first}/crm",
        "dead letters": "/console/dead-letters",
        "dead letters, page 5": "/console/dead-letters?offset=200",
        "dead letters, page 100": "/console/dead-letters?offset=5000",
        "dead letters of a number": f"/console/dead-letters?phone={phone_of(sessions - 1)}",
        "dead letters of nobody": "/console/dead-letters?phone=1",
        "dead letter": "/console/dead-letters/letter-1",
        "dead letter, deep": f"/console/dead-letters/letter-{letters - 1}",
        "dead letters, purge": "/console/dead-letters/purge",
        "queues": "/console/queues",
        "audit": "/console/audit",
    }


def own_pages() -> dict[str, str]:
    """What the owner of a number opens, by name."""
    return {
        "own numbers": "/console/sessions",
        "own messages": "/console/messages",
        "own webhooks": "/console/webhooks",
        "try it": f"/console/try/{phone_of(0)}",
    }


def measured(browser: Browser, path: str) -> Iterator[tuple[float, float]]:
    """The times of a page, and the processor times of this process, in milliseconds."""
    for _ in range(TIMES):
        began, worked = time.perf_counter(), time.process_time()
        answer = browser.get(path)
        yield (time.perf_counter() - began) * 1000, (time.process_time() - worked) * 1000
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:300]}"


def worker_times(servers: PrivateServers, uno: Uno, browser: Browser) -> tuple[float, float]:
    """The processor time of a worker in some seconds, in milliseconds: at rest, and while the overview is opened."""
    own = {"AMQP_URL": servers.amqp_url, "REDIS_URL": servers.redis_url, "UNOAPI_AUTH_TOKEN": OPERATOR}
    environment = {"PATH": f"{BIN}:{os.environ['PATH']}", "DOTENV_CONFIG_PATH": os.devnull, "LOG_LEVEL": "fatal", **own}
    command = [str(BIN / "celery"), "--quiet", "-A", "tasks.app", "worker", "--pool", "threads", "--task-events"]
    with subprocess.Popen([*command, "--queues", "unoapi.outgoing", "-n", "worker@x"], env=environment) as worker:
        try:
            eventually(uno.processes.all, within_s=60, what="a worker")
            time.sleep(2)
            return _worked(worker.pid, lambda: time.sleep(0.1)), _worked(worker.pid, partial(_open_overview, browser))
        finally:
            worker.terminate()


def _open_overview(browser: Browser) -> None:
    for path in ("/console/overview", "/console/overview/live", "/console/queues"):
        browser.page(path)


def _worked(pid: int, do: Callable[[], None]) -> float:
    before, until = _processor_ms(pid), time.monotonic() + WATCHED_S
    while time.monotonic() < until:
        do()
    return _processor_ms(pid) - before


def _processor_ms(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Fill, open, and print a table. 1 when a page is slow."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of all that is filled in")
    share = parser.parse_args().share
    slow = []
    with tempfile.TemporaryDirectory() as folder, PrivateServers(Path(folder), durable=False) as servers:
        settings = make_settings(
            AMQP_URL=servers.amqp_url, REDIS_URL=servers.redis_url, BASE_STORE=folder, LOG_LEVEL="fatal"
        )
        uno = bootstrap(settings)
        uno.publisher.check(timeout_s=10.0)
        began = time.monotonic()
        direct: Any = redis.Redis.from_url(servers.redis_url)
        message_id = fill(uno, direct, share)
        memory_mb = direct.info("memory")["used_memory"] / 1e6
        sys.stdout.write(f"filled in {time.monotonic() - began:.0f} s; Redis has {memory_mb:.0f} MB\n")
        app: Any = type("Served", (), {"app": create_app(uno)})()
        operator, owner = Browser(app, OPERATOR), Browser(app, token_of(0))
        opened = [
            (operator, *page)
            for page in pages(message_id, max(10, int(SESSIONS * share)), int(LETTERS * share)).items()
        ]
        opened += [(owner, *page) for page in own_pages().items()]
        for browser, name, path in opened:
            both = list(measured(browser, path))
            times = sorted(took for took, _ in both)
            p50, p95, worked = (
                statistics.median(times),
                times[int(len(times) * 0.95)],
                statistics.mean(cpu for _, cpu in both),
            )
            slow += [name] if p95 > MOST_MS else []
            sys.stdout.write(
                f"{name:26} p50 {p50:7.1f} ms   p95 {p95:7.1f} ms   at most {times[-1]:7.1f} ms   "
                f"{worked:6.1f} ms of this process\n"
            )
            sys.stdout.flush()
        rest, watched = worker_times(servers, uno, operator)
        slow += ["worker"] if watched > rest + WATCHED_S * MOST_WORKER_SHARE * 1000 else []
        sys.stdout.write(
            f"worker, {WATCHED_S:g} s: {rest:.0f} ms at rest, {watched:.0f} ms while the overview is opened\n"
        )
        uno.close()
        direct.close()
    sys.stdout.write(f"{'SLOW: ' + ', '.join(slow) if slow else 'no page is slow'}\n")
    return int(bool(slow))


if __name__ == "__main__":
    sys.exit(main())
