"""The parts of the attack. Each gives one row: how much was tried, and what went wrong."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import requests

from tests.attack import hostile
from tests.attack.honest import Honest
from tests.attack.stage import ATTACKER, UNSTORED, VICTIM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.attack.canaries import Leak
    from tests.attack.stage import Caller, Stage

THREADS = 4
TIMEOUT_S = 30.0
SHOWN = 5
ODD = ["0", "%00", "..%2f..%2fetc%2fpasswd", "%ff", "wamid.x", "a" * 3000, "%F0%9F%98%80"]
UNAVAILABLE = {501, 503}
HARMLESS = {"messaging_product": "whatsapp", "to": "5549988887777", "type": "text", "text": {"body": "hello"}}


@dataclass(frozen=True)
class Size:
    """How much is tried."""

    values_per_field: int = 8
    """Hostile values for every field."""
    connections: int = 500
    slow_s: float = 20.0
    events: int = 81_000
    alone_s: float = 5.0


SHORT = Size(values_per_field=1, connections=60, slow_s=4.0, events=81_000, alone_s=3.0)


@dataclass
class Row:
    """One part."""

    part: str
    tried: int = 0
    note: str = ""
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return self.tried > 0 and not self.problems


def _ask(stage: Stage, attempt: hostile.Attempt, session: requests.Session) -> tuple[int, str, float]:
    """Status, head and body of an answer, and how long it took. 0: none."""
    headers = {"Content-Type": attempt.kind}
    if attempt.caller.token:
        headers["Authorization"] = f"Bearer {attempt.caller.token}"
    began = time.monotonic()
    try:
        answer = session.request(
            attempt.method, stage.uno.url + attempt.path, data=attempt.body, headers=headers,
            timeout=TIMEOUT_S, allow_redirects=False,
        )  # fmt: skip
        text = f"{answer.headers}\n{answer.text[:200_000]}"
        status = answer.status_code
    except requests.RequestException as error:
        return 0, type(error).__name__, time.monotonic() - began
    return status, text, time.monotonic() - began


@contextmanager
def harmless_load(stage: Stage) -> Iterator[None]:
    """As many callers as attack at once, as busy as those, who do nothing wrong: what the machine makes of any load."""
    attempt = hostile.Attempt(
        "POST", f"/v15.0/{ATTACKER}/messages", json.dumps(HARMLESS).encode(), stage.attacker, "harmless", public=False
    )
    ended = threading.Event()

    def send() -> None:
        with requests.Session() as session:
            session.trust_env = False
            while not ended.is_set():
                _ask(stage, attempt, session)

    with ThreadPoolExecutor(THREADS) as pool:
        for _ in range(THREADS):
            pool.submit(send)
        try:
            yield
        finally:
            ended.set()


def fields(stage: Stage, size: Size, harmless_ms: float) -> Row:
    """Every route with hostile values in every field, as each caller."""
    callers = [*[stage.attacker] * 3, stage.stranger, *[stage.attacker] * 3, stage.outsider]
    row, statuses, slow = Row("every route, hostile values in every field"), Counter[int](), Counter[str]()
    problems: Counter[str] = Counter()
    paths = hostile.filler([VICTIM, UNSTORED], ODD)
    plan = hostile.attempts(
        stage.document,
        callers,
        paths=paths,
        values_per_field=size.values_per_field,
        hostile=hostile.values(stage.closed),
    )

    restoring = threading.Lock()

    def check(attempt: hostile.Attempt) -> None:
        with requests.Session() as session:
            session.trust_env = False
            status, text, took_s = _ask(stage, attempt, session)
            if status == 401 and attempt.caller is stage.attacker and not _another(attempt):
                with restoring:  # he has just taken his own token away
                    stage.restore()
                status, text, took_s = _ask(stage, attempt, session)
        statuses[status] += 1
        label = f"{attempt.method} {attempt.path[:80]} by the {attempt.caller.name} ({attempt.what})"
        if status == 0 or (status >= 500 and status not in UNAVAILABLE):
            problems[f"{status or text}: {label}"] += 1
        for leak in stage.canaries.leaks(text, where=label, own=attempt.caller.knows):
            problems[f"{leak.secret} in the answer to {leak.where}"] += 1
        if _another(attempt) and status < 300 and not attempt.public:
            problems[f"{status} for another's number: {label}"] += 1
        slow[label] = int(took_s * 1000)

    with Honest(stage.uno.url, stage.honest) as honest, ThreadPoolExecutor(THREADS) as pool:
        for _, made in plan:
            row.tried += len(made)
            list(pool.map(check, made))
            stage.restore()
    row.problems += _first(problems) + honest.problems(harmless_ms)
    counts = ", ".join(f"{number} x {status}" for status, number in sorted(statuses.items()))
    row.note = (
        f"{counts}; slowest {max(slow.values())} ms; honest: {honest.median_ms:.0f} ms, p95 {honest.p95_ms:.0f} ms"
    )
    return row


def _another(attempt: hostile.Attempt) -> bool:
    """Whether the request is for a number that the caller has no token of."""
    own = attempt.caller.phone if attempt.caller.name == "attacker" else ""
    named = re.findall(f"{VICTIM}|{ATTACKER}|{UNSTORED}", attempt.path)
    return bool(named) and named[0] != own  # the second one is a contact


def connections(stage: Stage, size: Size, harmless_ms: float) -> Row:
    """Connections that say nothing, or little by little, beside an honest caller."""
    row = Row(f"{size.connections} idle and slow connections")
    said = (
        b"",
        b"G",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        _slow_post(stage, None),
        _slow_post(stage, stage.attacker),
    )
    opened: list[socket.socket] = []
    try:
        for number in range(size.connections):
            try:
                made = socket.create_connection(("127.0.0.1", stage.uno.port), timeout=5)
                made.sendall(said[number % len(said)])
            except OSError:
                row.note = f"the {number}th was not taken; "
                break
            opened.append(made)
        row.tried = len(opened)
        with Honest(stage.uno.url, stage.honest) as honest:
            deadline = time.monotonic() + size.slow_s
            while time.monotonic() < deadline:
                time.sleep(1.0)
                for made in opened:
                    _drip(made)
    finally:
        for made in opened:
            made.close()
    row.problems += honest.problems(harmless_ms)
    row.note += f"{honest}"
    return row


def _slow_post(stage: Stage, caller: Caller | None) -> bytes:
    token = f"Authorization: Bearer {caller.token}\r\n" if caller else ""
    path = f"/v15.0/{ATTACKER}/messages" if caller else "/webhooks/whatsapp"
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{stage.uno.port}\r\n{token}Content-Length: 900000\r\n\r\n{{".encode()
    )


def _drip(made: socket.socket) -> None:
    try:
        made.send(b" ")
    except OSError:
        return  # closed by the API, as it should be


def bodies(stage: Stage, size: Size, harmless_ms: float) -> Row:
    """Bodies that are large, deep or wide, and the worst cases of patterns, beside an honest caller."""
    row, problems = Row("large, deep and wide bodies"), Counter[str]()
    event = {"from": "1", "id": "m", "type": "text", "text": {"body": "x"}}
    template = {"name": "t", "language": "en", "category": "UTILITY"}
    many = {"entry": [{"id": "1", "changes": [{"field": "messages", "value": {"messages": [{}] * size.events}}]}]}
    bulk = {"pad": "A" * 500_000, "messages": [{**event, "id": f"m{number}"} for number in range(900)]}
    big = {"entry": [{"id": "1", "changes": [{"field": "messages", "value": bulk}]}]}
    to_group = {"to": "120363000000000000@g.us", "type": "text", "text": {"body": " " * 4_000 + "@todo"}}
    texts = {
        f"{size.events} events": ("POST", f"/webhooks/whatsapp/{ATTACKER}", json.dumps(many)),
        "bulk beside 900 events": ("POST", f"/webhooks/whatsapp/{ATTACKER}", json.dumps(big)),
        "deep list": ("POST", f"/v15.0/{ATTACKER}/messages", "[" * 400_000),
        "deep object": ("POST", f"/v15.0/{ATTACKER}/register", '{"a":' * 150_000 + "1" + "}" * 150_000),
        "wide object": ("POST", f"/v15.0/{ATTACKER}/register", json.dumps({f"k{n}": n for n in range(60_000)})),
        "wide list": ("POST", f"/v15.0/{ATTACKER}/messages", json.dumps({"to": [0] * 300_000})),
        "a long number": ("POST", f"/v15.0/{ATTACKER}/messages", f'{{"to": {"9" * 900_000}}}'),
        "a repeated key": ("POST", f"/v15.0/{ATTACKER}/messages", "{" + '"type":"text",' * 60_000 + '"to":"1"}'),
        "a template of spaces": (
            "POST", f"/v15.0/{ATTACKER}/message_templates",
            json.dumps({**template, "components": [{"type": "BODY", "text": "{{" + " " * 4_000}]}),
        ),
        "the templates": ("GET", f"/v15.0/{ATTACKER}/message_templates", ""),
        "spaces to a group": ("POST", f"/v15.0/{ATTACKER}/messages", json.dumps(to_group)),
        "beyond the limit": ("POST", f"/v15.0/{ATTACKER}/messages", " " * 3_000_000),
    }  # fmt: skip
    with Honest(stage.uno.url, stage.honest) as honest, requests.Session() as session:
        session.trust_env = False
        for _ in range(size.values_per_field):
            for what, (method, path, text) in texts.items():
                attempt = hostile.Attempt(method, path, text.encode() or None, stage.attacker, what, public=False)
                status, answer, took_s = _ask(stage, attempt, session)
                row.tried += 1
                if status == 0 or (status >= 500 and status not in UNAVAILABLE):
                    problems[f"{status or answer} after {took_s:.1f} s: {what}"] += 1
        stage.restore()
        time.sleep(1.0)
    row.problems += _first(problems) + honest.problems(harmless_ms)
    row.note = f"{honest}"
    return row


def addresses(stage: Stage, size: Size, harmless_ms: float) -> Row:  # noqa: ARG001 (all parts are called alike)
    """The attacker's webhooks, links, proxy and Meta address lead where the guard has closed."""
    row, uno, token = Row("addresses that the guard closes"), stage.uno, str(stage.attacker.token)
    path = f"/v15.0/{ATTACKER}"
    event = {"id": "m1", "from": "1", "type": "image", "image": {"id": "1", "mime_type": "image/png"}}
    for url in stage.closed:
        configurations: list[dict[str, Any]] = [
            {"webhooks": [{"id": "evil", "urlAbsolute": url}]},
            {"webhooks": [{"id": "evil", "url": url, "url_absolute": url}]},
            {"sessionWebhook": url},
            {"proxyUrl": url},
            {"provider": "forwarder", "webhookForward": {"url": url, "phoneNumberId": "1", "token": "mine"}},
        ]
        for config in configurations:
            uno.post(f"{path}/register", config, token=token)
            for kind in ("audio", "document"):
                body = {"to": "5549988887777", "type": kind, kind: {"link": url}}
                uno.post(f"{path}/messages", body, token=token)
            uno.post(f"/webhooks/whatsapp/{ATTACKER}", _callback(event), token=token)
            row.tried += 4
            stage.restore()
    time.sleep(3.0)
    for name, trap in (("a closed address", stage.trap), ("Flower's port", stage.flower)):
        if trap.came:
            row.problems.append(f"{trap.came} connections to {name}")
    row.note = f"{len(stage.closed)} addresses"
    return row


def _callback(message: dict[str, Any]) -> dict[str, Any]:
    value = {"messaging_product": "whatsapp", "messages": [message]}
    return {"entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}]}


def credentials(stage: Stage, size: Size, harmless_ms: float) -> Row:  # noqa: ARG001 (all parts are called alike)
    """The attacker has messages and events sent to himself, with every mixture of his fields and the operator's."""
    row, uno, token = Row("credentials of others, asked for"), stage.uno, str(stage.attacker.token)
    own_url, environment = stage.theirs.url("/attacker"), uno.environment["WEBHOOK_URL"]
    configurations: list[dict[str, Any]] = [
        {"provider": "forwarder", "webhookForward": {"url": own_url, "phoneNumberId": "1"}},
        {"provider": "forwarder", "webhookForward": {"url": own_url}},
        {"provider": "forwarder", "webhookForward": {"phoneNumberId": "1", "version": f"../../{own_url}"}},
        {"webhooks": [{"url": environment, "url_absolute": own_url}]},
        {"webhooks": [{"url": environment, "urlAbsolute": own_url}]},
        {"webhooks": [{"id": "default", "url_absolute": own_url}]},
        {"webhooks": [{"id": "default", "urlAbsolute": f"{own_url}#{environment}"}]},
        {"webhooks": [{"id": "default", "urlAbsolute": own_url.replace("http://", f"http://{environment[7:]}@", 1)}]},
        {"webhooks": [{"id": "default", "urlAbsolute": f"{environment}/../x", "header": "X-Mine"}]},
        {"webhookForward": {"phoneNumberId": VICTIM}},
        {"webhookForward": {"businessAccountId": VICTIM}},
    ]
    message = {"from": "1", "id": "m2", "type": "image", "image": {"id": "1"}}
    for config in configurations:
        uno.post(f"/v15.0/{ATTACKER}/register", config, token=token)
        body = {"to": "5549988887777", "type": "text", "text": {"body": "x"}}
        for phone in (ATTACKER, VICTIM, UNSTORED):
            uno.post(f"/v15.0/{phone}/messages", body, token=token)
            uno.post(f"/webhooks/whatsapp/{phone}", _callback(message), token=token)
            row.tried += 2
        time.sleep(0.3)  # the deliveries are on their way
        stage.restore()
    time.sleep(3.0)
    return row


def traces(stage: Stage, size: Size, harmless_ms: float) -> Row:  # noqa: ARG001 (all parts are called alike)
    """At the end: no canary in what the attacker's webhook got, in what others got, or in a log."""
    row = Row("canaries in webhooks and logs")
    leaks: list[Leak] = []
    for receiver, own in ((stage.theirs, stage.attacker.knows), (stage.others, None)):
        for request in receiver.requests("/"):
            row.tried += 1
            seen = f"{request.path} {request.headers} {request.body}"
            leaks += stage.canaries.leaks(
                seen, where=f"a request to {request.path[:40]}", own=own or _own(request.path)
            )
    for name, text in stage.logs().items():
        row.tried += 1
        leaks += stage.canaries.leaks(text, where=f"the log {name.partition('-')[0]}")
        if "Traceback" in text:
            row.problems.append(f"a traceback in the log {name.partition('-')[0]}")
    row.problems += _first(Counter(f"{leak.secret} in {leak.where}" for leak in leaks))
    return row


def _own(path: str) -> tuple[str, ...]:
    """The secrets that belong at a path of the receiver that others have."""
    belongs = {
        "/victim": ("victimwebhook", "text", "sent"),
        "/environment": ("webhook",),
        "/graph": ("meta",),
        "/callback": ("callback",),
        "/alerts": ("alerts",),
    }
    return next((names for prefix, names in belongs.items() if path.startswith(prefix)), ())


def _first(problems: Counter[str]) -> list[str]:
    shown = [f"{text} ({number} x)" if number > 1 else text for text, number in problems.most_common(SHOWN)]
    return [*shown, f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else shown


PARTS: dict[str, Callable[[Stage, Size, float], Row]] = {
    "fields": fields,
    "bodies": bodies,
    "connections": connections,
    "addresses": addresses,
    "credentials": credentials,
    "traces": traces,
}
