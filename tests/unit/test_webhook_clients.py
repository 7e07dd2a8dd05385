"""What is posted to webhooks and to the operator's address; errors never show secrets."""

import base64
import hashlib
import hmac
import ssl
import time
from typing import Any

import pytest
from pydantic import SecretStr
from pydantic_core import Url
from standardwebhooks import Webhook as Verifier

import unoapi.models.session
from tests.support.raw_http_server import (
    ENDLESS,
    LOOPBACK,
    OK,
    PARTIAL,
    SLACK_S,
    Listen,
    Receiver,
    Reply,
    answer_with,
    close,
    connections_of,
    deliver,
    make_webhook,
    mute,
    repeat,
    reset,
    say,
    send,
)
from unoapi import __version__
from unoapi.http.callback_client import CallbackClient
from unoapi.http.webhook_client import CurlSender, WebhookClient, WebhookExchange, WebhookRequest
from unoapi.models.session import Webhook

SECRETS = "user-secret:pass-secret@"
SECRET_PATH = "/path-secret?key=query-secret#fragment-secret"


def webhook_of(**fields: Any) -> Webhook:
    """A webhook by the names of Python, which stored and posted configurations cannot use."""
    return Webhook.model_validate(fields, by_name=True, by_alias=True)


class TestErrorsShowNoSecrets:
    @pytest.mark.parametrize(
        "reply",
        [
            close,
            reset,
            mute,
            say(b"query-secret\r\n", then=close),
            say(b"HTTP/1.1 103 Hints\r\n", then=repeat(b"X: query-secret\r\n")),
        ],
    )
    def test_whatever_the_receiver_does(self, listen: Listen, sender: CurlSender, reply: Reply) -> None:
        url = listen(reply).url.replace("://", f"://{SECRETS}") + SECRET_PATH
        headers = (("Authorization", "token-secret"),)

        webhook = send(sender, url, headers=headers, body=b"body-secret", timeout_ms=200)
        callback = CallbackClient(timeout_ms=200).post(url, "body-secret")

        assert webhook.error
        assert callback.error
        assert "secret" not in webhook.error + callback.error

    @pytest.mark.parametrize(
        "url",
        [
            "http://user-secret:pass-secret@127.0.0.1:{port}",
            "http://user-secret:pass-secret@nonexistent.invalid",
            "http://user-secret:pass-secret@[::bad",
            "http://user-secret:pass-secret@127.0.0.1:99999",
            "gopher-secret://user-secret:pass-secret@127.0.0.1",
            "user-secret:pass-secret@\n",
        ],
    )
    def test_whatever_the_address_is(self, sender: CurlSender, closed_port: int, url: str) -> None:
        url = url.format(port=closed_port) + SECRET_PATH

        webhook = send(sender, url, headers=(("Authorization", "token-secret"),))
        callback = CallbackClient().post(url, "body-secret")

        assert webhook.error
        assert callback.error
        assert "secret" not in webhook.error + callback.error

    @pytest.mark.usefixtures("no_certificates_named")
    def test_whatever_the_certificate_is(self, listen: Listen, tls: ssl.SSLContext) -> None:
        url = listen(OK, tls=tls).url.replace("://", f"://{SECRETS}") + SECRET_PATH

        webhook, callback = send(CurlSender(LOOPBACK), url), CallbackClient().post(url, "{}")

        assert "certificate" in webhook.error
        assert "certificate" in callback.error
        assert "secret" not in webhook.error + callback.error

    def test_a_request_shows_its_tenant_and_its_deadline_only(self) -> None:
        request = WebhookRequest("http://secret/", b"secret", (("X", "secret"),), tenant="5511", timeout_ms=7)

        assert repr(request) == "WebhookRequest(tenant='5511', timeout_ms=7)"


class TestWebhookClient:
    def test_a_delivery_arrives_with_its_headers_and_its_exact_body(self, listen: Listen) -> None:
        receiver, body = listen(OK), '{"text":"ol\\u00e1",  "n": 1}\n'

        answer = deliver(make_webhook(receiver.url + "/hook/", token="Bearer t"), attempt=3, body=body)

        [request] = receiver.requests
        assert answer.delivered
        assert (request.target, request.body) == ("/hook/5511", body.encode())
        assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 5
        assert request.headers | {"webhook-timestamp": "now"} == {
            "host": receiver.url.removeprefix("http://"),
            "accept": "*/*",
            "content-type": "application/json; charset=utf-8",
            "user-agent": f"unoapi/{__version__}",
            "webhook-id": "d-1",
            "webhook-timestamp": "now",
            "webhook-attempt": "3",
            "authorization": "Bearer t",
            "content-length": str(len(body)),
        }

    def test_the_signatures_are_right_for_the_bytes_that_arrive(self, listen: Listen) -> None:
        receiver, key = listen(OK), bytes(range(24))
        secret = "whsec_" + base64.b64encode(key).decode()

        deliver(make_webhook(receiver.url, secret=secret), body='{"n":  1}')

        [request] = receiver.requests
        digest = hmac.new(secret.encode(), request.body, hashlib.sha256).hexdigest()
        assert Verifier(secret).verify(request.body, request.headers) == {"n": 1}
        assert request.headers["x-hub-signature-256"] == f"sha256={digest}"

    @pytest.mark.parametrize("name", ["WEBHOOK-SIGNATURE", "x-hub-signature-256", "content-Type", "HOST", "Webhook-Id"])
    def test_the_own_header_does_not_override_ours_on_the_wire(self, listen: Listen, name: str) -> None:
        receiver = listen(OK)
        webhook = webhook_of(
            url=Url(receiver.url), header=name, token=SecretStr("forged"), secret=SecretStr("s"), timeout_ms=5000
        )

        deliver(webhook)

        [request] = receiver.requests
        assert request.headers[name.lower()]
        assert "forged" not in request.head

    @pytest.mark.parametrize(
        ("path", "absolute", "target"),
        [
            ("/hook", None, "/hook/5511"),
            ("/hook/", None, "/hook/5511"),
            ("", None, "/5511"),
            ("/hook", "/exactly?here=1", "/exactly?here=1"),
            (None, "/exactly/", "/exactly/"),
        ],
    )
    def test_the_phone_is_appended_except_to_an_absolute_address(
        self, listen: Listen, path: str | None, absolute: str | None, target: str
    ) -> None:
        receiver = listen(OK)
        webhook = webhook_of(
            url=None if path is None else Url(receiver.url + path),
            url_absolute=None if absolute is None else Url(receiver.url + absolute),
        )

        deliver(webhook)

        assert [request.target for request in receiver.requests] == [target]

    def test_the_phone_is_the_tenant_of_the_connection(self, listen: Listen) -> None:
        receiver, client = listen(OK), WebhookClient(LOOPBACK)
        webhook = webhook_of(url_absolute=Url(receiver.url + "/same"))

        for phone in ("5511", "5511", "5522"):
            client.post(webhook, phone=phone, delivery_id="d-1", attempt=1, body="{}")

        assert connections_of(receiver) == [1, 1, 2]

    def test_the_timeout_of_the_webhook_is_the_deadline(self, listen: Listen) -> None:
        answer = deliver(make_webhook(listen(mute).url, timeout_ms=200))

        assert answer.error == "did not answer within 200 ms"

    @pytest.mark.parametrize(
        ("timeout_ms", "deadline_ms"), [(1, 1), (60_000, 60_000), (60_001, 60_000), (10**9, 60_000)]
    )
    def test_the_deadline_is_at_most_a_minute(self, timeout_ms: int, deadline_ms: int) -> None:
        assert make_webhook("http://a", timeout_ms=timeout_ms).deadline_ms == deadline_ms

    def test_the_bound_of_the_deadline_holds_on_the_wire(self, listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(unoapi.models.session, "MAX_TIMEOUT_MS", 200)

        answer = deliver(make_webhook(listen(mute).url, timeout_ms=5000))

        assert answer.error == "did not answer within 200 ms"


class TestCallbackPoster:
    def test_the_exact_body_arrives(self, listen: Listen) -> None:
        receiver = listen(OK)

        answer = CallbackClient().post(receiver.url + "/failed?a=b", '{"text":"olá",  "n": 1}\n')

        [request] = receiver.requests
        assert (answer.status, answer.error, answer.delivered) == (200, "", True)
        assert request.head.startswith("POST /failed?a=b HTTP/1.1\r\n")
        assert request.body == '{"text":"olá",  "n": 1}\n'.encode()
        assert request.headers["content-type"] == "application/json; charset=utf-8"
        assert request.headers["user-agent"] == f"unoapi/{__version__}"

    @pytest.mark.parametrize("status", [200, 204, 299, 302, 307, 404, 500, 503])
    def test_the_status_is_the_answer_and_no_redirect_is_followed(self, listen: Listen, status: int) -> None:
        other = listen(OK)
        receiver = listen(answer_with(status, f"Location: {other.url}/", "Retry-After: 9"))

        answer = CallbackClient().post(receiver.url, "{}")

        assert (answer.status, answer.error, answer.delivered) == (status, "", status < 300)
        assert (answer.retry_after_s, other.connections) == (9, 0)

    @pytest.mark.parametrize(
        ("reply", "error"),
        [
            pytest.param(mute, "did not answer within 200 ms", id="mute"),
            pytest.param(
                say(b"HTTP/1.1 100 Continue\r\n", then=repeat(b"X: a\r\n", pause_s=0.05)),
                "did not answer within 200 ms",
                id="headers, one after the other",
            ),
            pytest.param(close, "closed the connection without an answer", id="closed"),
            pytest.param(reset, "connection lost before the answer was complete", id="reset"),
            pytest.param(say(b"SSH-2.0-OpenSSH_9.2\r\n", then=close), "did not answer in HTTP", id="SSH"),
        ],
    )
    def test_what_is_no_answer_has_no_status(self, listen: Listen, reply: Reply, error: str) -> None:
        start = time.monotonic()

        answer = CallbackClient(timeout_ms=200).post(listen(reply).url, "{}")

        assert (answer.status, answer.error, answer.delivered) == (None, error, False)
        assert time.monotonic() - start < 0.2 + SLACK_S

    @pytest.mark.parametrize(
        "reply",
        [
            pytest.param(say(ENDLESS, then=repeat(bytes(65536))), id="endless"),
            pytest.param(answer_with(200, body=bytes(10_000_000)), id="10 MB"),
            pytest.param(say(ENDLESS, then=mute), id="mute"),
            pytest.param(say(ENDLESS, then=repeat(b".", pause_s=0.05)), id="drop by drop"),
            pytest.param(say(b"HTTP/1.1 200 OK\r\n", then=repeat(b"X: a\r\n", pause_s=0.05)), id="headers alone"),
            pytest.param(say(PARTIAL, then=reset), id="reset"),
        ],
    )
    def test_a_body_that_is_long_slow_or_broken_counts_as_delivered(self, listen: Listen, reply: Reply) -> None:
        receiver = listen(reply)

        answer = CallbackClient(timeout_ms=300).post(receiver.url, "{}")

        assert (answer.status, answer.error, answer.delivered) == (200, "", True)
        assert answer.duration_ms < 300 + 100 + SLACK_S * 1000
        assert receiver.client_left.wait(2)

    @pytest.mark.parametrize(
        ("url", "error"),
        [
            ("http://127.0.0.1:{port}", "connection refused"),
            ("http://nonexistent.invalid:{port}", "name not found"),
            ("http://", "the address is not valid"),
            ("nonsense", "the address is not valid"),
        ],
    )
    def test_an_address_where_nobody_is(self, closed_port: int, url: str, error: str) -> None:
        answer = CallbackClient().post(url.format(port=closed_port), "{}")

        assert (answer.status, answer.error) == (None, error)

    def test_proxies_in_the_environment_are_ignored(self, listen: Listen, proxy: Receiver) -> None:
        receiver = listen(OK)

        answer = CallbackClient().post(receiver.url, "{}")

        assert answer.delivered
        assert (len(receiver.requests), proxy.connections) == (1, 0)

    @pytest.mark.usefixtures("trusted")
    def test_the_authority_in_ssl_cert_file_is_trusted(self, listen: Listen, tls: ssl.SSLContext) -> None:
        answer = CallbackClient().post(listen(OK, tls=tls).url, "{}")

        assert (answer.status, answer.error) == (200, "")

    @pytest.mark.usefixtures("no_certificates_named")
    def test_another_authority_is_not_trusted(self, listen: Listen, tls: ssl.SSLContext) -> None:
        receiver = listen(OK, tls=tls)

        answer = CallbackClient().post(receiver.url, "{}")

        assert answer.status is None
        assert answer.error.startswith("certificate not valid: ")
        assert receiver.requests == []


def test_a_handle_that_may_still_look_a_name_up_is_no_other_tenants(
    listen: Listen, exchanges_made: list[WebhookExchange]
) -> None:
    """While a name server is silent, libcurl looks up nothing else for the handle."""
    sender, url = CurlSender(LOOPBACK), listen(OK).url

    def post(url: str, tenant: str) -> str:
        request = WebhookRequest(url=url, body=b"{}", headers=(), tenant=tenant, timeout_ms=5000)
        return sender.post(request).failed_at

    assert [post("http://nonexistent.invalid/", "5511"), post(url, "5522")] == ["name", ""]
    assert len(exchanges_made) == 2
    assert post("http://nonexistent.invalid/", "5511") == "name"
    assert len(exchanges_made) == 2
