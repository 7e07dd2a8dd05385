"""What keeps the events of one conversation in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unoapi.models.jobs import DeliverWebhook, FanOut


class Order(Protocol):
    """The lines of events in front of ordered webhooks, one per webhook and conversation. Never raises.

    An event that stands in no line, or whose line cannot be asked, waits for nobody.
    """

    def join(self, events: Sequence[FanOut]) -> None:
        """Stand in line, in this order, at each ordered webhook. Who stands there already keeps the place."""

    def place(self, job: DeliverWebhook) -> int:
        """How many are before this delivery, or at it; 0: it is its turn. Who waits is kept for `leave` to find."""

    def leave(self, job: DeliverWebhook, *, take: bool) -> DeliverWebhook | None:
        """Make room. With `take`, whoever is next now and waits is the caller's to deliver."""

    def skip(self, event: FanOut, webhook_ids: Sequence[str]) -> None:
        """Make room at webhooks that do not get the event."""
