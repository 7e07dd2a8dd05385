"""Joins the parts of a process, and does nothing else."""

from __future__ import annotations

import gc
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from unoapi.broker.connector_commands import CommandQueue
from unoapi.broker.dead_letter_queue import BrokerDeadLetterQueue
from unoapi.broker.event_recorder import EventRecorder
from unoapi.broker.event_stream import BrokerEventStream
from unoapi.broker.holding_queues import BrokerHoldingQueues
from unoapi.broker.publisher import ConfirmingPublisher
from unoapi.broker.queue_monitor import QueueCollector, QueueMonitor
from unoapi.broker.rpc import BrokerRpc
from unoapi.broker.topology import EventBounds, Topology
from unoapi.errors import ConfigurationError
from unoapi.errors.validation import explain
from unoapi.http.address_guard import AddressGuard
from unoapi.http.alert_channels import AppriseChannels
from unoapi.http.api_client import ApiClient
from unoapi.http.callback_client import CallbackClient
from unoapi.http.downloader import Downloader
from unoapi.http.host_names import HostNames
from unoapi.http.process_bulkhead import ProcessBulkhead
from unoapi.http.request_bin import WithRequestBin
from unoapi.http.voice_client import VoiceClient
from unoapi.http.webhook_client import WebhookClient
from unoapi.http.webhook_loop import WebhookLoop as CurlWebhookLoop
from unoapi.media.folder import FolderMediaStore
from unoapi.media.signed_urls import SignedUrls
from unoapi.media.whisper import LocalWhisper
from unoapi.models.bulk import Pace
from unoapi.models.former_settings import former_names, misspelt_names
from unoapi.models.graph_versions import warning
from unoapi.models.voice import OperatorAccounts, VoiceAccount
from unoapi.providers.cloud_api.graph_client import CloudApiGraph
from unoapi.providers.cloud_api.graph_watch import GraphCollector, GraphWatch
from unoapi.providers.cloud_api.media import CloudApiMedia
from unoapi.providers.cloud_api.provider import CloudApiProvider
from unoapi.providers.sandbox import SandboxProvider
from unoapi.providers.whatsmeow.provider import WhatsmeowProvider
from unoapi.services import templates
from unoapi.services.bulkhead import Bulkhead
from unoapi.services.dead_letters import DeadLetters
from unoapi.services.holding import Announcements, Releases
from unoapi.services.next_looks import NextLooks
from unoapi.services.replaying import Places
from unoapi.services.retries import RetrySchedule, bucket_wait_ms
from unoapi.services.send_order import SendTurns
from unoapi.services.sessions import check_addresses
from unoapi.settings import (
    Settings,
    env_file,
    load_settings,
    quoted_secrets,
    read_environment,
    setting_names,
    unreadable_lines,
)
from unoapi.stores.activity import RedisActivity
from unoapi.stores.alerts import RedisAlerts
from unoapi.stores.audit import RedisAudit
from unoapi.stores.backlog import RedisBacklog
from unoapi.stores.blacklist import RedisBlacklist
from unoapi.stores.campaigns import RedisCampaigns
from unoapi.stores.chats import RedisChats
from unoapi.stores.circuit_breakers import RedisBreakers
from unoapi.stores.connections import RedisConnections
from unoapi.stores.console_logins import RedisConsoleLogins
from unoapi.stores.dead_letter_counts import RedisDeadLetterCounts
from unoapi.stores.dead_letter_holder import RedisDeadLetterHolder
from unoapi.stores.deliveries import RedisDeliveries
from unoapi.stores.first_looks import RedisFirstLooks
from unoapi.stores.holdings import RedisHoldings
from unoapi.stores.idempotency import RedisIdempotency
from unoapi.stores.link_secret import RedisLinkSecret
from unoapi.stores.media_index import RedisMediaIndex
from unoapi.stores.message_ids import RedisMessageIds
from unoapi.stores.message_log import RedisMessageLog
from unoapi.stores.notices import RedisNotices
from unoapi.stores.ordering import RedisOrdering
from unoapi.stores.processes import RedisProcesses
from unoapi.stores.queue_ages import RedisQueueAges
from unoapi.stores.redis import RedisClient
from unoapi.stores.redis_health import RedisCollector, RedisMonitor
from unoapi.stores.replays import RedisReplays
from unoapi.stores.request_bin import RedisRequestBin
from unoapi.stores.send_claims import RedisSendClaims
from unoapi.stores.send_order import RedisSendOrder
from unoapi.stores.session_directory import RedisSessionDirectory
from unoapi.stores.sessions import RedisSessions, environment_config
from unoapi.stores.statuses import RedisStatuses
from unoapi.stores.templates import RedisTemplates
from unoapi.stores.timers import RedisTimers
from unoapi.stores.traces import RedisTraces
from unoapi.stores.usage import RedisUsage
from unoapi.telemetry.logging import configure_logging, get_logger
from unoapi.telemetry.processes import WEB, count_together, expose
from unoapi.telemetry.tracing import start_tracing, stop_tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from unoapi.broker.publisher import MessagePublisher
    from unoapi.models.provenance import OperatorAddresses
    from unoapi.ports import (
        ActivityCounts,
        AlertChannels,
        AlertStore,
        Audit,
        Backlog,
        BlacklistStore,
        Breakers,
        CallbackSender,
        Campaigns,
        Chats,
        Commands,
        Connections,
        ConsoleLogins,
        DeadLetterCounts,
        Deliveries,
        EventStream,
        FileDownloader,
        FirstLooks,
        Graph,
        HoldingQueues,
        Holdings,
        Idempotency,
        MediaIndex,
        MediaStore,
        MessageIds,
        MessageLog,
        Notices,
        Ordering,
        Processes,
        Provider,
        QueueAges,
        RemoteMedia,
        Replays,
        RequestBin,
        SendClaims,
        SendOrder,
        SessionDirectory,
        Sessions,
        Statuses,
        Templates,
        TimerStore,
        Traces,
        Usage,
        VoiceService,
        WebhookLoop,
        WebhookSender,
    )
    from unoapi.telemetry.exporter import Listener, ProcessRegistry
    from unoapi.telemetry.logging import Report

log = get_logger(__name__)

GC_THRESHOLD = 10_000
"""New objects until the collector looks at them. Python's 700 is for programs that make few a second."""
HOUR_MS = 3_600_000
DAY_S = 86_400
WEEK_S = 7 * DAY_S


@dataclass(frozen=True)
class Uno:
    """Everything a process needs, joined once. Connections open at their first use, so after a fork."""

    settings: Settings
    topology: Topology
    publisher: MessagePublisher
    redis: RedisClient
    redis_monitor: RedisMonitor
    sessions: Sessions
    directory: SessionDirectory
    templates: Templates
    blacklist: BlacklistStore
    timers: TimerStore
    campaigns: Campaigns
    deliveries: Deliveries
    breakers: Breakers
    bulkhead: Bulkhead
    holdings: Holdings
    holding_queues: HoldingQueues
    holding_announcements: Announcements
    releases: Releases
    next_looks: NextLooks
    events: EventStream
    replays: Replays
    replay_places: Places
    ordering: Ordering
    send_order: SendOrder
    send_turns: SendTurns
    queue_ages: QueueAges
    processes: Processes
    send_claims: SendClaims
    message_ids: MessageIds
    notices: Notices
    connections: Connections
    chats: Chats
    connector_commands: Commands
    idempotency: Idempotency
    backlog: Backlog
    media_store: MediaStore
    media_index: MediaIndex
    signed_urls: SignedUrls
    link_key: Callable[[], str]
    console_logins: ConsoleLogins
    address_guard: AddressGuard
    host_names: HostNames
    downloader: FileDownloader
    downloader_through: Callable[[str], FileDownloader]
    media_downloader: FileDownloader
    media_bulkhead: ProcessBulkhead
    remote_media: RemoteMedia
    statuses: Statuses
    traces: Traces
    activity: ActivityCounts
    message_log: MessageLog
    audit: Audit
    request_bin: RequestBin
    operator_addresses: OperatorAddresses
    webhook_client: WebhookSender
    webhook_loop: Callable[[], WebhookLoop]
    first_looks: FirstLooks
    callback_client: CallbackSender
    alerts: AlertStore
    alert_channels: AlertChannels
    queue_monitor: QueueMonitor
    dead_letters: DeadLetters
    dead_letter_counts: DeadLetterCounts
    retry_schedule: RetrySchedule
    operator_accounts: OperatorAccounts
    voice_client: VoiceService
    local_whisper: LocalWhisper | None
    usage: Usage
    providers: Mapping[str, Provider]
    graph: Graph
    graph_watch: GraphWatch

    def close(self) -> None:
        """Finish what is waiting and close the connections."""
        self.publisher.close()
        self.activity.flush()
        self.redis.close()
        stop_tracing()
        if self.settings.sentry_dsn.get_secret_value():
            from unoapi.telemetry.sentry import flush  # noqa: PLC0415 (loaded long ago)

            flush()


def bootstrap(settings: Settings) -> Uno:
    """Join the parts. Raises ConfigurationError."""
    _ensure_pace(settings)
    bounds = EventBounds(settings.unoapi_events_max_age, settings.unoapi_events_max_bytes)
    topology = Topology(settings.unoapi_queue_name, events=bounds)
    store = RedisClient(settings.redis_url.get_secret_value(), verify=settings.unoapi_redis_tls_verify)
    activity = RedisActivity(store)
    traces = RedisTraces(
        store,
        ttl_s=settings.unoapi_trace_ttl,
        count=activity.note,
        most_stuck=settings.unoapi_message_log_max,
    )
    request_bin = RedisRequestBin(store)
    guard = AddressGuard(
        settings.allowed_hosts,
        own_ports=settings.own_ports,
        local_ports=settings.local_ports,
    )
    # A done-key lives longer than any copy of its delivery can wait.
    done_ttl_s = settings.unoapi_message_max_age + DAY_S
    amqp_url = settings.amqp_url.get_secret_value()
    ordering = RedisOrdering(store, done_ttl_s=done_ttl_s)
    send_order = RedisSendOrder(store)
    recorder = EventRecorder(ConfirmingPublisher(amqp_url, topology)) if topology.streams else None
    publisher = ConfirmingPublisher(amqp_url, topology, ordering=ordering, recorder=recorder)
    deliveries, sends = RedisDeliveries(store, traces, done_ttl_s=done_ttl_s), RedisSendClaims(store, ttl_s=done_ttl_s)
    environment = environment_config(
        _environment_webhook(settings),
        _environment_forward(settings),
        _options(settings),
        forward_phones=settings.forward_phones,
    )
    operators = environment.addresses
    sessions = RedisSessions(
        store,
        environment,
        check=lambda session: check_addresses(
            session,
            refusal=guard.refusal,
            operators=operators,
            operators_proxy=settings.proxy_url.get_secret_value(),
        ),
    )
    directory = RedisSessionDirectory(store, sessions)
    statuses = RedisStatuses(store, ttl_s=min(settings.data_ttl, WEEK_S))
    webhook_client = WebhookClient(guard, operators, threads=settings.unoapi_worker_threads)
    connections, chats, ids = (
        RedisConnections(store, ttl_s=settings.data_ttl),
        RedisChats(store, ttl_s=settings.data_ttl),
        RedisMessageIds(store, ttl_s=settings.data_ttl),
    )
    commands = CommandQueue(publisher)
    stored_templates = RedisTemplates(store)
    whatsmeow = WhatsmeowProvider(
        commands=commands,
        connections=connections,
        chats=chats,
        ids=ids,
        sessions=sessions,
        rendered=lambda message, phone: templates.rendered(
            message,
            lambda: templates.of_session(stored_templates.get(phone), only_hello=settings.only_hello_template),
        ),
        max_age_s=settings.unoapi_send_max_age,
        rpc=BrokerRpc(amqp_url, topology),
    )
    files = _files(settings)
    queue_ages, holdings = RedisQueueAges(store, prefix=topology.prefix), RedisHoldings(store)
    fetches = ProcessBulkhead(settings.base_store / "fetches", processes=settings.unoapi_media_processes)
    media_downloader, api_client = Downloader(guard, share=fetches.taken), ApiClient(guard)
    media_index = RedisMediaIndex(store, files, ttl_s=settings.data_ttl)
    link_secret = settings.unoapi_link_secret.get_secret_value()
    link_key = (lambda: link_secret) if link_secret else RedisLinkSecret(store).read
    links = SignedUrls(
        base_url=f"{settings.base_url}",
        read_key=link_key,
        former_keys=(
            settings.former_link_key,
            *filter(None, (settings.unoapi_link_secret_previous.get_secret_value(),)),
        ),
        ttl_s=settings.data_url_ttl,
    )
    forwarder = CloudApiProvider(
        sessions=sessions, ids=ids, index=media_index, signed_urls=links, api_client=api_client
    )
    return Uno(
        settings=settings,
        topology=topology,
        publisher=publisher,
        redis=store,
        redis_monitor=RedisMonitor(store),
        sessions=sessions,
        directory=directory,
        templates=stored_templates,
        blacklist=RedisBlacklist(store),
        timers=RedisTimers(store, ttl_s=settings.data_ttl),
        campaigns=RedisCampaigns(store, ttl_s=settings.data_ttl),
        deliveries=deliveries,
        breakers=RedisBreakers(
            store,
            failures=settings.unoapi_breaker_failures,
            spread=lambda wait_ms: bucket_wait_ms(wait_ms, draw=random.random()),  # noqa: S311 (spreads load, hides nothing)
        ),
        bulkhead=Bulkhead(settings.unoapi_worker_threads),
        holdings=holdings,
        holding_queues=BrokerHoldingQueues(amqp_url, topology, publisher),
        holding_announcements=Announcements(),
        releases=Releases(settings.unoapi_worker_threads),
        next_looks=NextLooks(),
        events=BrokerEventStream(amqp_url, topology),
        replays=RedisReplays(store),
        replay_places=Places(settings.unoapi_worker_threads),
        ordering=ordering,
        send_order=send_order,
        send_turns=SendTurns(send_order, threads=settings.unoapi_worker_threads),
        queue_ages=queue_ages,
        processes=RedisProcesses(store, prefix=topology.prefix),
        send_claims=sends,
        message_ids=ids,
        notices=RedisNotices(store),
        connections=connections,
        chats=chats,
        connector_commands=commands,
        idempotency=RedisIdempotency(store),
        backlog=RedisBacklog(
            store, traces, most=settings.unoapi_session_backlog_max, max_age_s=settings.unoapi_send_max_age
        ),
        media_store=files,
        media_index=media_index,
        signed_urls=links,
        link_key=link_key,
        console_logins=RedisConsoleLogins(store),
        address_guard=guard,
        host_names=HostNames(guard),
        downloader=Downloader(guard),
        downloader_through=lambda proxy: Downloader(
            guard, proxy=proxy, trusted_proxy=proxy == settings.proxy_url.get_secret_value()
        ),
        media_downloader=media_downloader,
        media_bulkhead=ProcessBulkhead(settings.base_store / "numbers", processes=settings.unoapi_media_processes),
        remote_media=CloudApiMedia(
            sessions=sessions,
            api_client=api_client,
            downloader=media_downloader,
            timeout_ms=settings.unoapi_fetch_timeout_ms,
            share=fetches.taken,
        ),
        # Statuses that come twice, or in a wrong order, come soon after each other.
        statuses=statuses,
        traces=traces,
        activity=activity,
        message_log=RedisMessageLog(
            store,
            most=settings.unoapi_message_log_max,
            ttl_s=settings.unoapi_trace_ttl,
            bodies=settings.unoapi_console_bodies,
        ),
        audit=RedisAudit(store),
        request_bin=request_bin,
        operator_addresses=operators,
        webhook_client=WithRequestBin(webhook_client, request_bin),
        webhook_loop=partial(CurlWebhookLoop, guard, webhook_client),
        first_looks=RedisFirstLooks(store, sessions=sessions, deliveries=deliveries, statuses=statuses),
        callback_client=CallbackClient(),
        alerts=RedisAlerts(store, spacing_ms=HOUR_MS // settings.unoapi_alerts_per_hour),
        alert_channels=AppriseChannels(settings.alert_urls),
        queue_monitor=QueueMonitor(
            amqp_url=amqp_url,
            vhost=settings.amqp_vhost,
            management_url=settings.rabbitmq_management_url.get_secret_value(),
            topology=topology,
            queue_ages=queue_ages,
            holdings=holdings,
        ),
        dead_letters=DeadLetters(
            BrokerDeadLetterQueue(amqp_url, topology, publisher),
            RedisDeadLetterHolder(store),
            deliveries=deliveries,
            sends=sends,
            traces=traces,
        ),
        dead_letter_counts=RedisDeadLetterCounts(store),
        retry_schedule=RetrySchedule(
            limit=settings.unoapi_message_retry_limit,
            base_ms=settings.unoapi_message_retry_delay,
            cap_ms=settings.unoapi_message_retry_max_delay,
        ),
        operator_accounts=_voice_accounts(settings),
        voice_client=VoiceClient(guard, timeout_ms=settings.unoapi_voice_timeout_ms),
        local_whisper=(
            LocalWhisper(settings.unoapi_whisper_model, timeout_ms=settings.unoapi_voice_timeout_ms)
            if settings.unoapi_whisper_model
            else None
        ),
        usage=RedisUsage(store),
        graph=CloudApiGraph(api_client=api_client),
        graph_watch=GraphWatch(default=settings.webhook_forward_version, directory=directory),
        providers={"sandbox": SandboxProvider(), "whatsmeow": whatsmeow, "forwarder": forwarder},
    )


def _files(settings: Settings) -> MediaStore:
    if settings.storage_endpoint is None:
        return FolderMediaStore(settings.base_store / "medias")
    from unoapi.media.s3 import S3MediaStore  # noqa: PLC0415 (boto3 takes half a second, and is seldom needed)

    return S3MediaStore(
        bucket=settings.storage_bucket_name,
        timeout_ms=settings.storage_timeout_ms,
        path_style=settings.storage_force_path_style,
        endpoint_url=f"{settings.storage_endpoint}",
        region_name=settings.storage_region,
        aws_access_key_id=settings.storage_access_key_id.get_secret_value(),
        aws_secret_access_key=settings.storage_secret_access_key.get_secret_value(),
    )


def _environment_forward(settings: Settings) -> dict[str, Any]:
    return {
        "url": settings.webhook_forward_url,
        "version": settings.webhook_forward_version,
        "phoneNumberId": settings.webhook_forward_phone_number_id,
        "businessAccountId": settings.webhook_forward_business_account_id,
        "token": settings.webhook_forward_token,
    }


def _voice_accounts(settings: Settings) -> OperatorAccounts:
    """The operator's accounts at services that transcribe and speak, as far as they have a key."""
    openai = VoiceAccount(
        name="openai",
        url=f"{settings.openai_api_base_url}",
        key=settings.openai_api_key,
        transcribe_model=settings.openai_api_transcribe_model,
        speech_model=settings.openai_api_speech_model,
        voice=settings.openai_api_speech_voice,
        trusted=True,
    )
    groq = VoiceAccount(
        name="groq",
        url=f"{settings.groq_api_base_url}",
        key=settings.groq_api_key,
        transcribe_model=settings.groq_api_transcribe_model,
        trusted=True,
    )
    return OperatorAccounts(
        openai=openai if openai.key.get_secret_value() else None, groq=groq if groq.key.get_secret_value() else None
    )


def _environment_webhook(settings: Settings) -> dict[str, Any] | None:
    if settings.webhook_url is None and settings.webhook_url_absolute is None:
        return None
    return {
        "id": "default",
        "url": settings.webhook_url,
        "url_absolute": settings.webhook_url_absolute,
        "token": settings.webhook_token,
        "header": settings.webhook_header,
        "secret": settings.unoapi_webhook_secret,
        "previous_secret": settings.unoapi_webhook_secret_previous,
        "timeout_ms": settings.webhook_timeout_ms,
        "send_group_messages": settings.webhook_send_group_messages,
        "send_outgoing_messages": settings.webhook_send_outgoing_messages,
        "send_incoming_messages": settings.webhook_send_incoming_messages,
        "send_update_messages": settings.webhook_send_update_messages,
        "send_newsletter_messages": settings.webhook_send_newsletter_messages,
        "send_new_messages": settings.webhook_send_new_messages,
        "send_transcribe_audio": settings.webhook_send_transcribe_audio,
        "add_to_black_list_on_outgoing_message_with_ttl": (
            settings.webhook_add_to_blacklist_on_outgoing_message_with_ttl
        ),
    }


def _ensure_pace(settings: Settings) -> None:
    """Refuse hours, days and a time zone for campaigns that are none: every session would have them."""
    named = {name: getattr(settings, f"unoapi_bulk_{name}") for name in Pace.model_fields}
    try:
        Pace.model_validate(named)
    except ValidationError as error:
        lines = explain(error, most=None, place=lambda loc: f"UNOAPI_BULK_{loc[0]}".upper())
        raise ConfigurationError("These settings are wrong:\n" + "\n".join(f"  {line}" for line in lines)) from None


def _options(settings: Settings) -> dict[str, Any]:
    """What the environment says about connections, for every session that says nothing else."""
    return {
        "server": settings.unoapi_server_name,
        "connectionType": settings.connection_type,
        "autoConnect": settings.auto_connect,
        "autoRestartMs": settings.auto_restart_ms,
        "sessionWebhook": settings.webhook_session,
        "qrTimeoutMs": settings.qr_timeout_ms,
        "proxyUrl": settings.proxy_url,
        "ignoreGroupMessages": settings.ignore_group_messages,
        "ignoreNewsletterMessages": settings.ignore_newsletter_messages,
        "ignoreBroadcastStatuses": settings.ignore_broadcast_statuses,
        "ignoreBroadcastMessages": settings.ignore_broadcast_messages,
        "ignoreOwnMessages": settings.ignore_own_messages,
        "ignoreYourselfMessages": settings.ignore_yourself_messages,
        "ignoreHistoryMessages": settings.ignore_history_messages,
        "readOnReceipt": settings.read_on_receipt,
        "readOnReply": settings.read_on_reply,
        "composingMessage": settings.composing_message,
        "sendConnectionStatus": settings.send_connection_status,
        "rejectCalls": settings.reject_calls,
        "messageCallsWebhook": settings.message_calls_webhook,
        "sendReactionAsReply": settings.send_reaction_as_reply,
        "sendProfilePicture": settings.send_profile_picture,
        "outgoingMessagesCoex": settings.outgoing_messages_coex,
        "accountInEvents": settings.unoapi_account_in_events,
        "commands": settings.unoapi_commands,
        "interactiveMode": settings.unoapi_interactive_mode,
        "bulkBatch": settings.unoapi_bulk_batch,
        "bulkDelay": settings.unoapi_bulk_delay,
        "bulkHours": settings.unoapi_bulk_hours,
        "bulkDays": settings.unoapi_bulk_days,
        "bulkTimezone": settings.unoapi_bulk_timezone,
    }


def ensure_usable(uno: Uno, publisher: MessagePublisher | None = None) -> None:
    """At the start of every process: refuse a Redis that cannot do the work, and declare the topology.

    `publisher` in the place of the parts' own, for who forks later. Raises ConfigurationError; BrokerUnavailable while
    RabbitMQ is away.
    """
    uno.redis_monitor.ensure_usable()
    (publisher or uno.publisher).check(timeout_s=5.0)


def count_metrics(uno: Uno) -> ProcessRegistry | None:
    """Count where all processes of this host count, if metrics are switched on."""
    installation = f"{uno.topology.prefix} {uno.settings.amqp_url.get_secret_value()}"
    return count_together(uno.settings.unoapi_metrics_port, installation=installation)


def freeze_imports() -> None:
    """Take what is there when a process begins its work out of the garbage collector's rounds: it stays for good."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)


def expose_metrics(uno: Uno, *, web: bool = False) -> Listener | None:
    """Answer Prometheus as soon as no other process of this host does. After a fork, in the process that counts.

    Only hosts with a web process read the queues, so that many workers do not.
    """
    registry = count_metrics(uno)
    if registry is None:
        return None
    queues = QueueCollector(
        uno.queue_monitor,
        prefix=uno.topology.prefix,
        count_open_breakers=uno.breakers.count_open,
        most_dead_letters=uno.dead_letter_counts.largest,
        count_sessions=uno.directory.count_phones,
        is_wanted=lambda: registry.has(WEB),
    )
    redis = RedisCollector(uno.redis_monitor, is_wanted=lambda: registry.has(WEB))
    graph = GraphCollector(uno.graph_watch, is_wanted=lambda: registry.has(WEB))
    settings = uno.settings
    return expose(
        registry, host=settings.listen_host, port=settings.unoapi_metrics_port, more=[queues, redis, graph], web=web
    )


@lru_cache(maxsize=1)
def unoapi() -> Uno:
    """The parts of this process, made from the environment at the first call. Raises ConfigurationError."""
    settings = load_settings()
    configure_logging(settings.log_level, settings.unoapi_log_format, _report(settings))
    _log_notes(settings)
    if settings.otlp_traces_url:
        start_tracing(settings.otlp_traces_url, headers=settings.otlp_headers, share=settings.unoapi_otlp_share)
    return bootstrap(settings)


def _log_notes(settings: Settings) -> None:
    """Say at the start what is set in vain, and what will end."""
    environment = read_environment()
    for name, meant in misspelt_names(environment, settings=setting_names()).items():
        log.warning("unknown_setting", name=name, hint=f"it does nothing; did you mean {meant}?")
    if quoted := quoted_secrets(environment):
        log.warning("quoted_secrets", names=quoted, hint="the quotes are a part of them; write them without")
    if lines := unreadable_lines():
        log.warning("unreadable_lines", file=env_file(), lines=lines, hint="each must be NAME=value; they do nothing")
    names = former_names(environment)
    if names:
        log.warning("former_settings", names=sorted(names), hint="`unoapi doctor` says what to use instead")
    if ending := warning(settings.webhook_forward_version, datetime.now(UTC).date()):
        log.warning("graph_version_ends", error=ending, hint="set WEBHOOK_FORWARD_VERSION to a newer one")


def _report(settings: Settings) -> Report | None:
    """What reports errors to Sentry, when a DSN is set."""
    if not settings.sentry_dsn.get_secret_value():
        return None
    from unoapi.telemetry.sentry import start_sentry  # noqa: PLC0415 (without a DSN nothing of it is loaded)

    return start_sentry(settings.sentry_dsn.get_secret_value(), environment=settings.sentry_environment)
