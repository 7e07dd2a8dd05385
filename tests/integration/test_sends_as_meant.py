"""What clients send is what was meant: numbers as people write them, long texts, reactions, groups.

The ids in the tests' names are those of the field reports that they mend.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.api import Api
from tests.support.api import api as serve_api
from tests.support.stack import OPERATOR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.devenv.servers import PrivateServers

SANDBOX, PHONE, AT_META = "5511999990001", "5511999990002", "5511999990003"
NUMBER = "5511999990000"
FORWARD = {"url": "https://graph.test", "phoneNumberId": "1001", "businessAccountId": "2001", "token": "t"}
HOOK = {"id": "crm", "urlAbsolute": "http://127.0.0.1:1/hook"}


@pytest.fixture(scope="module")
def api(servers: PrivateServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve_api(servers, tmp_path_factory.mktemp("sends"), UNOAPI_ALLOWED_HOSTS="127.0.0.0/8") as running:
        running.register([HOOK], phone=SANDBOX)
        running.register([HOOK], phone=PHONE, provider="whatsmeow")
        running.register([HOOK], phone=AT_META, provider="forwarder", webhookForward=FORWARD)
        yield running


def send(api: Api, phone: str, to: object, **message: Any) -> Any:
    body = {"messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": "x"}, **message}
    return api.post(f"/v15.0/{phone}/messages", body, token=OPERATOR)


def queued(api: Api) -> dict[str, Any]:
    """The message that was queued last."""
    body: dict[str, Any] = json.loads(api.queues.jobs("unoapi.incoming")[-1].body)
    return body


def is_refused(answer: Any, *named: str, code: int = 131009) -> None:
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code), answer.text
    details = answer.json()["error"]["error_data"]["details"]
    for part in named:
        assert part in details


WRITTEN = {
    "left-to-right marks and hyphens": "\u202a+55 11 99999\u20110000\u202c",
    "an invisible mark": "\u200e5511999990000",
    "a space of no width": "55\u200b11\u200b999990000",
    "a byte order mark": "\ufeff5511999990000",
    "isolates": "\u2066+5511999990000\u2069",
    "an en dash": "+55 11 99999\u20130000",
    "a minus": "+55 11 99999\u22120000",
    "full-width digits": "\uff15\uff15\uff11\uff11\uff19\uff19\uff19\uff19\uff19\uff10\uff10\uff10\uff10",
    "a full-width plus": "\uff0b5511999990000",
    "narrow spaces": "55\u00a011\u202f99999\u20090000",
    "a line break": "+55 11 99999-0000\n",
    "dots": "55.11.99999.0000",
    "00": "00 55 11 99999-0000",
    "a trunk zero in brackets": "+55 (0)11 99999-0000",
    "a trunk zero": "+55 011 99999-0000",
    "national": "(11) 99999-0000",
    "national, digits only": "11999990000",
    "national with a trunk zero": "011 99999-0000",
    "national with a carrier": "0 15 11 99999-0000",
    "a zero before the country": "05511999990000",
    "a number, no text": 5511999990000,
    "tel:": "tel:+55-11-99999-0000",
    "a link": "https://wa.me/5511999990000",
    "another gateway's prefix": "whatsapp:+5511999990000",
}


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN.keys())
def test_field_report_14_a_number_is_read_as_people_write_it(api: Api, written: object) -> None:
    answer = send(api, SANDBOX, written)

    assert answer.status_code == 200, answer.text
    assert answer.json()["contacts"] == [{"input": str(written), "wa_id": NUMBER}]
    assert queued(api)["to"] == NUMBER


OTHER_FORMS = {
    "5511999990000@c.us": NUMBER,
    "5511999990000@C.US": NUMBER,
    "5511999990000:12@s.whatsapp.net": NUMBER,
    "5511999990000.0:12@s.whatsapp.net": NUMBER,
    "+5511999990000@s.whatsapp.net": NUMBER,
    "5511999990000@s.whatsapp.net": NUMBER,
    "553188887777@s.whatsapp.net": "5531988887777",
    "553188887777@c.us": "5531988887777",
    "123:3@lid": "123@lid",
    "\u200e123@lid": "123@lid",
    "120363040468224422@g.us": "120363040468224422@g.us",
    "120363040468224422": "120363040468224422@g.us",
    "5511999990000-1612345678@g.us": "5511999990000-1612345678@g.us",
    "120363@newsletter": "120363@newsletter",
    "status@broadcast": "status@broadcast",
}


@pytest.mark.parametrize(("written", "address"), OTHER_FORMS.items(), ids=OTHER_FORMS.keys())
def test_field_report_15_every_form_of_an_address_means_the_same_contact(api: Api, written: str, address: str) -> None:
    answer = send(api, SANDBOX, written)

    assert answer.status_code == 200, answer.text
    assert answer.json()["contacts"] == [{"input": written, "wa_id": address}]
    assert queued(api)["to"] == address


NO_NUMBERS = {
    "words": "Maria", "nothing": "", "too short": "1234", "too long": "1" * 21, "two": "5511999990000, 5511999990001",
    "an address of e-mail": "maria@example.com", "letters": "+55 11 9999X-0000", "zeros": "0000000",
    "a plus in the middle": "5511+999990000", "half a pair of text": "55119\u00be99990000",
    "a LID of letters": "abc@lid", "nothing before the host": "@s.whatsapp.net", "very long": "5" * 5000,
}  # fmt: skip


@pytest.mark.parametrize("written", NO_NUMBERS.values(), ids=NO_NUMBERS.keys())
def test_field_report_14_what_is_no_number_is_refused_with_the_reason(api: Api, written: str) -> None:
    is_refused(send(api, SANDBOX, written), "to")
    checked = api.post(f"/{SANDBOX}/contacts", {"contacts": [written[:128] or "-"]}).json()
    assert checked["contacts"][0]["status"] == "invalid"


@pytest.mark.parametrize("written", [*WRITTEN.values(), "5511999990000@c.us", "5511999990000:12@s.whatsapp.net"])
def test_field_report_14_every_route_reads_the_same_number(api: Api, written: object) -> None:
    text = str(written)

    checked = api.post(f"/{SANDBOX}/contacts", {"contacts": [text]}).json()["contacts"]
    blocked = api.post(f"/v15.0/{SANDBOX}/block_users", {"block_users": [{"user": text}]}).json()["block_users"]
    muted = api.post(f"/{SANDBOX}/blacklist/crm", {"to": text, "ttl": 60})
    path = f"/timer/{SANDBOX}/{text.replace('/', '%2F').strip()}" if "/" not in text else f"/timer/{SANDBOX}/{NUMBER}"
    started = api.post(path, {"message": "hello", "timeout": 60_000})

    assert checked == [{"input": text, "status": "valid", "wa_id": NUMBER}]
    assert blocked == {"added_users": [{"input": text, "wa_id": NUMBER}]}
    assert (muted.status_code, started.status_code) == (200, 200)
    assert api.redis.exists(f"unoapi-blacklist:{SANDBOX}:crm:{NUMBER}") == 1
    assert api.redis.exists(f"unoapi-timer:{SANDBOX}:{NUMBER}") == 1
    for name in ("blacklist", "timer", "blocked", "message-direction"):
        for key in api.redis.keys(f"unoapi-{name}*:{SANDBOX}*"):
            api.redis.delete(key)


def test_field_report_14_a_simulated_contact_has_a_number_like_any_other(api: Api) -> None:
    body = {"from": "+55 49 98888\u20117777", "type": "text", "text": {"body": "hi"}}

    assert api.post(f"/sandbox/{SANDBOX}/messages", body).status_code == 200
    (job,) = api.queues.jobs("unoapi.outgoing")
    assert json.loads(job.body)["entry"][0]["changes"][0]["value"]["messages"][0]["from"] == "5549988887777"


# --- groups at Meta ---

GROUP = "Y2FwaV9ncm91cDoxNzA1NTU1MDEzOToxMjAzNjM0MDQ2OTQyMzM4MjAZD"


@pytest.mark.parametrize("written", [GROUP, f" {GROUP}\n"])
def test_field_report_100_a_group_of_metas_is_passed_on_as_it_is(api: Api, written: str) -> None:
    answer = send(api, AT_META, written, recipient_type="group")

    assert answer.status_code == 200, answer.text
    assert queued(api)["to"] == GROUP
    assert answer.json()["contacts"][0]["input"] == written


@pytest.mark.parametrize("more", [{}, {"recipient_type": "individual"}])
def test_field_report_100_without_its_type_such_a_text_is_no_address(api: Api, more: dict[str, str]) -> None:
    is_refused(send(api, AT_META, GROUP, **more), "to")


def test_field_report_100_a_phone_does_not_take_metas_groups(api: Api) -> None:
    is_refused(send(api, PHONE, GROUP, recipient_type="group"), "to", "Meta")


@pytest.mark.parametrize("written", ["120363040468224422", "120363040468224422@g.us", "5511999990000-1612345678"])
def test_field_report_100_a_group_of_phones_gets_its_host(api: Api, written: str) -> None:
    assert send(api, PHONE, written, recipient_type="group").status_code == 200
    assert queued(api)["to"] == f"{written.removesuffix('@g.us')}@g.us"


# --- long texts ---

LONG = {
    "text": ({"type": "text", "text": {"body": "\u00e1" * 5000}}, "text.body"),
    "caption": ({"type": "image", "image": {"link": "https://h.test/a.jpg", "caption": "x" * 1025}}, "image.caption"),
    "document's caption": (
        {"type": "document", "document": {"link": "https://h.test/a.pdf", "caption": "x" * 1025}},
        "document.caption",
    ),
    "words over buttons": (
        {
            "type": "interactive",
            "interactive": {
                "type": "button",
                "header": {"type": "text", "text": "h" * 61},
                "body": {"text": "x" * 1025},
                "footer": {"text": "f" * 61},
                "action": {"buttons": [{"type": "reply", "reply": {"id": "1", "title": "t" * 21}}]},
            },
        },
        "interactive.body.text",
    ),
    "words over a list": (
        {
            "type": "interactive",
            "interactive": {
                "type": "list",
                "body": {"text": "x" * 4097},
                "action": {"button": "b" * 21, "sections": [{"rows": [{"id": "1", "title": "t" * 25}]}]},
            },
        },
        "interactive.body.text",
    ),
}


@pytest.mark.parametrize(("message", "place"), LONG.values(), ids=LONG.keys())
def test_field_report_34_a_phone_takes_longer_texts_than_meta(api: Api, message: dict[str, Any], place: str) -> None:
    taken = send(api, PHONE, NUMBER, **message)

    assert taken.status_code == 200, taken.text
    is_refused(send(api, AT_META, NUMBER, **message), place)


def test_field_report_34_the_limit_of_a_phone_is_whatsapps(api: Api) -> None:
    assert send(api, PHONE, NUMBER, text={"body": "x" * 65_536}).status_code == 200
    is_refused(send(api, PHONE, NUMBER, text={"body": "x" * 65_537}), "text.body", "65536")


@pytest.mark.parametrize(("mime_type", "megabytes"), [("video/mp4", 17), ("image/jpeg", 6), ("audio/mpeg", 17)])
def test_field_report_34_a_phone_takes_larger_uploads_than_meta(api: Api, mime_type: str, megabytes: int) -> None:
    def uploaded(phone: str) -> Any:
        form = {"messaging_product": "whatsapp", "file": (io.BytesIO(bytes(megabytes * 1_048_576)), "a", mime_type)}
        return api.request("POST", f"/v15.0/{phone}/media", data=form, content_type="multipart/form-data")

    assert uploaded(PHONE).status_code == 200
    for phone in (SANDBOX, AT_META):
        is_refused(uploaded(phone), f"a file of type {mime_type} has at most", code=131053)


# --- reactions ---

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"


@pytest.mark.parametrize(
    "emoji",
    ["\U0001f44d", "\U0001f44d\U0001f3fd", "\u2764\ufe0f", "\u2764", FAMILY, "\U0001f1e7\U0001f1f7", "1\ufe0f\u20e3",
     "",
     "\U0001f3f3\ufe0f\u200d\U0001f308", "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"],
)  # fmt: skip
def test_field_report_23_a_reaction_is_one_emoji_or_none(api: Api, emoji: str) -> None:
    answer = send(api, PHONE, NUMBER, type="reaction", reaction={"message_id": "3EB0AA", "emoji": emoji})

    assert answer.status_code == 200, answer.text
    assert queued(api)["reaction"]["emoji"] == emoji


@pytest.mark.parametrize(
    "emoji",
    ["ok", "1", " ", "\U0001f44d\U0001f44d", "\U0001f44d ", "\U0001f1e7", "a\U0001f44d", ":thumbsup:", 5, "\ufe0f"],
)
@pytest.mark.parametrize("phone", [PHONE, SANDBOX, AT_META])
def test_field_report_23_anything_else_is_refused(api: Api, phone: str, emoji: object) -> None:
    answer = send(api, phone, NUMBER, type="reaction", reaction={"message_id": "3EB0AA", "emoji": emoji})

    is_refused(answer, "reaction.emoji")


def test_field_report_23_a_reaction_without_emoji_takes_none_away(api: Api) -> None:
    answer = send(api, PHONE, NUMBER, type="reaction", reaction={"message_id": "3EB0AA"})

    is_refused(answer, "reaction.emoji", code=131008)


# --- templates ---


def store(api: Api, *templates: dict[str, Any], phone: str = PHONE) -> None:
    api.redis.set(f"unoapi-template:{phone}", json.dumps(list(templates)))


def ask_template(api: Api, name: str, *components: dict[str, Any], language: str = "pt_BR") -> Any:
    template = {"name": name, "language": {"code": language}, "components": list(components)}
    return send(api, PHONE, NUMBER, type="template", template=template)


def test_field_report_62_a_template_that_does_not_fit_is_refused_at_the_door(api: Api) -> None:
    store(api, {"name": "t", "language": "pt_BR", "components": [{"type": "BODY", "text": "Oi {{1}}, pedido {{2}}"}]})
    before = api.queues.depth()

    answer = ask_template(api, "t", {"type": "body", "parameters": [{"type": "text", "text": "Ana"}]})

    is_refused(answer, "body", "(1)", "(2)", code=132000)
    assert api.queues.depth() == before


def test_field_report_59_a_header_without_its_picture_is_refused_at_the_door(api: Api) -> None:
    parts = [{"type": "HEADER", "format": "IMAGE"}, {"type": "BODY", "text": "Texto fixo"}]
    store(api, {"name": "t", "language": "pt_BR", "components": parts})

    is_refused(ask_template(api, "t"), "header", "IMAGE", code=132012)


def test_a_template_in_a_language_that_is_not_there_is_refused_at_the_door(api: Api) -> None:
    store(api, {"name": "t", "language": "pt_BR", "components": [{"type": "BODY", "text": "Oi"}]})

    answer = ask_template(api, "t", language="de")

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, 132001)
    assert ask_template(api, "t", language="pt-br").status_code == 200


def test_field_report_67s_a_category_and_types_may_be_written_in_small_letters(api: Api) -> None:
    api.redis.delete(f"unoapi-template:{PHONE}")
    template = {
        "name": "n", "language": "pt_BR", "category": "utility", "parameter_format": "named",
        "components": [{"type": "body", "text": "Oi {{nome}}"}, {"type": "buttons", "buttons": []}],
    }  # fmt: skip

    created = api.post(f"/v21.0/{PHONE}/message_templates", template)
    listed = api.get(f"/v21.0/{PHONE}/message_templates", params={"category": "UTILITY", "name": "n"}).json()["data"]

    assert (created.status_code, created.json()["category"]) == (200, "UTILITY")
    assert [(item["category"], item["parameter_format"]) for item in listed] == [("UTILITY", "NAMED")]
    assert [part["type"] for part in listed[0]["components"]] == ["BODY", "BUTTONS"]
    named = {"type": "body", "parameters": [{"type": "text", "parameter_name": "nome", "text": "Ana"}]}
    assert ask_template(api, "n", named).status_code == 200


@pytest.mark.parametrize("phone", [PHONE, SANDBOX])
def test_field_report_2_a_lid_is_a_persons_though_a_client_calls_it_a_group(api: Api, phone: str) -> None:
    assert send(api, phone, "111@lid", recipient_type="group").status_code == 200

    sent = queued(api)
    assert (sent["to"], sent["recipient_type"]) == ("111@lid", "individual")


# --- timers send what a client would ---


def start_timer(api: Api, phone: str, to: str, message: Any = "x", kind: str = "text") -> Any:
    return api.post(f"/timer/{phone}/{to}", {"timeout": 60_000, "type": kind, "message": message}, token=OPERATOR)


GROUP_AT_META = "Y2FwaV9ncm91cDoxNzA1NTU1MDEzOToxMjAzNjM0MDQ2OTQyMzM4MjAZD"


def test_field_report_34_a_timer_of_a_phone_takes_what_the_phone_takes(api: Api) -> None:
    long = "\u00e1" * 5000

    assert start_timer(api, PHONE, NUMBER, long).status_code == 200
    assert start_timer(api, PHONE, NUMBER, {"body": long}).status_code == 200
    is_refused(start_timer(api, SANDBOX, NUMBER, long), "4096")


@pytest.mark.parametrize(
    ("timer", "code"),
    [
        ((PHONE, "BR.13491208655302741918", "x"), 131062),
        ((PHONE, NUMBER, {"type": "product", "body": {"text": "x"}, "action": {}}, "interactive"), 131051),
        ((PHONE, NUMBER, {"id": "999"}, "image"), 131009),
        ((PHONE, GROUP_AT_META, "x"), 131009),
        ((PHONE, NUMBER, {"x": 1}, "hologram"), 131051),
    ],
)
def test_a_timer_that_could_not_be_sent_is_refused_when_it_is_started(
    api: Api, timer: tuple[Any, ...], code: int
) -> None:
    is_refused(start_timer(api, *timer), code=code)


def test_field_report_100_timers_and_blacklists_know_metas_groups(api: Api) -> None:
    assert start_timer(api, AT_META, GROUP_AT_META).status_code == 200
    assert start_timer(api, AT_META, NUMBER, {"x": 1}, "hologram").status_code == 200
    for phone, status in ((AT_META, 200), (PHONE, 400)):
        answer = api.post(f"/{phone}/blacklist/crm", {"to": GROUP_AT_META, "ttl": -1}, token=OPERATOR)
        assert answer.status_code == status, answer.text


# --- clients that fill in every field, or write numbers for texts ---


def test_c19_a_mark_may_be_a_number(api: Api) -> None:
    assert send(api, SANDBOX, NUMBER, biz_opaque_callback_data=5).status_code == 200
    assert queued(api)["biz_opaque_callback_data"] == "5"


def test_a_message_at_meta_cannot_be_deleted_and_the_client_reads_it(api: Api) -> None:
    is_refused(api.request("DELETE", f"/v15.0/{AT_META}/messages/wamid.X"), "only phones", code=131051)
    assert api.request("DELETE", f"/v15.0/{SANDBOX}/messages/wamid.X").status_code == 200


@pytest.mark.parametrize(
    "mark", [{"messaging_product": None}, {"messaging_product": ""}, {"message_id": 123}, {"typing_indicator": []}]
)
def test_a_read_mark_of_a_client_that_fills_in_every_field_is_taken(api: Api, mark: dict[str, Any]) -> None:
    body = {"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.X", **mark}

    assert api.post(f"/v15.0/{SANDBOX}/messages", body).json() == {"success": True}
    assert send(api, SANDBOX, NUMBER, messaging_product=None).status_code == 200
