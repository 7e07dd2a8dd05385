"""The house rules that a program can check. What is missing is named, so that the test says what to do."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from configparser import ConfigParser
from typing import TYPE_CHECKING, get_args

import pytest
from pydantic import SecretStr

import unoapi
from tests.support.api import Api
from tests.support.api import api as serve_api
from tests.support.stack import OPERATOR, ROOT
from unoapi.broker.topology import WORK_QUEUES
from unoapi.devenv import docs
from unoapi.models.jobs import JOBS, Job
from unoapi.models.session import Session
from unoapi.services.sessions import CONNECTED_ELSEWHERE
from unoapi.settings import Settings
from unoapi.web.app import RESOURCES
from unoapi.web.console.pages import PAGES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flask import Flask
    from werkzeug.routing import Rule

    from unoapi.devenv.servers import PrivateServers

WITHOUT_CONSUMER = {"outgoing.whatsmeow": "plain JSON, taken by the connector"}
ACCESS = {"public", "operator", "session", "any session", "owner"}
CONSOLE_ACCESS = {"console any", "console operator", "console session"}
"""Tried with logins in `tests/console/test_access.py`."""
OURS, THEIRS = "5511999990000", "5521977776666"
SOCKET = "/ws"
# In pieces, so that this file does not break its own rule.
NOT_IN_FILES = {
    "a machine's path": re.compile("/" + r"(root|work)/|/home/(?!\w*\.(?:test|invalid))[a-z]+/|/Users/\w"),
    "a registry's address": re.compile(r"^\s*--(extra-)?index-url|^\s*--find-links|^\s*--trusted-host", re.MULTILINE),
}
SOURCES = sorted([*(ROOT / "unoapi").rglob("*.py"), *(ROOT / "tasks").rglob("*.py")])


def tracked_files() -> list[Path]:
    """What is in the repository, or will be with the next commit."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def short(path: Path) -> str:
    return str(path.relative_to(ROOT))


# --- jobs, tasks, queues ---


def subclasses(kind: type[Job]) -> set[type[Job]]:
    return {job for child in kind.__subclasses__() for job in (child, *subclasses(child))}


def test_every_job_is_listed() -> None:
    jobs = {job for job in subclasses(Job) if job.__module__.startswith("unoapi.")}
    ours = {job for job in jobs if hasattr(job, "task")}  # what jobs have in common may be a base without a task

    assert set(JOBS.values()) == ours
    assert all(job.task == name for name, job in JOBS.items())


def test_every_job_has_exactly_one_task_and_every_task_one_job() -> None:
    program = (
        "import json; from tasks.app import app; app.loader.import_default_modules(); "
        "print(json.dumps({name: str(task.run.__annotations__.get('job')) for name, task in app.tasks.items()}))"
    )
    clean = {"PATH": os.environ["PATH"], "DOTENV_CONFIG_PATH": os.devnull}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

    tasks = {name: job for name, job in json.loads(done.stdout).items() if not name.startswith("celery.")}

    assert tasks == {name: job.__name__ for name, job in JOBS.items()}


def test_every_job_goes_to_a_queue_of_the_topology() -> None:
    assert {job.queue for job in JOBS.values()} <= set(WORK_QUEUES)


def procfile() -> dict[str, list[str]]:
    """Each process with the words of its command, variables replaced by their defaults."""
    processes: dict[str, list[str]] = {}
    for line in (ROOT / "Procfile").read_text().splitlines():
        match = re.fullmatch(r"([a-z]+): (\S.*)", line)
        assert match, f"not a process: {line!r}"
        name, command = match.groups()
        assert name not in processes, f"twice: {name}"
        processes[name] = shlex.split(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", command))
    return processes


def consumed() -> list[str]:
    """The queues that the processes of the Procfile take from, without the prefix."""
    queues = []
    for words in procfile().values():
        if "--queues" in words:
            queues += words[words.index("--queues") + 1].split(",")
    return [queue.removeprefix("unoapi.") for queue in queues]


def test_the_procfile_starts_programs_that_are_there() -> None:
    programs = {words[0] for words in procfile().values()}

    missing = {program for program in programs if not (ROOT / ".venv" / "bin" / program).exists()}
    assert {"web", "worker"} <= procfile().keys()
    assert not missing or not (ROOT / ".venv").exists(), f"not installed: {missing}"


def test_every_work_queue_has_a_consumer_or_a_reason() -> None:
    assert set(consumed()) == set(WORK_QUEUES) - WITHOUT_CONSUMER.keys()


def test_every_queue_of_a_job_has_a_consumer() -> None:
    assert {job.queue for job in JOBS.values()} <= set(consumed())


# --- routes ---


@pytest.fixture(scope="module")
def api(servers: PrivateServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The application in this process, with two stored sessions."""
    with serve_api(servers, tmp_path_factory.mktemp("rules")) as running:
        for phone in (OURS, THEIRS):
            store(running, phone)
        yield running


@pytest.fixture(scope="module")
def app(api: Api) -> Flask:
    return api.app


def store(api: Api, phone: str) -> None:
    api.uno.sessions.save(phone, {"provider": "sandbox", "authToken": f"token-of-{phone}"})


def rules(app: Flask) -> list[Rule]:
    return list(app.url_map.iter_rules())


def access(app: Flask, rule: Rule) -> str:
    return str(getattr(app.view_functions[rule.endpoint], "access", "nobody decided"))


def path_of(rule: Rule, phone: str) -> str:
    values = {"phone": phone, "version": "v15.0", "media_id": "3141" + "0" * 20}
    return re.sub(r"<(?:\w+:)?(\w+)>", lambda match: values.get(match[1], "x"), rule.rule)


def status_of(app: Flask, rule: Rule, token: str | None) -> dict[str, int]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    methods = (rule.methods or set()) - {"HEAD", "OPTIONS"}
    path = path_of(rule, OURS)
    return {method: app.test_client().open(path, method=method, headers=headers).status_code for method in methods}


def test_every_route_has_a_decision_on_who_may_call_it(app: Flask) -> None:
    undecided = [
        f"{rule.rule}: {access(app, rule)}" for rule in rules(app) if access(app, rule) not in ACCESS | CONSOLE_ACCESS
    ]

    assert undecided == []


def test_every_resource_of_the_api_is_served() -> None:
    folder = ROOT / "unoapi" / "web"
    resources = {path.stem for path in folder.glob("*.py") if "= Blueprint(" in path.read_text()}
    console = {path.stem for path in (folder / "console").glob("*.py") if "= Blueprint(" in path.read_text()}

    assert resources | {"pages"} == {resource.__name__.rpartition(".")[2] for resource in RESOURCES}
    assert console == {"pages"} | {page.__name__.rpartition(".")[2] for page in PAGES}


def test_every_provider_of_a_session_is_there(api: Api) -> None:
    providers = set(get_args(Session.model_fields["provider"].annotation))

    assert api.uno.providers.keys() == providers
    assert CONNECTED_ELSEWHERE.keys() == providers - {"whatsmeow"}, "it has no connector that writes its status"


# --- parts ---


def code_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def attributes(tree: ast.AST) -> set[str]:
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def test_every_setting_is_used_by_a_part_that_it_is_passed_to() -> None:
    """A property of the settings passes on what it is made of. A check of the settings alone is no use."""
    own = ROOT / "unoapi" / "settings.py"
    used = {name for path in SOURCES if path != own for name in attributes(code_of(path))}
    functions = [node for node in ast.walk(code_of(own)) if isinstance(node, ast.FunctionDef)]
    for function in functions:
        if function.name in used:
            used |= attributes(function)

    assert Settings.model_fields.keys() - used == set()


def test_every_media_store_is_chosen_somewhere_and_passes_the_contract() -> None:
    stores = {
        node.name
        for path in (ROOT / "unoapi" / "media").glob("*.py")
        for node in code_of(path).body
        if isinstance(node, ast.ClassDef) and node.name.endswith("MediaStore")
    }

    for user in ("unoapi/bootstrap.py", "tests/contracts/test_media_stores.py"):
        called = {ast.unparse(node.func) for node in ast.walk(code_of(ROOT / user)) if isinstance(node, ast.Call)}
        assert stores - called == set(), user


def test_every_whatsapp_library_can_be_chosen() -> None:
    folder = ROOT / "unoapi" / "connector" / "engines"
    engines = {
        node.name
        for path in folder.glob("*.py")
        for node in code_of(path).body
        if isinstance(node, ast.ClassDef) and node.name.endswith("Engine") and path.stem != "base"
    }
    registry = code_of(folder / "registry.py")
    called = {ast.unparse(node.func).rpartition(".")[2] for node in ast.walk(registry) if isinstance(node, ast.Call)}

    assert len(engines) >= 2
    assert engines - called == set()
    assert len(get_args(Settings.model_fields["unoapi_connector_engine"].annotation)) == len(engines), "its values"


def test_the_socket_of_front_ends_is_a_route_like_the_others(app: Flask) -> None:
    assert {rule.rule: access(app, rule) for rule in rules(app)}[SOCKET] == "any session"


def test_only_health_and_what_checks_by_itself_is_public(app: Flask) -> None:
    """Beside health: Meta's handshake, whose view asks for a token of its own, the sink, and how one logs in."""
    assert {rule.rule for rule in rules(app) if access(app, rule) == "public"} == {
        "/ping", "/health/live", "/health/ready", "/docs", "/docs/openapi.json", "/docs/events",
        "/docs/events/<name>", "/webhooks/fake/<digits:phone>",
        "/webhooks/whatsapp", "/webhooks/whatsapp/<digits:phone>", "/", "/console/login", "/console/logout",
        "/console/language/<language>", "/console/static/<path:name>",
    }  # fmt: skip


@pytest.mark.parametrize("token", [None, "", "wrong", f"token-of-{THEIRS}", f"token-of-{OURS}x", "é"], ids=repr)
def test_every_route_of_a_session_refuses_everybody_else(app: Flask, token: str | None) -> None:
    closed = [rule for rule in rules(app) if access(app, rule) == "session"]
    opened = {rule.rule: status_of(app, rule, token) for rule in closed}

    assert len(closed) >= 5
    # To the token of another number it is one that nobody has: clients take a 401 for the end of their account.
    refusal = 404 if token == f"token-of-{THEIRS}" else 401
    assert {status for statuses in opened.values() for status in statuses.values()} == {refusal}, opened


@pytest.mark.parametrize("token", [f"token-of-{OURS}", OPERATOR])
def test_every_route_of_a_session_opens_to_its_token_and_to_the_operators(api: Api, token: str) -> None:
    for rule in rules(api.app):
        if access(api.app, rule) == "session":
            store(api, OURS)  # one deregisters
            assert not {401, 403} & set(status_of(api.app, rule, token).values()), rule.rule
    store(api, OURS)


@pytest.mark.parametrize("token", [None, "", "wrong", f"token-of-{OURS}x", "é"], ids=repr)
def test_every_route_of_any_session_refuses_who_has_none(app: Flask, token: str | None) -> None:
    closed = [rule for rule in rules(app) if access(app, rule) == "any session"]
    opened = {rule.rule: status_of(app, rule, token) for rule in closed}

    assert len(closed) >= 3
    assert {status for statuses in opened.values() for status in statuses.values()} == {401}, opened


@pytest.mark.parametrize("token", [f"token-of-{OURS}", f"token-of-{THEIRS}", OPERATOR])
def test_every_route_of_any_session_opens_to_all_of_them(app: Flask, token: str) -> None:
    shared = [rule for rule in rules(app) if access(app, rule) == "any session"]

    assert shared
    for rule in shared:
        # What is no Socket.IO gets no further than its server; the operator has to name the number of an upload.
        unnamed = rule.rule.endswith("/uploads") and token == OPERATOR
        good = 400 if rule.rule == SOCKET or unnamed else 200
        assert set(status_of(app, rule, token).values()) == {good}, rule.rule


def test_every_route_of_the_operator_refuses_everybody_else(app: Flask) -> None:
    operators = [rule for rule in rules(app) if access(app, rule) == "operator"]

    assert operators
    for rule in operators:
        for token in (None, "wrong", f"token-of-{OURS}"):
            assert set(status_of(app, rule, token).values()) == {401}, rule.rule


# --- settings ---


SETTINGS = sorted(name.upper() for name in Settings.model_fields)


def test_every_setting_has_a_description() -> None:
    assert [name for name, field in Settings.model_fields.items() if not (field.description or "").strip()] == []


def test_the_generated_documents_are_up_to_date() -> None:
    assert docs.outdated() == [], "make docs writes them"


def test_every_setting_has_a_line_in_the_example_and_every_line_a_setting() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()

    named = [match[1] for line in lines if (match := re.match(r"#? ?([A-Z][A-Z0-9_]+)=", line))]
    assert sorted(named) == SETTINGS


def test_the_defaults_that_the_example_shows_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    text = (ROOT / ".env.example").read_text()
    in_force = re.sub(r"(?m)^# ?(?=[A-Z][A-Z0-9_]+=)", "", text)
    values = dict(line.split("=", 1) for line in in_force.splitlines() if line and not line.startswith("#"))

    shown = Settings.model_validate({name.lower(): value for name, value in values.items() if value})

    assert shown == Settings.model_validate({})
    assert {name for name, value in values.items() if not value} == {
        name.upper() for name, field in Settings.model_fields.items() if field.default in (None, "", SecretStr(""))
    }


@pytest.mark.parametrize("page", [docs.ENGLISH, docs.PORTUGUESE])
def test_every_setting_has_a_row_with_its_default_and_every_row_a_setting(page: str) -> None:
    rows = re.findall(r"^\| `([A-Z][A-Z0-9_]+)` \| (.*?) \| (.+) \|$", (ROOT / page).read_text(), re.MULTILINE)

    assert sorted(name for name, _, _ in rows) == SETTINGS
    assert {name: default.strip("`") for name, default, _ in rows} == {
        name: docs.default_of(name.lower()) for name in SETTINGS
    }


def test_every_setting_has_a_portuguese_text_and_every_text_a_setting(tmp_path: Path) -> None:
    assert sorted(docs.portuguese_texts()) == SETTINGS

    wrong = tmp_path / docs.TEXTS
    wrong.parent.mkdir(parents=True)
    wrong.write_text((ROOT / docs.TEXTS).read_text().replace("\nPORT =", "\nPORTA ="))
    with pytest.raises(ValueError, match=r"missing: \['PORT'\]; too many: \['PORTA'\]"):
        docs.portuguese_texts(tmp_path)


GENERATED = (
    docs.EXAMPLE, docs.ENGLISH, docs.PORTUGUESE, docs.COMPOSE, docs.COMPOSE_EXAMPLE, docs.UNOCHAT_EXAMPLE,
)  # fmt: skip


@pytest.mark.parametrize("name", GENERATED)
def test_a_document_that_was_edited_by_hand_is_out_of_date(tmp_path: Path, name: str) -> None:
    for document in (*GENERATED, docs.TEXTS, docs.UNOCHAT):
        (tmp_path / document).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / document, tmp_path / document)
    edited = (ROOT / name).read_text().replace("12000", "12001").replace("${UNOAPI_RATE_LIMIT:-}", "12001")
    (tmp_path / name).write_text(edited)

    assert docs.outdated(tmp_path) == [name]


# --- locks ---


LOCKS = ("requirements.txt", "requirements-whatsmeow.txt", "requirements-otel.txt", "requirements-dev.txt")


def locked(name: str) -> dict[str, str]:
    return dict(re.findall(r"(?m)^([A-Za-z0-9_.-]+)==(\S+)", (ROOT / name).read_text()))


def test_the_locks_agree_and_each_has_what_it_is_for() -> None:
    runs, whatsmeow, traces, development = map(locked, LOCKS)

    assert {"celery", "flask", "setuptools"} <= runs.keys()
    assert runs.items() <= development.items()
    assert {
        name: version for name, version in whatsmeow.items() if (runs | development).get(name, version) != version
    } == {}
    assert traces.items() <= development.items()
    assert "opentelemetry-sdk" in traces
    assert not {"neonize", "pytest", "mypy", "opentelemetry-sdk"} & runs.keys()
    assert "neonize" in whatsmeow
    assert "neonize" not in development
    assert {"pytest", "mypy", "ruff"} <= development.keys()


@pytest.mark.parametrize("name", [*LOCKS, "requirements-whisper.txt"])
def test_every_locked_package_has_a_hash(name: str) -> None:
    text = (ROOT / name).read_text()

    assert len(re.findall(r"(?m)^[A-Za-z0-9_.-]+==\S+ \\\n    --hash=sha256:", text)) == len(locked(name))


# --- files ---


def test_every_module_and_folder_has_its_layer() -> None:
    """A new one beside them gets a line in the layers of `setup.cfg`, or goes into one of those that are there."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    layers = re.findall(r"unoapi\.(\w+)", config["importlinter:contract:layers"]["layers"])

    there = {
        path.relative_to(ROOT / "unoapi").parts[0].removesuffix(".py")
        for path in SOURCES
        if ROOT / "unoapi" in path.parents
    }
    assert there - {"__init__"} == set(layers)


def test_there_is_no_drawer_for_everything() -> None:
    names = {"utils.py", "util.py", "helpers.py", "misc.py", "common.py"}

    assert [short(path) for path in tracked_files() if path.name in names] == []


def test_every_module_says_what_it_is_for() -> None:
    assert [short(path) for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_every_private_function_and_class_is_used() -> None:
    """One that is forgotten in a registry, as a converter of messages, makes no other error."""
    forgotten = []
    for path in SOURCES:
        tree = ast.parse(path.read_text("utf-8"))
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        defined = (node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef)))
        forgotten += [f"{short(path)}: {name}" for name in defined if name.startswith("_") and name not in names]

    assert [name for name in forgotten if not name.endswith("__getattr__")] == []


def test_connections_to_rabbitmq_are_ours_which_check_the_host() -> None:
    kombus = re.compile(r"from kombu import .*\bConnection\b|kombu\.Connection\(")

    assert [short(path) for path in SOURCES if kombus.search(path.read_text())] == []


@pytest.mark.parametrize("what", NOT_IN_FILES)
def test_no_file_names_the_place_it_was_made_at(what: str) -> None:
    matches = []
    for path in tracked_files():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        matches += [f"{short(path)}: {match[0]}" for match in NOT_IN_FILES[what].finditer(text)]

    assert matches == []


def test_the_version_is_one() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", unoapi.__version__)


def test_every_reason_for_a_queue_without_a_consumer_is_still_needed() -> None:
    assert WITHOUT_CONSUMER.keys() <= WORK_QUEUES.keys()
    assert not set(consumed()) & WITHOUT_CONSUMER.keys()


def test_settings_hold_no_secret_as_plain_text() -> None:
    for name, field in Settings.model_fields.items():
        if any(word in name for word in ("token", "secret", "password", "amqp_url", "redis_url")):
            assert "SecretStr" in str(field.annotation), name
