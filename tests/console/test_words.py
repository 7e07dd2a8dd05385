"""The texts of the console: the same in both languages, and each one used."""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING

import pytest

from tests.console.conftest import OURS, THEIRS, token_of
from tests.support.console import Browser
from tests.support.stack import OPERATOR, ROOT
from unoapi.broker.topology import WORK_QUEUES
from unoapi.web.console.words import LANGUAGES, NOTHING, catalogue, num

if TYPE_CHECKING:
    from tests.support.api import MemoryApi

CONSOLE = ROOT / "unoapi" / "web" / "console"
SOURCES = [*CONSOLE.rglob("*.py"), *CONSOLE.rglob("*.html")]


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_both_languages_have_the_same_texts_with_the_same_places_to_fill() -> None:
    english, portuguese = catalogue("en"), catalogue("pt-BR")

    assert sorted(english) == sorted(portuguese)
    assert {key for key in english if places(english[key]) != places(portuguese[key])} == set()


def test_every_text_that_a_page_names_is_there_and_every_text_is_used() -> None:
    source = "\n".join(file.read_text("utf-8") for file in SOURCES)
    named = set(re.findall(r"""\bt\(\s*["']([a-z_]+(?:\.[A-Za-z0-9_]+)+)["']\s*[,)]""", source))
    plural = set(re.findall(r"""\btn\(\s*["']([a-z_.]+)["']""", source))
    said = set(re.findall(r"""["'](done\.[a-z_]+)["']""", source))
    begun = set(re.findall(r"""\bt\(\s*["']([a-z_.]+)["']\s*~""", source))
    groups = set(re.findall(r"""\bnamed\(\s*["']([a-z_.]+)["']\s*,""", source)) - named
    keys = set(catalogue("en"))
    wanted = named | said | {f"{key}.{form}" for key in plural for form in ("one", "other")}

    assert wanted - keys == set()
    by_name = ("error.", *begun, *(f"{group}." for group in groups))
    unused = {key for key in keys - wanted if not key.startswith(by_name) and not key.endswith(".title")}
    assert unused == set()


def test_every_queue_says_what_it_is_for() -> None:
    wanted = {f"queues.for.{name.replace('.', '_')}" for name in WORK_QUEUES}

    assert wanted - set(catalogue("en")) == set()


@pytest.mark.parametrize(
    ("value", "digits", "english", "portuguese"),
    [
        (0, 0, "0", "0"),
        (999, 0, "999", "999"),
        (100_000, 0, "100,000", "100.000"),
        (1234.56, 1, "1,234.6", "1.234,6"),
        (None, 1, NOTHING, NOTHING),
    ],
)
def test_a_number_is_written_as_in_the_readers_language(
    api: MemoryApi, value: float | None, digits: int, english: str, portuguese: str
) -> None:
    written = []
    for header in LANGUAGES:
        with api.app.test_request_context(headers={"Accept-Language": header}):
            written.append(num(value, digits))

    assert dict(zip(LANGUAGES, written, strict=True)) == {"en": english, "pt-BR": portuguese}


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("pt-BR,pt;q=0.9,en;q=0.5", "pt-BR"),
        ("pt", "pt-BR"),
        ("en-GB", "en"),
        ("de,fr", "en"),
        ("", "en"),
        ("x;q=?", "en"),
    ],
)
def test_the_browsers_language_is_spoken(api: MemoryApi, header: str, language: str) -> None:
    assert f'<html lang="{language}">' in Browser(api, language=header).get("/console/login").text


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_chosen_language_stays(api: MemoryApi, language: str) -> None:
    browser = Browser(api, OPERATOR, language="de")

    answer = browser.get(f"/console/language/{language}?next=/console/queues")

    assert answer.headers["Location"] == "/console/queues"
    assert f'<html lang="{language}">' in browser.page("/console/queues")


def test_what_is_refused_is_refused_in_the_readers_language(api: MemoryApi) -> None:
    stranger, tenant, operator = (Browser(api, token, language="pt-BR") for token in (None, token_of(OURS), OPERATOR))
    refused = {
        "Você não entrou": stranger.post("/console/logout"),
        "Esta página é do operador.": tenant.get("/console/queues"),
        "o seu token não o abre.": tenant.get(f"/session/{THEIRS}"),
        "antigo demais": tenant.post_as(f"/console/try/{OURS}", {"body": "{}"}),
        "um objeto JSON: {…}.": tenant.post(f"/console/try/{OURS}", {"body": "[]"}),
        "Escolha algumas, ou todas.": operator.post("/console/dead-letters/replay"),
    }

    assert [words for words, answer in refused.items() if words not in answer.text] == []


def test_a_language_that_is_none_changes_nothing(api: MemoryApi) -> None:
    assert "Set-Cookie" not in Browser(api).get("/console/language/xx").headers
