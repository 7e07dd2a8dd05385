"""What a number writes to itself: who counts, what each command does, and how YAML is taken."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.compatibility.census import cases
from tests.support.fakes import CONTACT, PHONE, make_send, make_session, make_webhook
from tests.support.worker import make_uno, run
from unoapi.errors import RequestError, StoreUnavailable
from unoapi.models.connector.events import SessionState
from unoapi.models.jobs import HandleOwnMessage, ReceiveEvent, SendMessage, now_ms
from unoapi.services.own_chat import note
from unoapi.services.phone_commands import TEXTS, WORDS, read_command
from unoapi.services.yaml_text import MAX_BYTES, read_yaml

if TYPE_CHECKING:
    from tests.support.fakes import MemoryPublisher
    from unoapi.bootstrap import Uno
    from unoapi.models.jobs import Job

LID = "24788516941@lid"
HOOK = make_webhook(id="crm")
COMMANDER = make_session(HOOK, make_webhook(id="bot"), provider="whatsmeow", commands=True)


class Counts:
    """Dead letters that were counted today."""

    def add(self, phone: str) -> None:
        """Not asked for here."""

    def today(self, phone: str) -> int:
        return 3 if phone == PHONE else 0

    def largest(self) -> int:
        return 3


def uno_with(session: Any = COMMANDER, **parts: Any) -> Uno:
    uno = make_uno(dead_letter_counts=Counts(), **parts)
    config = {"provider": session.provider, "commands": session.commands, "authToken": "token-of-the-session"}
    webhooks = [{"id": webhook.id, "urlAbsolute": f"http://receiver.test/{webhook.id}"} for webhook in session.webhooks]
    uno.sessions.save(PHONE, {**config, "webhooks": webhooks})
    return uno


def written(uno: Uno, kind: type[Job]) -> list[Any]:
    """The jobs of a kind that were published since."""
    return cast("MemoryPublisher", uno.publisher).jobs(f"unoapi.{kind.queue}")


def on_the_phone(
    body: str = "status", *, from_me: bool = True, chat: dict[str, Any] | None = None, age_s: int = 0, **more: Any
) -> ReceiveEvent:
    """A message as the connector reports it."""
    sender = {"jid": f"{PHONE}:3@s.whatsapp.net", "phone": PHONE} if from_me else {"jid": f"{CONTACT}@s.whatsapp.net"}
    data = {
        "id": "3EB0AA",
        "chat": {"jid": f"{PHONE}@s.whatsapp.net", "phone": PHONE, "kind": "user"} if chat is None else chat,
        "sender": sender,
        "from_me": from_me,
        "timestamp_ms": now_ms() - age_s * 1000,
        "content": {"kind": "text", "body": body},
        **more,
    }
    event = {"version": 1, "type": "message", "event_id": "e1", "session": PHONE, "data": data}
    return ReceiveEvent(id="1", phone=PHONE, event=event)


def answers(text: str, *, uno: Uno, message_id: str = "3EB0AA") -> list[SendMessage]:
    """Run a text as a command; the messages in the own chat that follow."""
    body = json.dumps({"id": message_id, "type": "text", "text": {"body": text}})
    run(uno, HandleOwnMessage(id=f"job-{message_id}", phone=PHONE, message_id=message_id, body=body))
    return written(uno, SendMessage)


def command(text: str, *, uno: Uno | None = None) -> str:
    """The answer to a text; empty for none."""
    return "".join(json.loads(reply.body)["text"]["body"] for reply in answers(text, uno=uno or uno_with()))


# --- who counts ---


def test_what_the_number_writes_to_itself_is_handled() -> None:
    uno = uno_with()

    run(uno, on_the_phone("status"))

    (job,) = written(uno, HandleOwnMessage)
    assert (job.message_id, json.loads(job.body)["text"]["body"]) == ("3EB0AA", "status")


@pytest.mark.parametrize(
    ("phone", "user"),
    [("551199990000", "5511999990000"), ("525512345678", "5215512345678"), ("541123456789", "5491123456789")],
)
def test_its_own_chat_is_told_from_others_in_each_form_of_its_number(phone: str, user: str) -> None:
    """WhatsApp writes the mobiles of some countries with another digit than the session may have."""
    options = make_session(ignoreOwnMessages=True, ignoreYourselfMessages=False)

    assert options.ignores(chat=f"{user}@s.whatsapp.net", phone=phone, from_me=True) == ""
    assert options.ignores(chat=f"{user}@lid", phone=phone, from_me=True) == "ignoreOwnMessages"


def test_its_own_chat_may_be_named_by_whatsapps_id_alone() -> None:
    uno = uno_with()
    own = {"jid": LID, "kind": "user"}

    run(uno, on_the_phone(chat=own, sender={"jid": "24788516941:3@lid", "phone": PHONE, "lid": LID}))

    assert len(written(uno, HandleOwnMessage)) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"from_me": False},
        {"from_me": False, "chat": {"jid": f"{CONTACT}@s.whatsapp.net", "phone": CONTACT, "kind": "user"}},
        {"chat": {"jid": f"{CONTACT}@s.whatsapp.net", "phone": CONTACT, "kind": "user"}},
        {"chat": {"jid": LID, "kind": "user"}},
        {"chat": {"jid": "120363040468224422@g.us", "kind": "group"}},
        {"chat": {"jid": f"{PHONE}@g.us", "phone": PHONE, "kind": "group"}},
        {"chat": {"jid": "status@broadcast", "kind": "broadcast"}},
        {"history": True},
        {"age_s": 3600},
        {"content": {"kind": "reaction", "target_id": "X", "emoji": "status"}},
        {"content": {"kind": "edit", "target_id": "X", "content": {"kind": "text", "body": "status"}}},
    ],
    ids=str,
)
def test_nobody_elses_message_is_one_whatever_it_says(changed: dict[str, Any]) -> None:
    uno = uno_with()

    run(uno, on_the_phone("status", **changed))

    assert written(uno, HandleOwnMessage) == []


@pytest.mark.parametrize("provider", ["whatsmeow", "sandbox"])
def test_nothing_counts_unless_it_is_allowed(provider: str) -> None:
    uno = uno_with(make_session(HOOK, provider=provider))

    run(uno, on_the_phone("status"))
    run(uno, make_send(body=json.dumps({"to": PHONE, "type": "text", "text": {"body": "status"}})))

    assert written(uno, HandleOwnMessage) == []


def test_the_environment_allows_it_for_sessions_that_say_nothing() -> None:
    uno = make_uno(settings={"UNOAPI_COMMANDS": "true"})

    assert uno.settings.unoapi_commands


def test_a_message_over_the_api_to_the_number_itself_is_handled_after_it_was_sent() -> None:
    uno = uno_with()

    run(uno, make_send(body=json.dumps({"to": PHONE, "type": "text", "text": {"body": "status"}})))
    run(uno, make_send(id="wamid.2", body=json.dumps({"to": CONTACT, "type": "text", "text": {"body": "status"}})))

    assert len(written(uno, HandleOwnMessage)) == 1


def test_notices_and_our_own_answers_are_no_commands() -> None:
    uno = uno_with()

    run(uno, note(PHONE, "status", about="1"))

    assert written(uno, HandleOwnMessage) == []


def test_no_answer_of_ours_is_a_command() -> None:
    answers = [text for language in TEXTS.values() for text in language.values()]

    assert [text for text in answers if read_command(text, phone=PHONE)] == []


# --- the commands ---


@pytest.mark.parametrize("word", sorted(WORDS))
def test_every_word_is_answered_in_any_spelling_and_once_in_the_same_words(word: str) -> None:
    uno = uno_with()

    (first,) = answers(f" /{word.upper()} ", uno=uno)
    (again,) = answers(word, uno=uno)

    assert first.id == again.id
    assert (first.phone, json.loads(first.body)["to"], first.notify_on_failure) == (PHONE, PHONE, False)


@pytest.mark.parametrize(
    "text", ["", " ", "hello", "status of the order", "help me", "pause the music now please", "x" * 5000]
)
def test_any_other_note_is_left_alone(text: str) -> None:
    assert command(text) == ""


def test_the_language_is_the_words_else_the_numbers() -> None:
    assert command("help") == TEXTS["en"]["help"]
    assert command("ajuda") == TEXTS["pt"]["help"]
    assert "está" in command("status")


def test_status_says_how_the_number_and_its_webhooks_are() -> None:
    uno = uno_with()
    uno.connections.record(PHONE, SessionState(state="connected"), at_ms=now_ms(), seq=1)
    command("pause crm 30m", uno=uno)

    lines = command("status", uno=uno).splitlines()

    assert lines[0] == f"{PHONE} está online."
    assert lines[1:] == ["crm: em pausa por mais 30 min", "bot: entrega"]


def test_pause_and_resume_hold_one_webhook_or_all() -> None:
    uno = uno_with()

    assert command("pause", uno=uno).startswith("Paused for 60 min: crm, bot.")
    assert command("resume bot", uno=uno) == "Goes on: bot."
    assert command("retomar", uno=uno) == "Segue: crm."
    assert command("resume", uno=uno) == "Nothing was paused."
    assert "no webhook shop" in command("pause shop", uno=uno)


def test_the_longest_pause_is_two_days() -> None:
    assert command("pause 9999d").startswith("Paused for 2880 min")


def test_dead_counts_and_names_what_shows_them() -> None:
    assert command("dead") == f"Given up today (UTC): 3. They are kept: `unoapi dead list --phone {PHONE}`."


def test_qr_names_the_page_of_the_session() -> None:
    assert f"/session/{PHONE}" in command("qr")
    assert "não precisa" in command("qr", uno=uno_with(make_session(HOOK, provider="sandbox", commands=True)))


def test_a_command_waits_for_redis() -> None:
    class Away(Counts):
        def today(self, phone: str) -> int:  # noqa: ARG002 (the port's)
            raise StoreUnavailable("Redis is away")

    uno = replace(uno_with(), dead_letter_counts=Away())

    with pytest.raises(Exception, match="store_unavailable"):
        command("dead", uno=uno)


# --- YAML ---


def configure(text: str, *, uno: Uno) -> str:
    return command(text, uno=uno)


def test_a_text_on_the_phone_changes_the_configuration() -> None:
    uno = uno_with()

    answer = configure("unoapi-config\nlabel: Shop\nignoreGroupMessages: false\nrejectCalls: ''", uno=uno)

    config = uno.sessions.config(PHONE) or {}
    assert answer == "Salvo: label, ignoreGroupMessages, rejectCalls."
    assert (config["label"], config["ignoreGroupMessages"], config["rejectCalls"]) == ("Shop", False, "")
    assert [webhook["id"] for webhook in config["webhooks"]] == ["crm", "bot"]


def test_the_webhook_of_a_text_takes_the_place_of_all() -> None:
    uno = uno_with()

    configure("unoapi-webhook\nurl: http://new.test\nheader: api_access_token\ntoken: 123", uno=uno)

    assert (uno.sessions.config(PHONE) or {})["webhooks"] == [
        {"url": "http://new.test", "header": "api_access_token", "token": "123"}
    ]


def template(name: str, *values: str) -> dict[str, Any]:
    parameters = [{"type": "text", "text": value} for value in values]
    body = [{"type": "body", "parameters": parameters}]
    return {"name": name, "language": {"code": "pt_BR"}, "components": body}


def test_the_former_template_changes_the_webhook() -> None:
    class Templates:
        def get(self, phone: str) -> None:  # noqa: ARG002 (the port's)
            return None

        def put(self, phone: str, templates: list[dict[str, Any]]) -> None:
            """Not asked for here."""

    uno = uno_with(templates=Templates())
    body = {
        "to": PHONE,
        "type": "template",
        "template": template("unoapi-webhook", "http://new.test", "x-token", "0123"),
    }

    run(uno, HandleOwnMessage(id="1", phone=PHONE, message_id="wamid.1", body=json.dumps(body)))

    assert "Salvo" in written(uno, SendMessage)[0].body
    assert (uno.sessions.config(PHONE) or {})["webhooks"] == [
        {"url": "http://new.test", "header": "x-token", "token": "0123"}
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("unoapi-config\nlabel: A\nlabel: B", "line 2: label is there twice"),
        ("unoapi-config\nlabel: [A", "line 1"),
        ("unoapi-config\n- label", "line 1"),
        ("unoapi-config\nlabel: A\nlabell: B", "line 2: labell"),
        ("unoapi-config\nlabel: A\nsessionWebhook: nowhere", "line 2: sessionWebhook"),
        ("unoapi-config\nproxyUrl: socks5://p.test:1", "proxyUrl"),
        ("unoapi-config\nprovider: sandbox", "Only the operator's token may change provider"),
        ("unoapi-config\nconnectionType: forward", "Only the operator's token may change connectionType"),
        ("unoapi-config\nauthToken: short", "line 1: authToken"),
        ("unoapi-config\nwebhooks:\n  - id: crm\n    timeoutMs: soon", "line 3"),
        ("unoapi-webhook\nurl: {{url}}", "line 1"),
        ("unoapi-config\na: &a [x]\nb: *a", "line 1: anchors"),
        ("unoapi-config\na: !!python/object/apply:os.system [x]", "line 1: tags"),
        ("unoapi-config\na: !secret x", "line 1: tags"),
        ("unoapi-config\nlabel: \x00", "characters"),
        (f"unoapi-config\nlabel: {'x' * MAX_BYTES}", f"more than {MAX_BYTES} bytes"),
        (f"unoapi-config\n{'x' * 1_000_000}", f"more than {MAX_BYTES} bytes"),
        (f"unoapi-config\na: {'[' * 5000}", "levels"),
    ],
    ids=lambda part: part[:40],
)
def test_a_mistake_is_told_with_its_line_and_nothing_is_saved(text: str, says: str) -> None:
    uno = uno_with()
    before = uno.sessions.config(PHONE)

    answer = configure(text, uno=uno)

    assert says in answer
    assert uno.sessions.config(PHONE) == before


def test_an_answer_repeats_no_value() -> None:
    uno = uno_with()

    answer = configure("unoapi-config\nlabel: hush\nauthToken: a-secret-token-of-the-session", uno=uno)

    assert "hush" not in answer
    assert "a-secret" not in answer


@pytest.mark.parametrize(
    ("written_as", "value"),
    [("true", True), ("no", "no"), ("0123", "0123"), ("123", 123), ("1_000", "1_000"), ("2026-01-01", "2026-01-01"),
     ("1.5", "1.5"), ("~", None), ("", None), ("'true'", "true"), ("1e999", "1e999"), ("0x10", "0x10")],
)  # fmt: skip
def test_a_value_is_what_a_person_means(written_as: str, value: Any) -> None:
    assert read_yaml(f"a: {written_as}").value == {"a": value}


@pytest.mark.parametrize(
    "text", ["", "x", "[]", "- a", "a: b: c", "{", "? [a]\n: b", "%YAML 9.9\n---\na: b", "a: b\n---\nc: d"]
)
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(RequestError):
        read_yaml(text)


@cases("commander")
def test_the_node_versions_commands(case: dict[str, Any]) -> None:
    given, out = case["in"], case["out"]
    if "parsed" in out:
        assert read_yaml(given["text"]).value == out["parsed"]
    elif "yaml" in given:
        uno = uno_with()
        configure(f"{given['template']}\n{json.dumps(given['yaml'])}", uno=uno)
        saved = uno.sessions.config(PHONE) or {}
        # As suggested: false is a value. The proxy is the operator's, and none is what it was.
        assert {name: saved.get(name, "") for name in given["yaml"]} == given["yaml"]
    else:
        uno = uno_with()
        run(uno, HandleOwnMessage(id="1", phone=PHONE, message_id="1", body=json.dumps(given["payload"])))
        assert written(uno, SendMessage) == []
