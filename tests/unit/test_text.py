"""Text that every receiver can store: refused at a client's door, mended at WhatsApp's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unoapi.media.link_previews import read_page
from unoapi.models.strict_json import read_answer
from unoapi.models.text import is_text, mended
from unoapi.providers.cloud_api.graph import read_error, sent_id

HALF = json.loads('"\\ud83d"')


@pytest.mark.parametrize("text", ["\0", "a\0b", "\x01", "\x08", "\x0b", "\x0c", "\x1b[2J", "\x1f", HALF, f"a{HALF}b"])
def test_field_report_89_what_nobody_can_store_is_no_text(text: str) -> None:
    assert not is_text(text)
    assert is_text(mended(text))


@pytest.mark.parametrize("text", ["", "olá\tmundo\r\n", "👍🏽", "\u200d\u200e", "\x7f", "\ufffd"])
def test_everything_else_stays_as_it_is(text: str) -> None:
    assert is_text(text)
    assert mended(text) == text


@pytest.mark.parametrize(
    ("text", "left"),
    [("a\0b", "ab"), ("a\x0bb", "a\nb"), ("page\x0cnext", "page\nnext"), (f"a{HALF}b", "a\ufffdb"), ("\x1b[0m", "[0m")],
)
def test_field_report_89_the_words_around_it_stay(text: str, left: str) -> None:
    assert mended({"profile": {"name": text}, text: [text]}) == {"profile": {"name": left}, left: [left]}


@pytest.mark.parametrize(
    ("written", "left"),
    [
        ('{"name": "a\\u0000b", "n": 1}', {"name": "ab", "n": 1}),
        ('{"a\\ud83d": ["\\f"]}', {"a\ufffd": ["\n"]}),
        ('{"name": "Jo\\u00e3o"}', {"name": "Jo\u00e3o"}),
    ],
)
def test_field_report_89_so_does_what_stands_in_the_json_of_a_forms_answer(written: str, left: Any) -> None:
    reply = {"interactive": {"type": "nfm_reply", "nfm_reply": {"name": "flow", "response_json": written}}}

    document = mended(reply)

    assert json.loads(document["interactive"]["nfm_reply"]["response_json"]) == left


@pytest.mark.parametrize("written", ["{\\u0000", "", "[" * 100_000 + "\\u0000", '"\\u00e3"', {"a": 1}, None])
def test_a_forms_answer_that_is_no_json_stays_as_it_is(written: Any) -> None:
    assert mended({"response_json": written}) == {"response_json": written}


ANY = st.text(st.characters(codec=None))
JSON = st.recursive(
    ANY | st.none() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(ANY, inner), max_leaves=5
)


@given(JSON)
def test_what_is_mended_can_be_written_and_stays_the_same_then(document: Any) -> None:
    once = mended(document)

    json.dumps(once, ensure_ascii=False).encode()
    assert mended(once) == once


# --- what other services answer becomes text of messages and statuses, too ---


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        (b'{"a": "x\\u0000y\\ud83d"}', {"a": "xy\ufffd"}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": "\xff"}', {"a": "\ufffd"}),
        (b'{"a": NaN}', {}),
        (b"[" * 100_000, {}),
        (b'{"a":' + b"[" * 200 + b"]" * 200 + b"}", {}),
        (b"[1]", {}),
        (b"<html>", {}),
        (b"", {}),
    ],
    ids=["no text", "a mark", "not UTF-8", "no number", "too deep to be read", "too deep", "a list", "a page", "empty"],
)
def test_field_report_89_what_a_service_answers_is_text_or_nothing(answer: bytes, read: dict[str, Any]) -> None:
    assert read_answer(answer) == read


def test_field_report_89_metas_words_in_a_status_can_be_stored() -> None:
    refused = {"error": {"code": 131026, "message": f"no\0 {HALF}", "error_data": {"details": "line\x0btwo"}}}

    error = read_error(json.dumps(refused).encode(), 400)
    sent = sent_id(json.dumps({"messages": [{"id": f"wamid.\0X{HALF}"}]}).encode())

    assert (error.title, error.details, sent) == ("no \ufffd", "line\ntwo", "wamid.X\ufffd")


@pytest.mark.parametrize(
    ("error", "temporary"),
    [
        ({"code": 131026}, False),
        ({"code": 131026, "is_transient": True}, True),
        ({"code": 130429}, True),
        ({"code": True}, True),
        ({"code": "190", "is_transient": "no"}, True),
    ],
)
def test_what_meta_says_may_go_well_later_is_tried_again(error: dict[str, Any], temporary: bool) -> None:
    assert read_error(json.dumps({"error": error}).encode(), 400).is_temporary is temporary


TITLE = "Promo\u00e7\u00e3o de S\u00e3o Jo\u00e3o"


@pytest.mark.parametrize(
    ("head", "charset"),
    [
        ("", "utf-8"),
        ('<meta charset="utf-8">', "utf-8"),
        ('<meta charset="ISO-8859-1">', "iso-8859-1"),
        ("<META CHARSET=windows-1252 >", "windows-1252"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=iso-8859-15">', "iso-8859-15"),
        ('<meta charset="rot13">', "utf-8"),
        ('<meta charset="iso-8859-12">', "utf-8"),
        ('<meta name="x" content="charset of the king">', "utf-8"),
    ],
)
def test_field_report_41_a_pages_title_is_read_in_the_pages_own_charset(head: str, charset: str) -> None:
    page = f"<html><head>{head}<title>{TITLE}</title></head>".encode(charset)

    assert read_page(page).title == TITLE


def test_field_report_89_a_pages_title_can_be_stored() -> None:
    assert read_page(b"<title>a\0b\x07 &#1;&#xD83D; c</title>").title.startswith("ab")
    assert is_text(read_page(b"<title>a\0b\x07 &#1;&#xD83D; c</title>").title)


def test_field_report_41_a_page_that_names_no_charset_is_read_as_browsers_do() -> None:
    page = "<title>São Paulo</title>"

    assert read_page(page.encode("latin-1")).title == "São Paulo"
    assert read_page(page.encode()).title == "São Paulo"
