"""Each channel of alerts against a stand-in of its service's documented interface, on loopback.

Slack: incoming webhooks (docs.slack.dev). Teams: a workflow that takes an adaptive card. Google Chat: incoming webhooks
of a space. Telegram: `sendMessage` of the Bot API. E-mail: a real SMTP server.
"""

from __future__ import annotations

import email
import email.policy
import json
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.receiver import Behaviour
from unoapi.devenv.ports import free_port
from unoapi.http import alert_channels
from unoapi.http.alert_channels import AppriseChannels
from unoapi.models.alerts import AlertGroup, Digest
from unoapi.services.alerts import written

apprise = pytest.importorskip("apprise")
controller = pytest.importorskip("aiosmtpd.controller")

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from email.message import EmailMessage

    from tests.support.raw_http_server import Listen
    from tests.support.receiver import Receiver

from tests.unit.test_alerts import make_alert  # noqa: E402 (after the packages that may be missing)

FIRST = make_alert(first_error="HTTP 500 <b>", last_error="HTTP 500 <b>", message_id="wamid.1")
LAST = make_alert(first_error="HTTP 503", last_error="HTTP 503", message_id="wamid.9", at_ms=1_767_225_660_000)
DIGEST = written([AlertGroup(4, FIRST, LAST)], place="uno.example")
SAID = ("wamid.1", "wamid.9", "HTTP 503", "2026-01-01 00:00:00 UTC", "unoapi dead replay --phone 5511999990000")
TOKENS = "T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"


@pytest.fixture
def service(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    """One stand-in for all services; each plug-in finds it in the place of its own host."""
    plugins = apprise.manager_plugins.NotificationManager()
    for schema, name, path in (
        ("slack", "webhook_url", "/slack"),
        ("tgram", "notify_url", "/bot"),
        ("gchat", "notify_url", "/spaces/{workspace}/messages"),
    ):
        monkeypatch.setattr(plugins[schema], name, receiver.url(path))
    return receiver


def post(url: str, digest: Digest = DIGEST) -> Any:
    channels = AppriseChannels([url])
    (name,) = channels.names
    return channels.post(name, digest)


def sent_to(service: Receiver, path: str) -> dict[str, Any]:
    (request,) = service.requests(path)
    assert request.headers["content-type"].startswith("application/json")
    return dict(json.loads(request.body))


def test_slack_gets_a_message_of_its_incoming_webhook(service: Receiver) -> None:
    service.script(f"/slack/{TOKENS}", Behaviour(status=200))

    answer = post(f"slack://{TOKENS}/")

    message = sent_to(service, f"/slack/{TOKENS}")
    assert answer.delivered
    said = json.dumps(message)
    assert "4 deliveries were given up" in said
    assert all(part in said for part in SAID)
    assert message["attachments"][0]["footer"] == "Uno API"
    assert "http" not in said, "no picture of elsewhere"


def test_teams_gets_an_adaptive_card(listen: Listen, tls: ssl.SSLContext) -> None:
    workflow = listen(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", tls=tls)

    answer = post(f"workflow://127.0.0.1:{workflow.port}/workflow/signature?verify=no")

    (request,) = workflow.requests
    card = json.loads(request.body)["attachments"][0]
    assert answer.delivered
    assert request.target.startswith("/workflows/workflow/triggers/manual/paths/invoke?")
    assert card["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert card["content"]["type"] == "AdaptiveCard"
    assert [block["type"] for block in card["content"]["body"]] == ["TextBlock", "TextBlock"], "no picture of elsewhere"
    text = card["content"]["body"][1]["text"].replace("\\", "")  # its Markdown shows the sign behind it as it is
    assert all(part in text for part in SAID)


def test_google_chat_gets_a_text(service: Receiver) -> None:
    service.script("/spaces", Behaviour(status=200))

    answer = post("gchat://space/key/token")

    assert answer.delivered
    text = sent_to(service, "/spaces")["text"]
    assert all(part in text for part in SAID)


def test_telegram_gets_send_message_in_a_form_that_its_parser_takes(service: Receiver) -> None:
    service.script("/bot123456789:abcdefg_hijklmnop/sendMessage", Behaviour(status=200))

    answer = post("tgram://123456789:abcdefg_hijklmnop/12315544/")

    message = sent_to(service, "/bot123456789:abcdefg_hijklmnop/sendMessage")
    assert answer.delivered
    assert str(message["chat_id"]) == "12315544"
    assert len(message["text"]) <= 4096
    assert "<b>" not in message["text"].replace(f"<b>{DIGEST.title}</b>", "")
    assert all(part in message["text"] for part in SAID)


class Mailbox:
    """Takes mail, as aiosmtpd's handlers do."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, list[str], EmailMessage]] = []

    async def handle_DATA(self, _: Any, __: Any, envelope: Any) -> str:  # noqa: N802 (aiosmtpd's)
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.mails.append((envelope.mail_from, envelope.rcpt_tos, mail))
        return "250 OK"


@contextmanager
def mail_server(box: Mailbox) -> Iterator[int]:
    server = controller.Controller(box, hostname="127.0.0.1", port=free_port())
    server.start()
    try:
        yield server.port
    finally:
        server.stop()


def test_a_mailbox_gets_a_mail_that_people_can_read() -> None:
    box = Mailbox()

    with mail_server(box) as port:
        answer = post(f"mailto://127.0.0.1:{port}/?from=uno@uno.example&to=ops@uno.example&mode=insecure")

    ((sender, recipients, mail),) = box.mails
    body = mail.get_body(("html", "plain"))
    assert answer.delivered
    assert (sender, recipients) == ("uno@uno.example", ["ops@uno.example"])
    assert mail["Subject"] == DIGEST.title
    assert body is not None
    assert all(part in body.get_content() for part in SAID)


# --- what goes wrong ---


def test_a_refusal_is_told_with_its_status_and_without_the_address(
    service: Receiver, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    service.script(f"/slack/{TOKENS}", Behaviour(status=403))

    with caplog.at_level(logging.WARNING):  # ours; below it no library writes
        answer = post(f"slack://{TOKENS}/")

    assert not answer.delivered
    assert answer.summary == "HTTP 403"
    assert TOKENS not in caplog.text + "".join(capfd.readouterr()) + repr(answer)


def test_an_address_that_no_service_has_is_named_before_the_first_alert() -> None:
    channels = AppriseChannels(["nonsense://s3cret", "json://127.0.0.1", "slack://"])

    answer = channels.post("1-nonsense", DIGEST)

    assert channels.unknown() == ["1-nonsense", "3-slack"]
    assert "none that alerts can go to" in answer.summary
    assert "s3cret" not in answer.summary


def test_a_service_that_never_ends_its_answer_ends_with_the_deadline(
    service: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.script(f"/slack/{TOKENS}", Behaviour(delay_ms=3000))
    monkeypatch.setattr(alert_channels, "DEADLINE_S", 0.5)

    answer = post(f"slack://{TOKENS}/")

    assert answer.summary == "no answer within 0.5 s"
    assert answer.duration_ms < 4000


def test_a_service_that_is_away_is_no_error_of_ours() -> None:
    answer = post("json://127.0.0.1:1/")

    assert not answer.delivered
    assert answer.summary == "the service did not take it"
