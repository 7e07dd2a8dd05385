"""The command line: one form for all commands, mistakes that are named, and nothing undone without a question."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from tests.support.api import api as serve_api
from tests.support.api import make_settings
from tests.support.fakes import (
    PHONE,
    MemoryDeadLetterHolder,
    MemoryDeadLetterQueue,
    MemoryDeliveries,
    MemoryPublisher,
    MemorySends,
    MemoryTraces,
    make_delivery,
)
from tests.support.stack import ROOT, eventually
from unoapi.bootstrap import bootstrap
from unoapi.cli.main import COMMANDS, cli
from unoapi.cli.options import TimeSpan, written
from unoapi.connector import __main__ as connector
from unoapi.devenv.packages import REDIS
from unoapi.devenv.servers import PrivateServers
from unoapi.models.attempts import History
from unoapi.models.dead_letters import DeadLetter
from unoapi.models.former_settings import misspelt_names
from unoapi.models.jobs import now_ms
from unoapi.models.trace import TraceEntry
from unoapi.services.dead_letters import BROKER_REASONS, DeadLetters
from unoapi.settings import setting_names
from unoapi.stores.circuit_breakers import breaker_key
from unoapi.telemetry.metrics import reasons

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result

    from tests.support.api import Api

NOWHERE = "amqp://user:a-secret-password@127.0.0.1:1/other"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("redis")
    with PrivateServers(folder, wanted=(REDIS,)) as redis, serve_api(redis, tmp_path_factory.mktemp("cli")) as running:
        yield running


@pytest.fixture
def letters(api: Api) -> list[DeadLetter]:
    """What is in the dead queue: two of one webhook, one of another."""
    api.register([{"id": "crm", "urlAbsolute": "https://crm.example/hook"}], label="Shop")
    died = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    return [
        DeadLetter(
            id=job.id, queue="unoapi.outgoing", reason=reason, error="HTTP 503 from the receiver of the events",
            traceback="", died_at=died, task=job.task, history=History(), job=job, body=b"", headers={}, properties={},
        )
        for job, reason in (
            (make_delivery(), "refused"),
            (make_delivery(id="3f1c9b5e-6b1d-4f0a-9d39-2f8a6b0c7d11"), "refused"),
            (make_delivery(id="4f1c9b5e-6b1d-4f0a-9d39-2f8a6b0c7d11", webhook_id="crm"), "unreachable"),
        )
    ]  # fmt: skip


@pytest.fixture
def run(api: Api, letters: list[DeadLetter]) -> Any:
    """Call the program in this process, with a terminal of so many columns."""
    queue = MemoryDeadLetterQueue(*letters)

    def call(*words: str, columns: int = 80, answer: str = "") -> Result:
        service = DeadLetters(
            queue, MemoryDeadLetterHolder(), deliveries=MemoryDeliveries(), sends=MemorySends(), traces=MemoryTraces()
        )
        joined = replace(bootstrap(api.settings), publisher=MemoryPublisher(), dead_letters=service)
        width = max(min(columns, 80) - 2, 50)  # as click takes it from a terminal; its runner takes 80
        return CliRunner().invoke(
            cli, words, obj=joined, input=answer, env={"COLUMNS": f"{columns}"}, terminal_width=width
        )

    call.queue = queue  # type: ignore[attr-defined]
    return call


def test_the_list_of_commands_says_what_each_says_itself_and_imports_none() -> None:
    run_it = "import sys, unoapi.cli.main as main; main.cli(['-h'], standalone_mode=False)"
    check = f"{run_it}; print('unoapi.bootstrap' in sys.modules)"
    listed = subprocess.run(
        [sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    context = click.Context(cli)

    said = {name: command.get_short_help_str(80) for name in COMMANDS if (command := cli.get_command(context, name))}

    assert said == COMMANDS
    assert set(COMMANDS) < set(cli.list_commands(context))
    for name, line in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(line)}$", listed.stdout, re.MULTILINE), listed.stdout
    assert listed.stdout.endswith("False\n")


def every_command(group: click.Group = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from every_command(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("words", list(every_command()), ids=" ".join)
def test_every_command_helps_within_80_columns(run: Any, words: tuple[str, ...]) -> None:
    shown = run(*words, "-h")

    assert shown.exit_code == 0
    assert max(map(len, shown.output.splitlines())) <= 80


@pytest.mark.parametrize("group", sorted({words[:-1] for words in every_command()}), ids=" ".join)
def test_no_line_of_a_list_of_commands_is_cut(run: Any, group: tuple[str, ...]) -> None:
    shown = run(*group, "--help").output

    assert "..." not in shown.partition("Commands:")[2]
    assert group or "Exit codes: 0 done" in shown


DOES = {("help",), ("endpoint", "pause"), ("endpoint", "resume"), ("endpoint", "drop"), ("session", "remove")}
DOES |= {("completion",), ("session", "confirm"), ("session", "export")}
DOES |= {("bulk", "pause"), ("bulk", "resume"), ("bulk", "stop"), ("bulk", "report")}
"""Commands that do something and answer with a sentence; all others have something to show."""


@pytest.mark.parametrize("words", [words for words in every_command() if words not in DOES], ids=" ".join)
def test_every_command_that_shows_something_can_print_json(run: Any, words: tuple[str, ...]) -> None:
    assert "--json" in run(*words, "--help").output


MISTAKES: list[tuple[tuple[str, ...], int, str]] = [
    (("deads",), 2, "Did you mean 'dead'?"),
    (("dead", "lst"), 2, "Did you mean 'list'?"),
    (("dead", "list", "--resaon", "x"), 2, "'--reason'?"),
    (("dead", "list", "--older-than", "7"), 0, ""),
    (("dead", "list", "--older-than", "week"), 2, "'week' is not a time span such as 90s, 30m, 12h or 7d"),
    (("dead", "list", "--limit", "0"), 2, "--limit"),
    (("dead", "show", "nope"), 1, "There is no dead letter nope."),
    (("dead", "replay", "nope"), 1, "There is no dead letter nope."),
    (("dead", "replay", "--rate", "0"), 2, "--rate"),
    (("dead", "purge", "nope"), 1, "There is no dead letter nope."),
    (("endpoint", "pause", PHONE, "crmm"), 1, f"The number {PHONE} has no webhook 'crmm'. It has: 'crm'."),
    (("endpoint", "pause", PHONE, "crm", "--for", "3d"), 2, "'3d' must be from 1s to 2d"),
    (("endpoint", "pause", PHONE, "crm", "--for", "0s"), 2, "must be from 1s to 2d"),
    (("endpoint", "test", PHONE), 2, "Missing argument 'WEBHOOK_ID'"),
    (("session", "show", "5511888880000"), 1, "The number 5511888880000 is not stored"),
    (("trace", "wamid.nope"), 1, "Nothing is known of wamid.nope"),
    (("release", "--wait", "soon"), 2, "is not a time span such as 90s"),
    (("session", "import", "/nowhere/at-all.json"), 2, "No such file or directory"),
    (("queues",), 1, "check AMQP_URL"),
    (("dead", "list", "--reason", "refusd"), 2, "did you mean refused?"),
    (("dead", "list", "--queue", "incoming"), 0, "did you mean unoapi.incoming?"),
    (("dead", "list", "--phone", "5511888880000"), 0, "The number 5511888880000 is not stored here"),
    (("dead", "list", "--phone", "abc"), 2, "'abc' is no number: digits only, such as 5511999990000"),
    (("endpoint", "list", "5511888880000"), 1, "The number 5511888880000 is not registered"),
    (("endpoint", "pause", "5511888880000", "crm"), 1, "The number 5511888880000 is not registered"),
    (("endpoint", "list", "crm"), 2, "'crm' is no number"),
    (("session", "show", "wamid.X"), 2, "'wamid.X' is no number"),
    (("listen", "5511888880000"), 1, "The number 5511888880000 is not registered"),
    (("trace", "--to", "abc"), 2, "must be a phone, its last digits (at least 4)"),
    (("trace",), 2, "name a message id, or find one by --to"),
    (("trace", "--state", "lost", "--to", "5549"), 2, "'accepted'"),
    (("bulk", "start", PHONE, "/nowhere/list.csv"), 2, "No such file or directory"),
    (("bulk", "start", "5511888880000", __file__, "--text", "x"), 1, "The number 5511888880000 is not registered"),
    (("bulk", "start", PHONE, __file__, "--message", "hello"), 2, "--message is JSON as"),
    (("bulk", "status", PHONE, "UNO.CMD.0"), 1, f"{PHONE} has no campaign UNO.CMD.0"),
    (("events", "replay", "--phone", PHONE, "--webhook", "crm", "--since", "yesterday"), 2, "nor a date such as 2026"),
    (("events", "show", "--phone", PHONE, "--webhook", "crm"), 1, "There was no replay to this webhook"),
    (("doctor", "/nowhere/.env"), 2, "does not exist"),
    (("completion", "powershell"), 2, "'bash', 'zsh', 'fish'"),
    (("help", "deads"), 2, "Did you mean 'dead'?"),
    (("help", "dead", "list"), 0, "List dead letters. Nothing is changed."),
]


@pytest.mark.parametrize(("words", "code", "said"), MISTAKES, ids=[" ".join(words) for words, _, _ in MISTAKES])
def test_a_mistake_on_the_command_line_is_named(run: Any, words: tuple[str, ...], code: int, said: str) -> None:
    done = run(*words)

    assert done.exit_code == code, done.output
    assert said in " ".join(done.output.split())
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("words", "question"),
    [
        (("dead", "replay"), "Put ALL dead letters back, 3 of them?"),
        (("dead", "purge"), "Throw ALL dead letters away?"),
        (("endpoint", "drop", PHONE, "crm"), "Give up all that waits for this webhook?"),
        (("session", "remove", PHONE), f"Remove {PHONE}?"),
        (("session", "confirm"), "Are the 1 numbers that are stored now all there are?"),
    ],
)
def test_what_cannot_be_undone_asks_first(
    api: Api, run: Any, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], question: str
) -> None:
    monkeypatch.setattr("unoapi.cli.session.is_asked", lambda: True)

    done = run(*words, answer="n\n")

    assert question in done.output
    assert done.exit_code == 1
    assert len(run.queue.dead_letters) == 3
    assert api.uno.sessions.config(PHONE) is not None


@pytest.mark.parametrize("columns", [60, 80, 119])
def test_a_narrow_terminal_shows_reason_message_and_error_of_each_dead_letter(
    run: Any, letters: list[DeadLetter], columns: int
) -> None:
    shown = run("dead", "list", columns=columns).output

    assert max(map(len, shown.splitlines())) <= columns
    for letter in letters:
        block = shown.partition(letter.id)[2]
        assert block.index(letter.reason) < block.index(letter.message_id) < block.index("HTTP 503")


def test_a_wide_terminal_shows_a_line_for_each(run: Any, letters: list[DeadLetter]) -> None:
    lines = run("dead", "list", columns=200).output.splitlines()

    assert len(lines) == 1 + len(letters) + 1
    assert all(letter.id in line and letter.reason in line for letter, line in zip(letters, lines[1:], strict=False))


def test_dead_letters_are_counted_by_reason_number_and_webhook(run: Any) -> None:
    groups = [json.loads(line) for line in run("dead", "list", "--summary", "--json").output.splitlines()]

    assert [(group["count"], group["reason"], group["webhook"]) for group in groups] == [
        (2, "refused", "default"),
        (1, "unreachable", "crm"),
    ]
    assert groups[0]["oldest"] == "2026-01-02T03:04:05+00:00"


def test_a_list_ends_at_its_limit(run: Any) -> None:
    assert len(run("dead", "list", "--json", "--limit", "2").output.splitlines()) == 2


def test_the_outcomes_of_a_purge_are_json_when_asked_for(run: Any) -> None:
    done = run("dead", "purge", "--webhook", "crm", "--json")

    assert json.loads(done.output) == {"purged": 1}


def test_the_list_of_numbers_shows_label_state_and_webhooks(run: Any) -> None:
    (line,) = map(json.loads, run("session", "list", "--json").output.splitlines())
    table = run("session", "list").output

    assert line == {"phone": PHONE, "label": "Shop", "provider": "sandbox", "status": "online", "webhooks": ["crm"]}
    assert all(word in table for word in (PHONE, "Shop", "sandbox", "online", "crm"))


def test_the_list_of_endpoints_shows_pauses(run: Any) -> None:
    run("endpoint", "pause", PHONE, "crm", "--for", "30m")

    (line,) = map(json.loads, run("endpoint", "list", PHONE, "--json").output.splitlines())

    assert (line["webhook"], line["state"]) == ("crm", "paused")
    assert 1_700_000 < line["paused_ms"] <= 1_800_000
    assert "paused" in run("endpoint", "list").output
    assert run("endpoint", "resume", PHONE, "crm").output == "Resumed.\n"


def test_resume_lets_an_endpoint_that_is_down_be_tried_now(api: Api, run: Any) -> None:
    endpoint = make_delivery(webhook_id="crm").endpoint
    api.redis.set(breaker_key(endpoint), f"open {now_ms() - 9000} {now_ms() + 60_000} 60000 delivery-1")

    assert json.loads(run("endpoint", "list", PHONE, "--json").output)["next_probe_ms"] > 50_000
    assert run("endpoint", "resume", PHONE, "crm").output == "Resumed.\n"

    (line,) = map(json.loads, run("endpoint", "list", PHONE, "--json").output.splitlines())
    assert (line["state"], line["next_probe_ms"]) == ("down", 0)
    api.redis.delete(breaker_key(endpoint))
    assert run("endpoint", "resume", PHONE, "crm").output == "It was neither paused nor down.\n"


def test_a_trace_fits_into_80_columns_and_a_pipe(api: Api, run: Any) -> None:
    api.uno.traces.add(TraceEntry(step="accepted", phone=PHONE, message_id="wamid.ONE", kind="text"))

    eventually(lambda: api.uno.traces.find("wamid.ONE"), within_s=5, what="the step of the trace")
    shown = run("trace", "wamid.ONE").output

    assert max(map(len, shown.splitlines())) <= 80
    assert "accepted" in shown
    assert not set("┃━│─") & set(shown)


def test_everything_of_the_topology_is_json_when_asked_for(run: Any) -> None:
    kinds = Counter(json.loads(line)["kind"] for line in run("topology", "--json").output.splitlines())

    assert kinds["exchange"] == 3
    assert kinds["queue"] > 20


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("AMQP_URL", NOWHERE, "amqp://127.0.0.1:1/other: RabbitMQ is not reachable; check AMQP_URL"),
        ("REDIS_URL", "redis://:a-secret-password@127.0.0.1:1", "redis://127.0.0.1:1"),
    ],
)
def test_a_server_that_is_away_is_named_with_its_setting_and_without_its_login(
    tmp_path: Path, variable: str, value: str, words: str
) -> None:
    joined = bootstrap(make_settings(BASE_STORE=str(tmp_path), **{variable: value}))

    done = CliRunner().invoke(cli, ["release", "--wait", "1s"], obj=joined)

    assert words in done.output
    assert "a-secret-password" not in done.output


@pytest.mark.parametrize(
    "words",
    [
        ("session", "list"), ("session", "show", PHONE), ("session", "export", "-"), ("endpoint", "list"),
        ("endpoint", "test", PHONE, "crm"), ("endpoint", "pause", PHONE, "crm"), ("trace", "wamid.X"),
        ("trace", "--phone", PHONE), ("listen", PHONE), ("bulk", "status", PHONE),
        ("events", "replay", "--phone", PHONE, "--webhook", "crm", "--since", "1d"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_every_command_says_where_redis_is_that_does_not_answer(words: tuple[str, ...], tmp_path: Path) -> None:
    joined = bootstrap(make_settings(BASE_STORE=str(tmp_path), REDIS_URL="redis://:a-secret-password@127.0.0.1:1"))

    done = CliRunner().invoke(cli, words, obj=joined)

    assert done.exit_code == 1
    assert "redis://127.0.0.1:1; check REDIS_URL" in done.output
    assert "a-secret-password" not in done.output


@pytest.mark.parametrize(
    ("words", "span"), [("90s", 90), ("30m", 1800), ("12h", 43_200), ("7d", 604_800), ("45", 45), ("1.5s", 1.5)]
)
def test_time_spans_are_read_and_written(words: str, span: float) -> None:
    read = TimeSpan().convert(words, None, None)

    assert read == timedelta(seconds=span)
    assert TimeSpan().convert(written(timedelta(seconds=round(span))), None, None) == timedelta(seconds=round(span))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("UNOAPI_MESAGE_RETRY_LIMIT", "UNOAPI_MESSAGE_RETRY_LIMIT"),
        ("WEBHOOK_TIMOUT_MS", "WEBHOOK_TIMEOUT_MS"),
        ("UNOAPI_WEB_REPLICAS", None),
        ("COMPOSE_PROJECT_NAME", None),
        ("FETCH_TIMEOUT_MS", None),
        ("UNO_LOG_LEVEL", None),
    ],
)
def test_a_setting_that_is_misspelt_is_named_with_the_right_one(
    run: Any, monkeypatch: pytest.MonkeyPatch, name: str, meant: str | None
) -> None:
    monkeypatch.setenv(name, "1")

    assert misspelt_names({name: "1"}, settings=setting_names()).get(name) == meant
    assert (f"{name} is not a setting and does nothing; did you mean {meant}?" in run("release").output) == bool(meant)


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), (["--server", "x"], 2)])
def test_the_connector_takes_no_arguments_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], code: int
) -> None:
    monkeypatch.setattr("sys.argv", ["unoapi.connector", *words])

    assert connector.main() == code
    assert "It takes no arguments" in "".join(capsys.readouterr())


def test_the_numbers_of_one_installation_are_stored_on_an_empty_one(api: Api, run: Any, tmp_path: Path) -> None:
    hook = {"id": "crm", "urlAbsolute": "https://crm.example/hook", "secret": "the-secret-of-the-webhook"}
    api.register([hook], label="Shop")
    api.post(f"/v15.0/{PHONE}/templates", {"name": "greeting", "components": [{"type": "BODY", "text": "Hello"}]})
    before, templates = api.uno.sessions.config(PHONE), api.uno.templates.get(PHONE)
    file = tmp_path / "sessions.json"
    written = run("session", "export", str(file))
    api.redis.flushdb()

    stored = run("session", "import", str(file))
    confirmed = run("session", "confirm", "--yes")

    assert (written.exit_code, written.output) == (0, f"1 numbers written to {file}, with their secrets.\n")
    assert file.stat().st_mode & 0o077 == 0
    assert (stored.exit_code, stored.output) == (0, "1 numbers stored.\n")
    assert confirmed.output == "Confirmed.\n"
    assert api.uno.sessions.config(PHONE) == before
    assert templates is not None
    assert api.uno.templates.get(PHONE) == templates
    assert api.get(f"/v15.0/{PHONE}", token=f"session-token-{PHONE}").status_code == 200


def test_an_import_leaves_what_is_stored_unless_it_may_replace_it(api: Api, run: Any, tmp_path: Path) -> None:
    file = tmp_path / "sessions.json"
    run("session", "export", str(file))
    api.post(f"/v15.0/{PHONE}/register", {"label": "Another one"})

    left = run("session", "import", str(file), "--json")
    label = (api.uno.sessions.config(PHONE) or {})["label"]
    replaced = run("session", "import", str(file), "--json", "--overwrite")

    assert json.loads(left.output) == {"stored": 0, "there": 1, "refused": 0}
    assert label == "Another one"
    assert json.loads(replaced.output) == {"stored": 1, "there": 0, "refused": 0}
    assert (api.uno.sessions.config(PHONE) or {})["label"] == "Shop"


def test_an_export_replaces_no_file_and_names_a_number_that_is_not_stored(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "sessions.json"

    missing = run("session", "export", str(file), "5511888880000")
    again = run("session", "export", str(file))

    assert (missing.exit_code, "Not stored here: 5511888880000." in missing.output) == (1, True)
    assert (again.exit_code, "is there already: name a new file" in again.output) == (2, True)


@pytest.mark.parametrize("place", ["nowhere/sessions.json", "/proc/sessions.json", "."])
def test_an_export_that_cannot_be_written_says_so_and_how_it_is_printed(run: Any, tmp_path: Path, place: str) -> None:
    done = run("session", "export", str(tmp_path / place))

    assert done.exit_code in (1, 2)
    assert "Traceback" not in done.output
    assert place == "." or "cannot be written: No such file or directory; - prints it instead" in done.output


def test_what_an_export_prints_can_be_read_back(api: Api, run: Any, tmp_path: Path) -> None:
    done = run("session", "export", "-")
    (tmp_path / "sessions.json").write_text(done.stdout)
    api.redis.flushdb()

    assert done.stderr == "1 numbers written to -, with their secrets.\n"
    assert "1 numbers stored" in run("session", "import", str(tmp_path / "sessions.json")).output


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("", 78, "this is no document of `unoapi session export`"),
        ('{"unoapi_sessions": 2}', 78, "unoapi_sessions: must be 1"),
        ('{"sessions": {"5511777770000": {"config": "a-secret"}}}', 78, "sessions.5511777770000.config: must be an"),
        (
            '{"sessions": {"5511777770000": {"config": {"provider": "a-secret"}}}}',
            1,
            "5511777770000: provider: must be",
        ),
        ('{"sessions": {"no-number": {"config": {}}}}', 1, "no-number: phone: must be 1 to 20 digits"),
    ],
)
def test_an_import_names_what_is_wrong_with_a_file_and_none_of_its_values(  # noqa: PLR0917 (a row of the table)
    api: Api, run: Any, tmp_path: Path, text: str, code: int, words: str
) -> None:
    file = tmp_path / "sessions.json"
    file.write_text(text)

    done = run("session", "import", str(file))

    assert done.exit_code == code
    assert words in done.output
    assert "a-secret" not in done.output
    assert api.uno.sessions.phones() == [PHONE]


HANDBOOKS = [ROOT / "docs" / "handbook.md", ROOT / "docs" / "pt-BR" / "handbook.md"]


@pytest.mark.parametrize("page", HANDBOOKS, ids=["English", "Portuguese"])
def test_a_backup_is_restored_by_the_handbooks_own_lines(api: Api, run: Any, tmp_path: Path, page: Path) -> None:
    lines = re.findall(r"^ *unoapi (session .*)$", page.read_text("utf-8"), re.MULTILINE)
    commands = [line.partition("  #")[0].split() for line in lines]
    before = api.uno.sessions.config(PHONE)

    outputs = []
    for words in commands:
        done = run(*[str(tmp_path / word) if word == "sessions.json" else word for word in words])
        assert done.exit_code == 0, done.output
        outputs.append(done.output)
        if words[1] == "export":
            api.redis.flushdb()

    assert [words[1] for words in commands] == ["export", "import", "confirm", "list"]
    assert PHONE in outputs[-1]
    assert api.uno.sessions.config(PHONE) == before
    assert api.get(f"/v15.0/{PHONE}", token=f"session-token-{PHONE}").status_code == 200


@pytest.mark.parametrize("page", HANDBOOKS, ids=["English", "Portuguese"])
def test_the_handbook_says_of_every_reason_what_to_do(page: Path) -> None:
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \|[^|]+\|[^|]+\|$", page.read_text("utf-8"), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)}

    assert {*reasons(), *BROKER_REASONS} - named == set()
