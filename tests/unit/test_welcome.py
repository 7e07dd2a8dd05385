"""The session of `make run`: made on the first run, and never over one that is stored."""

from __future__ import annotations

import json
from typing import Any

import pytest

from unoapi.devenv.welcome import SANDBOX_PHONE, Api, sandbox_token
from unoapi.http.api_client import HttpAnswer
from unoapi.models.request_bin import BIN_URL, BIN_WEBHOOK


class ScriptedApi(Api):
    """Answers as an API whose stored numbers and accepted tokens are these."""

    def __init__(self, *stored: str, tokens: tuple[str, ...] = (), numbers: str | None = None) -> None:
        super().__init__(1, token="operator", header="Authorization")
        self._numbers = numbers or json.dumps({"data": [{"display_phone_number": phone} for phone in stored]})
        self._tokens = tokens
        self.registered: list[Any] = []

    def _request(self, method: str, path: str, *, token: str = "", body: object = None) -> HttpAnswer | None:
        if path == "/sessions":
            return HttpAnswer(200, self._numbers.encode())
        if method == "POST":
            self.registered.append(body)
        elif token not in self._tokens:
            return HttpAnswer(401, b"")
        return HttpAnswer(200, b"")


def test_the_first_run_makes_the_session() -> None:
    api = ScriptedApi()

    token, trouble = sandbox_token(api, saved=None)

    assert (trouble, [body["authToken"] for body in api.registered]) == ("", [token])


@pytest.mark.parametrize("has_webhook", [False, True])
def test_its_events_can_be_seen_where_the_environment_names_no_webhook(has_webhook: bool) -> None:
    api = ScriptedApi()
    api.has_webhook = has_webhook

    sandbox_token(api, saved=None)

    (body,) = api.registered
    expected = None if has_webhook else [{"id": BIN_WEBHOOK, "urlAbsolute": BIN_URL}]
    assert body.get("webhooks") == expected


def test_the_session_of_an_earlier_run_is_used_again() -> None:
    api = ScriptedApi(SANDBOX_PHONE, tokens=("saved",))

    assert sandbox_token(api, saved="saved") == ("saved", "")
    assert api.registered == []


def test_a_number_that_somebody_registered_is_left_as_it_is() -> None:
    api = ScriptedApi(SANDBOX_PHONE)

    token, trouble = sandbox_token(api, saved=None)

    assert (token, api.registered) == (None, [])
    assert f"{SANDBOX_PHONE} is registered already" in trouble


@pytest.mark.parametrize("numbers", ["no JSON", "[]", '{"data": [1]}', '{"other": []}'])
def test_an_answer_that_is_not_ours_is_no_reason_to_stop(numbers: str) -> None:
    api = ScriptedApi(numbers=numbers)

    token, _ = sandbox_token(api, saved="lost with Redis")

    assert token == "lost with Redis"
    assert len(api.registered) == 1
