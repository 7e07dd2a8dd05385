"""A simulated WhatsApp, for trying out without a phone.

Every message is sent, delivered after about a second and read after about two, unless it goes to one of the numbers in
`MAGIC_NUMBERS`, which fail in a documented way.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unoapi.errors import MessageRejected, OutcomeUnknown, SendFailed
from unoapi.models.cloud_api.events import TITLES
from unoapi.models.contacts import contact_key, is_phone
from unoapi.models.receipts import Receipt, StatusUpdate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unoapi.models.cloud_api.messages import Command, OutboundMessage

DELIVERED_AFTER_MS = 1000
READ_AFTER_MS = 2000
TIMES_TO_FAIL = 2
MAX_REMEMBERED = 10_000


@dataclass(frozen=True)
class Magic:
    """What a number does: a Cloud API error code (0: no error) and a sentence."""

    code: int
    does: str


MAGIC_NUMBERS = {
    "15550000001": Magic(131026, "is refused: the number is not on WhatsApp"),
    "15550000002": Magic(131047, "is refused: more than 24 hours since the contact's last message"),
    "15550000003": Magic(131049, "is refused: kept back by WhatsApp to protect the contact"),
    "15550000004": Magic(131051, "is refused: the message type is not supported"),
    "15550000005": Magic(0, "fails twice for a moment, then is sent"),
    "15550000006": Magic(131000, "fails for a moment every time, until it is given up"),
    "15550000007": Magic(131000, "leaves an unknown outcome: it may have left or not, and is never repeated by itself"),
    "15550000008": Magic(0, "is sent, but never delivered"),
    "15550000009": Magic(0, "is delivered, but never read"),
}
NOT_THERE = "15550000001"


class SandboxProvider:
    """Answers sends as WhatsApp would, by the number that they go to."""

    takes_user_ids = True

    def __init__(self) -> None:
        self._failures: dict[str, int] = {}
        self._lock = threading.Lock()

    def ready(self, phone: str) -> None:
        """Return: the simulated WhatsApp is always connected."""

    def address(self, phone: str) -> str:  # noqa: ARG002 (the port's)
        """No server is asked."""
        return ""

    def send(self, message: OutboundMessage, *, phone: str, message_id: str) -> Receipt:  # noqa: ARG002 (the port's)
        """Pretend to send."""
        to = message.addressee
        magic = MAGIC_NUMBERS.get(to)
        if magic is not None and magic.code in TITLES:
            raise MessageRejected(TITLES[magic.code], code=magic.code, details=f"The sandbox number {to} {magic.does}.")
        if to == "15550000007":
            raise OutcomeUnknown("the simulated connection broke while the message was on its way")
        if to == "15550000006" or (to == "15550000005" and self._fails_again(message_id)):
            raise SendFailed("the simulated WhatsApp is not reachable for a moment")
        statuses = [StatusUpdate(status="sent")]
        if to != "15550000008":
            statuses.append(StatusUpdate(status="delivered", after_ms=DELIVERED_AFTER_MS))
        if to not in ("15550000008", "15550000009"):
            statuses.append(StatusUpdate(status="read", after_ms=READ_AFTER_MS))
        return Receipt(recipient=to, statuses=tuple(statuses))

    def contacts(self, phone: str, numbers: Sequence[str]) -> list[bool]:  # noqa: ARG002 (the port's)
        """Everybody with a phone number is there, but the number that is refused for not being."""
        return [is_phone(number) and contact_key(number) != NOT_THERE for number in numbers]

    def command(self, command: Command, *, phone: str) -> None:
        """Nothing to do: nobody sees it."""

    def _fails_again(self, message_id: str) -> bool:
        with self._lock:
            if len(self._failures) >= MAX_REMEMBERED:
                self._failures.clear()
            count = self._failures.get(message_id, 0) + 1
            self._failures[message_id] = count
            return count <= TIMES_TO_FAIL
