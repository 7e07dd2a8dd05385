"""Bounds that an operator sets: messages of a session that wait, and the age of dead letters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tests.support.stack import PHONE, TOPOLOGY, eventually, stack
from unoapi.broker.dead_letters import DIED_HEADER, to_dead_letter
from unoapi.broker.publisher import ConfirmingPublisher
from unoapi.models.jobs import DeliverWebhook, Envelope

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.receiver import Receiver
    from unoapi.devenv.servers import PrivateServers

MOST = 5
OTHER = "5521977776666"


def test_a_session_over_its_backlog_is_told_to_wait_and_nobody_else_is(
    servers: PrivateServers, receiver: Receiver, tmp_path: Path
) -> None:
    with stack(servers, tmp_path, UNOAPI_SESSION_BACKLOG_MAX=f"{MOST}") as uno:
        uno.web()
        for phone in (PHONE, OTHER):
            uno.register([{"id": "main", "urlAbsolute": receiver.url(f"/{phone}")}], phone=phone)

        accepted = [uno.send(f"message {number}") for number in range(MOST)]
        refused = uno.send("one too many")
        other = uno.send("of another session", phone=OTHER)
        received = uno.contact_writes("is never refused")

        assert [answer.status_code for answer in accepted] == [200] * MOST
        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) > 0
        error = refused.json()["error"]
        assert error["code"] == 130429
        assert "UNOAPI_SESSION_BACKLOG_MAX" in error["error_data"]["details"]
        assert other.status_code == 200
        assert received

        uno.worker()
        again = eventually(lambda: (answer := uno.send("there is room again")).ok and answer, every_s=0.2)
        assert again.status_code == 200


def test_dead_letters_end_at_their_age_when_one_is_set_and_never_otherwise(
    servers: PrivateServers, tmp_path: Path
) -> None:
    def dead_letters(uno_url: str) -> None:
        publisher = ConfirmingPublisher(uno_url, TOPOLOGY)
        for name, age in (("old", timedelta(hours=2)), ("young", timedelta(minutes=1))):
            job = DeliverWebhook(
                id=name, phone=PHONE, event_id="e", webhook_id="w", kind="message", stored=True, body="{}"
            )
            dead_letter = to_dead_letter(Envelope(job), TOPOLOGY, reason="refused", error="HTTP 500")
            dead_letter.headers[DIED_HEADER] = (datetime.now(UTC) - age).isoformat(timespec="seconds")
            publisher.publish_messages([dead_letter])
        publisher.close()

    with stack(servers, tmp_path) as uno:
        uno.suspect().stop()
        dead_letters(uno.environment["AMQP_URL"])
        uno.suspect().stop()
        assert {dead_letter["id"] for dead_letter in uno.dead()} == {"old", "young"}

        uno.environment["UNOAPI_DEAD_MAX_AGE"] = "3600"
        suspect = uno.suspect()
        eventually(lambda: "dead_letters_expired" in suspect.output())
        assert {dead_letter["id"] for dead_letter in uno.dead()} == {"young"}
