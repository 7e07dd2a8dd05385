"""What is known of a message that is new, before anything is done: read for many at once, so that each asks nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unoapi.models.endpoints import DeliveryState
    from unoapi.models.session import Session


@dataclass(frozen=True, slots=True)
class FirstLook:
    """The answers of the stores to what one event, or delivery, with a single webhook asks. It stands in for them.

    `state` is that of the delivery, `admitted` whether a status goes forward, `blocked` whether the contact is.
    """

    session: Session
    state: DeliveryState
    admitted: bool = True
    blocked: bool = False

    def find(self, phone: str) -> Session:  # noqa: ARG002 (as SessionStore has it)
        """The session."""
        return self.session

    def resolve(self, phone: str, *, stored: bool) -> Session:  # noqa: ARG002
        """The session."""
        return self.session

    def refresh(self, phone: str) -> None:
        """Keep what was read."""

    def admit(
        self,
        phone: str,  # noqa: ARG002
        message_id: str,  # noqa: ARG002
        *,
        status: str,  # noqa: ARG002
        event_id: str,  # noqa: ARG002
        member: str = "",  # noqa: ARG002
    ) -> bool:
        """Whether the status may be published."""
        return self.admitted

    def blocking(self, phone: str, webhook_ids: Sequence[str], contacts: Sequence[str]) -> set[str]:  # noqa: ARG002
        """The webhook, if it gets no events of the contact."""
        return set(webhook_ids) if self.blocked else set()
