"""What a person does with dead letters, on a queue in memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fakes import (
    PHONE,
    MemoryDeadLetterHolder,
    MemoryDeadLetterQueue,
    MemoryDeliveries,
    MemorySends,
    MemoryTraces,
    make_delivery,
    make_send,
)
from unoapi.errors import DeadLettersBusy
from unoapi.models.attempts import History
from unoapi.models.dead_letters import LOST_CAUSES, Bounds, DeadLetter, DeadLetterQuery
from unoapi.models.trace import TraceEntry
from unoapi.services.dead_letters import BROKER_REASONS, DeadLetters

if TYPE_CHECKING:
    from unoapi.models.jobs import Job

ALL = DeadLetterQuery()
DONE = TraceEntry(step="delivered", phone=PHONE, message_id="wamid.1")


def make_dead_letter(job: Job | None = None, **fields: Any) -> DeadLetter:
    """The dead letter of a delivery."""
    job = job or make_delivery()
    given_up: dict[str, Any] = {
        "id": job.id, "queue": f"unoapi.{job.queue}", "reason": "refused", "error": "HTTP 500", "traceback": "",
        "died_at": datetime.now(UTC), "task": job.task, "history": History(), "job": job, "body": b"a secret body",
        "headers": {}, "properties": {},
    }  # fmt: skip
    return DeadLetter(**{**given_up, **fields})


class House:
    """The service, and the parts in memory that it works on."""

    def __init__(self, *dead_letters: DeadLetter) -> None:
        self.queue = MemoryDeadLetterQueue(*dead_letters)
        self.holder = MemoryDeadLetterHolder()
        self.deliveries = MemoryDeliveries()
        self.sends = MemorySends()
        self.traces = MemoryTraces()
        self.service = DeadLetters(
            self.queue, self.holder, deliveries=self.deliveries, sends=self.sends, traces=self.traces
        )

    def outcomes(self, **options: Any) -> list[str]:
        """What a replay of everything did."""
        return [result.outcome for result in self.service.replay(ALL, by="replay", **options)]


def test_a_list_leaves_every_dead_letter_there() -> None:
    house = House(make_dead_letter(), make_dead_letter(make_delivery(id="other", webhook_id="crm")))

    walk = house.service.list(DeadLetterQuery(webhook="crm"), by="list")

    assert [(result.dead_letter.id, result.outcome) for result in walk] == [("other", "kept")]
    assert walk.complete
    assert house.service.count() == 2


@pytest.mark.parametrize(("written", "count"), [(PHONE, 1), (f"+{PHONE[:2]} ({PHONE[2:4]}) {PHONE[4:]}", 1), ("x", 0)])
def test_field_report_14_a_list_reads_the_phone_as_people_write_it(written: str, count: int) -> None:
    house = House(make_dead_letter())

    assert len(list(house.service.list(DeadLetterQuery(phone=written), by="list"))) == count


def test_a_bound_ends_a_list_early_and_it_says_so() -> None:
    house = House(make_dead_letter(), make_dead_letter(make_delivery(id="other")))

    walk = house.service.list(ALL, by="list", bounds=Bounds(dead_letters=1))

    assert len(list(walk)) == 1
    assert not walk.complete


def test_one_is_shown_by_its_id() -> None:
    house = House(make_dead_letter(), make_dead_letter(make_delivery(id="other")))

    assert [dead_letter.id for dead_letter in house.service.show("other", by="show")] == ["other"]
    assert house.service.show("nothing", by="show") == []


def test_a_purge_removes_what_is_selected_and_nothing_else() -> None:
    old = make_dead_letter(make_delivery(id="old"), died_at=datetime.now(UTC) - timedelta(hours=2))
    undated = make_dead_letter(make_delivery(id="undated"), died_at=None)
    house = House(make_dead_letter(), old, undated)

    results = list(house.service.purge(DeadLetterQuery(older_than=timedelta(hours=1)), by="purge"))

    assert [(result.dead_letter.id, result.outcome) for result in results] == [("old", "purged")]
    assert [dead_letter.id for dead_letter in house.queue.dead_letters] == ["delivery-1", "undated"]


def test_a_replay_puts_a_dead_letter_back_and_traces_it() -> None:
    house = House(make_dead_letter())

    assert house.outcomes() == ["replayed"]

    ((dead_letter, _),) = house.queue.put
    assert dead_letter.id == "delivery-1"
    assert house.service.count() == 0
    (entry,) = house.traces.find("wamid.1")
    assert (entry.step, entry.kind, entry.webhook, entry.delivery_id) == (
        "replayed",
        "message",
        "default",
        dead_letter.id,
    )


def test_a_replay_is_before_what_follows_from_it_however_quick_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the message waits in all lists for ever: its last step would be the replay."""
    house = House(make_dead_letter())

    def deliver(*_: object, **__: object) -> None:
        house.traces.add(TraceEntry(step="delivered", phone=PHONE, message_id="wamid.1", webhook="default"))

    monkeypatch.setattr(house.queue, "put_back", deliver)
    monkeypatch.setattr("unoapi.services.dead_letters.time.sleep", lambda _: deliver())

    assert house.outcomes(rate=1.0) == ["replayed"]

    assert [entry.step for entry in house.traces.find("wamid.1")] == ["replayed", "delivered", "delivered"]


def test_what_was_delivered_meanwhile_is_removed_and_not_put_back() -> None:
    house = House(make_dead_letter())
    house.deliveries.finish("delivery-1", DONE)

    assert house.outcomes() == ["already_delivered"]
    assert house.queue.put == []
    assert house.service.count() == 0


def test_with_redis_away_a_delivery_is_put_back_and_the_worker_asks_again() -> None:
    house = House(make_dead_letter())
    house.deliveries.away = True

    assert house.outcomes() == ["replayed"]


def test_a_send_with_unknown_outcome_stays_until_it_is_forced() -> None:
    house = House(make_dead_letter(make_send(), reason="outcome_unknown"))
    house.sends.claim(make_send())

    assert house.outcomes() == ["needs_force"]
    assert house.queue.put == []
    assert house.sends.claim(make_send()).busy_ms

    assert house.outcomes(force=True) == ["replayed"]
    assert house.sends.claim(make_send()).free
    assert house.service.count() == 0


UNCLAIMED = History(unclaimed=True)
"""Sent without a claim, or about to be, when the message left the worker."""


@pytest.mark.parametrize("reason", sorted(BROKER_REASONS))
def test_what_the_broker_gave_up_while_nobody_could_claim_it_needs_force(reason: str) -> None:
    """The broker's reason says nothing of whether it was sent, and Redis knows nothing of it either."""
    house = House(make_dead_letter(make_send(), reason=reason, history=UNCLAIMED))

    assert house.outcomes() == ["needs_force"]
    assert house.outcomes(force=True) == ["replayed"]


@pytest.mark.parametrize(
    ("job", "history", "reason"),
    [
        (make_send(), History(), "delivery_limit"),
        (make_send(), UNCLAIMED.model_copy(update={"receipt": {"recipient": "1"}}), "delivery_limit"),
        (make_send(), UNCLAIMED, "too_old"),
        (make_delivery(), UNCLAIMED, "delivery_limit"),
    ],
    ids=["nobody began it", "it says itself that it was sent", "a worker gave it up", "a delivery may come twice"],
)
def test_what_cannot_be_sent_twice_needs_no_force(job: Job, history: History, reason: str) -> None:
    house = House(make_dead_letter(job, reason=reason, history=history))

    assert house.outcomes() == ["replayed"]


def test_a_claim_without_an_outcome_needs_force_whatever_the_reason() -> None:
    house = House(make_dead_letter(make_send(), reason="delivery_limit"))
    house.sends.claim(make_send())

    assert house.outcomes() == ["needs_force"]


def test_a_claim_that_the_dead_letter_holds_needs_no_force() -> None:
    """It was given up with certainty that nothing left, while Redis was away."""
    house = House(make_dead_letter(make_send(), reason="send_failed", history=History(held_claims=("mine",))))
    house.sends.claim(make_send(), name="mine")

    assert house.outcomes() == ["replayed"]


def test_a_rate_is_kept_by_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("unoapi.services.dead_letters.time.sleep", pauses.append)
    house = House(*(make_dead_letter(make_delivery(id=f"d-{number}")) for number in range(5)))

    assert house.outcomes(rate=2.0) == ["replayed"] * 5

    assert house.queue.batches == [2, 2, 1]
    assert pauses == [1.0, 1.0, 0.5]


def test_a_second_verb_says_who_is_busy_with_which() -> None:
    house = House(make_dead_letter())
    first = iter(house.service.list(ALL, by="GET /admin/dead"))
    next(first)

    with pytest.raises(DeadLettersBusy, match=r"`GET /admin/dead` on .* is at the dead queue"):
        list(house.service.purge(ALL, by="dead purge"))

    assert house.service.count() == 1


def test_when_nobody_knows_who_is_busy_it_is_another_process() -> None:
    house = House()
    house.queue.taken = True

    with pytest.raises(DeadLettersBusy, match=r"^another process is at the dead queue"):
        list(house.service.list(ALL, by="list"))


def test_after_a_verb_nobody_is_named_as_busy() -> None:
    house = House(make_dead_letter())

    list(house.service.list(ALL, by="list"))

    assert house.holder.read() == ""


def test_what_is_shown_holds_no_body() -> None:
    assert "secret" not in f"{make_dead_letter().public_fields()}"
    assert "secret" not in f"{make_dead_letter()}"


@pytest.mark.parametrize("reason", sorted(LOST_CAUSES))
def test_a_lost_cause_stays_until_it_is_named(reason: str) -> None:
    house = House(make_dead_letter(reason=reason), make_dead_letter(make_delivery(id="other")))

    assert sorted(house.outcomes()) == ["left_alone", "replayed"]

    named = house.service.replay(DeadLetterQuery(reason=reason), by="replay")
    assert [result.outcome for result in named] == ["replayed"]
    assert house.service.count() == 0


def test_a_bound_counts_what_is_done_and_not_what_is_passed_over() -> None:
    house = House(
        *(make_dead_letter(make_delivery(id=f"d-{n}"), reason="gone" if n < 5 else "refused") for n in range(8))
    )

    walk = house.service.replay(ALL, by="replay", bounds=Bounds(dead_letters=2))

    assert [result.outcome for result in walk] == ["left_alone"] * 5 + ["replayed"] * 2
    assert not walk.complete
