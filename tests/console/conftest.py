"""The console over parts in memory, with two numbers of two tenants."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.api import MemoryApi, memory_api
from tests.support.console import Browser
from tests.support.stack import OPERATOR

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS, THEIRS = "5511999990000", "5521977776666"


def token_of(phone: str) -> str:
    return f"session-token-{phone}"


@pytest.fixture
def api() -> Iterator[MemoryApi]:
    with memory_api() as running:
        for phone in (OURS, THEIRS):
            running.register([], phone=phone, label=f"Label of {phone}")
        yield running


@pytest.fixture
def operator(api: MemoryApi) -> Browser:
    return Browser(api, OPERATOR)


@pytest.fixture
def tenant(api: MemoryApi) -> Browser:
    return Browser(api, token_of(OURS))
