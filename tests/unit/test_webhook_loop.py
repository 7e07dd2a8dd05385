"""Many exchanges at once in one thread: each gets its own answer, and no tenant another one's connection.

What single exchanges do is tested together with the handles that wait, by the fixture `sender`.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pycurl
import pytest

from tests.support.raw_http_server import LOOPBACK, OK, Listen, answer_with, connections_of, mute
from unoapi.http.webhook_client import WebhookClient, WebhookExchange, WebhookRequest
from unoapi.http.webhook_loop import AVOIDED_S, NAMES_CHECKED_EACH_S, WebhookLoop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.models.attempts import Answer


@pytest.fixture
def loop() -> Iterator[WebhookLoop]:
    running = WebhookLoop(LOOPBACK, WebhookClient(LOOPBACK))
    yield running
    running.close()


def request(url: str, *, tenant: str = "5511", timeout_ms: int = 5000) -> WebhookRequest:
    return WebhookRequest(url=url, body=b"{}", headers=(), tenant=tenant, timeout_ms=timeout_ms)


def turn_until(loop: WebhookLoop, answers: list[Answer], count: int) -> None:
    ends = time.monotonic() + 10
    while len(answers) < count:
        assert time.monotonic() < ends
        loop.turn(0.5)


def test_a_receiver_that_never_answers_holds_up_no_other(loop: WebhookLoop, listen: Listen) -> None:
    silent, prompt = listen(mute), listen(OK)
    late: list[Answer] = []
    soon: list[Answer] = []

    loop.begin(request(silent.url, timeout_ms=1000), late.append)
    for number in range(20):
        loop.begin(request(prompt.url, tenant=f"55{number}"), soon.append)
    turn_until(loop, soon, 20)

    assert loop.under_way == 1
    assert [answer.status for answer in soon] == [200] * 20
    assert late == []
    turn_until(loop, late, 1)
    assert late[0].status is None
    assert late[0].failed_at == "answer"
    assert loop.under_way == 0


def test_each_exchange_gets_its_own_answer(loop: WebhookLoop, listen: Listen) -> None:
    receivers = {status: listen(answer_with(status)) for status in (200, 404, 500, 503)}
    answers: dict[int, list[Answer]] = {status: [] for status in receivers}

    for status, receiver in receivers.items():
        loop.begin(request(receiver.url), answers[status].append)
    while loop.under_way:
        loop.turn(0.5)

    assert {status: [answer.status for answer in got] for status, got in answers.items()} == {
        status: [status] for status in receivers
    }


def test_tenants_at_one_receiver_never_share_a_connection_though_they_are_at_it_at_once(
    loop: WebhookLoop, listen: Listen
) -> None:
    receiver = listen(OK)
    answers: list[Answer] = []

    for _ in range(4):
        for tenant in ("5511", "5522", "5533"):
            loop.begin(request(f"{receiver.url}/{tenant}", tenant=tenant), answers.append)
        turn_until(loop, answers, len(answers) + 1)
        while loop.under_way:
            loop.turn(0.5)

    tenants: dict[int, set[str]] = {}
    for number, received in zip(connections_of(receiver), receiver.requests, strict=True):
        tenants.setdefault(number, set()).add(received.head.split(" ")[1])
    assert all(len(paths) == 1 for paths in tenants.values())
    assert len(tenants) == 3


def test_the_connections_of_who_was_idle_longest_give_way(
    loop: WebhookLoop, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unoapi.http.webhook_loop.MOST_KEPT", 2)
    receiver = listen(OK)
    answers: list[Answer] = []

    for tenant in ("5511", "5522", "5533", "5522", "5511"):
        loop.begin(request(f"{receiver.url}/{tenant}", tenant=tenant), answers.append)
        turn_until(loop, answers, len(answers) + 1)

    first, second, third, second_again, first_again = connections_of(receiver)
    assert second_again == second
    assert first_again not in {first, second, third}


def test_there_are_as_many_handles_as_exchanges_at_once_however_many_tenants(
    loop: WebhookLoop, listen: Listen, exchanges_made: list[WebhookExchange]
) -> None:
    receiver = listen(OK)
    answers: list[Answer] = []

    for number in range(20):
        for tenant in (f"55{number}", f"56{number}"):
            loop.begin(request(receiver.url, tenant=tenant), answers.append)
        turn_until(loop, answers, 2 * number + 2)

    assert [answer.status for answer in answers] == [200] * 40
    assert len(set(connections_of(receiver))) == 40
    assert len(exchanges_made) == 2


def test_an_address_that_cannot_be_called_is_answered_at_once(loop: WebhookLoop) -> None:
    answers: list[Answer] = []

    loop.begin(request("no address"), answers.append)

    assert answers[0].status is None
    assert loop.under_way == 0


def test_a_name_is_looked_up_once_at_a_time_until_it_is_known(loop: WebhookLoop, listen: Listen) -> None:
    """Otherwise a name server that is silent would hold all threads that look up, and with them everybody."""
    receiver = listen(OK)
    url = receiver.url.replace("127.0.0.1", "localhost")
    answers: list[Answer] = []
    assert loop.takes(url)

    loop.begin(request(url), answers.append)
    while_it_is_looked_up = loop.takes(f"{url}/of/another/tenant"), loop.takes(receiver.url)
    turn_until(loop, answers, 1)

    assert while_it_is_looked_up == (False, True)
    assert loop.takes(url)
    loop.begin(request(url), answers.append)
    assert loop.takes(url)
    turn_until(loop, answers, 2)


def test_a_name_that_leads_nowhere_is_left_to_threads_of_its_own_for_a_while(
    loop: WebhookLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "http://no-such-name.invalid/"
    answers: list[Answer] = []

    loop.begin(request(url, timeout_ms=1000), answers.append)
    turn_until(loop, answers, 1)

    assert answers[0].failed_at == "name"
    assert not loop.takes(url)
    assert loop.takes("http://another-name.invalid/")
    later = time.monotonic() + AVOIDED_S
    monkeypatch.setattr("unoapi.http.webhook_loop.time.monotonic", lambda: later)
    assert loop.takes(url)


def test_the_names_that_are_remembered_are_bounded(loop: WebhookLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unoapi.http.webhook_loop.MOST_NAMES", 2)
    urls = [f"http://name-{number}.invalid/" for number in range(3)]
    answers: list[Answer] = []

    for number, url in enumerate(urls):
        loop.begin(request(url, timeout_ms=1000), answers.append)
        turn_until(loop, answers, number + 1)

    assert [loop.takes(url) for url in urls] == [True, False, False]


def test_hosts_that_libcurl_remembers_are_gone_through_once_a_second_and_where_one_is_looked_up(
    loop: WebhookLoop, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With thousands of hosts that costs as much as half of a post. They are forgotten nevertheless."""

    class Watched(pycurl.Curl):
        def setopt(self, option: int, value: object | None, **more: bool) -> None:
            if option == pycurl.DNS_CACHE_TIMEOUT:
                kept_for_ever.append(value)
            super().setopt(option, value, **more)

    kept_for_ever: list[object] = []
    answers: list[Answer] = []
    monkeypatch.setattr(pycurl, "Curl", Watched)
    receiver = listen(OK)

    def post(url: str) -> int:
        kept_for_ever.clear()
        loop.begin(request(url), answers.append)
        turn_until(loop, answers, len(answers) + 1)
        return len(kept_for_ever)

    assert sum(post(receiver.url) for _ in range(20)) in (18, 19)  # a second may begin meanwhile
    named = receiver.url.replace("127.0.0.1", "localhost")
    assert post(named) == 0
    time.sleep(NAMES_CHECKED_EACH_S)
    assert [post(named), post(named), post(receiver.url)] == [0, 1, 1]


def test_a_turn_that_waits_ends_when_it_is_woken(loop: WebhookLoop) -> None:
    loop.turn(0.0)
    began = time.monotonic()
    threading.Timer(0.1, loop.wake).start()

    loop.turn(10.0)

    assert time.monotonic() - began < 5
    for _ in range(100_000):
        loop.wake()  # never waits, however often it is called


def test_who_wakes_a_loop_that_is_closed_learns_nothing_of_it() -> None:
    """Redis may answer when the process has stopped."""
    closed = WebhookLoop(LOOPBACK, WebhookClient(LOOPBACK))
    closed.close()

    closed.wake()
