"""Messages of before a phone was linked: events that say so, and start nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.connector.pocket import CHAT, Pocket
from tests.support.fakes import CONTACT, GROUP, PHONE, make_session, make_webhook
from unoapi.connector.convert.events import convert_event
from unoapi.connector.session_process import login_of
from unoapi.models.cloud_api.event_content import EventContent
from unoapi.models.connector.options import ConnectorOptions
from unoapi.services.filters import refusal

if TYPE_CHECKING:
    from pathlib import Path

TEXT = {"kind": "text", "body": "quero comprar"}


def history(pocket: Pocket) -> list[dict[str, Any]]:
    threads = [thread for value in pocket.events for part in value.get("history", []) for thread in part["threads"]]
    return [message for thread in threads for message in thread["messages"]]


def test_it_is_ignored_unless_the_session_wants_it(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)

    pocket.receives(TEXT, history=True)

    assert pocket.events == []


def test_nothing_is_read_typed_or_commanded_for_it(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path, ignoreHistoryMessages=False, readOnReceipt=True, commands=True)
    oneself = {"jid": f"{PHONE}@s.whatsapp.net", "kind": "user", "phone": PHONE}

    pocket.receives(TEXT, history=True)
    pocket.receives({"kind": "text", "body": "--config"}, "3EB0AB", chat=oneself, from_me=True, history=True)

    assert pocket.written() == []
    assert [message["id"] for message in history(pocket)] == ["3EB0AA", "3EB0AB"]
    assert pocket.messages() == []


@pytest.mark.parametrize(
    "content",
    [
        {"kind": "reaction", "target_id": "A", "emoji": "+"},
        {"kind": "edit", "target_id": "A", "content": TEXT},
        {"kind": "revoke", "target_id": "A"},
        {"kind": "poll_vote", "poll_id": "A"},
        {"kind": "protocol", "name": "placeholdermessage"},
    ],
)
def test_what_only_changes_another_message_is_no_message_of_it(content: dict[str, Any], tmp_path: Path) -> None:
    pocket = Pocket(tmp_path, ignoreHistoryMessages=False)

    pocket.receives(content, history=True)
    pocket.pass_time(200)

    assert pocket.events == []


def test_the_same_message_when_it_arrives_is_an_event_of_its_own(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path, ignoreHistoryMessages=False)

    for past in (True, True, False):
        pocket.receives(TEXT, history=past)

    assert len(history(pocket)) == 1
    assert [message["text"]["body"] for message in pocket.messages()] == ["quero comprar"]


def test_a_message_of_it_can_be_answered_with_its_words(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path, ignoreHistoryMessages=False)
    pocket.receives(TEXT, history=True)

    left = pocket.send(type="text", text={"body": "sim"}, context={"message_id": "3EB0AA"})

    assert left["extendedTextMessage"]["contextInfo"]["quotedMessage"] == {"conversation": "quero comprar"}


def test_webhooks_choose_it_and_a_groups_is_a_groups(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path, ignoreHistoryMessages=False)
    group = {"jid": GROUP, "kind": "group"}
    pocket.receives(TEXT, history=True)
    pocket.receives(TEXT, "3EB0AB", chat=group, sender=CHAT, history=True)

    single, grouped = (EventContent("history", value, "history").traits(PHONE) for value in pocket.events)

    assert refusal(make_webhook(sendHistory=False), single) == "sendHistory"
    assert refusal(make_webhook(sendGroupMessages=False), grouped) == "sendGroupMessages"
    assert refusal(make_webhook(sendGroupMessages=False), single) == ""


def test_the_phone_of_a_lid_is_known_by_the_librarys_own_table() -> None:
    stored = {"key": {"ID": "A", "remoteJID": "111@lid"}, "message": {"conversation": "a"}, "messageTimestamp": "5"}
    sync = {"Data": {"conversations": [{"ID": "111:4@lid", "messages": [{"message": stored}]}]}}

    (event,) = convert_event("HistorySync", sync, phone_of={"111@lid": CONTACT}.__getitem__)

    assert (event.data["sender"]["phone"], event.data["timestamp_ms"], event.partition) == (CONTACT, 5000, "111@lid")


@pytest.mark.parametrize(
    "sync",
    [
        {},
        {"Data": {"conversations": "x"}},
        {"Data": {"conversations": [{"messages": [{"message": {"message": {"conversation": "a"}}}]}]}},
        {"Data": {"conversations": [{"ID": "1@lid", "messages": [{"message": {"key": {"ID": "A"}}}]}]}},
        {"Data": {"conversations": [{"ID": "1@lid", "messages": [{"message": {"key": 3, "message": {"x": 1}}}]}]}},
    ],
)
def test_a_history_of_an_odd_form_has_no_messages(sync: dict[str, Any]) -> None:
    assert convert_event("HistorySync", sync) == []


@pytest.mark.parametrize(("ignored", "days"), [(True, 0), (False, 7)])
def test_the_connection_asks_for_it_by_the_sessions_option(ignored: bool, days: int) -> None:
    options = ConnectorOptions.model_validate({"ignoreHistoryMessages": ignored})

    assert login_of("qr", PHONE, options, proxy="", history_days=7).history_days == days
    assert make_session().ignore_history_messages
