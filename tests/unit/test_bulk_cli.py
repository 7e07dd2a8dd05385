"""`unoapi bulk` over parts in memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from tasks.app import make_worker
from tests.support.fakes import PHONE, MemoryCampaigns, MemoryPublisher, make_session
from tests.support.worker import make_uno, run
from unoapi.cli.main import cli

if TYPE_CHECKING:
    from pathlib import Path

    from unoapi.bootstrap import Uno

NOBODY = "UNO.CMD.0000000000000000"


@pytest.fixture
def uno(tmp_path: Path) -> Uno:
    return make_uno(make_session(provider="sandbox"), settings={"BASE_STORE": str(tmp_path / "store")})


def call(uno: Uno, *arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, ["bulk", *arguments], obj=uno)
    assert result.exit_code == code, result.output
    return result


def lines(result: Result) -> list[str]:
    """What was printed; here the log is, too."""
    return result.output.splitlines()


def work(uno: Uno, rounds: int = 3) -> None:
    """Let the workers do what waits."""
    worker, queues = make_worker(uno), uno.publisher
    assert isinstance(queues, MemoryPublisher)
    for _ in range(rounds):
        for job in queues.jobs("unoapi.media", "unoapi.bulk", "unoapi.delayed"):
            run(uno, job, worker=worker)


def begun(uno: Uno, tmp_path: Path, *options: str, text: str = "TELEFONE;NOME\n5549988887777;ANA\n123;BIA\n") -> Any:
    path = tmp_path / "lista.csv"
    path.write_text(text)
    return json.loads(lines(call(uno, "start", PHONE, str(path), "--yes", "--json", *options))[-1])


def test_a_campaign_is_previewed_resumed_paused_and_stopped(uno: Uno, tmp_path: Path) -> None:
    campaign = begun(uno, tmp_path, "--text", "Oi #NOME", "--dry-run", "--batch", "3", "--hours", "00:00-24:00")["id"]
    work(uno)

    shown = call(uno, "status", PHONE, campaign).output
    assert f"{campaign} is previewed: 0 of 1 rows are done." in shown
    assert "line 3: 123" in shown
    assert "running" in call(uno, "resume", PHONE, campaign).output
    assert "paused" in call(uno, "pause", PHONE, campaign).output
    assert "stopped" in call(uno, "stop", PHONE, campaign, "--yes").output
    assert "cannot be running" in call(uno, "resume", PHONE, campaign, code=1).output
    report = lines(call(uno, "report", PHONE, campaign))
    assert [line.split(";")[:2] for line in report if ";" in line] == [
        ["number", "status"],
        ["5549988887777", "stopped"],
        ["123", "bad-row"],
    ]


def test_campaigns_are_listed(uno: Uno, tmp_path: Path) -> None:
    assert "has no campaign" in call(uno, "status", PHONE).output
    campaign = begun(uno, tmp_path, "--name", "Oferta", "--text", "Oi")["id"]

    assert campaign in call(uno, "status", PHONE).output
    assert json.loads(lines(call(uno, "status", PHONE, "--json"))[-1])["name"] == "Oferta"


def test_a_bar_ends_when_nothing_more_happens_by_itself(uno: Uno, tmp_path: Path) -> None:
    campaign = begun(uno, tmp_path, "--dry-run", "--text", "Oi")["id"]
    work(uno)

    assert "previewed" in call(uno, "status", PHONE, campaign, "--follow").output


def test_a_file_that_is_none_fails_the_command(uno: Uno, tmp_path: Path) -> None:
    campaign = begun(uno, tmp_path, text="A;B\n1;2\n")["id"]
    work(uno)

    assert "no column of the first row" in call(uno, "status", PHONE, campaign, code=1).output


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--text", "x", "--message", "{}"], 2, "not both"),
        (["--message", "{}"], 2, "is JSON as"),
        (["--message", "["], 2, "is JSON as"),
        (["--hours", "18:00-09:00"], 1, "hours"),
        (["--batch", "0"], 1, "batch"),
    ],
)
def test_what_is_no_campaign_is_refused(uno: Uno, tmp_path: Path, options: list[str], code: int, says: str) -> None:
    path = tmp_path / "lista.csv"
    path.write_text("TELEFONE\n5549988887777\n")

    assert says in call(uno, "start", PHONE, str(path), "--yes", *options, code=code).output


@pytest.mark.parametrize("verb", ["status", "pause", "resume", "report"])
def test_a_campaign_that_is_not_there_is_said_so(uno: Uno, verb: str) -> None:
    assert NOBODY in call(uno, verb, PHONE, NOBODY, code=1).output


def test_without_redis_the_command_says_so(uno: Uno) -> None:
    assert isinstance(uno.campaigns, MemoryCampaigns)
    uno.campaigns.away = True

    assert "Redis is away" in call(uno, "status", PHONE, code=1).output
