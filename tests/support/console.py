"""A browser's part of the console, without a browser: its cookie, and the token of its forms."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tests.support.api import URL, MemoryApi

if TYPE_CHECKING:
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse


class Browser:
    """Somebody at the console: logged in with a token, or nobody yet."""

    def __init__(self, api: MemoryApi, token: str | None = None, *, language: str = "en") -> None:
        self.client: FlaskClient = api.app.test_client()
        self.language = language
        if token is not None:
            answer = self.log_in(token)
            assert answer.status_code == 303, answer.text

    def log_in(self, token: str, **fields: str) -> TestResponse:
        return self.post("/console/login", {"token": token, **fields}, form_of="/console/login")

    def get(self, path: str, **headers: str) -> TestResponse:
        return self.client.get(path, base_url=URL, headers={"Accept-Language": self.language, **headers})

    def page(self, path: str) -> str:
        """A page that is there."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def post(self, path: str, fields: dict[str, Any] | None = None, *, form_of: str = "/console/login") -> TestResponse:
        """Send a form, with the token of the login that a page shows."""
        return self.post_as(path, {"csrf_token": self.csrf_token(form_of), **(fields or {})})

    def post_as(self, path: str, fields: dict[str, Any], **headers: str) -> TestResponse:
        """Send exactly these fields."""
        return self.client.post(path, base_url=URL, data=fields, headers={"Accept-Language": self.language, **headers})

    def csrf_token(self, path: str) -> str:
        answer = self.get(path)
        if answer.status_code == 303:
            answer = self.get("/console/nowhere")  # logged in: any page has it
        found = re.search(r'name="csrf_token" value="([0-9a-f]+)"', answer.text)
        assert found, answer.text
        return found[1]
