"""Menus: whatever way a contact answers, the client gets the reply with the right id (field report 31)."""

from __future__ import annotations

import base64
import hashlib
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.connector.pocket import CHAT, Pocket
from tests.support.fakes import GROUP, PHONE
from unoapi.models.chats import Menu, MenuRow
from unoapi.services import templates
from unoapi.services.menus import chosen

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [{"id": "a", "title": "Plano A"}, {"id": "b", "title": "Plano B", "description": "com TV"}]
LIST: dict[str, Any] = {
    "type": "list", "body": {"text": "Escolha"}, "action": {"button": "Ver", "sections": [{"title": "S", "rows": ROWS}]}
}  # fmt: skip
BUTTONS: dict[str, Any] = {
    "type": "button", "body": {"text": "Confirma?"},
    "action": {"buttons": [{"type": "reply", "reply": {"id": "yes", "title": "Sim"}},
                           {"type": "reply", "reply": {"id": "no", "title": "Não"}}]},
}  # fmt: skip
MENU = Menu(message_id="m", kind="list", rows=(MenuRow(id="x1", title="Plano A"), MenuRow(id="x2", title="Plano Bê")))


@pytest.mark.parametrize(
    "answer",
    [
        "2", "2.", " 2 ", "(2)", "2)", "2️⃣", "２", "*2*", "02", "opção 2", "Opcao: 2", "nº 2", "número 2", "#2",  # noqa: RUF001
        "2 - Plano Bê", "2. plano be", "2 plano bê", "B", "b)", "b.", "letra b", "Plano Bê", "plano be", "PLANO BÊ!",
        "  plano   bê ",
        "\u200e2", "x2", "X2",
    ],
)  # fmt: skip
def test_field_report_31_an_answer_means_the_second_row(answer: str) -> None:
    row = chosen(answer, MENU)

    assert row is not None
    assert row.id == "x2"


@pytest.mark.parametrize(
    "answer",
    [
        "dois", "Duas.", "two", "dos", "second", "o segundo", "a segunda", "segunda opção", "a última", "opção dois",
        "op. 2", "opç 2", "opcao2", "n° 2", "N.º 2", "Opção nº 2", "Resposta: 2", "a alternativa b", "R: 2",
        "quero a 2", "2 por favor", "2, pfv", "no 2", "\u2777", "\u2781", "\u24f6", "\u0662", "-2", "[2]", "2\n",
        "Plano Bê (com TV)", "plano be com tv", "2 - Plano Bê - com TV", "plano-bê", "\U0001f449 2", "B -", "002",
        "2nd", "o plano bê", "quero o Plano Bê", "eu prefiro o plano bê, por favor",
    ],
)  # fmt: skip
def test_field_report_31_people_say_the_second_row_in_more_ways(answer: str) -> None:
    rows = (MenuRow(id="x1", title="Plano A"), MenuRow(id="x2", title="Plano Bê", description="com TV"))

    row = chosen(answer, Menu(message_id="m", kind="list", rows=rows))

    assert row is not None
    assert row.id == "x2"


@pytest.mark.parametrize(
    "answer",
    ["segunda", "segunda-feira", "na segunda", "10:30", "1,2", "2%", "R$ 2", "2.0", "2 ou 1", "1 e 2", "um momento",
     "de 1 a 2", "No, one", "ok", "por favor", "2b", "last", "dois planos", "quero 2 pizzas", "a 1 hora", "I'm ok",
     "não quero o plano bê", "o plano bê ou o plano a", "qual o plano bê", "o plano"],
)  # fmt: skip
def test_field_report_31_what_only_sounds_like_a_row_is_none(answer: str) -> None:
    assert chosen(answer, MENU) is None


@pytest.mark.parametrize(
    ("answer", "row"),
    [("12", "i12"), ("doze", "i12"), ("l", "i12"), ("item 12", "i12"), ("Item 1", "i1"), ("15", "i15"), ("16", None),
     ("a última", "i15")],
)  # fmt: skip
def test_field_report_31_a_menu_of_more_than_ten_rows_is_answered(answer: str, row: str | None) -> None:
    rows = tuple(MenuRow(id=f"i{number}", title=f"Item {number}") for number in range(1, 16))

    assert getattr(chosen(answer, Menu(message_id="m", kind="list", rows=rows)), "id", None) == row


@pytest.mark.parametrize(
    ("answer", "row"),
    [("P", None), ("M", "shirt-m"), ("calça P", "trousers-p"), ("P camisa", "shirt-p"), ("3", "trousers-p"),
     ("3. P", "trousers-p")],
)  # fmt: skip
def test_field_report_31_equal_titles_are_told_apart_by_their_section(
    tmp_path: Path, answer: str, row: str | None
) -> None:
    sections = [
        {"title": "Camisa", "rows": [{"id": "shirt-p", "title": "P"}, {"id": "shirt-m", "title": "M"}]},
        {"title": "Calça", "rows": [{"id": "trousers-p", "title": "P"}]},
    ]
    pocket = Pocket(tmp_path)
    pocket.send(type="interactive", interactive={**LIST, "action": {"button": "Ver", "sections": sections}})

    message = pocket.receives({"kind": "text", "body": answer})

    assert message.get("interactive", {}).get("list_reply", {}).get("id") == row


@pytest.mark.parametrize(("answer", "row"), [("10", "ten"), ("5", "five"), ("1", "ten"), ("2", "five"), ("3", None)])
def test_buttons_whose_titles_are_numbers_go_by_these_first(answer: str, row: str | None) -> None:
    menu = Menu(message_id="m", kind="button", rows=(MenuRow(id="ten", title="10"), MenuRow(id="five", title="5")))

    assert getattr(chosen(answer, menu), "id", None) == row


@pytest.mark.parametrize(
    "answer",
    ["", "3", "0", "22", "2 horas", "12", "oi", "o que é isso", "plano", "c)", "2 plano a", "sim", "x" * 500, "-", "."],
)
def test_field_report_31_other_words_mean_no_row(answer: str) -> None:
    assert chosen(answer, MENU) is None


@pytest.mark.parametrize(
    ("answer", "row"),
    [("sim", "y"), ("Sim!", "y"), ("\u2705 Sim", "y"), ("1\u00aa", "y"), ("2\u00ba", "n"), ("alternativa b", "n"),
     ("\U0001f44d ok", "up"), ("\U0001f44e Ok", "down"), ("ok", None)],
)  # fmt: skip
def test_field_report_31_nobody_types_the_emoji_of_a_title(answer: str, row: str | None) -> None:
    titles = {"y": "\u2705 Sim", "n": "N\u00e3o \U0001f6ab", "up": "\U0001f44d Ok", "down": "\U0001f44e Ok"}
    menu = Menu(message_id="m", kind="list", rows=tuple(MenuRow(id=key, title=text) for key, text in titles.items()))

    assert getattr(chosen(answer, menu), "id", None) == row


@pytest.mark.parametrize(("answer", "row"), [("2", "i2"), ("quero o plano 2, por favor", None)])
def test_titles_that_nobody_writes_out_take_no_time(answer: str, row: str | None) -> None:
    words = "Plá no " * 1000
    rows = tuple(MenuRow(id=f"i{number}", title=f"{number} {words}", description=words) for number in range(1, 101))
    menu = Menu(message_id="m", kind="list", rows=rows)
    began = time.thread_time()

    assert getattr(chosen(answer, menu), "id", None) == row
    assert time.thread_time() - began < 0.5


def test_a_title_that_is_a_number_goes_before_the_position() -> None:
    scale = Menu(message_id="m", kind="list", rows=tuple(MenuRow(id=f"n{n}", title=f"{n}") for n in (5, 4, 3, 2, 1)))

    row = chosen("2", scale)

    assert row is not None
    assert row.id == "n2"


def test_a_link_cannot_be_chosen_and_counts_all_the_same() -> None:
    menu = Menu(message_id="m", kind="button", rows=(MenuRow(title="Site"), MenuRow(id="y", title="Sim")))

    assert chosen("1", menu) is None
    assert chosen("2", menu) == menu.rows[1]


@pytest.mark.parametrize("mode", ["text", "classic", "native"])
@pytest.mark.parametrize("answer", ["2", "2.", " 2 ", "B", "b)", "plano b"])
def test_field_report_31_the_answer_to_a_list_is_a_list_reply(tmp_path: Path, mode: str, answer: str) -> None:
    pocket = Pocket(tmp_path, interactiveMode=mode)
    pocket.send("wamid.MENU", type="interactive", interactive=LIST)

    message = pocket.receives({"kind": "text", "body": answer})

    assert message["type"] == "interactive"
    reply = message["interactive"]
    assert (reply["type"], reply["list_reply"]["id"], reply["list_reply"]["title"]) == ("list_reply", "b", "Plano B")
    assert message["context"] == {"from": PHONE, "id": "wamid.MENU", "message_id": "wamid.MENU"}
    assert "text" not in message


@pytest.mark.parametrize("answer", ["1", "1)", "sim", "SIM!", "a"])
def test_field_report_31_the_answer_to_buttons_is_a_button_reply(tmp_path: Path, answer: str) -> None:
    pocket = Pocket(tmp_path)
    pocket.send("wamid.MENU", type="interactive", interactive=BUTTONS)

    message = pocket.receives({"kind": "text", "body": answer})

    assert message["interactive"] == {"type": "button_reply", "button_reply": {"id": "yes", "title": "Sim"}}


@pytest.mark.parametrize(
    "tap",
    [
        {"kind": "list_reply", "id": "b"},
        {"kind": "button_reply", "id": "b"},
        {"kind": "template_button", "payload": "b"},
    ],
)
def test_a_tap_is_told_as_the_menus_reply_with_its_title(tmp_path: Path, tap: dict[str, Any]) -> None:
    pocket = Pocket(tmp_path, interactiveMode="native")
    pocket.send("wamid.MENU", type="interactive", interactive=LIST)

    message = pocket.receives(tap)

    assert message["interactive"]["list_reply"] == {"id": "b", "title": "Plano B", "description": "com TV"}
    assert message["context"]["id"] == "wamid.MENU"


@pytest.mark.parametrize(
    ("tap", "told"),
    [
        ({"kind": "list_reply", "id": "b"}, {"id": "b", "title": "b", "description": ""}),
        ({"kind": "button_reply", "id": "", "title": "Sim"}, {"id": "Sim", "title": "Sim"}),
        ({"kind": "template_button", "text": "Sim"}, {"payload": "Sim", "text": "Sim"}),
        ({"kind": "template_button", "payload": "b"}, {"payload": "b", "text": "b"}),
    ],
)
def test_a_tap_on_a_menu_of_another_program_has_words_and_an_id(
    tmp_path: Path, tap: dict[str, Any], told: dict[str, Any]
) -> None:
    message = Pocket(tmp_path).receives(tap)

    assert told in (message.get("button"), message.get("interactive", {}).get(tap["kind"]))


TEMPLATE = [
    {"name": "menu", "language": "pt_BR", "status": "APPROVED", "category": "UTILITY", "components": [
        {"type": "BODY", "text": "Oi"},
        {"type": "BUTTONS", "buttons": [{"type": "QUICK_REPLY", "text": "Sim"}, {"type": "QUICK_REPLY", "text": "No"}]},
    ]},
]  # fmt: skip


@pytest.mark.parametrize(
    "answer",
    [
        {"kind": "text", "body": "1"},
        {"kind": "text", "body": "sim"},
        {"kind": "button_reply", "id": "yes", "title": ""},
        {"kind": "template_button", "payload": "yes", "text": ""},
    ],
)
@pytest.mark.parametrize("mode", ["text", "classic", "native"])
def test_the_answer_to_a_templates_buttons_is_a_button_as_at_meta(
    tmp_path: Path, mode: str, answer: dict[str, Any]
) -> None:
    pocket = Pocket(tmp_path, interactiveMode=mode)
    pocket.provider._rendered = lambda message, _: templates.rendered(message, lambda: TEMPLATE)
    payload = {"type": "button", "sub_type": "quick_reply", "index": "0",
               "parameters": [{"type": "payload", "payload": "yes"}]}  # fmt: skip
    pocket.send(type="template", template={"name": "menu", "language": {"code": "pt_BR"}, "components": [payload]})

    message = pocket.receives(answer)

    assert (message["type"], message["button"]) == ("button", {"payload": "yes", "text": "Sim"})
    assert message["context"]["id"] == "wamid.OUT"


def test_of_two_menus_in_a_row_the_last_one_is_answered(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.send("wamid.FIRST", type="interactive", interactive=LIST)
    pocket.send("wamid.SECOND", type="interactive", interactive=BUTTONS)

    message = pocket.receives({"kind": "text", "body": "2"})

    assert (message["interactive"]["button_reply"]["id"], message["context"]["id"]) == ("no", "wamid.SECOND")


def test_an_answer_after_other_words_counts_and_other_words_stay_words(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.send("wamid.MENU", type="interactive", interactive=LIST)

    words = pocket.receives({"kind": "text", "body": "quanto custa?"}, "3EB01")
    answer = pocket.receives({"kind": "text", "body": "1"}, "3EB02")

    assert (words["type"], words["text"]["body"]) == ("text", "quanto custa?")
    assert answer["interactive"]["list_reply"]["id"] == "a"


def test_field_report_31_an_answer_that_quotes_an_earlier_menu_is_one_to_that(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.send("wamid.FIRST", type="interactive", interactive=LIST)
    pocket.send("wamid.SECOND", type="interactive", interactive=BUTTONS)
    quote = {"context": {"id": "wamid.FIRST", "from_us": True}}

    first = pocket.receives({"kind": "text", "body": "2"}, "3EB01", **quote)
    last = pocket.receives({"kind": "text", "body": "2"}, "3EB02")

    assert (first["interactive"]["list_reply"]["id"], first["context"]["id"]) == ("b", "wamid.FIRST")
    assert (last["interactive"]["button_reply"]["id"], last["context"]["id"]) == ("no", "wamid.SECOND")


@pytest.mark.parametrize(
    ("answer", "row"), [("Plano B", "b"), ("plano b, por favor", "b"), ("b", None), ("sim", "yes")]
)
def test_field_report_31_of_menus_in_a_row_the_titles_of_all_count(
    tmp_path: Path, answer: str, row: str | None
) -> None:
    pocket = Pocket(tmp_path)
    pocket.send("wamid.FIRST", type="interactive", interactive=LIST)
    pocket.send("wamid.SECOND", type="interactive", interactive=BUTTONS)

    message = pocket.receives({"kind": "text", "body": answer})

    interactive = message.get("interactive", {})
    reply = interactive.get("list_reply") or interactive.get("button_reply") or {}
    assert reply.get("id") == ("no" if row is None else row)


def test_the_titles_of_a_menu_of_long_before_are_words(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.send("wamid.FIRST", type="interactive", interactive=LIST)
    first = pocket.chats.find(PHONE, [CHAT["phone"]]).menu
    assert first is not None
    pocket.chats.remember_menu(PHONE, CHAT["phone"], first.model_copy(update={"at_ms": first.at_ms - 120_000}))
    pocket.send("wamid.SECOND", type="interactive", interactive=BUTTONS)

    assert pocket.receives({"kind": "text", "body": "Plano B"})["type"] == "text"


def test_only_some_earlier_menus_are_remembered_and_no_large_ones() -> None:
    last = None
    for number in range(8):
        rows = tuple(MenuRow(id=f"{row}", title="x" * (100 if number == 5 else 1)) for row in range(100))
        last = Menu(message_id=f"m{number}", kind="list", rows=rows).after(last)

    assert last is not None
    assert [menu.message_id for menu in last.earlier] == ["m6", "m4", "m3", "m2"]
    assert all(menu.earlier == () for menu in last.earlier)


QUESTION: dict[str, Any] = {"type": "text", "text": {"body": "Quantas pessoas?"}}


def test_field_report_31_a_number_that_answers_the_next_question_stays_a_number(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.send("wamid.MENU", type="interactive", interactive=LIST)
    first = pocket.receives({"kind": "text", "body": "1"}, "3EB01")
    corrected = pocket.receives({"kind": "text", "body": "2"}, "3EB02")
    pocket.send("wamid.QUESTION", **QUESTION)

    later = pocket.receives({"kind": "text", "body": "2"}, "3EB03")
    quoting = pocket.receives({"kind": "text", "body": "2"}, "3EB04", context={"id": "wamid.MENU", "from_us": True})
    tapped = pocket.receives({"kind": "list_reply", "id": "b"}, "3EB05")

    assert [message["interactive"]["list_reply"]["id"] for message in (first, corrected)] == ["a", "b"]
    assert (later["type"], later["text"]) == ("text", {"body": "2"})
    assert [message["interactive"]["list_reply"]["title"] for message in (quoting, tapped)] == ["Plano B"] * 2


def test_field_report_31_a_tap_on_one_of_the_menus_in_a_row_answers_them_all(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.send("wamid.FIRST", type="interactive", interactive=LIST)
    pocket.send("wamid.SECOND", type="interactive", interactive=BUTTONS)
    quote = {"context": {"id": "wamid.FIRST", "from_us": True}}
    tapped = pocket.receives({"kind": "list_reply", "id": "b"}, "3EB01", **quote)
    pocket.send("wamid.QUESTION", **QUESTION)

    assert tapped["interactive"]["list_reply"]["title"] == "Plano B"
    assert pocket.receives({"kind": "text", "body": "2"}, "3EB02")["type"] == "text"


def test_field_report_31_what_asks_again_for_an_answer_leaves_the_menu_open(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.send("wamid.MENU", type="interactive", interactive=LIST)
    pocket.receives({"kind": "text", "body": "oi?"}, "3EB01")
    pocket.send("wamid.AGAIN", type="text", text={"body": "Escolha uma das opções, por favor"})

    assert pocket.receives({"kind": "text", "body": "2"}, "3EB02")["interactive"]["list_reply"]["id"] == "b"


def test_field_report_31_what_the_phone_itself_asks_ends_an_answered_menu(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.send("wamid.MENU", type="interactive", interactive=LIST)
    pocket.receives({"kind": "text", "body": "1"}, "3EB01", chat={**CHAT, "lid": "111@lid"})
    pocket.receives({"kind": "text", "body": "Quantas pessoas?"}, "3EB02", from_me=True)

    assert pocket.receives({"kind": "text", "body": "2"}, "3EB03", chat={**CHAT, "lid": "111@lid"})["type"] == "text"


def test_field_report_31_in_a_group_one_answer_ends_nothing(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.send("wamid.MENU", to=GROUP, type="interactive", interactive=LIST)
    group = {"chat": {"jid": GROUP, "kind": "group"}, "sender": CHAT}
    pocket.receives({"kind": "text", "body": "1"}, "3EB01", **group)
    pocket.send("wamid.THANKS", to=GROUP, type="text", text={"body": "Obrigado, Ana"})

    assert pocket.receives({"kind": "text", "body": "2"}, "3EB02", **group)["interactive"]["list_reply"]["id"] == "b"


def test_what_quotes_another_message_is_no_answer_to_the_menu(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.send("wamid.MENU", type="interactive", interactive=LIST)

    message = pocket.receives({"kind": "text", "body": "2"}, context={"id": "3EB0OTHER"})

    assert message["type"] == "text"


def test_the_numbers_own_words_answer_nothing(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.send("wamid.MENU", type="interactive", interactive=LIST)

    assert pocket.receives({"kind": "text", "body": "2"}, from_me=True)["type"] == "text"


def test_a_menu_in_a_group_is_answered_by_any_member(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.send("wamid.MENU", to=GROUP, type="interactive", interactive=LIST)

    message = pocket.receives({"kind": "text", "body": "2"}, chat={"jid": GROUP, "kind": "group"}, sender=CHAT)

    assert message["interactive"]["list_reply"]["id"] == "b"


def test_a_contact_who_answers_by_lid_answers_all_the_same(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.send("wamid.MENU", type="interactive", interactive=LIST)
    chat = {**CHAT, "jid": "111@lid", "lid": "111@lid"}

    assert pocket.receives({"kind": "text", "body": "2"}, chat=chat)["interactive"]["list_reply"]["id"] == "b"


def test_while_redis_is_away_the_words_arrive_as_words(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.send("wamid.MENU", type="interactive", interactive=LIST)
    pocket.chats.away = True

    assert pocket.receives({"kind": "text", "body": "2"})["text"] == {"body": "2"}


def test_field_report_32_a_list_in_native_form_is_one_button_with_all_rows(tmp_path: Path) -> None:
    left = Pocket(tmp_path, interactiveMode="native").send(type="interactive", interactive=LIST)

    (button,) = left["interactiveMessage"]["nativeFlowMessage"]["buttons"]
    assert button["name"] == "single_select"
    assert '"id":"a"' in button["buttonParamsJSON"]


# --- polls: field report 28 ---

POLL = {"name": "Which day?", "options": ["Monday", "Tuesday"], "selectable_count": 1}


def vote(*options: str) -> dict[str, Any]:
    """What a library reports that has the secret: the hashes of the chosen options."""
    return {"kind": "poll_vote", "option_hashes": [hashlib.sha256(option.encode()).hexdigest() for option in options]}


def test_field_report_28_a_poll_is_sent_with_the_secret_that_its_votes_need(tmp_path: Path) -> None:
    left = Pocket(tmp_path).send(type="poll", poll=POLL)

    assert left["pollCreationMessageV3"] == {
        "name": "Which day?", "options": [{"optionName": "Monday"}, {"optionName": "Tuesday"}],
        "selectableOptionsCount": 1,
    }  # fmt: skip
    assert len(base64.b64decode(left["messageContextInfo"]["messageSecret"])) == 32


def test_a_poll_without_a_number_of_choices_allows_one(tmp_path: Path) -> None:
    left = Pocket(tmp_path).send(type="poll", poll={**POLL, "selectable_count": None})

    assert left["pollCreationMessageV3"]["selectableOptionsCount"] == 1


def test_field_report_28_a_vote_names_its_options_and_its_poll(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.send("wamid.POLL", type="poll", poll=POLL)
    (sent,) = pocket.sent()

    message = pocket.receives({**vote("Tuesday"), "poll_id": sent["id"]})

    assert (message["text"]["body"], message["context"]["id"]) == ("Tuesday", "wamid.POLL")


def test_field_report_28_votes_in_a_contacts_poll_are_named_too(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.receives({"kind": "poll", "name": "Q", "options": ["A", "B", "C"]}, "3EB0P")

    message = pocket.receives({**vote("A", "C"), "poll_id": "3EB0P"}, "3EB0V")

    assert (message["text"]["body"], message["context"]["id"]) == ("A, C", "3EB0P")


def test_field_report_28_a_vote_in_a_poll_that_nobody_knows_answers_to_it_all_the_same(tmp_path: Path) -> None:
    message = Pocket(tmp_path).receives({**vote("A"), "poll_id": "3EB0GONE"})

    assert (message["text"]["body"], message["context"]["id"]) == ("(a vote in a poll)", "3EB0GONE")


def test_a_menu_that_was_sent_to_a_number_is_answered_by_whatsapps_form_of_it(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    mexican = {"jid": "5215512345678@s.whatsapp.net", "kind": "user", "phone": "5215512345678"}
    pocket.send("wamid.MENU", to="525512345678", type="interactive", interactive=LIST)

    answer = pocket.receives({"kind": "text", "body": "2"}, chat=mexican)

    assert answer["interactive"]["list_reply"]["id"] == "b"
    assert answer["context"]["id"] == "wamid.MENU"
