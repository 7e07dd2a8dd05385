"""The turns of messages to one contact, in one process."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest

from tasks.lines import Lines
from tests.support.fakes import (
    CONTACT,
    PHONE,
    MemorySendOrder,
    MemorySends,
    MemorySessions,
    ScriptedProvider,
    make_send,
    make_session,
)
from unoapi.errors import Postponed, SendFailed
from unoapi.models.attempts import History
from unoapi.models.claims import Predecessor
from unoapi.models.jobs import now_ms
from unoapi.services import send_order
from unoapi.services.bulkhead import Bulkhead
from unoapi.services.send_order import SendTurns, place_us
from unoapi.services.sending import send as send_in_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unoapi.models.cloud_api.messages import OutboundMessage
    from unoapi.models.endpoints import Endpoint
    from unoapi.models.jobs import MessageJob, SendMessage
    from unoapi.models.receipts import Receipt


def job(name: str, contact: str = CONTACT, phone: str = PHONE) -> SendMessage:
    return make_send(id=name, phone=phone, message_id=name, contact=contact)


def accepted(order: MemorySendOrder, *names: str, contact: str = CONTACT, phone: str = PHONE) -> list[SendMessage]:
    jobs = [job(name, contact, phone) for name in names]
    for number, one in enumerate(jobs):
        order.join(one, accepted_at_us=time.time_ns() // 1000 + number, prepared=False)
    return jobs


class Slow(ScriptedProvider):
    """Takes so long for each message."""

    def __init__(self, left: list[str], takes_s: float) -> None:
        super().__init__()
        self._left, self._takes_s = left, takes_s

    def send(self, message: OutboundMessage, *, phone: str, message_id: str) -> Receipt:
        time.sleep(self._takes_s)
        self._left.append(message_id)
        return super().send(message, phone=phone, message_id=message_id)


def sending(turns: SendTurns, left: list[str], *, takes_s: float = 0.02) -> Callable[[SendMessage], str]:
    """What sends a message as a worker does, and says whether it was sent."""
    order = cast("MemorySendOrder", turns._order)
    claims, provider = MemorySends(order=order), Slow(left, takes_s)

    def send(one: SendMessage) -> str:
        try:
            with turns.turn(one) as turn:
                send_in_turn(
                    one, history=History(unclaimed=order.away), sessions=MemorySessions(make_session()), sends=claims,
                    turn=turn, providers={"whatsmeow": provider}, bulkhead=Bulkhead(50), max_age_s=600,
                )  # fmt: skip
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


def test_x1_no_thread_waits_behind_a_message_that_leaves_slowly() -> None:
    """Half of a worker's threads waited for a number whose provider took seconds, and everybody else for them."""
    order = MemorySendOrder()
    first, second, third, fourth = accepted(order, "1", "2", "3", "4")
    left: list[str] = []
    send = sending(SendTurns(order, threads=50), left, takes_s=0.75)

    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(send, first)
        time.sleep(0.05)
        began = time.monotonic()
        assert send(second) == "postponed"
        assert 0.3 < time.monotonic() - began < 0.6, "so long it might have been quick"
        began = time.monotonic()
        assert send(third) == "postponed"
        assert time.monotonic() - began < 0.1
        assert slow.result() == "sent"

    began = time.monotonic()
    assert send(fourth) == "postponed", "it waits for no other message of the number"
    assert time.monotonic() - began < 0.1
    assert left == ["1"]


def test_x1_a_number_whose_messages_leave_slowly_costs_no_other_one_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(send_order, "QUICK_S", 0.3)
    monkeypatch.setattr(send_order, "SLOW_FOR_S", 0.5)
    order = MemorySendOrder()
    left: list[str] = []
    turns = SendTurns(order, threads=50)
    (slow,) = accepted(order, "slow", contact="5511900000001")
    assert sending(turns, left, takes_s=0.35)(slow) == "sent"

    others = accepted(order, "1", "2", phone="5511900000009")
    its_own = accepted(order, "3", "4")
    send = sending(turns, left, takes_s=0.05)
    with ThreadPoolExecutor(4) as pool:
        outcomes = [pool.submit(send, one) for one in (others[1], its_own[1])]
        time.sleep(0.02)
        outcomes += [pool.submit(send, one) for one in (others[0], its_own[0])]
    assert [one.result() for one in outcomes] == ["sent", "postponed", "sent", "sent"]
    assert sorted(left) == ["1", "2", "3", "slow"]
    assert left.index("1") < left.index("2")

    time.sleep(0.5)
    later = accepted(order, "5", "6", contact="5511900000002")
    with ThreadPoolExecutor(2) as pool:
        second = pool.submit(send, later[1])
        time.sleep(0.02)
        assert send(later[0]) == "sent"
    assert second.result() == "sent", "its messages may be quick again"


@pytest.mark.parametrize(
    ("accepted_at_ms", "now_us", "place"),
    [(7, 7_000, 7_000), (7, 7_400, 7_400), (7, 7_999, 7_999), (7, 8_000, 7_999), (7, 90_000, 7_999), (7, 6_999, 7_000)],
)
def test_x1_the_place_of_a_message_is_within_the_millisecond_in_which_it_was_accepted(
    accepted_at_ms: int, now_us: int, place: int
) -> None:
    one = job("1").model_copy(update={"accepted_at_ms": accepted_at_ms})

    assert place_us(one, now_us=now_us) == place


def test_x1_of_two_requests_at_once_no_message_waits_for_the_one_behind_it() -> None:
    """The first process was held up after it had taken the time: its message stood second in Redis, and first here."""
    order, left = MemorySendOrder(), list[str]()
    began_ms = time.time_ns() // 1_000_000
    first, second = (job(name).model_copy(update={"accepted_at_ms": began_ms + at}) for at, name in enumerate("12"))
    for one, joined_us in ((second, began_ms * 1000 + 1500), (first, began_ms * 1000 + 9000)):
        order.join(one, accepted_at_us=place_us(one, now_us=joined_us), prepared=False)
    send = sending(SendTurns(order, threads=4), left, takes_s=0)

    with ThreadPoolExecutor(4) as pool:
        lines, done = Lines(pool.submit, most=2), threading.Semaphore(0)
        for one in (first, second):
            run = standing(one, send, done)
            lines.run(run, CONTACT, one.accepted_at_ms)
        assert all(done.acquire(timeout=0.5) for _ in range(2))

    assert left == ["1", "2"]


def standing(one: SendMessage, send: Callable[[SendMessage], str], done: threading.Semaphore) -> Any:
    """What a worker runs for a message."""

    def run() -> None:
        send(one)
        done.release()

    return run


@pytest.mark.parametrize("error", [SendFailed("not now"), ValueError("a bug")], ids=["retried", "bug"])
def test_x1_a_message_that_is_tried_again_lets_the_others_go(error: Exception) -> None:
    order = MemorySendOrder()
    left: list[str] = []
    first, second = accepted(order, "1", "2")
    turns = SendTurns(order, threads=50)

    with pytest.raises(type(error)), turns.turn(first):
        raise error

    assert sending(turns, left)(second) == "sent"


def test_x1_a_message_that_was_refused_for_its_rate_keeps_its_place_until_it_is_given_up() -> None:
    order = MemorySendOrder()
    left: list[str] = []
    first, second = accepted(order, "1", "2")
    turns = SendTurns(order, threads=50)

    with pytest.raises(SendFailed), turns.turn(first):
        raise SendFailed("Meta answered HTTP 400 (131056)", keeps_place=True)
    waited = sending(turns, left)(second)
    order.leave(first)  # as when a job is given up

    assert (waited, sending(turns, left)(second)) == ("postponed", "sent")


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


def test_x1_the_more_go_before_a_message_the_later_it_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a voice note forty texts came back each second, and kept the worker busy."""
    monkeypatch.setattr(send_order, "PATIENCE_S", 0.0)
    order = MemorySendOrder()
    jobs = accepted(order, *(f"{number}" for number in range(100)))
    turns = SendTurns(order, threads=50)
    waits = []
    for one in jobs[1:]:
        with pytest.raises(Postponed) as postponed, turns.turn(one) as turn:
            turn.wait_for(Predecessor("0", waits=False))
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

    assert [one.result() for one in (first, second, third)] == ["sent"] * 3, "none had to come back"
    assert left == ["1", "2", "3"]
    with pytest.raises(Postponed), turns.turn(jobs[2]):
        raise Postponed("no connector", after_ms=1000)
    assert send(jobs[3]) == "postponed", "the third one comes back soon"


@pytest.mark.parametrize("busy", [False, True], ids=["in vain", "until its receiver is busy"])
def test_x1_what_redis_may_have_claimed_goes_with_a_message_that_waited_without_its_answer(
    monkeypatch: pytest.MonkeyPatch, *, busy: bool
) -> None:
    """Else it was in its own way, and after a minute its outcome counted as unknown."""
    monkeypatch.setattr(send_order, "PATIENCE_S", 0.1)
    turns, claims, provider = SendTurns(MemorySendOrder(), threads=50), MemorySends(), ScriptedProvider()
    first, second = (job(name).model_copy(update={"accepted_at_ms": now_ms() + at}) for at, name in enumerate("12"))
    bulkhead = BusyLater() if busy else Bulkhead(50)

    def send(**history: Any) -> None:
        with turns.turn(second) as turn:
            send_in_turn(
                second, history=History(**history), sessions=MemorySessions(make_session()), sends=claims,
                turn=turn, providers={"whatsmeow": provider}, bulkhead=bulkhead, max_age_s=600,
            )  # fmt: skip

    claims.unheard = True
    with turns.turn(first):
        if busy:
            threading.Timer(0.05, turns._here["1"].over.set).start()
        with pytest.raises(Postponed) as postponed:
            send()
    claims.unheard = False
    send(held_claims=(postponed.value.held_claim,))

    assert provider.sent


class BusyLater(Bulkhead):
    """Has a place for the first time and the third."""

    def __init__(self) -> None:
        super().__init__(50)
        self._asked = 0

    @contextmanager
    def taken(self, url: str, endpoint: Endpoint | None = None, *, phone: str = "") -> Iterator[None]:
        self._asked += 1
        if self._asked == 2:
            raise Postponed("its receiver has its share of the threads", after_ms=2000)
        with super().taken(url, endpoint, phone=phone):
            yield


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
