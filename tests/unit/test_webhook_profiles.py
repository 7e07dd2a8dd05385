"""The profiles of webhooks: each receiver gets what it takes, and what it cannot take is named in the trace."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.clients.checkers import chatwoot, typebot
from tests.connector.phones import CHAT
from tests.support.fakes import (
    CONTACT,
    GROUP,
    PHONE,
    MemoryIds,
    MemorySessions,
    make_event,
    make_fan_out,
    make_session,
    make_status,
    make_webhook,
)
from unoapi.connector.schemas import FOLDER
from unoapi.models.cloud_api.callbacks import Change
from unoapi.models.cloud_api.events import Event, split
from unoapi.models.jobs import EventJob, ReceiveEvent
from unoapi.models.session import Session, Webhook
from unoapi.providers.whatsmeow.events import receive
from unoapi.services.webhook_profiles import SHAPES, body_for
from unoapi.services.webhooks import fan_out, to_fan_out

CONTENTS: list[dict[str, Any]] = json.loads((FOLDER / "examples.json").read_text("utf-8"))["received"]
FILE = {"id": "314100000000000000000001", "mime_type": "image/jpeg", "filename": "a.jpeg", "sha256": "f0", "url": "u"}


def shaped(profile: str, event: Event) -> dict[str, Any] | None:
    """The change that a webhook of this profile gets."""
    body = body_for(make_webhook(profile=profile), make_fan_out(event))
    return None if body is None else dict(json.loads(body)["entry"][0]["changes"][0])


def message(profile: str, **fields: Any) -> dict[str, Any]:
    change = shaped(profile, make_event(**fields))
    assert change is not None
    return dict(change["value"]["messages"][0])


def make_echo(**fields: Any) -> Event:
    """What the number itself wrote in its own app."""
    written = json.loads(make_event(**fields).body)["entry"][0]["changes"][0]["value"]["messages"][0]
    change = Change({"message_echoes": [{**written, "to": CONTACT}]}, field="smb_message_echoes")
    (event,) = split(PHONE, [change])
    return event


def echo(**fields: Any) -> dict[str, Any]:
    change = shaped("chatwoot", make_echo(**fields))
    assert change is not None
    return dict(change["value"]["message_echoes"][0])


def of_phone(data: dict[str, Any], kind: str = "message") -> list[EventJob]:
    event = {"version": 1, "type": kind, "event_id": "e", "session": PHONE, "data": data}
    session = make_session(ignoreOwnMessages=False, ignoreGroupMessages=False)
    jobs, _ = receive(
        ReceiveEvent(id="e", phone=PHONE, event=event, accepted_at_ms=1),
        ids=MemoryIds(),
        sessions=MemorySessions(session),
    )
    return [job for job in jobs if isinstance(job, EventJob)]


def test_without_a_profile_the_bytes_of_the_event_go_on() -> None:
    job = make_fan_out()

    assert body_for(make_webhook(), job) == job.body


@pytest.mark.parametrize(("profile", "check"), [("chatwoot", chatwoot), ("typebot", typebot)])
@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: str(content["kind"]))
def test_whatever_a_phone_receives_is_taken_by_the_profiles_receiver_or_filtered(
    content: dict[str, Any], profile: str, check: Any
) -> None:
    for chat in (CHAT, {"jid": "777@lid", "kind": "user", "lid": "777@lid"}, {"jid": GROUP, "kind": "group"}):
        data = {"id": "3EB0AA", "chat": chat, "sender": CHAT, "timestamp_ms": 1_000, "content": content}
        for job in of_phone(data):
            body = body_for(make_webhook(profile=profile), job)  # type: ignore[arg-type]
            if body is not None:
                assert list(check(json.loads(body))) == []
                assert ("errors" in body) is False or profile == "typebot"


@pytest.mark.parametrize("profile", SHAPES)
@pytest.mark.parametrize(
    "event",
    [
        make_event(),
        make_event(type="image", image=FILE, text=None),
        make_event(type="unsupported", text=None),
        make_event(type="interactive", interactive={}),
        make_event(type="reaction", reaction={"message_id": "1", "emoji": ""}),
        make_status("deleted"),
        make_status("failed", error={"code": "x"}),
        *split(PHONE, [Change({"groups": "x"}, field="group_settings_update")]),
        *split(PHONE, [Change({"event": "APPROVED"}, field="message_template_status_update")]),
    ],
    ids=lambda event: f"{event.kind} {event.content.item.get('type', '')}",
)
def test_no_event_breaks_a_profile(profile: str, event: Event) -> None:
    body = body_for(make_webhook(profile=profile), make_fan_out(event))

    assert body is None or json.loads(body)["entry"][0]["changes"]


ODD: tuple[Any, ...] = (None, "x", 7, [], {}, [None], {"type": 7}, {"id": None})


@pytest.mark.parametrize("profile", SHAPES)
@pytest.mark.parametrize("name", ["text", "image", "interactive", "reaction", "context", "errors", "contacts", "type"])
def test_parts_of_any_form_break_no_profile(profile: str, name: str) -> None:
    """Meta's callbacks, and what tenants post, hold what they like: no delivery may fail for it."""
    for odd in ODD:
        for kind in ("text", "image", "interactive", "reaction", "unsupported", "contacts"):
            event = make_event(**{"type": kind, "message_type": "message_edit", name: odd})
            body = body_for(make_webhook(profile=profile), make_fan_out(event))
            assert body is None or json.loads(body)
        status = {"id": "1", "status": "deleted", "recipient_id": CONTACT, "timestamp": "7", name: odd}
        (event,) = split(PHONE, [Change({"statuses": [status]})])
        body = body_for(make_webhook(profile=profile), make_fan_out(event))
        assert body is None or json.loads(body)
        for event in split(PHONE, [Change({"groups": [odd], "contacts": odd}, field="group_settings_update")]):
            assert body_for(make_webhook(profile=profile), make_fan_out(event)) != ""


def test_meta_gets_edits_and_deletions_as_messages_and_nothing_of_ours() -> None:
    edit = {"type": "text", "text": {"body": "new"}, "message_type": "message_edit", "context": {"id": "wamid.0"}}
    revoke = {"kind": "revoke", "target_id": "3EB0", "target_from_me": False}
    deleted = {"id": "3EB0AB", "chat": CHAT, "sender": CHAT, "timestamp_ms": 7_000, "content": revoke}
    picture = message("meta", type="image", image={**FILE, "view_once": True})

    edited = message("meta", **edit)
    (job,) = of_phone(deleted)
    body = json.loads(body_for(make_webhook(profile="meta"), job) or "")  # type: ignore[arg-type]
    value = body["entry"][0]["changes"][0]["value"]
    (revoked,) = value["messages"]

    assert edited["type"] == "edit"
    assert edited["edit"] == {"original_message_id": "wamid.0", "message": {"type": "text", "text": {"body": "new"}}}
    assert {"message_type", "context", "text"} & edited.keys() == set()
    assert (revoked["type"], revoked["from"]) == ("revoke", CONTACT)
    assert revoked["revoke"] == {"original_message_id": "3EB0"}
    assert value["contacts"][0]["profile"]["name"] == CHAT["push_name"]  # receivers call the contact so
    assert {"filename", "view_once"} & picture["image"].keys() == set()
    assert shaped("meta", make_status("deleted")) is None


@pytest.mark.parametrize(
    ("named", "writer"),
    [
        ({"type": "system", "system": {"type": "user_changed_user_id", "user_id": "BR.222"}}, "BR.222"),
        ({"type": "text", "text": {"body": "oi"}, "from_parent_user_id": "BR.ENT.1"}, "BR.ENT.1"),
        ({"type": "text", "text": {"body": "oi"}, "from_user_id": "BR.111"}, "BR.111"),
    ],
)
def test_typebot_never_answers_to_the_number_itself_in_the_place_of_a_user(named: dict[str, Any], writer: str) -> None:
    (event,) = split(PHONE, [Change({"messages": [{"id": "wamid.A", "timestamp": "7", **named}]})])

    change = shaped("typebot", event) or {}

    assert change["value"]["messages"][0]["from"] == writer


def test_typebot_gets_no_news_of_the_connection_which_it_would_answer_to_the_number_itself() -> None:
    notice = {"from": PHONE, "id": "UNO.NOT.A", "timestamp": "7", "type": "text", "text": {"body": "Connected."}}
    call = {**notice, "from": CONTACT, "id": "UNO.CALL.A"}
    told, called = (split(PHONE, [Change({"messages": [one]})])[0] for one in (notice, call))

    assert shaped("typebot", told) is None
    assert shaped("chatwoot", told) is not None
    assert shaped("typebot", called) is not None


def test_meta_gets_no_status_post_of_the_number_either() -> None:
    post = {
        "from": PHONE,
        "to": "status@broadcast",
        "id": "3EB0",
        "timestamp": "7",
        "type": "text",
        "text": {"body": "x"},
    }

    (event,) = split(PHONE, [Change({"message_echoes": [post]}, field="smb_message_echoes")])

    assert shaped("meta", event) is None
    assert shaped("meta", make_echo()) is not None


def test_meta_gets_the_deletion_of_what_could_not_be_read_by_the_id_that_was_told() -> None:
    deleted = {"id": "UNO.UND.1", "status": "deleted", "timestamp": "7", "recipient_id": CONTACT}

    change = shaped("meta", split(PHONE, [Change({"statuses": [deleted]})])[0]) or {}

    assert change["value"]["messages"][0]["revoke"] == {"original_message_id": "UNO.UND.1"}


@pytest.mark.parametrize(
    ("chat", "group_id"),
    [({"jid": "111@lid", "kind": "user", "lid": "111@lid"}, None), ({"jid": GROUP, "kind": "group"}, GROUP)],
)
def test_field_report_2_a_deletion_by_somebody_without_a_phone_names_who_it_was(
    chat: dict[str, Any], group_id: str | None
) -> None:
    writer = {"jid": "111@lid", "kind": "user", "lid": "111@lid"}
    revoke = {"kind": "revoke", "target_id": "3EB0", "target_from_me": False}

    (job,) = of_phone({"id": "3EB0AB", "chat": chat, "sender": writer, "timestamp_ms": 7_000, "content": revoke})
    body = json.loads(body_for(make_webhook(profile="meta"), job) or "")  # type: ignore[arg-type]

    (revoked,) = body["entry"][0]["changes"][0]["value"]["messages"]
    assert (revoked["from"], revoked["from_user_id"], revoked.get("group_id")) == ("", "111@lid", group_id)


def test_unoapi_names_a_number_at_meta_by_its_phone_as_the_node_version_does() -> None:
    session = make_session(provider="forwarder", webhook_forward={"phoneNumberId": "1001", "businessAccountId": "2001"})
    job = to_fan_out(make_event(), phone=PHONE, sessions=MemorySessions(session))

    bodies = [json.loads(body_for(make_webhook(profile=profile), job) or "") for profile in ("", "unoapi")]

    named = [body["entry"][0]["changes"][0]["value"]["metadata"]["phone_number_id"] for body in bodies]
    assert named == ["1001", PHONE]


def test_unoapi_gets_the_form_of_the_node_version() -> None:
    value = (shaped("unoapi", make_event(type="image", image=FILE)) or {})["value"]
    status = (shaped("unoapi", make_status()) or {})["value"]["statuses"][0]
    item = {
        "timestamp": "7",
        "group_id": GROUP,
        "type": "group_participants_add",
        "added_participants": [{"wa_id": "1"}],
    }
    renamed = {"timestamp": "7", "group_id": GROUP, "group_subject": {"text": "A"}, "locked": {"enabled": True}}
    made = {"timestamp": "7", "group_id": GROUP, "type": "group_create", "subject": "A"}
    groups = [
        (shaped("unoapi", split(PHONE, [Change({"groups": [one]}, field=field)])[0]) or {})["value"]
        for field, one in (
            ("group_participants_update", item), ("group_settings_update", renamed), ("group_lifecycle_update", made),
        )
    ]  # fmt: skip

    assert (value["statuses"], value["errors"]) == ([], [])
    assert value["messages"][0]["image"]["id"] == f"{PHONE}/{FILE['id']}"
    assert status["conversation"] == {"id": CONTACT}
    assert (groups[0]["action"], groups[0]["participants"]) == ("add", [{"wa_id": "1"}])
    assert groups[1]["changes"] == {"subject": "A", "locked": True}
    assert (groups[2]["event"], groups[2]["group_id"]) == ("created", GROUP)


def test_chatwoot_shows_as_text_what_it_would_drop() -> None:
    error = {"code": 131052, "title": "x", "error_data": {"details": "not here"}}
    lost = message("chatwoot", type="document", document={"filename": "a.pdf", "caption": "bill"}, errors=[error])
    unsupported = message("chatwoot", type="unsupported", errors=[error])
    reaction = message("chatwoot", type="reaction", reaction={"message_id": "wamid.0", "emoji": "x"})

    assert (lost["type"], lost["text"]["body"]) == ("text", "a.pdf\nbill\nnot here")
    assert unsupported["text"]["body"] == "not here"
    assert (reaction["text"]["body"], reaction["context"]["id"]) == ("x", "wamid.0")
    assert shaped("chatwoot", make_status("deleted")) is None
    assert shaped("chatwoot", make_event(type="reaction", reaction={"message_id": "1", "emoji": ""})) is None


@pytest.mark.parametrize("profile", ["chatwoot", "typebot"])
@pytest.mark.parametrize(
    "new", [{"type": "text", "text": {"body": "now"}}, {"type": "image", "image": {"id": "1", "caption": "now"}}]
)
def test_an_edit_of_metas_is_told_by_what_it_says_now(profile: str, new: dict[str, Any]) -> None:
    error = {"code": 131052, "title": "x", "error_data": {"details": "not here"}}

    told = message(
        profile, type="edit", edit={"original_message_id": "wamid.0", "message": new}, text=None, errors=[error]
    )

    assert (told["type"], told["text"]) == ("text", {"body": "now"})
    assert told["context"] == {"message_id": "wamid.0", "id": "wamid.0"}
    assert {"edit", "errors"}.isdisjoint(told)


def test_chatwoot_takes_no_old_message_for_a_new_one() -> None:
    old = replace(make_event(type="image", image={"id": "1"}), change_field="history")

    assert shaped("chatwoot", old) is None
    assert shaped("meta", old) is not None


@pytest.mark.parametrize("profile", ["chatwoot", "meta", "typebot"])
@pytest.mark.parametrize(("phone", "user_id"), [(CONTACT, CONTACT), ("", "111@lid")])
def test_who_has_a_phone_is_named_by_it_alone_where_a_lid_would_be_somebody_else(
    profile: str, phone: str, user_id: str
) -> None:
    person = {"jid": "111@lid", "kind": "user", "lid": "111@lid", "phone": phone}
    content = {"kind": "text", "body": "oi"}
    (written,) = of_phone({"id": "3EB0", "chat": person, "sender": person, "timestamp_ms": 1000, "content": content})
    (read,) = of_phone({"status": "read", "ids": ["3EB0"], "chat": person, "timestamp": 1}, "receipt")

    bodies = [body_for(make_webhook(profile=profile), job) or "{}" for job in (written, read)]  # type: ignore[arg-type]

    values = [json.loads(body)["entry"][0]["changes"][0]["value"] for body in bodies]
    assert [value["contacts"][0]["user_id"] for value in values] == [user_id, user_id]
    assert ("@lid" in bodies[0] + bodies[1]) == (not phone)


def test_chatwoot_gets_no_empty_message_for_what_only_meta_tells() -> None:
    items = [{"product_retailer_id": "P1", "quantity": 2, "item_price": 10.5, "currency": "BRL"}]

    order = message("chatwoot", type="order", order={"text": "please", "product_items": items})
    notice = message("chatwoot", type="system", system={"body": "Ana has another number"})

    assert order["text"] == {"body": "please\n2 x P1 (BRL 10.5)"}
    assert message("typebot", type="order", order={"product_items": items})["text"] == {"body": "2 x P1 (BRL 10.5)"}
    assert notice["text"] == {"body": "Ana has another number"}
    for kind in ("revoke", "pin", "request_welcome", "media_placeholder"):
        assert shaped("chatwoot", make_event(type=kind)) is None


def test_chatwoot_gets_what_the_number_wrote_elsewhere_in_the_forms_that_it_shows() -> None:
    new = {"type": "text", "text": {"body": "now"}}
    edited = echo(type="edit", edit={"original_message_id": "wamid.0", "message": new}, text=None)
    thumb = echo(type="reaction", reaction={"message_id": "wamid.0", "emoji": "👍"}, text=None)
    unreadable = echo(type="unsupported", errors=[{"code": 131051, "error_data": {"details": "A message."}}], text=None)

    assert (edited["type"], edited["text"], edited["context"]["id"]) == ("text", {"body": "now"}, "wamid.0")
    assert (thumb["text"], thumb["context"]["id"]) == ({"body": "👍"}, "wamid.0")
    assert unreadable["text"] == {"body": "A message."}
    for kind in ("revoke", "media_placeholder"):
        assert shaped("chatwoot", make_echo(type=kind)) is None


def test_typebot_gets_no_field_that_it_refuses() -> None:
    file = message("typebot", type="image", image={**FILE, "caption": None})
    form = {"type": "nfm_reply", "nfm_reply": {"body": "Sent", "response_json": '{"a": 1}'}}
    filled = message("typebot", type="interactive", interactive=form)
    failed = (shaped("typebot", make_status("failed", error={"code": 1, "title": "x"})) or {})["value"]["statuses"][0]

    assert file["image"] == {"id": FILE["id"], "mime_type": "image/jpeg"}
    assert filled["text"]["body"] == 'Sent\n{"a": 1}'
    assert failed["errors"][0]["error_data"] == {"details": "x"}
    assert shaped("typebot", make_event(type="order", order={})) is None
    assert shaped("typebot", split(PHONE, [Change({"groups": [{}]}, field="group_lifecycle_update")])[0]) is None


def test_each_webhook_gets_its_form_and_the_trace_names_what_was_filtered() -> None:
    webhooks = (make_webhook(id="plain"), make_webhook(id="bot", profile="typebot"))
    session = make_session(*webhooks)
    job = make_fan_out(make_event(type="order", order={}), webhook_ids=["plain", "bot"])

    fanned = fan_out(job, sessions=MemorySessions(session), max_age_s=10**9)

    assert [delivery.webhook_id for delivery in fanned.deliveries] == ["plain"]
    assert fanned.filters == {"bot": "profile"}


@pytest.mark.parametrize(
    ("stored", "profile"),
    [
        ({}, ""), ({"profile": None}, ""), ({"profile": "meta"}, "meta"), ({"typebot": True}, "typebot"),
        ({"typebot": False}, ""), ({"typebot": True, "profile": "meta"}, "meta"),
    ],
)  # fmt: skip
def test_the_flag_of_the_fork_is_a_profile(stored: dict[str, Any], profile: str) -> None:
    assert Webhook.model_validate({"url": "http://r.test", **stored}).profile == profile


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(ValueError, match="profile"):
        Session.model_validate({"phone": PHONE, "webhooks": [{"url": "http://r.test", "profile": "x"}]})
