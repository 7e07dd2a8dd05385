"""A console with something on every page, over parts in memory."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from werkzeug.serving import make_server

from tests.support.api import MemoryApi, memory_api
from unoapi.broker.queue_depths import Depth
from unoapi.models.activity import RECEIVED, SENT
from unoapi.models.audit import AuditEntry
from unoapi.models.connector.events import QrCode, SessionState
from unoapi.models.jobs import now_ms
from unoapi.models.processes import this_process
from unoapi.models.replays import Progress, Replay
from unoapi.models.request_bin import BinnedRequest
from unoapi.models.trace import TraceEntry
from unoapi.services import request_bin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fakes import MemoryActivity, MemoryConnections, MemoryDirectory, MemoryProcesses
    from unoapi.bootstrap import Uno

SANDBOX = "5511999990000"
TO_SCAN, ONLINE, AT_META = "5511988880001", "5511988880002", "5511988880003"
MARIA, MISSING = "5549999990001", "wamid.THE.MESSAGE.THAT.IS.MISSING"
HOSTILE = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>"
"""The name of a number, as somebody may choose it."""


class StandingQueues:
    """What a queue monitor says of a busy installation."""

    def queues(self) -> list[Depth]:
        counts = {
            "incoming": (3, 2, 1, 0.4), "outgoing": (128, 50, 2, 12.0), "media": (0, 0, 2, 0.0),
            "notification": (0, 0, 1, 0.0), "webhook.status.failed": (0, 0, 1, 0.0),
            "incoming.whatsmeow": (0, 0, 1, 0.0), "outgoing.whatsmeow": (0, 0, 1, 0.0), "suspect": (0, 0, 1, 0.0),
            "delayed": (0, 0, 0, 0.0), "delayed.4": (40, 0, 0, 15.0), "dead": (7, 0, 0, 86_000.0),
        }  # fmt: skip
        return [
            Depth(
                f"unoapi.{name}", "", ready, unacked=unacked, consumers=consumers, oldest_s=oldest,
                in_per_s=ready / 10, out_per_s=consumers * 1.5,
            )
            for name, (ready, unacked, consumers, oldest) in counts.items()
        ] + [Depth("unoapi.held.*", "", 212, oldest_s=340.0)]  # fmt: skip


class Well:
    """A server that does its work."""

    def check(self, **_: float) -> Any:
        return SimpleNamespace(words="ok")


@contextmanager
def scene() -> Iterator[MemoryApi]:
    """The API over an installation that has something to show."""
    with memory_api(UNOAPI_MESSAGE_RETRY_LIMIT="0", UNOAPI_CONSOLE_BODIES="true") as plain:
        parts: dict[str, Any] = {"queue_monitor": StandingQueues(), "redis_monitor": Well()}
        api = MemoryApi(replace(plain.uno, **parts))
        hook = {"id": "crm", "urlAbsolute": "https://203.0.113.9/hooks/whatsapp", "token": "secret-of-the-receiver"}
        api.register([hook], phone=SANDBOX, label="Loja Centro")
        api.register([hook, {**hook, "id": "n8n"}], phone=TO_SCAN, label="Suporte", provider="whatsmeow")
        api.register([hook], phone=ONLINE, label=HOSTILE, provider="whatsmeow")
        api.register([hook], phone=AT_META, label="Vendas", provider="forwarder")
        for number in range(60):
            api.register([], phone=f"55219777{number:05}", label=f"Filial {number}")
        _connect(api.uno)
        _run(api.uno)
        _happen(api.uno)
        _write(api)
        yield api


def _write(api: MemoryApi) -> None:
    """Messages of the sandbox: some that came well, some that were given up, one that is missing and one that waits."""
    for number, answer in enumerate((200, 200, 500, 200, 410, 200, 200)):
        api.contact_writes(f"message {number}", phone=SANDBOX)
        api.send(f"answer {number}", phone=SANDBOX)
        api.work(answer, 200, 200, duration_ms=30 + 40 * number)
    body = {"from": MARIA, "profile": {"name": "Maria"}, "type": "text", "text": {"body": "Cadê?"}, "id": MISSING}
    api.post(f"/sandbox/{SANDBOX}/messages", body)
    api.work(500)
    api.contact_writes("waits for a worker", phone=SANDBOX)


def _connect(uno: Uno) -> None:
    connections, directory = cast("MemoryConnections", uno.connections), cast("MemoryDirectory", uno.directory)
    code = QrCode(code="2@abcdefghijklmnopqrstuvwxyz0123456789" * 4, n=1, of=3)
    connections.record(TO_SCAN, SessionState(state="qr"), at_ms=now_ms() - 1000, seq=1)
    connections.record(TO_SCAN, code, at_ms=now_ms(), seq=2)
    connections.record(ONLINE, SessionState(state="connected"), at_ms=now_ms(), seq=1)
    directory.recorded |= {TO_SCAN: "connecting", ONLINE: "online"}


def _run(uno: Uno) -> None:
    """Processes, one of which ended without a word, and a replay that goes on."""
    processes = cast("MemoryProcesses", uno.processes)
    for kind, pid, places, busy in (("web", 101, 16, None), ("worker", 102, 50, 50), ("media", 103, 2, 0)):
        processes.report(this_process(kind, pid=pid, name=kind, host="uno-1", places=places, busy=busy, queues=(kind,)))
    gone = this_process("worker", pid=99, name="gone", host="uno-2", places=50)
    processes.reported["gone"] = gone.model_copy(update={"seen_ms": now_ms() - 700_000})
    hour = {"since_ms": now_ms() - 3_600_000, "until_ms": now_ms(), "updated_ms": now_ms()}
    progress = Progress(begin=0, position=60, end=100, delivered=41, skipped=18, retrying=1)
    uno.replays.begin(
        Replay(id="r", phone=SANDBOX, webhook_id="crm", only_missing=True, rate=50, progress=progress, **hour)
    )


def _happen(uno: Uno) -> None:
    """A day with a lunch break and a receiver that was down for a while."""
    activity, now_s = cast("MemoryActivity", uno.activity), time.time()
    clock = [now_s]
    activity._now_s = lambda: clock[0]
    about: dict[str, Any] = {"phone": SANDBOX, "message_id": "wamid.scene", "webhook": "crm", "delivery_id": "scene"}
    for minute in range(60):
        clock[0] = now_s - 60 * (59 - minute)
        busy = 6 + minute % 7 + (8 if 20 < minute < 40 else 0)
        for number in range(busy):
            activity.count(SANDBOX, RECEIVED if number % 3 else SENT)
            ok = not (25 < minute < 29 and number % 2)
            entry = TraceEntry(
                step="delivered" if ok else "attempt", status=200 if ok else 503, duration_ms=20 + minute * 3, **about
            )
            activity.note(entry)
    clock[0] = now_s
    activity._now_s = time.time
    steps: list[tuple[Any, int | None, str]] = [
        ("accepted", None, ""), ("sent", None, ""), ("attempt", 503, "HTTP 503; again in 10 s"), ("delivered", 200, ""),
    ]  # fmt: skip
    for step, status, detail in steps:
        told = about if status else {**about, "webhook": ""}
        uno.traces.add(TraceEntry(step=step, status=status, detail=detail, duration_ms=31 if status else None, **told))
    uno.audit.add(AuditEntry(who=SANDBOX, what="console.sessions.save", phone=SANDBOX, address="203.0.113.20"))
    uno.audit.add(AuditEntry(who="operator", what="admin.replay", detail="12 dead letters", address="203.0.113.4"))
    request_bin.watch(SANDBOX, sessions=uno.sessions)
    body = json.dumps(
        {"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": "messages"}]}]}
    )
    headers = {"webhook-id": "3c1f", "webhook-attempt": "1", "Content-Type": "application/json; charset=utf-8"}
    uno.request_bin.add(SANDBOX, BinnedRequest(seq=int(now_s * 1e6), webhook="console-bin", headers=headers, body=body))


@contextmanager
def served(api: MemoryApi) -> Iterator[str]:
    """The application on a port of its own; gives its address."""
    server = make_server("127.0.0.1", 0, api.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(10)
