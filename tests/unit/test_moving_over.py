"""Moving over from the Node version: every old name of the environment works or is named, and so is what Meta ends.

The ids in the tests' names are those of the field reports that they mend.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from tests.support.api import make_settings
from tests.support.fakes import make_session
from unoapi.broker.connection import Connection
from unoapi.cli.main import cli
from unoapi.devenv.run import print_former_names
from unoapi.errors import StoreUnavailable
from unoapi.models.former_settings import FORMER, former_names
from unoapi.models.graph_versions import last_day, warning
from unoapi.providers.cloud_api.graph_watch import GraphCollector, GraphWatch
from unoapi.settings import Settings
from unoapi.stores.redis import connect

if TYPE_CHECKING:
    from pathlib import Path

NODE_VERSION = [
    "PORT", "BASE_URL", "UNOAPI_SERVER_NAME", "NODE_ENV", "UNOAPI_MODE", "LOG_LEVEL", "UNO_LOG_LEVEL",
    "UNOAPI_LOG_MODES", "DOTENV_CONFIG_PATH", "SENTRY_DSN", "DEFAULT_LOCALE", "AVAILABLE_LOCALES", "UNOAPI_URL",
    "UNOAPI_AUTH_TOKEN", "UNOAPI_HEADER_NAME", "AMQP_URL", "REDIS_URL", "UNOAPI_BASE_STORE", "BASE_STORE",
    "DATA_TTL", "DATA_URL_TTL", "SESSION_TTL", "UNOAPI_EXCHANGE_NAME", "UNOAPI_QUEUE_NAME",
    "UNOAPI_QUEUE_OUTGOING_PREFETCH", "UNOAPI_MESSAGE_RETRY_LIMIT", "UNOAPI_MESSAGE_RETRY_DELAY",
    "CONSUMER_TIMEOUT_MS", "UNOAPI_X_COUNT_RETRIES", "UNOAPI_X_MAX_RETRIES", "NOTIFY_FAILED_MESSAGES",
    "VALIDATE_ROUTING_KEY", "IGNORED_CONNECTIONS_NUMBERS", "IGNORED_TO_NUMBERS",
    "UNOAPI_DELAY_AFTER_FIRST_MESSAGE_MS", "UNOAPI_DELAY_BETWEEN_MESSAGES_MS",
    "UNOAPI_DELAY_AFTER_FIRST_MESSAGE_WEBHOOK_MS", "WEBHOOK_URL", "WEBHOOK_URL_ABSOLUTE", "WEBHOOK_TOKEN",
    "WEBHOOK_HEADER", "WEBHOOK_TIMEOUT_MS", "WEBHOOK_SEND_NEW_MESSAGES", "WEBHOOK_SEND_GROUP_MESSAGES",
    "WEBHOOK_SEND_OUTGOING_MESSAGES", "WEBHOOK_SEND_INCOMING_MESSAGES", "WEBHOOK_SEND_UPDATE_MESSAGES",
    "WEBHOOK_SEND_NEWSLETTER_MESSAGES", "WEBHOOK_SEND_TRANSCRIBE_AUDIO",
    "WEBHOOK_ADD_TO_BLACKLIST_ON_OUTGOING_MESSAGE_WITH_TTL", "WEBHOOK_SESSION", "STATUS_FAILED_WEBHOOK_URL",
    "THROW_WEBHOOK_ERROR", "WEBHOOK_FORWARD_URL", "WEBHOOK_FORWARD_VERSION", "WEBHOOK_FORWARD_PHONE_NUMBER_ID",
    "WEBHOOK_FORWARD_BUSINESS_ACCOUNT_ID", "WEBHOOK_FORWARD_TOKEN", "WEBHOOK_FORWARD_TIMEOUT_MS",
    "CONNECTION_TYPE", "AUTO_CONNECT", "AUTO_RESTART_MS", "CONNECTING_TIMEOUT_MS", "QR_TIMEOUT_MS",
    "MAX_CONNECT_RETRY", "MAX_CONNECT_TIME", "UNOAPI_RETRY_REQUEST_DELAY", "UNOAPI_RETRY_REQUEST_DELAY_MS",
    "VALIDATE_SESSION_NUMBER", "CLEAN_CONFIG_ON_DISCONNECT", "CONFIG_SESSION_PHONE_CLIENT",
    "CONFIG_SESSION_PHONE_NAME", "WHATSAPP_VERSION", "PROXY_URL", "WAVOIP_TOKEN", "FETCH_TIMEOUT_MS",
    "IGNORE_GROUP_MESSAGES", "IGNORE_NEWSLETTER_MESSAGES", "IGNORE_BROADCAST_STATUSES",
    "IGNORE_BROADCAST_MESSAGES", "IGNORE_HISTORY_MESSAGES", "IGNORE_OWN_MESSAGES", "IGNORE_YOURSELF_MESSAGES",
    "IGNORE_OWN_MESSAGES_DECRYPT_ERROR", "IGNORE_DATA_STORE", "READ_ON_RECEIPT", "SEND_CONNECTION_STATUS",
    "SEND_PROFILE_PICTURE", "SEND_REACTION_AS_REPLY", "COMPOSING_MESSAGE", "OUTGOING_MESSAGES_COEX",
    "GROUP_MESSAGES_CLOUD_FORMAT", "IGNORE_CALLS", "REJECT_CALLS", "REJECT_CALLS_WEBHOOK",
    "MESSAGE_CALLS_WEBHOOK", "MESSAGE_CHECK_WAAPP", "CUSTOM_MESSAGE_CHARACTERS",
    "VALIDATE_MEDIA_LINK_BEFORE_SEND", "SEND_AUDIO_MESSAGE_AS_PTT", "CONVERT_AUDIO_MESSAGE_TO_OGG",
    "CONVERT_AUDIO_FFMPEG_PARAMS", "SEND_AUDIO_WAVEFORM", "UNOAPI_NATIVE_FLOW_BUTTONS", "STORAGE_ENDPOINT",
    "STORAGE_BUCKET_NAME", "STORAGE_ACCESS_KEY_ID", "STORAGE_SECRET_ACCESS_KEY", "STORAGE_REGION",
    "STORAGE_FORCE_PATH_STYLE", "STORAGE_TIMEOUT_MS", "UNOAPI_BULK_BATCH", "UNOAPI_BULK_DELAY",
    "ONLY_HELLO_TEMPLATE", "OPENAI_API_KEY", "OPENAI_API_TRANSCRIBE_MODEL", "OPENAI_API_SPEECH_MODEL",
    "OPENAI_API_SPEECH_VOICE", "OPENAI_API_BASE_URL", "OPENAI_API_ASSISTANT_ID", "GOOGLE_APPLICATION_CREDENTIALS",
    "IGNORE_STATUS_MESSAGE", "MAX_QRCODE_GENERATE", "QR_TIMEOUT", "SLEEP_TIME",
]  # fmt: skip
"""All names that the Node version reads or documents."""
OLDER_NAMES = {
    "IGNORE_CALLS": ("reject_calls", "no calls"),
    "REJECT_CALLS_WEBHOOK": ("message_calls_webhook", "called"),
    "FETCH_TIMEOUT_MS": ("unoapi_fetch_timeout_ms", "6000"),
    "UNOAPI_BASE_STORE": ("base_store", "/srv/files"),
}
READ_ELSEWHERE = {"DOTENV_CONFIG_PATH"}


def test_field_report_111_every_name_of_the_node_version_works_or_is_named() -> None:
    here = {name.upper() for name in Settings.model_fields} | OLDER_NAMES.keys() | READ_ELSEWHERE

    assert [name for name in NODE_VERSION if name not in here and name not in FORMER] == []
    assert FORMER.keys() & here == set()


@pytest.mark.parametrize("name", FORMER)
def test_field_report_111_what_to_do_about_a_name_is_said(name: str) -> None:
    advice = FORMER[name]

    assert advice.startswith(("use ", "does nothing here"))
    settings = {word.strip(",:.=") for word in advice.replace("=", " ").split() if word.strip(",:.=").isupper()}
    named = {word for word in settings if "_" in word}
    assert named <= {field.upper() for field in Settings.model_fields}, named


@pytest.mark.parametrize(("name", "field", "value"), [(name, *older) for name, older in OLDER_NAMES.items()])
def test_field_report_111_older_names_of_settings_are_honoured(name: str, field: str, value: str) -> None:
    newer = make_settings(**{name: value, field.upper(): ""})
    both = make_settings(**{name: value, field.upper(): "9999"})

    assert str(getattr(newer, field)) == value
    assert str(getattr(both, field)) == "9999"


@pytest.mark.parametrize("name", ["SEND_REACTION_AS_REPLY", "SEND_PROFILE_PICTURE", "OUTGOING_MESSAGES_COEX"])
def test_field_report_111_options_of_a_session_have_their_default_from_the_environment(name: str) -> None:
    assert getattr(make_settings(**{name: "true"}), name.lower()) is True
    assert getattr(make_settings(), name.lower()) is False


@pytest.mark.parametrize(
    ("environment", "address"),
    [
        ({}, "http://localhost:9876/"),
        ({"PORT": "3000"}, "http://localhost:3000/"),
        ({"PORT": "3000", "BASE_URL": ""}, "http://localhost:3000/"),
        ({"PORT": "3000", "BASE_URL": "https://api.test"}, "https://api.test/"),
    ],
)
def test_field_report_111_links_to_files_lead_to_the_port(environment: dict[str, str], address: str) -> None:
    assert f"{make_settings(**environment).base_url}" == address


@pytest.mark.parametrize("port", ["70000", "9" * 5000, "x"])
def test_a_port_that_is_none_is_named_and_not_an_address_that_nobody_wrote(port: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        make_settings(PORT=port)

    assert [error["loc"] for error in refusal.value.errors()] == [("port",)]


@pytest.mark.parametrize(
    ("written", "ttl_s"), [("-60", -1), ("-1", -1), ("0", 0), ("60", 60), ("9999999999", 315_360_000), ("", None)]
)
def test_field_report_111_every_negative_time_on_the_blacklist_has_no_end(written: str, ttl_s: int | None) -> None:
    settings = make_settings(WEBHOOK_ADD_TO_BLACKLIST_ON_OUTGOING_MESSAGE_WITH_TTL=written)

    assert settings.webhook_add_to_blacklist_on_outgoing_message_with_ttl == ttl_s


@pytest.mark.parametrize(("written", "kept_s"), [("-1", 315_360_000), (" -1", 315_360_000), ("94608000", 94_608_000)])
def test_field_report_111_files_may_be_kept_for_years(written: str, kept_s: int) -> None:
    assert make_settings(DATA_TTL=written).data_ttl == kept_s


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks", "SOCKS5H"])
def test_field_report_111_a_socks_proxy_is_known_under_all_of_its_names(scheme: str) -> None:
    """The library of phones knows one; of a number's own and the environment's the same address is one."""
    written, plain = f"{scheme}://u:p@proxy.test:1080", "socks5://u:p@proxy.test:1080"

    assert make_settings(PROXY_URL=written).proxy_url.get_secret_value() == plain
    assert make_session(proxyUrl=written).proxy_url.get_secret_value() == plain


def test_field_report_111_only_names_with_a_value_are_named() -> None:
    environment = {"IGNORED_TO_NUMBERS": "[]", "UNO_LOG_LEVEL": "", "QR_TIMEOUT": None, "PATH": "/bin"}

    assert list(former_names(environment)) == ["IGNORED_TO_NUMBERS"]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("amqp://u:p@h:5672?frameMax=8192", "amqp://u:p@h:5672"),
        ("amqp://u:p@h/v?heartbeat=60&frameMax=8192", "amqp://u:p@h/v"),
        ("amqp://a/v?channelMax=0;amqp://b/v?locale=en_US", "amqp://a/v;amqp://b/v"),
        ("amqps://u:p@h/v?connect_timeout=5", "amqps://u:p@h/v?connect_timeout=5"),
        ("amqp://u:p@a/v,amqp://u:p@b/v, amqps://u:p@c/v", "amqp://u:p@a/v;amqp://u:p@b/v;amqps://u:p@c/v"),
    ],
)
def test_field_report_111_options_of_the_former_library_in_an_address_are_left_out(written: str, read: str) -> None:
    assert make_settings(AMQP_URL=written).amqp_url.get_secret_value() == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("redis://:p@h:6379?family=0", "redis://:p@h:6379"),
        ("redis://:p@h:6379/1?family=6&keepAlive=1&socket_timeout=5", "redis://:p@h:6379/1"),
        ("redis://h:6379?ssl_cert_reqs=CERT_NONE&db=2", "redis://h:6379?db=2"),
        ("rediss://h:6379?ssl_cert_reqs=CERT_NONE&tls=true", "rediss://h:6379?ssl_cert_reqs=none"),
        ("rediss://h:6379?ssl_ca_certs=%2Fetc%2Fca.pem", "rediss://h:6379?ssl_ca_certs=%2Fetc%2Fca.pem"),
        ("rediss://h/0?ssl_keyfile=k&ssl_password=p", "rediss://h/0?ssl_keyfile=k&ssl_password=p"),
        ("rediss://h/0?ssl_min_version=771&ssl_ciphers=A", "rediss://h/0?ssl_min_version=771&ssl_ciphers=A"),
        ("rediss://h/0?db=&ssl_cert_reqs=&retry_on_error=x&lib_name=y", "rediss://h/0"),
        ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
        ("redis+sentinel://h/main?sentinel_password=x", "redis+sentinel://h/main?sentinel_password=x"),
    ],
)
def test_field_report_111_options_of_other_libraries_in_rediss_address_are_left_out(written: str, read: str) -> None:
    settings = make_settings(REDIS_URL=written)

    assert settings.redis_url.get_secret_value() == read
    connect(read, timeout_s=1)


@pytest.mark.parametrize(
    "query", ["nonsense=1", "db=first", "ssl_cert_reqs=perhaps", "protocol=x", "ssl_min_version=TLS"]
)
def test_field_report_111_an_option_of_rediss_address_that_is_wrong_is_named_and_no_crash(query: str) -> None:
    with pytest.raises(ValidationError, match=query.partition("=")[0]) as refusal:
        make_settings(REDIS_URL=f"rediss://u:secret@h/1?{query}")

    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(("written", "uses_tls"), [("false", False), ("0", False), ("true", True)])
def test_field_report_111_options_in_an_address_mean_what_they_say(written: str, *, uses_tls: bool) -> None:
    connection = Connection(f"amqp://u:p@h/v?connect_timeout=5&login_method=plain&ssl={written}", connect_timeout=3)

    assert (connection.connect_timeout, connection.login_method) == (5.0, "PLAIN")
    assert connection.ssl is uses_tls


@pytest.mark.parametrize("option", ["nonsense=1", "connect_timeout=soon", "ssl=perhaps", "login_method=none"])
def test_field_report_111_an_unknown_option_in_an_address_is_named_and_no_crash(option: str) -> None:
    with pytest.raises(ValidationError, match=option.partition("=")[0]) as refusal:
        make_settings(AMQP_URL=f"amqp://u:secret@h/v?{option}")

    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(("written", "read"), [("silent", "fatal"), ("INFO", "info"), ("Warn", "warn")])
def test_field_report_111_levels_of_the_former_log_are_taken(written: str, read: str) -> None:
    assert make_settings(LOG_LEVEL=written).log_level == read


def test_field_report_14_phones_in_the_environment_are_read_as_people_write_them() -> None:
    assert make_settings(UNOAPI_FORWARD_PHONES="+55 (11) 99999-0000, 5511.98888.0000,").forward_phones == {
        "5511999990000", "5511988880000",
    }  # fmt: skip


def test_field_report_111_a_version_of_the_graph_may_be_short() -> None:
    assert make_settings(WEBHOOK_FORWARD_VERSION="v24").webhook_forward_version == "v24"


def test_field_report_111_make_run_has_a_line_for_each_name(capsys: pytest.CaptureFixture[str]) -> None:
    print_former_names({"QR_TIMEOUT": "1", "WAVOIP_TOKEN": "secret", "PORT": "1234"})

    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == ["QR_TIMEOUT", "WAVOIP_TOKEN"]
    assert "secret" not in "".join(lines)


# --- unoapi doctor ---


def doctor(file: Path, text: str) -> tuple[int, str]:
    file.write_text(text)
    done = CliRunner().invoke(cli, ["doctor", str(file)])
    return done.exit_code, done.output


def test_field_report_111_the_doctor_has_a_line_for_each_name_of_a_file(tmp_path: Path) -> None:
    text = "".join(f"{name}=true\n" for name in FORMER) + "PORT=1234\n"

    code, output = doctor(tmp_path / "old.env", text)

    lines = output.splitlines()
    assert code == 0
    assert [line.split()[2] for line in lines if line.startswith("moving")] == sorted(FORMER)
    assert lines[0] == "settings  ok"


def test_the_doctor_names_what_is_wrong_and_no_value(tmp_path: Path) -> None:
    code, output = doctor(tmp_path / "old.env", "PORT=secret\nUNOAPI_AUTH_TOKEN=secret\nWAVOIP_TOKEN=secret\n")

    assert code == 78
    assert "PORT" in output
    assert "WAVOIP_TOKEN" in output
    assert "secret" not in output


def test_field_report_107_the_doctor_names_an_ended_version(tmp_path: Path) -> None:
    code, output = doctor(tmp_path / "old.env", "WEBHOOK_FORWARD_VERSION=v17.0\n")

    assert code == 0
    assert "v17.0 of Meta's Graph API ended on 2025-09-12" in output


# --- versions of the Graph API ---


@pytest.mark.parametrize(
    ("version", "today", "words"),
    [
        ("v17.0", date(2026, 11, 26), "version v17.0 of Meta's Graph API ended on 2025-09-12"),
        ("v2.6", date(2026, 11, 26), "version v2.6 of Meta's Graph API ended on 2025-09-12"),
        ("v21.0", date(2026, 11, 26), "version v21.0 of Meta's Graph API ends on 2027-01-21"),
        ("v21.0", date(2026, 10, 23), "version v21.0 of Meta's Graph API ends on 2027-01-21"),
        ("v21.0", date(2026, 10, 22), ""),
        ("v21.0", date(2027, 1, 21), "version v21.0 of Meta's Graph API ends on 2027-01-21"),
        ("v22.0", date(2026, 11, 26), "version v22.0 of Meta's Graph API ends on 2027-01-21 at the earliest"),
        ("v25.0", date(2026, 11, 26), ""),
        ("v99.0", date(2026, 11, 26), ""),
        ("17.0", date(2026, 11, 26), "version 17.0 of Meta's Graph API ended on 2025-09-12"),
        ("V21.0", date(2026, 11, 26), "version V21.0 of Meta's Graph API ends on 2027-01-21"),
        ("nonsense", date(2026, 11, 26), ""),
        ("", date(2026, 11, 26), ""),
    ],
)
def test_field_report_107_a_version_that_ends_is_named_90_days_before(version: str, today: date, words: str) -> None:
    assert warning(version, today) == words


def test_field_report_107_the_default_is_above_what_ends() -> None:
    default = make_settings().webhook_forward_version
    last = last_day(default)

    assert last is not None
    assert last > date(2027, 11, 26)


class Numbers:
    """A directory of numbers at Meta; `away` stands for Redis that does not answer."""

    def __init__(self, *versions: str) -> None:
        self.away = False
        self._sessions = [
            make_session(provider="forwarder", webhook_forward={"version": version}) for version in versions
        ] + [make_session(provider="whatsmeow", webhook_forward={"version": "v1.0"})]

    def all(self) -> list[Any]:
        if self.away:
            raise StoreUnavailable("away")
        return self._sessions


def watch(numbers: Numbers, default: str = "v25.0") -> GraphWatch:
    return GraphWatch(default=default, directory=numbers, today=lambda: date(2026, 11, 26))  # type: ignore[arg-type]


def test_field_report_107_the_versions_of_all_numbers_at_meta_are_watched() -> None:
    watched = watch(Numbers("v20.0", "", "v25.0", "v20.0"))

    assert watched.versions() == ["v20.0", "v25.0"]
    assert watched.warnings() == ["version v20.0 of Meta's Graph API ended on 2026-09-24"]


def test_field_report_107_with_redis_away_the_environments_version_is_watched() -> None:
    numbers = Numbers("v20.0")
    numbers.away = True

    assert watch(numbers, "v21.0").versions() == ["v21.0"]


def test_field_report_107_the_days_that_are_left_are_a_number() -> None:
    watched = watch(Numbers("v17.0", "v99.0"), "v21.0")

    (family,) = GraphCollector(watched, is_wanted=lambda: True).collect()

    assert {sample.labels["version"]: sample.value for sample in family.samples} == {"v17.0": -440, "v21.0": 56}
    assert list(GraphCollector(watched, is_wanted=lambda: False).collect()) == []
