"""What `make run` prints when everything is up: addresses, tokens, and a first command that works."""

from __future__ import annotations

import json
import secrets
import shlex
import time
from http import HTTPStatus
from typing import TYPE_CHECKING

from unoapi.devenv.loopback import ask
from unoapi.models.request_bin import BIN_URL, BIN_WEBHOOK

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.http.api_client import HttpAnswer

SANDBOX_PHONE = "5511999990000"
_CONTACT = "5549988887777"
_READY_TIMEOUT_S = 60.0
_POLL_S = 0.3
_REQUEST_TIMEOUT_S = 10.0


class Api:
    """Our own API, called with the operator's token. `has_webhook`: whether the environment names a webhook."""

    def __init__(self, port: int, *, token: str, header: str, has_webhook: bool = False) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self._port = port
        self.header = header
        self.token = token
        self.has_webhook = has_webhook

    def wait_ready(self, *, cancelled: Callable[[], bool], timeout_s: float = _READY_TIMEOUT_S) -> bool:
        """Wait until the API is ready. False after `timeout_s` seconds, or when `cancelled` returns true."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and not cancelled():
            if self._status("GET", "/health/ready") == HTTPStatus.OK:
                return True
            time.sleep(_POLL_S)
        return False

    def make_sandbox(self, session_token: str) -> int:
        """Register the simulated session. Returns the HTTP status; 0 when there was no answer.

        Without a webhook of the environment it gets the request bin, so that its events can be seen.
        """
        body: dict[str, object] = {"provider": "sandbox", "authToken": session_token, "label": "sandbox"}
        if not self.has_webhook:
            body["webhooks"] = [{"id": BIN_WEBHOOK, "urlAbsolute": BIN_URL}]
        return self._status("POST", f"/v15.0/{SANDBOX_PHONE}/register", token=self.token, body=body)

    def opens_sandbox(self, session_token: str) -> bool:
        """Whether the API accepts the session's token. It does not after Redis lost the session."""
        status = self._status("GET", f"/v15.0/{SANDBOX_PHONE}", token=session_token)
        return status not in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}

    def has_sandbox(self) -> bool:
        """Whether the number is stored, by a person or by an earlier run: it is not registered over."""
        answer = self._request("GET", "/sessions", token=self.token)
        try:
            stored = json.loads(answer.body)["data"] if answer else []
            numbers = {session.get("display_phone_number") for session in stored}
        except (ValueError, KeyError, TypeError, AttributeError):
            return False
        return SANDBOX_PHONE in numbers

    def _status(self, method: str, path: str, *, token: str = "", body: object = None) -> int:
        answer = self._request(method, path, token=token, body=body)
        return 0 if answer is None else answer.status

    def _request(self, method: str, path: str, *, token: str = "", body: object = None) -> HttpAnswer | None:
        headers = ((self.header, f"Bearer {token}"),) if token else ()
        return ask(method, self._port, path, headers=headers, body=body, timeout_s=_REQUEST_TIMEOUT_S)


def sandbox_token(api: Api, *, saved: str | None) -> tuple[str | None, str]:
    """Find the token of the sandbox session, or make the session. Returns the token, or None and why there is none."""
    if saved and api.opens_sandbox(saved):
        return saved, ""
    if api.has_sandbox():
        return None, f"{SANDBOX_PHONE} is registered already: it keeps its configuration, and you have its token"
    token = saved or secrets.token_hex(24)
    status = api.make_sandbox(token)
    if status == HTTPStatus.OK:
        return token, ""
    return None, f"the sandbox session could not be made: {f'HTTP {status}' if status else 'no answer'}"


def text(api: Api, *, flower: int | None, session_token: str | None, trouble: str) -> str:
    """The welcome, ready to be printed."""
    lines = [
        "",
        "Uno API is ready. Ctrl-C ends it.",
        f"  API            {api.address}",
        f"  console        {api.address}/console",
    ]
    if flower is not None:
        lines.append(f"  Flower         http://127.0.0.1:{flower}")
    lines.append(f"  operator token {api.token}")
    if session_token is None:
        return "\n".join([*lines, f"  {trouble}", "", ""])
    body = {"messaging_product": "whatsapp", "to": _CONTACT, "type": "text", "text": {"body": "hello"}}
    command = [
        f"curl -X POST {api.address}/v15.0/{SANDBOX_PHONE}/messages",
        f"-H {shlex.quote(f'{api.header}: Bearer {session_token}')}",
        "-H 'Content-Type: application/json'",
        f"-d {shlex.quote(json.dumps(body, separators=(',', ':')))}",
    ]
    return "\n".join(
        [
            *lines,
            f"  sandbox token  {session_token}   (session {SANDBOX_PHONE}: a simulated phone)",
            "",
            "Send a message through the sandbox:",
            f"  {' '.join(command)}",
            "Follow it, with the id that came back:",
            "  .venv/bin/unoapi trace <id>",
            "See what a webhook gets, in another terminal, before you send:",
            f"  .venv/bin/unoapi listen {SANDBOX_PHONE}",
            "",
            "",
        ]
    )
