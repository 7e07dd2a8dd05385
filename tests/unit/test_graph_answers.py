"""What a number's account at Meta answers that is no answer of Meta's: a redirect is named as the reason."""

from __future__ import annotations

import json
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast
from unittest import mock

import pytest
from celery.exceptions import Retry

from tests.support.fakes import CONTACT, PHONE, MemoryIds, MemoryMediaIndex, MemorySessions, make_send, make_session
from tests.support.raw_http_server import LOOPBACK, answer_with
from tests.support.worker import make_uno, run
from unoapi.broker.messages import history_of
from unoapi.errors import FetchFailed, MessageRejected, RequestError, SendFailed, UnoError
from unoapi.http.api_client import ApiClient, HttpAnswer
from unoapi.models.graph import GraphRequest
from unoapi.providers.cloud_api.graph_client import CloudApiGraph
from unoapi.providers.cloud_api.media import CloudApiMedia
from unoapi.providers.cloud_api.provider import CloudApiProvider
from unoapi.services.bulkhead import Bulkhead
from unoapi.services.message_parsing import parse_command, parse_message

if TYPE_CHECKING:
    from tests.support.raw_http_server import Listen
    from unoapi.bootstrap import Uno
    from unoapi.models.session import Session

TEXT = {"to": CONTACT, "type": "text", "text": {"body": "x"}}


@pytest.fixture
def session(listen: Listen) -> Session:
    elsewhere = answer_with(301, "Location: https://graph.example/v24.0/1001?access_token=secret")
    account = {"url": listen(elsewhere).url, "phoneNumberId": "1001", "token": "t" * 20}
    return make_session(provider="forwarder", webhook_forward=account)


def test_field_report_86_a_redirect_of_the_accounts_address_is_named_as_the_reason(session: Session) -> None:
    parts: dict[str, Any] = {"sessions": MemorySessions(session), "api_client": ApiClient(LOOPBACK)}
    of_messages: dict[str, Any] = {"ids": MemoryIds(), "index": MemoryMediaIndex(), "signed_urls": mock.Mock()}
    of_files: dict[str, Any] = {"downloader": mock.Mock(), "timeout_ms": 1000, "share": Bulkhead(4).taken}
    provider, media = CloudApiProvider(**parts, **of_messages), CloudApiMedia(**parts, **of_files)

    with pytest.raises(MessageRejected) as send:
        provider.send(parse_message(TEXT), phone=PHONE, message_id="wamid.1")
    with pytest.raises(RequestError) as passed:
        CloudApiGraph(api_client=ApiClient(LOOPBACK)).ask(session, GraphRequest("GET", "1001/flows"))
    with pytest.raises(FetchFailed) as file:
        media.fetch(PHONE, "123", BytesIO(), limit=1)

    said = (send.value.details, passed.value.details, f"{file.value}")
    assert all("a redirect to https://graph.example/v24.0/1001, which is not followed" in one for one in said), said
    assert (send.value.code, passed.value.code, passed.value.status) == (133010, 133010, 502)
    assert "secret" not in "".join(said)


# --- what a client reads of a message that Meta refuses to the end ---


class Answering:
    """ApiClient: Meta answers each request so."""

    def __init__(self, answer: HttpAnswer) -> None:
        self.answer = answer
        self.bodies: list[Any] = []

    def request(self, *_: Any, body: bytes, **__: Any) -> HttpAnswer:
        self.bodies.append(json.loads(body))
        return self.answer


def number_at_meta() -> Session:
    account = {"url": "http://graph.test", "phoneNumberId": "1001", "token": "t" * 20}
    return make_session(provider="forwarder", webhook_forward=account)


def provider_for(session: Session, client: Answering) -> CloudApiProvider:
    return CloudApiProvider(
        sessions=MemorySessions(session),
        ids=MemoryIds(),
        index=MemoryMediaIndex(),
        signed_urls=mock.Mock(),
        api_client=cast("ApiClient", client),
    )


def uno_at_meta(problem: Any, *, status: int = 400, retry_after_s: int | None = None) -> Uno:
    session = number_at_meta()
    answer = HttpAnswer(status, json.dumps({"error": problem}).encode(), retry_after_s=retry_after_s)
    return make_uno(session, providers={"forwarder": provider_for(session, Answering(answer))})


def failed_status(uno: Uno) -> dict[str, Any]:
    (event,) = cast("Any", uno.publisher).jobs("unoapi.outgoing")
    (status,) = json.loads(event.body)["entry"][0]["changes"][0]["value"]["statuses"]
    (error,) = status["errors"]
    return dict(error)


@pytest.mark.parametrize(
    ("problem", "code", "title", "details"),
    [
        (
            {"code": 131056, "message": "(#131056) Pair rate limit hit", "error_data": {"details": "Too many to one."}},
            131056,
            "Pair rate limit hit",
            "Too many to one.",
        ),
        ({"code": "130429", "message": "(#130429) Rate limit hit"}, 130429, "Rate limit hit", "Rate limit hit"),
        ({"code": 2, "message": "Temporary", "error_user_msg": "Try again later."}, 2, "Temporary", "Try again later."),
        ({"code": 131016, "message": "(#131016)"}, 131016, "(#131016)", "(#131016)"),
    ],
)
def test_who_was_refused_at_each_try_reads_metas_own_error(
    problem: dict[str, Any], code: int, title: str, details: str
) -> None:
    uno = uno_at_meta(problem)

    with pytest.raises(UnoError):
        run(uno, make_send(), retries=uno.retry_schedule.limit)

    error = failed_status(uno)
    assert (error["code"], error["title"], error["error_data"]["details"]) == (code, title, details)


@pytest.mark.parametrize(("status", "code"), [(429, 130429), (503, 131016), (400, 131056)])
def test_who_waited_too_long_for_the_pause_that_meta_asked_for_reads_metas_own_error(status: int, code: int) -> None:
    uno = uno_at_meta({"code": code, "message": "Later"}, status=status, retry_after_s=60)
    with pytest.raises(Retry) as pause:
        run(uno, make_send())
    buckets = [queue.name for queue in uno.topology.queues if "delayed" in queue.name]
    (waiting,) = (message for bucket in buckets if (message := cast("Any", uno.publisher).take(bucket)))
    history = history_of(waiting.headers)

    with pytest.raises(UnoError):
        run(uno, make_send(accepted_at_ms=1), history=history)

    assert cast("float", pause.value.when) >= 60
    assert failed_status(uno)["code"] == code
    assert (history.tries, history.next_replay().refusal) == (0, None)  # a pause uses up no retry


def test_an_answer_that_is_none_of_metas_is_named_by_its_status() -> None:
    uno = uno_at_meta(None, status=502)

    with pytest.raises(UnoError):
        run(uno, make_send(), retries=uno.retry_schedule.limit)

    error = failed_status(uno)
    assert (error["code"], error["error_data"]["details"]) == (131000, "Meta answered HTTP 502.")


# --- messages that Meta cannot know ---


@pytest.mark.parametrize("message_id", [f"wamid.{'0A' * 16}", "UNO.QR.1", "78f8f8f0-9c98-11f0-aa54-c714bee1dcd0"])
def test_a_mark_on_a_message_that_was_made_here_is_none_for_meta(message_id: str) -> None:
    client = Answering(HttpAnswer(200, b'{"success": true}'))
    provider = provider_for(number_at_meta(), client)

    for about in (message_id, "wamid.FROMCONTACT"):
        provider.command(parse_command({"status": "read", "message_id": about}), phone=PHONE)

    assert [body["message_id"] for body in client.bodies] == ["wamid.FROMCONTACT"]


def test_a_mark_on_a_message_that_the_number_sent_fails_in_silence() -> None:
    client = Answering(HttpAnswer(400, b'{"error": {"code": 131009, "message": "Parameter value is not valid"}}'))
    provider, ids = provider_for(number_at_meta(), client), MemoryIds()
    ids.remember(PHONE, theirs="wamid.META", ours=f"wamid.{'0A' * 16}")
    provider._ids = ids

    provider.command(parse_command({"status": "read", "message_id": f"wamid.{'0A' * 16}"}), phone=PHONE)
    with pytest.raises(MessageRejected):
        provider.command(parse_command({"status": "read", "message_id": "wamid.FROMCONTACT"}), phone=PHONE)

    assert [body["message_id"] for body in client.bodies] == ["wamid.META", "wamid.FROMCONTACT"]


@pytest.mark.parametrize(
    ("status", "code", "keeps"), [(400, 131056, True), (400, 130429, True), (429, 0, True), (500, 131000, False)]
)
def test_x1_what_meta_refuses_for_its_rate_keeps_its_place(status: int, code: int, keeps: bool) -> None:
    client = Answering(HttpAnswer(status, json.dumps({"error": {"code": code, "message": "Later"}}).encode()))

    with pytest.raises(SendFailed) as failed:
        provider_for(number_at_meta(), client).send(parse_message(TEXT), phone=PHONE, message_id="wamid.1")

    assert failed.value.keeps_place == keeps
