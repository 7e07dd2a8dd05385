"""The receiver is the witness of every other test, so it is questioned first."""

import http.client
import time
from collections.abc import Iterator

import pytest

from tests.support.receiver import Behaviour, Receiver, in_share

BODY = '{"id":"wamid.1"}'


@pytest.fixture(scope="module")
def process() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def receiver(process: Receiver) -> Receiver:
    process.clear()
    process.record("full")
    process.script("/", Behaviour())
    return process


def post(receiver: Receiver, path: str, delivery_id: str = "one", times: int = 1) -> list[int]:
    connection = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=5)
    statuses = []
    for _ in range(times):
        connection.request("POST", path, BODY, {"Webhook-Id": delivery_id})
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
    connection.close()
    return statuses


def test_what_came_is_remembered(receiver: Receiver) -> None:
    before = time.time()

    post(receiver, "/hook/5511", "a")

    [request] = receiver.requests("/hook")
    assert (request.method, request.path, request.body) == ("POST", "/hook/5511", BODY)
    assert request.headers["webhook-id"] == "a"
    assert before <= request.received_at <= time.time()


def test_a_path_stands_for_what_is_below_it_and_for_nothing_else(receiver: Receiver) -> None:
    receiver.script("/hook1", Behaviour(status=503, headers={"Retry-After": "7"}))

    assert post(receiver, "/hook1/5511") == [503]
    assert post(receiver, "/hook10") == [200]
    assert (receiver.count("/hook1"), receiver.count("/hook10"), receiver.count()) == (1, 1, 2)


def test_ids_fail_as_often_as_scripted(receiver: Receiver) -> None:
    receiver.script("/", Behaviour(failures=2, failure_statuses=(500, 429)))

    assert post(receiver, "/", "a", times=4) == [500, 429, 200, 200]
    assert post(receiver, "/", "b") == [500]
    assert receiver.ids() == {"a": (4, 2), "b": (1, 0)}


def test_only_the_chosen_share_of_ids_fails(receiver: Receiver) -> None:
    receiver.script("/", Behaviour(failures=1, share=0.2))
    ids = [str(number) for number in range(200)]

    failed = [delivery_id for delivery_id in ids if post(receiver, "/", delivery_id) == [500]]

    assert failed == [delivery_id for delivery_id in ids if in_share(delivery_id, 0.2)]
    assert 20 < len(failed) < 60


def test_counting_keeps_numbers_and_keys_but_no_requests(receiver: Receiver) -> None:
    receiver.record("count", key=r'"id":"([^"]+)"')

    post(receiver, "/", "a", times=2)

    assert receiver.requests() == []
    assert receiver.ids() == {"a": (2, 2)}
    assert receiver.keys() == {"wamid.1": (2, 2)}
    assert len(receiver.times()) == receiver.wait(2) == 2


def test_an_answer_can_be_slow_or_missing(receiver: Receiver) -> None:
    receiver.script("/slow", Behaviour(delay_ms=150))
    receiver.script("/gone", Behaviour(status=0))
    start = time.monotonic()

    assert post(receiver, "/slow") == [200]
    assert time.monotonic() - start >= 0.15
    with pytest.raises(http.client.RemoteDisconnected):
        post(receiver, "/gone")


def test_the_process_is_gone_after_the_block() -> None:
    with Receiver() as receiver:
        assert receiver.count() == 0

    assert receiver.process.returncode is not None
