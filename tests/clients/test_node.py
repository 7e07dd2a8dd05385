"""Libraries of Node that reach us as they are shipped, or by a transport of one's own: what they send, all of it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.clients.conftest import TOKEN
from tests.clients.environments import call_node
from tests.support.stack import CONTACT, PHONE, Stack

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.skipif(shutil.which("npm") is None, reason="Node is not installed")
LINK = "https://files.example.com/a.png"
LIBRARIES = {"chat": 3, "kapso": 5, "detail": 8, "api-js": 6}


@pytest.fixture(scope="module")
def talked(gateway: Stack) -> Mapping[str, dict[str, Any]]:
    """What came of every call."""
    account = gateway.get(f"/v24.0/{PHONE}", token=TOKEN).json()["business_account_id"]
    return call_node("node_talks.mjs", gateway.url, PHONE, TOKEN, account, CONTACT, LINK)


@pytest.mark.parametrize("library", LIBRARIES)
def test_c1_c5_c10_c12_c13_everything_that_a_library_of_node_asks_for_is_served(
    talked: Mapping[str, dict[str, Any]], library: str
) -> None:
    calls = {name: result for name, result in talked.items() if name.startswith(f"{library}: ")}

    assert {name: result["message"] for name, result in calls.items() if not result["ok"]} == {}
    assert len(calls) == LIBRARIES[library]


def test_c5_c12_what_was_asked_for_is_answered(talked: Mapping[str, dict[str, Any]]) -> None:
    assert talked["detail: get"]["value"]["name"] == "made_by_node"
    assert talked["detail: account"]["value"].keys() == {"id", "name"}
    assert talked["api-js: reply"]["value"]["messages"][0]["id"]
