"""Every setting, typed and frozen: the one place where the environment becomes settings.

Names without the prefix `UNOAPI_` are those of the program that this one takes the place of.
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream
from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    UrlConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import Url
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from unoapi.errors import ConfigurationError
from unoapi.errors.validation import HEADER_NAME, HEADER_VALUE, MIN_TOKEN_LENGTH, NOWHERE, SOCKS, TOKEN, explain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Milliseconds = Annotated[int, Field(ge=1, le=86_400_000)]
Seconds = Annotated[int, Field(ge=1, le=31_536_000)]
SCHEMES = {
    "amqp_url": ("amqp://", "amqps://"),
    "redis_url": ("redis://", "rediss://", "unix://", "redis+sentinel://", "rediss+sentinel://"),
    "rabbitmq_management_url": ("http://", "https://"),
    "proxy_url": ("http://", "https://", "socks5://"),
}
PLATFORMS = {
    "amqp_url": ("CLOUDAMQP_URL", "RABBITMQ_BIGWIG_URL", "STACKHERO_RABBITMQ_AMQP_URL_TLS", "RABBITMQ_URL"),
    "redis_url": ("REDIS_TLS_URL", "REDISCLOUD_URL", "STACKHERO_REDIS_URL_TLS"),
}
"""What platforms call these, read when the usual names are absent; the first one counts."""
NODE_OPTIONS = frozenset({"frameMax", "channelMax", "heartbeat", "locale"})
BROKER_OPTIONS = {
    "connect_timeout": frozenset(map(str, range(1, 61))),
    "login_method": frozenset({"plain", "amqplain", "external"}),
    "ssl": frozenset({"true", "false", "1", "0"}),
}
"""What the library takes behind the `?` of an address, and how."""
BETWEEN_NODES = re.compile(r",\s{0,8}(?=amqps?://)")
"""How other programs separate the nodes of a cluster."""
REDIS_OPTIONS = frozenset({"db", "username", "password", "protocol", "client_name"})
REDIS_TLS_OPTIONS = frozenset(
    {
        "ssl_cert_reqs", "ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_certfile", "ssl_keyfile", "ssl_password",
        "ssl_check_hostname", "ssl_ciphers", "ssl_min_version",
    }
)  # fmt: skip
REDIS_NUMBERS = ("db", "protocol", "ssl_min_version")
FOREIGN_REDIS_OPTIONS = frozenset(
    {
        "family", "tls", "keepalive", "keyprefix", "prefix", "connecttimeout", "commandtimeout", "timeout", "nodelay",
        "maxretriesperrequest", "enablereadycheck", "enableofflinequeue", "lazyconnect", "connectionname", "persistent",
        "pinginterval", "read_timeout", "write_timeout", "socket_timeout", "socket_connect_timeout", "max_connections",
        "socket_keepalive", "socket_read_size", "retry_on_timeout", "retry_on_error", "health_check_interval",
        "decode_responses", "encoding", "encoding_errors", "legacy_responses", "lib_name", "lib_version",
    }
)  # fmt: skip
"""What other libraries read behind the `?` of Redis's address; the Node version's reads nothing there."""
CERTIFICATES = frozenset({"none", "optional", "required"})
SENTINEL_SCHEMES = ("redis+sentinel://", "rediss+sentinel://")
SENTINEL_PORT, REDIS_PORT = 26379, 6379
PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
LARGEST_PORT = 65_535
SENTINEL_OPTIONS = frozenset({"sentinel_username", "sentinel_password"})
SENTINEL_FORM = "redis+sentinel://[user:password@]host[:26379],host[:26379]/name of the primary[/database]"
DSN = re.compile(r"https?://[0-9A-Za-z]+(:[0-9A-Za-z]*)?@[^\s/?#@]+(/[^\s?#]*)?/[0-9]+$")
FLOWER_PORT = 5555
HOST_NAME = re.compile(r"(?:\*\.)?[^\s*/:;@#?]+")
ORIGIN = re.compile(r"\*|https?://[^\s/?#;@]+/?")
IN_A_LOGIN = "in its login # / ? @ : and % are written %23 %2F %3F %40 %3A %25"
ALERT_URL = re.compile(r"[a-z][a-z0-9]{1,29}://[\x21-\x7e]+")
OTLP_HEADERS = re.compile(
    r"[A-Za-z0-9-]{1,64}=[\x20-\x2b\x2d-\x7e]{1,4096}(?:, *[A-Za-z0-9-]{1,64}=[\x20-\x2b\x2d-\x7e]{1,4096}){0,9}"
)
MAX_ALERT_URLS, MAX_ALERT_URL_CHARS = 10, 2000
DEFAULT_PORTS = frozenset({80, 443})
logging.getLogger("dotenv.main").setLevel(logging.ERROR)  # `unreadable_lines` says it, once, and of which file
MIN_EVENTS_BYTES = 10_000_000
ADDRESSES_WITH_SECRETS = frozenset({"status_failed_webhook_url", "webhook_session"})
"""Addresses that hold a secret of somebody else, though they are no secrets by their type."""
MAX_SECRET_FILE_BYTES = 65_536
LONGEST_TTL_S = 315_360_000
TO_THE_LETTER = frozenset(
    {
        "unoapi_queue_name", "unoapi_worker_threads", "unoapi_media_processes",  # the Procfile writes them to commands
        "unoapi_webhook_secret", "unoapi_webhook_secret_previous", "unoapi_link_secret", "unoapi_link_secret_previous",
    }
)  # fmt: skip
"""What others read as it is written: secrets that sign, and what commands of the Procfile hold."""
NOT_COMPARED = frozenset({*SCHEMES, "sentry_dsn", "unoapi_alert_urls", "unoapi_otlp_headers"})
"""Addresses and headers that hold a secret within: nobody else has all of their text."""
WebUrl = Annotated[Url, UrlConstraints(allowed_schemes=["http", "https"], host_required=True, max_length=2048)]


@dataclass(frozen=True)
class SentinelAddress:
    """The Sentinels that know which Redis is the primary of a name. The login is that of Redis; they have their own."""

    sentinels: tuple[tuple[str, int], ...]
    service: str
    database: int
    login: dict[str, str] = field(repr=False)
    sentinel_login: dict[str, str] = field(repr=False)
    tls: bool = False

    @classmethod
    def of(cls, url: str) -> SentinelAddress | None:
        """What an address of `REDIS_URL` says; none when it names no Sentinels. Raises ValueError."""
        if not url.startswith(SENTINEL_SCHEMES):
            return None
        scheme, rest = url.split("://", 1)
        rest, _, query = rest.partition("?")
        authority, _, path = rest.partition("/")
        login, _, hosts = authority.rpartition("@")
        user, _, password = login.partition(":")
        service, _, database = path.partition("/")
        options = dict(parse_qsl(query))
        if options.keys() - SENTINEL_OPTIONS or not (database or "0").isdecimal() or not all(hosts.split(",")):
            raise ValueError(f"must look like {SENTINEL_FORM}, with ?sentinel_password= if the Sentinels have one")
        return cls(
            tuple(_host_and_port(host, SENTINEL_PORT) for host in hosts.split(",")),
            unquote(service) or "mymaster",
            int(database or 0),
            {key: unquote(value) for key, value in (("username", user), ("password", password)) if value},
            {key.removeprefix("sentinel_"): value for key, value in options.items()},
            tls=scheme.startswith("rediss"),
        )


def _host_and_port(text: str, default: int) -> tuple[str, int]:
    """Raises ValueError, which quotes nothing."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port or default
    except ValueError:
        host = None
    if not host:
        raise ValueError(f"must look like {SENTINEL_FORM}")
    return host, port


def _is_address(url: str) -> bool:
    """Whether a URL names a host, perhaps with a port, and nothing of it is cut off."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0 and "#" not in url and not re.search(r"\s", url)
    except ValueError:
        return False


class Settings(BaseSettings):
    """One frozen object, made once per process. Wrong values are reported all at once, secrets are never printed."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True, env_file_encoding="utf-8"
    )

    unoapi_auth_token: SecretStr = Field(
        SecretStr(""),
        description=(
            "The operator's token, which opens everything: at least 16 characters. Empty or shorter: the API listens "
            "on loopback only."
        ),
    )
    amqp_url: SecretStr = Field(
        SecretStr("amqp://guest:guest@localhost:5672"),
        description="RabbitMQ. Use a vhost that the Node version never used.",
    )
    redis_url: SecretStr = Field(
        SecretStr("redis://localhost:6379"),
        description=(
            "Redis or Valkey. With Sentinel: `redis+sentinel://:password@host1,host2,host3/mymaster`; a cluster is "
            "refused."
        ),
    )
    base_url: WebUrl = Field(
        Url("http://localhost:9876"),
        description="Public address of this API, with which links to files begin. Without it `localhost` and `PORT`.",
    )

    port: int = Field(9876, ge=1, le=LARGEST_PORT, description="Port of the HTTP API.")
    unoapi_host: str = Field(
        "", description="Address on which the API listens. Empty: all addresses with a token, else loopback only."
    )
    unoapi_header_name: str = Field(
        "Authorization", pattern=r"^[A-Za-z0-9-]{1,64}$", description="Header that carries the token."
    )
    unoapi_auth_token_previous: SecretStr = Field(
        SecretStr(""),
        description="The operator's token before a change: it opens everything, too, until this is empty again.",
    )
    unoapi_body_max_bytes: int = Field(
        1_048_576, ge=1024, le=104_857_600, description="Largest request body, in bytes."
    )
    unoapi_rate_limit: int = Field(
        12_000, ge=0, le=1_000_000, description="Requests per minute with one session's token. 0: no limit."
    )
    unoapi_rate_limit_refused: int = Field(
        60, ge=0, le=1_000_000, description="Wrong or missing tokens per minute from one client address. 0: no limit."
    )
    unoapi_cors_origins: str = Field(
        "",
        max_length=4096,
        description="Origins whose pages may call the API, commas between; `*`: all. Empty: none.",
    )
    unoapi_web_threads: int = Field(16, ge=1, le=1000, description="Threads of one web process.")
    unoapi_web_processes: int = Field(1, ge=1, le=64, description="Web processes.")

    unoapi_redis_tls_verify: bool = Field(
        True, description="Check the certificate of Redis (`rediss://`). Heroku signs its own: `false` there."
    )
    unoapi_queue_name: str = Field(
        "unoapi", pattern=r"^[A-Za-z0-9_-]{1,64}$", description="Prefix of queues and exchanges."
    )
    rabbitmq_management_url: SecretStr = Field(
        SecretStr(""),
        description="RabbitMQ's management API, with its login. Empty: messages that workers hold are not counted.",
    )
    unoapi_worker_threads: int = Field(
        50,
        ge=1,
        le=1000,
        description="Messages that one worker process handles at once; threads are started as they are needed.",
    )
    unoapi_media_processes: int = Field(2, ge=1, le=1000, description="Processes that fetch and convert files.")

    unoapi_message_retry_limit: int = Field(
        5, ge=0, le=100, description="Retries after the first attempt (the Node version counted all attempts)."
    )
    unoapi_message_retry_delay: Milliseconds = Field(
        10_000, description="Wait before the first retry, in ms; it doubles with each retry."
    )
    unoapi_message_retry_max_delay: Milliseconds = Field(
        3_600_000, description="Longest wait between two attempts, in ms."
    )
    unoapi_breaker_failures: int = Field(
        5,
        ge=0,
        le=1000,
        description="Different deliveries that fail over at least a second, with no success between, until an "
        "endpoint is down. 0: never.",
    )
    unoapi_message_max_age: Seconds = Field(
        172_800, description="Seconds after which a delivery is given up, however it waited."
    )
    unoapi_send_max_age: Seconds = Field(
        600, description="Seconds after which a message that could not be sent is `failed`."
    )
    unoapi_session_backlog_max: int = Field(
        10_000,
        ge=0,
        le=10_000_000,
        description="Messages of one session that may wait to be sent; beyond it the API answers 429. 0: no limit.",
    )
    unoapi_session_media_max: int = Field(
        10 * 1024**3,
        ge=0,
        description=(
            "Bytes that the files of one session may have together: uploads and voice notes, until `DATA_TTL` or their "
            "deletion; each counts 64 KiB or more. Beyond it uploads are refused. 0: no limit."
        ),
    )
    unoapi_dead_max_age: int = Field(
        0, ge=0, le=315_360_000, description="Seconds after which dead letters are thrown away. 0: never."
    )
    unoapi_events_max_age: int = Field(
        259_200,
        ge=0,
        le=31_536_000,
        description="Seconds for which all events are kept, so that `unoapi events replay` can deliver them again. 0: "
        "none is kept.",
    )
    unoapi_events_max_bytes: int = Field(
        1_000_000_000,
        ge=0,
        le=1_000_000_000_000,
        description="Bytes of RabbitMQ's disk that these events may take, at least 10000000; the oldest give way. 0: "
        "none is kept.",
    )
    status_failed_webhook_url: WebUrl | None = Field(None, description="Gets the failure callbacks. Empty: none.")
    unoapi_report_attempts: bool = Field(
        False, description="Post a callback for each failed attempt there, too, not only when all have failed."
    )
    unoapi_alert_urls: SecretStr = Field(
        SecretStr(""),
        description="Chats and mailboxes that are told of failures: addresses of Apprise, spaces between. Empty: none.",
    )
    unoapi_alerts_per_hour: int = Field(
        12, ge=1, le=360, description="Most alerts an hour to each of them; what fails between two is told together."
    )
    notify_failed_messages: bool = Field(
        True, description="Notify the session's own number when deliveries are given up."
    )

    webhook_url: WebUrl | None = Field(
        None, description="Webhook of phones without a stored configuration; the phone is appended."
    )
    webhook_url_absolute: WebUrl | None = Field(None, description="The same, but used as it is, without the phone.")
    webhook_token: SecretStr = Field(SecretStr(""), description="Value of the webhook's own header.")
    webhook_header: str = Field("Authorization", pattern=HEADER_NAME, description="Name of the webhook's own header.")
    unoapi_webhook_secret: SecretStr = Field(
        SecretStr(""), description="Secret that signs the requests to this webhook."
    )
    unoapi_webhook_secret_previous: SecretStr = Field(
        SecretStr(""), description="That secret before a change: it signs, too, until this is empty again."
    )
    webhook_timeout_ms: int = Field(
        15_000, ge=1, description="Deadline of one whole webhook request, in ms; more than 60000 counts as 60000."
    )
    webhook_send_group_messages: bool = Field(True, description="Deliver messages of groups.")
    webhook_send_outgoing_messages: bool = Field(
        True, description="Deliver what the number writes on its other devices."
    )
    webhook_send_incoming_messages: bool = Field(True, description="Deliver received messages.")
    webhook_send_update_messages: bool = Field(True, description="Deliver statuses.")
    webhook_send_newsletter_messages: bool = Field(False, description="Deliver messages of channels.")
    webhook_send_new_messages: bool = Field(False, description="Deliver messages that were sent through this API, too.")
    webhook_send_transcribe_audio: bool = Field(False, description="Deliver the words of received audios, too.")
    webhook_add_to_blacklist_on_outgoing_message_with_ttl: int | None = Field(
        None,
        description="Seconds without a contact's events after the number wrote to it. -1: for ever. Empty: no pause.",
    )
    unoapi_allowed_hosts: str = Field(
        "",
        description=(
            "What webhooks and links may reach beside the public internet: names, `*.suffixes`, addresses, networks; "
            "commas between."
        ),
    )

    unoapi_server_name: str = Field(
        "server_1",
        pattern=r"^[A-Za-z0-9_.-]{1,100}$",
        description="Name of this connector; it runs the sessions whose `server` is this name.",
    )
    unoapi_connector_engine: Literal["neonize", "twin"] = Field(
        "neonize", description="Library that talks to WhatsApp; `twin` simulates it."
    )
    unoapi_connector_store: Path = Field(
        Path("data/connector"),
        description="Folder of the connector: logins, and events on their way. Put it on a volume.",
    )
    unoapi_connector_sends_per_second: float = Field(
        1.0, gt=0, le=1000, description="Messages per second and session, with bursts of 5."
    )
    unoapi_connector_new_chats_per_day: int = Field(
        0, ge=0, description="Contacts a day to whom a session may write first; 0: no limit. More fail with 131049."
    )
    unoapi_interactive_mode: Literal["text", "classic", "native"] = Field(
        "text", description="How lists and buttons are sent; only `text` is shown by every phone."
    )
    unoapi_bulk_batch: int = Field(
        5, ge=1, le=1000, description="Messages of a campaign within `UNOAPI_BULK_DELAY`, at most."
    )
    unoapi_bulk_delay: int = Field(
        60,
        ge=1,
        le=86_400,
        description="Seconds in which a campaign sends `UNOAPI_BULK_BATCH` messages, spread over them.",
    )
    unoapi_bulk_hours: str = Field(
        "",
        pattern=r"^(([01]?[0-9]|2[0-3]):[0-5][0-9]-([01]?[0-9]|2[0-4]):[0-5][0-9])?$",
        description="Hours in which campaigns send, as `09:00-18:00`. Empty: all.",
    )
    unoapi_bulk_days: str = Field(
        "",
        pattern=r"^([1-7](-[1-7])?(,[1-7](-[1-7])?){0,6})?$",
        description="Days on which campaigns send, as `1-5`; 1 is Monday. Empty: all.",
    )
    unoapi_bulk_timezone: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_+/-]{0,64}$",
        description="Time zone of these hours and days, as `America/Sao_Paulo`. Empty: that of the number.",
    )
    unoapi_bulk_opt_out_words: str = Field(
        "sair,parar,pare,cancelar,descadastrar,stop,unsubscribe",
        max_length=1000,
        description="What a contact writes, alone, to get no more campaigns; commas between. A comma alone: nothing.",
    )
    connection_type: Literal["qrcode", "pairing_code", "forward"] = Field(
        "qrcode",
        description="How a phone is connected when nothing else is asked for; `forward`: it is at Meta.",
    )
    auto_connect: bool = Field(True, description="Connect the stored sessions at the start.")
    auto_restart_ms: int = Field(
        0, ge=0, le=2_592_000_000, description="Reconnect each session after this many ms, at least a minute. 0: never."
    )
    qr_timeout_ms: int = Field(60_000, ge=1000, le=600_000, description="Life of one QR code, in ms.")
    max_connect_retry: int = Field(
        3, ge=1, le=100, description="Failed connections after which a session is on `standby`."
    )
    max_connect_time: Seconds = Field(300, description="Seconds within which those failures are counted.")
    validate_session_number: bool = Field(True, description="Log out when another number scans the QR code.")
    config_session_phone_client: str = Field("Unoapi", max_length=50, description="Name in the phone's device list.")
    proxy_url: SecretStr = Field(SecretStr(""), description="Proxy towards WhatsApp: `http://` or `socks5://`.")
    webhook_session: WebUrl | None = Field(
        None,
        description="Gets changes of connections, and QR codes, instead of the webhooks. Empty: the webhooks do.",
    )
    send_connection_status: bool = Field(True, description="Notify the number also when it connects.")

    ignore_group_messages: bool = Field(True, description="Ignore groups.")
    ignore_newsletter_messages: bool = Field(True, description="Ignore channels.")
    ignore_broadcast_statuses: bool = Field(True, description="Ignore status posts.")
    ignore_broadcast_messages: bool = Field(False, description="Ignore broadcast lists.")
    ignore_own_messages: bool = Field(True, description="Ignore what the number writes on its other devices.")
    ignore_yourself_messages: bool = Field(False, description="Ignore what the number writes to itself.")
    ignore_history_messages: bool = Field(
        True,
        description="Ignore what was written before a phone was linked. Else it comes as events of field `history`.",
    )
    history_max_age_days: int = Field(
        30, ge=1, le=3650, description="Days of such messages; files are named only, and there are 10,000 at most."
    )
    read_on_receipt: bool = Field(False, description="Mark received messages as read at once.")
    read_on_reply: bool = Field(False, description="Mark what a contact wrote as read before each message to them.")
    composing_message: bool = Field(False, description="Show typing before each message.")
    reject_calls: str = Field(
        "",
        max_length=1000,
        validation_alias=AliasChoices("reject_calls", "ignore_calls"),
        description="Refuse calls, and answer with this text. Empty: let it ring.",
    )
    message_calls_webhook: str = Field(
        "",
        max_length=1000,
        validation_alias=AliasChoices("message_calls_webhook", "reject_calls_webhook"),
        description="Text of the event that a call causes. Empty: no event.",
    )
    unoapi_account_in_events: bool = Field(
        False, description="Name the account that the API shows in each event's `entry`, as Meta does, not the phone."
    )
    send_reaction_as_reply: bool = Field(False, description="Deliver a reaction as a text that answers its message.")
    send_profile_picture: bool = Field(
        False, description="Look up the pictures of contacts and groups, for events of phones."
    )
    unoapi_commands: bool = Field(False, description="Carry out commands that a number writes to itself.")
    outgoing_messages_coex: bool = Field(
        False, description="Deliver what the number writes on its other devices as `smb_message_echoes`."
    )
    only_hello_template: bool = Field(False, description="Leave the `unoapi-*` templates out of the default ones.")

    webhook_forward_url: WebUrl = Field(Url("https://graph.facebook.com"), description="Meta's Graph API.")
    webhook_forward_version: str = Field(
        "v25.0",
        pattern=r"^v[0-9]{1,3}(\.[0-9]{1,3})?$",
        description="Version of the Graph API; one that ends soon is named at the start and in `/health/ready`.",
    )
    webhook_forward_phone_number_id: str = Field("", max_length=64, description="Phone number id at Meta.")
    webhook_forward_business_account_id: str = Field("", max_length=64, description="Business account id at Meta.")
    webhook_forward_token: SecretStr = Field(SecretStr(""), description="Access token at Meta.")
    unoapi_forward_phones: str = Field(
        "",
        pattern=r"^[0-9+()., -]*$",
        description=(
            "Phones that may use this account, commas between; empty: all whose `webhookForward` names nothing of an "
            "account of their own."
        ),
    )
    unoapi_meta_app_secret: SecretStr = Field(SecretStr(""), description="App secret that signs Meta's callbacks.")
    unoapi_meta_app_secret_previous: SecretStr = Field(
        SecretStr(""), description="That secret before a change: its signatures are right, too."
    )
    unoapi_meta_verify_token: SecretStr = Field(
        SecretStr(""), description="Verify token of Meta's `hub.challenge` handshake."
    )
    unoapi_deregister_body: bool = Field(
        False,
        description='Answer `deregister` as Meta does: 200 and `{"success": true}` instead of 204 without a body.',
    )
    unoapi_status_hold_ms: int = Field(
        0, ge=0, le=60_000, description="Wait before the first status of a sent message, in ms; 2000 suits Chatwoot."
    )

    base_store: Path = Field(
        Path("data"),
        validation_alias=AliasChoices("base_store", "unoapi_base_store"),
        description="Folder of the files, when there is no S3.",
    )
    data_ttl: int = Field(
        2_592_000,
        ge=1,
        le=LONGEST_TTL_S,
        description="Seconds that files, ids and statuses of messages are kept: ten years at most, and with -1.",
    )
    data_url_ttl: Seconds = Field(259_200, description="Seconds that a link to a file works.")
    unoapi_link_secret: SecretStr = Field(
        SecretStr(""),
        description="Key that signs links to files. Empty: one is drawn, and kept in Redis under `unoapi-link-secret`.",
    )
    unoapi_link_secret_previous: SecretStr = Field(
        SecretStr(""), description="That key before a change: links that it signed go on working."
    )
    unoapi_fetch_timeout_ms: Milliseconds = Field(
        30_000,
        validation_alias=AliasChoices("unoapi_fetch_timeout_ms", "fetch_timeout_ms"),
        description="Deadline for fetching a client's file, in ms.",
    )
    send_audio_message_as_ptt: bool = Field(False, description="Send every audio as a voice note.")
    convert_audio_message_to_ogg: bool = Field(True, description="Convert voice notes to ogg/opus with ffmpeg.")
    download_audio_convert_to_mp3: bool = Field(
        False, description="Hand received sound to webhooks as MP3: Safari plays no Ogg."
    )
    send_audio_waveform: bool = Field(True, description="Send voice notes of phones with their waveform.")
    storage_endpoint: WebUrl | None = Field(
        None, description="Address of S3 or MinIO; with it files are kept there. Empty: in the folder."
    )
    storage_bucket_name: str = Field("unoapi", min_length=1, max_length=255, description="Bucket of the files.")
    storage_access_key_id: SecretStr = Field(SecretStr(""), description="Access key of the bucket.")
    storage_secret_access_key: SecretStr = Field(SecretStr(""), description="Secret key of the bucket.")
    storage_region: str = Field("us-east-1", max_length=64, description="Region of the bucket.")
    storage_force_path_style: bool = Field(False, description="Put the bucket's name into the path: MinIO wants it.")
    storage_timeout_ms: Milliseconds = Field(60_000, description="Longest wait for the bucket, in ms.")

    openai_api_key: SecretStr = Field(
        SecretStr(""),
        description="Key of a service with OpenAI's interface, which transcribes and speaks. Empty: none.",
    )
    openai_api_base_url: WebUrl = Field(
        Url("https://api.openai.com/v1"), description="Its address; one on your own network may be named."
    )
    openai_api_transcribe_model: str = Field("whisper-1", max_length=100, description="Model that transcribes.")
    openai_api_speech_model: str = Field("tts-1", max_length=100, description="Model that speaks.")
    openai_api_speech_voice: str = Field("alloy", max_length=100, description="Voice that speaks.")
    groq_api_key: SecretStr = Field(
        SecretStr(""), description="Key of Groq, which transcribes when OpenAI has no key or fails. Empty: none."
    )
    groq_api_base_url: WebUrl = Field(Url("https://api.groq.com/openai/v1"), description="Address of Groq.")
    groq_api_transcribe_model: str = Field(
        "whisper-large-v3", max_length=100, description="Model that transcribes at Groq."
    )
    unoapi_whisper_model: str = Field(
        "",
        max_length=500,
        description=(
            "Model of faster-whisper on this machine, as `tiny` or a folder, which transcribes when no service does. "
            "Empty: none."
        ),
    )
    unoapi_transcribe_max_seconds: int = Field(
        600, ge=0, le=86_400, description="Longest audio that is transcribed, in seconds. 0: no limit."
    )
    unoapi_transcribe_seconds_per_day: int = Field(
        14_400,
        ge=0,
        le=10_000_000,
        description="Seconds of audio that are transcribed for one number on one day. 0: no limit.",
    )
    unoapi_speech_characters_per_day: int = Field(
        100_000,
        ge=0,
        le=1_000_000_000,
        description="Characters that are spoken for one number on one day. 0: no limit.",
    )
    unoapi_voice_timeout_ms: Milliseconds = Field(60_000, description="Deadline of one transcription or speech, in ms.")

    unoapi_trace_ttl: Seconds = Field(604_800, description="Seconds that the trace of a message is kept.")
    unoapi_message_log_max: int = Field(
        5_000,
        ge=0,
        le=100_000,
        description=(
            "Latest messages that can be listed and searched: so many of each number, of all together, and of all that "
            "wait, failed or were given up, for `UNOAPI_TRACE_TTL`. Redis has about 250 bytes for each, with the "
            "contact's phone. 0: none."
        ),
    )
    unoapi_console_bodies: bool = Field(
        False,
        description=(
            "Keep what messages say for `UNOAPI_TRACE_TTL`, at most 7 days, and show it in the console. Off: nobody "
            "can read a message there."
        ),
    )
    unoapi_metrics_port: int = Field(
        0, ge=0, le=65_535, description="Port of the metrics for Prometheus, one for all processes of a host. 0: none."
    )
    unoapi_flower_url: WebUrl | None = Field(
        None, description="Address of Flower as a browser reaches it; the console links to it. Empty: no link."
    )
    unoapi_otlp_endpoint: WebUrl | None = Field(
        None,
        description="OpenTelemetry collector that gets traces, OTLP over HTTP, as http://collector:4318. Empty: none.",
    )
    unoapi_otlp_headers: SecretStr = Field(
        SecretStr(""), description="Headers that it wants, as `name=value`; commas between."
    )
    unoapi_otlp_share: float = Field(1.0, ge=0, le=1, description="Share of all traces that are exported.")
    sentry_dsn: SecretStr = Field(SecretStr(""), description="Sentry's address for errors. Empty: none.")
    sentry_environment: str = Field(
        "production", pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="Name of this installation in Sentry."
    )
    log_level: Literal["trace", "debug", "info", "warn", "warning", "error", "fatal"] = Field(
        "info", description="Least important level that is logged."
    )
    unoapi_log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="Form of log lines; `auto`: readable on a terminal, else JSON."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (the base's)
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """After the environment and the file come the platforms' own names."""
        return (init_settings, env_settings, dotenv_settings, _PlatformNames(settings_cls))

    @model_validator(mode="before")
    @classmethod
    def _at_its_port(cls, value: Any) -> Any:
        """Without an address of its own the API is where it listens, as the Node version has it."""
        port = str(value.get("port") or "").strip() if isinstance(value, dict) else ""
        if not (PORT.fullmatch(port) and int(port) <= LARGEST_PORT) or value.get("base_url"):
            return value
        return {**value, "base_url": f"http://localhost:{port}"}

    @field_validator("proxy_url")
    @classmethod
    def _plain_socks(cls, value: SecretStr) -> SecretStr:
        return SecretStr(SOCKS.sub("socks5://", value.get_secret_value()))

    @field_validator("amqp_url")
    @classmethod
    def _nodes_of_a_cluster(cls, value: SecretStr) -> SecretStr:
        return SecretStr(BETWEEN_NODES.sub(";", value.get_secret_value()))

    @field_validator("amqp_url", "redis_url", "rabbitmq_management_url", "proxy_url")
    @classmethod
    def _known_scheme(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        schemes = SCHEMES[str(info.field_name)]
        nodes = value.get_secret_value().split(";") if info.field_name == "amqp_url" else [value.get_secret_value()]
        for address in filter(None, map(str.strip, nodes)):
            if not address.startswith(schemes):
                raise ValueError(f"must start with {' or '.join(schemes)}")
            if not address.startswith(("unix://", *SENTINEL_SCHEMES)) and not _is_address(address):
                raise ValueError(f"must look like {schemes[0]}user:password@host:port; {IN_A_LOGIN}")
        return value

    @field_validator("amqp_url")
    @classmethod
    def _without_node_options(cls, value: SecretStr) -> SecretStr:
        """Addresses without what only the Node version's library reads; each address of a cluster by itself."""
        plain = []
        for address in value.get_secret_value().split(";"):
            head, _, query = address.partition("?")
            given = [pair for pair in parse_qsl(query, keep_blank_values=True) if pair[0] not in NODE_OPTIONS]
            if odd := {name for name, _ in given} - BROKER_OPTIONS.keys():
                names = ", ".join(sorted(odd))[:100]
                raise ValueError(f"has options behind the ? that do nothing here: {names}")
            if wrong := sorted(name for name, option in given if option.lower() not in BROKER_OPTIONS[name]):
                raise ValueError(f"has options behind the ? that are not valid: {', '.join(wrong)}")
            kept = urlencode(given)
            plain.append(f"{head}?{kept}" if kept else head)
        return SecretStr(";".join(plain))

    @field_validator("redis_url")
    @classmethod
    def _names_a_database(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if SentinelAddress.of(url) is None and not url.startswith("unix://"):
            database = urlsplit(url).path.strip("/")
            if database and not (database.isascii() and database.isdigit()):
                raise ValueError("must end with the number of the database, as redis://host:6379/0")
        return value

    @field_validator("redis_url")
    @classmethod
    def _without_foreign_options(cls, value: SecretStr) -> SecretStr:
        """The address with the options that its library knows, alone: any other would end each process."""
        head, mark, query = value.get_secret_value().partition("?")
        if not mark or head.startswith(SENTINEL_SCHEMES):
            return value
        tls = REDIS_TLS_OPTIONS if head.startswith("rediss://") else frozenset()
        given = parse_qsl(query, keep_blank_values=True)
        known = {*REDIS_OPTIONS, *REDIS_TLS_OPTIONS, *FOREIGN_REDIS_OPTIONS}
        if odd := sorted({name for name, _ in given if name.lower() not in known}):
            raise ValueError(f"has options behind the ? that do nothing here: {', '.join(odd)[:100]}")
        kept = {name.lower(): option for name, option in given if option and name.lower() in {*REDIS_OPTIONS, *tls}}
        if "ssl_cert_reqs" in kept:  # as Celery writes it: CERT_NONE
            kept["ssl_cert_reqs"] = kept["ssl_cert_reqs"].lower().removeprefix("cert_")
            if kept["ssl_cert_reqs"] not in CERTIFICATES:
                raise ValueError(f"has an ssl_cert_reqs that is none of {', '.join(sorted(CERTIFICATES))}")
        if wrong := [name for name in REDIS_NUMBERS if not kept.get(name, "0").isdecimal()]:
            raise ValueError(f"has a {wrong[0]} that is no number")
        return SecretStr(f"{head}?{urlencode(kept)}" if kept else head)

    @field_validator("unoapi_allowed_hosts")
    @classmethod
    def _hosts_alone(cls, value: str) -> str:
        for entry in filter(None, (part.strip() for part in value.split(","))):
            if not _is_host(entry):
                raise ValueError(
                    "must be names, *.suffixes, addresses or networks, with commas between and without http:// or a "
                    "port: crm,*.example.com,10.0.0.5,10.0.0.0/8"
                )
        return value

    @field_validator("unoapi_cors_origins")
    @classmethod
    def _origins_alone(cls, value: str) -> str:
        if not all(ORIGIN.fullmatch(origin) for origin in filter(None, map(str.strip, value.split(",")))):
            raise ValueError("must be origins such as https://panel.example.com, without a path, with commas between")
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _as_it_was_copied(cls, value: object, info: ValidationInfo) -> object:
        """Without spaces and line ends around it. What others read, too, stays to the letter.

        So do the quotes around any other secret, and no other value has any: see `quoted_secrets`.
        """
        name = str(info.field_name)
        if not isinstance(value, str) or name in TO_THE_LETTER:
            return value
        plain = value.strip(" \t\r\n")
        return plain[1:-1] if _is_quoted(plain) and not _is_compared(name) else plain

    @field_validator("webhook_url", "webhook_url_absolute")
    @classmethod
    def _somewhere(cls, value: Url | None) -> Url | None:
        return None if value is not None and NOWHERE.fullmatch(f"{value}") else value

    @field_validator("unoapi_auth_token", "unoapi_auth_token_previous", "webhook_token")
    @classmethod
    def _fits_a_header(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        allowed = HEADER_VALUE if info.field_name == "webhook_token" else TOKEN
        if not allowed.fullmatch(value.get_secret_value()):
            raise ValueError("has characters that a header cannot carry, such as a line break or an accent")
        return value

    @field_validator("unoapi_events_max_bytes")
    @classmethod
    def _enough_for_events(cls, value: int) -> int:
        if 0 < value < MIN_EVENTS_BYTES:
            raise ValueError(f"must be 0, or {MIN_EVENTS_BYTES} or more")
        return value

    @field_validator("webhook_add_to_blacklist_on_outgoing_message_with_ttl")
    @classmethod
    def _as_in_a_session(cls, value: int | None) -> int | None:
        """The Node version takes every negative number for no end, and has no longest time."""
        return None if value is None else max(-1, min(value, LONGEST_TTL_S))

    @field_validator("data_ttl", mode="before")
    @classmethod
    def _without_end(cls, value: object) -> object:
        """The Node version takes a negative number for no end."""
        return LONGEST_TTL_S if str(value).strip() == "-1" else value

    @field_validator("log_level", mode="before")
    @classmethod
    def _level_of_node_version(cls, value: object) -> object:
        level = value.lower() if isinstance(value, str) else value
        return "fatal" if level == "silent" else level

    @field_validator("sentry_dsn")
    @classmethod
    def _complete_dsn(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and not DSN.match(value.get_secret_value()):
            raise ValueError("must look like https://<key>@<host>/<number of the project>")
        return value

    @field_validator("unoapi_otlp_headers")
    @classmethod
    def _headers_of_collector(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and not OTLP_HEADERS.fullmatch(value.get_secret_value()):
            raise ValueError("must be name=value, with commas between")
        return value

    @field_validator("unoapi_alert_urls")
    @classmethod
    def _addresses_of_alerts(cls, value: SecretStr) -> SecretStr:
        urls = value.get_secret_value().split()
        if len(urls) > MAX_ALERT_URLS or any(len(url) > MAX_ALERT_URL_CHARS for url in urls):
            raise ValueError(f"may hold {MAX_ALERT_URLS} addresses of {MAX_ALERT_URL_CHARS} characters each")
        if not all(ALERT_URL.fullmatch(url) for url in urls):
            raise ValueError("must be addresses such as slack://…, with spaces between")
        return value

    @model_validator(mode="after")
    def _closed_door(self) -> Self:
        if not self.unoapi_auth_token.get_secret_value() and not is_loopback(self.listen_host):
            raise ValueError(
                f"UNOAPI_AUTH_TOKEN is empty, so the API may only listen on loopback, not on {self.listen_host!r}: "
                "set UNOAPI_AUTH_TOKEN, or leave UNOAPI_HOST empty"
            )
        if 0 < len(self.unoapi_auth_token_previous.get_secret_value()) < MIN_TOKEN_LENGTH:
            raise ValueError(f"UNOAPI_AUTH_TOKEN_PREVIOUS has fewer than {MIN_TOKEN_LENGTH} characters: leave it empty")
        if len(self.unoapi_auth_token.get_secret_value()) < MIN_TOKEN_LENGTH and not is_loopback(self.listen_host):
            raise ValueError(
                f"UNOAPI_AUTH_TOKEN has fewer than {MIN_TOKEN_LENGTH} characters, so that it may be guessed: "
                "set a longer one (openssl rand -hex 24), or UNOAPI_HOST=127.0.0.1"
            )
        return self

    @property
    def alert_urls(self) -> tuple[str, ...]:
        """Where alerts go."""
        return tuple(self.unoapi_alert_urls.get_secret_value().split())

    @property
    def otlp_traces_url(self) -> str:
        """Where traces go: an address without a path gets that of the protocol. Empty: nowhere."""
        url = f"{self.unoapi_otlp_endpoint or ''}"
        return f"{url.rstrip('/')}/v1/traces" if url and not urlsplit(url).path.strip("/") else url

    @property
    def otlp_headers(self) -> dict[str, str]:
        """What the collector wants beside the traces."""
        pairs = (pair.partition("=") for pair in self.unoapi_otlp_headers.get_secret_value().split(",") if pair.strip())
        return {name.strip(): value.strip() for name, _, value in pairs}

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        """What the operator allows beside the public internet."""
        return tuple(part.strip() for part in self.unoapi_allowed_hosts.split(",") if part.strip())

    @property
    def cors_origins(self) -> frozenset[str]:
        """Origins of pages that may call the API."""
        return frozenset(part.strip().rstrip("/") for part in self.unoapi_cors_origins.split(",") if part.strip())

    @property
    def forward_phones(self) -> frozenset[str]:
        """The phones that may use the account at Meta of `WEBHOOK_FORWARD_*`; none named stands for all."""
        written = (re.sub(r"[^0-9]", "", part) for part in self.unoapi_forward_phones.split(","))
        return frozenset(filter(None, written))

    @property
    def opt_out_words(self) -> frozenset[str]:
        """What ends campaigns for a contact, as it is compared."""
        return frozenset(filter(None, (word.strip().casefold() for word in self.unoapi_bulk_opt_out_words.split(","))))

    @property
    def campaign_step_ms(self) -> float:
        """Milliseconds between two campaign messages of a phone: half of what it may send is left to people."""
        return 2000 / self.unoapi_connector_sends_per_second

    @property
    def amqp_urls(self) -> tuple[str, ...]:
        """The nodes of RabbitMQ, one or several."""
        return tuple(filter(None, (url.strip() for url in self.amqp_url.get_secret_value().split(";"))))

    @property
    def amqp_vhost(self) -> str:
        """The virtual host, the same on all nodes."""
        return unquote(urlsplit(self.amqp_urls[0]).path[1:]) or "/"

    @property
    def own_ports(self) -> tuple[int, ...]:
        """Ports of RabbitMQ, Redis, the bucket and the metrics, which no tenant may reach."""
        ports = [self.unoapi_metrics_port] if self.unoapi_metrics_port else []
        if self.storage_endpoint is not None and (port := self.storage_endpoint.port or 0) not in {*DEFAULT_PORTS, 0}:
            ports.append(port)
        nodes = [(url, 5671 if url.startswith("amqps") else 5672) for url in self.amqp_urls]
        redis_url = self.redis_url.get_secret_value()
        if sentinels := SentinelAddress.of(redis_url):
            ports += [REDIS_PORT, *(port for _, port in sentinels.sentinels)]
        else:
            nodes.append((redis_url, REDIS_PORT))
        others = ((self.rabbitmq_management_url, 15672),)
        for url, default in (*nodes, *((secret.get_secret_value(), port) for secret, port in others)):
            try:
                ports.append(urlsplit(url).port or default)
            except ValueError:
                ports.append(default)
        return tuple(ports)

    @property
    def local_ports(self) -> tuple[int, ...]:
        """Ports of this machine that may want no password: Flower's, and the API's when it wants no token."""
        flower = os.environ.get("FLOWER_PORT", "")
        own = () if self.unoapi_auth_token.get_secret_value() else (self.port,)
        return (int(flower) if flower.isascii() and flower.isdigit() else FLOWER_PORT, *own)

    @property
    def former_link_key(self) -> str:
        """What signed links to files in earlier versions: whoever has a link can try out guesses of the token on it."""
        return hashlib.sha256(b"links:" + self.unoapi_auth_token.get_secret_value().encode()).hexdigest()

    @property
    def listen_host(self) -> str:
        """The address the API listens on."""
        if self.unoapi_host:
            return self.unoapi_host
        return "0.0.0.0" if self.unoapi_auth_token.get_secret_value() else "127.0.0.1"  # noqa: S104 (needs the token)


def _is_host(entry: str) -> bool:
    try:
        ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return HOST_NAME.fullmatch(entry) is not None
    return True


class _PlatformNames(PydanticBaseSettingsSource):
    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 (the base's)
        values = (os.environ.get(name) for name in PLATFORMS.get(field_name, ()))
        return next(filter(None, values), None), field_name, False

    def __call__(self) -> dict[str, Any]:
        values = {name: self.get_field_value(None, name)[0] for name in PLATFORMS}
        return {name: value for name, value in values.items() if value is not None}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens on `host`. Empty stands for all addresses."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def env_file() -> str:
    """The file whose names count when the environment has them not."""
    return os.environ.get("DOTENV_CONFIG_PATH") or ".env"


def read_environment(file: Path | None = None, *, alone: bool = False) -> dict[str, str | None]:
    """All that is set, in a file and over it in the environment; `alone`: in the file."""
    written: dict[str, str | None] = {}
    with suppress(UnicodeDecodeError):  # the settings say so themselves
        written = dotenv_values(file or env_file(), encoding="utf-8-sig")
    return {**written, **({} if alone else os.environ)}


def unreadable_lines(file: Path | None = None) -> list[int]:
    """The numbers of the lines of a `.env` file that are no `NAME=value`: they do nothing."""
    return [_line(binding) for binding in _bindings(file) if binding.error or (binding.key and binding.value is None)]


def repeated_names(file: Path | None = None) -> dict[str, int]:
    """The names that a `.env` file has more than once, with the number of the line that counts: the last one."""
    lines: dict[str, list[int]] = {}
    for binding in _bindings(file):
        if binding.key is not None:
            lines.setdefault(binding.key, []).append(_line(binding))
    return {name: at[-1] for name, at in lines.items() if len(at) > 1}


def _bindings(file: Path | None) -> list[Binding]:
    """What the lines of a `.env` file say; nothing of one that is not there, or no text: the settings say so."""
    try:
        return list(parse_stream(StringIO(Path(file or env_file()).read_text("utf-8-sig"))))
    except (OSError, UnicodeDecodeError):
        return []


def _line(binding: Binding) -> int:
    written = binding.original.string
    return binding.original.line + len(written) - len(written.lstrip("\n"))


def is_secret(name: str) -> bool:
    """Whether only processes that need this field of `Settings` should have it."""
    return name in ADDRESSES_WITH_SECRETS or Settings.model_fields[name].annotation is SecretStr


def quoted_secrets(environment: Mapping[str, str | None]) -> list[str]:
    """Names whose values stand in quotes that are a part of them: whoever sends the same secret must send them, too.

    `docker run --env-file` and lists in Compose files (`- NAME="value"`) keep the quotes that a `.env` file may have.
    """
    names = [name.upper() for name in Settings.model_fields if _is_compared(name)]
    return [name for name in names if _is_quoted((environment.get(name) or "").strip(" \t\r\n"))]


def _is_quoted(text: str) -> bool:
    return len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" and text[0] not in text[1:-1]


def _is_compared(name: str) -> bool:
    """Whether it is a secret that others have, too."""
    return Settings.model_fields[name].annotation is SecretStr and name not in NOT_COMPARED


def read_secrets(environment: Mapping[str, str | None], names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """What the files hold that `<NAME>_FILE` names, by name, and a sentence for each that is wrong.

    The form of Docker's and Kubernetes' secrets. Neither a value nor a path is quoted: who swaps the two names writes
    the secret where the path belongs.
    """
    values, faults = {}, []
    for name in names:
        if not (path := environment.get(f"{name}_FILE")):
            continue
        if environment.get(name):
            faults.append(f"{name}_FILE: {name} is set, too; leave one of them empty")
            continue
        try:
            values[name] = _read_secret(Path(path))
        except (OSError, ValueError) as error:
            faults.append(f"{name}_FILE: {(error.strerror if isinstance(error, OSError) else None) or error}")
    return values, faults


def _read_secret(path: Path) -> str:
    """A file's text, without the line break at its end. Raises OSError, ValueError."""
    if path.exists() and not path.is_file():
        raise ValueError("names no file")
    with path.open("rb") as file:
        content = file.read(MAX_SECRET_FILE_BYTES + 1)
    if len(content) > MAX_SECRET_FILE_BYTES:
        raise ValueError(f"the file has more than {MAX_SECRET_FILE_BYTES} bytes")
    try:
        text = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("the file is no text in UTF-8") from None
    if not text.strip() or "\0" in text:
        raise ValueError("the file is empty" if not text.strip() else "the file is no text")
    return text


def setting_names() -> list[str]:
    """All names that are read: the settings', those of secrets' files, older ones, then those of platforms."""
    aliases = [field.validation_alias for field in Settings.model_fields.values()]
    older = [f"{choice}" for alias in aliases if isinstance(alias, AliasChoices) for choice in alias.choices]
    platforms = [name for names in PLATFORMS.values() for name in names]
    files = [f"{name}_file" for name in Settings.model_fields if is_secret(name)]
    return list(dict.fromkeys(name.upper() for name in (*Settings.model_fields, *files, *older, *platforms)))


def load_settings(file: Path | None = None, *, alone: bool = False) -> Settings:
    """Read the environment, then the `.env` file (`DOTENV_CONFIG_PATH` names another one); `alone`: the file.

    Raises ConfigurationError that lists every wrong variable, never its value.
    """
    files, faults = secrets_from_files(file, alone=alone)
    secrets = {name.lower(): value for name, value in files.items()}
    try:
        if alone:
            named = {name.lower(): value for name, value in read_environment(file, alone=True).items() if value}
            settings = Settings.model_validate(named | secrets)
        else:
            settings = Settings(_env_file=file or env_file(), **secrets)  # type: ignore[arg-type]
    except ValidationError as error:
        faults += explain(error, most=None, place=_name_of)
    if faults:
        raise _wrong(faults)
    return settings


def _wrong(faults: Iterable[str]) -> ConfigurationError:
    return ConfigurationError("These settings are wrong:\n" + "\n".join(f"  {fault}" for fault in faults))


def _ensure_text(file: Path | str) -> None:
    """Raise ConfigurationError for a `.env` file in another encoding, as some editors save it."""
    try:
        content = Path(file).read_bytes()
    except OSError:  # there is none
        return
    try:
        content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _wrong([f"{file}: line {line} is not UTF-8; save the file as UTF-8"]) from None


def secrets_from_files(file: Path | None = None, *, alone: bool = False) -> tuple[dict[str, str], list[str]]:
    """What `read_secrets` gives for all settings: the environment counts before the `.env` file; `alone`: the file.

    Raises ConfigurationError for a file in another encoding than UTF-8.
    """
    _ensure_text(file or env_file())
    names = [name.upper() for name in Settings.model_fields if is_secret(name)]
    environment = {} if alone else os.environ
    values, faults = read_secrets(environment, names)
    left = [name for name in names if not (environment.get(name) or environment.get(f"{name}_FILE"))]
    others, more = read_secrets(read_environment(file, alone=True), left)
    return values | others, faults + more


def _name_of(place: tuple[Any, ...]) -> str:
    return ".".join(f"{part}" for part in place).upper()
