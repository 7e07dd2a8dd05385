"""The real library, as far as it goes without WhatsApp. In processes of their own: it never leaves one cleanly."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.connector.library import library_path
from tests.connector.phones import NOBODY, Phone
from tests.connector.pocket import Pocket
from tests.support.fakes import PHONE
from tests.support.stack import ROOT, Stack, eventually

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module", autouse=True)
def library() -> str:
    """Its folder; without it the tests are skipped."""
    return library_path()


def run(folder: Path, *arguments: str, timeout_s: float = 60) -> Any:
    """What the checks beside this file print, as JSON."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "DOTENV_CONFIG_PATH": os.devnull}
    environment["PYTHONPATH"] = library_path()
    command = [sys.executable, "-m", "tests.connector.neonize_checks", *arguments, str(folder)]
    checks = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert checks.returncode == 0, checks.stderr[-2000:]
    return json.loads(checks.stdout.splitlines()[-1])


def test_events_of_the_real_library_become_events_of_the_contract(tmp_path: Path) -> None:
    results = run(tmp_path, "events")

    by_name = {result["name"]: result["events"] for result in results}
    (text,) = by_name["text"]
    assert text["data"]["content"] == {"kind": "text", "body": "hello"}
    assert (text["data"]["chat"]["phone"], text["data"]["chat"]["lid"]) == ("5549988887777", "24788516941@lid")
    assert text["data"]["timestamp_ms"] == 1_760_000_000_000
    assert by_name["image"][0]["data"]["content"]["media"]["descriptor"]["media_key"] == "a2V5"
    assert by_name["delivered"][0]["data"] | {"chat": 0} == {
        "status": "delivered", "ids": ["3EB0A", "3EB0B"], "chat": 0, "timestamp": 1_760_000_000,
    }  # fmt: skip
    assert by_name["sender receipt"] == []
    assert by_name["call"][0]["data"]["phase"] == "offer"
    assert by_name["undecryptable"][0]["type"] == "undecryptable"
    renamed, joined, made = (by_name[name][0]["data"] for name in ("renamed", "joined", "group made"))
    assert (renamed["subject"], renamed["locked"], renamed["timestamp"]) == ("Orders", False, 1_760_000_000)
    assert (renamed["added"][0]["phone"], renamed["by"]["lid"]) == ("5511988880002", "24788516941@lid")
    assert "description" not in renamed
    assert (joined["joined"], joined["reason"], joined["subject"]) == (True, "invite", "Orders")
    assert (made["created"], made["added"][0]["phone"], "joined" in made) == (True, "5549988887777", False)
    assert by_name["group picture"][0]["data"]["picture"] == "removed"
    assert by_name["contact picture"] == []


def test_groups_are_asked_of_the_real_library_as_it_wants_to_be_asked(tmp_path: Path) -> None:
    result = run(tmp_path, "groups")

    (member,) = result["found"]["members"]
    assert (member["phone"], member["lid"], member["role"]) == ("5549988887777", "24788516941@lid", "owner")
    assert result["joined"][0]["members"] == []
    assert (result["created"]["subject"], result["created"]["announcement"]) == ("Orders", True)
    assert result["removed"][0]["phone"] == "5549988887777"
    assert (result["requests"][0]["phone"], result["requests"][0]["requested_at"]) == ("5511988880002", 1_760_000_000)
    assert [(one["phone"] or one["jid"], one["error"]) for one in result["approved"]] == [
        ("5549988887777", 0), ("777@lid", 404),
    ]  # fmt: skip
    assert result["rejected"].startswith("131051: ")
    assert (result["link"], result["picture"]) == ("https://chat.whatsapp.com/x", "https://pps.test/x")
    assert (result["reaction"][:4], len(result["reaction"])) == ("3EB0", 22)
    assert result["file to a channel"].startswith("131051: ")
    changes = {
        "newsletter_send_reaction",
        "set_group_name",
        "set_group_topic",
        "set_group_announce",
        "set_group_locked",
        "set_group_photo",
    }
    assert changes | {"leave_group", "update_blocklist", "set_status_message", "set_profile_photo"} < {*result["calls"]}


def test_what_the_library_says_while_it_links_ends_the_session_with_its_reason(tmp_path: Path) -> None:
    result = run(tmp_path, "linking")

    codes = {word: end and end[0] for word, end in result["ends"].items()}
    assert codes == {
        "timeout": "NOT_SCANNED", "error": "LINK_FAILED", "err-client-outdated": "OUTDATED",
        "passkey-request": "LINK_FAILED", "success": None,
    }  # fmt: skip
    assert "passkey" in result["ends"]["passkey-request"][1]
    assert result["pairing"] == {"name": "Chrome (Linux)", "phone": PHONE, "code": "ABCDEFGH"}
    assert (result["silent"], result["restored"], result["states"]) == (False, True, ["disconnected", "connected"])


def test_a_login_that_whatsapp_itself_ended_is_no_removal_by_the_phone(tmp_path: Path) -> None:
    ends = run(tmp_path, "linking")["ended by WhatsApp"]

    assert ends["LOGGED_OUT"] == ["LOGGED_OUT", "the phone removed this device"]
    assert {name: code for name, (code, _) in ends.items()} == {
        "LOGGED_OUT": "LOGGED_OUT", "MAIN_DEVICE_GONE": "LOGGED_OUT", "UNKNOWN_LOGOUT": "BANNED",
        "BAD_USER_AGENT": "REFUSED",
    }  # fmt: skip
    assert "locked the account" in ends["MAIN_DEVICE_GONE"][1]
    assert ends["BAD_USER_AGENT"][1] == "WhatsApp refused the connection (bad user agent)"


def test_field_report_95s_no_pairing_code_is_not_told_as_a_code_that_nobody_used(tmp_path: Path) -> None:
    result = run(tmp_path, "linking")

    code, reason = result["no code"]
    assert code == "LINK_FAILED"
    assert reason.startswith("it gave no pairing code: ")
    assert "rate-overlimit" in reason


def test_a_number_is_the_sessions_in_each_of_its_forms_when_it_scans_the_code(tmp_path: Path) -> None:
    scanned = run(tmp_path, "linking")["scanned by"]

    assert list(scanned.values()) == [True, True, True, True, False]


def test_messages_of_the_real_library_reach_the_webhook_with_their_words(tmp_path: Path) -> None:
    results = run(tmp_path, "received")
    pocket = Pocket(tmp_path / "pocket")

    shown: dict[str, Any] = {}
    for number, (name, events_) in enumerate(results.items()):
        (event,) = events_
        event["data"]["content"].pop("media", None)  # nothing is fetched here
        before = len(pocket.messages())
        pocket.reports(event["type"], **{**event["data"], "id": f"3EB0{number:02}"})
        shown[name] = pocket.messages()[before:]

    texts = ("question answered", "question", "comment", "payment", "invoice", "stickers", "quote")
    assert [name for name in texts if "words" not in shown[name][0]["text"]["body"]] == []
    assert {name: shown[name][0]["context"]["id"] for name in ("question answered", "comment", "vote", "quote")} == {
        "question answered": "3EB0T", "comment": "3EB0T", "vote": "3EB0T", "quote": "3EB0Q",
    }  # fmt: skip
    assert shown["poll"][0]["text"]["body"].startswith("*Q*")
    assert shown["row"][0]["interactive"]["list_reply"]["id"] == "a"
    assert shown["view once"][0]["image"]["view_once"] is True
    assert shown["quote"][0]["from"] == "5549988887777"
    assert results["quote"][0]["data"]["ephemeral_seconds"] == 86400
    assert shown["placeholder"] == []
    future = [shown[name][0] for name in ("future", "future within", "future beside")]
    assert [message["type"] for message in future] == ["unsupported", "unsupported", "text"]
    assert "field900" in future[0]["errors"][0]["error_data"]["details"]
    pocket.pass_time(200)
    assert pocket.messages()[-1]["errors"][0]["code"] == 131060


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A folder in which the library has a login and the secrets of messages; and what became of sealed ones there."""
    folder = tmp_path_factory.mktemp("store")
    return folder, run(folder, "sealed")


def test_every_call_of_the_engine_reaches_the_library_and_it_opens_votes_as_we_do(store: tuple[Path, Any]) -> None:
    library = run(store[0], "logged_in")

    assert library["vote"] == {"error": "", "chosen": [hashlib.sha256(b"B").hexdigest()]}
    assert {name: said for name, said in library["calls"].items() if "websocket not connected" not in said} == {}
    assert len(library["calls"]) > 30


def test_what_whatsapp_seals_with_another_messages_secret_reaches_the_webhook_opened(
    tmp_path: Path, store: tuple[Path, Any]
) -> None:
    _, results = store
    pocket = Pocket(tmp_path / "pocket")

    shown: dict[str, Any] = {}
    pocket.receives({"kind": "poll", "name": "Q", "options": ["A", "B"]}, "3EB0T")
    for number, (name, events_) in enumerate(results.items()):
        (event,) = events_
        before = len(pocket.messages())
        pocket.reports(event["type"], **{**event["data"], "id": f"3EB0{number:02}"})
        (shown[name],) = pocket.messages()[before:]

    edits = ("an edit", "by the phone", "by both", "wrapped", "bare", "caption", "event")
    assert {name: shown[name].get("message_type") for name in edits} == dict.fromkeys(edits, "message_edit")
    assert [name for name in (*edits, "option", "comment") if "new words" not in shown[name]["text"]["body"]] == []
    assert {name: shown[name]["context"]["id"] for name in (*edits, "option", "comment", "response")} == dict.fromkeys(
        (*edits, "option", "comment", "response"), "3EB0T"
    )
    assert (shown["our own"]["text"]["body"], shown["our own"]["context"]["id"]) == ("new words", "3EB0OWN")
    assert shown["an edit"]["edit_timestamp"] == "1760000111000"
    assert shown["reaction"]["reaction"] == {"message_id": "3EB0T", "emoji": "+"}
    assert shown["reaction of another"]["reaction"] == {"message_id": "3EB0T", "emoji": "+"}
    assert shown["no reaction"]["reaction"].get("emoji", "") == ""
    assert shown["response"]["text"]["body"] == "Going (+2)"
    votes = {name: shown[name]["text"]["body"] for name in ("vote", "vote taken back", "vote unbound")}
    assert votes == {
        "vote": "B", "vote taken back": "(the vote was taken back)", "vote unbound": "(a vote in a poll)",
    }  # fmt: skip
    closed = ("of another's message", "another use", "no secret", "no nonce", "nothing in it", "garbage",
              "of a kind to come")  # fmt: skip
    assert {name: shown[name]["type"] for name in closed} == dict.fromkeys(closed, "unsupported")
    assert shown["of another's message"]["context"]["id"] == "3EB0T"


def test_what_was_written_before_a_phone_was_linked_comes_as_its_history(tmp_path: Path) -> None:
    result = run(tmp_path, "history")
    pocket = Pocket(tmp_path / "pocket", ignoreHistoryMessages=False)

    for event in result["events"][-3:]:
        pocket.reports(event["type"], **event["data"])

    assert (result["rows"], result["left"]) == ([100, 100, 3], 0)
    assert [event["data"]["id"] for event in result["events"][-3:]] == ["H1", "H2", "H3"]
    file, own, grouped = (value["history"][0]["threads"][0] for value in pocket.events)
    assert [thread["id"] for thread in (file, own, grouped)] == [
        "5549988887777", "5549988887777", "120363040468224422@g.us",
    ]  # fmt: skip
    placeholder = {"type": "image", "mime_type": "image/jpeg", "caption": "words"}
    assert file["messages"][0]["media_placeholder"] == placeholder
    assert own["messages"][0] | {"timestamp": "", "from": "", "context": {}} == {
        "id": "H2", "from": "", "to": "5549988887777", "to_user_id": "24788516941@lid", "type": "text",
        "text": {"body": "answer"}, "timestamp": "", "context": {}, "history_context": {"status": "READ"},
    }  # fmt: skip
    assert (own["messages"][0]["from"], own["messages"][0]["context"]["id"]) == (PHONE, "H1")
    assert grouped["messages"][0]["text"]["body"] == "in the group"
    names = [value["contacts"][0]["profile"]["name"] for value in pocket.events]
    assert names == ["Maria", "5549988887777", "Otto"]
    assert pocket.events[2]["contacts"][0]["group_subject"] == "Orders"
    assert pocket.messages() == []


def test_what_tests_write_by_hand_are_messages_of_the_real_library(tmp_path: Path) -> None:
    assert run(tmp_path, "written") == []


def test_every_field_of_a_message_becomes_something(tmp_path: Path) -> None:
    kinds = run(tmp_path, "fields")

    assert len(kinds) > 100
    assert all(kinds.values())


def test_every_kind_that_is_sent_is_a_message_of_the_real_library(tmp_path: Path) -> None:
    assert run(tmp_path, "sent") == []


def test_the_library_is_complete_and_opens_a_store(tmp_path: Path) -> None:
    result = run(tmp_path, "store")

    assert result["library_bytes"] > 1_000_000
    assert result["ended"] == "NETWORK"
    assert result["store_bytes"] > 0


def test_without_a_network_the_supervisor_backs_off_and_says_so(uno: Stack) -> None:
    uno.web()
    uno.worker()
    uno.register([{"id": "crm", "urlAbsolute": NOBODY}], provider="whatsmeow", proxyUrl="http://127.0.0.1:9")
    connector = uno.connector(UNOAPI_CONNECTOR_ENGINE="neonize", PYTHONPATH=library_path())
    phone = Phone(uno)

    answer = uno.post(f"/session/{phone.phone}/connect", {"method": "qr"})
    assert answer.ok, answer.text
    state = eventually(lambda: (current := phone.state()).get("reason") and current, within_s=30, what="a reason")

    assert state["status"] == "offline"
    assert "cannot be reached" in state["reason"]
    ended = [json.loads(line) for line in connector.output().splitlines() if "session_process_ended" in line]
    eventually(lambda: connector.output().count("session_process_ended") >= 2, within_s=20, what="a second try")
    assert [line["code"] for line in ended][:1] in ([], [10])
