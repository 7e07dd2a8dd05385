"""Answers repeat what they answer to, and disappear when the chat's messages do (field reports 29 and 30)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.connector.pocket import CHAT, Pocket
from tests.support.fakes import CONTACT, GROUP, PHONE, MemoryConnections
from unoapi.connector.convert.events import convert_event
from unoapi.errors import MessageRejected, Postponed, SendPostponed
from unoapi.models.message_keys import MessageKey

if TYPE_CHECKING:
    from pathlib import Path

JID, OWN = f"{CONTACT}@s.whatsapp.net", f"{PHONE}@s.whatsapp.net"
MEDIA = {"state": "ready", "key": "1"}
RECEIVED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"kind": "text", "body": "preço?"}, {"conversation": "preço?"}),
    ({"kind": "image", "caption": "Look", "media": MEDIA}, {"imageMessage": {"caption": "Look"}}),
    ({"kind": "video", "caption": "Look", "media": MEDIA}, {"videoMessage": {"caption": "Look"}}),
    ({"kind": "audio", "voice": True, "media": MEDIA}, {"audioMessage": {"PTT": True}}),
    ({"kind": "document", "filename": "a.pdf", "media": MEDIA},
     {"documentMessage": {"fileName": "a.pdf", "title": "a.pdf"}}),
    ({"kind": "sticker", "media": MEDIA}, {"stickerMessage": {"isAnimated": False}}),
    ({"kind": "location", "latitude": 1, "longitude": 2, "name": "Bar"}, {"locationMessage": {"name": "Bar"}}),
    ({"kind": "contacts", "contacts": [{"name": "Bia", "vcard": ""}]}, {"contactMessage": {"displayName": "Bia"}}),
    ({"kind": "poll", "name": "Q", "options": ["A"]},
     {"pollCreationMessage": {"name": "Q", "options": [{"optionName": "A"}]}}),
    ({"kind": "button_reply", "id": "x", "title": "Sim"}, {"conversation": "Sim"}),
]  # fmt: skip


def answer(pocket: Pocket, about: str, **more: Any) -> dict[str, Any]:
    left = pocket.send(f"wamid.TO.{about}", type="text", text={"body": "10"}, context={"message_id": about}, **more)
    return dict(left["extendedTextMessage"]["contextInfo"])


@pytest.mark.parametrize(("content", "repeated"), RECEIVED, ids=[str(content["kind"]) for content, _ in RECEIVED])
def test_field_report_30_an_answer_repeats_what_it_answers_to(
    tmp_path: Path, content: dict[str, Any], repeated: dict[str, Any]
) -> None:
    pocket = Pocket(tmp_path)
    pocket.receives(content, "3EB0AA")

    assert answer(pocket, "3EB0AA") == {"stanzaID": "3EB0AA", "participant": JID, "quotedMessage": repeated}


def test_field_report_30_an_answer_in_a_group_names_the_writer_and_repeats_the_caption(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    content = {"kind": "image", "caption": "Look", "media": MEDIA}
    pocket.receives(content, "3EB0AA", chat={"jid": GROUP, "kind": "group"}, sender=CHAT)

    context = answer(pocket, "3EB0AA", to=GROUP)

    assert (context["participant"], context["quotedMessage"]) == (JID, {"imageMessage": {"caption": "Look"}})


def test_field_report_30_an_answer_to_the_numbers_own_message_names_the_number(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.send("wamid.OWN", type="text", text={"body": "Quantos?"})

    context = answer(pocket, "wamid.OWN")

    assert (context["participant"], context["quotedMessage"]) == (OWN, {"conversation": "Quantos?"})
    assert context["stanzaID"] == pocket.sent()[0]["id"]


@pytest.mark.parametrize("in_group", [False, True])
def test_an_answer_to_a_vote_or_a_reaction_answers_to_what_these_are_about(tmp_path: Path, *, in_group: bool) -> None:
    pocket = Pocket(tmp_path)
    where: dict[str, Any] = {"chat": {"jid": GROUP, "kind": "group"}, "sender": CHAT} if in_group else {}
    to = GROUP if in_group else CONTACT
    pocket.send("wamid.POLL", to=to, type="poll", poll={"name": "Q", "options": ["A", "B"]})
    poll = pocket.sent()[-1]["id"]
    pocket.receives({"kind": "text", "body": "oi"}, "3EB0TEXT", **where)
    pocket.receives({"kind": "poll_vote", "poll_id": poll, "options": ["A"]}, "3EB0VOTE", **where)
    pocket.receives({"kind": "reaction", "target_id": "3EB0TEXT", "emoji": "+"}, "3EB0REACT", **where)
    pocket.receives({"kind": "reaction", "target_id": poll, "emoji": "+"}, "3EB0OURS", **where)

    quotes = [answer(pocket, about, to=to) for about in ("3EB0VOTE", "3EB0REACT", "3EB0OURS")]

    shown = {"pollCreationMessage": {"name": "Q", "options": [{"optionName": "A"}, {"optionName": "B"}]}}
    assert [(quote["stanzaID"], quote["participant"], quote["quotedMessage"]) for quote in quotes] == [
        (poll, OWN, shown), ("3EB0TEXT", JID, {"conversation": "oi"}), (poll, OWN, shown),
    ]  # fmt: skip


def test_an_edited_message_is_repeated_as_it_reads_now(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.receives({"kind": "text", "body": "10"}, "3EB0AA")
    pocket.receives({"kind": "edit", "target_id": "3EB0AA", "content": {"kind": "text", "body": "20"}}, "3EB0BB")

    assert answer(pocket, "3EB0AA")["quotedMessage"] == {"conversation": "20"}


def test_field_report_30_an_id_that_whatsapp_cannot_know_is_not_quoted(tmp_path: Path) -> None:
    left = Pocket(tmp_path).send(type="text", text={"body": "10"}, context={"message_id": "wamid.FORGOTTEN"})

    assert left == {"conversation": "10"}


IMAGE: dict[str, Any] = {"type": "image", "image": {"link": "https://h.test/a.jpg", "caption": "c"}}
TEXT: dict[str, Any] = {"type": "text", "text": {"body": "r"}}


@pytest.mark.parametrize(("message", "field"), [(TEXT, "extendedTextMessage"), (IMAGE, "imageMessage")])
def test_field_report_29_ttl_is_the_messages_timer(tmp_path: Path, message: dict[str, Any], field: str) -> None:
    left = Pocket(tmp_path).send(**message, ttl=3600)

    assert left[field]["contextInfo"]["expiration"] == 3600


@pytest.mark.parametrize(("message", "field"), [(TEXT, "extendedTextMessage"), (IMAGE, "imageMessage")])
def test_field_report_29_an_answer_disappears_as_the_chats_messages_do(
    tmp_path: Path, message: dict[str, Any], field: str
) -> None:
    pocket = Pocket(tmp_path)
    pocket.receives({"kind": "text", "body": "oi"}, ephemeral_seconds=86400)

    assert pocket.send(**message)[field]["contextInfo"]["expiration"] == 86400


def test_field_report_29_the_timer_of_a_group_that_the_number_is_added_to_counts_at_once(tmp_path: Path) -> None:
    user, server = GROUP.split("@")
    timer = {"IsEphemeral": True, "DisappearingTimer": 86400}
    joined = {"Reason": "invite", "GroupInfo": {"JID": {"User": user, "Server": server}, "GroupEphemeral": timer}}
    (event,) = convert_event("JoinedGroup", joined)
    pocket = Pocket(tmp_path)
    pocket.reports("group", **event.data)

    left = pocket.send(to=GROUP, type="text", text={"body": "oi"})

    assert left["extendedTextMessage"]["contextInfo"]["expiration"] == 86400
    assert [group["type"] for group in pocket.events[0]["groups"]] == ["group_participants_add"]


def test_field_report_29_a_groups_timer_counts_before_anybody_has_written(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path, ignoreGroupMessages=True)

    left = []
    for seconds in (604_800, 0):
        pocket.reports("group", group={"jid": GROUP, "kind": "group"}, ephemeral_seconds=seconds)
        left.append(pocket.send(f"wamid.{seconds}", to=GROUP, type="text", text={"body": "oi"}))

    assert left[0]["extendedTextMessage"]["contextInfo"]["expiration"] == 604_800
    assert left[1] == {"conversation": "oi"}


def test_field_report_29_a_timer_that_was_switched_off_is_off(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.receives({"kind": "text", "body": "oi"}, "3EB01", ephemeral_seconds=86400)
    pocket.receives({"kind": "reaction", "target_id": "3EB01", "emoji": "x"}, "3EB02")
    assert "extendedTextMessage" in pocket.send("wamid.1", **TEXT)

    pocket.receives({"kind": "protocol", "name": "EPHEMERAL_SETTING", "seconds": 0}, "3EB03")

    assert pocket.send("wamid.2", **TEXT) == {"conversation": "r"}


def test_field_report_29_a_ttl_of_none_lets_the_message_stay(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.receives({"kind": "text", "body": "oi"}, ephemeral_seconds=86400)

    assert pocket.send(**TEXT, ttl=0) == {"conversation": "r"}


def test_field_report_5_nothing_leaves_for_a_user_id(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)

    for message in (TEXT, IMAGE, {"type": "reaction", "reaction": {"message_id": "3EB0", "emoji": "👍"}}):
        with pytest.raises(MessageRejected) as refused:
            pocket.send(recipient="BR.1234567890", **message)
        assert "user ids" in refused.value.details
    assert pocket.sent() == []


def test_field_report_25_a_quote_of_our_own_message_names_the_number_though_whatsapp_names_its_lid(
    tmp_path: Path,
) -> None:
    pocket = Pocket(tmp_path)
    pocket.send(type="text", text={"body": "x"})

    message = pocket.receives(
        {"kind": "text", "body": "oi"}, context={"id": pocket.sent()[0]["id"], "participant": "999@lid"}
    )

    assert message["context"] == {"from": PHONE, "message_id": "wamid.OUT", "id": "wamid.OUT"}


ABOUT: list[dict[str, Any]] = [
    {"type": "text", "text": {"body": "10"}, "context": {"message_id": "wamid.OUT"}},
    {"type": "reaction", "reaction": {"message_id": "wamid.OUT", "emoji": "👍"}},
]


@pytest.mark.parametrize("message", ABOUT, ids=["quote", "reaction"])
def test_field_report_x1_what_is_about_a_message_that_is_just_leaving_waits_for_it(
    tmp_path: Path, message: dict[str, Any]
) -> None:
    pocket = Pocket(tmp_path)
    pocket.connections.expect(PHONE, "wamid.OUT", within_s=60)  # on its way to the connector

    with pytest.raises(SendPostponed):
        pocket.send("wamid.NEXT", **message)
    with pytest.raises(Postponed):
        pocket.mark(messaging_product="whatsapp", status="deleted", message_id="wamid.OUT")
    pocket.send(type="text", text={"body": "5"})
    left = pocket.send("wamid.NEXT", **message)
    pocket.mark(messaging_product="whatsapp", status="deleted", message_id="wamid.OUT")

    assert pocket.sent()[0]["id"] in str(left)
    assert pocket.statuses()[-1]["status"] == "deleted"


class ResultOnTheWay(MemoryConnections):
    """The result of a message comes after its key was asked for, before whether it is awaited is."""

    def is_awaited(self, phone: str, command_id: str) -> bool:
        self.settle(phone, command_id, key=MessageKey("3EB0OUT", f"{CONTACT}@s.whatsapp.net", from_me=True))
        return super().is_awaited(phone, command_id)


@pytest.mark.parametrize("message", ABOUT, ids=["quote", "reaction"])
def test_field_report_x1_a_result_that_comes_just_now_is_seen(tmp_path: Path, message: dict[str, Any]) -> None:
    pocket = Pocket(tmp_path, connections=ResultOnTheWay())
    pocket.connections.expect(PHONE, "wamid.OUT", within_s=60)

    left = pocket.send("wamid.NEXT", **message)

    assert "3EB0OUT" in str(left)
