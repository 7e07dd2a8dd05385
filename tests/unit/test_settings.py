"""The environment is read once, checked as a whole, and never printed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from tests.support.fakes import SECRET
from unoapi.devenv.run import _environment as make_runs_environment
from unoapi.errors import ConfigurationError
from unoapi.settings import (
    PLATFORMS,
    SentinelAddress,
    Settings,
    is_loopback,
    is_secret,
    load_settings,
    quoted_secrets,
    setting_names,
    unreadable_lines,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    platforms = (name for names in PLATFORMS.values() for name in names)
    for name in (*Settings.model_fields, *platforms):
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"{name.upper()}_FILE", raising=False)
    monkeypatch.setenv("DOTENV_CONFIG_PATH", os.devnull)


def load(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def refusal(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    with pytest.raises(ConfigurationError) as error:
        load(monkeypatch, **environment)
    return str(error.value)


def test_the_node_versions_own_sink_is_no_webhook(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = "http://localhost:9876/webhooks/fake"

    settings = load(monkeypatch, WEBHOOK_URL=sink, WEBHOOK_URL_ABSOLUTE="http://127.0.0.1:9876/webhooks/fakes")

    assert (settings.webhook_url, f"{settings.webhook_url_absolute}") == (None, "http://127.0.0.1:9876/webhooks/fakes")


def test_without_any_variable_the_defaults_of_the_node_version_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch)

    assert settings.port == 9876
    assert settings.amqp_url.get_secret_value() == "amqp://guest:guest@localhost:5672"
    assert settings.redis_url.get_secret_value() == "redis://localhost:6379"
    assert (settings.unoapi_message_retry_limit, settings.unoapi_message_retry_delay) == (5, 10_000)
    assert settings.unoapi_queue_name == "unoapi"
    assert settings.status_failed_webhook_url is None


def test_every_wrong_variable_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    text = refusal(
        monkeypatch,
        PORT="no-port",
        UNOAPI_MESSAGE_RETRY_LIMIT="-1",
        WEBHOOK_URL="ftp://x.test",
        LOG_LEVEL="loud",
        UNOAPI_QUEUE_NAME="a b",
        WEBHOOK_SEND_GROUP_MESSAGES="perhaps",
        AMQP_URL="http://rabbit.test",
        REDIS_URL="nonsense",
    )

    named = {line.split(":")[0].strip() for line in text.splitlines()[1:]}
    assert named == {
        "PORT", "UNOAPI_MESSAGE_RETRY_LIMIT", "WEBHOOK_URL", "LOG_LEVEL", "UNOAPI_QUEUE_NAME",
        "WEBHOOK_SEND_GROUP_MESSAGES", "AMQP_URL", "REDIS_URL",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("AMQP_URL", "localhost:5672", "must start with amqp:// or amqps://"),
        ("AMQP_URL", "amqp://a.test;b.test", "must start with amqp:// or amqps://"),
        ("AMQP_URL", f"amqp://u:{SECRET}#1@rabbit.test", "in its login # / ? @ : and % are written %23"),
        ("AMQP_URL", f"amqp://u:{SECRET}/1@rabbit.test", "must look like amqp://user:password@host:port"),
        ("AMQP_URL", "amqp://rabbit.test:56720000", "must look like amqp://user:password@host:port"),
        ("REDIS_URL", "redis.test:6379", "must start with redis:// or rediss://"),
        ("REDIS_URL", f"redis://:{SECRET}/1@redis.test", "must look like redis://user:password@host:port"),
        ("REDIS_URL", "redis://redis.test/sessions", "the number of the database, as redis://host:6379/0"),
        ("REDIS_URL", f"redis+sentinel://:{SECRET}/1@redis.test/main", "must look like redis+sentinel://"),
        ("RABBITMQ_MANAGEMENT_URL", "rabbit.test:15672", "must start with http:// or https://"),
        ("PROXY_URL", "proxy.test:3128", "must start with http:// or https:// or socks5://"),
        ("BASE_URL", "api.example.com", "must be a complete address such as https://"),
        ("UNOAPI_ALLOWED_HOSTS", "http://crm", "without http:// or a port"),
        ("UNOAPI_ALLOWED_HOSTS", "crm:3000", "without http:// or a port"),
        ("UNOAPI_ALLOWED_HOSTS", "crm;n8n", "with commas between"),
        ("UNOAPI_ALLOWED_HOSTS", "10.0.0.0/99", "addresses or networks"),
        ("UNOAPI_CORS_ORIGINS", "panel.example", "must be origins such as https://panel.example.com"),
        ("UNOAPI_CORS_ORIGINS", "https://panel.example/app", "without a path"),
        ("UNOAPI_BULK_HOURS", "9-18", "must have the form 09:00-18:00"),
        ("UNOAPI_BULK_DAYS", "mon-fri", "must have the form 1-5 or 1,3,6"),
        ("WEBHOOK_FORWARD_VERSION", "21", "must have the form v21.0"),
        ("UNOAPI_AUTH_TOKEN", "segredo-que-ninguém-envia", "a header cannot carry"),
        ("WEBHOOK_TOKEN", "one\ntwo", "a header cannot carry"),
        ("DATA_TTL", "1d", "must be a whole number"),
        ("NOTIFY_FAILED_MESSAGES", "sim", "must be true or false"),
        ("UNOAPI_ALERT_URLS", "slack", "must be addresses such as slack://"),
        ("UNOAPI_LOG_FORMAT", "yaml", "must be 'auto', 'json' or 'console'"),
    ],
)
def test_a_mistake_in_a_setting_is_answered_with_what_to_write(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    text = refusal(monkeypatch, **{name: value})

    assert f"  {name}: " in text
    assert words in text
    assert SECRET not in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AMQP_URL", "amqp://u:p%23%2F@rabbit.test:5672/my%2Fhost;amqps://u:p@b.test"),
        ("REDIS_URL", "rediss://:a%2Fb;c@redis.test:6380/1"),
        ("REDIS_URL", "unix:///run/redis.sock?db=1"),
        ("RABBITMQ_MANAGEMENT_URL", "http://u:p@rabbit.test:15672"),
        ("PROXY_URL", "socks5://u:p@10.0.0.1:1080"),
        ("UNOAPI_ALLOWED_HOSTS", "crm, my_service,*.example.com,10.0.0.0/8,::1,[fd00::1],café.example"),
        ("UNOAPI_CORS_ORIGINS", "https://a.example/, http://localhost:3000"),
        ("UNOAPI_CORS_ORIGINS", "*"),
        ("UNOAPI_AUTH_TOKEN", "a token with spaces"),
    ],
)
def test_what_is_right_is_taken(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    taken = getattr(load(monkeypatch, **{name: value}), name.lower())

    assert (taken if isinstance(taken, str) else taken.get_secret_value()) == value


def test_a_refusal_quotes_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    text = refusal(
        monkeypatch,
        PORT=SECRET,
        UNOAPI_AUTH_TOKEN=SECRET,
        AMQP_URL=f"http://user:{SECRET}@rabbit.test",
        REDIS_URL=f"http://:{SECRET}@redis.test",
        WEBHOOK_URL=f"ftp://user:{SECRET}@x.test",
    )

    assert SECRET not in text


def test_the_error_itself_quotes_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", SECRET)

    with pytest.raises(ValidationError) as error:
        Settings()

    assert SECRET not in str(error.value)


def test_secrets_are_never_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = ("UNOAPI_AUTH_TOKEN", "WEBHOOK_TOKEN", "UNOAPI_WEBHOOK_SECRET")
    addresses = {"AMQP_URL": f"amqp://u:{SECRET}@h", "REDIS_URL": f"redis://:{SECRET}@h"}

    settings = load(monkeypatch, **dict.fromkeys(secrets, SECRET), **addresses)

    assert SECRET not in repr(settings)
    assert SECRET not in str(settings)
    assert SECRET not in settings.model_dump_json()


@pytest.mark.parametrize(
    "name",
    [
        "UNOAPI_META_APP_SECRET", "UNOAPI_META_APP_SECRET_PREVIOUS", "UNOAPI_META_VERIFY_TOKEN", "WEBHOOK_TOKEN",
        "WEBHOOK_FORWARD_TOKEN", "WEBHOOK_FORWARD_PHONE_NUMBER_ID", "WEBHOOK_FORWARD_BUSINESS_ACCOUNT_ID",
    ],
)  # fmt: skip
def test_what_was_copied_with_a_secret_is_no_part_of_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    value = getattr(load(monkeypatch, **{name: f" {SECRET} \n"}), name.lower())

    assert (value if isinstance(value, str) else value.get_secret_value()) == SECRET


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("IGNORE_GROUP_MESSAGES", "false ", False), ("AUTO_CONNECT", "\tno\r", False), ("LOG_LEVEL", "WARN ", "warn"),
        ("CONNECTION_TYPE", "pairing_code ", "pairing_code"), ("WEBHOOK_HEADER", " api_token", "api_token"),
        ("UNOAPI_SERVER_NAME", "acme\r\n", "acme"), ("WEBHOOK_FORWARD_VERSION", "v22.0 ", "v22.0"),
        ("HISTORY_MAX_AGE_DAYS", "7 ", 7),
        # Lists in Compose files (- NAME="value") and docker run --env-file keep the quotes.
        ("IGNORE_GROUP_MESSAGES", '"false"', False), ("HISTORY_MAX_AGE_DAYS", "'7' ", 7),
        ("WEBHOOK_HEADER", '"api_token"', "api_token"), ("REJECT_CALLS", '"', '"'),
        ("REJECT_CALLS", '"Oi" e "tchau"', '"Oi" e "tchau"'),
    ],
)  # fmt: skip
def test_a_space_that_was_copied_with_a_value_is_no_part_of_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, read: object
) -> None:
    assert getattr(load(monkeypatch, **{name: value}), name.lower()) == read


def test_a_secret_that_signs_is_taken_to_the_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, UNOAPI_WEBHOOK_SECRET=f" {SECRET} ", UNOAPI_LINK_SECRET=f"{SECRET} ")

    assert settings.unoapi_webhook_secret.get_secret_value() == f" {SECRET} "
    assert settings.unoapi_link_secret.get_secret_value() == f"{SECRET} "


@pytest.mark.parametrize(
    ("name", "value"),
    [("UNOAPI_QUEUE_NAME", "acme "), ("UNOAPI_WORKER_THREADS", '"50"'), ("UNOAPI_MEDIA_PROCESSES", "'2'")],
)
def test_what_commands_hold_as_it_is_written_is_not_mended_for_the_api_alone(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    with pytest.raises(ConfigurationError, match=name):
        load(monkeypatch, **{name: value})


def test_quotes_around_a_secret_are_a_part_of_it_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    quoted, address = f'"{SECRET}"', '"amqp://rabbit:5672"'

    settings = load(monkeypatch, UNOAPI_META_APP_SECRET=quoted, AMQP_URL=address, WEBHOOK_TOKEN=SECRET)

    assert settings.unoapi_meta_app_secret.get_secret_value() == quoted
    assert settings.amqp_urls == ("amqp://rabbit:5672",)
    assert quoted_secrets({"UNOAPI_META_APP_SECRET": quoted, "AMQP_URL": address, "WEBHOOK_TOKEN": SECRET}) == [
        "UNOAPI_META_APP_SECRET"
    ]


def test_quotes_around_addresses_and_headers_with_a_secret_within_are_no_part_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    urls, headers = "slack://a/b/c mailto://x.example", "authorization=Basic-x"

    settings = load(monkeypatch, UNOAPI_ALERT_URLS=f'"{urls}"', UNOAPI_OTLP_HEADERS=f"'{headers}'")

    assert settings.alert_urls == tuple(urls.split())
    assert settings.unoapi_otlp_headers.get_secret_value() == headers


def test_settings_do_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    settings: Any = load(monkeypatch)

    with pytest.raises(ValidationError):
        settings.port = 1


def test_an_empty_variable_counts_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, PORT="", WEBHOOK_URL="", STATUS_FAILED_WEBHOOK_URL="")

    assert (settings.port, settings.webhook_url, settings.status_failed_webhook_url) == (9876, None, None)


def test_the_words_that_end_campaigns_are_emptied_by_a_comma(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNOAPI_BULK_OPT_OUT_WORDS", ",")

    assert load_settings().opt_out_words == frozenset()


def test_no_setting_says_that_empty_is_something_else_than_absent() -> None:
    said = {name: field.default for name, field in Settings.model_fields.items() if "Empty:" in f"{field.description}"}

    assert {name: default for name, default in said.items() if f"{default or ''}"} == {}


def test_variables_of_other_programs_are_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch, UNOAPI_SOMETHING_ELSE="x", NODE_ENV="production").port == 9876


# --- platforms ---


@pytest.mark.parametrize("name", PLATFORMS["amqp_url"])
def test_what_platforms_call_rabbitmq_is_read_when_the_usual_name_is_absent(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    settings = load(monkeypatch, AMQP_URL="", **{name: "amqps://user:pass@platform.test/vhost"})

    assert settings.amqp_url.get_secret_value() == "amqps://user:pass@platform.test/vhost"


def test_the_ports_that_no_tenant_may_reach_are_those_of_the_servers_and_of_what_needs_no_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed = load(monkeypatch, STORAGE_ENDPOINT="http://minio:9000", UNOAPI_AUTH_TOKEN="token-of-the-operator")
    with_token = closed.local_ports
    public = load(monkeypatch, STORAGE_ENDPOINT="https://s3.example.com", UNOAPI_AUTH_TOKEN="", FLOWER_PORT="5000")

    assert {5672, 6379, 15672, 9000} <= set(closed.own_ports)
    assert 443 not in public.own_ports
    assert with_token == (5555,)
    assert set(public.local_ports) == {5000, 9876}


@pytest.mark.parametrize(
    ("url", "ports", "vhost"),
    [
        ("amqp://a:5673/uno%2Fapi;amqp://b:5674/uno%2Fapi", {5673, 5674}, "uno/api"),
        ("amqp://a; amqp://b:5674/;", {5672, 5674}, "/"),
        ("amqps://a/x;amqps://b:5674/x", {5671, 5674}, "x"),
    ],
)
def test_all_nodes_of_rabbitmq_count(monkeypatch: pytest.MonkeyPatch, url: str, ports: set[int], vhost: str) -> None:
    settings = load(monkeypatch, AMQP_URL=url)

    assert ports <= set(settings.own_ports)
    assert settings.amqp_vhost == vhost


@pytest.mark.parametrize("name", PLATFORMS["redis_url"])
def test_what_platforms_call_redis_is_read_when_the_usual_name_is_absent(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    assert load(monkeypatch, **{name: "rediss://:p@platform.test"}).redis_url.get_secret_value() == (
        "rediss://:p@platform.test"
    )


def test_the_usual_name_wins_over_the_platforms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text("REDIS_URL=redis://of-the-file\n")

    settings = load(
        monkeypatch,
        DOTENV_CONFIG_PATH=str(file),
        AMQP_URL="amqp://usual",
        CLOUDAMQP_URL="amqps://platform",
        REDIS_TLS_URL="rediss://platform",
    )

    assert settings.amqp_url.get_secret_value() == "amqp://usual"
    assert settings.redis_url.get_secret_value() == "redis://of-the-file"


def test_a_platforms_address_is_checked_and_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    text = refusal(monkeypatch, CLOUDAMQP_URL=f"https://user:{SECRET}@platform.test")

    assert "AMQP_URL: " in text
    assert SECRET not in text


# --- Sentry ---


@pytest.mark.parametrize(
    "dsn", ["https://0123abcd@o1.ingest.sentry.test/7", "http://key:old@127.0.0.1:9000/prefix/7", ""]
)
def test_an_address_of_sentry_is_taken(monkeypatch: pytest.MonkeyPatch, dsn: str) -> None:
    assert load(monkeypatch, SENTRY_DSN=dsn).sentry_dsn.get_secret_value() == dsn


@pytest.mark.parametrize("dsn", ["nonsense", "https://sentry.test/7", "https://k@sentry.test", "ftp://k@sentry.test/7"])
def test_what_is_no_address_of_sentry_is_refused(monkeypatch: pytest.MonkeyPatch, dsn: str) -> None:
    assert "SENTRY_DSN: " in refusal(monkeypatch, SENTRY_DSN=dsn)


# --- the closed door ---


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.test", "localhost.example.test", "[::]"])
def test_without_a_token_only_loopback_may_be_listened_on(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    text = refusal(monkeypatch, UNOAPI_HOST=host)

    assert "UNOAPI_AUTH_TOKEN is empty" in text


def test_a_token_that_may_be_guessed_is_for_loopback_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    text = refusal(monkeypatch, UNOAPI_AUTH_TOKEN="fifteen-letters")

    assert "UNOAPI_AUTH_TOKEN has fewer than 16 characters" in text
    assert "fifteen-letters" not in text
    assert load(monkeypatch, UNOAPI_AUTH_TOKEN="fifteen-letters", UNOAPI_HOST="127.0.0.1").listen_host == "127.0.0.1"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
def test_without_a_token_loopback_is_fine(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    assert load(monkeypatch, UNOAPI_HOST=host).listen_host == host


@pytest.mark.parametrize(
    ("host", "alone"), [("127.0.0.1", True), ("localhost", True), ("::1", True), ("[::1]", True), ("", False),
                        ("0.0.0.0", False), ("[::]", False), ("host.example", False)],
)  # fmt: skip
def test_loopback_is_what_only_this_machine_reaches(host: str, alone: bool) -> None:
    assert is_loopback(host) is alone


def test_without_a_token_and_a_host_it_listens_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch).listen_host == "127.0.0.1"


def test_with_a_token_it_listens_everywhere_or_where_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch, UNOAPI_AUTH_TOKEN=SECRET).listen_host == "0.0.0.0"
    assert load(monkeypatch, UNOAPI_HOST="192.168.1.5").listen_host == "192.168.1.5"


# --- files ---


def test_the_file_that_dotenv_config_path_names_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text(
        "# a comment\nPORT=1234\nexport WEBHOOK_HEADER='X-Key'\nUNOAPI_AUTH_TOKEN=\"a token with spaces\"\n"
    )

    settings = load(monkeypatch, DOTENV_CONFIG_PATH=str(file))

    assert (settings.port, settings.webhook_header) == (1234, "X-Key")
    assert settings.unoapi_auth_token.get_secret_value() == "a token with spaces"


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text("PORT=1234\n")

    assert load(monkeypatch, DOTENV_CONFIG_PATH=str(file), PORT="4321").port == 4321


def test_the_file_beside_the_program_is_not_read_when_another_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("PORT=1234\n")
    monkeypatch.chdir(tmp_path)

    assert load(monkeypatch).port == 9876


def test_lines_of_a_file_that_do_nothing_are_numbered(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("\ufeff# mine\nPORT=1\nLOG_LEVEL: debug\n\nexport B='x'\nJUST\n\n\nC=\"unclosed\nEMPTY=\n", "utf-8")

    assert unreadable_lines(file) == [3, 6, 9]
    assert unreadable_lines(tmp_path / "none") == []


def test_the_file_in_the_current_folder_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LOG_LEVEL=error\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DOTENV_CONFIG_PATH")

    assert load(monkeypatch).log_level == "error"


@pytest.mark.parametrize(
    ("url", "sentinels", "service", "database"),
    [
        ("redis+sentinel://a,b:26380,c/main/3", (("a", 26379), ("b", 26380), ("c", 26379)), "main", 3),
        ("redis+sentinel://a", (("a", 26379),), "mymaster", 0),
        ("rediss+sentinel://u:p%40ss@[::1]:5000,b/x%20y", (("::1", 5000), ("b", 26379)), "x y", 0),
    ],
)
def test_an_address_of_sentinels_names_them_the_primary_and_the_database(
    monkeypatch: pytest.MonkeyPatch, url: str, sentinels: tuple[tuple[str, int], ...], service: str, database: int
) -> None:
    settings = load(monkeypatch, REDIS_URL=url)

    address = SentinelAddress.of(settings.redis_url.get_secret_value())

    assert address is not None
    assert (address.sentinels, address.service, address.database) == (sentinels, service, database)
    assert address.tls == url.startswith("rediss")
    assert {6379, *(port for _, port in sentinels)} <= set(settings.own_ports)


def test_the_logins_of_redis_and_of_its_sentinels_are_read_and_not_shown() -> None:
    address = SentinelAddress.of(f"redis+sentinel://:{SECRET}@a/m?sentinel_password={SECRET}&sentinel_username=u")

    assert address is not None
    assert address.login == {"password": SECRET}
    assert address.sentinel_login == {"password": SECRET, "username": "u"}
    assert SECRET not in repr(address)


@pytest.mark.parametrize(
    "rest",
    ["", ",", "a,,b", "a:x", "a:99999999", f":{SECRET}@", f":{SECRET}@a/m/x", f":{SECRET}@a?db=1", "a/m/\u0663x"],
)
def test_an_address_of_no_sentinels_is_refused_with_the_form_of_one(monkeypatch: pytest.MonkeyPatch, rest: str) -> None:
    words = refusal(monkeypatch, REDIS_URL=f"redis+sentinel://{rest}")

    assert "REDIS_URL" in words
    assert SECRET not in words


@pytest.mark.parametrize(("size", "good"), [("0", True), ("10000000", True), ("9999999", False), ("-1", False)])
def test_the_stream_of_events_is_off_or_large_enough_for_its_files(
    monkeypatch: pytest.MonkeyPatch, size: str, good: bool
) -> None:
    if good:
        assert load(monkeypatch, UNOAPI_EVENTS_MAX_BYTES=size).unoapi_events_max_bytes == int(size)
    else:
        assert "UNOAPI_EVENTS_MAX_BYTES" in refusal(monkeypatch, UNOAPI_EVENTS_MAX_BYTES=size)


# --- secrets in files of their own, as Docker and Kubernetes mount them ---

OF_FORM = {
    "amqp_url": f"amqp://u:{SECRET}@h",
    "redis_url": f"redis://:{SECRET}@h",
    "rabbitmq_management_url": f"http://u:{SECRET}@h",
    "proxy_url": f"http://u:{SECRET}@h:3128",
    "status_failed_webhook_url": f"https://h/{SECRET}",
    "webhook_session": f"https://h/{SECRET}",
    "unoapi_alert_urls": f"slack://{SECRET}",
    "unoapi_otlp_headers": f"key={SECRET}",
    "sentry_dsn": f"https://{SECRET.replace('-', '')}@h/1",
}
"""Secrets that have to look like something."""


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if is_secret(name)])
def test_every_secret_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text(f"{OF_FORM.get(name, SECRET)}\n")

    settings = load(monkeypatch, **{f"{name.upper()}_FILE": str(tmp_path / "secret")})

    value = getattr(settings, name)
    assert (value.get_secret_value() if hasattr(value, "get_secret_value") else f"{value}") == OF_FORM.get(name, SECRET)
    assert f"{name.upper()}_FILE" in setting_names()


def test_a_file_counts_before_the_names_of_platforms_and_an_empty_variable_beside_it_counts_as_absent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "url").write_text("amqp://of-the-file")

    settings = load(
        monkeypatch, AMQP_URL="", AMQP_URL_FILE=str(tmp_path / "url"), CLOUDAMQP_URL="amqp://of-the-platform"
    )

    assert settings.amqp_url.get_secret_value() == "amqp://of-the-file"


@pytest.mark.parametrize(
    ("in_environment", "in_file", "token"),
    [
        ("", "UNOAPI_AUTH_TOKEN_FILE={secret}", SECRET),
        ("UNOAPI_AUTH_TOKEN={other}", "UNOAPI_AUTH_TOKEN_FILE={secret}", "token-of-the-environment"),
        ("UNOAPI_AUTH_TOKEN_FILE={secret}", "UNOAPI_AUTH_TOKEN={other}", SECRET),
    ],
)
def test_a_secret_of_the_environment_counts_before_one_of_the_env_file_however_each_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, in_environment: str, in_file: str, token: str
) -> None:
    (tmp_path / "secret").write_text(SECRET)
    words = {"secret": tmp_path / "secret", "other": "token-of-the-environment"}
    (tmp_path / ".env").write_text(in_file.format(**words))
    monkeypatch.setenv("DOTENV_CONFIG_PATH", str(tmp_path / ".env"))

    settings = load(monkeypatch, **dict(filter(all, [in_environment.format(**words).split("=", 1)])))

    assert settings.unoapi_auth_token.get_secret_value() == token


@pytest.mark.parametrize(
    ("content", "environment", "fault"),
    [
        (None, {}, "No such file or directory"),
        (b"", {}, "the file is empty"),
        (b" \n", {}, "the file is empty"),
        (b"\xff\xfe" + SECRET.encode(), {}, "the file is no text in UTF-8"),
        (SECRET.encode() + b"\0", {}, "the file is no text"),
        (SECRET.encode() * 9000, {}, "the file has more than 65536 bytes"),
        (SECRET.encode(), {"WEBHOOK_TOKEN": SECRET}, "WEBHOOK_TOKEN is set, too; leave one of them empty"),
        (None, {"WEBHOOK_TOKEN_FILE": SECRET}, "No such file or directory"),
        (None, {"WEBHOOK_TOKEN_FILE": SECRET * 1000}, "File name too long"),
        (None, {"WEBHOOK_TOKEN_FILE": "/dev/zero"}, "names no file"),
        (None, {"WEBHOOK_TOKEN_FILE": "/"}, "names no file"),
    ],
)
def test_a_file_that_holds_no_secret_is_named_by_its_variable_with_the_other_faults_and_never_quoted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, environment: dict[str, str], fault: str
) -> None:
    if content is not None:
        (tmp_path / SECRET).write_bytes(content)

    text = refusal(monkeypatch, PORT="x", **({"WEBHOOK_TOKEN_FILE": str(tmp_path / SECRET)} | environment))

    assert f"WEBHOOK_TOKEN_FILE: {fault}" in text
    assert "PORT" in text
    assert SECRET not in text


@pytest.mark.parametrize("in_environment", [True, False])
def test_make_run_hands_on_the_secrets_of_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, in_environment: bool
) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    monkeypatch.delenv("DOTENV_CONFIG_PATH")
    if in_environment:
        monkeypatch.setenv("UNOAPI_AUTH_TOKEN_FILE", str(tmp_path / "secret"))
        (tmp_path / ".env").write_text("UNOAPI_AUTH_TOKEN=another-token-of-the-file\n")
    else:
        (tmp_path / ".env").write_text(f"UNOAPI_AUTH_TOKEN_FILE={tmp_path / 'secret'}\n")

    environment = make_runs_environment(tmp_path)

    assert environment["UNOAPI_AUTH_TOKEN"] == SECRET
    assert "UNOAPI_AUTH_TOKEN_FILE" not in environment
