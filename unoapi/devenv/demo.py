"""A guided run of the main job that ends by itself, on throw-away servers (`make demo`)."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import requests

from unoapi.devenv.ports import free_port
from unoapi.devenv.processes import start
from unoapi.devenv.run import ROOT
from unoapi.devenv.servers import PrivateServers
from unoapi.devenv.supervisor import parse_procfile

if TYPE_CHECKING:
    from collections.abc import Callable

PHONE = "5511999990000"
CONTACT = "5549988887777"
DEADLINE_S = 60.0
GRACE_S = 20.0
DELAY_MS = 1000
LIMIT = 2


class DemoFailed(Exception):
    """A step did not happen."""


class Receiver:
    """The webhooks of the demo: one is fine, one fails twice, one is down until it is healed; and the callback."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.bodies: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.healed = False
        self._seen: defaultdict[str, int] = defaultdict(int)
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                status = receiver.answer(self.path, dict(self.headers), self.rfile.read(length))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Print nothing: `answer` prints a line for each request."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """Decide the status, and print what came."""
        document = json.loads(body)
        with self._lock:
            delivery = headers.get("webhook-id", "")
            self._seen[delivery] += 1
            status = 200
            if not self.healed and (path == "/down" or (path == "/flaky" and self._seen[delivery] <= LIMIT)):
                status = 500
            self.bodies[path].append(document)
            attempt = f"attempt {headers['webhook-attempt']}" if "webhook-attempt" in headers else "callback"
            colour = "green" if status == 200 else "red"  # noqa: PLR2004 (the answer that means done)
            line = f"   {time.monotonic() - self.started:5.1f} s  {path:10} {attempt:10} <- {_summary(document)}"
            click.echo(f"{line}  {click.style(f'answered {status}', fg=colour)}")
        return status

    def count(self) -> int:
        """Requests so far, without callbacks."""
        return sum(len(bodies) for path, bodies in self.bodies.items() if path != "/callback")

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


def _summary(document: dict[str, Any]) -> str:
    if "type" in document:
        return f"{document['type']}: {document['text']}"
    value = document["entry"][0]["changes"][0]["value"]
    if value.get("statuses"):
        return f"status {value['statuses'][0]['status']}"
    return f"message {value['messages'][0]['text']['body']!r}"


def run_demo() -> int:
    """Run it. Returns the exit code: 0 when every step happened."""
    try:
        with ExitStack() as stack:
            return _run(stack)
    except (DemoFailed, requests.RequestException) as error:
        click.secho(f"\nThe demo did not go as it should: {error}", fg="red", err=True)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(stack: ExitStack) -> int:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="unoapi-demo-", ignore_cleanup_errors=True)))
    _print("Starting a private RabbitMQ and Redis (thrown away at the end) ...")
    servers = stack.enter_context(PrivateServers(folder / "servers"))
    receiver = Receiver()
    stack.callback(receiver.close)
    port = free_port()
    token = secrets.token_hex(16)
    environment = {
        "PATH": f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "HOME": str(folder),
        "DOTENV_CONFIG_PATH": os.devnull,
        "AMQP_URL": servers.amqp_url,
        "REDIS_URL": servers.redis_url,
        "PORT": str(port),
        "UNOAPI_HOST": "127.0.0.1",
        "UNOAPI_AUTH_TOKEN": token,
        "UNOAPI_MESSAGE_RETRY_LIMIT": str(LIMIT),
        "UNOAPI_MESSAGE_RETRY_DELAY": str(DELAY_MS),
        "STATUS_FAILED_WEBHOOK_URL": f"{receiver.address}/callback",
        "NOTIFY_FAILED_MESSAGES": "false",
        "UNOAPI_ALLOWED_HOSTS": "127.0.0.1",
        "UNOAPI_WORKER_THREADS": "10",
    }
    _print("Starting the API and a worker, as in the Procfile ...")
    commands = parse_procfile((ROOT / "Procfile").read_text("utf-8"))
    output = stack.enter_context((folder / "processes.log").open("wb"))
    for name in ("web", "worker"):
        command = ["sh", "-c", f"exec {commands[name]}"]
        record = folder / f"{name}.pid"
        process = start(command, record=record, environment=environment, folder=ROOT, output=output)
        stack.callback(process.end, grace_s=GRACE_S)
    api = f"http://127.0.0.1:{port}"
    headers = {"Authorization": f"Bearer {token}"}

    def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = requests.post(f"{api}{path}", json=body, headers=headers, timeout=10)
        if not answer.ok:
            raise DemoFailed(f"POST {path}: {answer.status_code} {answer.text}")
        document: dict[str, Any] = answer.json()
        return document

    _until(lambda: _ready(api), "the API did not start", folder)
    webhooks = [{"id": name, "urlAbsolute": f"{receiver.address}/{name}"} for name in ("fine", "flaky", "down")]
    post(f"/v15.0/{PHONE}/register", {"provider": "sandbox", "webhooks": webhooks})

    _step(
        "1. A contact writes to the number. The session has three webhooks: one is fine, one fails twice, one is down."
    )
    receiver.started = time.monotonic()
    written = {"from": CONTACT, "profile": {"name": "Maria"}, "type": "text", "text": {"body": "hello"}}
    message_id = post(f"/sandbox/{PHONE}/messages", written)["messages"][0]["id"]
    click.echo(f"   accepted as {message_id}; retries wait in RabbitMQ, {DELAY_MS} ms, then twice as long")
    _until(lambda: receiver.bodies["/callback"], "no failure callback came", folder)
    click.echo("   The third webhook was given up after three attempts. The event is saved as a dead letter:")
    _command(environment, "dead", "list")

    _step("2. The webhook is healed, and the dead letter is put back.")
    receiver.healed = True
    before = len(receiver.bodies["/down"])
    _command(environment, "dead", "replay", "--webhook", "down")
    _until(lambda: len(receiver.bodies["/down"]) > before, "the replayed delivery did not arrive", folder)

    _step("3. A client answers through the API; WhatsApp (the sandbox) reports sent, delivered and read.")
    statuses = receiver.count()
    body = {"messaging_product": "whatsapp", "to": CONTACT, "type": "text", "text": {"body": "hi Maria"}}
    answer = post(f"/v15.0/{PHONE}/messages", body)["messages"][0]["id"]
    click.echo(f"   accepted as {answer}")
    _until(lambda: receiver.count() >= 3 * len(webhooks) + statuses, "the statuses did not arrive", folder)

    _step("4. Every message can be followed by its id.")
    for followed_id in (message_id, answer):
        _command(environment, "trace", followed_id)
    _check(receiver, before=before)
    _print("\nDone: nothing lost, every failure reported. `make run` starts it for real.")
    return 0


def _check(receiver: Receiver, *, before: int) -> None:
    messages = {
        path: [body for body in bodies if "messages" in _value(body)] for path, bodies in receiver.bodies.items()
    }
    counts = {path: len(messages[path]) for path in ("/fine", "/flaky", "/down")}
    expected = {"/fine": 1, "/flaky": LIMIT + 1, "/down": before + 1}
    if counts != expected or before != LIMIT + 1:
        raise DemoFailed(f"requests {counts}, expected {expected}")


def _value(document: dict[str, Any]) -> dict[str, Any]:
    value: dict[str, Any] = document["entry"][0]["changes"][0]["value"] if "entry" in document else {}
    return value


def _ready(api: str) -> bool:
    try:
        return requests.get(f"{api}/health/ready", timeout=3).ok
    except requests.RequestException:
        return False


def _until(check: Callable[[], object], trouble: str, folder: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not check():
        if time.monotonic() > deadline:
            tail = (folder / "processes.log").read_text(errors="replace")[-3000:]
            raise DemoFailed(f"{trouble} within {DEADLINE_S:g} s. The processes said:\n{tail}")
        time.sleep(0.1)


def _command(environment: dict[str, str], *arguments: str) -> None:
    click.secho(f"   $ unoapi {' '.join(arguments)}", bold=True)
    done = subprocess.run(
        ["unoapi", *arguments], env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    click.echo("".join(f"   {line}\n" for line in (done.stdout + done.stderr).splitlines()), nl=False)
    if done.returncode:
        raise DemoFailed(f"unoapi {' '.join(arguments)} ended with {done.returncode}")


def _print(text: str) -> None:
    click.secho(text, fg="cyan")


def _step(text: str) -> None:
    click.secho(f"\n{text}", fg="cyan", bold=True)


if __name__ == "__main__":
    sys.exit(run_demo())
