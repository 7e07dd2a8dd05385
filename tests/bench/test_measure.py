"""How one number comes out of many runs."""

import os
import resource
import subprocess
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.bench import contenders, load
from tests.bench.measure import Figures, Rounds, Row, Run, compared_pairs, interleaved, percentiles, rate, table
from tests.bench.processes import PYTHON, forget_surroundings, log_tail, running
from tests.bench.stage import QUICK, Stage
from tests.support.constants import ROOT
from tests.support.receiver import Behaviour, Receiver
from tests.support.stack import eventually


def test_the_first_tenth_of_a_run_does_not_count() -> None:
    slow_start = [0.0, 5.0, *(10.0 + number / 10 for number in range(18))]

    assert rate(reversed(slow_start)) == pytest.approx(10.0)


def test_percentiles_are_in_milliseconds() -> None:
    figures = percentiles([0.001 * number for number in range(101)])

    assert figures["p50_ms"] == pytest.approx(55.0)
    assert figures["p95_ms"] == pytest.approx(96.4)


def test_contenders_take_turns_in_going_first() -> None:
    calls: list[str] = []

    def contender(name: str, *figures: float) -> Run:
        left = iter(figures)

        def run() -> Figures:
            calls.append(name)
            return {"per_s": next(left)}

        return run

    rounds = interleaved({"ours": contender("ours", 10, 30, 60), "plain": contender("plain", 10, 10, 30)}, 3)

    assert calls == ["ours", "plain", "plain", "ours", "ours", "plain"]
    assert rounds.median("ours", "per_s") == 30
    assert rounds.ratio("ours", "plain", "per_s") == 2


@pytest.mark.parametrize(
    ("ratio", "bars", "ok"),
    [
        (1.1, {"at_least": 1.1}, True),
        (1.0, {"at_least": 1.1}, False),
        (7.0, {"at_most": 6.0}, False),
        (1.2, {"at_least": 0.85, "at_most": 1.15}, False),
        (0.1, {}, True),
    ],
)
def test_a_bar_is_met_or_missed(ratio: float, bars: dict[str, float], ok: bool) -> None:
    assert Row(name="", ours=ratio, baseline=1, ratio=ratio, **bars).ok is ok


def test_two_pairs_are_compared_round_by_round() -> None:
    rates = [(90, 100, 45, 50), (40, 100, 10, 50), (80, 100, 50, 50)]
    names = ("ours to many", "ours to one", "theirs to many", "theirs to one")
    rounds = Rounds([{name: {"per_s": at} for name, at in zip(names, one, strict=True)} for one in rates])

    row = compared_pairs("", rounds, names[:2], names[2:], "per_s", at_least=1)

    assert (row.ours, row.baseline, row.ratio) == (0.8, 0.9, 1.0)  # 0.8 / 0.9 is of no round


def test_the_table_shows_a_ratio_that_is_compared_with_two_digits() -> None:
    _, ours, baseline, *_ = table([Row(name="", ours=1.04, baseline=0.81, ratio=1.28)]).columns

    assert [*ours.cells, *baseline.cells] == ["1.04", "0.81"]


def test_hostile_addresses_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AMQP_URL", "redis_url", "UNOAPI_AUTH_TOKEN", "CELERY_BROKER_URL", "HTTP_PROXY", "DOTENV_CONFIG_PATH"):
        monkeypatch.setenv(name, "hostile")
    monkeypatch.setenv("PATH", os.environ["PATH"])

    forget_surroundings()

    assert "hostile" not in os.environ.values()


def test_nothing_of_a_command_is_left_after_the_block(tmp_path: Path) -> None:
    with running(["sh", "-c", "sleep 60 & sleep 60"], environment={}, folder=tmp_path) as [process]:
        eventually(lambda: len(process.children()) == 2, what="two children", within_s=5)
        family = [process, *process.children()]

    _, alive = psutil.wait_procs(family, timeout=1)
    assert [member for member in alive if member.status() != psutil.STATUS_ZOMBIE] == []


def test_the_processes_of_another_checkout_run_its_code(tmp_path: Path) -> None:
    older = tmp_path / "older"
    (older / "unoapi").mkdir(parents=True)
    (older / "unoapi" / "__init__.py").write_text("print('the code of', __file__)")

    with running([*PYTHON, "unoapi"], environment={}, folder=tmp_path, checkout=older):
        eventually(lambda: log_tail(tmp_path), what="a line", within_s=10)

    assert log_tail(tmp_path)[0] == f"the code of {older / 'unoapi' / '__init__.py'}"


def test_the_load_generator_makes_every_request_once_and_keeps_to_its_rate() -> None:
    with Receiver() as receiver:
        receiver.script("/", Behaviour(headers={"Content-Type": "text/plain"}))
        command = [*PYTHON, load.__name__, "--port", str(receiver.port), "--path", "/x", "--requests", "50"]
        command += ["--rate", "100", "--clients", "4", "--header", "Authorization: secret"]
        subprocess.run(command, cwd=ROOT, input="number {n}", text=True, capture_output=True, timeout=20, check=True)
        requests = receiver.requests("/x")

    assert sorted(int(request.body.removeprefix("number ")) for request in requests) == list(range(50))
    assert all(request.headers["authorization"] == "secret" for request in requests)
    assert 0.45 <= requests[-1].received_at - requests[0].received_at <= 1.0


def test_posts_to_many_endpoints_need_no_more_open_files_than_a_system_begins_with(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    sizes = replace(QUICK, messages=900)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with Receiver() as receiver:
            stage = Stage(
                baseline_url="",
                amqp_url="",
                redis_url="",
                receiver=receiver,
                folder=tmp_path,
                authority=tmp_path,
                sizes=sizes,
            )
            figures = contenders.posts(stage, 300)
            answered = receiver.count("/posts")
        bound_afterwards, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert figures["per_s"] > 0
    assert (answered, bound_afterwards) == (900, 256)
