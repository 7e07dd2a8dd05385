"""A reply marks what the contact wrote as read first, where the session wants it (`readOnReply`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.connector.pocket import CHAT, Pocket
from tests.support.fakes import CONTACT, GROUP, PHONE
from unoapi.connector.unread import MAX_CHATS, MAX_IDS, Unread

if TYPE_CHECKING:
    from pathlib import Path

JID, LID = CHAT["jid"], "111@lid"
TEXT = {"kind": "text", "body": "oi"}
REPLY: dict[str, Any] = {"type": "text", "text": {"body": "sim"}}


def reads(pocket: Pocket) -> list[list[str]]:
    return [line["read"] for line in pocket.written() if "read" in line]


def test_what_was_written_is_read_before_the_reply_leaves_and_once(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path, readOnReply=True)
    pocket.receives(TEXT, "3EB01")
    pocket.receives(TEXT, "3EB02")

    pocket.send("wamid.1", **REPLY)
    pocket.send("wamid.2", **REPLY)

    assert [next(iter(line)) for line in pocket.written()] == ["read", "id", "id"]
    assert reads(pocket) == [["3EB01", "3EB02"]]


@pytest.mark.parametrize("options", [{}, {"readOnReply": True, "readOnReceipt": True}])
def test_without_the_option_or_where_it_was_read_at_once_a_reply_reads_nothing(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    pocket = Pocket(tmp_path, **options)
    pocket.receives(TEXT, "3EB01")
    before = reads(pocket)

    pocket.send(**REPLY)

    assert reads(pocket) == before


def test_a_contact_that_wrote_by_a_lid_is_the_phone_that_is_answered(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path, readOnReply=True)
    pocket.receives(TEXT, "3EB01", chat={"jid": LID, "kind": "user", "lid": LID, "phone": CONTACT})

    pocket.send(**REPLY)

    assert [(line["read"], line["chat"]) for line in pocket.written() if "read" in line] == [(["3EB01"], LID)]


@pytest.mark.parametrize(
    "event",
    [
        {"content": {"kind": "reaction", "target_id": "A", "emoji": "+"}},
        {"chat": {"jid": GROUP, "kind": "group"}, "sender": CHAT},
        {"history": True},
        {"from_me": True, "sender": {"jid": f"{PHONE}@s.whatsapp.net", "kind": "user"}},
        {"chat": {"jid": "222@lid", "kind": "user"}},
    ],
)
def test_what_is_nothing_to_read_in_this_chat_is_not_read(tmp_path: Path, event: dict[str, Any]) -> None:
    pocket = Pocket(tmp_path, readOnReply=True)
    pocket.receives(**{"content": TEXT, "message_id": "3EB01", **event})

    pocket.send(**REPLY)

    assert reads(pocket) == []


def test_a_reaction_reads_nothing_and_a_mark_that_fails_stops_no_reply(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pocket = Pocket(tmp_path, readOnReply=True)
    pocket.receives(TEXT, "3EB01")
    pocket.send("wamid.1", type="reaction", reaction={"message_id": "3EB01", "emoji": "👍"})
    assert reads(pocket) == []

    def refuse(*_: object, **__: object) -> None:
        raise OSError("not now")

    monkeypatch.setattr(pocket.engine, "mark_read", refuse)

    assert pocket.send("wamid.2", **REPLY) == {"conversation": "sim"}


def test_it_is_bounded() -> None:
    unread = Unread()
    for number in range(MAX_CHATS + 1):
        unread.note({"id": "A", "chat": {"jid": f"{number}@lid"}, "content": TEXT}, {f"{number}@lid"})
    for number in range(MAX_IDS + 1):
        unread.note({"id": f"{number}", "chat": {"jid": JID}, "content": TEXT}, {JID})

    assert unread.take("0@lid") == []
    assert unread.take(f"{MAX_CHATS}@lid") == [(f"{MAX_CHATS}@lid", ["A"])]
    ((_, ids),) = unread.take(JID)
    assert (len(ids), ids[-1]) == (MAX_IDS, f"{MAX_IDS}")
