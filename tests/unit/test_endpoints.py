"""An endpoint has one name, wherever it is written."""

from __future__ import annotations

import pytest

from tests.support.fakes import PHONE, make_delivery
from unoapi.models.attempts import Answer
from unoapi.models.endpoints import Endpoint, Receiver, receiver_of
from unoapi.models.jobs import NotifyNumber
from unoapi.services.answers import delivery_error
from unoapi.services.endpoint_test import diagnose
from unoapi.stores.circuit_breakers import breaker_key, failing_key


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
