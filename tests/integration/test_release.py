"""`unoapi release`: declares, checks, prints a line for each part, and stops a release that would not work."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis
import trustme
from kombu import Connection

from tests.support.stack import BIN, OPERATOR, ROOT, Stack, eventually
from tests.support.worker import make_uno
from unoapi.cli.release import where
from unoapi.devenv import packages
from unoapi.devenv.ports import free_port
from unoapi.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD = "passw0rd-of-redis"


def lines(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """The line of each part, by its name."""
    return {line.split()[0]: line.split(maxsplit=1)[1] for line in done.stdout.splitlines()}


def release(uno: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    return uno.cli("release", *arguments, check=False)


@pytest.fixture
def redis_with_tls(tmp_path: Path) -> Iterator[str]:
    """A Redis as platforms have it: TLS and a login, and a certificate of an unknown authority."""
    port, server = free_port(), packages.redis_server()
    assert server is not None
    key, authority = str(tmp_path / "redis.pem"), trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(key)
    process = subprocess.Popen(
        [
            str(server), "--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path),
            "--tls-cert-file", key, "--tls-key-file", key, "--tls-ca-cert-file", str(tmp_path / "authority.pem"),
            "--tls-auth-clients", "no", "--requirepass", PASSWORD, "--save", "",
        ],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"rediss://:{PASSWORD}@localhost:{port}"
    patient = {"ssl_cert_reqs": "none", "socket_connect_timeout": 1}

    def answers() -> bool:
        try:
            return bool(redis.Redis.from_url(url, **patient).ping())
        except redis.ConnectionError:
            return False

    try:
        eventually(answers, within_s=10, what="Redis with TLS")
        yield url
    finally:
        process.kill()
        process.wait(10)


def test_the_addresses_of_all_nodes_are_shown_without_their_logins() -> None:
    nodes = "amqp://u:first-secret@one:5672/v;amqp://u:second-secret@two/v"
    uno = make_uno(settings={"AMQP_URL": nodes})

    words = where(uno, BrokerUnavailable("away"))

    assert words.startswith("amqp://one:5672/v, amqp://two/v: ")
    assert "secret" not in words


def test_everything_is_declared_and_printed(uno: Stack) -> None:
    uno.environment["BASE_URL"] = "https://uno.example.test"

    done = release(uno)

    parts = lines(done)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(parts) == ["settings", "rabbitmq", "events", "redis", "files"]
    assert [line.split()[0] for line in parts.values()] == ["ok", "ok", "ok", "ok", "note"]
    assert "kept for 72 h, 1000 MB at most" in parts["events"]
    assert "queues and 3 exchanges are declared" in parts["rabbitmq"]
    assert "set STORAGE_ENDPOINT" in parts["files"]
    assert uno.depth("unoapi.dead") == 0, "the queue is there"


def test_beside_make_run_the_command_line_uses_its_private_servers(uno: Stack, tmp_path: Path) -> None:
    ours = ("AMQP_URL", "REDIS_URL")
    away = f"127.0.0.1:{free_port()}"
    (tmp_path / ".env").write_text(f"AMQP_URL=amqp://{away}\nREDIS_URL=redis://{away}\n")
    (tmp_path / ".run").mkdir()
    (tmp_path / ".run" / "environment").write_text("".join(f"{name}={uno.environment[name]}\n" for name in ours))
    without = {name: value for name, value in uno.environment.items() if name not in (*ours, "DOTENV_CONFIG_PATH")}

    def release_there(**more: str) -> int:
        command = [str(BIN / "unoapi"), "release", "--wait", "1"]
        return subprocess.run(
            command, env={**without, **more}, cwd=tmp_path, capture_output=True, timeout=60, check=False
        ).returncode

    assert release_there() == 0
    assert release_there(DOTENV_CONFIG_PATH=str(tmp_path / ".env")) == 1, "a file that is named is the only one"
    assert release_there(REDIS_URL=f"redis://{away}") == 1, "the environment wins"


def test_no_process_but_the_command_line_reads_what_make_run_wrote(tmp_path: Path) -> None:
    (tmp_path / ".run").mkdir()
    (tmp_path / ".run" / "environment").write_text("PORT=1234\n")
    script = "from unoapi.settings import load_settings; print(load_settings().port)"

    done = subprocess.run(
        [str(BIN / "python"), "-c", script], env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path, capture_output=True,
        text=True, timeout=30, check=True,
    )  # fmt: skip

    assert done.stdout == "9876\n"


def test_it_can_be_done_again_and_where_the_package_is_not_installed(uno: Stack) -> None:
    procfile = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())

    for _ in range(2):
        done = subprocess.run(
            procfile["release"], shell=True, env=uno.environment, cwd=ROOT, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_secret_is_printed(uno: Stack, redis_with_tls: str) -> None:
    uno.environment |= {"REDIS_URL": redis_with_tls, "UNOAPI_REDIS_TLS_VERIFY": "false"}

    done = release(uno)

    password = uno.environment["AMQP_URL"].split("@")[0].rsplit(":", 1)[1]
    assert done.returncode == 0, done.stdout + done.stderr
    for secret in (OPERATOR, PASSWORD, f":{password}@"):
        assert secret not in done.stdout + done.stderr


def test_wrong_settings_are_all_named_and_end_with_78(uno: Stack) -> None:
    uno.environment |= {"SENTRY_DSN": "nonsense", "UNOAPI_MESSAGE_RETRY_LIMIT": "-1"}

    done = release(uno)

    assert done.returncode == 78
    assert "SENTRY_DSN" in done.stderr
    assert "UNOAPI_MESSAGE_RETRY_LIMIT" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_token_nobody_outside_reaches_the_api(uno: Stack) -> None:
    uno.environment["UNOAPI_AUTH_TOKEN"] = ""

    done = release(uno)

    assert done.returncode == 78
    assert lines(done)["settings"].startswith("WRONG")


def test_objects_of_another_program_end_with_78(uno: Stack) -> None:
    with Connection(uno.environment["AMQP_URL"]) as connection:
        channel: Any = connection.channel()
        channel.queue_declare("unoapi.outgoing", durable=True, auto_delete=False)

    done = release(uno)

    assert done.returncode == 78
    assert "The queue unoapi.outgoing exists already" in done.stdout


def test_servers_that_do_not_answer_are_all_reported_and_end_with_1(uno: Stack) -> None:
    port = free_port()
    uno.environment |= {"AMQP_URL": f"amqp://127.0.0.1:{port}", "REDIS_URL": f"redis://127.0.0.1:{port}"}
    started = time.monotonic()

    done = release(uno, "--wait", "1")

    parts = lines(done)
    assert done.returncode == 1
    assert parts["rabbitmq"].startswith("WRONG")
    assert "check AMQP_URL" in parts["rabbitmq"]
    assert parts["redis"].startswith("WRONG")
    assert time.monotonic() - started < 15


def test_the_names_of_platforms_are_enough(uno: Stack, redis_with_tls: str) -> None:
    """Heroku: its own names, TLS with a certificate of its own, and a port that changes."""
    environment = uno.environment
    environment["CLOUDAMQP_URL"] = environment.pop("AMQP_URL")
    environment["REDIS_TLS_URL"] = redis_with_tls
    del environment["REDIS_URL"]

    refused = release(uno)
    environment["UNOAPI_REDIS_TLS_VERIFY"] = "false"
    taken = release(uno)
    uno.web()

    assert refused.returncode == 1
    assert "its certificate is not trusted: set UNOAPI_REDIS_TLS_VERIFY=false" in lines(refused)["redis"]
    assert taken.returncode == 0, taken.stdout
    assert uno.get("/health/ready").json() == {"status": "ok", "checks": {"rabbitmq": "ok", "redis": "ok"}}


def test_the_certificate_of_an_authority_of_ones_own_is_checked(
    uno: Stack, redis_with_tls: str, tmp_path: Path
) -> None:
    uno.environment |= {"REDIS_URL": redis_with_tls, "SSL_CERT_FILE": str(tmp_path / "authority.pem")}

    assert lines(release(uno))["redis"].startswith("ok")


def test_a_wrong_password_is_reported(uno: Stack, redis_with_tls: str) -> None:
    uno.environment |= {
        "REDIS_URL": redis_with_tls.replace(PASSWORD, "wrong"), "UNOAPI_REDIS_TLS_VERIFY": "false",
    }  # fmt: skip

    assert "refuses the login" in lines(release(uno))["redis"]
