"""What is wrong with an installation, as functions of what was seen of it: each finding says what to do."""

from __future__ import annotations

import re
import stat
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from unoapi import __version__
from unoapi.cli.findings import note, ok, without_login, wrong
from unoapi.errors import EX_CONFIG
from unoapi.errors.validation import is_usable_secret
from unoapi.models.attempts import NO_TLS, SILENT
from unoapi.models.former_settings import former_names, misspelt_names
from unoapi.models.graph_versions import warning
from unoapi.settings import quoted_secrets, setting_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from unoapi.broker.inspection import BrokerState
    from unoapi.cli.findings import Finding
    from unoapi.models.processes import Process
    from unoapi.models.session import Session
    from unoapi.settings import Settings
    from unoapi.stores.redis_health import RedisHealth

OLDEST_RABBITMQ, OLDEST_REDIS, GOOD_REDIS = (3, 10), (6, 2), (7, 0)
MIB, GIB = 1024**2, 1024**3
NEARLY_FULL_DISK, FULL_DISK = GIB, 200 * MIB
NEARLY_FULL_MEMORY = 0.1
MIN_OPEN_FILES = 1024
CLOCK_NOTE_S, CLOCK_WRONG_S = 2.0, 30.0
"""Waits, ages and the deadlines of sends compare clocks of several machines."""
PUBLIC_CLOCK_S = 30.0
OLD_QUEUE_S = 600.0
MOST_NAMED = 5
"""Numbers, queues or addresses that one line names."""

CONSUMERS: Mapping[str, str] = {
    "incoming": "worker",
    "bulk": "worker",
    "commander": "worker",
    "transcribe": "worker",
    "speech": "worker",
    "outgoing": "worker",
    "notification": "worker",
    "webhook.status.failed": "worker",
    "incoming.whatsmeow": "worker",
    "media": "media",
    "suspect": "suspect",
}
"""Of each work queue the process of the `Procfile` that takes from it."""
LOSING_POLICY = frozenset({"message-ttl", "expires", "max-length", "max-length-bytes"})
ACCESS_DENIED = "AccessDenied"
"""What S3 says of a file that is not there, too, to a key that may not list the bucket."""
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class RedisState:
    """What was seen of Redis. `trouble` is why it does not answer at all; `clock_s` how far its clock is ahead.

    `denied` are commands that its user may not run.
    """

    trouble: str = ""
    health: RedisHealth | None = None
    info: Mapping[str, object] = field(default_factory=dict)
    clock_s: float | None = None
    lost: bool = False
    denied: Sequence[str] = ()


@dataclass(frozen=True)
class FolderState:
    """A folder of files, or where it will be made; `in_the_way` is what stands there and is no folder."""

    setting: str
    path: Path
    free_bytes: int
    is_writable: bool = True
    has_inodes: bool = True
    in_the_way: str = ""


@dataclass(frozen=True)
class MachineState:
    """Where the command runs, which is where processes run, too, or nearly."""

    memory_bytes: int = 0
    free_memory_bytes: int = 0
    open_files: int = 0
    has_ffmpeg: bool = True


@dataclass(frozen=True)
class PublicState:
    """What answered at BASE_URL. `clock_s` is how far the clock of the answer is ahead."""

    error: str = ""
    status: int = 0
    version: str = ""
    clock_s: float | None = None


@dataclass(frozen=True)
class AddressState:
    """An address that this installation calls: who names it, as much of it as may be shown, and how it failed."""

    name: str
    origin: str
    step: str = ""
    error: str = ""


@dataclass(frozen=True)
class NumberState:
    """A stored number. `leased` is whether a connector runs it; `webhooks` are the states of its webhooks by id.

    `lacks` are the fields of its account at Meta that it cannot send without.
    """

    phone: str
    provider: str
    status: str
    leased: bool = False
    wanted: bool = True
    lacks: Sequence[str] = ()
    webhooks: Mapping[str, Literal["open", "paused", "down"]] = field(default_factory=dict)


# --- settings ---


def check_settings(settings: Settings) -> Iterator[Finding]:
    """The operator's token, and a secret that receivers cannot decode."""
    where = f"version {__version__}, port {settings.port} on {settings.listen_host}"
    if not settings.unoapi_auth_token.get_secret_value():
        yield wrong("settings", f"{where}: set UNOAPI_AUTH_TOKEN, else nobody outside reaches the API", EX_CONFIG)
    else:
        yield ok("settings", f"{where}, Sentry {'on' if settings.sentry_dsn.get_secret_value() else 'off'}")
    if not is_usable_secret(settings.unoapi_webhook_secret.get_secret_value()):
        yield note("settings", "UNOAPI_WEBHOOK_SECRET: base64 must follow whsec_, else receivers cannot check it")


def check_slips(environment: Mapping[str, str | None]) -> Iterator[Finding]:
    """Names that nearly are settings."""
    for name, meant in misspelt_names(environment, settings=setting_names()).items():
        yield note("settings", f"{name} is not a setting and does nothing; did you mean {meant}?")


def check_quotes(environment: Mapping[str, str | None]) -> Iterator[Finding]:
    """Secrets in quotes, which nobody else has around them."""
    for name in quoted_secrets(environment):
        words = "the quotes around it are a part of it, as a list in Compose and docker run --env-file keep them"
        yield note("settings", f"{name}: {words}; write it without")


def check_proxies(environment: Mapping[str, str | None]) -> Iterator[Finding]:
    """Proxies that other programs of the machine go through, and this one does not."""
    if names := [name for name in PROXIES if environment.get(name) or environment.get(name.lower())]:
        words = "webhooks, links to files and Meta are called directly, phones through PROXY_URL"
        yield note("settings", f"{', '.join(names)}: not used here: {words}; let the firewall allow that")


PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")


def check_lines(file: str, lines: Iterable[int], repeated: Mapping[str, int]) -> Iterator[Finding]:
    """Lines of a `.env` file that are not read, and names that several of them have."""
    for line in lines:
        yield note("settings", f"{file}, line {line}: is not NAME=value, and does nothing")
    for name, line in repeated.items():
        yield note("settings", f"{file}: {_plain(name)} is there more than once; line {line} counts: remove the others")


def check_privacy(file: str, mode: int | None) -> Iterator[Finding]:
    """Whether others may read the file with the secrets; `mode` is none where there is no such file."""
    if mode is not None and mode & stat.S_IROTH:
        yield note("settings", f"{file}: every user of this machine can read it: chmod 600 {file}")


def check_former_names(environment: Mapping[str, str | None]) -> Iterator[Finding]:
    """Names of the Node version that do nothing here."""
    for name, advice in former_names(environment).items():
        yield note("moving", f"{name} {advice}")


def check_graph_version(settings: Settings) -> Iterator[Finding]:
    """The environment's version of Meta's Graph API."""
    if ending := warning(settings.webhook_forward_version, datetime.now(UTC).date()):
        yield note("moving", f"{ending}: set WEBHOOK_FORWARD_VERSION")


def check_previous_secrets(settings: Settings) -> Iterator[Finding]:
    """Secrets before a change that still open something."""
    names = [name.upper() for name in type(settings).model_fields if name.endswith("_previous")]
    used = [name for name in names if getattr(settings, name.lower()).get_secret_value()]
    if used:
        yield note("settings", f"{', '.join(used)}: what was replaced still works; empty it when nobody uses it")


def check_reporting(settings: Settings) -> Iterator[Finding]:
    """Whether anybody hears of failures."""
    if settings.status_failed_webhook_url is None and not settings.alert_urls:
        words = "nobody is told when deliveries are given up"
        yield note("alerts", f"{words}: set UNOAPI_ALERT_URLS or STATUS_FAILED_WEBHOOK_URL")


def check_channels(unknown: Sequence[str]) -> Iterator[Finding]:
    """Addresses of alerts that lead nowhere."""
    if unknown:
        advice = "see https://appriseit.com/services for their forms"
        yield wrong("alerts", f"UNOAPI_ALERT_URLS: {_named(unknown)} cannot be read: {advice}", EX_CONFIG)


def check_bucket(settings: Settings, trouble: str) -> Iterator[Finding]:
    """Whether files can be had from the bucket; `trouble` is empty when they can."""
    where = f"{settings.storage_bucket_name} at {without_login(f'{settings.storage_endpoint}')}"
    if trouble:
        words = f"{where}: {_plain(trouble)}; check STORAGE_BUCKET_NAME, STORAGE_ACCESS_KEY_ID and its secret"
        if ACCESS_DENIED in trouble:
            words += ", and that the key may list the bucket (s3:ListBucket): else nobody can tell what is missing"
        yield wrong("bucket", words)
    elif settings.storage_endpoint is not None:
        yield ok("bucket", f"{where} answers")


def check_links(settings: Settings) -> Iterator[Finding]:
    """Where links to files lead, and where the files are."""
    link = f"links begin with {without_login(str(settings.base_url))}"
    if urlsplit(f"{settings.base_url}").hostname in LOCAL_HOSTS:
        yield note("files", f"{link}: set BASE_URL to the public address, else they lead nowhere")
    elif settings.storage_endpoint is None:
        kept = f"kept in the folder {settings.base_store}: needs a disk that stays and that all processes share"
        yield note("files", f"{link}; {kept}, else set STORAGE_ENDPOINT")
    else:
        yield ok("files", f"{link}; kept in the bucket {settings.storage_bucket_name}")


# --- RabbitMQ ---


def check_broker(state: BrokerState, *, where: str) -> Iterator[Finding]:
    """The server, an alarm, and its objects of ours."""
    named = f"{where}: {state.product or 'a server that does not say what it is'} {state.version}".rstrip()
    problems = list(_broker_problems(state, where))
    if state.product == "RabbitMQ" and (version := _numbers(state.version)) and version < OLDEST_RABBITMQ:
        problems.append(wrong("rabbitmq", f"{named} is too old: 3.10 or newer is needed", EX_CONFIG))
    elif state.product != "RabbitMQ":
        problems.append(note("rabbitmq", f"{named} is not RabbitMQ: nothing here was tried with it"))
    yield from problems or [ok("rabbitmq", f"{named}, takes messages, {len(state.depths)} queues")]


def _broker_problems(state: BrokerState, where: str) -> Iterator[Finding]:
    if state.alarm:
        advice = "give it memory or disk (`rabbitmqctl status` says which alarm), or remove what fills it"
        yield wrong("rabbitmq", f"{where}: takes no messages ({_plain(state.alarm)}): {advice}")
    if state.conflicts:
        advice = "give Uno API a vhost of its own, or delete them; `unoapi release` has the commands"
        yield wrong(
            "rabbitmq", f"{where}: {_named(state.conflicts)} of another program or version: {advice}", EX_CONFIG
        )
    if state.missing:
        yield wrong("rabbitmq", f"{where}: {_named(state.missing)} not there: run `unoapi release`, or start a process")


def check_nodes(silent: Sequence[str]) -> Iterator[Finding]:
    """Nodes of a cluster that do not answer while others do."""
    if silent:
        yield note("rabbitmq", f"of the nodes in AMQP_URL {_named(silent)} does not answer: is it running?")


def check_policies(policies: Mapping[str, Sequence[str]] | None, *, asked: bool) -> Iterator[Finding]:
    """Policies of RabbitMQ that throw messages away, by queue; none when the management API does not answer."""
    if policies is None:
        if asked:
            yield note("rabbitmq", "its management API does not answer: check RABBITMQ_MANAGEMENT_URL and its login")
        return
    losing = {queue: LOSING_POLICY & set(keys) for queue, keys in policies.items()}
    keys = sorted(set().union(*losing.values())) if losing else []
    if keys:
        queues = _named([queue for queue, found in losing.items() if found])
        words = (
            f"a policy sets {', '.join(keys)} for {queues}: it loses messages; remove it (`rabbitmqctl list_policies`)"
        )
        yield wrong("rabbitmq", words, EX_CONFIG)


def check_consumers(state: BrokerState, *, prefix: str) -> Iterator[Finding]:
    """Whether every kind of process is there."""
    consumers = {depth.queue: depth.consumers or 0 for depth in state.depths}
    missing: dict[str, list[str]] = {}
    for name, process in CONSUMERS.items():
        if consumers.get(f"{prefix}.{name}", 1) == 0:
            missing.setdefault(process, []).append(f"{prefix}.{name}")
    for process, queues in missing.items():
        yield wrong(
            "processes", f"no {process}: nothing takes from {_named(queues)}; start `{process}` of the Procfile"
        )
    if not missing and state.depths:
        yield ok("processes", "every work queue has a consumer")


def check_processes(processes: Sequence[Process]) -> Iterator[Finding]:
    """Processes that hang, or that an update has forgotten."""
    silent = [process.name for process in processes if process.silent]
    if silent:
        yield note("processes", f"not heard of lately: {_named(silent)}; they were killed or hang: see their logs")
    others = [f"{one.name} ({one.version})" for one in processes if not one.silent and one.version != __version__]
    if others:
        yield note("processes", f"of another version than {__version__}: {_named(others)}; restart them")


def check_waiting(state: BrokerState, ages: Mapping[str, float], *, dead: str) -> Iterator[Finding]:
    """Dead letters, and queues on which something has waited for long."""
    waiting = {depth.queue: depth.ready or 0 for depth in state.depths}
    if waiting.get(dead):
        yield note("queues", f"{waiting[dead]} dead letters: `unoapi dead list --summary` says why they were given up")
    old = [f"{queue} ({waiting[queue]})" for queue, age in ages.items() if age > OLD_QUEUE_S and waiting.get(queue)]
    if old:
        yield note("queues", f"more than {OLD_QUEUE_S / 60:.0f} min behind: {_named(old)}; more workers, or threads")


# --- Redis ---


def check_redis(state: RedisState, *, where: str) -> Iterator[Finding]:
    """The server, what it refuses, and what it will lose."""
    if state.trouble:
        yield wrong("redis", f"{where}: {state.trouble}")
        return
    problems = list(_redis_problems(state, where))
    name, version = _redis_version(state.info)
    yield from problems or [ok("redis", f"{where}: {name} {version}, takes writes".replace("  ", " "))]


def _redis_problems(state: RedisState, where: str) -> Iterator[Finding]:
    health, info = state.health, state.info
    if state.denied:
        advice = "give it all that is about keys, scripts and channels: ACL SETUSER <user> ~* &* +@all -@admin"
        yield wrong("redis", f"{where}: the user in REDIS_URL may not {_named(state.denied)}: {advice}", EX_CONFIG)
    elif health is not None and health.trouble:
        yield wrong("redis", f"{where}: {health.trouble}", EX_CONFIG)
    elif health is not None and health.warnings:
        yield note("redis", f"{where}: {'; '.join(health.warnings)}")
    name, version = _redis_version(info)
    numbers = _numbers(version)
    if numbers and numbers < OLDEST_REDIS:
        yield wrong("redis", f"{where}: {name} {version} is too old: 7 or newer is needed", EX_CONFIG)
    elif numbers and numbers < GOOD_REDIS:
        yield note("redis", f"{where}: {name} {version} is older than what is tested: use 7 or newer")
    if state.lost:
        advice = "store the sessions again (`unoapi session import`), then `unoapi session confirm`"
        yield wrong("redis", f"{where}: it lost its data, and events of unknown numbers wait: {advice}")
    for key in ("rdb_last_bgsave_status", "aof_last_write_status", "aof_last_bgrewrite_status"):
        if info.get(key, "ok") != "ok":
            yield wrong("redis", f"{where}: {key} is {_plain(info[key])}: it cannot save; look at its log and its disk")


def _redis_version(info: Mapping[str, object]) -> tuple[str, str]:
    if "valkey_version" in info:
        return "Valkey", f"{info['valkey_version']}"
    return "Redis", f"{info.get('redis_version', '')}"


def check_clock(state: RedisState) -> Iterator[Finding]:
    """Whether the clocks of this machine and of Redis agree."""
    if state.clock_s is None:
        return
    apart = abs(state.clock_s)
    words = f"Redis' clock is {apart:.1f} s {'ahead' if state.clock_s > 0 else 'behind'}: start NTP on both machines"
    if apart >= CLOCK_WRONG_S:
        yield wrong("clock", words)
    elif apart >= CLOCK_NOTE_S:
        yield note("clock", words)
    else:
        yield ok("clock", "agrees with Redis")


# --- the machine ---


def check_folder(state: FolderState) -> Iterator[Finding]:
    """Room, and whether it can be written."""
    where = f"{state.path} ({state.setting})"
    if state.in_the_way:
        yield wrong("disk", f"{where} cannot be made: {state.in_the_way} is no folder; name another one", EX_CONFIG)
        return
    if not state.is_writable:
        yield wrong("disk", f"{where} cannot be written by this user: give it to the user of the processes", EX_CONFIG)
    if not state.has_inodes:
        yield wrong("disk", f"{where} can have no more files, whatever their size (inodes): remove some, see `df -i`")
    elif state.free_bytes < FULL_DISK:
        yield wrong("disk", f"{where} has {_size(state.free_bytes)} left: make room, or shorten DATA_TTL")
    elif state.free_bytes < NEARLY_FULL_DISK:
        yield note("disk", f"{where} has {_size(state.free_bytes)} left: make room soon, or shorten DATA_TTL")
    elif state.is_writable:
        yield ok("disk", f"{where} has {_size(state.free_bytes)} left")


def check_machine(state: MachineState, settings: Settings) -> Iterator[Finding]:
    """Memory, files that may be open, programs."""
    if state.memory_bytes:
        free, all_of_it = _size(state.free_memory_bytes), _size(state.memory_bytes)
        if state.free_memory_bytes < NEARLY_FULL_MEMORY * state.memory_bytes:
            yield note("memory", f"{free} of {all_of_it} are free: fewer processes or threads, or a larger machine")
        else:
            yield ok("memory", f"{free} of {all_of_it} are free")
    if 0 < state.open_files < MIN_OPEN_FILES:
        yield note("files", f"only {state.open_files} files may be open: raise `ulimit -n` to 65536 for all processes")
    if settings.convert_audio_message_to_ogg and not state.has_ffmpeg:
        yield note("files", "ffmpeg is not on this machine: `media` needs it to convert voice notes; install it there")


# --- addresses ---


def check_authorities(file: str) -> Iterator[Finding]:
    """The certificates to trust, where the operator names them."""
    if file and not Path(file).is_file():
        yield wrong(
            "tls", f"SSL_CERT_FILE names {_plain(file)}, which is not there: no certificate is trusted", EX_CONFIG
        )


def check_public(state: PublicState, *, base_url: str) -> Iterator[Finding]:
    """Whether BASE_URL leads to this installation, seen from this machine."""
    secure = base_url.startswith("https:")
    if state.error:
        yield wrong(
            "base url",
            f"{base_url}: {_plain(state.error)}: is `web` running? else check BASE_URL, its DNS name, and the proxy",
        )
        return
    if not state.version:
        words = f"{base_url}/health/live answered {state.status}, and not as Uno API: check BASE_URL and the proxy"
        yield wrong("base url", words, EX_CONFIG)
        return
    problems = []
    if state.version != __version__:
        problems.append(
            note("base url", f"{base_url} runs version {_plain(state.version)}, this is {__version__}: update")
        )
    if not secure and urlsplit(base_url).hostname not in LOCAL_HOSTS:
        problems.append(note("base url", f"{base_url} is not https: tokens and files can be read on the way"))
    if state.clock_s is not None and abs(state.clock_s) > PUBLIC_CLOCK_S:
        problems.append(note("clock", f"the answer of BASE_URL is {abs(state.clock_s):.0f} s off: start NTP"))
    yield from problems or [ok("base url", f"{base_url} leads here")]


def check_addresses(states: Sequence[AddressState], *, left_out: int = 0) -> Iterator[Finding]:
    """Webhooks and services: whether they take connections. Nothing was sent to them."""
    for state in states:
        if state.step == "guard":
            yield wrong("address", f"{state.name} {state.origin}: {state.error}", EX_CONFIG)
        elif state.error:
            yield wrong("address", f"{state.name} {state.origin}: {state.error}: {_advice(state)}")
        elif state.origin.startswith("http:") and (urlsplit(state.origin).hostname or "") not in LOCAL_HOSTS:
            yield note(
                "address", f"{state.name} {state.origin} is not https: what is sent there can be read on the way"
            )
    if states and not any(state.error for state in states):
        more = f"; {left_out} more were not tried" if left_out else ""
        yield ok("address", f"{len(states)} take connections{more}")


def _advice(state: AddressState) -> str:
    """What to do about an address that takes no connection."""
    if state.step == "tls" and state.error.startswith((NO_TLS, SILENT)):
        return "write http, or the port for https"
    return ADVICE.get(state.step, GENERAL)


ADVICE = {
    "name": "check the name and this machine's DNS",
    "tls": "renew its certificate, or name its authority in SSL_CERT_FILE",
    "address": "correct the address",
}
ENDPOINT_ADVICE = {
    "down": "`unoapi endpoint test <number> <webhook>` says why",
    "paused": "`unoapi endpoint resume <number> <webhook>` ends it",
}
GENERAL = "is it running, and does a firewall let this machine through?"


# --- numbers ---


def check_numbers(
    states: Sequence[NumberState], *, serves_unknown: bool, unreadable: Sequence[str] = ()
) -> Iterator[Finding]:
    """Whether the stored numbers are connected, run by somebody, and heard by somebody."""
    if unreadable:
        advice = "`unoapi session show <number>` has it; register the number again"
        yield wrong("numbers", f"the configuration of {_named(unreadable)} is not valid: {advice}", EX_CONFIG)
    if not (states or unreadable):
        words = "none is stored"
        yield (
            ok("numbers", f"{words}: the environment's webhook serves all")
            if serves_unknown
            else note("numbers", f"{words}: register one, or set WEBHOOK_URL")
        )
        return
    phones = [state for state in states if state.provider == "whatsmeow" and state.wanted]
    orphans = [state.phone for state in phones if not state.leased]
    if orphans:
        yield wrong("numbers", f"no connector runs {_named(orphans)}: start `connector`, or check UNOAPI_SERVER_NAME")
    away = [f"{state.phone} ({state.status})" for state in phones if state.leased and state.status != "online"]
    if away:
        yield note(
            "numbers", f"not connected: {_named(away)}; open /session/<number> and scan the code, if it shows one"
        )
    for state in states:
        if state.lacks:
            yield wrong(
                "numbers",
                f"{state.phone} is at Meta, and cannot send: set webhookForward.{_named(state.lacks)}",
                EX_CONFIG,
            )
    yield from _check_webhooks(states)
    kinds = Counter(state.provider for state in states)
    if not (orphans or away or unreadable or any(state.lacks for state in states)):
        yield ok("numbers", ", ".join(f"{count} {provider}" for provider, count in sorted(kinds.items())))


def check_callbacks(sessions: Iterable[Session], settings: Settings) -> Iterator[Finding]:
    """Whether it can be told that what Meta calls back is from Meta. The Node version did not ask."""
    if settings.unoapi_meta_app_secret.get_secret_value():
        return
    at_meta = [session for session in sessions if session.provider == "forwarder"]
    unsigned = [one.phone for one in at_meta if not one.webhook_forward.app_secret.get_secret_value()]
    if unsigned:
        advice = "set UNOAPI_META_APP_SECRET or webhookForward.appSecret, else they are refused without a token"
        yield note("numbers", f"nobody can check the signature of Meta's callbacks to {_named(unsigned)}: {advice}")


def _check_webhooks(states: Sequence[NumberState]) -> Iterator[Finding]:
    silent = [state.phone for state in states if not state.webhooks]
    if silent:
        yield note("numbers", f"without a webhook, so nobody gets their events: {_named(silent)}; register one")
    for word, advice in ENDPOINT_ADVICE.items():
        ends = [f"{state.phone} {name}" for state in states for name, how in state.webhooks.items() if how == word]
        if ends:
            yield note("numbers", f"{word}: {_named(ends)}; {advice}")


# --- words ---


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(map(_plain, names[:MOST_NAMED])) + more


def _plain(text: object) -> str:
    """What others wrote, short, and without what a terminal obeys."""
    return "".join(char if char.isprintable() else "\ufffd" for char in f"{text}"[:200])


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"(\d{1,4})(?:\.(\d{1,4}))?", version)
    return (int(match[1]), int(match[2] or 0)) if match else ()


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count // MIB} MiB"
