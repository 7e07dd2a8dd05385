"""`unoapi doctor`: every fault that was planted is named, with what to do about it, and no secret is."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from amqp.exceptions import AccessRefused
from click.testing import CliRunner

from tests.support.api import make_settings
from tests.support.constants import ROOT
from tests.support.fakes import PHONE, make_session, make_webhook
from tests.support.worker import make_uno
from unoapi import __version__
from unoapi.broker.inspection import BrokerState
from unoapi.broker.queue_depths import Depth
from unoapi.broker.topology import WORK_QUEUES, Topology
from unoapi.cli import checks
from unoapi.cli.checks import (
    CONSUMERS,
    GIB,
    MIB,
    AddressState,
    FolderState,
    MachineState,
    NumberState,
    PublicState,
    RedisState,
)
from unoapi.cli.doctor import all_findings
from unoapi.cli.findings import broker_advice, ok
from unoapi.cli.main import cli
from unoapi.cli.probes import folder_state, mode_of, public_state
from unoapi.errors import BrokerUnavailable
from unoapi.http.address_guard import AddressGuard
from unoapi.http.reachability import connection_failure
from unoapi.models.attempts import NO_TLS
from unoapi.models.jobs import now_ms
from unoapi.models.processes import this_process
from unoapi.settings import repeated_names
from unoapi.stores.redis_health import RedisHealth

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from tests.support.raw_http_server import Listen
    from unoapi.cli.findings import Finding

TOPOLOGY = Topology("unoapi")
BROKER = BrokerState(
    "RabbitMQ",
    "3.12.1",
    depths=tuple(
        Depth(queue.name, queue.purpose, 0, consumers=int(queue.name != TOPOLOGY.dead)) for queue in TOPOLOGY.queues
    ),
)
REDIS = RedisState(
    health=RedisHealth(used_bytes=1),
    info={"redis_version": "7.2.4", "rdb_last_bgsave_status": "ok", "aof_last_write_status": "ok"},
    clock_s=0.01,
)
FOLDER = FolderState("BASE_STORE", Path("/files"), 50 * GIB)
MACHINE = MachineState(8 * GIB, 4 * GIB, 65_536)
PUBLIC = PublicState(status=200, version=__version__, clock_s=0.5)
ADDRESS = AddressState("webhook crm of 5511999990000", "https://crm.example:443")
LATER_MS = now_ms() + 3_600_000
"""The tables are made when the tests are collected, and read minutes later."""
PROCESS = this_process("worker").model_copy(update={"name": "worker.7@a", "seen_ms": LATER_MS})
NUMBER = NumberState(PHONE, "whatsmeow", "online", leased=True, webhooks={"crm": "open"})
SETTINGS = make_settings(BASE_URL="https://uno.example", STATUS_FAILED_WEBHOOK_URL="https://ops.example/failed")


def without_consumers(process: str) -> BrokerState:
    queues = {f"unoapi.{name}" for name, by in CONSUMERS.items() if by == process}
    depths = (replace(depth, consumers=0) if depth.queue in queues else depth for depth in BROKER.depths)
    return replace(BROKER, depths=tuple(depths))


def with_ready(queue: str, ready: int) -> BrokerState:
    return replace(
        BROKER,
        depths=tuple(replace(depth, ready=ready) if depth.queue == queue else depth for depth in BROKER.depths),
    )


def of_broker(state: BrokerState) -> Iterable[Finding]:
    yield from checks.check_broker(state, where="amqp://rabbit:5672")
    yield from checks.check_consumers(state, prefix="unoapi")
    yield from checks.check_waiting(state, {}, dead="unoapi.dead")


def of_redis(state: RedisState) -> Iterable[Finding]:
    yield from checks.check_redis(state, where="redis://redis:6379")
    yield from checks.check_clock(state)


def of_numbers(*states: NumberState, **more: Any) -> Iterable[Finding]:
    return checks.check_numbers(states, **{"serves_unknown": False, **more})


def of_health(**health: Any) -> Iterable[Finding]:
    return of_redis(replace(REDIS, health=RedisHealth(**health)))


def of_info(**info: str) -> Iterable[Finding]:
    return of_redis(replace(REDIS, info={**REDIS.info, **info}))


PLANTED: dict[str, tuple[Iterable[Finding], int, str]] = {
    "no token": (checks.check_settings(make_settings(UNOAPI_AUTH_TOKEN="")), 78, "set UNOAPI_AUTH_TOKEN"),
    "a name that is misspelt": (
        checks.check_slips({"WEBHOOK_TIMOUT_MS": "1"}),
        0,
        "did you mean WEBHOOK_TIMEOUT_MS?",
    ),
    "a secret in quotes": (
        checks.check_quotes({"WEBHOOK_TOKEN": '"abc"'}),
        0,
        "WEBHOOK_TOKEN: the quotes around it are a part of it",
    ),
    "a proxy that is not used": (
        checks.check_proxies({"https_proxy": "http://proxy.local:3128", "HTTP_PROXY": ""}),
        0,
        "HTTPS_PROXY: not used here: webhooks, links to files and Meta are called directly",
    ),
    "a line that is none": (
        checks.check_lines(".env", [6], {}),
        0,
        ".env, line 6: is not NAME=value, and does nothing",
    ),
    "a name that is there twice": (
        checks.check_lines(".env", [], {"WEBHOOK_URL": 9}),
        0,
        ".env: WEBHOOK_URL is there more than once; line 9 counts: remove the others",
    ),
    "a file of secrets that all may read": (checks.check_privacy(".env", 0o100644), 0, "chmod 600 .env"),
    "an old name": (checks.check_former_names({"UNOAPI_URL": "x"}), 0, "UNOAPI_URL use BASE_URL"),
    "a Graph version that ended": (
        checks.check_graph_version(make_settings(WEBHOOK_FORWARD_VERSION="v17.0")),
        0,
        "ended on 2025-09-12: set WEBHOOK_FORWARD_VERSION",
    ),
    "a secret before a change that was left": (
        checks.check_previous_secrets(make_settings(UNOAPI_WEBHOOK_SECRET_PREVIOUS="whsec_MfKQ9r8GKYqrTwjU")),
        0,
        "UNOAPI_WEBHOOK_SECRET_PREVIOUS: what was replaced still works",
    ),
    "nobody is told of failures": (
        checks.check_reporting(make_settings()),
        0,
        "set UNOAPI_ALERT_URLS or STATUS_FAILED",
    ),
    "an address of alerts that leads nowhere": (
        checks.check_channels(["1-slak"]),
        78,
        "UNOAPI_ALERT_URLS: 1-slak cannot be read: see",
    ),
    "a BASE_URL of this machine": (checks.check_links(make_settings()), 0, "set BASE_URL to the public address"),
    "an old RabbitMQ": (of_broker(replace(BROKER, version="3.8.9")), 78, "3.8.9 is too old: 3.10 or newer is needed"),
    "a broker that is another product": (of_broker(replace(BROKER, product="LavinMQ")), 0, "is not RabbitMQ"),
    "an alarm of RabbitMQ": (
        of_broker(replace(BROKER, alarm="low on disk")),
        1,
        "(low on disk): give it memory or disk",
    ),
    "a queue that is missing": (
        of_broker(replace(BROKER, missing=("unoapi.media",))),
        1,
        "unoapi.media not there: run `unoapi release`",
    ),
    "a queue of another program": (
        of_broker(replace(BROKER, conflicts=("unoapi.outgoing",))),
        78,
        "unoapi.outgoing of another program or version: give Uno API a vhost of its own",
    ),
    "a policy that loses messages": (
        checks.check_policies({"unoapi.dead": ["max-length", "ha-mode"]}, asked=True),
        78,
        "a policy sets max-length for unoapi.dead",
    ),
    "a management API that does not answer": (
        checks.check_policies(None, asked=True),
        0,
        "check RABBITMQ_MANAGEMENT_URL",
    ),
    "no worker": (of_broker(without_consumers("worker")), 1, "start `worker` of the Procfile"),
    "a process that hangs": (
        checks.check_processes([PROCESS.model_copy(update={"seen_ms": 0})]),
        0,
        "not heard of lately: worker.7@a; they were killed or hang: see their logs",
    ),
    "a process that an update forgot": (
        checks.check_processes([PROCESS, PROCESS.model_copy(update={"version": "0.0.9"})]),
        0,
        f"of another version than {__version__}: worker.7@a (0.0.9); restart them",
    ),
    "no media process": (
        of_broker(without_consumers("media")),
        1,
        "takes from unoapi.media; start `media`",
    ),
    "no suspect process": (of_broker(without_consumers("suspect")), 1, "start `suspect`"),
    "dead letters": (of_broker(with_ready("unoapi.dead", 7)), 0, "7 dead letters: `unoapi dead list --summary`"),
    "a queue that is behind": (
        checks.check_waiting(with_ready("unoapi.outgoing", 900), {"unoapi.outgoing": 3600.0}, dead="unoapi.dead"),
        0,
        "more than 10 min behind: unoapi.outgoing (900); more workers",
    ),
    "Redis away": (of_redis(RedisState("does not answer (ConnectionError); check REDIS_URL")), 1, "check REDIS_URL"),
    "a Redis that refuses writes": (of_health(trouble="it is a read-only replica"), 78, "read-only replica"),
    "a Redis that throws keys away": (of_health(warnings=("maxmemory-policy is allkeys-lru",)), 0, "allkeys-lru"),
    "an old Redis": (of_info(redis_version="5.0.7"), 78, "Redis 5.0.7 is too old: 7 or newer is needed"),
    "a Redis that is not tested": (of_info(redis_version="6.2.1"), 0, "use 7 or newer"),
    "a Redis that cannot save": (of_info(rdb_last_bgsave_status="err"), 1, "it cannot save; look at its log"),
    "a Redis that lost its data": (of_redis(replace(REDIS, lost=True)), 1, "then `unoapi session confirm`"),
    "a user of Redis that may not run scripts": (
        of_redis(replace(REDIS, denied=["EVAL"], health=RedisHealth(trouble="not reachable"))),
        78,
        "the user in REDIS_URL may not EVAL: give it all that is about keys",
    ),
    "a node of RabbitMQ that is away": (
        checks.check_nodes(["amqp://b:5672/"]),
        0,
        "of the nodes in AMQP_URL amqp://b:5672/ does not answer",
    ),
    "authorities that are not there": (
        checks.check_authorities("/nowhere/ca.pem"),
        78,
        "SSL_CERT_FILE names /nowhere/ca.pem, which is not there",
    ),
    "a file where a folder is wanted": (
        checks.check_folder(replace(FOLDER, in_the_way="/files")),
        78,
        "/files (BASE_STORE) cannot be made: /files is no folder",
    ),
    "a clock that is wrong": (of_redis(replace(REDIS, clock_s=-90.0)), 1, "90.0 s behind: start NTP on both machines"),
    "a clock that drifts": (of_redis(replace(REDIS, clock_s=5.0)), 0, "5.0 s ahead: start NTP on both machines"),
    "a full disk": (checks.check_folder(replace(FOLDER, free_bytes=10 * MIB)), 1, "has 10 MiB left: make room"),
    "a disk that gets full": (checks.check_folder(replace(FOLDER, free_bytes=900 * MIB)), 0, "make room soon"),
    "a disk without inodes": (
        checks.check_folder(replace(FOLDER, has_inodes=False)),
        1,
        "can have no more files, whatever their size (inodes): remove some, see `df -i`",
    ),
    "a bucket that may not be listed": (
        checks.check_bucket(make_settings(STORAGE_ENDPOINT="https://s3.example"), "the bucket did not: AccessDenied"),
        1,
        "and that the key may list the bucket (s3:ListBucket)",
    ),
    "a bucket that is not there": (
        checks.check_bucket(
            make_settings(STORAGE_ENDPOINT="https://u:p@s3.example"), "the bucket did not: NoSuchBucket"
        ),
        1,
        "unoapi at https://s3.example/: the bucket did not: NoSuchBucket; check STORAGE_BUCKET_NAME",
    ),
    "a folder of another user": (checks.check_folder(replace(FOLDER, is_writable=False)), 78, "cannot be written by"),
    "no memory left": (
        checks.check_machine(replace(MACHINE, free_memory_bytes=100 * MIB), SETTINGS),
        0,
        "100 MiB of 8.0 GiB are free: fewer processes",
    ),
    "few open files": (checks.check_machine(replace(MACHINE, open_files=256), SETTINGS), 0, "raise `ulimit -n`"),
    "no ffmpeg": (checks.check_machine(replace(MACHINE, has_ffmpeg=False), SETTINGS), 0, "install it there"),
    "a BASE_URL that nobody answers": (
        checks.check_public(PublicState(error="no answer within 5 s"), base_url="https://uno.example"),
        1,
        "https://uno.example: no answer within 5 s: is `web` running? else check BASE_URL",
    ),
    "a BASE_URL that leads to something else": (
        checks.check_public(PublicState(status=502), base_url="https://uno.example"),
        78,
        "https://uno.example/health/live answered 502, and not as Uno API",
    ),
    "an older version that still answers": (
        checks.check_public(replace(PUBLIC, version="0.0.9"), base_url="https://uno.example"),
        0,
        "runs version 0.0.9",
    ),
    "a BASE_URL without TLS": (checks.check_public(PUBLIC, base_url="http://uno.example"), 0, "is not https"),
    "a clock that the internet does not share": (
        checks.check_public(replace(PUBLIC, clock_s=-400.0), base_url="https://uno.example"),
        0,
        "400 s off: start NTP",
    ),
    "a webhook that refuses connections": (
        checks.check_addresses([replace(ADDRESS, step="connection", error="connection refused")]),
        1,
        "webhook crm of 5511999990000 https://crm.example:443: connection refused: is it running",
    ),
    "a webhook whose name is not found": (
        checks.check_addresses([replace(ADDRESS, step="name", error="name not found")]),
        1,
        "check the name and this machine's DNS",
    ),
    "a webhook whose certificate ended": (
        checks.check_addresses([replace(ADDRESS, step="tls", error="certificate not valid: expired")]),
        1,
        "renew its certificate",
    ),
    "a webhook with https on a port without TLS": (
        checks.check_addresses([replace(ADDRESS, step="tls", error=f"{NO_TLS} (wrong version number)")]),
        1,
        "write http, or the port for https",
    ),
    "a webhook that does not answer a TLS handshake": (
        checks.check_addresses([replace(ADDRESS, step="tls", error="did not answer within 4000 ms: no TLS handshake")]),
        1,
        "write http, or the port for https",
    ),
    "a webhook that the address guard refuses": (
        checks.check_addresses([replace(ADDRESS, step="guard", error="only UNOAPI_ALLOWED_HOSTS can allow it")]),
        78,
        "only UNOAPI_ALLOWED_HOSTS can allow it",
    ),
    "a webhook without TLS": (
        checks.check_addresses([replace(ADDRESS, origin="http://crm.example:80")]),
        0,
        "is not https: what is sent there can be read",
    ),
    "no number": (of_numbers(), 0, "register one, or set WEBHOOK_URL"),
    "a number that no connector runs": (
        of_numbers(replace(NUMBER, leased=False)),
        1,
        f"no connector runs {PHONE}: start `connector`, or check UNOAPI_SERVER_NAME",
    ),
    "a number that is not connected": (
        of_numbers(replace(NUMBER, status="disconnected")),
        0,
        f"not connected: {PHONE} (disconnected); open /session/<number>",
    ),
    "a number at Meta without its token": (
        of_numbers(replace(NUMBER, provider="forwarder", lacks=["phoneNumberId", "token"])),
        78,
        f"{PHONE} is at Meta, and cannot send: set webhookForward.phoneNumberId, token",
    ),
    "callbacks of Meta's that nobody can check": (
        checks.check_callbacks([make_session(provider="forwarder")], make_settings()),
        0,
        f"nobody can check the signature of Meta's callbacks to {PHONE}: set UNOAPI_META_APP_SECRET",
    ),
    "a number without a webhook": (
        of_numbers(replace(NUMBER, webhooks={})),
        0,
        f"gets their events: {PHONE}; reg",
    ),
    "a webhook that is down": (of_numbers(replace(NUMBER, webhooks={"crm": "down"})), 0, f"down: {PHONE} crm"),
    "a webhook that is paused": (
        of_numbers(replace(NUMBER, webhooks={"crm": "paused"})),
        0,
        f"paused: {PHONE} crm; `unoapi endpoint resume <number> <webhook>`",
    ),
    "a configuration that is not valid": (of_numbers(NUMBER, unreadable=[PHONE]), 78, "register the number again"),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_the_doctor_names_a_planted_fault_and_what_to_do(fault: str) -> None:
    found, code, words = PLANTED[fault]

    bad = [finding for finding in found if finding.state != "ok"]

    assert len(bad) == 1, bad
    assert words in bad[0].words
    assert (bad[0].exit_code, bad[0].state) == (code, "WRONG" if code else "note")
    assert "\n" not in bad[0].words


def test_callbacks_whose_signature_can_be_checked_are_no_note() -> None:
    at_meta, own = make_session(provider="forwarder"), {"appSecret": "secret"}
    signed = [make_session(provider="forwarder", webhook_forward=own), make_session()]

    assert list(checks.check_callbacks([at_meta], make_settings(UNOAPI_META_APP_SECRET="secret"))) == []
    assert list(checks.check_callbacks(signed, make_settings())) == []


def test_the_doctor_knows_who_takes_from_each_work_queue() -> None:
    lines = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())

    assert set(CONSUMERS) == set(WORK_QUEUES) - {"outgoing.whatsmeow"}, "the connector's is asked for by its leases"
    assert all(f"}}.{queue}" in f"{lines[process]} " for queue, process in CONSUMERS.items())


HEALTHY: dict[str, Iterable[Finding]] = {
    "settings": checks.check_settings(SETTINGS),
    "alerts": checks.check_reporting(SETTINGS),
    "Graph": checks.check_graph_version(SETTINGS),
    "secrets": checks.check_previous_secrets(SETTINGS),
    "RabbitMQ": of_broker(BROKER),
    "policies": checks.check_policies({"unoapi.dead": ["ha-mode"]}, asked=True),
    "processes": checks.check_processes([PROCESS]),
    "a file of secrets": checks.check_privacy(".env", 0o100640),
    "no file": checks.check_privacy(".env", mode_of("/dev/null")),
    "nodes": checks.check_nodes([]),
    "authorities": checks.check_authorities(__file__),
    "no bucket": checks.check_bucket(SETTINGS, ""),
    "a bucket": checks.check_bucket(make_settings(STORAGE_ENDPOINT="https://s3.example"), ""),
    "a number at Meta": of_numbers(replace(NUMBER, provider="forwarder", wanted=False)),
    "no management API": checks.check_policies(None, asked=False),
    "waiting": checks.check_waiting(BROKER, {"unoapi.outgoing": 3600.0}, dead="unoapi.dead"),
    "Redis": of_redis(REDIS),
    "Valkey": of_info(valkey_version="8.0.1"),
    "folder": checks.check_folder(FOLDER),
    "machine": checks.check_machine(MACHINE, SETTINGS),
    "BASE_URL": checks.check_public(PUBLIC, base_url="https://uno.example"),
    "addresses": checks.check_addresses([ADDRESS]),
    "numbers": of_numbers(NUMBER),
    "a number that shall not connect": of_numbers(replace(NUMBER, leased=False, wanted=False)),
    "unknown numbers": of_numbers(serves_unknown=True),
}


@pytest.mark.parametrize("part", HEALTHY)
def test_the_doctor_finds_nothing_wrong_with_what_is_healthy(part: str) -> None:
    assert [finding for finding in HEALTHY[part] if finding.state != "ok"] == []


def test_a_line_names_five_numbers_at_most_and_nothing_that_a_terminal_obeys() -> None:
    states = [replace(NUMBER, phone=f"55119999900{number:02}", webhooks={"\x1b[31mcrm": "down"}) for number in range(7)]

    (finding,) = (finding for finding in of_numbers(*states) if finding.state != "ok")

    assert finding.words.count("\ufffd[31mcrm") == 5
    assert "and 2 more" in finding.words
    assert "\x1b" not in finding.words


# --- the whole command ---


def diagnose(*arguments: str, **settings: str) -> tuple[int, list[dict[str, Any]]]:
    session = make_session(make_webhook(id="crm", urlAbsolute="http://10.0.0.7/hook?key=s3cret"))
    joined = make_uno(session, settings={"UNOAPI_AUTH_TOKEN": "the-token-of-the-operator", **settings})
    done = CliRunner().invoke(cli, ["doctor", "--json", *arguments], obj=joined)
    return done.exit_code, [json.loads(line) for line in done.output.splitlines() if line.startswith("{")]


def test_an_installation_whose_servers_are_away_is_diagnosed_within_seconds_and_shows_no_secret() -> None:
    began = time.monotonic()

    code, findings = diagnose(
        AMQP_URL="amqp://user:s3cret@127.0.0.1:1/other",
        REDIS_URL="redis://:s3cret@127.0.0.1:1",
        STATUS_FAILED_WEBHOOK_URL="http://user:s3cret@127.0.0.1:1/s3cret",
        WEBHOOK_TOKEN="s3cret",
        SENTRY_DSN="https://s3cret@127.0.0.1:1/7",
        BASE_URL="http://user:s3cret@127.0.0.1:1",
    )

    wrong = {finding["what"] for finding in findings if finding["state"] == "WRONG"}
    assert code == 78, "the webhook's address is refused"
    assert {"rabbitmq", "redis", "base url", "address"} <= wrong
    assert "s3cret" not in json.dumps(findings)
    assert time.monotonic() - began < 20


def test_settings_that_are_wrong_are_all_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTRY_DSN", "s3cret")
    monkeypatch.setenv("PORT", "s3cret")

    done = CliRunner().invoke(cli, ["doctor"])

    lines = [line for line in done.output.splitlines() if line.startswith("settings  WRONG")]
    assert done.exit_code == 78
    assert sorted(line.split()[2].rstrip(":") for line in lines) == ["PORT", "SENTRY_DSN"]
    assert "s3cret" not in done.output


@pytest.mark.parametrize("content", ["WEBHOOK_TOKEN=s3cret\n".encode("utf-16"), b"WEBHOOK_TOKEN=s3cret\xff\n"])
def test_a_file_of_settings_that_is_no_utf_8_is_named_and_not_quoted(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / ".env"
    file.write_bytes(content)

    done = CliRunner().invoke(cli, ["doctor", str(file)])

    assert done.exit_code == 78
    assert "settings  WRONG" in done.output
    assert "UTF-8" in done.output
    assert "s3cret" not in done.output


def test_a_name_that_a_file_has_twice_is_named_with_the_line_that_counts(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("WEBHOOK_URL=https://a.example\n\n# WEBHOOK_URL=x\nexport WEBHOOK_URL=https://b.example\nPORT=1\n")

    assert repeated_names(file) == {"WEBHOOK_URL": 4}
    assert "line 4 counts" in CliRunner().invoke(cli, ["doctor", str(file)]).output


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN.", "check the user and the password"),
        ("ACCESS_REFUSED - access to queue 'unoapi.dead' in vhost '/' refused for user 'uno'", "set_permissions"),
    ],
)
def test_a_user_of_rabbitmq_without_rights_is_told_from_one_without_a_password(said: str, advice: str) -> None:
    error = BrokerUnavailable("RabbitMQ is not reachable")
    error.__cause__ = AccessRefused(said)

    assert advice in broker_advice(error)


def test_a_check_that_hangs_or_breaks_keeps_none_of_the_others() -> None:
    never = threading.Event()

    def hang() -> list[Finding]:
        never.wait(60)
        return []

    def broken() -> list[Finding]:
        raise RuntimeError("s3cret")

    findings = list(all_findings({"hangs": hang, "breaks": broken, "works": lambda: [ok("works")]}, within_s=0.2))
    never.set()

    assert [(finding.what, finding.state) for finding in findings] == [
        ("hangs", "WRONG"),
        ("breaks", "WRONG"),
        ("works", "ok"),
    ]
    assert "no answer within 0.2 s" in findings[0].words
    assert "RuntimeError" in findings[1].words
    assert "s3cret" not in findings[1].words


# --- what is looked at ---


def test_an_address_that_takes_connections_gets_none_of_our_bytes(listen: Listen) -> None:
    receiver = listen(b"")

    assert connection_failure(AddressGuard(), receiver.url, timeout_ms=2000, trusted=True) == ("", "")
    assert connection_failure(AddressGuard(), receiver.url, timeout_ms=2000)[0] == "guard"
    assert receiver.requests == []


@pytest.mark.usefixtures("no_certificates_named")
def test_a_certificate_that_nobody_trusts_is_found_without_a_request(listen: Listen, tls: ssl.SSLContext) -> None:
    receiver = listen(b"", tls=tls)

    step, error = connection_failure(AddressGuard(), receiver.url, timeout_ms=2000, trusted=True)

    assert step == "tls"
    assert "certificate not valid" in error


def test_what_answers_at_the_public_address_is_read_and_bounded(listen: Listen, closed_port: int) -> None:
    body = json.dumps({"status": "ok", "version": "1.2.3"}).encode()
    head = b"HTTP/1.1 200 OK\r\nDate: Thu, 26 Nov 2015 12:00:00 GMT\r\nContent-Length: %d\r\n\r\n"
    ours, page = listen(head % len(body) + body), listen(head % 200_000 + b"<" * 200_000)

    seen, other = public_state(ours.url.removesuffix("/")), public_state(page.url.removesuffix("/"))

    assert (seen.status, seen.version, seen.error) == (200, "1.2.3", "")
    assert seen.clock_s is not None
    assert seen.clock_s < -100_000_000
    assert (other.status, other.version) == (200, "")
    away = public_state(f"http://127.0.0.1:{closed_port}")
    assert away.error == "no connection (ConnectionError): nothing listens there: does it run, and is the port right?"


def test_a_folder_that_is_not_made_yet_is_judged_by_the_one_above(tmp_path: Path) -> None:
    state = folder_state("BASE_STORE", tmp_path / "not" / "there")

    assert state.free_bytes > 0
    assert state.is_writable


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")

    assert folder_state("BASE_STORE", tmp_path / "store").in_the_way == f"{tmp_path / 'store'}"
    assert folder_state("BASE_STORE", tmp_path / "store" / "medias").in_the_way == f"{tmp_path / 'store'}"
    assert folder_state("BASE_STORE", tmp_path / "other").in_the_way == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_completion(shell: str) -> None:
    done = CliRunner().invoke(cli, ["completion", shell])

    assert done.exit_code == 0
    assert "_UNOAPI_COMPLETE" in done.output


def test_the_version_is_printed() -> None:
    assert __version__ in CliRunner().invoke(cli, ["--version"]).output
