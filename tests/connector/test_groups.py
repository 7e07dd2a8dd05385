"""Groups, pictures, blocks and the own profile of a phone: over the API, through the connector, to the webhook."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from tests.connector.pocket import Pocket
from tests.support.api import MemoryApi
from tests.support.fakes import CONTACT, GROUP, PHONE, make_session, make_webhook
from tests.support.stack import OPERATOR
from tests.support.worker import make_uno
from unoapi.connector.convert.events import convert_event
from unoapi.connector.engines.simulated import lid_of
from unoapi.connector.engines.simulated_groups import PRIVATE
from unoapi.connector.engines.whatsmeow_errors import classify_question_error
from unoapi.connector.schemas import schemas
from unoapi.errors import EngineUnavailable, NobodyAnswers, QuestionRefused
from unoapi.models.cloud_api.event_catalogue import catalogue, name_of
from unoapi.models.cloud_api.event_content import EventContent
from unoapi.models.connector.events import GroupChange
from unoapi.models.connector.rpc import RPC_METHODS
from unoapi.providers.whatsmeow.group_events import group_events
from unoapi.services import groups
from unoapi.services.filters import refusal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ANA, BIA = CONTACT, "5511988880002"
GROUPS = f"/v21.0/{PHONE}/groups"


@pytest.fixture
def phone(tmp_path: Path) -> Pocket:
    return Pocket(tmp_path)


@pytest.fixture
def api(phone: Pocket) -> Iterator[MemoryApi]:
    """The API of this phone, and of a number in the sandbox."""
    sandbox = make_session(provider="sandbox").model_copy(update={"phone": BIA})
    uno = make_uno(phone.session, sandbox, settings={"UNOAPI_AUTH_TOKEN": OPERATOR})
    running = MemoryApi(_with(uno, phone))
    yield running
    running.close()


def _with(uno: Any, phone: Pocket) -> Any:
    from dataclasses import replace  # noqa: PLC0415 (only here)

    return replace(uno, providers={**uno.providers, "whatsmeow": phone.provider}, connector_commands=phone)


def changes(phone: Pocket) -> list[dict[str, Any]]:
    """What a webhook got about groups, in order."""
    return [item for value in phone.events for item in value.get("groups", [])]


def new_group(api: MemoryApi) -> str:
    return str(api.post(GROUPS, {"subject": "Orders", "participants": [ANA]}).json()["id"])


def test_a_group_is_made_listed_and_shown_with_its_members(api: MemoryApi, phone: Pocket) -> None:
    body = {"subject": "Orders", "description": "Of today", "participants": [ANA, {"wa_id": PRIVATE}]}

    made = api.post(GROUPS, body)

    group = made.json()
    assert made.ok
    assert group["invite_link"].startswith("https://chat.whatsapp.com/")
    by_phone = {person["wa_id"]: person["status"] for person in group["participants"]}
    assert by_phone == {PHONE: "added", ANA: "added", PRIVATE: "failed"}
    (listed,) = api.get(GROUPS).json()["groups"]
    assert (listed["id"], listed["subject"], listed["total_participant_count"]) == (group["id"], "Orders", 2)
    shown = api.get(f"{GROUPS}/{group['id'].partition('@')[0]}").json()
    assert shown["description"] == "Of today"
    assert api.get(f"{GROUPS}/{group['id'].partition('@')[0]}-group").json() == shown  # as another gateway writes it
    roles = {person["wa_id"]: person["role"] for person in shown["participants"]}
    assert roles == {PHONE: "owner", ANA: "member"}
    created, described = changes(phone)
    assert (created["type"], created["group_id"], created["subject"]) == ("group_create", group["id"], "Orders")
    assert described["group_description"] == {"text": "Of today", "update_successful": True}


@pytest.mark.parametrize(("method", "described"), [("change", ""), ("invite_link", "Of today")])
def test_a_group_that_is_there_is_told_though_its_description_or_link_fails(
    api: MemoryApi, phone: Pocket, monkeypatch: pytest.MonkeyPatch, method: str, described: str
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise QuestionRefused("WhatsApp answers that this was asked too often: wait some minutes", code=130429)

    monkeypatch.setattr(phone.engine.groups, method, refuse)

    made = api.post(GROUPS, {"subject": "Orders", "description": "Of today", "participants": [ANA]})

    (listed,) = api.get(GROUPS).json()["groups"]
    assert (made.status_code, made.json()["id"], made.json()["description"]) == (200, listed["id"], described)
    (warning,) = made.json()["warnings"]
    assert warning.startswith("invite_link: " if described else "description: ")
    assert "too often" in warning


@pytest.mark.parametrize(
    ("last", "missing"), [("group.invite", ["invite_link", "description"]), ("group.change", ["description"])]
)
def test_a_phone_that_goes_away_when_its_new_group_is_there_is_asked_no_more(last: str, missing: list[str]) -> None:
    """Each question waits for a while: a client that has gone by then would make a second group."""
    asked = list[str]()

    def ask(method: str, _: dict[str, Any]) -> dict[str, Any]:
        asked.append(method)
        if method == last:
            raise NobodyAnswers("nobody answers")
        return {"jid": GROUP, "subject": "Orders", "link": "https://chat.whatsapp.com/A"}

    made = groups.create(ask, subject="Orders", members=[], description="Of today")

    assert asked[-1] == last
    assert [warning.partition(":")[0] for warning in made["warnings"]] == missing


@pytest.mark.parametrize("body", [{}, {"participants": []}])
def test_a_group_may_begin_with_its_link_alone_as_those_at_meta_do(api: MemoryApi, body: dict[str, Any]) -> None:
    made = api.post(GROUPS, {"subject": "Orders", **body})

    assert made.ok, made.text
    assert [person["wa_id"] for person in made.json()["participants"]] == [PHONE]


def test_settings_members_and_the_link_of_a_group_change_and_webhooks_hear_of_it(api: MemoryApi, phone: Pocket) -> None:
    group = new_group(api)
    phone.files["https://pictures.test/a.jpg"] = ({}, b"\xff\xd8\xff picture")
    phone.events.clear()

    settings = {"subject": "Orders 2", "locked": True, "picture": {"url": "https://pictures.test/a.jpg"}}
    changed = api.post(f"{GROUPS}/{group}", settings)
    added = api.post(f"{GROUPS}/{group}/participants", {"participants": [{"user": f"+{BIA}"}, PRIVATE]})
    promoted = api.post(f"{GROUPS}/{group}/participants", {"participants": [BIA], "role": "admin"})
    removed = api.request("DELETE", f"{GROUPS}/{group}/participants", json={"participants": [BIA]})
    before = api.get(f"{GROUPS}/{group}/invite_link").json()["invite_link"]
    reset = api.post(f"{GROUPS}/{group}/invite_link").json()

    assert changed.json() == {"id": group, "subject": "Orders 2", "locked": True, "updated": True}
    assert added.json()["added"] == [{"wa_id": BIA}]
    assert added.json()["failed"] == [{"wa_id": PRIVATE, "error": {"code": 403}}]
    assert promoted.json()["promoted"] == removed.json()["removed"] == [{"wa_id": BIA}]
    assert (reset["reset"], reset["invite_link"] == before) == (True, False)
    told = changes(phone)
    assert [item["type"] for item in told] == [
        "group_settings_update", "group_participants_add", "group_participants_promote", "group_participants_remove",
        "group_settings_update",
    ]  # fmt: skip
    assert told[0]["group_subject"] == {"text": "Orders 2", "update_successful": True}
    assert told[0]["profile_picture"] == {"update_successful": True}
    assert told[0]["locked"] == {"enabled": True, "update_successful": True}
    assert told[1]["added_participants"] == told[3]["removed_participants"] == [{"wa_id": BIA}]
    assert told[3]["initiated_by"] == "business"
    assert all(item["changed_by"] == {"wa_id": PHONE} for item in told)


def test_wishes_to_join_are_listed_and_decided_and_a_group_is_left(api: MemoryApi, phone: Pocket) -> None:
    group = new_group(api)
    file = phone.engine.groups._file
    stored = json.loads(file.read_text())
    stored[group]["wishes"] = [{"jid": f"{BIA}@s.whatsapp.net", "phone": BIA, "requested_at": 1_795_600_000}]
    file.write_text(json.dumps(stored))

    (wish,) = api.get(f"{GROUPS}/{group}/join_requests").json()["join_requests"]
    approved = api.post(f"{GROUPS}/{group}/join_requests", {"join_requests": [wish["join_request_id"]]})
    left = api.request("DELETE", f"{GROUPS}/{group}")

    assert (wish["wa_id"], wish["requested_at"]) == (BIA, "1795600000")
    assert approved.json()["approved"] == [{"wa_id": BIA}]
    assert left.json() == {"group_id": group, "deleted": True}
    gone = changes(phone)[-1]
    assert (gone["removed_participants"], gone["initiated_by"]) == ([{"wa_id": PHONE}], "participant")
    assert api.get(f"{GROUPS}/{group}").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "", {"participants": [ANA]}, 400),
        ("POST", "", {"subject": "x" * 101, "participants": [ANA]}, 400),
        ("POST", "", {"subject": "x", "participants": [""]}, 400),
        ("POST", "", {"subject": "x", "participants": ["nobody"]}, 400),
        ("POST", "", {"subject": "x", "participants": [GROUP]}, 400),
        ("POST", "", {"subject": "x", "participants": ["BR.123"]}, 400),
        ("POST", "", {"subject": "x", "participants": [ANA] * 257}, 400),
        ("POST", "", {"subject": "x", "participants": [{}]}, 400),
        ("POST", "", {"subject": "x", "participants": [ANA], "join_approval_mode": "approval_required"}, 501),
        ("POST", f"/{GROUP}", {}, 400),
        ("POST", f"/{GROUP}", {"subject": ""}, 400),
        ("POST", f"/{GROUP}", {"picture": {"id": "3141"}}, 400),
        ("POST", f"/{GROUP}", {"picture": {"url": "http://127.0.0.1/x.jpg"}}, 400),
        ("POST", f"/{GROUP}", {"subject": "y"}, 404),
        ("POST", f"/{GROUP}/participants", {"participants": [ANA], "role": "king"}, 400),
        ("POST", f"/{GROUP}/participants", {"participants": []}, 400),
        ("GET", "/nonsense", None, 400),
        ("GET", f"/{ANA}@s.whatsapp.net", None, 400),
        ("GET", f"/{GROUP}/participants", None, 404),
        ("PATCH", "", {"subject": "x"}, 405),
        ("DELETE", "", None, 405),
    ],
)
def test_what_cannot_be_done_to_a_group_is_answered_with_the_reason(
    api: MemoryApi, method: str, path: str, body: Any, status: int
) -> None:
    answer = api.request(method, f"{GROUPS}{path}", **({} if body is None else {"json": body}))

    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["error_data"]["details"]


def test_a_phone_that_is_away_is_said_to_be_and_others_have_no_groups(api: MemoryApi, phone: Pocket) -> None:
    phone.engine._connected = False

    away, sandbox = api.get(GROUPS), api.get(f"/v21.0/{BIA}/groups")

    assert (away.status_code, away.json()["error"]["code"]) == (503, 131016)
    assert "not connected" in away.json()["error"]["error_data"]["details"]
    assert sandbox.status_code == 501
    assert api.get(GROUPS, token="wrong").status_code == 401


@pytest.mark.parametrize("data", ["no object", {"groups": "x"}, {"groups": [{"jid": [5]}]}, None])
def test_an_answer_of_another_form_is_no_answer(api: MemoryApi, phone: Pocket, data: Any) -> None:
    phone.provider._rpc = type("Strange", (), {"ask": lambda *_, **__: data})()

    assert api.get(GROUPS).status_code == 503


def test_questions_answers_and_changes_of_groups_fit_the_contract(api: MemoryApi, phone: Pocket) -> None:
    files = {name: json.loads(text) for name, text in schemas().items()}
    asked: list[str] = []
    ask = phone.ask

    def checked(phone: str, method: str, data: dict[str, Any], *, timeout_s: float) -> dict[str, Any]:
        jsonschema.validate(data, files[f"rpc.{method}.schema.json"])
        reply = ask(phone, method, data, timeout_s=timeout_s)
        jsonschema.validate(reply, files[f"rpc.{method}.reply.schema.json"])
        asked.append(method)
        return reply

    phone.ask = checked  # type: ignore[method-assign]
    group = new_group(api)
    api.post(f"{GROUPS}/{group}", {"description": ""})
    api.post(f"{GROUPS}/{group}/participants", {"participants": [BIA]})
    api.get(f"{GROUPS}/{group}/join_requests")
    api.post(f"{GROUPS}/{group}/join_requests", {"participants": [BIA]})
    api.get(GROUPS)
    api.get(f"{GROUPS}/{group}")
    api.request("DELETE", f"{GROUPS}/{group}")

    assert {name for name in RPC_METHODS if name.startswith("group.")} == {*asked}


# --- changes that WhatsApp reports ---


def party(phone: str) -> dict[str, Any]:
    return {"jid": f"{phone}@s.whatsapp.net", "kind": "user", "phone": phone}


GROUP_PARTY = {"jid": GROUP, "kind": "group"}


def test_who_left_and_who_was_removed_is_told_by_lid_and_phone(tmp_path: Path) -> None:
    phone = Pocket(tmp_path, modes=["lids"])

    phone.reports("group", group=GROUP_PARTY, by=party(ANA), timestamp=7, removed=[party(ANA)])
    phone.reports("group", group=GROUP_PARTY, by=party(BIA), timestamp=8, removed=[party(ANA)], demoted=[party(BIA)])

    left, removed, demoted = changes(phone)
    assert left["removed_participants"] == [{"wa_id": ANA, "user_id": lid_of(ANA)}]
    assert (left["initiated_by"], removed["initiated_by"]) == ("participant", "admin")
    assert demoted["demoted_participants"] == [{"wa_id": BIA, "user_id": lid_of(BIA)}]
    assert (left["timestamp"], left["group_id"]) == ("7", GROUP)


def test_who_the_number_removed_was_removed_by_the_business_however_whatsapp_writes_it() -> None:
    session = make_session(ignoreGroupMessages=False).model_copy(update={"phone": "525512345678"})
    change = {"group": GROUP_PARTY, "by": party("5215512345678"), "timestamp": 7, "removed": [party(ANA)]}

    (event,) = group_events(GroupChange.model_validate(change), session=session)

    assert event.value["groups"][0]["initiated_by"] == "business"


def test_who_left_is_known_by_the_phone_or_the_lid() -> None:
    session = make_session(ignoreGroupMessages=False)
    by_lid = {"jid": "777@lid", "kind": "user", "lid": "777@lid", "phone": ANA}
    change = {"group": GROUP_PARTY, "by": by_lid, "timestamp": 7, "removed": [party(ANA)]}

    (event,) = group_events(GroupChange.model_validate(change), session=session)

    assert event.value["groups"][0]["initiated_by"] == "participant"


def test_who_changed_a_group_is_named_by_the_phone_that_the_library_says() -> None:
    names = {"Sender": {"User": "777", "Server": "lid"}, "SenderPN": {"User": ANA, "Server": "s.whatsapp.net"}}
    group = {"User": GROUP.partition("@")[0], "Server": "g.us"}

    (event,) = convert_event("GroupInfo", {"JID": group, **names, "Timestamp": 7, "Name": {"Name": "Orders"}})

    assert (event.data["by"]["phone"], event.data["by"]["lid"]) == (ANA, "777@lid")


def test_a_group_that_the_number_was_added_to_and_one_that_is_deleted_are_told(phone: Pocket) -> None:
    phone.reports("group", group=GROUP_PARTY, joined=True, subject="Orders", reason="invite")
    phone.reports("group", group=GROUP_PARTY, deleted=True)

    joined, deleted = changes(phone)
    assert (joined["type"], joined["added_participants"], joined["reason"]) == (
        "group_participants_add", [{"wa_id": PHONE}], "invite",
    )  # fmt: skip
    assert deleted["type"] == "group_delete"


def test_changes_of_groups_pass_the_filters_of_groups(tmp_path: Path) -> None:
    ignoring = Pocket(tmp_path, ignoreGroupMessages=True)
    ignoring.reports("group", group=GROUP_PARTY, subject="x")
    telling = Pocket(tmp_path / "other")
    telling.reports("group", group=GROUP_PARTY, subject="x")
    (value,) = telling.events
    traits = EventContent("group_settings_update", value, "group_settings_update").traits(PHONE)

    assert ignoring.events == []
    assert refusal(make_webhook(sendGroupMessages=False), traits) == "sendGroupMessages"
    assert refusal(make_webhook(), traits) == ""


@pytest.mark.parametrize("name", ["group_lifecycle_update", "group_settings_update", "group_participants_update"])
def test_the_catalogue_of_events_has_the_changes_of_groups(name: str) -> None:
    (entry,) = [entry for entry in catalogue() if entry.name == name]

    jsonschema.validate(entry.example, entry.body_schema)
    assert name_of(entry.example) == name


# --- names and pictures beside messages ---


def contact_of(phone: Pocket) -> dict[str, Any]:
    return dict(phone.events[-1]["contacts"][0])


def test_messages_of_a_group_have_its_subject_and_follow_its_changes(api: MemoryApi, phone: Pocket) -> None:
    group = new_group(api)
    chat = {"jid": group, "kind": "group"}

    phone.receives({"kind": "text", "body": "oi"}, chat=chat, sender=party(ANA))
    before = contact_of(phone)
    api.post(f"{GROUPS}/{group}", {"subject": "Orders 2"})
    phone.receives({"kind": "text", "body": "oi"}, "3EB0AB", chat=chat, sender=party(ANA))

    assert (before["group_id"], before["group_subject"]) == (group, "Orders")
    assert contact_of(phone)["group_subject"] == "Orders 2"


def test_messages_of_a_channel_have_its_name(phone: Pocket) -> None:
    channel = {"jid": "120363144@newsletter", "kind": "newsletter"}

    phone.receives({"kind": "text", "body": "news"}, chat=channel, sender=channel)

    assert contact_of(phone)["group_subject"] == "Channel 120363144"


@pytest.mark.parametrize("wanted", [True, False])
def test_pictures_of_contacts_and_groups_come_only_when_the_session_wants_them(tmp_path: Path, wanted: bool) -> None:
    phone = Pocket(tmp_path, sendProfilePicture=wanted)
    jid = party(ANA)["jid"]
    phone.engine._pictures.write_text(json.dumps({jid: "https://p.test/ana", GROUP: "https://p.test/group"}))

    phone.receives({"kind": "text", "body": "oi"}, chat=party(ANA), sender=party(ANA))
    alone = contact_of(phone)
    phone.receives({"kind": "text", "body": "oi"}, "3EB0AB", chat=GROUP_PARTY, sender=party(ANA))

    assert alone["profile"].get("picture") == ((wanted and "https://p.test/ana") or None)
    assert contact_of(phone).get("group_picture") == ((wanted and "https://p.test/group") or None)
    assert contact_of(phone)["profile"].get("picture") == alone["profile"].get("picture")


def test_a_name_that_cannot_be_found_costs_no_message(phone: Pocket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an error nor a library that hangs: the second message does not even wait."""
    import threading  # noqa: PLC0415 (only here)

    from unoapi.connector import chat_names  # noqa: PLC0415

    stuck = threading.Event()
    monkeypatch.setattr(chat_names, "WAIT_S", 0.05)
    monkeypatch.setattr(phone.engine.groups, "find", lambda _: stuck.wait(5))

    first = phone.receives({"kind": "text", "body": "1"}, chat=GROUP_PARTY, sender=party(ANA))
    monkeypatch.setattr(chat_names, "WAIT_S", 60.0)
    second = phone.receives({"kind": "text", "body": "2"}, "3EB0AB", chat=GROUP_PARTY, sender=party(ANA))
    stuck.set()

    assert (first["text"]["body"], second["text"]["body"]) == ("1", "2")
    assert "group_subject" not in contact_of(phone)


# --- mentions ---


def test_a_mention_in_a_group_that_knows_its_members_by_lids_rings_by_the_lid(phone: Pocket) -> None:
    members = [
        {"jid": lid_of(ANA), "phone": ANA, "lid": lid_of(ANA)}, {"jid": f"{BIA}@s.whatsapp.net", "phone": BIA},
    ]  # fmt: skip
    phone.engine.groups._write({GROUP: {"jid": GROUP, "subject": "Orders", "members": members}})

    sent = phone.send(to=GROUP, type="text", text={"body": f"@{ANA} and @{BIA}, please"})["extendedTextMessage"]

    assert sent["contextInfo"]["mentionedJID"] == [lid_of(ANA), f"{BIA}@s.whatsapp.net"]
    assert sent["text"] == f"@{lid_of(ANA).partition('@')[0]} and @{BIA}, please"


def test_a_mention_in_a_group_that_cannot_be_asked_rings_by_the_phone(phone: Pocket) -> None:
    sent = phone.send(to=GROUP, type="text", text={"body": f"@{ANA}, please"})["extendedTextMessage"]

    assert sent["contextInfo"]["mentionedJID"] == [f"{ANA}@s.whatsapp.net"]


@pytest.mark.parametrize("picture", [False, True], ids=["text", "caption"])
def test_a_mention_in_an_edit_rings_as_in_the_message(phone: Pocket, *, picture: bool) -> None:
    phone.engine.groups._write({GROUP: {"jid": GROUP, "subject": "Orders", "members": [
        {"jid": lid_of(ANA), "phone": ANA, "lid": lid_of(ANA)},
    ]}})  # fmt: skip
    first: dict[str, Any] = {"type": "text", "text": {"body": "hi"}}
    if picture:
        first = {"type": "image", "image": {"link": "https://h.test/a.jpg", "caption": "hi"}}
    phone.send("wamid.1", to=GROUP, **first)

    def edited(message_id: str, text: str) -> Any:
        left = phone.send(
            message_id, to=GROUP, type="message_edit", context={"message_id": "wamid.1"}, text={"body": text}
        )
        return left["editedMessage"]["message"]["protocolMessage"]["editedMessage"]

    field, words = ("imageMessage", "caption") if picture else ("extendedTextMessage", "text")
    one, everybody = edited("wamid.2", f"hi @{ANA}")[field], edited("wamid.3", "hi @todos")[field]

    assert one[words] == f"hi @{lid_of(ANA).partition('@')[0]}"
    assert one["contextInfo"] == {"mentionedJID": [lid_of(ANA)]}
    assert (everybody[words], everybody["contextInfo"]) == ("hi", {"nonJIDMentions": 1})
    assert edited("wamid.4", "hi") == ({field: {words: "hi"}} if picture else {"conversation": "hi"})


# --- blocking, own profile ---


def test_a_blocked_user_is_blocked_in_whatsapp_too(api: MemoryApi, phone: Pocket) -> None:
    path = f"/v21.0/{PHONE}/block_users"
    users = [{"user": ANA}, {"user_id": "777@lid"}, {"user_id": "BR.123"}]

    blocked = api.post(path, {"messaging_product": "whatsapp", "block_users": users})
    api.request("DELETE", path, json={"messaging_product": "whatsapp", "block_users": users[:1]})

    assert blocked.status_code in (200, 503), blocked.text  # Redis is away here: the phone has blocked all the same
    written = [(line["contact"], line["blocked"]) for line in phone.written() if "blocked" in line]
    assert written == [(f"{ANA}@s.whatsapp.net", True), ("777@lid", True), (f"{ANA}@s.whatsapp.net", False)]


def test_the_own_profile_is_shown_by_the_phone(api: MemoryApi, phone: Pocket) -> None:
    path = f"/v21.0/{PHONE}/whatsapp_business_profile"

    assert api.post(path, {"messaging_product": "whatsapp", "about": "Open until six"}).ok
    assert api.post(path, {"messaging_product": "whatsapp", "address": "Main Street 1"}).ok
    phone.provider.change_profile(PHONE, about=None, picture_id="3141")

    phone.files["3141"] = ({}, b"\xff\xd8\xff picture")
    phone.provider.change_profile(PHONE, about=None, picture_id="3141")

    written = [line for line in phone.written() if "about" in line]
    assert written == [{"about": "Open until six", "picture": 0}, {"about": None, "picture": 11}]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("info query returned status 404: item-not-found", 100),
        ("that group does not exist", 100),
        ("you're not participating in that group", 100),
        ("info query returned status 403: forbidden", 10),
        ("info query returned status 401: not-authorized", 10),
        ("info query returned status 429: rate-overlimit", 130429),
        ("info query returned status 406: not-acceptable", 131009),
    ],
)
def test_refusals_of_whatsapp_have_their_code(text: str, code: int) -> None:
    error = classify_question_error(Exception(text))

    assert isinstance(error, QuestionRefused)
    assert error.code == code


@pytest.mark.parametrize("text", ["info query timed out", "websocket not connected", "no LID for 5511940399404"])
def test_what_may_go_well_later_is_no_refusal(text: str) -> None:
    assert isinstance(classify_question_error(Exception(text)), EngineUnavailable)
