"""Ordered conversations: whoever came first goes first, and who is done hands over to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fakes import CONTACT, MemoryOrdering, make_delivery, make_fan_out
from unoapi.models.jobs import delivery_id
from unoapi.stores.ordering import RedisOrdering

if TYPE_CHECKING:
    from unoapi.models.jobs import DeliverWebhook, FanOut
    from unoapi.ports import Ordering


@pytest.fixture(params=["memory", "redis"])
def ordering(request: pytest.FixtureRequest) -> Ordering:
    return MemoryOrdering() if request.param == "memory" else RedisOrdering(request.getfixturevalue("redis_client"))


def event(number: int, *, contact: str = CONTACT) -> FanOut:
    return make_fan_out(id=f"e-{number}", ordered=["default"], contact=contact)


def delivery(number: int, *, contact: str = CONTACT) -> DeliverWebhook:
    return make_delivery(
        id=delivery_id(f"e-{number}", "default"), event_id=f"e-{number}", contact=contact, accepted_at_ms=1
    )


def test_events_of_a_conversation_stand_as_they_came(ordering: Ordering) -> None:
    ordering.join([event(1), event(2)])
    ordering.join([event(3)])

    assert [ordering.position(delivery(number)) for number in (1, 2, 3)] == [0, 1, 2]


def test_who_joins_twice_keeps_the_first_place(ordering: Ordering) -> None:
    ordering.join([event(1), event(2)])
    ordering.join([event(1)])

    assert [ordering.position(delivery(number)) for number in (1, 2)] == [0, 1]


def test_another_conversation_waits_for_nobody(ordering: Ordering) -> None:
    ordering.join([event(1), event(2, contact="5521977776666")])

    assert ordering.position(delivery(2, contact="5521977776666")) == 0


def test_what_never_joined_waits_for_nobody(ordering: Ordering) -> None:
    ordering.join([event(1)])

    assert ordering.position(delivery(9)) == 0


def test_who_is_done_gets_the_next_that_waits(ordering: Ordering) -> None:
    ordering.join([event(1), event(2), event(3)])
    ordering.position(delivery(2))

    assert ordering.leave(delivery(1), take=True) == delivery(2)
    assert ordering.position(delivery(2)) == 1, "its own message waits while another makes its attempt"
    assert ordering.leave(delivery(2), take=True) is None, "the third does not wait yet"
    assert ordering.position(delivery(3)) == 0


def test_who_has_no_time_leaves_the_next_to_its_own_message(ordering: Ordering) -> None:
    ordering.join([event(1), event(2)])
    ordering.position(delivery(2))

    assert ordering.leave(delivery(1), take=False) is None
    assert ordering.position(delivery(2)) == 0


def test_who_was_taken_for_nothing_goes_when_its_own_message_comes(ordering: Ordering) -> None:
    ordering.join([event(1), event(2), event(3)])
    ordering.position(delivery(2))
    ordering.leave(delivery(1), take=True)

    ordering.give_back(delivery(2))

    assert [ordering.position(delivery(number)) for number in (2, 3)] == [0, 1]


def test_an_event_that_a_webhook_does_not_get_makes_room(ordering: Ordering) -> None:
    ordering.join([event(1), event(2)])

    ordering.skip([(event(1), "default")])

    assert ordering.position(delivery(2)) == 0


def test_events_of_several_numbers_make_room_together(ordering: Ordering) -> None:
    others = [event(number).model_copy(update={"phone": "5521977776666"}) for number in (1, 2)]
    ordering.join([event(1), event(2)])
    ordering.join(others)

    ordering.skip([(event(1), "default"), (others[0], "default")])

    assert ordering.position(delivery(2)) == 0
    assert ordering.position(delivery(2).model_copy(update={"phone": "5521977776666"})) == 0
