"""The image, without Docker: its steps in a clean folder, then every process of the Procfile from what they made."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import requests
from kombu import Connection

from tests.support.dockerfile import steps
from tests.support.fake_sentry import KEY, Ingest
from tests.support.receiver import Behaviour, Receiver
from tests.support.stack import BIN, OPERATOR, PHONE, ROOT, Stack, eventually, stack
from unoapi import __version__
from unoapi.devenv.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from unoapi.devenv.servers import PrivateServers

PROCFILE = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
LASTING = [name for name in PROCFILE if name != "release"]
MESSAGES = 6
TOKEN, SECRET, URL_KEY = "tok3n-of-the-webhook", "whsec_c2VjcmV0LW9mLXRoZS13ZWJob29r", "k3y-in-the-address"
BODY = "b0dy-of-the-message"
HONCHO_KILLS_AFTER_S = 5
pytestmark = pytest.mark.timeout(480)  # the image is made within the first test


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs that the steps of the Dockerfile make for all processes but the connector's image."""
    folder = tmp_path_factory.mktemp("image")
    locks = ("requirements.txt", "requirements-whatsmeow.txt")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", *locks):
        shutil.copy(ROOT / name, folder)
    for name in ("unoapi", "tasks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    clean = {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HOME": os.environ.get("HOME", str(folder)),
        "PIP_NO_COMPILE": "0",  # 0 switches an option on that begins with "no"; most of it is never imported here
    }
    for word, command in dict.fromkeys(steps()):  # what two images have in common is done once
        if word != "RUN" or "apt-get" in command or ("whatsmeow" in command and "install" in command):
            continue
        moved = command.replace("/wheels", f"{folder}/wheels").replace("/opt/unoapi", f"{folder}/installed")
        moved = moved.replace("/program", f"{folder}/program")
        moved = moved.replace("--no-cache-dir ", "")  # a test may use the cache
        done = subprocess.run(
            moved, shell=True, cwd=folder, env=clean, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, f"{moved}\n{done.stderr[-3000:]}"
    return folder / "installed" / "bin"


def test_what_the_image_needs_is_installed_and_nothing_else(image: Path) -> None:
    for command in PROCFILE.values():
        assert (image / command.split()[0]).exists(), command
    check = "import tasks.app, unoapi.web.app; print(unoapi.web.app.__file__)"
    environment = {"PATH": os.environ["PATH"], "DOTENV_CONFIG_PATH": os.devnull}

    done = subprocess.run(
        [str(image / "python"), "-c", check],
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(image.parent))
    assert not (image / "pytest").exists()
    assert list(image.parent.glob("lib/*/site-packages/neonize")) == []


def test_what_only_a_checkout_needs_is_not_in_the_image(image: Path) -> None:
    (packages,) = image.parent.glob("lib/python3.*/site-packages")

    assert (packages / "unoapi" / "cli" / "main.py").exists()
    assert not (packages / "unoapi" / "devenv").exists()
    assert not (packages / "tests").exists()


def test_the_connectors_image_can_be_made_of_the_same_wheels(image: Path) -> None:
    (command,) = [rest for word, rest in steps() if word == "RUN" and re.search("install.*whatsmeow", rest)]
    folder = image.parents[1]
    moved = command.replace("/opt/unoapi/bin/pip install", f"{image}/pip install --dry-run")
    moved = moved.replace("/wheels", f"{folder}/wheels")

    done = subprocess.run(moved, shell=True, cwd=folder, capture_output=True, text=True, timeout=100, check=False)

    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r"Would install .*neonize-\d", done.stdout)


class Run:
    """The Procfile under honcho, with the image's programs, in a folder that has nothing but the Procfile."""

    def __init__(self, uno: Stack, image: Path, folder: Path, **settings: str) -> None:
        self.uno = uno
        self.flower = free_port()
        folder.mkdir()
        shutil.copy(ROOT / "Procfile", folder)
        uno.environment |= {
            "PATH": f"{image}:/usr/bin:/bin",
            "FLOWER_PORT": str(self.flower),
            "UNOAPI_WORKER_THREADS": "8",
            "UNOAPI_CONNECTOR_ENGINE": "twin",
            "UNOAPI_CONNECTOR_STORE": str(folder / "phones"),
            "PYTHONUNBUFFERED": "1",
            **settings,
        }
        released = subprocess.run(
            PROCFILE["release"], shell=True, env=uno.environment, cwd=folder, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert released.returncode == 0, released.stdout + released.stderr
        self._log = folder / "output.log"
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [str(BIN / "honcho"), "start", *LASTING],
                env=uno.environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_ready(self) -> None:
        """Every process does its work."""
        checks = {
            "web": self.uno._answers,
            "worker": lambda: consumers(self.uno, "unoapi.outgoing"),
            "media": lambda: consumers(self.uno, "unoapi.media"),
            "suspect": lambda: consumers(self.uno, "unoapi.suspect"),
            "flower": self._flower_answers,
            "connector": lambda: "connector_started" in self.output(),
        }
        assert checks.keys() == set(LASTING), "a process without a check"
        for name, check in checks.items():
            eventually(
                lambda check=check: check() or self.process.poll() is not None,  # type: ignore[misc]
                within_s=60, every_s=0.2, what=f"{name}\n{self.output()[-3000:]}",
            )  # fmt: skip
            assert self.process.poll() is None, self.output()

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self) -> None:
        """Whatever is left."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)

    def _flower_answers(self) -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{self.flower}/healthcheck", timeout=2).ok
        except requests.RequestException:
            return False


def consumers(uno: Stack, queue: str) -> int:
    with Connection(uno.environment["AMQP_URL"]) as connection:
        channel: Any = connection.channel()
        try:
            return int(channel.queue_declare(queue, passive=True).consumer_count)
        except channel.connection.channel_errors:
            return 0  # it is not declared yet


@pytest.fixture(scope="module")
def ingest() -> Iterator[Ingest]:
    with Ingest() as running:
        yield running


@pytest.fixture(scope="module")
def run(
    servers: PrivateServers, image: Path, ingest: Ingest, hooks: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Run]:
    settings = {
        "SENTRY_DSN": ingest.dsn,
        "SENTRY_ENVIRONMENT": "tests",
        "UNOAPI_MESSAGE_RETRY_LIMIT": "1",
        "UNOAPI_MESSAGE_RETRY_DELAY": "300",
        "UNOAPI_BREAKER_FAILURES": "0",  # the failing deliveries are to die, not to wait
        "STATUS_FAILED_WEBHOOK_URL": hooks.url("/callback"),
        "LOG_LEVEL": "info",
    }
    folder = tmp_path_factory.mktemp("run")
    with stack(servers, folder) as uno:
        running = Run(uno, image, folder / "app", **settings)
        try:
            running.wait_ready()
            yield running
        finally:
            running.stop()


def test_the_whole_procfile_works_and_one_failing_webhook_is_one_issue_in_sentry(
    run: Run, ingest: Ingest, hooks: Receiver
) -> None:
    uno = run.uno
    hooks.script("/down", Behaviour(status=500))
    webhooks = [
        {"id": name, "urlAbsolute": hooks.url(f"/{name}/hook?key={URL_KEY}"), "token": TOKEN, "secret": SECRET}
        for name in ("fine", "down")
    ]
    uno.register(webhooks)

    written = {uno.contact_writes(BODY) for _ in range(MESSAGES)}
    hooks.wait(MESSAGES, "/fine", timeout_s=30)
    hooks.wait(MESSAGES, "/callback", timeout_s=30)
    eventually(lambda: len(ingest.events) >= MESSAGES, within_s=20, what=f"events; {ingest.text[:2000]}")
    time.sleep(1)  # for more than there should be

    assert hooks.count("/down") == 2 * MESSAGES
    assert URL_KEY in hooks.requests("/down")[0].path, "the address holds a key"
    assert ingest.issues() == {("given_up", "outgoing.deliver", "refused"): MESSAGES}
    assert {event["tags"]["message_id"] for event in ingest.events} == written
    for event in ingest.events:
        assert event["tags"] | {"message_id": "", "task_id": ""} == {
            "message_id": "", "task_id": "", "phone": PHONE, "queue": "unoapi.outgoing", "webhook_id": "down",
            "task": "outgoing.deliver", "reason": "refused", "module": "tasks.base",
        }  # fmt: skip
        assert (event["release"], event["environment"]) == (f"unoapi@{__version__}", "tests")
    sent = ingest.text.replace(KEY, "")
    login = uno.environment["AMQP_URL"].split("//")[1].split("@")[0]
    for secret in (BODY, TOKEN, SECRET, URL_KEY, OPERATOR, f"session-token-{PHONE}", login, "?key="):
        assert secret not in sent, secret
    assert "wamid." in sent, "the events have contents"


def test_the_whole_procfile_ends_on_sigterm(run: Run) -> None:
    """The last test of this file: the processes are gone after it."""
    family = run.family()
    started = time.monotonic()

    run.process.send_signal(signal.SIGTERM)
    run.process.wait(HONCHO_KILLS_AFTER_S + 5)

    assert time.monotonic() - started < HONCHO_KILLS_AFTER_S, f"a process had to be killed\n{run.output()[-3000:]}"
    assert len(family) > len(LASTING)
    eventually(lambda: not [process for process in family if works(process)], within_s=3, what="all gone")


def works(process: psutil.Process) -> bool:
    """Whether it goes on. One that has ended, and whose new parent has not asked for its code yet, does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
