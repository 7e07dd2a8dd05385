"""A console with something on every page, over parts in memory."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast, get_args

from werkzeug.serving import make_server

from tests.support.api import MemoryApi, memory_api
from tests.support.fakes import make_delivery, make_send
from unoapi.broker.dead_letters import to_dead_letter
from unoapi.broker.queue_depths import Depth
from unoapi.models.activity import RECEIVED, SENT
from unoapi.models.attempts import Attempt, History
from unoapi.models.audit import AuditEntry
from unoapi.models.connector.events import STATES, STATUS_WORDS, QrCode, SessionState
from unoapi.models.dead_letters import EXPLAINED
from unoapi.models.endpoints import Endpoint
from unoapi.models.jobs import Envelope, now_ms
from unoapi.models.processes import this_process
from unoapi.models.replays import Progress, Replay
from unoapi.models.request_bin import BinnedRequest
from unoapi.models.trace import TraceEntry
from unoapi.services import request_bin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fakes import MemoryActivity, MemoryConnections, MemoryDirectory, MemoryProcesses
    from unoapi.bootstrap import Uno
    from unoapi.broker.messages import Message
    from unoapi.models.jobs import Job

SANDBOX = "5511999990000"
TO_SCAN, ONLINE, AT_META = "5511988880001", "5511988880002", "5511988880003"
CROWDED, OUTLET = "5511977770000", "55116666{:05}"
"""A number with as many webhooks as one may have and a name that is too long; one for each state of a phone."""
LONG_NAME = "Associação Beneficente dos Comerciantes e Prestadores de Serviços do Vale do Rio Itajaí-Açu, filial 12"
DIED = {
    "refused": "HTTP 500: Internal Server Error", "unreachable": "could not connect to crm.example.com:443 (timed out)",
    "throttled": "HTTP 429", "gone": "HTTP 410", "blocked": "10.0.0.5 is a private address (UNOAPI_ALLOWED_HOSTS)",
    "webhook_removed": "the webhook was removed", "too_old": "it waited for 48 h", "outcome_unknown": "no answer",
    "send_refused": "131026 Message undeliverable: the recipient is not on WhatsApp, or has not accepted the terms",
}  # fmt: skip
"""What the error of a dead letter says, by its reason."""
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
        _crowd(api)
        _run(api.uno)
        _happen(api.uno)
        _write(api)
        yield api


@contextmanager
def nothing() -> Iterator[MemoryApi]:
    """The API over an installation in which nobody has done anything."""
    with memory_api() as plain:
        yield MemoryApi(replace(plain.uno, redis_monitor=cast("Any", Well())))


def _crowd(api: MemoryApi) -> None:
    """A number in each state, one with many webhooks of which some are not well, a dead letter of each reason."""
    hooks = [
        {"id": f"crm-{number:02}", "urlAbsolute": f"https://crm-{number}.example.com/hooks/{'inbox/' * number}{number}"}
        for number in range(20)
    ]
    api.register(hooks, phone=CROWDED, label=LONG_NAME)
    connections, directory = cast("MemoryConnections", api.uno.connections), cast("MemoryDirectory", api.uno.directory)
    for number, word in enumerate(get_args(STATES)):
        phone, until = OUTLET.format(number), now_ms() // 1000 + 7200 if word in ("banned", "restricted") else 0
        api.register([], phone=phone, label=f"Loja {number}", provider="whatsmeow")
        connections.record(phone, SessionState(state=word, reason=word, until=until), at_ms=now_ms(), seq=1)
        directory.recorded[phone] = STATUS_WORDS[word]
    down, known = {Endpoint(CROWDED, f"crm-{number:02}") for number in (3, 4)}, api.uno.deliveries.endpoints
    breaker = f"open {now_ms() - 5_400_000}"
    api.uno.deliveries.endpoints = lambda endpoints: [  # type: ignore[method-assign]
        replace(state, breaker=breaker) if endpoint in down else state
        for endpoint, state in zip(endpoints, known(endpoints), strict=True)
    ]
    api.uno.breakers.went_down = lambda endpoints: [one for one in endpoints if one in down]  # type: ignore[method-assign]
    api.uno.breakers.count_open = lambda: len(down)  # type: ignore[method-assign]
    api.uno.deliveries.suspend(Endpoint(CROWDED, "crm-05"), pause_ms=3_600_000)
    for endpoint in down:
        about: dict[str, Any] = {"phone": CROWDED, "message_id": "wamid.down", "webhook": endpoint.webhook_id}
        api.uno.traces.add(TraceEntry(step="attempt", status=503, detail="HTTP 503; again in 10 s", **about))
    api.uno.publisher.publish_messages([*_dead_letters(api.uno)])


def _dead_letters(uno: Uno) -> Iterator[Message]:
    attempt = Attempt(status=500, error="HTTP 500: Internal Server Error", duration_ms=1312, outcome="refused")
    history = History(tries=6, attempts=(attempt,) * 6)
    for number, reason in enumerate((*chain.from_iterable(EXPLAINED.values()), "bug")):
        about = {"id": f"letter-{reason}", "phone": CROWDED, "message_id": f"wamid.{reason}"}
        job: Job = make_delivery(**about, webhook_id=f"crm-{number % 20:02}") if number % 3 else make_send(**about)
        error = DIED.get(reason, f"what went wrong, {reason}, in some words of the program and of the other side")
        traceback = 'File "unoapi/services/webhooks.py", line 12, in deliver\nKeyError' if reason == "bug" else ""
        envelope = Envelope(job, history=history)
        yield to_dead_letter(envelope, uno.topology, reason=reason, error=error, traceback=traceback)


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
