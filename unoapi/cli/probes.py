"""What `unoapi doctor` looks at: servers, processes, numbers, addresses and this machine. Nothing is changed."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import stat
import tempfile
import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests

from unoapi.broker.inspection import inspect_broker
from unoapi.broker.management_api import ManagementApi
from unoapi.cli import checks
from unoapi.cli.checks import (
    AddressState,
    FolderState,
    MachineState,
    NumberState,
    PublicState,
    RedisState,
)
from unoapi.cli.findings import broker_advice, broker_hosts, note, without_login, wrong
from unoapi.errors import BrokerUnavailable, MediaMissing, StoreUnavailable
from unoapi.errors.connections import why_not_connected
from unoapi.http.ca_bundle import find_ca_bundle
from unoapi.http.reachability import connection_failure
from unoapi.models.endpoints import Endpoint, origin_of
from unoapi.models.request_bin import BIN_URL
from unoapi.services.parallel import run_all
from unoapi.services.sessions import status_of
from unoapi.stores.connections import lease_key
from unoapi.stores.redis_health import PROBE_KEY, PROBE_TTL_S
from unoapi.stores.redis_marker import LOST
from unoapi.stores.redis_marker import READ as READ_MARKER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from unoapi.bootstrap import Uno
    from unoapi.cli.findings import Finding
    from unoapi.models.session import Session
    from unoapi.settings import Settings

    Check = Callable[[], Iterable[Finding]]

BROKER_S, NODE_S = 8.0, 2.0
CONNECT_TIMEOUT_MS = 4000
PUBLIC_TIMEOUT_S = 5.0
MAX_ANSWER_BYTES = 65_536
MOST_ADDRESSES = 60
ADDRESSES_S = 8.0
MOST_NUMBERS = 2000
BATCH = 200


def checks_of(uno: Uno) -> dict[str, Check]:
    """All checks of an installation by name. Each ends by itself but for a resolver's patience."""
    settings = uno.settings
    return {
        "rabbitmq": lambda: _rabbitmq(uno),
        "redis": lambda: _redis(uno),
        "numbers": lambda: _numbers(uno),
        "certificates": lambda: checks.check_authorities(os.environ.get("SSL_CERT_FILE", "")),
        "address": lambda: _addresses(uno),
        "base url": lambda: _public(f"{settings.base_url}"),
        "disk": lambda: _folders(settings),
        "memory": lambda: checks.check_machine(_machine(), settings),
        "files": lambda: checks.check_links(settings),
        "bucket": lambda: checks.check_bucket(settings, _bucket_trouble(uno)),
        "alerts": lambda: checks.check_channels(uno.alert_channels.unknown()),
        "graph": lambda: [
            note("graph", f"{words}: set WEBHOOK_FORWARD_VERSION, or webhookForward.version of its sessions")
            for words in uno.graph_watch.warnings()
        ],
    }


# --- servers ---


def _rabbitmq(uno: Uno) -> Iterator[Finding]:
    where = broker_hosts(uno.settings)
    try:
        state = inspect_broker(uno.settings.amqp_url.get_secret_value(), uno.topology, within_s=BROKER_S)
    except BrokerUnavailable as error:
        yield wrong("rabbitmq", f"{where}: {broker_advice(error)}")
        return
    yield from checks.check_broker(state, where=where)
    yield from checks.check_nodes(_silent_nodes(uno.settings))
    url = uno.settings.rabbitmq_management_url.get_secret_value()
    policies = ManagementApi(url, vhost=uno.settings.amqp_vhost).policies(uno.topology)
    yield from checks.check_policies(policies, asked=bool(url))
    yield from checks.check_consumers(state, prefix=uno.topology.prefix)
    with suppress(StoreUnavailable):
        yield from checks.check_processes(uno.processes.all())
    try:
        ages = {depth.queue: depth.oldest_s or 0.0 for depth in uno.queue_monitor.queues()}
    except BrokerUnavailable:
        ages = {}
    yield from checks.check_waiting(state, ages, dead=uno.topology.dead)


def _silent_nodes(settings: Settings) -> list[str]:
    """Of several nodes of RabbitMQ those that take no connection."""
    nodes = {without_login(url): urlsplit(url) for url in settings.amqp_urls}

    def answers(host: str, port: int) -> bool:
        with socket.create_connection((host, port), timeout=NODE_S):
            return True

    tries = [
        partial(answers, node.hostname or "localhost", node.port or (5671 if node.scheme == "amqps" else 5672))
        for node in nodes.values()
    ]
    answered = run_all(tries, within_s=NODE_S) if len(nodes) > 1 else []
    return [name for name, is_there in zip(nodes, answered, strict=False) if is_there is not True]


def _redis(uno: Uno) -> Iterator[Finding]:
    state = redis_state(uno)
    yield from checks.check_redis(state, where=without_login(uno.settings.redis_url.get_secret_value()))
    yield from checks.check_clock(state)


def redis_state(uno: Uno) -> RedisState:
    """What Redis says of itself now, and how far its clock is ahead."""
    if trouble := uno.redis.trouble():
        return RedisState(trouble)
    info, health, denied = uno.redis.info_now(), uno.redis_monitor.check(), tuple(_denied(uno))
    try:
        before = time.time()
        (now,) = uno.redis.call(("TIME",))
        clock_s = int(now[0]) + int(now[1]) / 1e6 - (before + time.time()) / 2
        (marker,) = uno.redis.call(READ_MARKER)
    except StoreUnavailable:
        return RedisState(health=health, info=info, denied=denied)
    lost = f"{marker}".startswith(LOST)
    return RedisState(health=health, info=info, clock_s=clock_s, lost=lost, denied=denied)


def _denied(uno: Uno) -> Iterator[str]:
    """The commands, of those that stand for all, that the user of Redis may not run."""
    for command in (("SET", PROBE_KEY, "1", "EX", PROBE_TTL_S), ("EVAL", "return 1", 0), ("PUBLISH", PROBE_KEY, "")):
        try:
            uno.redis.call(command)
        except StoreUnavailable as error:
            if "NOPERM" in f"{error}":
                yield f"{command[0]}"


# --- numbers and addresses ---


def _numbers(uno: Uno) -> Iterator[Finding]:
    try:
        sessions = uno.directory.all()
        readable = {session.phone for session in sessions if not session.has_webhook_without_address}
        unreadable = sorted(set(uno.sessions.phones()) - readable)
        states = list(_number_states(uno, sessions[:MOST_NUMBERS]))
    except StoreUnavailable:
        yield note("numbers", "cannot be read while Redis does not answer")
        return
    if len(sessions) > MOST_NUMBERS:
        yield note("numbers", f"only the first {MOST_NUMBERS} of {len(sessions)} were looked at")
    serves_unknown = uno.settings.webhook_url is not None or uno.settings.webhook_url_absolute is not None
    yield from checks.check_numbers(states, serves_unknown=serves_unknown, unreadable=unreadable)
    yield from checks.check_callbacks(sessions, uno.settings)


def _number_states(uno: Uno, sessions: list[Session]) -> Iterator[NumberState]:
    remaining = iter(sessions)
    while batch := list(islice(remaining, BATCH)):
        statuses = uno.directory.statuses([session.phone for session in batch])
        leases = uno.redis.call(*(("EXISTS", lease_key(session.phone)) for session in batch))
        for session, leased in zip(batch, leases, strict=True):
            ends = uno.deliveries.endpoints([Endpoint(session.phone, webhook.id) for webhook in session.webhooks])
            yield NumberState(
                phone=session.phone,
                provider=session.provider,
                status=status_of(session, statuses.get(session.phone)),
                leased=bool(leased),
                wanted=session.auto_connect,
                lacks=_lacking(session),
                webhooks={
                    webhook.id: "paused"
                    if state.paused_ms
                    else "down"
                    if (state.breaker or "").startswith("open")
                    else "open"
                    for webhook, state in zip(session.webhooks, ends, strict=True)
                },
            )


def _lacking(session: Session) -> list[str]:
    """The fields of an account at Meta that are missing."""
    account = session.webhook_forward
    fields = {"phoneNumberId": account.phone_number_id, "token": account.token.get_secret_value()}
    return [name for name, value in fields.items() if not value] if session.provider == "forwarder" else []


def _addresses(uno: Uno) -> Iterator[Finding]:
    wanted = dict(_own_addresses(uno.settings))
    try:
        sessions = uno.directory.all()
    except StoreUnavailable:
        sessions = []
    trusted = set(wanted)
    for session in sessions:
        for webhook in session.webhooks:
            url = webhook.address(session.phone)
            if url == BIN_URL:  # goes nowhere, on purpose
                continue
            if uno.operator_addresses.include(url, phone=session.phone):
                trusted.add(url)
            wanted.setdefault(url, f"webhook {webhook.id} of {session.phone}")
    by_origin: dict[tuple[object, bool], tuple[str, str]] = {}
    for url, name in wanted.items():
        by_origin.setdefault((origin_of(url), url in trusted), (url, name))
    chosen = list(by_origin.values())[:MOST_ADDRESSES]

    def tried(url: str, name: str) -> AddressState:
        step, error = connection_failure(uno.address_guard, url, timeout_ms=CONNECT_TIMEOUT_MS, trusted=url in trusted)
        return AddressState(name, _origin(url), step, error)

    outcomes = run_all([partial(tried, url, name) for url, name in chosen], within_s=ADDRESSES_S)
    states = [
        outcome
        if isinstance(outcome, AddressState)
        else AddressState(name, _origin(url), "name", f"no answer within {ADDRESSES_S:g} s")
        for outcome, (url, name) in zip(outcomes, chosen, strict=True)
    ]
    yield from checks.check_addresses(states, left_out=len(by_origin) - len(chosen))


def _own_addresses(settings: Settings) -> Iterator[tuple[str, str]]:
    """The addresses that only the operator chooses, by their settings."""
    for name in ("status_failed_webhook_url", "webhook_session", "webhook_url", "webhook_url_absolute"):
        if url := getattr(settings, name):
            yield f"{url}", name.upper()
    if settings.storage_endpoint is not None:
        yield f"{settings.storage_endpoint}", "STORAGE_ENDPOINT"
    if settings.webhook_forward_token.get_secret_value():
        yield f"{settings.webhook_forward_url}", "WEBHOOK_FORWARD_URL"
    for name in ("openai", "groq"):
        if getattr(settings, f"{name}_api_key").get_secret_value():
            yield f"{getattr(settings, f'{name}_api_base_url')}", f"{name.upper()}_API_BASE_URL"
    if settings.otlp_traces_url:
        yield settings.otlp_traces_url, "UNOAPI_OTLP_ENDPOINT"
    if dsn := settings.sentry_dsn.get_secret_value():
        yield dsn, "SENTRY_DSN"


def _origin(url: str) -> str:
    """Where an address leads, and nothing that may be a secret: neither login nor path nor query."""
    origin = origin_of(url)
    if origin is None:
        return "an address that is not valid"
    scheme, host, port = origin
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _public(base_url: str) -> Iterator[Finding]:
    yield from checks.check_public(public_state(base_url), base_url=without_login(base_url).rstrip("/"))


def public_state(base_url: str) -> PublicState:
    """What answers at BASE_URL, asked as a client asks, without a proxy and without following redirects."""
    try:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(
                f"{base_url.rstrip('/')}/health/live",
                timeout=PUBLIC_TIMEOUT_S,
                allow_redirects=False,
                stream=True,
                verify=find_ca_bundle(),
            )
            with answer:
                now = time.time()
                body = answer.raw.read(MAX_ANSWER_BYTES, decode_content=True)
    except requests.exceptions.SSLError as error:
        is_certificate = "CERTIFICATE_VERIFY_FAILED" in f"{error}"
        return PublicState(error="its certificate is not valid" if is_certificate else why_not_connected(error))
    except requests.exceptions.Timeout:
        return PublicState(error=f"no answer within {PUBLIC_TIMEOUT_S:.0f} s")
    except (requests.RequestException, OSError, ValueError) as error:
        why = why_not_connected(error)
        return PublicState(error=f"no connection ({type(error).__name__}){': ' if why else ''}{why}")
    return PublicState(status=answer.status_code, version=_version_in(body), clock_s=_ahead(answer, now))


def _version_in(body: bytes) -> str:
    try:
        document = json.loads(body)
    except ValueError:
        return ""
    return f"{document.get('version', '')}"[:50] if isinstance(document, dict) else ""


def _ahead(answer: requests.Response, now: float) -> float | None:
    try:
        return parsedate_to_datetime(answer.headers["Date"]).timestamp() - now
    except (LookupError, ValueError, TypeError, OverflowError):
        return None


# --- the machine ---


def _folders(settings: Settings) -> Iterator[Finding]:
    folders = {} if settings.storage_endpoint else {"BASE_STORE": settings.base_store}
    if settings.unoapi_connector_store.exists():
        folders["UNOAPI_CONNECTOR_STORE"] = settings.unoapi_connector_store
    folders["TMPDIR"] = Path(tempfile.gettempdir())
    for setting, folder in folders.items():
        yield from checks.check_folder(folder_state(setting, folder))


def folder_state(setting: str, folder: Path) -> FolderState:
    """The folder, or the nearest one above it that is there."""
    path = folder.absolute()
    first = next(there for there in (path, *path.parents) if there.exists())
    nearest = first if first.is_dir() else first.parent
    disk = os.statvfs(nearest)
    has_inodes = not disk.f_files or disk.f_favail > 0  # some have no table of them
    is_writable = os.access(nearest, os.W_OK | os.X_OK)
    free_bytes = disk.f_bavail * disk.f_frsize
    return FolderState(
        setting, path, free_bytes, is_writable, has_inodes, in_the_way="" if first.is_dir() else f"{first}"
    )


def mode_of(file: str) -> int | None:
    """Who may do what with a file; none where there is no such file."""
    with suppress(OSError):
        mode = Path(file).stat().st_mode
        return mode if stat.S_ISREG(mode) else None
    return None


def _bucket_trouble(uno: Uno) -> str:
    """Why no file can be had from the bucket, if there is one."""
    if uno.settings.storage_endpoint is None:
        return ""
    try:
        uno.media_store.read("unoapi-doctor", length=1)
    except MediaMissing:
        return ""
    except StoreUnavailable as error:
        return f"{error}"
    return ""


def _machine() -> MachineState:
    memory, free = _memory(Path("/proc/meminfo"), Path("/sys/fs/cgroup"))
    open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MachineState(memory, free, open_files, has_ffmpeg=shutil.which("ffmpeg") is not None)


def _memory(meminfo: Path, cgroup: Path) -> tuple[int, int]:
    """Bytes of memory, and those that are free: the container's, if it has fewer. 0: not known."""
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        total, free = (int(lines[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
    except (OSError, ValueError, LookupError):
        return 0, 0
    try:
        limit, used = (int((cgroup / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):
        return total, free
    return (limit, min(free, max(0, limit - used))) if limit < total else (total, free)
