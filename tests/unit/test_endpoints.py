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
        ("https://CRM.example./hook", Receiver(("https", "crm.example", 443), "crm.example", "x")),
        ("http://crm.example:8080/hook", Receiver(("http", "crm.example", 8080), "crm.example", "x")),
        ("http://10.0.0.1/hook", Receiver(("http", "10.0.0.1", 80), "", "x")),
        ("http://[fe80::1%25eth0]/hook", Receiver(("http", "fe80::1%25eth0", 80), "", "x")),
        ("http://crm.example:port/hook", Receiver(None, "", "http://crm.example:port/hook")),
        ("", Receiver(("", "", 0), "", "x")),
    ],
)
def test_who_is_behind_an_address_is_its_origin_and_the_name_that_has_to_be_looked_up(
    url: str, receiver: Receiver
) -> None:
    expected = receiver if receiver.origin is None else receiver._replace(label=f"{receiver.origin}")

    assert receiver_of(url) == expected


def test_field_report_86_a_redirect_is_the_reason_and_says_where_to() -> None:
    answer = Answer(301, redirect="https://crm.example/hook")

    diagnosis, error = diagnose(answer), delivery_error(answer)

    assert "redirect" in diagnosis.hint
    assert "https://crm.example/hook" in diagnosis.hint
    assert "HTTP 301, a redirect to https://crm.example/hook" in f"{error}"
    assert error.attempt is not None
    assert "https://crm.example/hook" in error.attempt.error
