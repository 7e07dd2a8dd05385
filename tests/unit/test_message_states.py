"""How far a message is, by the steps of its trace."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, get_args

import pytest

from tests.support.fakes import PHONE
from unoapi.models.message_log import STUCK, OwnMessageQuery, is_contact, is_searchable, state_of, stuck_by
from unoapi.models.trace import Step, read_entry

if TYPE_CHECKING:
    from unoapi.models.message_log import Direction, State
    from unoapi.models.trace import TraceEntry


def steps(text: str) -> list[TraceEntry]:
    """Steps written as `step/kind@webhook:detail`, each part but the first optional."""
    made = []
    for word in text.split():
        head, _, detail = word.partition(":")
        head, _, webhook = head.partition("@")
        step, _, kind = head.partition("/")
        fields = {"step": step, "kind": kind, "webhook": webhook, "detail": detail.replace("_", " ")}
        made.append(read_entry({**fields, "phone": PHONE, "message_id": "wamid.1"}))
    return made


CASES: list[tuple[Direction, str, State, str]] = [
    ("sent", "", "unknown", ""),
    ("sent", "accepted/text", "accepted", ""),
    ("sent", "accepted/text postponed/incoming.send:no_connector", "waiting", "no connector"),
    ("sent", "accepted/text postponed/incoming.send:no_connector sent", "sent", ""),
    ("sent", "accepted/text received/sent queued/sent@crm delivered/sent@crm", "sent", ""),
    ("sent", "accepted/text sent queued/sent@crm received/delivered received/read", "read", ""),
    ("sent", "accepted/audio received/played", "read", ""),
    ("sent", "received/message queued/message@crm", "sent", ""),
    ("sent", "accepted/text received/read superseded/delivered", "read", ""),
    ("sent", "accepted/text failed:131026_not_on_WhatsApp queued/failed@crm", "failed", "131026 not on WhatsApp"),
    ("sent", "accepted/text received/failed", "failed", ""),
    ("sent", "accepted/text received/failed received/delivered", "delivered", ""),
    ("sent", "accepted/text received/sent received/failed", "failed", ""),
    ("sent", "accepted/text dead/incoming.send:too_old", "failed", "too old"),
    ("sent", "accepted/text dead/incoming.send:x queued/failed@crm replayed/incoming.send", "accepted", ""),
    ("sent", "accepted/text dead/incoming.send:x queued/failed@crm replayed/incoming.send sent", "sent", ""),
    (
        "sent",
        "accepted/text dead/incoming.send:x queued/failed@crm replayed/incoming.send failed:131026_not_there",
        "failed",
        "131026 not there",
    ),
    ("sent", "accepted/text sent dead/sent@crm:refused", "dead", "refused"),
    ("sent", "accepted/text sent dead/sent@crm:refused replayed/sent@crm", "sent", ""),
    ("received", "accepted/message", "accepted", ""),
    ("received", "received/message filtered/message@crm:no_groups", "filtered", "no groups"),
    ("received", "received/message queued/message@crm", "waiting", ""),
    ("received", "received/message queued/message@crm attempt/message@crm:HTTP_503", "waiting", "HTTP 503"),
    ("received", "received/message queued/message@a queued/message@b delivered/message@a", "waiting", ""),
    ("received", "received/message queued/message@crm delivered/message@crm", "delivered", ""),
    (
        "received",
        "received/message queued/message@crm delivered/message@crm duplicate/message@crm",
        "delivered",
        "",
    ),
    (
        "received",
        "received/message queued/message@crm dead/message@crm:refused:_HTTP_500",
        "dead",
        "refused: HTTP 500",
    ),
    ("received", "queued/message@crm dead/message@crm:x replayed/message@crm", "waiting", ""),
    (
        "received",
        "queued/message@crm dead/message@crm:x replayed/message@crm delivered/message@crm",
        "delivered",
        "",
    ),
    ("received", "filtered/message@a:no queued/message@b delivered/message@b", "delivered", ""),
]


@pytest.mark.parametrize(("direction", "text", "state", "detail"), CASES)
def test_the_steps_say_how_far_a_message_is(direction: Direction, text: str, state: State, detail: str) -> None:
    assert state_of(direction, steps(text)) == (state, detail)


@pytest.mark.parametrize(("text", "state"), [(text, state) for _, text, state, _ in CASES if state in STUCK])
def test_a_message_that_was_tried_and_is_stuck_is_in_the_index_of_its_state(text: str, state: State) -> None:
    tried = [step for step in steps(text) if step.step != "queued"]

    assert state in {stuck_by(step) for step in tried} or {step.step for step in tried} <= {"received", "delivered"}


@pytest.mark.parametrize("word", get_args(Step))
def test_a_message_that_goes_well_costs_no_entry_in_an_index(word: Step) -> None:
    (step,) = steps(f"{word}/message@crm")

    assert (stuck_by(step) is None) == (word not in ("attempt", "postponed", "suspected", "replayed", "dead", "failed"))


@pytest.mark.parametrize(
    ("asked", "contact", "meant"),
    [
        ("5549988887777", "5549988887777", True),
        ("+55 (49) 98888-7777", "5549988887777", True),
        ("554988887777", "5549988887777", True),
        ("5549988887777", "554988887777", True),
        ("88887777", "5549988887777", True),
        ("7777", "5549988887777", True),
        ("777", "5549988887777", False),
        ("9999", "5549988887777", False),
        ("120363040468224422@g.us", "120363040468224422@g.us", True),
        ("4422", "120363040468224422@g.us", True),
        ("BR.abc", "BR.abc", True),
        ("Maria", "5549988887777", False),
        ("0001", "5549988880001", True),
        ("0001", "5549988881111", False),
        ("049 98888-7777", "5549988887777", True),
        ("(49) 8888-7777", "5549988887777", True),
        ("(48) 8888-7777", "5549988887777", False),
        ("+55 (0xx49) 8888-7777", "5549988887777", True),
        ("https://wa.me/5549988887777?text=5", "5549988887777", True),
        ("5549988887777:12@s.whatsapp.net", "5549988887777", True),
        ("5549988887777.0", "5549988887777", True),
        ("\uff15\uff15\uff14\uff19\uff19\uff18\uff18\uff18\uff18\uff17\uff17\uff17\uff17", "5549988887777", True),
        ("+52 55 1234-5678", "5215512345678", True),
        ("5215512345678", "525512345678", True),
        ("+54 11 15 2345-6789", "5491123456789", True),
        ("123:3@LID", "123@lid", True),
        ("120363040468224422-group", "120363040468224422@g.us", True),
        ("", "5549988887777", False),
    ],
)
def test_a_contact_is_asked_for_as_people_write_a_phone(asked: str, contact: str, meant: bool) -> None:
    assert is_contact(asked)(contact) is meant
    assert is_searchable(asked) or not meant


@pytest.mark.parametrize(
    ("written", "hour"),
    [
        ("2026-01-31", 0), (" 2026-01-31 ", 0), ("2026-01-31 08:00", 8), ("2026-01-31T08:00", 8),
        ("2026-01-31T08:00:00.000", 8), ("2026-01-31T05:00:00-03:00", 8),
    ],
)  # fmt: skip
def test_a_search_takes_a_day_and_a_time_without_a_zone_as_those_of_utc(written: str, hour: int) -> None:
    assert OwnMessageQuery.model_validate({"since": written}).since == datetime(2026, 1, 31, hour, tzinfo=UTC)
