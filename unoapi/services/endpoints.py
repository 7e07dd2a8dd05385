"""The state of webhooks, as operators see it."""

from __future__ import annotations

from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from unoapi.errors import BrokerUnavailable, Postponed
from unoapi.models.endpoints import Endpoint
from unoapi.models.session import Webhook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from unoapi.models.endpoints import DeliveryState
    from unoapi.models.provenance import OperatorAddresses
    from unoapi.models.session import Session
    from unoapi.ports import ActivityCounts, Breakers, Deliveries, HoldingQueues, SessionStore

NONE_LOADED: Mapping[str, Session] = MappingProxyType({})
AT_ONCE = 500


def endpoint_states(  # noqa: PLR0913 (what is known of them, and by whom)
    phones: Sequence[str],
    *,
    sessions: SessionStore,
    deliveries: Deliveries,
    breakers: Breakers,
    activity: ActivityCounts,
    operators: OperatorAddresses,
    refusal: Callable[[str], str],
    loaded: Mapping[str, Session] = NONE_LOADED,
) -> list[dict[str, Any]]:
    """A line for each webhook of the numbers: open, paused or down, since when, and why its address may not be called.

    `loaded` are sessions that the caller has. Raises StoreUnavailable.
    """
    lines, webhooks = list[dict[str, Any]](), list[tuple[Endpoint, Webhook]]()
    for phone in phones:
        try:
            session = loaded.get(phone) or sessions.find(phone)
        except Postponed as error:
            lines.append({"phone": phone, "webhook": None, "state": "unknown", "error": f"{error}"})
        else:
            webhooks += [(Endpoint(phone, webhook.id), webhook) for webhook in session.webhooks]
    endpoints = [endpoint for endpoint, _ in webhooks]
    known = zip(webhooks, deliveries.endpoints(endpoints), activity.last_errors(endpoints), strict=True)
    for (endpoint, webhook), state, last in known:
        address = webhook.address(endpoint.phone)
        lines.append(
            {
                "phone": endpoint.phone,
                "webhook": webhook.id,
                "state": _word(state),
                "paused_ms": state.paused_ms,
                "dropped_until_ms": state.dropped_until_ms or None,
                "since": _down_since(state.breaker),
                "next_probe_ms": breakers.next_probe_ms(state.breaker),
                "last_error": last.as_json() if last else None,
                "error": "" if operators.include(address, phone=endpoint.phone) else refusal(address),
            }
        )
    return lines


def in_state(
    word: str, endpoints: Sequence[Endpoint], *, deliveries: Deliveries, breakers: Breakers
) -> Iterator[Endpoint]:
    """Those of the endpoints that are open, paused or down, in their order; of many only what is taken is read.

    Raises StoreUnavailable.
    """
    if word == "down":
        endpoints = breakers.went_down(endpoints)
    elif word == "paused":
        endpoints = deliveries.paused(endpoints)
    for start in range(0, len(endpoints), AT_ONCE):
        part = endpoints[start : start + AT_ONCE]
        states = deliveries.endpoints(part)
        yield from (endpoint for endpoint, state in zip(part, states, strict=True) if _word(state) == word)


def _word(state: DeliveryState) -> str:
    return "paused" if state.paused_ms else "down" if (state.breaker or "").startswith("open") else "open"


def waiting(endpoint: Endpoint, *, deliveries: Deliveries, queues: HoldingQueues) -> int | None:
    """How many deliveries wait in the endpoint's own queue; none when RabbitMQ cannot say. Raises StoreUnavailable."""
    holding = deliveries.holding(endpoint)
    if holding is None or not holding.ready:
        return 0
    try:
        return queues.count(endpoint, holding.token)
    except BrokerUnavailable:
        return None


def _down_since(breaker: str | None) -> str | None:
    """When the outage of an endpoint that is down began, as ISO time."""
    kind, *words = (breaker or "").split(" ")
    return datetime.fromtimestamp(int(words[0]) / 1000, UTC).isoformat() if kind == "open" and words else None
