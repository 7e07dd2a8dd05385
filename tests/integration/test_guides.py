"""The guides: their commands run, their receivers verify, and what they name is there, in both languages."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
import requests

from tests.support.receiver import Behaviour
from tests.support.stack import PHONE, ROOT, Stack, eventually, stack
from unoapi.cli.main import cli as program
from unoapi.devenv.ports import free_port
from unoapi.models.session import Webhook
from unoapi.settings import setting_names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.receiver import Receiver
    from unoapi.devenv.servers import PrivateServers

READMES = ("README.md", "README.pt-BR.md")
FOLLOWING = ("docs/following-a-message.md", "docs/pt-BR/following-a-message.md")
WEBHOOKS = ("docs/webhooks.md", "docs/pt-BR/webhooks.md")
OPERATING = ("docs/operating.md", "docs/pt-BR/operating.md")
PAGES = sorted(path.name for path in (ROOT / "docs").glob("*.md"))
FOLDERS = [ROOT / name for name in ("docs", "compose", "unoapi")]
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for path in (*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in folder.rglob("*.md")))
)
GUIDES = [name for name in DOCUMENTS if name.startswith(("README", "docs/", "compose/"))]
READ_BESIDE_THE_SETTINGS = {"SSL_CERT_FILE", "DOTENV_CONFIG_PATH", "UNOAPI_RABBITMQ_BIN", "HTTPS_PROXY"}
SECRET = "whsec_c2VjcmV0IG9mIHRoZSBndWlkZXM="
PROGRAMS = {"python": [sys.executable, "receiver.py"], "js": ["node", "receiver.mjs"]}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def without_code(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def without_comments(line: str) -> str:
    return line.partition("  #")[0].strip()


# --- following a message ---


@pytest.fixture
def failing(servers: PrivateServers, receiver: Receiver, tmp_path: Path) -> Iterator[tuple[Stack, str, str]]:
    """A stack with one dead letter: the stack, the message id and the dead letter's id."""
    receiver.script("/crm", Behaviour(status=500))
    with stack(servers, tmp_path, UNOAPI_MESSAGE_RETRY_LIMIT="1", UNOAPI_MESSAGE_RETRY_DELAY="200") as uno:
        uno.web()
        uno.worker()
        uno.register([{"id": "crm", "urlAbsolute": receiver.url("/crm")}])
        message_id = uno.contact_writes("where is it?")
        (dead_letter,) = eventually(uno.dead, every_s=0.3)
        yield uno, message_id, str(dead_letter["id"])


def test_the_commands_for_following_a_message_work_as_they_stand(
    failing: tuple[Stack, str, str], tmp_path: Path
) -> None:
    uno, message_id, dead_letter_id = failing
    commands, greps = blocks((ROOT / FOLLOWING[0]).read_text(), "sh")
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    (tmp_path / "unoapi.log").write_text("".join(process.output() for process in uno.processes))

    def said(line: str) -> str:
        words = line.replace("wamid.…", message_id).replace("<id>", dead_letter_id).replace("<P>", PHONE)
        done = subprocess.run(
            ["/bin/sh", "-c", words.replace("<webhook>", "crm")],
            env=uno.environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0 or "endpoint test" in line, f"{line}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    answers: dict[str, str] = {}
    for line in filter(None, map(without_comments, commands.splitlines())):
        if "purge" in line:
            eventually(uno.dead, every_s=0.3, what="the dead letter that was put back dies again")
        answers[" ".join(line.split()[1:3])] = said(line)
    checkpoints = [said(without_comments(line)) for line in greps.splitlines()]

    assert all(step in answers[f"trace {'wamid.…'}"] for step in ("accepted", "queued", "attempt", "dead", "500"))
    assert message_id in answers["dead list"]
    assert "HTTP 500" in answers["dead show"]
    assert answers["dead replay"].endswith("1 replayed\n")
    assert uno.dead() == []
    assert "500" in answers["endpoint test"]
    assert all(message_id in checkpoint for checkpoint in checkpoints)


# --- receivers ---


@pytest.fixture(scope="module")
def hooked(servers: PrivateServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(servers, tmp_path_factory.mktemp("hooked")) as uno:
        uno.web()
        uno.worker()
        yield uno


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("language", PROGRAMS)
def test_the_receivers_of_the_guide_take_our_deliveries_and_nobody_elses(
    hooked: Stack, tmp_path: Path, language: str
) -> None:
    command = PROGRAMS[language]
    if shutil.which(command[0]) is None:
        pytest.skip("Node is not installed here: apt-get install nodejs")
    (code,) = blocks((ROOT / WEBHOOKS[0]).read_text(), language)
    (tmp_path / command[1]).write_text(code)
    port = free_port()
    output = tmp_path / "output"
    with output.open("wb") as file:
        receiver = subprocess.Popen(
            command, cwd=tmp_path, stdout=file, stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "SECRET": SECRET, "PORT": str(port)},
        )  # fmt: skip
    try:
        eventually(lambda: listening(port), what=f"{command}: {output.read_text()}")
        url = f"http://127.0.0.1:{port}/"
        hooked.register([{"id": "crm", "urlAbsolute": url, "secret": SECRET}])

        message_id = hooked.contact_writes("for the receiver of the guide")
        eventually(lambda: message_id in output.read_text())
        forged = requests.post(
            url, json={"entry": []}, headers={"webhook-id": "x", "webhook-timestamp": "1"}, timeout=5
        )
        signed = {"webhook-id": "x", "webhook-timestamp": "1", "webhook-signature": "v1,Zm9yZ2Vk"}
        wrong = requests.post(url, json={"entry": []}, headers=signed, timeout=5)

        (line,) = [line for line in output.read_text().splitlines() if line.startswith("{")]
        assert json.loads(line)["messages"][0]["id"] == message_id
        assert (forged.status_code, wrong.status_code) == (401, 401)
        trace = f"/v15.0/{PHONE}/messages/{message_id}/trace"
        eventually(lambda: hooked.get(trace).json()["trace"][-1]["step"] == "delivered")
    finally:
        receiver.kill()
        receiver.wait(10)


def test_both_guides_show_the_same_code() -> None:
    """So what runs in one language runs in the other."""
    english, portuguese = ((ROOT / document).read_text() for document in WEBHOOKS)
    following = [
        [
            [without_comments(line) for line in block.splitlines()]
            for block in blocks((ROOT / document).read_text(), "sh")
        ]
        for document in FOLLOWING
    ]

    for language in PROGRAMS:
        assert blocks(english, language) == blocks(portuguese, language)
    assert following[0] == following[1]


# --- names ---


def verbs(command: click.Command, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    if not isinstance(command, click.Group):
        return {path}
    return {path}.union(*(verbs(child, (*path, name)) for name, child in children(command).items()))


def children(group: click.Group) -> dict[str, click.Command]:
    context = click.Context(group)
    return {name: command for name in group.list_commands(context) if (command := group.get_command(context, name))}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_that_a_document_names_is_there(document: str) -> None:
    text = (ROOT / document).read_text()
    paths, groups = verbs(program), {name for name, verb in children(program).items() if isinstance(verb, click.Group)}
    code = re.findall(r"`([^`\n]+)`", text) + [line for block in blocks(text, "sh") for line in block.splitlines()]
    lines = [
        re.sub(r"^.*?\bunoapi(?= [a-z])", "unoapi", line) for line in code if re.search(r"(^|[ /])unoapi [a-z]", line)
    ]

    for line in lines:
        words = re.split(r"[ |]", without_comments(line))[1:3]
        if words[0] in {"web", "worker", "media", "suspect", "flower", "<user>"} or line.startswith("unoapi -"):
            continue  # the image's commands
        path = tuple(words[:2]) if words[0] in groups and len(words) > 1 else (words[0],)
        assert path in paths, line
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {target for line in code for target in re.findall(r"(?:^|&& )make ([a-z0-9-]+)", line)} <= targets


@pytest.mark.parametrize("folder", ["docs", "docs/pt-BR"])
def test_every_command_stands_in_a_guide(folder: str) -> None:
    text = "\n".join(page.read_text() for page in (ROOT / folder).glob("*.md"))
    leaves = [path for path in verbs(program) if path and not any(path == other[:-1] for other in verbs(program))]
    missing = [
        path for path in leaves if not re.search(r"\bunoapi " + r" (?:[a-z]+\|)*".join(path) + r"(?![a-z])", text)
    ]

    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_within_the_documents_leads_somewhere(document: str) -> None:
    folder = (ROOT / document).parent
    text = without_code((ROOT / document).read_text())

    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        path = folder / name if name else ROOT / document
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", without_code(path.read_text()), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}, (
                target
            )


@pytest.mark.parametrize("document", GUIDES)
def test_every_setting_that_a_guide_names_exists(document: str) -> None:
    settings = {*setting_names(), *READ_BESIDE_THE_SETTINGS}
    stacks = "".join(path.read_text() for path in (ROOT / "compose").rglob("docker-compose.yml"))
    elsewhere = "".join((ROOT / name).read_text() for name in ("Procfile", "compose/Dockerfile", ".env.example"))
    named = set(re.findall(r"`((?:[A-Z][A-Z0-9]*_)+[A-Z0-9]+)\b", (ROOT / document).read_text()))

    assert {name for name in named - settings if name not in stacks + elsewhere} == set()


def test_every_test_that_the_threat_model_names_is_there() -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text()

    assert {name for name in re.findall(r"`(tests/[\w/.]+)`", text) if not (ROOT / name).exists()} == set()


# --- two languages ---


def shape(text: str) -> list[str]:
    """The headings' levels and the tables' columns, in order: what a translation keeps."""
    lines = without_code(text).splitlines()
    return [re.sub(r"[^#|]", "", line) for line in lines if line.startswith(("#", "|")) and "<P>[/" not in line]


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_there_in_both_languages_with_the_same_headings_and_tables(page: str) -> None:
    english, portuguese = ((ROOT / folder / page).read_text() for folder in ("docs", "docs/pt-BR"))

    assert shape(english) == shape(portuguese)
    assert f"[Português](pt-BR/{page})" in english
    assert f"[English](../{page})" in portuguese


@pytest.mark.parametrize("document", WEBHOOKS)
def test_every_field_of_a_webhook_has_a_row(document: str) -> None:
    rows = [line.split("|")[1] for line in (ROOT / document).read_text().splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}

    assert {str(field.alias) for field in Webhook.model_fields.values()} - named == set()


@pytest.mark.parametrize("document", OPERATING)
def test_every_process_of_the_procfile_has_a_row(document: str) -> None:
    processes = set(re.findall(r"^([a-z]+):", (ROOT / "Procfile").read_text(), re.MULTILINE)) - {"release"}
    rows = set(re.findall(r"^\| `(\w+)` \|", (ROOT / document).read_text(), re.MULTILINE))

    assert processes - rows == set()


def test_no_page_is_in_portuguese_alone() -> None:
    assert sorted(path.name for path in (ROOT / "docs" / "pt-BR").glob("*.md")) == PAGES


def test_both_readmes_have_the_same_headings_and_tables() -> None:
    english, portuguese = ((ROOT / document).read_text() for document in READMES)

    assert shape(english) == shape(portuguese)


@pytest.mark.parametrize(("document", "folder"), [("README.md", "docs"), ("README.pt-BR.md", "docs/pt-BR")])
def test_the_readme_is_short_and_names_every_page(document: str, folder: str) -> None:
    text = (ROOT / document).read_text()

    assert len(text.splitlines()) <= 130
    assert [page for page in PAGES if f"]({folder}/{page}" not in text] == []
