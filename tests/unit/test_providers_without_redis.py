"""What a provider does while Redis cannot be read: nothing leaves that would be about the wrong message."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn
from unittest import mock

import pytest

from tests.support.fakes import (
    CONTACT,
    PHONE,
    MemoryChats,
    MemoryConnections,
    MemoryIds,
    MemoryPublisher,
    MemorySessions,
    make_session,
)
from unoapi.broker.connector_commands import CommandQueue
from unoapi.errors import SendPostponed, StoreUnavailable
from unoapi.http.api_client import HttpAnswer
from unoapi.models.cloud_api.messages import Command
from unoapi.providers.cloud_api.provider import CloudApiProvider
from unoapi.providers.whatsmeow.provider import WhatsmeowProvider
from unoapi.services.message_parsing import parse_message

if TYPE_CHECKING:
    from unoapi.ports import Provider

ACCOUNT = {"url": "http://graph.test", "version": "v21.0", "phoneNumberId": "1001", "token": "t" * 20}
SESSION = make_session(provider="forwarder", webhook_forward=ACCOUNT)
TO = {"messaging_product": "whatsapp", "to": CONTACT}
QUOTE = {**TO, "type": "text", "text": {"body": "yes"}, "context": {"message_id": "wamid.1"}}
REACTION = {**TO, "type": "reaction", "reaction": {"message_id": "wamid.1", "emoji": "👍"}}
FILE = {**TO, "type": "image", "image": {"id": f"{PHONE}/12345"}}
READ = Command(status="read", message_id="wamid.1")


class Meta:
    """ApiClient: remembers what it was asked."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []

    def request(self, *_: object, body: bytes, **__: object) -> HttpAnswer:
        self.bodies.append(json.loads(body))
        return HttpAnswer(200, b'{"messages": [{"id": "wamid.META2"}]}')


class UnreadableIndex:
    """MediaIndex while Redis is away."""

    def find(self, *_: object, **__: object) -> NoReturn:
        raise StoreUnavailable("Redis is away")


def provider_of_meta(meta: Meta, ids: MemoryIds) -> CloudApiProvider:
    collaborators: dict[str, Any] = {
        "index": UnreadableIndex(),
        "signed_urls": mock.Mock(key_in=lambda _: ""),
        "api_client": meta,
    }
    return CloudApiProvider(sessions=MemorySessions(SESSION), ids=ids, **collaborators)


def provider_of_phones(queues: MemoryPublisher, connections: MemoryConnections) -> WhatsmeowProvider:
    return WhatsmeowProvider(
        commands=CommandQueue(queues),
        connections=connections,
        chats=MemoryChats(),
        ids=MemoryIds(),
        sessions=MemorySessions(make_session()),
        rendered=lambda message, _: message,
        max_age_s=600,
    )


def send(provider: Provider, message: dict[str, Any]) -> None:
    provider.send(parse_message(message), phone=PHONE, message_id="wamid.2")


@pytest.mark.parametrize("message", [QUOTE, REACTION, FILE], ids=["quote", "reaction", "file"])
def test_what_is_about_something_of_ours_waits_and_is_not_sent_to_meta(message: dict[str, Any]) -> None:
    meta, ids = Meta(), MemoryIds()
    ids.remember(PHONE, theirs="wamid.META1", ours="wamid.1")
    ids.away = True

    with pytest.raises(SendPostponed):
        send(provider_of_meta(meta, ids), message)

    assert meta.bodies == []


def test_a_read_mark_for_meta_waits_and_uses_up_no_retry() -> None:
    meta, ids = Meta(), MemoryIds()
    ids.away = True

    with pytest.raises(StoreUnavailable):
        provider_of_meta(meta, ids).command(READ, phone=PHONE)

    assert meta.bodies == []


@pytest.mark.parametrize(("message", "field"), [(QUOTE, "context"), (REACTION, "reaction")])
def test_it_goes_to_meta_with_metas_id_afterwards(message: dict[str, Any], field: str) -> None:
    meta, ids = Meta(), MemoryIds()
    ids.remember(PHONE, theirs="wamid.META1", ours="wamid.1")

    send(provider_of_meta(meta, ids), message)

    assert [body[field]["message_id"] for body in meta.bodies] == ["wamid.META1"]


def test_what_is_about_nothing_of_ours_does_not_wait_for_redis() -> None:
    meta, ids = Meta(), MemoryIds()
    ids.away = True

    send(provider_of_meta(meta, ids), {**TO, "type": "text", "text": {"body": "hello"}})

    assert len(meta.bodies) == 1


@pytest.mark.parametrize("message", [QUOTE, REACTION], ids=["quote", "reaction"])
def test_what_is_for_a_phone_waits_and_uses_up_no_retry(message: dict[str, Any]) -> None:
    queues, connections = MemoryPublisher(), MemoryConnections()
    connections.away = True
    provider = provider_of_phones(queues, connections)

    with pytest.raises(SendPostponed):
        send(provider, message)
    with pytest.raises(StoreUnavailable):
        provider.command(READ, phone=PHONE)

    assert queues.depth("unoapi.outgoing.whatsmeow") == 0


@pytest.mark.parametrize(
    ("name", "first_name"),
    [
        ({"formatted_name": "Ana Silva"}, "Ana Silva"),
        ({"formatted_name": "Ana Silva", "first_name": "", "last_name": None}, "Ana Silva"),
        ({"formatted_name": "Ana Silva", "first_name": "Ana"}, "Ana"),
        ({"formatted_name": "Ana Silva", "last_name": "Silva"}, None),
    ],
)
def test_field_report_56_a_card_goes_to_meta_with_a_part_of_its_name(
    name: dict[str, Any], first_name: str | None
) -> None:
    meta = Meta()
    phones = [{"phone": "+5511999990000"}]

    send(
        provider_of_meta(meta, MemoryIds()), {**TO, "type": "contacts", "contacts": [{"name": name, "phones": phones}]}
    )

    (card,) = meta.bodies[0]["contacts"]
    assert (card["name"]["formatted_name"], card["name"].get("first_name")) == ("Ana Silva", first_name)
    assert card["phones"] == phones


@pytest.mark.parametrize(
    ("menu", "sent"),
    [
        (
            {"type": "list", "header": None, "footer": {"text": ""}, "body": {"text": "b"}, "action": {
                "button": "See", "buttons": None,
                "sections": [{"title": "", "rows": [{"id": "a", "title": "A", "description": None}]}]}},
            {"type": "list", "body": {"text": "b"}, "action": {
                "button": "See", "sections": [{"rows": [{"id": "a", "title": "A"}]}]}},
        ),
        (
            {"type": "button", "header": {"type": "text", "text": "h", "image": None}, "body": {"text": "b"},
             "action": {"buttons": [{"type": "reply", "reply": {"id": "a", "title": "A"}, "url": None}]}},
            {"type": "button", "header": {"type": "text", "text": "h"}, "body": {"text": "b"}, "action": {
                "buttons": [{"type": "reply", "reply": {"id": "a", "title": "A"}}]}},
        ),
        (
            {"type": "flow", "body": {"text": "b"}, "action": {"parameters": {"data": {"name": None, "city": ""}}}},
            {"type": "flow", "body": {"text": "b"}, "action": {
                "name": "flow", "parameters": {"data": {"name": None, "city": ""}}}},
        ),
    ],
    ids=["list", "buttons", "what a form is given"],
)  # fmt: skip
def test_a_menu_goes_to_meta_without_what_a_client_with_fixed_fields_left_empty(
    menu: dict[str, Any], sent: dict[str, Any]
) -> None:
    meta = Meta()

    send(provider_of_meta(meta, MemoryIds()), {**TO, "type": "interactive", "interactive": menu})

    assert meta.bodies[0]["interactive"] == sent


CARD = {"name": {"formatted_name": "Ana", "last_name": "Silva"}, "phones": [{"phone": "+5511999990000"}]}


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        ({"type": "text", "text": {"body": "oi", "preview_url": None}, "context": {"message_id": ""}},
         {"type": "text", "text": {"body": "oi"}}),
        ({"type": "text", "text": {"body": "oi"}, "context": {"message_id": "wamid.HBg"}, "image": None},
         {"type": "text", "text": {"body": "oi"}, "context": {"message_id": "wamid.HBg"}}),
        ({"type": "location", "location": {"latitude": 0, "longitude": -46.6, "name": None, "address": ""}},
         {"type": "location", "location": {"latitude": 0, "longitude": -46.6}}),
        ({"type": "contacts", "contacts": [{**CARD, "org": None, "birthday": "", "emails": [{"email": ""}]}]},
         {"type": "contacts", "contacts": [CARD]}),
        ({"type": "reaction", "reaction": {"message_id": "wamid.HBg", "emoji": ""}},
         {"type": "reaction", "reaction": {"message_id": "wamid.HBg", "emoji": ""}}),
        ({"type": "interactive", "interactive": {"type": "location_request_message", "header": None, "footer": {},
          "body": {"text": "b"}, "action": {"name": "send_location"}}},
         {"type": "interactive", "interactive": {"type": "location_request_message", "body": {"text": "b"},
          "action": {"name": "send_location"}}}),
        ({"type": "text", "text": {"body": "oi"}, "template": {}, "contacts": [], "biz_opaque_callback_data": ""},
         {"type": "text", "text": {"body": "oi"}}),
        ({"type": "template", "template": {"name": "t", "language": {"code": "pt_BR", "policy": ""}, "components": [
            {"type": "body", "parameters": [{"type": "text", "text": "a", "parameter_name": "", "image": {}},
                                            {"type": "text", "text": "", "payload": ""}]}]}},
         {"type": "template", "template": {"name": "t", "language": {"code": "pt_BR"}, "components": [
            {"type": "body", "parameters": [{"type": "text", "text": "a"}, {"type": "text", "text": ""}]}]}}),
    ],
    ids=["text", "quote", "location", "card", "reaction that is taken back", "other menu", "other types", "template"],
)  # fmt: skip
def test_a_message_goes_to_meta_without_what_a_client_with_fixed_fields_left_empty(
    message: dict[str, Any], sent: dict[str, Any]
) -> None:
    meta = Meta()

    send(provider_of_meta(meta, MemoryIds()), {**TO, **message})

    head = {*TO, "messaging_product", "recipient_type"}
    assert {name: part for name, part in meta.bodies[0].items() if name not in head} == sent


FLOW = {"type": "action", "action": {"flow_token": "t", "flow_action_data": {"id": 7, "name": 8}}}


PRODUCT = {"product_retailer_id": 77}


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        ({"type": "text", "text": {"body": 5, "preview_url": True}}, {"body": "5", "preview_url": True}),
        ({"type": "text", "text": {"body": "a", "preview_url": "False"}}, {"body": "a", "preview_url": False}),
        ({"type": "audio", "audio": {"link": "https://a.test/1", "voice": 1}},
         {"link": "https://a.test/1", "voice": True}),
        ({"type": "document", "document": {"link": "https://a.test/1", "filename": 2026, "caption": 1.5}},
         {"link": "https://a.test/1", "filename": "2026", "caption": "1.5"}),
        ({"type": "location", "location": {"latitude": 1, "longitude": -46.6, "name": 5, "address": 7}},
         {"latitude": 1, "longitude": -46.6, "name": "5", "address": "7"}),
        ({"type": "contacts", "contacts": [{"name": {"formatted_name": "A", "first_name": 7},
          "phones": [{"phone": 5549988887777, "wa_id": 5549988887777}], "addresses": [{"zip": 88000100}]}]},
         [{"name": {"formatted_name": "A", "first_name": "7"},
           "phones": [{"phone": "5549988887777", "wa_id": "5549988887777"}], "addresses": [{"zip": "88000100"}]}]),
        ({"type": "interactive", "interactive": {"type": "list", "header": {"type": "text", "text": 2026},
          "body": {"text": 1}, "action": {"button": 4, "sections": [{"title": 5, "rows": [{"id": 1, "title": 2}]}]}}},
         {"type": "list", "header": {"type": "text", "text": "2026"}, "body": {"text": "1"},
          "action": {"button": "4", "sections": [{"title": "5", "rows": [{"id": "1", "title": "2"}]}]}}),
        ({"type": "template", "template": {"name": "t", "language": {"code": "pt_BR"}, "components": [
            {"type": "body", "parameters": [{"type": "text", "text": 150}, {"type": "currency", "currency": {
                "fallback_value": 5, "code": "BRL", "amount_1000": 5000}}]},
            {"type": "button", "sub_type": "flow", "index": 0, "parameters": [FLOW]}]}},
         {"name": "t", "language": {"code": "pt_BR"}, "components": [
            {"type": "body", "parameters": [{"type": "text", "text": "150"}, {"type": "currency", "currency": {
                "fallback_value": "5", "code": "BRL", "amount_1000": 5000}}]},
            {"type": "button", "sub_type": "flow", "index": 0, "parameters": [FLOW]}]}),
        ({"type": "interactive", "interactive": {"type": "flow", "body": {"text": "b"}, "action": {
            "name": "flow", "parameters": {"flow_action_payload": {"screen": "A", "data": {"id": 7}}}}}},
         {"type": "flow", "body": {"text": "b"}, "action": {
            "name": "flow", "parameters": {"flow_action_payload": {"screen": "A", "data": {"id": 7}}}}}),
        ({"type": "interactive", "interactive": {"type": "flow", "body": {"text": "b"}, "action": {
            "name": "flow", "parameters": {"flow_id": 1, "flow_message_version": 3, "flow_action_payload": PRODUCT}}}},
         {"type": "flow", "body": {"text": "b"}, "action": {"name": "flow", "parameters": {
             "flow_id": "1", "flow_message_version": "3", "flow_action_payload": PRODUCT}}}),
        ({"type": "interactive", "interactive": {"type": "product_list", "header": {"type": "text", "text": "h"},
          "body": {"text": "b"},
          "action": {"catalog_id": 5, "sections": [{"title": "t", "product_items": [PRODUCT]}]}}},
         {"type": "product_list", "header": {"type": "text", "text": "h"}, "body": {"text": "b"}, "action": {
             "catalog_id": "5", "sections": [{"title": "t", "product_items": [{"product_retailer_id": "77"}]}]}}),
    ],
    ids=["text", "no", "yes", "document", "location", "card", "list", "template", "form's own", "form", "products"],
)  # fmt: skip
def test_a_number_in_the_place_of_a_text_goes_to_meta_as_its_figures_and_a_flag_as_one(
    message: dict[str, Any], sent: Any
) -> None:
    meta = Meta()

    send(provider_of_meta(meta, MemoryIds()), {**TO, **message})

    assert meta.bodies[0][message["type"]] == sent


@pytest.mark.parametrize("odd", [{"nome": "Ana"}, ["Ana"], "Ana", 1.5])
def test_a_field_that_templates_do_not_have_goes_to_meta_as_it_is(odd: Any) -> None:
    meta = Meta()
    card = {"card_index": 0, "components": [], "parameters": odd}
    template = {"name": "t", "language": {"code": "pt_BR"}, "parameters": odd, "cards": odd, "components": [
        {"type": "carousel", "cards": [card]}]}  # fmt: skip

    send(provider_of_meta(meta, MemoryIds()), {**TO, "type": "template", "template": template})

    assert meta.bodies[0]["template"] == template


def leading_to(address: str) -> dict[str, Any]:
    return {"name": "cta_url", "parameters": {"display_text": "See", "url": address}}


@pytest.mark.parametrize(
    ("written", "sent"),
    [("https://shop.test/a b?de=João", "https://shop.test/a%20b?de=Jo%C3%A3o"), ("https://shop.test", None)],
)
def test_the_address_of_a_button_goes_to_meta_as_browsers_write_it(written: str, sent: str | None) -> None:
    meta, body = Meta(), {"text": "b"}
    link = {"type": "cta_url", "body": body, "action": leading_to(written)}
    cards = {"type": "carousel", "body": body, "action": {"cards": [{"body": body, "action": leading_to(written)}]}}

    for menu in (link, cards):
        send(provider_of_meta(meta, MemoryIds()), {**TO, "type": "interactive", "interactive": menu})

    actions = [meta.bodies[0]["interactive"]["action"], meta.bodies[1]["interactive"]["action"]["cards"][0]["action"]]
    assert actions == [leading_to(sent or written)] * 2


TYPING = {"status": "read", "message_id": "wamid.HBg", "typing_indicator": {"type": "text"}}


@pytest.mark.parametrize(
    ("mark", "sent"),
    [
        ({**TYPING, "typing_indicator": None, "to": "", "context": {}}, {"status": "read", "message_id": "wamid.HBg"}),
        ({**TYPING, "typing_indicator": {}}, TYPING),
        (TYPING, TYPING),
    ],
)
def test_a_mark_goes_to_meta_without_what_its_client_left_empty(mark: dict[str, Any], sent: dict[str, Any]) -> None:
    meta = Meta()

    provider_of_meta(meta, MemoryIds()).command(Command.model_validate(mark), phone=PHONE)

    assert meta.bodies == [{"messaging_product": "whatsapp", **sent}]


REPLY = {"reply": {"id": "y", "title": "Yes"}}
LINK = {"display_text": "Open", "url": "https://a.test"}
WORDS = {"body": {"text": "b"}}
PICTURE = {"link": "https://a.test/1.png"}
RECEIVED = {"mime_type": "image/png", "sha256": "f0"}
ODD_CARDS: tuple[Any, ...] = (
    "x", {"type": []}, {"type": ["x"], "action": {}}, {"type": "button", "action": {"buttons": "x"}},
    {"type": "button", "action": {"buttons": ["x"]}},
)  # fmt: skip


def template_with(*components: dict[str, Any], code: str = "pt_BR") -> dict[str, Any]:
    return {"name": "t", "language": {"code": code}, "components": list(components)}


@pytest.mark.parametrize(
    ("kind", "part", "sent"),
    [
        ("interactive", {"type": "button", "header": {"type": "", "image": PICTURE}, **WORDS,
                         "action": {"buttons": [{**REPLY, "type": "reply"}]}},
         {"type": "button", "header": {"type": "image", "image": PICTURE}, **WORDS,
          "action": {"buttons": [{**REPLY, "type": "reply"}]}}),
        ("interactive", {"type": "button", "header": {"text": "H"}, **WORDS, "action": {"buttons": [REPLY]}},
         {"type": "button", "header": {"text": "H", "type": "text"}, **WORDS,
          "action": {"buttons": [{**REPLY, "type": "reply"}]}}),
        ("interactive", {"type": "cta_url", **WORDS, "action": {"parameters": LINK}},
         {"type": "cta_url", **WORDS, "action": {"parameters": LINK, "name": "cta_url"}}),
        ("interactive", {"type": "location_request_message", "body": {"type": "text", "text": "b"}, "action": {}},
         {"type": "location_request_message", **WORDS, "action": {"name": "send_location"}}),
        ("interactive", {"type": "flow", **WORDS, "action": {"parameters": {"flow_id": "1"}}},
         {"type": "flow", **WORDS, "action": {"parameters": {"flow_id": "1"}, "name": "flow"}}),
        ("interactive", {"type": "carousel", **WORDS, "action": {"cards": [
            {"type": "cta_url", **WORDS, "action": {"parameters": LINK}}, *ODD_CARDS]}},
         {"type": "carousel", **WORDS, "action": {"cards": [
            {"type": "cta_url", **WORDS, "action": {"parameters": LINK, "name": "cta_url"}}, *ODD_CARDS]}}),
        ("template", template_with({"type": "BODY", "parameters": [{"text": "a"}, {"type": "TEXT", "text": "b"}]}),
         template_with({"type": "body", "parameters": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]})),
        ("template", template_with({"type": "body", "parameters": [
            {"type": "", "text": "a"}, {"type": None, "text": "b"}]}),
         template_with({"type": "body", "parameters": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]})),
        ("template", template_with({"type": "BUTTON", "sub_type": "QUICK_REPLY", "index": 0,
                                    "parameters": [{"payload": "P"}]}, code="pt-br"),
         template_with({"type": "button", "sub_type": "quick_reply", "index": 0,
                        "parameters": [{"type": "payload", "payload": "P"}]})),
        ("template", template_with({"type": "carousel", "cards": [{"card_index": 0, "components": [
            {"type": "HEADER", "parameters": [{"image": PICTURE}]}]}]}),
         template_with({"type": "carousel", "cards": [{"card_index": 0, "components": [
            {"type": "header", "parameters": [{"type": "image", "image": PICTURE}]}]}]})),
        ("template", {"name": "t", "language": {"code": "en"}}, {"name": "t", "language": {"code": "en"}}),
        ("image", {**PICTURE, **RECEIVED, "caption": "c"}, {**PICTURE, "caption": "c"}),
        ("contacts", [{**CARD, "emails": ["a@a.test"], "urls": "https://a.test", "addresses": {"zip": 1}, "org": "Y"}],
         [{**CARD, "emails": [{"email": "a@a.test"}], "urls": [{"url": "https://a.test"}], "addresses": [{"zip": "1"}],
           "org": {"company": "Y"}}]),
        ("location", {"latitude": 1, "longitude": 2, "name": "n", "url": "https://a.test"},
         {"latitude": 1, "longitude": 2, "name": "n"}),
    ],
    ids=["a header", "buttons", "a link", "a place", "a form", "cards", "values", "empty types", "a button",
         "a carousel", "no parts", "a received file", "a card", "a received place"],
)  # fmt: skip
def test_what_can_only_be_one_thing_is_named_for_meta(kind: str, part: Any, sent: Any) -> None:
    meta = Meta()

    send(provider_of_meta(meta, MemoryIds()), {**TO, "type": kind, kind: part})

    assert meta.bodies[0][kind] == sent
