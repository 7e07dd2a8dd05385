"""What people do on their phones reaches the webhook: kinds of messages beside those that the field reports name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.connector.pocket import CHAT, Pocket
from tests.connector.written import (
    ABOUT,
    ANA,
    BIA,
    BIAS_PHONE,
    CHANNEL,
    FILE,
    GROUP,
    IMAGE,
    MENUS,
    MESSAGES,
    OTHERS,
    OURS,
    POINT,
    STATUS,
    TEXTS,
    VIEWED_ONCE,
    WORDS,
    about,
    edit,
    jid,
    native,
    reported,
    told,
    wrapped,
)
from tests.support.fakes import CONTACT, PHONE
from unoapi.models.connector.bounds import bounded, plain_name
from unoapi.models.connector.events import Party
from unoapi.models.media import plain_filename
from unoapi.services.webhook_profiles import SHAPES

if TYPE_CHECKING:
    from pathlib import Path


def message_in(pocket: Pocket, message: dict[str, Any], **info: Any) -> dict[str, Any]:
    (value,) = told(pocket, message, **info)
    (shown,) = value.get("messages") or value["message_echoes"]
    return dict(shown)


@pytest.mark.parametrize("name", TEXTS)
def test_what_somebody_did_is_told_in_words(tmp_path: Path, name: str) -> None:
    message, words = TEXTS[name]

    shown = message_in(Pocket(tmp_path), message)

    assert (shown["type"], shown["text"]["body"]) == ("text", words)
    if "3EB0T" in str(message):
        assert shown["context"]["id"] == "3EB0T"


@pytest.mark.parametrize("name", VIEWED_ONCE)
def test_field_report_18_what_is_for_a_single_view_says_so_in_every_wrapper(tmp_path: Path, name: str) -> None:
    shown = message_in(Pocket(tmp_path), VIEWED_ONCE[name])

    assert shown[shown["type"]]["view_once"] is True


@pytest.mark.parametrize("name", MENUS)
def test_the_picture_above_received_buttons_is_told_with_them(tmp_path: Path, name: str) -> None:
    shown = message_in(Pocket(tmp_path), MENUS[name])

    menu = shown["interactive"]
    assert (menu["header"]["type"], menu["header"]["image"]["id"]) == ("image", "1")
    assert menu["action"]["buttons"] == [{"type": "reply", "reply": {"id": "y", "title": "Yes"}}]


def test_the_picture_above_received_buttons_is_fetched(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pending = {"state": "pending", "descriptor": {"media_type": "image", "direct_path": "/v"}}
    menu = {"kind": "buttons", "body": "Look", "header_media": {"kind": "image", "media": pending}, "buttons": [
        {"type": "reply", "id": "y", "title": "Yes"}]}  # fmt: skip

    pocket.receives(menu)
    pocket.wait_for_files()

    assert pocket.messages()[0]["interactive"]["header"]["image"]["id"] == "3141"


def test_a_received_template_without_a_button_is_its_picture(tmp_path: Path) -> None:
    shown = message_in(Pocket(tmp_path), OTHERS["a template without a button"])

    assert (shown["type"], shown["image"]["caption"]) == ("image", "Look")


def test_the_place_above_received_buttons_is_told_in_words(tmp_path: Path) -> None:
    shown = message_in(Pocket(tmp_path), OTHERS["buttons below a place"])

    assert shown["interactive"]["body"]["text"] == "Bar\n1.5, 2.5\nLook"


@pytest.mark.parametrize(
    ("name", "place"),
    [("a place on the move", {"name": "on my way", "live": True}),
     ("a place with words", {"name": "Bar", "address": "Rua A 1\nupstairs"})],
)  # fmt: skip
def test_words_beside_a_place_are_told_with_it(tmp_path: Path, name: str, place: dict[str, Any]) -> None:
    shown = message_in(Pocket(tmp_path), OTHERS[name])

    assert shown["location"] == {"latitude": 1.5, "longitude": 2.5, **place}


def test_received_menus_lose_neither_titles_nor_buttons(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    names = ("a list of products", "a classic button that opens a page", "rows and a button")

    products, page, rows = (
        message_in(pocket, OTHERS[name], message_id=f"3EB0{name[-4:]}")["interactive"] for name in names
    )

    assert products["body"]["text"] == "Look\nTeas"
    assert page["action"]["buttons"] == [{"type": "cta_url", "url": {"title": "Site", "link": "https://x.test"}}]
    assert (rows["header"]["text"], rows["body"]["text"]) == ("T", "S\nB\nA: first")
    assert [button["reply"]["id"] for button in rows["action"]["buttons"]] == ["send_location", "a"]


def test_more_rows_than_anybody_reads_are_cut_below_a_picture(tmp_path: Path) -> None:
    rows = [{"id": f"{number}", "title": "T"} for number in range(2000)]
    message = native("single_select", {"sections": [{"rows": rows}]}, header={**IMAGE, "hasMediaAttachment": True})

    shown = message_in(Pocket(tmp_path), message)

    assert len(shown["interactive"]["action"]["buttons"]) == 100


def test_a_payment_keeps_the_picture_above_it(tmp_path: Path) -> None:
    shown = message_in(Pocket(tmp_path), OTHERS["a payment below a picture"])

    assert (shown["type"], shown["image"]["caption"]) == ("image", "Pay here\n*Loja*\nPIX *EVP*: k")


@pytest.mark.parametrize(
    "message",
    [{"conversation": ""}, {"extendedTextMessage": {}}, {"interactiveMessage": {"body": {}}}, {"productMessage": {}},
     {"contactsArrayMessage": {}}],
    ids=lambda message: str(next(iter(message))),
)  # fmt: skip
def test_what_holds_no_words_is_no_empty_text(tmp_path: Path, message: dict[str, Any]) -> None:
    shown = message_in(Pocket(tmp_path), message)

    assert (shown["type"], shown["errors"][0]["code"]) == ("unsupported", 131051)


@pytest.mark.parametrize("message", [{}, {"ephemeralMessage": {}}], ids=["nothing", "an empty wrapper"])
def test_field_report_17_a_message_that_came_without_content_is_not_swallowed(
    tmp_path: Path, message: dict[str, Any]
) -> None:
    pocket = Pocket(tmp_path)

    assert told(pocket, message) == []
    pocket.pass_time(200)

    assert pocket.messages()[-1]["errors"][0]["code"] == 131060


@pytest.mark.parametrize(
    ("content", "ids"),
    [
        ({"kind": "text", "body": "novo"}, ["3EB0EDIT"]),
        ({"kind": "unsupported", "field": "secretencryptedmessage"}, ["3EB0EDIT", "UNO.UND"]),
    ],
)
def test_field_report_16_what_an_edit_has_told_is_not_told_as_unreadable(
    tmp_path: Path, content: dict[str, Any], ids: list[str]
) -> None:
    pocket = Pocket(tmp_path)
    pocket.reports("undecryptable", id="3EB0AA", chat=CHAT, sender=CHAT, timestamp_ms=1_795_600_000_000)
    pocket.receives({"kind": "edit", "target_id": "3EB0AA", "content": content}, "3EB0EDIT")

    pocket.pass_time(60)

    assert [message["id"][: len(shown)] for message, shown in zip(pocket.messages(), ids, strict=True)] == ids


def test_field_report_16_what_was_deleted_before_it_could_be_read_is_not_told_as_unreadable(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    lost = {**about(message_id="3EB0T"), "IsUnavailable": False, "DecryptFailMode": "DECRYPT_FAIL_SHOW"}

    reported(pocket, "UndecryptableMessage", lost)
    told(pocket, {"protocolMessage": {"key": ABOUT, "type": "REVOKE"}})
    pocket.pass_time(60)

    assert pocket.messages() == []


@pytest.mark.parametrize(
    ("vote", "words"),
    [({"options": ["A", "B"]}, "A, B"), ({"withdrawn": True}, "(the vote was taken back)"), ({}, "(a vote in a poll)")],
)
def test_field_report_28_a_vote_that_was_taken_back_says_so(tmp_path: Path, vote: dict[str, Any], words: str) -> None:
    shown = Pocket(tmp_path).receives({"kind": "poll_vote", "poll_id": "3EB0T", **vote})

    assert (shown["text"]["body"], shown["context"]["id"]) == (words, "3EB0T")


@pytest.mark.parametrize("chat", [(ANA, "lid"), GROUP, CHANNEL])
def test_field_report_30_what_names_an_edit_means_the_message_that_was_edited(
    tmp_path: Path, chat: tuple[str, str]
) -> None:
    pocket = Pocket(tmp_path)
    message_in(pocket, WORDS, chat=chat, message_id="3EB0T")
    if chat == CHANNEL:
        changed = message_in(pocket, {"conversation": "new"}, chat=chat, message_id="3EB0T", edit="3")
    else:
        changed = message_in(pocket, edit({"conversation": "new"}), chat=chat, message_id="3EB0E")

    left = pocket.send(to="@".join(chat), type="text", text={"body": "x"}, context={"message_id": changed["id"]})
    pocket.mark(status="read", message_id=changed["id"])

    context = left["extendedTextMessage"]["contextInfo"]
    assert (context["stanzaID"], context["quotedMessage"]) == ("3EB0T", {"conversation": "new"})
    assert pocket.written()[-1]["read"] == ["3EB0T"]


@pytest.mark.parametrize("name", ["a form", "a form of a phone"])
def test_a_form_with_a_field_that_is_called_id_is_no_button(tmp_path: Path, name: str) -> None:
    reply = message_in(Pocket(tmp_path), OTHERS[name])["interactive"]

    assert (reply["type"], reply["nfm_reply"]["name"]) == ("nfm_reply", "flow")
    assert '"id": "5"' in reply["nfm_reply"]["response_json"]


def test_an_advertisement_comes_with_its_greeting_in_the_former_form_without(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)

    new = message_in(pocket, OTHERS["an advertisement"])["referral"]
    former = message_in(pocket, OTHERS["a former advertisement"], message_id="3EB0BB")["referral"]

    assert new == {
        "source_type": "ad", "source_id": "7", "source_url": "https://fb.test/x", "headline": "T", "body": "B",
        "media_type": "image", "image_url": "https://t.test/1", "thumbnail_url": "https://t.test/1", "ctwa_clid": "c",
        "welcome_message": {"text": "Olá"},
    }  # fmt: skip
    assert former == {"source_type": "ad", "headline": "Loja", "body": "Tea", "media_type": "image"}


@pytest.mark.parametrize(
    ("name", "author"),
    [
        ("a picture in HD", CONTACT),
        ("the film of a picture", CONTACT),
        ("a quote of Bia's", BIAS_PHONE),
        ("a quote of ours", PHONE),
        ("a comment on ours", PHONE),
    ],
)
def test_who_wrote_what_is_quoted_is_named_by_the_phone(tmp_path: Path, name: str, author: str) -> None:
    context = message_in(Pocket(tmp_path), OTHERS[name])["context"]

    assert (context["from"], context["id"]) == (author, "3EB0T")


def test_a_question_about_a_product_says_about_which(tmp_path: Path) -> None:
    shown = message_in(Pocket(tmp_path), OTHERS["a question about a product"])

    assert shown["text"]["body"] == "still there?"
    product = {"catalog_id": PHONE, "product_retailer_id": "SKU-1", "title": "Tea"}
    assert shown["context"] == {"referred_product": product}


def test_no_product_is_too_long_for_the_message_about_it(tmp_path: Path) -> None:
    product = dict.fromkeys(("productID", "retailerID", "title"), "x" * 5000)
    quoted = {"productMessage": {"businessOwnerJID": "9" * 5000, "product": product}}
    message = {"extendedTextMessage": {"text": "?", "contextInfo": {"quotedMessage": quoted}}}

    shown = message_in(Pocket(tmp_path), message)

    assert len(shown["context"]["referred_product"]["title"]) == 1000


def test_a_reaction_that_is_gone_is_no_empty_text(tmp_path: Path) -> None:
    shown = message_in(Pocket(tmp_path, sendReactionAsReply=True), OTHERS["a reaction that is gone"])

    assert shown["text"]["body"] == "(the reaction was taken back)"


@pytest.mark.parametrize("server", ["hosted.lid", "lid"])
def test_a_contact_on_a_hosted_device_is_the_same_contact(tmp_path: Path, server: str) -> None:
    shown = message_in(Pocket(tmp_path), WORDS, chat=(ANA, server))

    assert (shown["from"], shown["from_user_id"]) == (CONTACT, "111@lid")


# --- channels ---


def test_what_a_channel_changed_is_an_edit_with_an_id_of_its_own(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    message_in(pocket, WORDS, chat=CHANNEL, message_id="N1")

    changed = message_in(pocket, {"conversation": "better"}, chat=CHANNEL, message_id="N1", edit="3",
                         NewsLetterMeta={"EditTS": "1795600009000"})  # fmt: skip

    assert (changed["text"]["body"], changed["message_type"]) == ("better", "message_edit")
    assert (changed["context"]["id"], changed["edit_timestamp"]) == ("N1", "1795600009000")
    assert changed["id"] != "N1"


def test_what_a_channel_deleted_is_told_as_deleted(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    message_in(pocket, WORDS, chat=CHANNEL, message_id="N1")

    (value,) = told(pocket, {}, chat=CHANNEL, message_id="N1", edit="8")

    assert (value["statuses"][0]["id"], value["statuses"][0]["status"]) == ("N1", "deleted")


# --- receipts ---


@pytest.mark.parametrize("chat", [GROUP, STATUS, ("1795600000", "broadcast")])
def test_a_receipt_names_who_read_wherever_many_read(tmp_path: Path, chat: tuple[str, str]) -> None:
    source = {"Chat": jid(*chat), "Sender": jid(BIA), "IsFromMe": False}
    event = {"MessageSource": source, **source, "Type": "READ", "MessageIDs": ["3EB01"], "Timestamp": "1795600000"}
    pocket = Pocket(tmp_path)
    pocket.ids.remember_ours(PHONE, theirs="3EB01", ours="wamid.OUT")

    (value,) = reported(pocket, "Receipt", event)

    assert (value["contacts"][0]["wa_id"], value["statuses"][0]["recipient_id"]) == (BIAS_PHONE, "@".join(chat))


@pytest.mark.parametrize(
    "kind", ["SENDER", "RETRY", "READ_SELF", "PLAYED_SELF", "SERVER_ERROR", "INACTIVE", "PEER_MSG"]
)
def test_a_receipt_that_says_nothing_of_the_contact_is_none(tmp_path: Path, kind: str) -> None:
    source = {"Chat": jid(ANA), "Sender": jid(ANA), "IsFromMe": False}

    assert reported(Pocket(tmp_path), "Receipt", {**source, "Type": kind, "MessageIDs": ["1"], "Timestamp": "1"}) == []


@pytest.mark.parametrize("kind", ["READ", "PLAYED", "DELIVERED", "READ_SELF"])
def test_field_report_8_what_the_number_read_on_its_own_phone_is_not_told_as_read_by_the_contact(
    tmp_path: Path, kind: str
) -> None:
    source = {"Chat": jid(ANA), "Sender": jid(OURS), "IsFromMe": True}
    event = {"MessageSource": source, **source, "Type": kind, "MessageIDs": ["3EB01"], "Timestamp": "1795600000"}
    pocket = Pocket(tmp_path)

    assert reported(pocket, "Receipt", event) == []
    assert pocket.postponed == []


@pytest.mark.parametrize(("chat", "option"), [(GROUP, "ignoreGroupMessages"), (STATUS, "ignoreBroadcastStatuses")])
def test_field_report_8_who_read_what_the_phone_wrote_is_not_told_where_its_messages_are_not(
    tmp_path: Path, chat: tuple[str, str], option: str
) -> None:
    options: Any = {option: True}
    source = {"Chat": jid(*chat), "Sender": jid(BIA), "IsFromMe": False}
    ids = ["3EB01", "3EB02"]
    event = {"MessageSource": source, **source, "Type": "READ", "MessageIDs": ids, "Timestamp": "1795600000"}
    pocket = Pocket(tmp_path, **options)
    pocket.ids.remember_ours(PHONE, theirs="3EB02", ours="wamid.OUT")

    reported(pocket, "Receipt", event)
    pocket.pass_time(600)

    assert [status["id"] for value in pocket.events for status in value["statuses"]] == ["wamid.OUT"]


@pytest.mark.parametrize(("kind", "refused"), [("CallOffer", ["C1"]), ("CallOfferNotice", [])])
def test_a_groups_call_is_told_as_any_other_and_not_refused(tmp_path: Path, kind: str, refused: list[str]) -> None:
    pocket = Pocket(tmp_path, messageCallsWebhook="somebody called", rejectCalls="busy")
    call = {"basicCallMeta": {"callCreator": jid(ANA), "from": jid(ANA), "callID": "C1", "timestamp": "1795600000"}}

    (value,) = reported(pocket, kind, call)

    assert (value["messages"][0]["from"], value["messages"][0]["text"]["body"]) == (CONTACT, "somebody called")
    assert [line["rejected"] for line in pocket.written() if "rejected" in line] == refused


SILENT = ("an answer to an event", "a cancelled call", "a declined payment", "a comment on ours", "a song")


@pytest.mark.parametrize(
    ("message", "expiration"),
    [*((MESSAGES[name], 3600) for name in SILENT), ({"callLogMesssage": {"callOutcome": "MISSED"}}, 3600),
     ({"locationMessage": POINT}, 3600), (WORDS, None), (IMAGE, None), (wrapped("ephemeralMessage", WORDS), None),
     ({"locationMessage": {**POINT, "contextInfo": {"expiration": 86400}}}, 86400),
     ({"protocolMessage": {"type": "EPHEMERAL_SETTING", "ephemeralExpiration": 604800}}, 604800),
     ({"protocolMessage": {"type": "EPHEMERAL_SETTING"}}, None)],
)  # fmt: skip
def test_field_report_29_only_what_can_carry_a_timer_changes_that_of_the_chat(
    tmp_path: Path, message: dict[str, Any], expiration: int | None
) -> None:
    pocket = Pocket(tmp_path)
    told(pocket, {"extendedTextMessage": {"text": "x", "contextInfo": {"expiration": 3600}}}, message_id="3EB00")

    told(pocket, message)

    left = pocket.send(type="text", text={"body": "x"}).get("extendedTextMessage", {})
    assert left.get("contextInfo", {}).get("expiration") == expiration


@pytest.mark.parametrize(
    ("jid", "kind"),
    [("120363@g.us", "group"), ("120363111@newsletter", "newsletter"), ("status@broadcast", "status"),
     ("1795600000@broadcast", "broadcast"), ("111@lid", "user"), ("", "user")],
)  # fmt: skip
def test_what_kind_of_chat_it_is_follows_from_its_address(jid: str, kind: str) -> None:
    assert Party.model_validate({"jid": jid}).kind == Party(jid=jid).kind == kind
    assert Party.model_validate({"jid": jid, "kind": "user"}).kind == "user"


# --- bounds: what is too long is cut, and told all the same ---

PICTURE = "PHOTO;ENCODING=b;TYPE=JPEG:" + "A" * 90_000
FOLDED = "item1.PHOTO;ENCODING=b:" + "\r\n ".join(["A" * 70] * 1500)


UNFOLDED = "PHOTO;ENCODING=BASE64;JPEG:\r\n" + "\r\n".join(["A" * 70] * 1500) + "=\r\n"


@pytest.mark.parametrize("picture", [PICTURE, FOLDED, UNFOLDED], ids=["one line", "folded", "not folded"])
def test_field_report_54_a_card_with_a_large_picture_keeps_its_names_and_phones(tmp_path: Path, picture: str) -> None:
    lines = ("BEGIN:VCARD", "VERSION:3.0", "FN:Ana", picture, "TEL;waid=5511988880001:+55 11 98888-0001", "END:VCARD")
    card = {"displayName": "Ana", "vcard": "\r\n".join(lines)}

    shown = message_in(Pocket(tmp_path), {"contactMessage": card})

    assert shown["contacts"][0]["name"]["formatted_name"] == "Ana"
    assert shown["contacts"][0]["phones"][0]["wa_id"] == "5511988880001"


def test_a_text_and_a_caption_that_are_too_long_are_cut(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)

    text = message_in(pocket, {"conversation": "á" * 70_000})
    image = message_in(pocket, {"imageMessage": {**FILE, "caption": "á" * 70_000}}, message_id="3EB0BB")
    edited = message_in(pocket, {"protocolMessage": {"key": ABOUT, "type": "MESSAGE_EDIT", "editedMessage": {
        "conversation": "á" * 70_000}}}, message_id="3EB0CC")  # fmt: skip

    assert [len(words) for words in (text["text"]["body"], image["image"]["caption"], edited["text"]["body"])] == [
        65_536, 65_536, 65_536
    ]  # fmt: skip
    assert text["text"]["body"].endswith("…")


@pytest.mark.parametrize(
    ("written", "name"),
    [("../../etc/passwd", "passwd"), ("C:\\a\\b.pdf", "b.pdf"), ("a/b.pdf", "b.pdf"), ("a/", "3EB0AA.pdf"),
     ("..", "3EB0AA.pdf"), (" ", "3EB0AA.pdf"), ("", "3EB0AA.pdf"), ("a\u202efdp.exe", "afdp.exe"),
     ("ação 报告.pdf", "ação 报告.pdf"),
     ("x" * 2000 + ".pdf", "x" * 251 + ".pdf"), ("x" * 300, "x" * 255), (".profile", ".profile")],
)  # fmt: skip
def test_a_file_has_a_name_without_folders(tmp_path: Path, written: str, name: str) -> None:
    file = {**FILE, "mimetype": "application/pdf; charset=binary", "fileName": written}

    document = message_in(Pocket(tmp_path), {"documentMessage": file})["document"]

    assert (document["filename"], document["mime_type"]) == (name, "application/pdf")


def test_a_type_that_is_too_long_is_an_unknown_one(tmp_path: Path) -> None:
    shown = message_in(Pocket(tmp_path), {"imageMessage": {**FILE, "mimetype": "image/" + "j" * 400}})

    assert (shown["type"], shown["image"]["mime_type"]) == ("image", "application/octet-stream")


def test_cards_beyond_a_message_are_told_by_their_names(tmp_path: Path) -> None:
    vcard = f"BEGIN:VCARD\nFN:Ana\nNOTE:{'x' * 60_000}\nTEL:+55 11 98888-0001\nEND:VCARD"
    cards = [{"displayName": f"Ana {number}", "vcard": vcard} for number in range(30)]

    shown = message_in(Pocket(tmp_path), {"contactsArrayMessage": {"contacts": cards}})["contacts"]

    assert len(shown) == 30
    assert shown[0]["phones"][0]["wa_id"] == "5511988880001"
    assert (shown[-1]["name"]["formatted_name"], shown[-1]["phones"]) == ("Ana 29", [])


@pytest.mark.parametrize("value", [10**400, -1, 0, "x", 1e300, None])
def test_no_amount_stops_a_bill(tmp_path: Path, value: Any) -> None:
    bill = {"currency": "BRL", "total_amount": {"value": value, "offset": value}, "order": {"items": [{"name": "Tea"}]}}

    assert message_in(Pocket(tmp_path), native("review_and_pay", bill))["text"]["body"] == "Pay here\n1 x Tea"


def test_edits_within_edits_have_an_end() -> None:
    content: dict[str, Any] = {"kind": "text", "body": "x"}
    for _ in range(500):
        content = {"kind": "edit", "target_id": "1", "content": content}

    assert bounded(content)["kind"] == "edit"


@pytest.mark.parametrize("value", [None, 7, [], {"vcard": None}, "x", {"kind": "text", "body": None}])
def test_no_odd_form_stops_what_is_made_to_fit(value: Any) -> None:
    content = {"kind": "contacts", "contacts": [value], "filename": value, "content": value, "mime_type": value}

    assert bounded(content)["kind"] == "contacts"


def test_the_ending_of_a_long_name_is_left_unless_it_is_long_itself() -> None:
    assert len(plain_name("a." + "b" * 400)) == 255


@pytest.mark.parametrize(
    ("chat", "to"), [((ANA, "lid"), CONTACT), (GROUP, "120363@g.us"), (CHANNEL, "120363111@newsletter")]
)
def test_field_report_98s_an_own_message_that_cannot_be_read_is_an_echo_as_the_others(
    tmp_path: Path, chat: tuple[str, str], to: str
) -> None:
    pocket = Pocket(tmp_path, outgoingMessagesCoex=True)
    lost = {**about(chat=chat, from_me=True), "IsUnavailable": False, "DecryptFailMode": "DECRYPT_FAIL_SHOW"}

    reported(pocket, "UndecryptableMessage", lost)
    pocket.pass_time(60)

    (echo,) = pocket.events[-1]["message_echoes"]
    assert (echo["from"], echo["to"], echo["errors"][0]["code"]) == (PHONE, to, 131060)
    subject = pocket.events[-1]["contacts"][0].get("group_subject")
    assert subject == ("Channel 120363111" if chat == CHANNEL else None)


def test_an_own_message_in_a_group_is_told_with_the_group(tmp_path: Path) -> None:
    shown = message_in(Pocket(tmp_path), IMAGE, chat=GROUP, from_me=True)

    assert (shown["from"], shown["group_id"]) == (PHONE, "120363@g.us")


@pytest.mark.parametrize(
    ("chat", "kind"), [("status@broadcast", "status"), ("123456@broadcast", "broadcast"), (CHAT["jid"], None)]
)
def test_what_is_said_to_many_is_told_as_such(tmp_path: Path, chat: str, kind: str | None) -> None:
    pocket = Pocket(tmp_path)

    pocket.receives({"kind": "text", "body": "oi"}, chat={"jid": chat}, sender=CHAT)

    (value,) = pocket.events
    assert value.get("chat") == ({"id": chat, "type": kind} if kind else None)
    assert value["contacts"][0]["wa_id"] == CONTACT
    change = {"field": "messages", "value": value}
    for profile in ("meta", "typebot", "unoapi"):
        shaped = SHAPES[profile](json.loads(json.dumps(change)), PHONE)
        assert (shaped is None) == (kind == "status" and profile != "unoapi"), profile
        assert shaped is None or "chat" not in shaped["value"]


@pytest.mark.parametrize("chat", ["status@broadcast", "123456@broadcast"])
def test_what_the_number_says_to_many_is_no_talk_with_itself(tmp_path: Path, chat: str) -> None:
    pocket = Pocket(tmp_path)
    own = {"jid": f"{PHONE}@s.whatsapp.net", "kind": "user", "phone": PHONE}

    pocket.receives({"kind": "text", "body": "oi"}, chat={"jid": chat}, sender=own, from_me=True)

    (value,) = pocket.events
    assert (value["messages"][0]["from"], value["contacts"][0]["wa_id"]) == (PHONE, chat)


@pytest.mark.parametrize("chat", ["867051314767696@bot", "3-123@interop", "123@msgr", "120363111@newsletter"])
def test_who_is_no_person_has_the_same_name_everywhere(tmp_path: Path, chat: str) -> None:
    pocket = Pocket(tmp_path)

    message = pocket.receives({"kind": "text", "body": "oi"}, chat={"jid": chat})

    assert (message["from"], pocket.events[0]["contacts"][0]["wa_id"]) == (chat, chat)


@pytest.mark.parametrize("name", ["Rel\u00a0final.pdf", "10.00.00\u202fAM.png", "見積\u3000書.pdf", "a\u200cb.pdf"])
def test_the_name_of_a_file_keeps_its_spaces_and_joiners(name: str) -> None:
    assert plain_name(name) == plain_filename(name) == name


HALF = "a\ud83d\0b"
MENDED = "a\ufffdb"


@pytest.mark.parametrize(
    "content",
    [
        {"kind": "text", "body": HALF},
        {"kind": "edit", "target_id": "T", "content": {"kind": "text", "body": HALF}},
        {"kind": "list_reply", "id": HALF, "title": HALF},
        {"kind": "button_reply", "id": "y", "title": HALF},
        {"kind": "template_button", "text": HALF},
        {"kind": "poll", "name": HALF, "options": [HALF, "b"]},
        {"kind": "contacts", "contacts": [{"name": HALF, "vcard": ""}]},
        {"kind": "location", "latitude": 1, "longitude": 2, "name": HALF},
        {"kind": "image", "caption": HALF, "media": {"key": "1", "state": "ready"}},
        {"kind": "document", "filename": HALF, "media": {"key": "1", "state": "ready"}},
        {"kind": "buttons", "body": HALF, "buttons": [{"id": "y", "title": HALF}]},
        {"kind": "product", "title": HALF},
    ],
    ids=lambda content: content["kind"],
)
def test_field_report_89_no_content_is_lost_for_half_a_character(tmp_path: Path, content: dict[str, Any]) -> None:
    told_as = json.dumps(Pocket(tmp_path).receives(content), ensure_ascii=False)

    assert MENDED in told_as
    assert "\\u0000" not in told_as
    assert "\ud83d" not in told_as


def test_field_report_89_no_native_button_is_lost_for_half_a_character(tmp_path: Path) -> None:
    shown = message_in(Pocket(tmp_path), native("quick_reply", {"id": "y", "display_text": HALF}))

    assert shown["interactive"]["action"]["buttons"][0]["reply"]["title"] == MENDED


def test_field_report_89_what_is_hidden_in_the_answer_to_a_form_can_be_stored(tmp_path: Path) -> None:
    shown = Pocket(tmp_path).receives({"kind": "flow_reply", "name": "flow", "params": json.dumps({"a": HALF})})

    assert json.loads(shown["interactive"]["nfm_reply"]["response_json"]) == {"a": MENDED}


@pytest.mark.parametrize("degrees", ["NaN", "Infinity", "-Infinity"])
def test_a_place_without_a_number_is_told_in_json(tmp_path: Path, degrees: str) -> None:
    place = {"degreesLatitude": degrees, "degreesLongitude": 1, "name": "Here"}
    pocket = Pocket(tmp_path)

    shown = message_in(pocket, {"locationMessage": place})
    of_another_engine = pocket.receives({"kind": "location", "latitude": degrees, "longitude": 1})

    assert (shown["location"]["latitude"], shown["location"]["name"]) == (0, "Here")
    assert of_another_engine["type"] == "unsupported"
    json.dumps([shown, of_another_engine], allow_nan=False)


def test_a_name_that_nobody_sees_hides_no_other(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    who = {**CHAT, "verified_name": "\u3164", "push_name": "Ana"}

    pocket.receives({"kind": "text", "body": "x"}, chat=who, sender=who)

    assert pocket.events[-1]["contacts"][0]["profile"]["name"] == "Ana"
