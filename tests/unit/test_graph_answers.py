"""What a number's account at Meta answers that is no answer of Meta's: a redirect is named as the reason."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from tests.support.fakes import CONTACT, PHONE, MemoryIds, MemoryMediaIndex, MemorySessions, make_session
from tests.support.raw_http_server import LOOPBACK, answer_with
from unoapi.errors import FetchFailed, MessageRejected, RequestError
from unoapi.http.api_client import ApiClient
from unoapi.models.graph import GraphRequest
from unoapi.providers.cloud_api.graph_client import CloudApiGraph
from unoapi.providers.cloud_api.media import CloudApiMedia
from unoapi.providers.cloud_api.provider import CloudApiProvider
from unoapi.services.bulkhead import Bulkhead
from unoapi.services.message_parsing import parse_message

if TYPE_CHECKING:
    from tests.support.raw_http_server import Listen
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
