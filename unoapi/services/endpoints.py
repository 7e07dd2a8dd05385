"""The state of webhooks, as operators see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unoapi.errors import Postponed
from unoapi.models.endpoints import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.models.provenance import OperatorAddresses
    from unoapi.ports import Deliveries, Sessions


def endpoint_states(
    phone: str,
    *,
    sessions: Sessions,
    deliveries: Deliveries,
    operators: OperatorAddresses,
    refusal: Callable[[str], str],
) -> list[dict[str, Any]]:
    """A line for each webhook of a number: open, paused or down, and why its address may not be called."""
    try:
        webhooks = sessions.find(phone).webhooks
    except Postponed as error:
        return [{"phone": phone, "webhook": None, "state": "unknown", "error": f"{error}"}]
    states = deliveries.endpoints([Endpoint(phone, webhook.id) for webhook in webhooks])
    return [
        {
            "phone": phone,
            "webhook": webhook.id,
            "state": "paused" if state.paused_ms else "down" if (state.breaker or "").startswith("open") else "open",
            "paused_ms": state.paused_ms,
            "dropped_until_ms": state.dropped_until_ms or None,
            "error": "" if operators.include(address, phone=phone) else refusal(address),
        }
        for webhook, state in zip(webhooks, states, strict=True)
        for address in [webhook.address(phone)]
    ]
