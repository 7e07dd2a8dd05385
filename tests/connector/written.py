"""What people do on their phones, as protobufs' JSON, and what a webhook is told of it.

Each message is one that the pinned library can hold: `test_neonize.py` proves it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.support.fakes import CONTACT, PHONE
from unoapi.connector.convert.events import convert_event

if TYPE_CHECKING:
    from tests.connector.pocket import Pocket

ANA, BIA, OURS = "111", "222", "999"
"""LIDs of the contact, of another one, and of the number itself."""
BIAS_PHONE = "5521988887777"
PHONES = {f"{ANA}@lid": CONTACT, f"{BIA}@lid": BIAS_PHONE, f"{OURS}@lid": PHONE}
GROUP, CHANNEL, STATUS = ("120363", "g.us"), ("120363111", "newsletter"), ("status", "broadcast")
WORDS = {"conversation": "words"}
FILE = {"mimetype": "image/jpeg", "directPath": "/v", "mediaKey": "a2V5"}
IMAGE = {"imageMessage": {**FILE, "caption": "look"}}
ABOUT = {"ID": "3EB0T", "fromMe": False}
ADVERT = {"title": "T", "body": "B", "mediaType": "IMAGE", "thumbnailURL": "https://t.test/1", "sourceType": "ad",
          "sourceID": "7", "sourceURL": "https://fb.test/x", "ctwaClid": "c", "greetingMessageBody": "Olá"}  # fmt: skip


def jid(user: str, server: str = "lid") -> dict[str, Any]:
    return {"User": user, "Server": server}


def told(pocket: Pocket, message: dict[str, Any], **info: Any) -> list[dict[str, Any]]:
    """The values that a webhook gets when the library reports a message. `info` is `about`'s."""
    return reported(pocket, "Message", {**about(**info), "Message": message})


def reported(pocket: Pocket, kind: str, event: dict[str, Any]) -> list[dict[str, Any]]:
    """The values that a webhook gets of an event of the library."""
    before = len(pocket.events)
    for converted in convert_event(kind, event, phone_of=lambda lid: PHONES.get(lid, "")):
        pocket.reports(converted.type, **without_file(converted.data))
    return pocket.events[before:]


def without_file(data: dict[str, Any]) -> dict[str, Any]:
    """The same with its file in the store: nothing is fetched here."""
    content = data.get("content")
    file = content.get("header_media", content) if isinstance(content, dict) else {}
    if isinstance(file.get("media"), dict):
        file["media"] = {"state": "ready", "key": "1"}
    return data


def about(
    *,
    chat: tuple[str, str] = (ANA, "lid"),
    sender: tuple[str, str] | None = None,
    from_me: bool = False,
    message_id: str = "3EB0AA",
    edit: str = "",
    **flags: Any,
) -> dict[str, Any]:
    writer = sender or ((OURS, "lid") if from_me else (ANA, "lid") if chat in (GROUP, STATUS) else chat)
    source = {"Chat": jid(*chat), "Sender": jid(*writer), "IsFromMe": from_me}
    info = {"ID": message_id, "MessageSource": source, "Pushname": "Ana", "Timestamp": "1795600000000", "Edit": edit}
    return {"Info": info, **flags}


def mentioning(text: str, *lids: str) -> dict[str, Any]:
    return {"extendedTextMessage": {"text": text, "contextInfo": {"mentionedJID": [f"{lid}@lid" for lid in lids]}}}


def wrapped(name: str, message: dict[str, Any]) -> dict[str, Any]:
    return {name: {"message": message}}


def edit(message: dict[str, Any]) -> dict[str, Any]:
    return {"protocolMessage": {"key": {"ID": "3EB0T"}, "type": "MESSAGE_EDIT", "editedMessage": message}}


def form(name: str, answers: dict[str, Any]) -> dict[str, Any]:
    flow = {"name": name, "paramsJSON": json.dumps(answers)}
    return {"interactiveResponseMessage": {"body": {"text": "Sent"}, "nativeFlowResponseMessage": flow}}


def native(name: str, parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    button = {"name": name, "buttonParamsJSON": json.dumps(parameters)}
    return {"interactiveMessage": {"body": {"text": "Pay here"}, "nativeFlowMessage": {"buttons": [button]}, **more}}


ROWS = {"title": "Open", "sections": [{"rows": [{"id": "y", "title": "Yes"}]}]}
BUTTON = {"buttonID": "y", "buttonText": {"displayText": "Yes"}}
REPLY = {"quickReplyButton": {"displayText": "Yes", "ID": "y"}}
POINT = {"degreesLatitude": 1.5, "degreesLongitude": 2.5}
PLACE = {**POINT, "name": "Bar"}
PIX = {"payment_settings": [{"pix_static_code": {"merchant_name": "Loja", "key": "k", "key_type": "EVP"}}]}
BILL = {"currency": "BRL", "total_amount": {"value": 1250, "offset": 100}, "reference_id": "R1",
        "order": {"items": [{"name": "Tea", "quantity": 2}]}}  # fmt: skip

TEXTS: dict[str, tuple[dict[str, Any], str]] = {
    "a declined payment": ({"declinePaymentRequestMessage": {"key": ABOUT}}, "Payment request declined"),
    "a cancelled payment": ({"cancelPaymentRequestMessage": {"key": ABOUT}}, "Payment request cancelled"),
    "an invitation to payments": ({"paymentInviteMessage": {"serviceType": "UPI"}}, "Invitation to payments"),
    "a cancelled call": ({"scheduledCallEditMessage": {"key": ABOUT, "editType": "CANCEL"}},
                         "Scheduled call cancelled"),
    "an answer to an event": ({"encEventResponseMessage": {"eventCreationMessageKey": ABOUT}},
                              "(an answer to an event)"),
    "a cancelled event": (
        {"eventMessage": {"name": "Party", "isCanceled": True, "startTime": "1795600000", "endTime": "1795603600"}},
        "Event cancelled\n*Party*\n2026-11-25 09:46 UTC - 2026-11-25 10:46 UTC",
    ),
    "an invitation to an event": (
        {"eventInviteMessage": {"eventTitle": "Party", "startTime": "1795600000", "caption": "come"}},
        "Event\n*Party*\n2026-11-25 09:46 UTC\ncome",
    ),
    "a song": ({"musicMessage": {"embeddedMusic": {"title": "Song", "author": "Band"}}}, "Music\n*Song*\nBand"),
    "an option for a poll": (
        {"pollAddOptionMessage": {"pollCreationMessageKey": ABOUT, "addOption": {"optionName": "C"}}}, "C"
    ),
    "a product": (
        {"productMessage": {"product": {"title": "Tea", "currencyCode": "BRL", "priceAmount1000": "12500",
                                        "URL": "https://x.test"}}},
        "*Tea*\nBRL 12.50\nhttps://x.test",
    ),
    "a bill": (native("review_and_pay", BILL), "Pay here\n2 x Tea\nBRL 12.50\nR1"),
    "a payment's state": (
        native("payment_status", {"reference_id": "R1", "payment_status": "captured"}),
        "Pay here\nPayment: captured\nR1",
    ),
    "an order's state": (
        native("review_order", {"reference_id": "R1", "order": {"status": "shipped", "description": "Tomorrow"}}),
        "Pay here\nOrder: shipped\nTomorrow\nR1",
    ),
    "a payment key with words": (native("payment_info", PIX), "Pay here\n*Loja*\nPIX *EVP*: k"),
    "an invitation without a name": ({"groupInviteMessage": {"inviteCode": "x"}},
                                     "Group invitation\nhttps://chat.whatsapp.com/x"),
    "a planned call": ({"scheduledCallCreationMessage": {"title": "Talk", "scheduledTimestampMS": "1795600000000"}},
                       "Scheduled call\n*Talk*\n2026-11-25 09:46 UTC"),
    "a mention in an edited text": (edit(mentioning("ask @222", BIA)), f"ask @{BIAS_PHONE}"),
    "a mention in a comment": (
        {"commentMessage": {"message": mentioning("ask @222", BIA), "targetMessageKey": ABOUT}}, f"ask @{BIAS_PHONE}"
    ),
    "a mention in a poll": (
        {"pollCreationMessage": {"name": "ask @222?", "contextInfo": {"mentionedJID": ["222@lid"]}}},
        f"*ask @{BIAS_PHONE}?*\n",
    ),
    "a mention in a group's wrapper": (
        wrapped("groupMentionedMessage", mentioning("ask @222", BIA)), f"ask @{BIAS_PHONE}"
    ),
    "a mention of us": (mentioning("ask @999", OURS), f"ask @{PHONE}"),
    "a number that begins like a mention": (mentioning("@2221 or @222", BIA), f"@2221 or @{BIAS_PHONE}"),
    "a shared catalogue": ({"productMessage": {"catalog": {"title": "Shop", "description": "all"}}}, "*Shop*\nall"),
    "a poll without a question": ({"pollCreationMessage": {"options": [{"optionName": "A"}]}}, "A"),
    "an event at a place with words": (
        {"eventMessage": {"name": "Party", "location": {"name": "Bar", "comment": "upstairs", "URL": "https://m.test"}}},
        "Event\n*Party*\nBar, upstairs\nhttps://m.test",
    ),
    "an assistant's answer": (
        {"richResponseMessage": {"submessages": [
            {"messageText": "see"}, {"codeMetadata": {"codeBlocks": [{"codeContent": "print(1)"}]}},
            {"tableMetadata": {"title": "T", "rows": [{"items": ["a", "b"]}]}},
            {"imageMetadata": {"imageText": "a cat"}},
        ]}},
        "see\nprint(1)\nT\na | b\na cat",
    ),
    "stickers with a description": ({"stickerPackMessage": {"name": "Cats", "packDescription": "all of them"}},
                                    "Sticker pack\n*Cats*\nall of them"),
    "a link without a text": ({"extendedTextMessage": {"matchedText": "https://x.test"}}, "https://x.test"),
    "a caption that was taken away": (edit({"imageMessage": FILE}), ""),
    "a document's new caption": (
        edit(wrapped("documentWithCaptionMessage", {"documentMessage": {"caption": "new", "fileName": "a.pdf"}})), "new"
    ),
}  # fmt: skip
"""Told as a text with these words."""

VIEWED_ONCE = {
    "v1": wrapped("viewOnceMessage", IMAGE),
    "v2": wrapped("viewOnceMessageV2", IMAGE),
    "extension": wrapped("viewOnceMessageV2Extension", {"audioMessage": {**FILE, "PTT": True}}),
    "ephemeral": wrapped("ephemeralMessage", wrapped("viewOnceMessageV2", IMAGE)),
    "device sent": {"deviceSentMessage": {"message": wrapped("viewOnceMessageV2", IMAGE)}},
    "bot": wrapped("botInvokeMessage", wrapped("viewOnceMessage", IMAGE)),
    "video": wrapped("viewOnceMessageV2", {"videoMessage": {**FILE, "viewOnce": True}}),
}

MENUS: dict[str, dict[str, Any]] = {
    "buttons": {"buttonsMessage": {"contentText": "Look", "buttons": [BUTTON], **IMAGE}},
    "template": {"templateMessage": {"hydratedTemplate": {
        "hydratedContentText": "Look", "hydratedButtons": [REPLY], **IMAGE}}},
    "native": native("quick_reply", {"id": "y", "display_text": "Yes"}, header={**IMAGE, "hasMediaAttachment": True}),
    "native list": native("single_select", ROWS, header={**IMAGE, "hasMediaAttachment": True}),
    "carousel": {"interactiveMessage": {"carouselMessage": {"cards": [
        {"body": {"text": "one"}}, {**native("quick_reply", {"id": "y", "display_text": "Yes"}, header=IMAGE)[
            "interactiveMessage"]}]}}},
}  # fmt: skip
"""With a picture above them."""
OTHERS: dict[str, dict[str, Any]] = {
    "a place on the move": {"liveLocationMessage": {**POINT, "caption": "on my way"}},
    "a place with words": {"locationMessage": {**PLACE, "address": "Rua A 1", "comment": "upstairs"}},
    "a list of products": {"listMessage": {"description": "Look", "buttonText": "Open", "productListInfo": {
        "productSections": [{"title": "Teas", "products": [{"productID": "1"}]}]}}},
    "a classic button that opens a page": {"buttonsMessage": {"contentText": "Look", "buttons": [
        {"buttonID": "1", "nativeFlowInfo": {"name": "cta_url", "paramsJSON": json.dumps(
            {"display_text": "Site", "url": "https://x.test"})}}]}},
    "rows and a button": {"interactiveMessage": {
        "header": {"title": "T", "subtitle": "S"}, "body": {"text": "B"}, "nativeFlowMessage": {"buttons": [
            {"name": "single_select", "buttonParamsJSON": json.dumps(
                {"sections": [{"rows": [{"id": "a", "title": "A", "description": "first"}]}]})},
            {"name": "send_location", "buttonParamsJSON": "{}"}]}}},
    "a payment below a picture": native("payment_info", PIX, header={**IMAGE, "hasMediaAttachment": True}),
    "a template without a button": {
        "templateMessage": {"hydratedTemplate": {"hydratedContentText": "Look", "imageMessage": FILE}}
    },
    "buttons below a place": {
        "buttonsMessage": {"contentText": "Look", "buttons": [BUTTON], "locationMessage": PLACE}
    },
    "a form of a phone": form("galaxy_message", {"id": "5", "flow_token": "t"}),
    "a form": form("flow", {"id": "5", "flow_token": "t"}),
    "an advertisement": {"extendedTextMessage": {"text": "hi", "contextInfo": {"externalAdReply": ADVERT}}},
    "a former advertisement": {"extendedTextMessage": {
        "text": "hi", "contextInfo": {"quotedAd": {"advertiserName": "Loja", "caption": "Tea", "mediaType": "IMAGE"}}}},
    "a quote of Bia's": {"extendedTextMessage": {
        "text": "x", "contextInfo": {"stanzaID": "3EB0T", "participant": "222@lid", "quotedMessage": WORDS}}},
    "a quote of ours": {"extendedTextMessage": {
        "text": "x", "contextInfo": {"stanzaID": "3EB0T", "participant": "999@lid", "quotedMessage": WORDS}}},
    "a question about a product": {"extendedTextMessage": {"text": "still there?", "contextInfo": {"quotedMessage": {
        "productMessage": {"businessOwnerJID": f"{PHONE}@s.whatsapp.net",
                           "product": {"productID": "77", "retailerID": "SKU-1", "title": "Tea"}}}}}},
    "a picture in HD": {**wrapped("associatedChildMessage", {"imageMessage": FILE}), "messageContextInfo": {
        "messageAssociation": {"associationType": "HD_IMAGE_DUAL_UPLOAD", "parentMessageKey": ABOUT}}},
    "the film of a picture": wrapped("associatedChildMessage", {"videoMessage": FILE, "messageContextInfo": {
        "messageAssociation": {"associationType": "MOTION_PHOTO", "parentMessageKey": ABOUT}}}),
    "a comment on ours": {"commentMessage": {"message": WORDS, "targetMessageKey": ABOUT}},
    "a reaction that is gone": {"reactionMessage": {"key": {"ID": "3EB0T", "fromMe": True}, "text": ""}},
}  # fmt: skip
MESSAGES = {**{name: message for name, (message, _) in TEXTS.items()}, **VIEWED_ONCE, **MENUS, **OTHERS}
