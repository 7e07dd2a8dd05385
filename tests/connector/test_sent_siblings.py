"""What clients send reaches the phone as it was meant: kinds beside those that the field reports name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from tests.connector.pocket import CHAT, Pocket
from tests.support.fakes import CONTACT, GROUP, PHONE
from unoapi.connector.convert.outbound import message_of
from unoapi.errors import MessageRejected, SendRefused
from unoapi.models.cloud_api.messages import Sender
from unoapi.models.connector.commands import Send
from unoapi.providers.whatsmeow.commands import menu_of
from unoapi.services.message_parsing import parse_message

if TYPE_CHECKING:
    from pathlib import Path

ON_A_PHONE = Sender(phone=PHONE, at_meta=False)


def edited(pocket: Pocket, about: str) -> dict[str, Any]:
    left = pocket.send(f"wamid.EDIT.{about}", type="message_edit", text={"body": "new"}, context={"message_id": about})
    return dict(left["editedMessage"]["message"]["protocolMessage"]["editedMessage"]) if left else {}


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"type": "text", "text": {"body": "old"}}, {"conversation": "new"}),
        ({"type": "image", "image": {"id": "1", "caption": "old"}}, {"imageMessage": {"caption": "new"}}),
        ({"type": "video", "video": {"id": "1"}}, {"videoMessage": {"caption": "new"}}),
        ({"type": "document", "document": {"id": "1", "caption": "old"}},
         {"documentWithCaptionMessage": {"message": {"documentMessage": {"caption": "new"}}}}),
    ],
    ids=["text", "image", "video", "document"],
)  # fmt: skip
def test_an_edit_of_a_file_is_one_of_its_caption(tmp_path: Path, message: dict[str, Any], words: Any) -> None:
    pocket = Pocket(tmp_path)
    pocket.send("wamid.OUT", **message)

    assert edited(pocket, "wamid.OUT") == words


MARKED = {"header": {"type": "text", "text": " Pedido 12 "}, "body": {"text": "B"}, "footer": {"text": "a\n\nb "}}
ROWS = {"button": "Ver", "sections": [{"title": "*Planos* ", "rows": [{"id": "a", "title": "A"}]}]}


@pytest.mark.parametrize(
    ("interactive", "words"),
    [
        ({"type": "list", **MARKED, "action": ROWS}, "*Pedido 12*\nB\n*Planos*\n1. A\n_a_\n_b_"),
        ({"type": "location_request_message", **MARKED, "header": {"type": "text", "text": "*Onde?*\nAqui"}},
         "*Onde?*\n*Aqui*\nB\na\n\nb "),
    ],
    ids=["a list", "a place that is asked for"],
)  # fmt: skip
def test_headings_are_marked_so_that_no_phone_shows_the_signs(
    tmp_path: Path, interactive: dict[str, Any], words: str
) -> None:
    interactive = {"action": {"name": "send_location"}, **interactive}

    assert Pocket(tmp_path).send(type="interactive", interactive=interactive) == {"conversation": words}


@pytest.mark.parametrize(
    "message",
    [{"type": "audio", "audio": {"id": "1"}}, {"type": "sticker", "sticker": {"id": "1"}},
     {"type": "location", "location": {"latitude": 1, "longitude": 2}},
     {"type": "poll", "poll": {"name": "Q", "options": ["A", "B"]}}],
    ids=lambda message: str(message["type"]),
)  # fmt: skip
def test_what_no_phone_edits_fails_with_the_reason(tmp_path: Path, message: dict[str, Any]) -> None:
    pocket = Pocket(tmp_path)
    pocket.send("wamid.OUT", **message)

    assert edited(pocket, "wamid.OUT") == {}
    (status,) = pocket.statuses("wamid.EDIT.wamid.OUT")
    assert (status["status"], status["errors"][0]["code"]) == ("failed", 131051)


def test_what_names_an_edit_of_ours_means_the_message_that_was_edited(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.send("wamid.OUT", type="text", text={"body": "old"})
    sent = pocket.sent()[0]["id"]
    edited(pocket, "wamid.OUT")
    reaction = {"message_id": "wamid.EDIT.wamid.OUT", "emoji": "👍"}

    about = {"message_id": reaction["message_id"]}
    again = pocket.send("wamid.AGAIN", type="message_edit", text={"body": "newer"}, context=about)
    liked = pocket.send("wamid.LIKE", type="reaction", reaction=reaction)
    quoted = pocket.send("wamid.RE", type="text", text={"body": "x"}, context={"message_id": "wamid.OUT"})

    assert again["editedMessage"]["message"]["protocolMessage"]["key"]["ID"] == sent
    assert liked["reactionMessage"]["key"]["ID"] == sent
    assert quoted["extendedTextMessage"]["contextInfo"]["quotedMessage"] == {"conversation": "newer"}


def test_field_report_77_no_status_names_a_message_that_no_client_sent(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path, rejectCalls="busy")
    pocket.files["1"] = ({"mime_type": "audio/ogg"}, b"x")
    pocket.send("wamid.OUT", type="audio", audio={"id": "1", "caption": "words"})
    pocket.reports("call", **{"id": "C1", "from": CHAT, "phase": "offer", "timestamp": 1})
    pocket.send("wamid.GONE", type="text", text={"body": "x"})
    pocket.mark(status="deleted", message_id="wamid.GONE")

    pocket.let_time_pass()

    named = {status["id"] for value in pocket.events for status in value.get("statuses", [])}
    assert named == {"wamid.OUT", "wamid.GONE"}
    assert [status["status"] for status in pocket.statuses("wamid.GONE")] == ["sent", "deleted", "delivered", "read"]


def test_field_report_25_an_answer_to_the_words_below_an_audio_is_one_to_the_audio(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.files["1"] = ({"mime_type": "audio/ogg"}, b"x")
    pocket.send("wamid.OUT", type="audio", audio={"id": "1", "caption": "words"})

    answer = pocket.receives({"kind": "text", "body": "ok"}, context={"id": pocket.sent()[-1]["id"]})

    assert answer["context"]["id"] == "wamid.OUT"


def test_a_caption_can_be_edited_twice_and_a_document_keeps_its_name(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.send("wamid.I", type="image", image={"id": "1", "caption": "old"})
    pocket.send("wamid.D", type="document", document={"id": "1", "filename": "a.pdf"})
    edited(pocket, "wamid.I")
    edited(pocket, "wamid.D")

    again = edited(pocket, "wamid.EDIT.wamid.I")
    quote = pocket.send("wamid.RE", type="text", text={"body": "x"}, context={"message_id": "wamid.D"})

    assert again == {"imageMessage": {"caption": "new"}}
    shown = quote["extendedTextMessage"]["contextInfo"]["quotedMessage"]
    assert shown["documentMessage"]["fileName"] == "a.pdf"


def test_an_edit_that_no_phone_shows_any_more_fails_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pocket = Pocket(tmp_path)
    pocket.send("wamid.OUT", type="text", text={"body": "old"})
    monkeypatch.setattr("unoapi.connector.command_handler.EDIT_WINDOW_MS", -10_000)

    assert edited(pocket, "wamid.OUT") == {}
    (error,) = pocket.statuses("wamid.EDIT.wamid.OUT")[0]["errors"]
    assert (error["code"], "15 minutes" in error["error_data"]["details"]) == (131009, True)


def test_only_what_the_number_wrote_can_be_changed_or_deleted(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.receives({"kind": "text", "body": "theirs"})
    pocket.receives({"kind": "text", "body": "theirs"}, "3EB0G", chat={"jid": "120363@g.us", "kind": "group"})

    with pytest.raises(MessageRejected, match="not valid"):
        edited(pocket, "3EB0AA")
    with pytest.raises(MessageRejected, match="not valid"):
        pocket.mark(status="deleted", message_id="3EB0AA")
    pocket.mark(status="deleted", message_id="3EB0G")

    assert pocket.sent()[-1]["message"]["protocolMessage"]["key"]["ID"] == "3EB0G"


@pytest.mark.parametrize("about", ["wamid.GONE", "UNO.CALL.1", "UNO.QR.1"])
@pytest.mark.parametrize(
    "message",
    [
        lambda about: {"type": "reaction", "reaction": {"message_id": about, "emoji": "\U0001f44d"}},
        lambda about: {"type": "message_edit", "text": {"body": "x"}, "context": {"message_id": about}},
        lambda about: {"type": "pin", "pin": {"message_id": about}},
    ],
    ids=["a reaction", "an edit", "a pin"],
)
def test_what_is_about_a_message_that_whatsapp_cannot_know_is_refused(tmp_path: Path, message: Any, about: str) -> None:
    pocket = Pocket(tmp_path)

    with pytest.raises(MessageRejected, match="not valid"):
        pocket.send(**message(about))
    assert pocket.sent() == []


@pytest.mark.parametrize("by", ["the client", "the phone"])
def test_field_report_103_the_clients_mark_comes_back_when_its_message_is_deleted(tmp_path: Path, by: str) -> None:
    pocket = Pocket(tmp_path)
    pocket.send(type="text", text={"body": "x"}, biz_opaque_callback_data="order-1")

    if by == "the client":
        pocket.mark(status="deleted", message_id="wamid.OUT")
    else:
        pocket.receives({"kind": "revoke", "target_id": pocket.sent()[0]["id"]}, from_me=True)

    last = pocket.statuses()[-1]
    assert (last["status"], last["biz_opaque_callback_data"]) == ("deleted", "order-1")


@pytest.mark.parametrize("to", [CONTACT, "120363@g.us"])
def test_a_deletion_on_the_phone_of_what_a_client_sent_is_told_though_own_messages_and_groups_are_ignored(
    tmp_path: Path, to: str
) -> None:
    pocket = Pocket(tmp_path, ignoreOwnMessages=True, ignoreGroupMessages=True)
    pocket.send(to=to, type="text", text={"body": "x"})
    chat = {"jid": to, "kind": "group"} if "@" in to else CHAT

    for deleted in ("3EB0TYPED", pocket.sent()[0]["id"]):
        pocket.receives({"kind": "revoke", "target_id": deleted}, f"{deleted}.R", from_me=True, chat=chat)

    told = [value["statuses"][0] for value in pocket.events]
    assert [(status["id"], status["status"]) for status in told] == [("wamid.OUT", "sent"), ("wamid.OUT", "deleted")]


def test_the_deletion_of_what_no_client_sent_names_no_id_of_ours(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.ids.remember_ours(PHONE, theirs="3EB0OWN", ours="UNO.OWN.1")

    pocket.receives({"kind": "revoke", "target_id": "3EB0OWN"}, from_me=True)

    assert pocket.events == []


@pytest.mark.parametrize(("to", "writer"), [(CONTACT, f"{CONTACT}@s.whatsapp.net"), ("120363@g.us", None)])
def test_field_report_30_a_message_that_nobody_knows_any_more_is_quoted_as_the_contacts(
    tmp_path: Path, to: str, writer: str | None
) -> None:
    left = Pocket(tmp_path).send(to=to, type="text", text={"body": "x"}, context={"message_id": "3EB0OLD"})

    context = left["extendedTextMessage"]["contextInfo"]
    assert (context["stanzaID"], context.get("participant")) == ("3EB0OLD", writer)


CHANNEL = "120363111@newsletter"


def test_a_reaction_in_a_channel_names_the_message_by_its_number_there(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.receives({"kind": "text", "body": "news"}, chat={"jid": CHANNEL, "kind": "newsletter"}, server_id=107)

    pocket.send(to=CHANNEL, type="reaction", reaction={"message_id": "3EB0AA", "emoji": "👍"})
    pocket.send("wamid.2", to=CHANNEL, type="reaction", reaction={"message_id": "3EB0ZZ", "emoji": "👍"})

    assert pocket.written() == [{"reacted": "👍", "channel": CHANNEL, "server_id": 107}]
    assert pocket.statuses()[0]["status"] == "sent"
    assert pocket.statuses("wamid.2")[0]["errors"][0]["code"] == 131009


@pytest.mark.parametrize(
    ("to", "carries"), [(CHANNEL, False), ("status@broadcast", False), ("120363@g.us", True), ("111@lid", True)]
)
def test_only_chats_whose_messages_disappear_carry_a_timer(tmp_path: Path, to: str, *, carries: bool) -> None:
    left = Pocket(tmp_path).send(to=to, type="text", text={"body": "x"}, ttl=3600)

    assert ("expiration" in left.get("extendedTextMessage", {}).get("contextInfo", {})) is carries


@pytest.mark.parametrize(
    ("chat", "elsewhere"),
    [("120363@g.us", "120363@g.us"), ("status@broadcast", "status@broadcast"), ("111@lid", None)],
)
def test_field_report_30_an_answer_names_the_chat_of_what_it_answers_to_when_that_is_another_one(
    tmp_path: Path, chat: str, elsewhere: str | None
) -> None:
    pocket = Pocket(tmp_path)
    kinds = {"g.us": "group", "broadcast": "status", "lid": "user"}
    pocket.receives({"kind": "text", "body": "old"}, chat={"jid": chat, "kind": kinds[chat.partition("@")[2]]},
                    sender={"jid": "111@lid", "lid": "111@lid"})  # fmt: skip

    private = pocket.send("wamid.1", type="text", text={"body": "x"}, context={"message_id": "3EB0AA"})
    there = pocket.send("wamid.2", to=chat, type="text", text={"body": "x"}, context={"message_id": "3EB0AA"})

    context = private["extendedTextMessage"]["contextInfo"]
    assert (context.get("remoteJID"), context["participant"]) == (elsewhere, "111@lid")
    assert "remoteJID" not in there["extendedTextMessage"]["contextInfo"]


@pytest.mark.parametrize(
    ("file", "name"),
    [({"id": "1", "filename": "../../x.pdf"}, "x.pdf"), ({"id": "1", "filename": "C:\\a\\x.pdf"}, "x.pdf"),
     ({"id": "1", "filename": "  "}, "file"), ({"id": "1"}, "file"),
     ({"link": "https://h.test/a%2Fx.pdf?y=1"}, "x.pdf"),
     ({"link": "https://h.test/"}, "file"), ({"id": "1", "mime_type": "application/pdf"}, "file.pdf"),
     ({"id": "1", "filename": "Contrato", "mime_type": "application/pdf"}, "Contrato"),
     ({"id": "1", "filename": "ação 报告.pdf"}, "ação 报告.pdf")],
)  # fmt: skip
def test_a_document_has_a_name_without_folders(tmp_path: Path, file: dict[str, Any], name: str) -> None:
    left = Pocket(tmp_path).send(type="document", document=file)

    assert left["documentMessage"]["fileName"] == name


# --- menus of any length, for phones ---


def a_list(rows: int) -> dict[str, Any]:
    choices = [{"id": f"i{number}", "title": f"Item {number}"} for number in range(1, rows + 1)]
    menu = {"type": "list", "body": {"text": "B"}, "action": {"button": "V", "sections": [{"rows": choices}]}}
    return {"messaging_product": "whatsapp", "to": "5549988887777", "type": "interactive", "interactive": menu}


def buttons(count: int) -> dict[str, Any]:
    choices = [{"type": "reply", "reply": {"id": f"i{number}", "title": f"T{number}"}} for number in range(count)]
    menu = {"type": "button", "body": {"text": "B"}, "action": {"buttons": choices}}
    return {"messaging_product": "whatsapp", "to": "5549988887777", "type": "interactive", "interactive": menu}


@pytest.mark.parametrize("document", [a_list(15), a_list(100), buttons(4), buttons(20)])
def test_phones_take_longer_menus_and_their_answers_are_known(document: dict[str, Any]) -> None:
    menu = menu_of(parse_message(document, sender=ON_A_PHONE), message_id="m")

    assert menu is not None
    assert len(menu.rows) > 3
    with pytest.raises(ValidationError):
        parse_message(document)


@pytest.mark.parametrize("document", [a_list(101), buttons(21)])
def test_even_a_phones_menu_has_an_end(document: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="at most"):
        parse_message(document, sender=ON_A_PHONE)


@pytest.mark.parametrize(
    ("mode", "count", "kind"),
    [("classic", 3, "buttonsMessage"), ("classic", 4, "conversation"), ("native", 10, "interactiveMessage"),
     ("native", 11, "conversation"), ("text", 4, "conversation")],
)  # fmt: skip
def test_more_buttons_than_phones_show_are_numbered_lines(mode: str, count: int, kind: str) -> None:
    choices = [{"type": "reply", "id": f"{number}", "title": f"T{number}"} for number in range(count)]
    send = Send.model_validate(
        {"content": {"kind": "buttons", "body": "B", "buttons": choices}, "interactive_mode": mode}
    )

    assert list(message_of(send, to="1@s.whatsapp.net")) == [kind]


@pytest.mark.parametrize(
    ("fields", "color", "font"),
    [
        ({}, 0xFF075E54, None),
        ({"backgroundColor": "#1F7AEC"}, 0xFF1F7AEC, None),
        ({"options": {"backgroundColor": "1f7aec", "font": 8}}, 0xFF1F7AEC, 8),
    ],
)
def test_a_text_as_a_status_post_has_a_colour_and_a_font(
    tmp_path: Path, fields: dict[str, Any], color: int, font: int | None
) -> None:
    left = Pocket(tmp_path).send(to="status@broadcast", type="text", text={"body": "oi"}, **fields)

    post = left["extendedTextMessage"]
    assert (post["text"], post["backgroundArgb"], post["textArgb"], post.get("font")) == ("oi", color, 0xFFFFFFFF, font)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"backgroundColor": "blue"}, "backgroundColor"),
        ({"backgroundColor": ["#1F7AEC"]}, "backgroundColor"),
        ({"font": 99}, "font"),
        ({"font": "x"}, "font"),
        ({"statusJidList": ["5549988887777"]}, "statusJidList"),
        ({"options": {"statusJidList": ["5549988887777"]}}, "statusJidList"),
    ],
)
def test_a_status_post_that_cannot_be_as_meant_is_refused(tmp_path: Path, fields: dict[str, Any], named: str) -> None:
    pocket = Pocket(tmp_path)

    with pytest.raises(MessageRejected) as refused:
        pocket.send(to="status@broadcast", type="text", text={"body": "oi"}, **fields)

    assert named in refused.value.details
    assert pocket.sent() == []


def test_the_look_of_a_status_post_is_no_part_of_other_texts(tmp_path: Path) -> None:
    left = Pocket(tmp_path).send(type="text", text={"body": "oi"}, backgroundColor="#1F7AEC", font=99)

    assert left == {"conversation": "oi"}


@pytest.mark.parametrize(
    ("pin", "kind", "seconds"),
    [
        ({}, "PIN_FOR_ALL", 604_800),
        ({"type": "pin", "expiration_days": 1}, "PIN_FOR_ALL", 86_400),
        ({"type": "pin", "expiration_days": 14}, "PIN_FOR_ALL", 2_592_000),
        ({"type": "unpin"}, "UNPIN_FOR_ALL", None),
    ],
)
def test_a_message_is_pinned_for_as_long_as_phones_can(
    tmp_path: Path, pin: dict[str, Any], kind: str, seconds: int | None
) -> None:
    pocket = Pocket(tmp_path, composingMessage=True)
    pocket.receives({"kind": "text", "body": "oi"}, chat={"jid": GROUP, "kind": "group"}, sender=CHAT)

    left = pocket.send(to=GROUP, type="pin", pin={"message_id": "3EB0AA", **pin}, ttl=3600)

    part = left["pinInChatMessage"]
    assert part["key"] == {"remoteJID": GROUP, "fromMe": False, "ID": "3EB0AA", "participant": CHAT["jid"]}
    assert (part["type"], left.get("messageContextInfo", {}).get("messageAddOnDurationInSecs")) == (kind, seconds)
    assert "contextInfo" not in part


@pytest.mark.parametrize("mode", ["classic", "native"])
@pytest.mark.parametrize("to", [CHANNEL, "status@broadcast"])
def test_a_menu_is_lines_where_phones_show_no_buttons(tmp_path: Path, to: str, mode: str) -> None:
    menu = {"type": "button", "body": {"text": "Which?"}, "action": {"buttons": [
        {"type": "reply", "reply": {"id": "a", "title": "A"}}]}}  # fmt: skip

    left = Pocket(tmp_path, interactiveMode=mode).send(to=to, type="interactive", interactive=menu)

    assert (left.get("conversation") or left["extendedTextMessage"]["text"]) == "Which?\n1. A"


@pytest.mark.parametrize(
    "message",
    [
        {"type": "document", "document": {"link": "https://h.test/a.pdf"}},
        {"type": "contacts", "contacts": [{"name": {"formatted_name": "Ana"}}]},
        {"type": "location", "location": {"latitude": 1, "longitude": 2}},
        {"type": "poll", "poll": {"name": "Q", "options": ["A", "B"]}},
        {
            "type": "interactive",
            "interactive": {
                "type": "button",
                "header": {"type": "document", "document": {"link": "https://h.test/a.pdf"}},
                "action": {"buttons": [{"type": "reply", "reply": {"id": "a", "title": "A"}}]},
            },
        },
    ],
    ids=lambda message: str(message["type"]),
)
def test_what_no_phone_shows_as_a_status_post_is_refused(tmp_path: Path, message: dict[str, Any]) -> None:
    pocket = Pocket(tmp_path)

    with pytest.raises(MessageRejected) as refused:
        pocket.send(to="status@broadcast", **message)

    assert (refused.value.code, pocket.sent()) == (131051, [])


def test_what_nobody_knows_cannot_be_pinned_and_a_contacts_pin_is_no_message(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)

    with pytest.raises(MessageRejected):
        pocket.send(type="pin", pin={"message_id": "wamid.UNKNOWN"})
    with pytest.raises(ValidationError):
        pocket.send(type="pin", pin={"message_id": "3EB0AA", "expiration_days": 31})
    for nowhere in (CHANNEL, "status@broadcast"):
        with pytest.raises(MessageRejected):
            pocket.send(to=nowhere, type="pin", pin={"message_id": "3EB0AA"})

    assert pocket.receives({"kind": "pin", "target_id": "3EB0AA"}) == {}
    assert pocket.sent() == []


@pytest.mark.parametrize(
    "content",
    [{"kind": "poll_vote", "poll_id": "3EB0AA"}, {"kind": "reaction", "target_id": "3EB0AA", "emoji": "+"}],
)
def test_a_vote_or_a_reaction_in_a_group_is_no_message_to_mark_as_read(tmp_path: Path, content: dict[str, Any]) -> None:
    pocket = Pocket(tmp_path)
    pocket.receives(content, "3EB0VOTE", chat={"jid": GROUP, "kind": "group"}, sender=CHAT)

    pocket.mark(status="read", message_id="3EB0VOTE")

    assert pocket.written() == []


@pytest.mark.parametrize(
    "message",
    [
        {"type": "reaction", "reaction": {"message_id": "3EB0AA", "emoji": "👍"}},
        {"type": "pin", "pin": {"message_id": "3EB0AA"}},
        {"type": "message_edit", "context": {"message_id": "3EB0AA"}, "text": {"body": "x"}},
    ],
)
@pytest.mark.parametrize(
    ("stands_in", "to"),
    [(GROUP, CONTACT), (GROUP, "120363099999999999@g.us"), (CHAT["jid"], GROUP), ("status@broadcast", CONTACT)],
)
def test_what_changes_a_message_of_another_chat_is_refused(
    tmp_path: Path, message: dict[str, Any], stands_in: str, to: str
) -> None:
    pocket = Pocket(tmp_path)
    pocket.receives({"kind": "text", "body": "oi"}, chat={"jid": stands_in}, sender=CHAT)

    with pytest.raises(MessageRejected) as refused:
        pocket.send(to=to, **message)

    assert "message_id: " in refused.value.details or message["type"] == "message_edit"
    assert pocket.sent() == []


@pytest.mark.parametrize(("stands_in", "to"), [(CHAT["jid"], "111@lid"), ("111@lid", CONTACT), (GROUP, GROUP)])
def test_a_person_is_one_chat_by_phone_and_by_lid(tmp_path: Path, stands_in: str, to: str) -> None:
    pocket = Pocket(tmp_path)
    pocket.receives({"kind": "text", "body": "oi"}, chat={"jid": stands_in}, sender=CHAT)

    left = pocket.send(to=to, type="reaction", reaction={"message_id": "3EB0AA", "emoji": "👍"})

    assert left["reactionMessage"]["key"]["ID"] == "3EB0AA"


@pytest.mark.parametrize(
    ("message", "field", "words"),
    [
        ({"type": "text", "text": {"body": "WORDS"}}, "extendedTextMessage", "text"),
        ({"type": "image", "image": {"link": "https://h.test/a.jpg", "caption": "WORDS"}}, "imageMessage", "caption"),
        ({"type": "interactive", "interactive": {"type": "button", "body": {"text": "WORDS"}, "action": {
            "buttons": [{"type": "reply", "reply": {"id": "y", "title": "Y"}}]}}}, "extendedTextMessage", "text"),
        ({"type": "poll", "poll": {"name": "WORDS", "options": ["A", "B"]}}, "pollCreationMessageV3", "name"),
    ],
)  # fmt: skip
def test_mentions_ring_wherever_words_stand_in_a_group(
    tmp_path: Path, message: dict[str, Any], field: str, words: str
) -> None:
    pocket = Pocket(tmp_path)

    def said(text: str, message_id: str, to: str = GROUP) -> Any:
        body = json.loads(json.dumps(message).replace("WORDS", text))
        return pocket.send(message_id, to=to, **body)

    one = said("oi @5549988887777", "wamid.1")[field]
    everybody = said("oi @todos", "wamid.2")[field]
    alone = said("oi @todos @5549988887777", "wamid.3", to=CONTACT)

    assert one["contextInfo"]["mentionedJID"] == ["5549988887777@s.whatsapp.net"]
    assert everybody["contextInfo"]["nonJIDMentions"] == 1
    assert everybody[words].startswith("oi")
    assert "@todos" not in everybody[words]
    assert "entions" not in json.dumps(alone)


MENU_WITH_PICTURE = {
    "type": "button", "header": {"type": "image", "image": {"link": "https://h.test/a.jpg"}}, "body": {"text": "a"},
    "action": {"buttons": [{"type": "reply", "reply": {"id": "y", "title": "Y"}}]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "header", "edited"),
    [
        ("text", False, {"conversation": "b"}),
        ("text", True, {"imageMessage": {"caption": "b"}}),
        ("native", False, None),
        ("classic", True, None),
    ],
)
def test_of_menus_those_are_edited_that_are_texts_or_captions(
    tmp_path: Path, mode: str, *, header: bool, edited: dict[str, Any] | None
) -> None:
    pocket = Pocket(tmp_path, interactiveMode=mode)
    menu = {name: part for name, part in MENU_WITH_PICTURE.items() if header or name != "header"}
    pocket.send("wamid.MENU", type="interactive", interactive=menu)

    left = pocket.send("wamid.EDIT", type="message_edit", context={"message_id": "wamid.MENU"}, text={"body": "b"})

    if edited is None:
        assert left == {}
        assert pocket.statuses("wamid.EDIT")[0]["errors"][0]["code"] == 131051
    else:
        assert left["editedMessage"]["message"]["protocolMessage"]["editedMessage"] == edited


def test_a_menu_that_is_too_long_as_a_text_is_refused_and_not_tried_again() -> None:
    rows = [{"id": f"{number}", "title": "Plano", "description": "d" * 1000} for number in range(100)]
    menu = {"kind": "list", "body": "Escolha", "button": "Ver", "sections": [{"title": "", "rows": rows}]}
    send = Send.model_validate({"content": menu, "interactive_mode": "text"})

    with pytest.raises(SendRefused, match="as a text the menu has more than 65536 characters"):
        message_of(send, to=CONTACT)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("image", {"width": "640px", "thumbnail": "https://h.test/small.jpg", "mime_type": ["x"], "filename": [1]}),
        ("video", {"seconds": 12.5, "mime_type": "x" * 300}),
        ("audio", {"seconds": "0:03", "waveform": [1, 2], "voice": True, "caption": {"a": 1}}),
        ("document", {"page_count": "two", "mime_type": "application/octet-stream"}),
        ("sticker", {"animated": "no idea"}),
        ("image", {"width": -1, "height": -1}),
        ("video", {"seconds": 2**32}),
        ("document", {"page_count": -2}),
    ],
)
def test_fields_of_other_gateways_spoil_no_file(tmp_path: Path, kind: str, more: dict[str, Any]) -> None:
    pocket = Pocket(tmp_path)
    message: dict[str, Any] = {"type": kind, kind: {"link": f"https://h.test/{kind}.bin", **more}}

    left = pocket.send(**message)

    assert list(left) == [f"{kind}Message"]
    assert not {"seconds", "waveform", "width", "JPEGThumbnail", "pageCount", "caption"} & left[f"{kind}Message"].keys()
    assert len(pocket.sent()) == 1


def test_what_is_for_a_single_view_never_becomes_a_file_for_many(tmp_path: Path) -> None:
    with pytest.raises(MessageRejected, match="not valid") as refusal:
        Pocket(tmp_path).send(type="image", image={"id": "1", "view_once": "sim", "width": "x"})

    assert "view_once: must be true or false" in refusal.value.details


def quoted_after(pocket: Pocket, about: str) -> Any:
    reply = pocket.send("wamid.RE", type="text", text={"body": "x"}, context={"message_id": about})
    return reply["extendedTextMessage"]["contextInfo"]["quotedMessage"]


BUTTONS = {"buttons": [{"type": "reply", "reply": {"id": "1", "title": "Sim"}}]}
DOCUMENT = {"type": "document", "document": {"id": "1"}}


@pytest.mark.parametrize(
    "message",
    [DOCUMENT, {"type": "document", "document": {"id": "1", "caption": "c"}},
     {"type": "interactive", "interactive": {"type": "button", "header": DOCUMENT, "body": {"text": "oi"},
                                             "action": BUTTONS}}],
    ids=["alone", "with a caption", "above numbered buttons"],
)  # fmt: skip
def test_a_quoted_document_is_called_as_it_was_sent(tmp_path: Path, message: dict[str, Any]) -> None:
    pocket = Pocket(tmp_path, interactiveMode="text")
    pocket.files["1"] = ({"filename": "boleto.pdf", "mime_type": "application/pdf"}, b"%PDF-")
    pocket.send("wamid.D", **message)

    assert quoted_after(pocket, "wamid.D") == {"documentMessage": {"fileName": "boleto.pdf", "title": "boleto.pdf"}}


def test_a_menu_with_more_buttons_than_phones_show_can_be_edited_as_the_text_that_it_is(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path, interactiveMode="classic")
    many = [{"type": "reply", "reply": {"id": f"{number}", "title": f"Plano {number}"}} for number in range(4)]
    menu = {
        "type": "interactive",
        "interactive": {"type": "button", "body": {"text": "oi"}, "action": {"buttons": many}},
    }
    pocket.provider.send(parse_message({"to": CONTACT, **menu}, sender=ON_A_PHONE), phone=PHONE, message_id="wamid.M")

    assert edited(pocket, "wamid.M") == {"conversation": "new"}


def test_mentions_below_a_sound_ring_in_the_words_that_follow_it(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)

    pocket.send(to=GROUP, type="audio", audio={"id": "1", "caption": f"@todos oi @{CONTACT}"})

    sound, words = (line["message"] for line in pocket.sent())
    assert "contextInfo" not in sound["audioMessage"]
    assert words["extendedTextMessage"] == {
        "text": f"oi @{CONTACT}",
        "contextInfo": {"mentionedJID": [f"{CONTACT}@s.whatsapp.net"], "nonJIDMentions": 1},
    }


def test_the_words_below_a_sound_are_deleted_with_it_and_told_once(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.send("wamid.A", type="audio", audio={"id": "1", "caption": "words"})
    sound, words = (line["id"] for line in pocket.sent())

    pocket.mark(status="deleted", message_id="wamid.A")

    gone = [line["message"]["protocolMessage"]["key"]["ID"] for line in pocket.sent()[2:]]
    assert gone == [sound, words]
    assert [status["status"] for status in pocket.statuses("wamid.A")] == ["sent", "deleted"]


def test_the_words_below_a_sound_that_was_refused_do_not_leave(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)

    def refused(_: Any) -> Any:
        raise SendRefused("phones do not play this", code=131053)

    pocket.handler._fetch_file = refused

    pocket.send("wamid.A", type="audio", audio={"id": "1", "caption": "words"})
    pocket.send("wamid.B", type="text", text={"body": "x"})

    assert [line["message"] for line in pocket.sent()] == [{"conversation": "x"}]
    assert [status["status"] for status in pocket.statuses("wamid.A")] == ["failed"]
