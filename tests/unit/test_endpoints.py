"""An endpoint has one name, wherever it is written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.fakes import PHONE, MemoryDeliveries, WebhookRecorder, make_delivery, make_webhook
from unoapi.models.attempts import LEADS_NOWHERE, NO_TLS, NOT_HTTP, PAGE, Answer, Attempt
from unoapi.models.endpoints import Endpoint, Receiver, receiver_of
from unoapi.models.jobs import NotifyNumber
from unoapi.services.answers import delivery_error
from unoapi.services.endpoint_test import HINTS, diagnose, try_endpoint
from unoapi.services.webhooks import record_delivered
from unoapi.stores.circuit_breakers import breaker_key, failing_key
from unoapi.web.console.words import LANGUAGES, catalogue

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.models.trace import TraceEntry


def test_the_key_of_an_endpoint_is_what_stands_in_redis() -> None:
    endpoint = Endpoint(PHONE, "crm:1")

    assert endpoint.key == f"{PHONE}:crm:1"
    assert breaker_key(endpoint) == f"unoapi-breaker:{PHONE}:crm:1"
    assert failing_key(endpoint) == f"unoapi-failing:{PHONE}:crm:1"


def test_a_job_about_an_endpoint_names_it() -> None:
    notice = NotifyNumber(id="1", phone=PHONE, webhook_id="default", text="down")

    assert make_delivery().endpoint == notice.endpoint == Endpoint(PHONE, "default")


@pytest.mark.parametrize(
    ("url", "receiver"),
    [
        (
            "https://CRM.test./x",
            Receiver(("https", "crm.test", 443), "crm.test", "('https', 'crm.test', 443)"),
        ),
        (
            "http://crm.test:8080/x",
            Receiver(("http", "crm.test", 8080), "crm.test", "('http', 'crm.test', 8080)"),
        ),
        ("http://10.0.0.1/x", Receiver(("http", "10.0.0.1", 80), "", "('http', '10.0.0.1', 80)")),
        (
            "http://[fe80::1%25eth0]/x",
            Receiver(("http", "fe80::1%25eth0", 80), "", "('http', 'fe80::1%25eth0', 80)"),
        ),
        ("http://crm.test:port/x", Receiver(None, "", "http://crm.test:port/x")),
        ("", Receiver(("", "", 0), "", "('', '', 0)")),
    ],
)
def test_who_is_behind_an_address_is_its_origin_and_the_name_that_has_to_be_looked_up(
    url: str, receiver: Receiver
) -> None:
    assert receiver_of(url) == receiver


def test_field_report_86_a_redirect_is_the_reason_and_says_where_to() -> None:
    answer = Answer(301, redirect="https://crm.example/hook")

    diagnosis, error = diagnose(answer), delivery_error(answer)

    assert "redirect" in diagnosis.hint
    assert "https://crm.example/hook" in diagnosis.hint
    assert "HTTP 301, a redirect to https://crm.example/hook" in f"{error}"
    assert error.attempt is not None
    assert "https://crm.example/hook" in error.attempt.error


def test_field_report_86_a_redirect_without_an_address_is_still_the_reason() -> None:
    error = delivery_error(Answer(302))

    assert f"{error}" == f"HTTP 302, {LEADS_NOWHERE}"
    assert error.attempt is not None
    assert error.attempt.error == LEADS_NOWHERE


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (Answer(200), "fine"),
        (Answer(200, beginning=b"OK"), "fine"),
        (Answer(200, beginning=b"\xef\xbb\xbf\n<!DOCTYPE html><title>Login</title>"), "page"),
        (Answer(302, redirect="https://crm.example/hook"), "redirect"),
        (Answer(302, redirect="https://crm.example/users/login"), "login"),
        (Answer(301), "nowhere"),
        (Answer(401), "token"),
        (Answer(403, beginning=b"<html>"), "token"),
        (Answer(404), "path"),
        (Answer(405), "method"),
        (Answer(422), "body"),
        (Answer(410), "gone"),
        (Answer(429, retry_after_s=7), "busy"),
        (Answer(500), "failed"),
        (Answer(502), "proxy"),
        (Answer(525), "proxy"),
        (Answer(304), "status"),
        (Answer(error=f"{NO_TLS} (wrong version number)", failed_at="tls"), "no_tls"),
        (Answer(error="did not answer within 300 ms: no TLS handshake", failed_at="tls"), "no_tls"),
        (Answer(error="did not answer within 300 ms", failed_at="answer"), "answer"),
        (Answer(error="closed the connection without an answer", failed_at="answer"), "closed"),
        (Answer(400, beginning=b"<html><title>400 The plain HTTP request was sent to HTTPS port</title>"), "https"),
        (Answer(400, beginning=b"Client sent an HTTP request to an HTTPS server.\n"), "https"),
        (Answer(error="certificate not valid: expired", failed_at="tls"), "tls"),
        (Answer(error=NOT_HTTP, failed_at="answer"), "http"),
        (Answer(error="name not found", failed_at="name"), "name"),
    ],
)
def test_field_report_86_a_test_names_each_way_in_which_a_receiver_can_fail(answer: Answer, cause: str) -> None:
    diagnosis = diagnose(answer)

    assert diagnosis.cause == cause
    assert diagnosis.hint.startswith(HINTS[cause])
    assert all(f"diagnosis.{cause}" in catalogue(language) for language in LANGUAGES)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"message": "The workflow must be active."}', '{"message": "The workflow must be active."}'),
        (b"no access with Bearer top-secret,\n\ttop-secret\x1b[2J", "no access with ***, *** [2J"),
        (b"\xff" * 1000, "\xff" * 300),
        (b"<html><body>404</body></html>", ""),
    ],
)
@pytest.mark.parametrize("status", [404, 200])
def test_field_report_86_a_test_shows_what_a_receiver_says(status: int, body: bytes, said: str) -> None:
    assert diagnose(Answer(status, beginning=body), secret="Bearer top-secret").said == said


@pytest.mark.parametrize(
    ("secret", "body"),
    [
        ("Bearer ab/cd+ef==", rb'{"authorization":"Bearer ab\/cd+ef=="}'),
        ('Bearer ab"cd', rb'{"authorization":"Bearer ab\"cd"}'),
        ("Bearer " + "eyJ" * 500, (b'{"authorization":"Bearer ' + b"eyJ" * 500)[:1024]),
    ],
    ids=["PHP", "JSON", "longer than what is read"],
)
def test_a_receiver_that_repeats_the_token_in_its_way_does_not_show_it(secret: str, body: bytes) -> None:
    said = diagnose(Answer(200, beginning=body), secret=secret).said

    assert said.startswith('{"authorization":"')
    assert not any(part in said for part in ("ab", "cd", "eyJ"))


def test_the_event_of_a_test_has_what_receivers_insist_on_and_no_message() -> None:
    sender = WebhookRecorder(Answer(200))

    assert try_endpoint(make_webhook(id="crm"), phone=PHONE, sender=sender).delivered

    ((entry,),) = [json.loads(body)["entry"] for body in sender.bodies]
    ((field, value),) = [(change["field"], change["value"]) for change in entry["changes"]]
    assert (field, value["metadata"]) == ("account_update", {"display_phone_number": PHONE, "phone_number_id": PHONE})
    assert value.keys().isdisjoint({"messages", "statuses", "message_echoes"})


@pytest.mark.parametrize("tried", [lambda answer: answer, Answer.as_attempt], ids=["in a batch", "by its task"])
def test_a_delivery_that_a_web_page_answered_says_so_in_its_trace(tried: Callable[[Answer], Attempt | Answer]) -> None:
    steps: list[TraceEntry] = []
    deliveries = MemoryDeliveries(trace=steps.append)

    for beginning in (b"<!doctype html><title>Login</title>", b"OK"):
        answer = Answer(200, beginning=beginning)
        record_delivered(make_delivery(), tried(answer), tries=1, deliveries=deliveries)

    assert [(step.step, step.detail) for step in steps] == [("delivered", PAGE), ("delivered", "")]
