"""Campaigns by themselves: ids, pace, hours."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from tests.support.fakes import PHONE, make_session
from tests.support.worker import make_uno
from unoapi.errors import ConfigurationError
from unoapi.models.bulk import (
    CATCH_UP_MS,
    MAX_ROWS,
    Campaign,
    Pace,
    code_of,
    message_id_of,
    new_campaign_id,
    pace_of,
    row_of,
    zone_of,
)
from unoapi.models.cloud_api.messages import new_message_id

ID = "UNO.CMD.0123456789ABCDEF"
FRIDAY_NOON = datetime(2026, 11, 27, 15, 0, tzinfo=UTC)  # 12:00 in São Paulo


@pytest.mark.parametrize("row", [0, 1, 255, MAX_ROWS])
def test_a_messages_id_says_whose_row_it_is(row: int) -> None:
    assert row_of(message_id_of(ID, row)) == (ID, row)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(new_message_id(), id="one that was drawn"),
        "", "wamid.BULK", f"{message_id_of(ID, 1)}0", "wamid.BULKxyz",
    ],
)  # fmt: skip
def test_any_other_id_is_no_row(other: str) -> None:
    assert row_of(other) is None


def test_a_key_has_one_campaign() -> None:
    assert new_campaign_id("k") == new_campaign_id("k") != new_campaign_id("l")
    assert new_campaign_id() != new_campaign_id()


@pytest.mark.parametrize(
    ("batch", "delay", "most_in_an_hour"), [(5, 60, 300), (1, 1, 3600), (1000, 60, 60_000), (1, 86_400, 1)]
)
def test_the_pace_is_kept_whenever_somebody_looks(batch: int, delay: int, most_in_an_hour: int) -> None:
    pace, due_ms, sent, now_ms = Pace(batch=batch, delay=delay), 0.0, 0, 10_000_000
    ends_ms, look = now_ms + 3_600_000, 0

    while now_ms < ends_ms:
        count = pace.allowed(now_ms, due_ms, most=1000)
        due_ms = pace.next_due(now_ms, due_ms, sent=count) if count else due_ms
        sent, look = sent + count, look + 1
        now_ms += (250, 1000, 3000)[look % 3] if batch < 1000 else 250

    most = most_in_an_hour + max(1, CATCH_UP_MS / pace.step_ms) + 1
    assert 0.7 * most_in_an_hour <= sent <= most


def test_a_late_look_catches_up_with_a_moment_alone() -> None:
    pace = Pace(batch=10, delay=1)

    assert pace.allowed(1_000_000, 0.0, most=1000) == 11
    assert pace.allowed(1_000_000, 0.0, most=3) == 3
    assert pace.allowed(1_000_000, 1_000_001.0, most=3) == 0
    assert pace.allowed(1_000_000, 0.0, most=1000, least_step_ms=500) == 3


@pytest.mark.parametrize(
    ("hours", "days", "hours_to_wait"),
    [
        ("", "", 0),
        ("09:00-18:00", "1-5", 0),
        ("09:00-12:00", "1-5", 3 * 24 - 3),  # until Monday 9 h
        ("13:30-18:00", "", 1.5),
        ("", "6,7", 12),
        ("", "1", 60),
        ("00:00-24:00", "5", 0),
        ("09:00-18:00", "6-1", 21),
    ],
)
def test_it_waits_for_its_hours_and_days_in_the_numbers_time_zone(hours: str, days: str, hours_to_wait: float) -> None:
    pace = Pace(hours=hours, days=days)

    assert pace.closed_s(FRIDAY_NOON, phone="5511999990000") == hours_to_wait * 3600


def test_another_time_zone_may_be_named() -> None:
    pace = Pace(hours="09:00-18:00", timezone="Asia/Tokyo")

    assert pace.closed_s(FRIDAY_NOON, phone="5511999990000") == 9 * 3600
    assert zone_of("1", "").key == "UTC"


@pytest.mark.parametrize(
    "wrong",
    [
        {"hours": "18:00-09:00"}, {"hours": "9-18"}, {"hours": "09:00-24:30"}, {"days": "0"}, {"days": "1-9"},
        {"days": "mon"}, {"timezone": "../../etc/passwd"}, {"timezone": "Mars/Base"}, {"batch": 0}, {"delay": 0},
        {"batch": 100_000},
    ],
)  # fmt: skip
def test_a_pace_that_is_none_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Pace.model_validate(wrong)


@pytest.mark.parametrize(("name", "value"), [("HOURS", "18:00-09:00"), ("TIMEZONE", "Mars/Base")])
def test_a_pace_that_is_none_stops_the_start(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"UNOAPI_BULK_{name}"):
        make_uno(settings={f"UNOAPI_BULK_{name}": value})


def test_a_campaigns_pace_is_its_own_before_its_sessions_before_the_settings() -> None:
    session = make_session(bulk_batch=9, bulk_hours="08:00-12:00")

    assert pace_of(session) == Pace(batch=9, hours="08:00-12:00")
    assert pace_of(session, batch=2, hours="", delay=None) == Pace(batch=2)


@pytest.mark.parametrize(
    ("status", "error_code", "code"),
    [
        ("sent", 0, "s"), ("delivered", 0, "d"), ("read", 0, "r"), ("played", 0, "r"), ("failed", 131000, "f"),
        ("failed", 131026, "w"), ("failed", 7, "i"), ("deleted", 0, ""), ("message", 0, ""),
    ],
)  # fmt: skip
def test_a_status_is_a_letter(status: str, error_code: int, code: str) -> None:
    assert code_of(status, error_code) == code


def test_what_was_not_heard_of_is_scheduled() -> None:
    campaign = Campaign(id=ID, phone=PHONE, total=10, row=4, counts={"s": 2, "q": 1, "o": 1})

    assert campaign.by_word() == {"scheduled": 6, "sent": 2, "queued": 1, "opted-out": 1}
    assert campaign.in_flight == 1
