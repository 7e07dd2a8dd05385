"""Names that the Node version and its fork read and this program does not, and what to use instead.

Names of both that do the same here are settings, `unoapi/settings.py`; some of them under an older name, too. And names
that nearly are settings: slips, which do nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from unoapi.errors.validation import nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

NOTHING = "does nothing here"
LIBRARY = f"{NOTHING}: it is about the Node version's WhatsApp library"
CACHE = f"{NOTHING}: what is cached is fresh for half a second"
AUDIO = f"{NOTHING}: CONVERT_AUDIO_MESSAGE_TO_OGG switches the conversion, its form is fixed"
CALLS = f"{NOTHING}: calls through another service are not part of this version"
HISTORY = f"{NOTHING}: a phone hands over the last three months, and no more is asked for"
ORDER = f"{NOTHING}: set the option `ordered` of a webhook that needs the order of events"
GROUPS = f"{NOTHING}: the library keeps the members of groups by itself"
IDENTITY = f"{NOTHING}: a contact is known by its phone and its LID always"
CONNECTIONS = f"{NOTHING}: every process connects again by itself, for as long as it takes"
PICTURES = f"{NOTHING}: a picture is fetched when it is a new one"
SIGNUP = f"{NOTHING}: register the number with webhookForward instead"
UNREADABLE = f"{NOTHING}: a message that cannot be read becomes an event of type `unsupported`"

READ_ELSEWHERE = frozenset(
    {"UNOAPI_MEDIA_PROCESSES", "UNOAPI_RABBITMQ_BIN", "UNOAPI_IMAGE", "UNOAPI_CONNECTOR_IMAGE", "UNOAPI_HOST_NAME",
     "UNOAPI_CONNECTOR_MEMORY", "UNOAPI_PUBLISH", "UNOAPI_TMP",
     "UNOAPI_MEDIA_IMAGE", "UNOAPI_WEB_REPLICAS", "UNOAPI_WORKER_REPLICAS", "FLOWER_PORT"}
)  # fmt: skip
"""Names of our own that programs beside this one read: the `Procfile`, `make run`, the stacks of `compose/`."""
SIMILAR = 0.88
MIN_NAME_CHARS = 8
"""Of a name that may be a slip; shorter ones of other programs are too near to everything."""

FORMER: Mapping[str, str] = {
    "NODE_ENV": "use LOG_LEVEL=debug",
    "UNO_LOG_LEVEL": "use LOG_LEVEL",
    "UNOAPI_LOG_MODES": "use UNOAPI_LOG_FORMAT: lines go to the standard output",
    "UNOAPI_MODE": f"{NOTHING}: the processes of the Procfile take its place",
    "UNOAPI_URL": "use BASE_URL",
    "UNOAPI_EXCHANGE_NAME": "use UNOAPI_QUEUE_NAME",
    "UNOAPI_QUEUE_OUTGOING_PREFETCH": "use UNOAPI_WORKER_THREADS",
    "UNOAPI_NATIVE_FLOW_BUTTONS": "use UNOAPI_INTERACTIVE_MODE=native",
    "CONSUMER_TIMEOUT_MS": f"{NOTHING}: every job has a deadline of its own",
    "SESSION_TTL": f"{NOTHING}: a session stays until it is removed",
    "CLEAN_CONFIG_ON_DISCONNECT": "use POST /<version>/<P>/deregister, which removes a session with its login",
    "CONFIG_SESSION_PHONE_NAME": "use CONFIG_SESSION_PHONE_CLIENT",
    "CONNECTING_TIMEOUT_MS": "use QR_TIMEOUT_MS, MAX_CONNECT_RETRY and MAX_CONNECT_TIME",
    "QR_TIMEOUT": "use QR_TIMEOUT_MS",
    "MAX_QRCODE_GENERATE": "use MAX_CONNECT_RETRY",
    "IGNORE_STATUS_MESSAGE": "use IGNORE_BROADCAST_STATUSES",
    "IGNORE_DATA_STORE": f"{NOTHING}: bodies of messages are never stored in Redis",
    "IGNORED_CONNECTIONS_NUMBERS": "use deregister, or autoConnect: false in the sessions of these numbers",
    "IGNORED_TO_NUMBERS": "use block_users, or the blacklist of a webhook",
    "IGNORE_OWN_MESSAGES_DECRYPT_ERROR": UNREADABLE,
    "MESSAGE_CHECK_WAAPP": UNREADABLE,
    "VALIDATE_ROUTING_KEY": f"{NOTHING}: the queues are bound by their names",
    "VALIDATE_MEDIA_LINK_BEFORE_SEND": f"{NOTHING}: a link that leads nowhere becomes a failed status with the reason",
    "THROW_WEBHOOK_ERROR": f"{NOTHING}: what a session webhook does not take is tried again",
    "WEBHOOK_FORWARD_TIMEOUT_MS": "use webhookForward.timeoutMs of the session",
    "CUSTOM_MESSAGE_CHARACTERS": f"{NOTHING}: nothing is put into a client's text",
    "GROUP_MESSAGES_CLOUD_FORMAT": f"{NOTHING}: messages of groups have one form",
    "GROUP_ONLY_DELIVERED_STATUS": "use sendUpdateMessages of the webhook: statuses of groups have one form",
    "GROUP_IGNORE_INDIVIDUAL_RECEIPTS": "use sendUpdateMessages of the webhook: statuses of groups have one form",
    "WEBHOOK_ASYNC": f"{NOTHING}: every event goes through RabbitMQ",
    "WEBHOOK_ASYNC_MODE": f"{NOTHING}: every event goes through RabbitMQ",
    "WEBHOOK_INCLUDE_MEDIA_DATA": f"{NOTHING}: GET /<version>/<media id> gives a link to the file",
    "WEBHOOK_PREFER_PN_OVER_LID": IDENTITY,
    "RATE_LIMIT_GLOBAL_PER_MINUTE": "use UNOAPI_RATE_LIMIT and UNOAPI_CONNECTOR_SENDS_PER_SECOND",
    "RATE_LIMIT_PER_TO_PER_MINUTE": "use UNOAPI_CONNECTOR_SENDS_PER_SECOND",
    "RATE_LIMIT_BLOCK_SECONDS": "use UNOAPI_CONNECTOR_SENDS_PER_SECOND",
    "INBOUND_DEDUP_WINDOW_MS": f"{NOTHING}: the same event has the same id, and is delivered once",
    "OUTGOING_IDEMPOTENCY_ENABLED": "use the header Idempotency-Key",
    "STATUS_BROADCAST_ENABLED": f"{NOTHING}: `to` may be status@broadcast",
    "STATUS_ALLOW_LID": IDENTITY,
    "AUTO_CONNECT_CONCURRENCY": f"{NOTHING}: sessions connect one after the other, after growing pauses",
    "CONVERT_AUDIO_TO_PTT": "use SEND_AUDIO_MESSAGE_AS_PTT",
    "STORAGE_MAX_ATTEMPTS": f"{NOTHING}: the retries of the job count",
    "UNOAPI_META_GROUPS_ENABLED": f"{NOTHING}: groups are always there, at /<version>/<P>/groups",
    "FRONTEND_URL": "use UNOAPI_CORS_ORIGINS",
    "SLEEP_TIME": NOTHING,
    "REDIS_KEYS_USE_SCAN": f"{NOTHING}: Redis is never asked for all of its keys",
    "RELOAD_PUBLISH_BROKER": f"{NOTHING}: a changed configuration is read within half a second",
    **dict.fromkeys(("DEFAULT_LOCALE", "AVAILABLE_LOCALES"), f"{NOTHING}: notices are in English"),
    **dict.fromkeys(("UNOAPI_X_COUNT_RETRIES", "UNOAPI_X_MAX_RETRIES"), f"{NOTHING}: attempts travel in the message"),
    **dict.fromkeys(
        (
            "UNOAPI_DELAY_AFTER_FIRST_MESSAGE_MS", "UNOAPI_DELAY_BETWEEN_MESSAGES_MS",
            "UNOAPI_DELAY_AFTER_FIRST_MESSAGE_WEBHOOK_MS",
        ),
        ORDER,
    ),
    "OPENAI_API_ASSISTANT_ID": NOTHING,
    "GOOGLE_APPLICATION_CREDENTIALS": "use OPENAI_API_KEY: it speaks in bulk sending, too",
    **dict.fromkeys(("WAVOIP_TOKEN", "VOIP_SERVICE_URL", "VOIP_SERVICE_TOKEN", "VOIP_SERVICE_TIMEOUT_MS"), CALLS),
    "BAILEYS_ALLOW_FULL_HISTORY_SYNC": HISTORY,
    **dict.fromkeys(
        (
            "PROFILE_PICTURE_FORCE_REFRESH", "PROFILE_PICTURE_REFRESH_INTERVAL_SEC",
            "CONTACT_SYNC_ENABLED", "CONTACT_SYNC_INTERVAL_MS", "CONTACT_SYNC_SCAN_COUNT",
            "CONTACT_SYNC_PENDING_TTL_SEC", "CONTACT_SYNC_PENDING_POLL_MS",
        ),
        PICTURES,
    ),
    **dict.fromkeys(
        (
            "CONVERT_AUDIO_FFMPEG_PARAMS", "AUDIO_WAVEFORM_SAMPLES",
            "DOWNLOAD_AUDIO_FFMPEG_MP3_PARAMS",
        ),
        AUDIO,
    ),
    **dict.fromkeys(
        (
            "WEBHOOK_CB_ENABLED", "WEBHOOK_CB_FAILURE_THRESHOLD", "WEBHOOK_CB_OPEN_MS", "WEBHOOK_CB_FAILURE_TTL_MS",
            "WEBHOOK_CB_REQUEUE_DELAY_MS", "WEBHOOK_CB_LOCAL_CLEANUP_INTERVAL_MS",
        ),
        "use UNOAPI_BREAKER_FAILURES",
    ),
    **dict.fromkeys(
        (
            "AMQP_CONNECT_MAX_RETRIES", "AMQP_CONNECT_RETRY_DELAY_MS", "REDIS_CONNECT_MAX_RETRIES",
            "REDIS_CONNECT_RETRY_DELAY_MS",
        ),
        CONNECTIONS,
    ),
    **dict.fromkeys(
        (
            "CONFIG_CACHE_TTL_MS", "AUTH_CACHE_TTL_MS", "SESSION_STATUS_CACHE_TTL_MS", "CONNECT_COUNT_CACHE_TTL_MS",
        ),
        CACHE,
    ),
    **dict.fromkeys(
        (
            "GROUP_SEND_MEMBERSHIP_CHECK", "GROUP_SEND_ADDRESSING_MODE", "GROUP_SEND_PREASSERT_SESSIONS",
            "GROUP_SEND_RETRY_ON_421", "GROUP_SEND_FALLBACK_ORDER", "GROUP_LARGE_THRESHOLD", "GROUP_ASSERT_CHUNK_SIZE",
            "GROUP_ASSERT_FLOOD_WINDOW_MS", "GROUP_METADATA_EVENT_REFRESH_ENABLED",
            "GROUP_METADATA_EVENT_REFRESH_DEBOUNCE_MS", "GROUP_METADATA_EVENT_REFRESH_MIN_INTERVAL_MS",
        ),
        GROUPS,
    ),
    **dict.fromkeys(
        (
            "JIDMAP_CACHE_ENABLED", "JIDMAP_LIST_ENABLED", "JIDMAP_STORED_LOOKUP_ENABLED", "JIDMAP_TTL_SECONDS",
            "JIDMAP_ENRICH_ENABLED", "JIDMAP_ENRICH_AUTH_ENABLED", "JIDMAP_ENRICH_PER_SWEEP",
            "JIDMAP_ENRICH_MIN_INTERVAL_MS", "LID_RESOLVER_ENABLED", "LID_RESOLVER_BACKOFF_MS",
            "LID_RESOLVER_SWEEP_INTERVAL_MS", "LID_RESOLVER_MAX_PENDING", "ONE_TO_ONE_ADDRESSING_MODE",
        ),
        IDENTITY,
    ),
    **dict.fromkeys(
        (
            "COEXISTENCE_ENABLED", "COEXISTENCE_WINDOW_SECONDS", "EMBEDDED_SIGNUP_APP_ID", "EMBEDDED_SIGNUP_APP_SECRET",
            "EMBEDDED_SIGNUP_REDIRECT_URI", "EMBEDDED_SIGNUP_GRAPH_VERSION",
        ),
        SIGNUP,
    ),
    **dict.fromkeys(
        (
            "UNOAPI_RETRY_REQUEST_DELAY", "UNOAPI_RETRY_REQUEST_DELAY_MS", "WHATSAPP_VERSION", "BR_SEND_ORDER_ENABLED",
            "DELIVERY_WATCHDOG_ENABLED", "DELIVERY_WATCHDOG_MS", "DELIVERY_WATCHDOG_MAX_ATTEMPTS",
            "DELIVERY_WATCHDOG_GROUPS", "DELIVERY_STALE_RECOVERY_ENABLED", "DELIVERY_STALE_RECOVERY_MS",
            "DELIVERY_STALE_RECOVERY_SCAN_MS", "DELIVERY_STALE_RECOVERY_MAX_ATTEMPTS",
            "DELIVERY_STALE_RECOVERY_MAX_PENDING", "DELIVERY_STALE_RECOVERY_BATCH_SIZE",
            "DELIVERY_STALE_RECOVERY_GROUPS", "ACK_RETRY_ENABLED", "ACK_RETRY_DELAYS_MS", "ACK_RETRY_MAX_ATTEMPTS",
            "MEDIA_RETRY_ENABLED", "MEDIA_RETRY_DELAYS_MS", "ONE_TO_ONE_PREASSERT_ENABLED",
            "ONE_TO_ONE_PREASSERT_COOLDOWN_MS", "ONE_TO_ONE_PREASSERT_REDIS_TTL_SEC",
            "ONE_TO_ONE_PREASSERT_PURGE_DEVICE_LIST", "ONE_TO_ONE_ASSERT_PROBE_ENABLED", "PERIODIC_ASSERT_ENABLED",
            "PERIODIC_ASSERT_INTERVAL_MS", "PERIODIC_ASSERT_MAX_TARGETS", "PERIODIC_ASSERT_RECENT_WINDOW_MS",
            "PERIODIC_ASSERT_FORCE", "PERIODIC_ASSERT_INCLUDE_GROUPS", "RECEIPT_RETRY_ASSERT_COOLDOWN_MS",
            "RECEIPT_RETRY_ASSERT_MAX_TARGETS", "SELFHEAL_ASSERT_ON_DECRYPT", "SIGNAL_PURGE_SESSION_ENABLED",
            "SIGNAL_PURGE_SENDER_KEY_ENABLED", "SIGNAL_PURGE_DEVICE_LIST_ENABLED", "SIGNAL_SESSION_PURGE_ENABLED",
            "SIGNAL_CACHE_SAFE_MODE", "NO_SESSION_RETRY_BASE_DELAY_MS", "NO_SESSION_RETRY_PER_200_DELAY_MS",
            "NO_SESSION_RETRY_MAX_DELAY_MS", "BAILEYS_IDLE_RECONNECT_ENABLED", "BAILEYS_IDLE_RECONNECT_MS",
            "BAILEYS_IDLE_RECONNECT_CHECK_MS", "BAILEYS_CLEAR_APP_STATE_SYNC_ON_CONNECT", "BAILEYS_COUNTRY_CODE",
            "QR_POST_LOGIN_SUPPRESS_MS", "RELOAD_BAILEYS_DEBOUNCE_MS", "UNOAPI_DEBUG_BAILEYS_LIST_DUMP",
        ),
        LIBRARY,
    ),
}  # fmt: skip


def former_names(environment: Mapping[str, str | None]) -> dict[str, str]:
    """The former names that an environment sets, sorted, each with what is to be done about it."""
    return {name: FORMER[name] for name in sorted(environment) if name in FORMER and environment[name]}


def misspelt_names(environment: Mapping[str, str | None], *, settings: Collection[str]) -> dict[str, str]:
    """The names of an environment that no program reads, sorted, each with the one of `settings` that it nearly is."""
    known = {*settings, *FORMER, *READ_ELSEWHERE}
    names = [name for name in sorted(environment.keys() - known) if len(name) >= MIN_NAME_CHARS]
    near = {name: nearest(name, settings, similar=SIMILAR) for name in names}
    return {name: meant for name, meant in near.items() if meant}
