"""Campaigns: the fake, and the real Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fakes import CONTACT, PHONE, MemoryCampaigns
from tests.support.stack import eventually
from unoapi.errors import StoreUnavailable
from unoapi.models.bulk import MAX_ROWS, OPEN, Campaign, Pace
from unoapi.stores.campaigns import LOOKS, RedisCampaigns

if TYPE_CHECKING:
    import redis

    from unoapi.ports import Campaigns
    from unoapi.stores.redis import RedisClient

ID, OTHER = "UNO.CMD.00000000000000AA", "UNO.CMD.00000000000000BB"


@pytest.fixture(params=["memory", "redis"])
def campaigns(request: pytest.FixtureRequest) -> Campaigns:
    if request.param == "memory":
        return MemoryCampaigns()
    return RedisCampaigns(request.getfixturevalue("redis_client"), ttl_s=1000)


def campaign(campaign_id: str = ID, **fields: object) -> Campaign:
    return Campaign.model_validate({"id": campaign_id, "phone": PHONE, "created_ms": 1, **fields})


def test_a_campaign_is_read_as_it_was_saved(campaigns: Campaigns) -> None:
    pace = Pace(batch=7, delay=3, hours="09:00-18:00", days="1-5", timezone="America/Sao_Paulo")
    saved = campaign(name="Oferta", pace=pace, notify=True, state="held", reason="lost", row=3, offset=99, chain=2)

    first, again = campaigns.create(saved), campaigns.create(campaign(name="another"))

    assert (first, again) == (True, False)
    assert campaigns.find(PHONE, ID) == saved
    assert campaigns.find(PHONE, OTHER) is None
    assert campaigns.find(CONTACT, ID) is None


def test_the_newest_campaigns_come_first(campaigns: Campaigns) -> None:
    campaigns.create(campaign(ID, created_ms=1))
    campaigns.create(campaign(OTHER, created_ms=2))

    assert [one.id for one in campaigns.all(PHONE)] == [OTHER, ID]
    assert campaigns.all(CONTACT) == []


def test_what_was_counted_does_not_change_what_happened_meanwhile(campaigns: Campaigns) -> None:
    campaigns.create(campaign())
    campaigns.move(PHONE, ID, "stopped")

    campaigns.parsed(campaign(total=10, bad=2, duplicates=1, read=13, rows_key="r", bad_key="b"))

    found = campaigns.find(PHONE, ID)
    assert found is not None
    assert (found.state, found.total, found.bad, found.rows_key) == ("stopped", 10, 2, "r")


def test_a_state_changes_from_the_states_that_are_named_alone(campaigns: Campaigns) -> None:
    campaigns.create(campaign())

    steps = [
        campaigns.move(PHONE, ID, "paused", of=("running",)),
        campaigns.move(PHONE, ID, "running", of=("parsing",)),
        campaigns.move(PHONE, ID, "held", reason="limited", of=("running",)),
        campaigns.move(PHONE, ID, "stopped", of=OPEN),
        campaigns.move(PHONE, ID, "running", of=OPEN),
        campaigns.move(PHONE, OTHER, "running"),
    ]

    found = campaigns.find(PHONE, ID)
    assert steps == ["parsing", "running", "held", "stopped", "stopped", ""]
    assert found is not None
    assert (found.state, found.chain) == ("stopped", 1)
    assert found.started_ms
    assert found.finished_ms


def test_each_resumption_is_counted(campaigns: Campaigns) -> None:
    campaigns.create(campaign())
    for _ in range(3):
        campaigns.move(PHONE, ID, "running", of=("parsing", "running"))

    found = campaigns.find(PHONE, ID)
    assert found is not None
    assert found.chain == 3


def test_the_job_that_looks_next_is_known_until_it_is_resumed(campaigns: Campaigns) -> None:
    campaigns.create(campaign(state="running"))
    campaigns.looked(PHONE, ID, look="a", waits="the number")
    campaigns.looked(PHONE, OTHER, look="a")

    waiting = campaigns.find(PHONE, ID)
    campaigns.advance(campaign(look="b", row=1), {})
    going_on = campaigns.find(PHONE, ID)
    campaigns.move(PHONE, ID, "running", of=("running",))
    resumed = campaigns.find(PHONE, ID)

    assert waiting is not None
    assert going_on is not None
    assert resumed is not None
    assert (waiting.look, waiting.waits) == ("a", "the number")
    assert (going_on.look, going_on.waits) == ("b", "")
    assert resumed.look == ""
    assert campaigns.find(PHONE, OTHER) is None


def test_a_campaign_at_which_nobody_looks_is_named_once(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    campaigns = RedisCampaigns(redis_client, ttl_s=1000)
    for one in (ID, OTHER):
        campaigns.create(campaign(one, state="running"))
        campaigns.looked(PHONE, one, look="a")
    raw_redis.zadd(LOOKS, {f"{PHONE}:{ID}": 1})

    named = [campaigns.left_alone(), campaigns.left_alone()]
    campaigns.move(PHONE, OTHER, "stopped")

    assert named == [[(PHONE, ID)], []]
    assert eventually(lambda: raw_redis.zrange(LOOKS, 0, -1) == [f"{PHONE}:{ID}"])


def test_rows_go_forward_alone(campaigns: Campaigns) -> None:
    campaigns.create(campaign())
    for row, code, error in [
        (0, "q", ""),
        (1, "q", ""),
        (0, "d", ""),
        (0, "s", ""),
        (1, "f", "131000 broke"),
        (2, "s", ""),
    ]:
        campaigns.mark(PHONE, ID, row, code, error=error)
    campaigns.mark(PHONE, ID, 2, "q")
    campaigns.mark(PHONE, OTHER, 0, "s")

    found = campaigns.find(PHONE, ID)
    assert campaigns.codes(PHONE, ID, 0, 5) == "dfs  "
    assert campaigns.codes(PHONE, ID, 1, 2) == "fs"
    assert campaigns.codes(PHONE, OTHER, 0, 1) == " "
    assert campaigns.errors(PHONE, ID, [0, 1, 2]) == {1: "131000 broke"}
    assert campaigns.errors(PHONE, ID, []) == {}
    assert found is not None
    assert found.counts == {"d": 1, "f": 1, "s": 1}


def test_a_campaign_advances_under_a_lease_and_never_goes_back(campaigns: Campaigns) -> None:
    campaigns.create(campaign(total=10))

    leases = [campaigns.lease(PHONE, ID), campaigns.lease(PHONE, ID)]
    campaigns.advance(campaign(row=3, offset=30, due_ms=5.5, last_ms=7), {0: "q", 1: "o", 2: "b"})
    leases.append(campaigns.lease(PHONE, ID))
    campaigns.advance(campaign(row=2, offset=20), {})

    found = campaigns.find(PHONE, ID)
    assert leases == [True, False, True]
    assert found is not None
    assert (found.row, found.offset, found.in_flight) == (3, 30, 1)
    assert campaigns.codes(PHONE, ID, 0, 4) == "qob "


def test_one_campaign_of_a_number_sends_at_a_time(campaigns: Campaigns) -> None:
    campaigns.create(campaign(ID))
    campaigns.create(campaign(OTHER))

    before = [campaigns.take_turn(PHONE, one, for_ms=60_000) for one in (ID, OTHER, ID)]
    campaigns.move(PHONE, ID, "stopped")
    after = campaigns.take_turn(PHONE, OTHER, for_ms=60_000)

    assert before == [ID, ID, ID]
    assert after == OTHER


def test_one_file_is_read_at_a_time(campaigns: Campaigns) -> None:
    before = [campaigns.take_parsing(one) for one in (ID, OTHER, ID)]
    campaigns.end_parsing(OTHER)
    campaigns.end_parsing(ID)

    assert before == [True, False, True]
    assert eventually(lambda: campaigns.take_parsing(OTHER))


def test_the_file_of_an_address_is_remembered_for_its_campaign(campaigns: Campaigns) -> None:
    campaigns.remember_file(PHONE, ID, "https://h/a.jpg", "1")

    links = ["https://h/a.jpg", "https://h/b.jpg"]
    assert eventually(lambda: campaigns.files(PHONE, ID, links) == {"https://h/a.jpg": "1"})
    assert campaigns.files(PHONE, OTHER, ["https://h/a.jpg"]) == {}
    assert campaigns.files(PHONE, ID, []) == {}


def test_who_opted_out_is_known_by_every_form_of_the_number(campaigns: Campaigns) -> None:
    campaigns.opt_out(PHONE, ["554988887777", "15550000001"])

    assert campaigns.opted_out(PHONE, [CONTACT, "5549988886666"]) == {CONTACT}
    assert campaigns.opted_out(PHONE, []) == set()
    assert {contact for contact, _ in campaigns.opt_outs(PHONE)} == {CONTACT, "15550000001"}
    assert campaigns.opt_in(PHONE, [CONTACT]) == 1
    assert campaigns.opted_out(PHONE, [CONTACT]) == set()


@pytest.mark.parametrize("written", ["5215512345678", "525512345678"])
def test_who_is_taken_off_the_list_is_off_in_both_forms_of_a_number(campaigns: Campaigns, written: str) -> None:
    campaigns.opt_out(PHONE, ["5215512345678"])

    assert campaigns.opt_in(PHONE, [written]) == 1
    assert campaigns.opted_out(PHONE, ["5215512345678", "525512345678"]) == set()


def test_a_list_of_opt_outs_is_read_in_pages(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    campaigns = RedisCampaigns(redis_client, ttl_s=1000)
    raw_redis.zadd(f"unoapi-opt-outs:{PHONE}", {f"55119{number:08}": number for number in range(2500)})

    assert len(dict(campaigns.opt_outs(PHONE))) == 2500


def test_a_million_rows_take_a_megabyte(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    campaigns = RedisCampaigns(redis_client, ttl_s=1000)
    campaigns.create(campaign(total=MAX_ROWS))

    campaigns.mark(PHONE, ID, MAX_ROWS - 1, "s")

    assert (raw_redis.memory_usage(f"unoapi-bulk-rows:{PHONE}:{ID}") or 0) < 2_200_000
    assert all(0 < raw_redis.ttl(key) <= 1000 for key in raw_redis.scan_iter("unoapi-bulk*"))


def test_without_redis_nothing_is_guessed(away: RedisClient) -> None:
    campaigns = RedisCampaigns(away, ttl_s=1000)

    with pytest.raises(StoreUnavailable):
        campaigns.opted_out(PHONE, [CONTACT])
    campaigns.end_parsing(ID)
    campaigns.remember_file(PHONE, ID, "https://h/a.jpg", "1")
