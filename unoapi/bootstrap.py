"""The only place where the parts are joined."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from unoapi.broker.connector_commands import CommandQueue
from unoapi.broker.dead_letter_queue import DeadQueue, who
from unoapi.broker.publisher import ConfirmingPublisher
from unoapi.broker.rpc import QuestionQueue
from unoapi.broker.topology import Topology
from unoapi.errors import StoreUnavailable
from unoapi.http.address_guard import AddressGuard
from unoapi.http.api_client import Exchanger
from unoapi.http.callback_client import CallbackPoster
from unoapi.http.downloader import Fetcher
from unoapi.http.webhook_client import WebhookClient
from unoapi.media.folder import FileMediaStore
from unoapi.media.signed_urls import MediaLinks
from unoapi.models.jobs import FanOut
from unoapi.models.trace import TraceEntry
from unoapi.providers.cloud_api.media import MetaMedia
from unoapi.providers.cloud_api.provider import Forwarder
from unoapi.providers.sandbox import Sandbox
from unoapi.providers.whatsmeow.provider import Whatsmeow
from unoapi.services import templates
from unoapi.services.bulkhead import Share
from unoapi.settings import Settings, load_settings
from unoapi.stores.backlog import RedisBacklog
from unoapi.stores.blacklist import RedisBlacklist
from unoapi.stores.circuit_breakers import RedisBreakers
from unoapi.stores.connections import RedisConnections
from unoapi.stores.deliveries import RedisDeliveries
from unoapi.stores.idempotency import RedisIdempotency
from unoapi.stores.media_index import MediaNotes
from unoapi.stores.message_ids import RedisMessageIds
from unoapi.stores.notices import RedisNotices
from unoapi.stores.ordering import RedisOrder
from unoapi.stores.queue_ages import RedisQueueClock
from unoapi.stores.redis import RedisStore
from unoapi.stores.send_claims import RedisSends
from unoapi.stores.session_directory import RedisDirectory
from unoapi.stores.sessions import RedisSessions, environment_config
from unoapi.stores.statuses import RedisStatuses
from unoapi.stores.templates import RedisTemplates
from unoapi.stores.timers import RedisTimers
from unoapi.stores.traces import RedisTraces
from unoapi.telemetry.logging import configure_logging

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from unoapi.broker.dead_letter_queue import LetterFilter, Visit
    from unoapi.models.jobs import DeliverWebhook, Parcel
    from unoapi.ports import MediaStore, Provider
    from unoapi.telemetry.logging import Report

DAY_S = 86_400
BUSY_KEY = "unoapi-dead-busy"


@dataclass(frozen=True)
class Uno:
    """Everything a process needs, joined once. Connections open at their first use, so after a fork."""

    settings: Settings
    topology: Topology
    publisher: ConfirmingPublisher
    store: RedisStore
    sessions: RedisSessions
    directory: RedisDirectory
    templates: RedisTemplates
    blacklist: RedisBlacklist
    timers: RedisTimers
    deliveries: RedisDeliveries
    breakers: RedisBreakers
    share: Share
    order: RedisOrder
    clock: RedisQueueClock
    sends: RedisSends
    ids: RedisMessageIds
    notices: RedisNotices
    connections: RedisConnections
    commands: CommandQueue
    idempotency: RedisIdempotency
    backlog: RedisBacklog
    files: MediaStore
    media: MediaNotes
    links: MediaLinks
    guard: AddressGuard
    fetcher: Fetcher
    remote_media: MetaMedia
    statuses: RedisStatuses
    traces: RedisTraces
    webhooks: WebhookClient
    callbacks: CallbackPoster
    providers: Mapping[str, Provider]

    def dead_queue(self, verb: str) -> DeadQueue:
        """The dead queue for one verb; while it runs, others are told that this one is busy with it."""

        def sign() -> None:
            self.store.post(("SET", BUSY_KEY, f"`{verb}` on {who()}", "EX", DAY_S))

        return DeadQueue(self.settings.amqp_url.get_secret_value(), self.topology, self.publisher, on_locked=sign)

    def busy_with(self) -> str:
        """Who is at the dead queue, and with which verb, as far as it is known."""
        try:
            (holder,) = self.store.call(("GET", BUSY_KEY))
        except StoreUnavailable:
            holder = None
        return str(holder or "another process")

    def replay(  # noqa: PLR0913 (what a person may say)
        self,
        queue: DeadQueue,
        wanted: LetterFilter,
        *,
        force: bool,
        rate: float | None = None,
        most: int | None = None,
        within_s: float | None = None,
    ) -> Iterator[Visit]:
        """Put dead letters back, traced. See `DeadQueue.replay`."""
        visits = queue.replay(
            wanted, force=force, rate=rate, is_done=self._is_done, release=self.sends.release, most=most,
            within_s=within_s,
        )  # fmt: skip
        for visit in visits:
            letter = visit.letter
            if visit.outcome == "replayed" and letter.job is not None:
                entry = TraceEntry(
                    step="replayed",
                    phone=letter.phone,
                    message_id=letter.message_id,
                    kind=str(getattr(letter.job, "kind", letter.task)),
                    webhook=letter.webhook,
                    delivery_id=letter.id,
                )
                self.traces.add(entry)
            yield visit

    def _is_done(self, job: DeliverWebhook) -> bool:
        try:
            return self.deliveries.is_done(job.id)
        except StoreUnavailable:
            return False  # the worker asks again before it posts

    def accept(self, parcels: Sequence[Parcel]) -> None:
        """Publish events; those of ordered webhooks stand in line first. Raises BrokerUnavailable."""
        self.order.join([parcel.job for parcel in parcels if isinstance(parcel.job, FanOut) and not parcel.delay_ms])
        self.publisher.publish(parcels)

    def close(self) -> None:
        """Finish what is waiting and close the connections."""
        self.publisher.close()
        self.store.close()
        if self.settings.sentry_dsn.get_secret_value():
            from unoapi.telemetry.sentry import flush  # noqa: PLC0415 (loaded long ago)

            flush()


def bootstrap(settings: Settings) -> Uno:
    """Join the parts."""
    topology = Topology(settings.unoapi_queue_name)
    store = RedisStore(settings.redis_url.get_secret_value(), verify=settings.unoapi_redis_tls_verify)
    traces = RedisTraces(store, ttl_s=settings.unoapi_trace_ttl)
    guard = AddressGuard(settings.allowed_hosts, trusted=settings.trusted_addresses, own_ports=settings.own_ports)
    # A done-key lives longer than any copy of its delivery can wait.
    done_ttl_s = settings.unoapi_message_max_age + DAY_S
    publisher = ConfirmingPublisher(settings.amqp_url.get_secret_value(), topology)
    environment = environment_config(_environment_webhook(settings), _environment_forward(settings)) | _options(
        settings
    )
    sessions = RedisSessions(store, environment, refusal=guard.refusal)
    connections = RedisConnections(store, ttl_s=settings.data_ttl)
    commands = CommandQueue(publisher)
    stored_templates = RedisTemplates(store)
    whatsmeow = Whatsmeow(
        commands=commands,
        connections=connections,
        sessions=sessions,
        rendered=lambda message, phone: templates.rendered(
            message,
            lambda: templates.shown(phone, stored_templates.get(phone), only_hello=settings.only_hello_template),
        ),
        max_age_s=settings.unoapi_send_max_age,
        questions=QuestionQueue(settings.amqp_url.get_secret_value(), topology),
    )
    files = _files(settings)
    fetcher, exchanger = Fetcher(guard), Exchanger(guard)
    ids, notes = RedisMessageIds(store, ttl_s=settings.data_ttl), MediaNotes(store, files, ttl_s=settings.data_ttl)
    links = MediaLinks(base_url=f"{settings.base_url}", key=settings.signing_key, ttl_s=settings.data_url_ttl)
    forwarder = Forwarder(sessions=sessions, ids=ids, notes=notes, links=links, exchanger=exchanger)
    return Uno(
        settings=settings,
        topology=topology,
        publisher=publisher,
        store=store,
        sessions=sessions,
        directory=RedisDirectory(store, sessions),
        templates=stored_templates,
        blacklist=RedisBlacklist(store),
        timers=RedisTimers(store, ttl_s=settings.data_ttl),
        deliveries=RedisDeliveries(store, traces, done_ttl_s=done_ttl_s),
        breakers=RedisBreakers(
            store, failures=settings.unoapi_breaker_failures, pause_ms=settings.unoapi_message_retry_delay
        ),
        share=Share(settings.unoapi_worker_threads),
        order=RedisOrder(store),
        clock=RedisQueueClock(store, prefix=topology.prefix),
        sends=RedisSends(store, ttl_s=done_ttl_s),
        ids=ids,
        notices=RedisNotices(store),
        connections=connections,
        commands=commands,
        idempotency=RedisIdempotency(store),
        backlog=RedisBacklog(
            store, traces, most=settings.unoapi_session_backlog_max, max_age_s=settings.unoapi_send_max_age
        ),
        files=files,
        media=notes,
        links=links,
        guard=guard,
        fetcher=fetcher,
        remote_media=MetaMedia(
            sessions=sessions, exchanger=exchanger, fetcher=fetcher, timeout_ms=settings.unoapi_fetch_timeout_ms
        ),
        statuses=RedisStatuses(store, ttl_s=settings.data_ttl),
        traces=traces,
        webhooks=WebhookClient(guard),
        callbacks=CallbackPoster(),
        providers={"sandbox": Sandbox(), "whatsmeow": whatsmeow, "forwarder": forwarder},
    )


def _files(settings: Settings) -> MediaStore:
    if settings.storage_endpoint is None:
        return FileMediaStore(settings.base_store / "medias")
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
        "timeout_ms": settings.webhook_timeout_ms,
        "send_group_messages": settings.webhook_send_group_messages,
        "send_outgoing_messages": settings.webhook_send_outgoing_messages,
        "send_incoming_messages": settings.webhook_send_incoming_messages,
        "send_update_messages": settings.webhook_send_update_messages,
        "send_newsletter_messages": settings.webhook_send_newsletter_messages,
        "send_new_messages": settings.webhook_send_new_messages,
        "add_to_black_list_on_outgoing_message_with_ttl": (
            settings.webhook_add_to_blacklist_on_outgoing_message_with_ttl
        ),
    }


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
        "readOnReceipt": settings.read_on_receipt,
        "composingMessage": settings.composing_message,
        "sendConnectionStatus": settings.send_connection_status,
        "rejectCalls": settings.reject_calls,
        "messageCallsWebhook": settings.message_calls_webhook,
        "interactiveMode": settings.unoapi_interactive_mode,
    }


@lru_cache(maxsize=1)
def unoapi() -> Uno:
    """The parts of this process, made from the environment at the first call. Raises ConfigurationError."""
    settings = load_settings()
    configure_logging(settings.log_level, settings.unoapi_log_format, _report(settings))
    return bootstrap(settings)


def _report(settings: Settings) -> Report | None:
    """What tells Sentry of errors, when there is one."""
    if not settings.sentry_dsn.get_secret_value():
        return None
    from unoapi.telemetry.sentry import start_sentry  # noqa: PLC0415 (without a DSN nothing of it is loaded)

    return start_sentry(settings.sentry_dsn.get_secret_value(), environment=settings.sentry_environment)
