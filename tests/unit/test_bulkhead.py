"""How many threads one endpoint may use, and the reports when it goes down or comes back."""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING

import pytest

from tests.support.fakes import PHONE, make_delivery
from unoapi.errors import Postponed, ShareUsed
from unoapi.models.endpoints import Endpoint, EndpointChange
from unoapi.services.bulkhead import SEEN_S, SLOW_S, Bulkhead
from unoapi.services.failure_callbacks import endpoint_report

if TYPE_CHECKING:
    from collections.abc import Iterator

A, B = "https://a.example/hook", "https://b.example/hook"


@pytest.fixture
def _switching() -> Iterator[None]:
    """Threads follow each other as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_an_endpoint_may_use_all_threads_while_nobody_else_has_work() -> None:
    bulkhead = Bulkhead(4)

    with ExitStack() as permits:
        for _ in range(4):
            permits.enter_context(bulkhead.taken(A, Endpoint(PHONE, "a")))


def test_an_endpoint_gets_half_of_the_threads_when_others_have_work() -> None:
    bulkhead = Bulkhead(4)
    with bulkhead.taken(B, Endpoint(PHONE, "b")):
        pass

    with ExitStack() as permits:
        permits.enter_context(bulkhead.taken(A, Endpoint(PHONE, "a")))
        permits.enter_context(bulkhead.taken(A, Endpoint(PHONE, "a")))
        with pytest.raises(Postponed) as caught, bulkhead.taken(A, Endpoint(PHONE, "a")):
            pass
        permits.enter_context(bulkhead.taken(B, Endpoint(PHONE, "b")))

    assert 1000 <= caught.value.after_ms <= 5000
    assert caught.value.attempt is None


def test_an_endpoint_counts_as_one_that_has_work_for_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unoapi.services.bulkhead.SEEN_S", 0.05)
    monkeypatch.setattr("unoapi.services.bulkhead.KNOWN_S", 0.05)
    bulkhead = Bulkhead(4)
    for name in ("b", "c"):
        with bulkhead.taken(f"https://{name}.example", Endpoint(PHONE, name)):
            pass
    time.sleep(0.06)

    with ExitStack() as permits:
        for _ in range(4):
            permits.enter_context(bulkhead.taken(A, Endpoint(PHONE, "a")))


def test_who_had_work_lately_is_told_from_who_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a list of all names with their times would tell it."""
    clock, draw = [0.0], random.Random(17)
    monkeypatch.setattr("unoapi.services.bulkhead.KNOWN_S", SEEN_S)
    monkeypatch.setattr("unoapi.services.bulkhead.time.monotonic", lambda: clock[0])
    bulkhead, seen = Bulkhead(2), dict[str, float]()
    for _ in range(2_000):
        clock[0] += draw.choice((0.0, 0.5, 2.0, 4.9, 5.0, 6.0))
        name = draw.choice("abc")
        url = f"https://{name}.example"
        others = any(clock[0] - at < SEEN_S for other, at in seen.items() if other != name)
        with bulkhead.taken(url):
            second = pytest.raises(Postponed) if others else nullcontext()
            with second, bulkhead.taken(url):
                pass
        seen[name] = clock[0]


def test_what_a_permit_costs_does_not_grow_with_the_number_of_endpoints() -> None:
    """1.4 ms each under the lock with 20,000 endpoints."""
    bulkhead, began = Bulkhead(50), time.monotonic()
    for number in range(20_000):
        with bulkhead.taken(f"https://{number}.example", Endpoint(PHONE, f"w-{number}")):
            pass

    assert time.monotonic() - began < 4  # with the growth it is more than 10 s


def test_the_last_tenth_is_for_others_that_there_were_within_the_hour() -> None:
    """What comes for them stands behind what waits for the first one, and nobody knows of it."""
    bulkhead, began = Bulkhead(20), 100.0
    with pytest.MonkeyPatch.context() as patch, ExitStack() as permits:
        patch.setattr("unoapi.services.bulkhead.time.monotonic", lambda: began)
        with bulkhead.taken(B, Endpoint("2", "b")):
            pass
        patch.setattr("unoapi.services.bulkhead.time.monotonic", lambda: began + SEEN_S)
        for _ in range(18):
            permits.enter_context(bulkhead.taken(A, Endpoint("1", "a")))
        with pytest.raises(ShareUsed) as soon, bulkhead.taken(A, Endpoint("1", "a")):
            pass
        patch.setattr("unoapi.services.bulkhead.time.monotonic", lambda: began + SEEN_S + SLOW_S)
        with pytest.raises(ShareUsed) as slow, bulkhead.taken(A, Endpoint("1", "a")):
            pass
        permits.enter_context(bulkhead.taken(B, Endpoint("2", "b")))
        with pytest.raises(ShareUsed) as shared, bulkhead.taken(A, Endpoint("1", "a")):
            pass

    assert [caught.value.briefly for caught in (soon, slow, shared)] == [True, False, False]


def test_beside_others_only_who_is_very_quick_is_waited_for() -> None:
    """To put each message off costs more than to wait for answers that come at once."""
    bulkhead, began = Bulkhead(50), 100.0
    briefly = []
    with pytest.MonkeyPatch.context() as patch, ExitStack() as permits:
        patch.setattr("unoapi.services.bulkhead.time.monotonic", lambda: began)
        permits.enter_context(bulkhead.taken(B, Endpoint("2", "b")))
        for _ in range(20):
            permits.enter_context(bulkhead.taken(A, Endpoint("1", "a")))
        for after_s in (0.019, 0.021):
            patch.setattr("unoapi.services.bulkhead.time.monotonic", lambda at=began + after_s: at)
            with pytest.raises(ShareUsed) as caught, bulkhead.taken(A, Endpoint("1", "a")):
                pass
            briefly.append(caught.value.briefly)

    assert briefly == [True, False]


@pytest.mark.parametrize("others_wait", [True, False])
def test_all_endpoints_of_one_number_are_one(others_wait: bool) -> None:
    """One number has twenty webhooks, at as many hosts as it likes: a few slow ones had all threads."""
    bulkhead, most = Bulkhead(10), 4 if others_wait else 9
    with pytest.MonkeyPatch.context() as patch, ExitStack() as permits:
        with bulkhead.taken(B, Endpoint("2", "b")):
            pass
        later = time.monotonic() + (0 if others_wait else SEEN_S)
        patch.setattr("unoapi.services.bulkhead.time.monotonic", lambda: later)
        for number in range(most):
            permits.enter_context(bulkhead.taken(f"https://{number}.example", Endpoint("1", f"{number}")))
        for endpoint, phone in ((Endpoint("1", "another"), ""), (None, "1")):
            with pytest.raises(ShareUsed), bulkhead.taken("https://another.example", endpoint, phone=phone):
                pass
        permits.enter_context(bulkhead.taken("https://another.example", phone="3"))


def test_a_number_leaves_threads_to_others_at_the_same_origin() -> None:
    """Most numbers have one Chatwoot, and all that are at Meta one Meta."""
    bulkhead = Bulkhead(20)
    with bulkhead.taken(B, Endpoint("2", "b")):
        pass

    with ExitStack() as permits:
        for _ in range(8):
            permits.enter_context(bulkhead.taken(A, phone="1"))
        with pytest.raises(ShareUsed), bulkhead.taken(A, phone="1"):
            pass
        for _ in range(2):
            permits.enter_context(bulkhead.taken(A, phone="2"))
        with pytest.raises(ShareUsed), bulkhead.taken(A, phone="2"):
            pass


def test_as_many_threads_are_shared_as_there_are() -> None:
    bulkhead = Bulkhead(50)
    bulkhead.share_out(4)
    with bulkhead.taken(B, Endpoint("2", "b")):
        pass

    with ExitStack() as permits:
        for _ in range(2):
            permits.enter_context(bulkhead.taken(A, Endpoint("1", "a")))
        with pytest.raises(ShareUsed), bulkhead.taken(A, Endpoint("1", "a")):
            pass


def test_a_thread_is_given_back_after_an_error() -> None:
    bulkhead = Bulkhead(2)
    with bulkhead.taken(B, Endpoint(PHONE, "b")):
        pass

    for _ in range(5):
        with pytest.raises(ValueError, match="x"), bulkhead.taken(A, Endpoint(PHONE, "a")):
            raise ValueError("x")

    with bulkhead.taken(A, Endpoint(PHONE, "a")):
        pass


def test_all_endpoints_of_one_origin_get_half_of_the_threads_together() -> None:
    bulkhead = Bulkhead(4)
    with bulkhead.taken(B, Endpoint(PHONE, "b")):
        pass

    with ExitStack() as permits:
        permits.enter_context(bulkhead.taken("https://A.example:443/1", Endpoint("1", "a")))
        permits.enter_context(bulkhead.taken("https://a.example/2?x=1", Endpoint("2", "a")))
        with pytest.raises(Postponed), bulkhead.taken("https://a.example/3", Endpoint("3", "a")):
            pass
        permits.enter_context(bulkhead.taken("http://a.example/4", Endpoint("4", "a")))


def test_requests_that_are_no_deliveries_count_for_their_origin() -> None:
    bulkhead = Bulkhead(4)
    with bulkhead.taken(B):
        pass

    with ExitStack() as permits:
        permits.enter_context(bulkhead.taken(A))
        permits.enter_context(bulkhead.taken(A))
        with pytest.raises(Postponed), bulkhead.taken(A, Endpoint(PHONE, "a")):
            pass


def test_probes_use_a_tenth_of_the_threads() -> None:
    bulkhead = Bulkhead(20)

    with ExitStack() as permits:
        for _ in range(2):
            assert bulkhead.may_probe
            permits.enter_context(bulkhead.probing(True))
        permits.enter_context(bulkhead.probing(False))
        assert not bulkhead.may_probe
    assert bulkhead.may_probe


def test_who_has_no_place_to_probe_may_wait_a_moment_for_one() -> None:
    bulkhead = Bulkhead(10)

    with ExitStack() as taken:
        assert taken.enter_context(bulkhead.place_to_probe())
        with bulkhead.place_to_probe() as may_probe:
            assert not may_probe
        threading.Timer(0.05, taken.close).start()
        with bulkhead.place_to_probe(wait_s=10.0) as may_probe:
            assert may_probe
            assert not bulkhead.may_probe
    assert bulkhead.may_probe


def test_half_of_the_places_to_probe_are_for_receivers_that_have_none() -> None:
    bulkhead = Bulkhead(50)
    hangs, other, third = (("https", f"{name}.example", 443) for name in ("hangs", "other", "third"))

    with ExitStack() as taken:
        may_probe = [
            taken.enter_context(bulkhead.place_to_probe(receiver))
            for receiver in (hangs, hangs, hangs, other, other, hangs, third, None, None)
        ]
    assert may_probe == [True, True, False, True, False, False, True, True, False]
    with bulkhead.place_to_probe(hangs) as may_probe_again:
        assert may_probe_again


@pytest.mark.parametrize("threads", [1, 10, 20])
def test_with_few_threads_each_receiver_may_be_probed(threads: int) -> None:
    with Bulkhead(threads).place_to_probe(("https", "crm.example", 443)) as may_probe:
        assert may_probe


@pytest.mark.usefixtures("_switching")
def test_looks_that_probe_at_the_same_moment_take_no_more_than_their_places() -> None:
    bulkhead = Bulkhead(10)
    probing, most = list[str](), [0]

    def probe() -> None:
        for _ in range(200):
            with bulkhead.place_to_probe() as may_probe:
                if may_probe:
                    probing.append("one")
                    time.sleep(0)
                    most[0] = max(most[0], len(probing))
                    probing.pop()

    threads = [threading.Thread(target=probe) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == [1]


def test_the_reports_of_one_outage_share_an_id() -> None:
    down, again, up = (
        endpoint_report(make_delivery(id=f"d-{number}"), EndpointChange(down=is_down, since_ms=7))
        for number, is_down in enumerate((True, True, False))
    )

    assert down.id == again.id != up.id
    assert [json.loads(job.body)["type"] for job in (down, up)] == ["endpoint.down", "endpoint.up"]
    assert json.loads(down.body)["text"] == f"Session {PHONE}, webhook default is down: deliveries wait"
    assert not down.notify_on_failure
