"""Which looks at holding queues need not wait for their time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.fakes import PHONE
from unoapi.models.jobs import ReleaseEndpoint
from unoapi.services.next_looks import BACK_S, NextLooks

if TYPE_CHECKING:
    from unoapi.models.endpoints import Origin

CRM, OTHER = ("https", "crm.example", 443), ("https", "other.example", 443)


class Clock:
    """The time that the test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def add(
    looks: NextLooks,
    number: int,
    receiver: Origin | None = None,
    *,
    failed: bool = False,
    since_s: float = 0.0,
    until_s: float = 16.0,
) -> ReleaseEndpoint:
    job = ReleaseEndpoint(id="r", phone=PHONE, webhook_id=f"{number}", token=f"{number:012x}", made=True)
    looks.add(job, receiver=receiver, failed=failed, since_s=since_s, until_s=until_s)
    return job


def taken(looks: NextLooks) -> list[ReleaseEndpoint]:
    """All that may be made now, until there is none."""
    jobs = []
    while job := looks.take():
        jobs.append(job)
    assert not looks.are_due
    return jobs


def test_those_for_which_no_place_was_free_are_made_in_their_order() -> None:
    looks = NextLooks()
    first, second = add(looks, 1), add(looks, 2)

    assert looks.are_due
    assert taken(looks) == [first, second]


def test_an_endpoint_that_is_up_stands_before_all_that_may_be() -> None:
    looks = NextLooks()
    probe, release = add(looks, 1, CRM), add(looks, 2)
    looks.note_return(CRM)

    assert taken(looks) == [release, probe]


def test_those_at_a_receiver_that_is_down_are_made_when_one_of_its_endpoints_is_back_and_no_others() -> None:
    looks = NextLooks()
    jobs = [add(looks, number, CRM) for number in range(3)]
    other = add(looks, 9, OTHER)
    assert taken(looks) == []

    looks.note_return(CRM)

    assert taken(looks) == jobs
    looks.note_return(OTHER)
    assert taken(looks) == [other]


def test_who_was_not_asked_after_the_return_of_its_receiver_follows_too_and_who_has_failed_does_not(
    clock: Clock,
) -> None:
    looks = NextLooks()
    looks.note_return(CRM)
    add(looks, 1, CRM, failed=True)
    job = add(looks, 2, CRM)

    assert taken(looks) == [job]
    clock.now += BACK_S
    add(looks, 3, CRM, until_s=60.0)
    assert taken(looks) == []


def test_the_return_of_a_receiver_does_not_shorten_the_pause_between_probes(clock: Clock) -> None:
    looks = NextLooks()
    job = add(looks, 1, CRM, since_s=5.0)

    looks.note_return(CRM)

    assert taken(looks) == []
    clock.now += 5.0
    assert taken(looks) == [job]


def test_one_whose_message_has_come_is_not_made_again(clock: Clock) -> None:
    looks = NextLooks()
    add(looks, 1, until_s=16.0)

    clock.now += 16.0

    assert taken(looks) == []


def test_only_the_last_look_at_a_queue_counts() -> None:
    looks = NextLooks()
    add(looks, 1)
    second = add(looks, 2)
    again = add(looks, 1, CRM)

    assert taken(looks) == [second]
    looks.note_return(CRM)
    assert taken(looks) == [again]
