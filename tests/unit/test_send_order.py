"""The turns of messages to one contact, in one process."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.support.fakes import CONTACT, PHONE, MemorySendOrder
from unoapi.errors import Postponed, SendFailed
from unoapi.models.jobs import SendMessage
from unoapi.services import send_order
from unoapi.services.send_order import SendTurns

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.models.jobs import MessageJob


def job(name: str, contact: str = CONTACT) -> SendMessage:
    return SendMessage(id=name, phone=PHONE, message_id=name, body="{}", contact=contact)


def accepted(order: MemorySendOrder, *names: str, contact: str = CONTACT) -> list[SendMessage]:
    jobs = [job(name, contact) for name in names]
    for number, one in enumerate(jobs):
        order.join(one, accepted_at_us=time.time_ns() // 1000 + number, prepared=False)
    return jobs


def sending(turns: SendTurns, left: list[str], *, takes_s: float = 0.02) -> Callable[[SendMessage], str]:
    def send(one: SendMessage) -> str:
        try:
            with turns.turn(one):
                time.sleep(takes_s)
                left.append(one.id)
        except Postponed:
            return "postponed"
        return "sent"

    return send


def test_x1_messages_to_a_contact_leave_in_their_order_whichever_thread_is_first() -> None:
    order = MemorySendOrder()
    left: list[str] = []
    jobs = accepted(order, "1", "2", "3", "4")
    send = sending(SendTurns(order, threads=50), left)

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(send, jobs[0])
        others = [pool.submit(send, one) for one in reversed(jobs[1:])]
        outcomes = [first.result(), *(one.result() for one in others)]

    assert outcomes == ["sent"] * 4
    assert left == ["1", "2", "3", "4"]


def test_x1_a_message_whose_predecessor_is_elsewhere_comes_back_and_keeps_its_place() -> None:
    order = MemorySendOrder()
    left: list[str] = []
    first, second = accepted(order, "1", "2")
    send = sending(SendTurns(order, threads=50), left)

    assert send(second) == "postponed"
    assert order.waiting == {"2"}
    assert [send(first), send(second)] == ["sent", "sent"]
    assert left == ["1", "2"]


def test_x1_a_message_that_overtook_another_one_waits_until_that_has_come() -> None:
    """Two requests at once: the second was accepted later, and stands before the first in the queue. Each that came
    back after a second had all those behind it come back as well.
    """
    order = MemorySendOrder()
    left: list[str] = []
    jobs = accepted(order, "1", "2")
    send = sending(SendTurns(order, threads=50), left)

    with ThreadPoolExecutor(2) as pool:
        second = pool.submit(send, jobs[1])
        time.sleep(0.3)
        first = pool.submit(send, jobs[0])

    assert [first.result(), second.result()] == ["sent", "sent"]
    assert left == ["1", "2"]


def test_x1_what_stands_behind_a_message_that_was_put_back_holds_no_thread() -> None:
    order = MemorySendOrder()
    first, second, third = accepted(order, "1", "2", "3")
    turns = SendTurns(order, threads=50)
    send = sending(turns, [])
    with pytest.raises(Postponed), turns.turn(first):
        raise Postponed("no connector", after_ms=5000)

    began = time.monotonic()
    assert [send(second), send(third)] == ["postponed", "postponed"]
    assert time.monotonic() - began < send_order.LITTLE_PATIENCE_S


def test_x1_a_slow_conversation_holds_up_no_other_one_and_few_threads() -> None:
    order = MemorySendOrder()
    left: list[str] = []
    slow = accepted(order, *(f"slow {number}" for number in range(20)))
    (other,) = accepted(order, "other", contact="5511900000001")
    turns = SendTurns(order, threads=20)
    send = sending(turns, left, takes_s=0.4)

    with ThreadPoolExecutor(20) as pool:
        began = time.monotonic()
        running = [pool.submit(send, slow[0])]
        time.sleep(0.05)
        running += [pool.submit(send, one) for one in slow[1:19]]
        time.sleep(0.05)
        assert sending(turns, left, takes_s=0)(other) == "sent"
        assert time.monotonic() - began < 0.4
        outcomes = [one.result() for one in running]

    assert outcomes.count("postponed") >= 19 - 1 - send_order.MAX_WAITING_OF_ONE
    assert [name for name in left if name.startswith("slow")] == [f"slow {n}" for n in range(outcomes.count("sent"))]


@pytest.mark.parametrize("error", [SendFailed("not now"), ValueError("a bug")], ids=["retried", "bug"])
def test_x1_a_message_that_is_tried_again_lets_the_others_go(error: Exception) -> None:
    order = MemorySendOrder()
    left: list[str] = []
    first, second = accepted(order, "1", "2")
    turns = SendTurns(order, threads=50)

    with pytest.raises(type(error)), turns.turn(first):
        raise error

    assert sending(turns, left)(second) == "sent"


def test_x1_a_message_that_waits_for_its_phone_keeps_the_others_behind_it() -> None:
    order = MemorySendOrder()
    left: list[str] = []
    first, second = accepted(order, "1", "2")
    turns = SendTurns(order, threads=50)

    with pytest.raises(Postponed), turns.turn(first):
        raise Postponed("no connector", after_ms=1)

    assert sending(turns, left)(second) == "postponed"


class SlowlyWritten(MemorySendOrder):
    """That a message left is written when the test is over."""

    def leave(self, job: MessageJob, *, on_written: Callable[[], None] = lambda: None) -> None:
        """Nothing is written yet."""


def test_x1_a_message_does_not_wait_until_it_is_written_that_the_one_before_it_left() -> None:
    """In a busy worker it came back a second later, and each one behind it as well."""
    order = SlowlyWritten()
    left: list[str] = []
    jobs = accepted(order, *"123456")
    send = sending(SendTurns(order, threads=4), left, takes_s=0)

    began = time.monotonic()
    assert [send(one) for one in jobs] == ["sent"] * 6
    assert time.monotonic() - began < 0.1
    assert left == list("123456")


def test_x1_a_message_that_comes_again_keeps_its_place_though_it_had_left_before() -> None:
    order = SlowlyWritten()
    first, second = accepted(order, "1", "2")
    turns = SendTurns(order, threads=50)
    with pytest.raises(SendFailed), turns.turn(first):
        raise SendFailed("not now")
    with pytest.raises(Postponed), turns.turn(first):
        raise Postponed("no connector", after_ms=1)

    assert sending(turns, [])(second) == "postponed"


def test_x1_the_more_go_before_a_message_the_later_it_comes_back() -> None:
    """Behind a voice note forty texts came back each second, and kept the worker busy."""
    order = MemorySendOrder()
    jobs = accepted(order, *(f"{number}" for number in range(100)))
    turns = SendTurns(order, threads=50)
    waits = []
    for one in jobs[1:]:
        with pytest.raises(Postponed) as postponed, turns.turn(one):
            pass
        waits.append(postponed.value.after_ms)

    assert waits[:8] == [1000, 1000, 1000, 2000, 2000, 2000, 2000, 3000]
    assert waits == sorted(waits)
    assert waits[-1] == send_order.LONGEST_COME_BACK_MS


def test_x1_while_redis_does_not_answer_a_process_keeps_the_order_of_what_it_has() -> None:
    order = MemorySendOrder()
    left: list[str] = []
    began_ms = time.time_ns() // 1_000_000
    jobs = [job(name).model_copy(update={"accepted_at_ms": began_ms + at}) for at, name in enumerate("1234")]
    turns = SendTurns(order, threads=50)
    order.join(jobs[0], accepted_at_us=began_ms * 1000, prepared=True)
    send = sending(turns, left, takes_s=0.2)
    assert send(jobs[1]) == "postponed"
    order.away = True

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(send, jobs[0])
        time.sleep(0.05)
        third = pool.submit(send, jobs[2])
        time.sleep(0.05)
        second = pool.submit(send, jobs[1])

    assert first.result() == "sent"
    assert second.result() == "sent"
    assert left == ["1", "2", "3"] if third.result() == "sent" else ["1", "2"]


def test_x1_a_message_of_no_contact_waits_for_nobody() -> None:
    order = MemorySendOrder()
    left: list[str] = []
    accepted(order, "1", contact="")

    assert sending(SendTurns(order, threads=50), left)(job("2", contact="")) == "sent"


def test_x1_no_thread_is_left_behind() -> None:
    order = MemorySendOrder()
    left: list[str] = []
    jobs = accepted(order, *(f"{number}" for number in range(8)))
    turns, before = SendTurns(order, threads=8), threading.active_count()
    send = sending(turns, left, takes_s=0.01)

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(send, jobs))

    assert set(outcomes) <= {"sent", "postponed"}
    assert left == sorted(left, key=int)
    assert threading.active_count() <= before
