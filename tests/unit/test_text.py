"""Text that every receiver can store: refused at a client's door, mended at WhatsApp's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unoapi.models.text import is_text, mended

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


ANY = st.text(st.characters(codec=None))
JSON = st.recursive(
    ANY | st.none() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(ANY, inner), max_leaves=5
)


@given(JSON)
def test_what_is_mended_can_be_written_and_stays_the_same_then(document: Any) -> None:
    once = mended(document)

    json.dumps(once, ensure_ascii=False).encode()
    assert mended(once) == once
