"""The cases of the Node version that pass the connector: messages, calls and filters, as executable facts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.compatibility.census import GROUPS, cases
from tests.connector.phones import CHAT
from tests.connector.raw import received
from tests.support.fakes import PHONE, MemoryChats, MemoryConnections, MemoryIds, MemorySessions, make_session
from unoapi.connector.convert.events import convert_event
from unoapi.connector.convert.inbound import content_of
from unoapi.connector.convert.outbound import media_of, message_of
from unoapi.errors import MessageRejected
from unoapi.models.cloud_api.messages import TYPING_S
from unoapi.models.cloud_api.messages import Command as MessageCommand
from unoapi.models.cloud_api.templates import DEFAULT_TEMPLATES
from unoapi.models.connector.commands import ConnectorCommand, Send
from unoapi.models.jobs import ReceiveEvent, SendMessage
from unoapi.models.message_keys import MessageKey
from unoapi.providers.whatsmeow.commands import commands_for
from unoapi.providers.whatsmeow.events import receive
from unoapi.providers.whatsmeow.provider import WhatsmeowProvider
from unoapi.services import templates
from unoapi.services.message_parsing import message_of as message_in
from unoapi.services.message_parsing import parse_message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unoapi.models.session import Session

CALLER = "5549988887777"
KINDS = {
    "conversation": "text",
    "imageMessage": "image",
    "viewOnceMessage": "protocol",  # an empty wrapper
    "messageContextInfo": "protocol",
}
EVERYTHING = {
    f"ignore{name}": False
    for name in (
        "GroupMessages", "NewsletterMessages", "BroadcastStatuses", "BroadcastMessages", "OwnMessages",
        "YourselfMessages",
    )
}  # fmt: skip


class CommandRecorder:
    """The connector's entry: the commands that were put there."""

    def __init__(self) -> None:
        self.commands: list[ConnectorCommand] = []

    def put(self, commands: Sequence[ConnectorCommand], *, then: Sequence[Any] = ()) -> None:  # noqa: ARG002 (the port's)
        self.commands.extend(commands)


def session_of(config: dict[str, Any]) -> Session:
    return make_session(**{**EVERYTHING, **config})


def job_of(kind: str, data: dict[str, Any]) -> ReceiveEvent:
    event = {"version": 1, "type": kind, "event_id": "e-1", "session": PHONE, "data": data}
    return ReceiveEvent(id="e-1", phone=PHONE, event=event, accepted_at_ms=1)


def values(kind: str, data: dict[str, Any], session: Session, **collaborators: Any) -> list[dict[str, Any]]:
    """The values of the events for the webhooks."""
    ids = collaborators.pop("ids", MemoryIds())
    jobs, _ = receive(job_of(kind, data), ids=ids, sessions=MemorySessions(session), **collaborators)
    return [json.loads(job.body)["entry"][0]["changes"][0]["value"] for job in jobs]


# --- messages to WhatsApp ---


def sent(payload: dict[str, Any], **config: Any) -> dict[str, Any]:
    """WhatsApp's message for a client's, as the protobuf's JSON."""
    session = make_session(**config)
    job = SendMessage(id="wamid.1", phone=PHONE, body=json.dumps({"to": CALLER, **payload}))
    message = templates.rendered(message_in(job), lambda: DEFAULT_TEMPLATES)
    (command,) = commands_for(message, message_id="wamid.1", session=session, keys=lambda _: None, until_ms=1)
    send = Send.model_validate(command.data)
    media = media_of(send)
    return message_of(send, to=f"{CALLER}@s.whatsapp.net", uploaded={"url": media.link} if media else None)


def flat(message: dict[str, Any]) -> dict[str, Any]:
    """Our message in the notation of the cases, with the fields that they compare."""
    ((name, part),) = message.items()
    if name in ("conversation", "extendedTextMessage"):
        everybody = isinstance(part, dict) and part["contextInfo"].get("nonJIDMentions")
        return {"text": part if isinstance(part, str) else part["text"]} | ({"mentionAll": True} if everybody else {})
    if name == "documentWithCaptionMessage":
        ((name, part),) = part["message"].items()
    media = name.removesuffix("Message")
    if media in ("image", "video", "audio", "document"):
        shown = {key: part[key] for key in ("mimetype", "caption", "fileName") if key in part}
        return {**shown, media: {"url": part["url"]}} | ({"ptt": True} if part.get("PTT") else {})
    if name == "listMessage":
        rows = [
            {**section, "rows": [{("rowId" if key == "rowID" else key): text for key, text in row.items()}
                                 for row in section["rows"]]}
            for section in part["sections"]
        ]  # fmt: skip
        return {"text": part["description"], "footer": part["footerText"], "title": part["title"],
                "buttonText": part["buttonText"], "sections": rows}  # fmt: skip
    if name == "buttonsMessage":
        buttons = [{"buttonId": button["buttonID"], "buttonText": button["buttonText"], "type": 1}
                   for button in part["buttons"]]  # fmt: skip
        header = flat({"imageMessage": part["imageMessage"]}) if "imageMessage" in part else {}
        return {"text": part["contentText"], "footer": part["footerText"], "buttons": buttons, **header}
    return message


def test_native_messages_are_compared_by_their_pieces() -> None:
    assert native({"interactiveMessage": {"body": {"text": "B"}, "nativeFlowMessage": {"buttons": []}}}) == {
        "body": "B", "buttons": []
    }  # fmt: skip


def native(message: dict[str, Any]) -> dict[str, Any]:
    part = message["interactiveMessage"]
    buttons = [
        (button["name"], json.loads(button.get("buttonParamsJSON") or button.get("buttonParamsJson")))
        for button in part["nativeFlowMessage"]["buttons"]
    ]
    pieces: dict[str, Any] = {"body": part["body"]["text"], "buttons": buttons}
    return pieces | ({"footer": part["footer"]["text"]} if part.get("footer") else {})


REFUSED = {"send_media_without_link", "send_interactive_empty_action"}
"""Reported to the client as an error, where the Node version sends something empty."""
INSTEAD: dict[str, Any] = {
    "send_image_no_ext": {"mimetype": "application/octet-stream", "image": {"url": "https://h/a"}},
    "send_carousel": {  # cards are words
        "text": "B\n\nhttps://h/c.jpg\nCard", "footer": "",
        "buttons": [{"buttonId": "c1", "buttonText": {"displayText": "Pick"}, "type": 1}],
    },
    "send_cta_url_meta": {"text": "B\n1. More: https://example.com"},  # a classic button opens no address
}  # fmt: skip


@cases("send_to_raw")
def test_a_clients_message_becomes_whatsapps(case: dict[str, Any]) -> None:
    payload = case["in"]["payload"]
    if case["id"] in REFUSED:
        with pytest.raises(MessageRejected):
            sent(payload)
    elif case["id"] == "send_reaction":  # the cases suggest to build it
        assert sent(payload)["reactionMessage"] == {
            "key": {"remoteJID": f"{CALLER}@s.whatsapp.net", "fromMe": False, "ID": "X"}, "text": "👍",
        }  # fmt: skip
    elif case["id"] == "send_template":
        with pytest.raises(MessageRejected):  # `hello` has a placeholder, and nothing is given for it
            sent(payload)
        parameters = [{"type": "body", "parameters": [{"type": "text", "text": "good morning"}]}]
        assert sent({**payload, "template": {"name": "hello", "components": parameters}}) == {
            "conversation": "good morning"
        }
    else:
        wanted = INSTEAD.get(case["id"]) or case.get("out") or case["out_upstream"]
        if case["id"].startswith("send_mention"):
            wanted = case["out_fork"]
        assert flat(sent(payload, interactive_mode="classic")) == wanted


@pytest.mark.parametrize(
    "case",
    [case for case in GROUPS["send_to_raw"]["cases"] if "nativeFlowMessage" in str(case.get("out_fork"))
     and case["id"] not in {*REFUSED, "send_carousel"}],
    ids=lambda case: str(case["id"]),
)  # fmt: skip
def test_buttons_are_native_when_the_session_says_so(case: dict[str, Any]) -> None:
    assert native(sent(case["in"]["payload"], interactive_mode="native")) == native(case["out_fork"])


@cases("send_to_raw_native")
def test_voice_notes_and_native_buttons(case: dict[str, Any]) -> None:
    payload = case["in"]["payload"]
    wanted = INSTEAD.get(case["id"].removesuffix("_native")) or case.get("out") or case["out_upstream"]
    if payload["type"] == "audio":  # SEND_AUDIO_MESSAGE_AS_PTT says so to the API, before the connector sees it
        payload = {**payload, "audio": {**payload["audio"], "voice": True}}
    message = sent(payload, interactive_mode="native")

    if "interactiveMessage" in message and "interactiveMessage" in wanted:
        ours, theirs = native(message), native(wanted)
        for _, parameters in theirs["buttons"]:
            if "copy_code" in parameters:
                parameters.pop("id")  # WhatsApp shows the same without it
        assert ours == theirs
    elif payload.get("interactive", {}).get("type") == "list":  # field report 32: classic lists are not shown
        (button,) = native(message)["buttons"]
        assert (button[0], button[1]["title"]) == ("single_select", payload["interactive"]["action"]["button"])
    elif "interactiveMessage" in message:
        assert native(message)["buttons"] == [("cta_url", {"display_text": "More", "url": "https://example.com"})]
    else:
        assert flat(message) == wanted


@pytest.mark.parametrize("named", [{}, {"button": ""}, {"button": None}])
def test_a_list_whose_client_names_no_button_opens_with_the_node_versions(named: dict[str, Any]) -> None:
    action = {"sections": [{"rows": [{"id": "1", "title": "A"}]}], **named}
    interactive = {"type": "list", "body": {"text": "b"}, "action": action}

    message = sent({"type": "interactive", "interactive": interactive}, interactive_mode="native")

    (button,) = native(message)["buttons"]
    assert button[1]["title"] == "Selecione"


def test_a_templates_picture_is_the_header_of_what_is_sent() -> None:
    header = {"type": "header", "parameters": [{"type": "image", "image": {"link": "https://h/a.jpg"}}]}
    body = {"type": "body", "parameters": [{"type": "text", "text": "look"}]}
    message = sent({"type": "template", "template": {"name": "hello", "components": [header, body]}})

    assert flat(message) == {"mimetype": "image/jpeg", "caption": "look", "image": {"url": "https://h/a.jpg"}}


# --- what a session ignores ---


@cases("filter_by_jid")
def test_a_chat_is_ignored_or_not(case: dict[str, Any]) -> None:
    ignored = session_of(case["in"]["config"]).ignores(chat=case["in"]["jid"], phone=PHONE, from_me=False)

    assert bool(ignored) is case["out"]


@cases("filter_by_key")
def test_a_message_is_ignored_or_not(case: dict[str, Any]) -> None:
    given, session = case["in"], session_of(case["in"]["config"])
    key, chat = given["key"], {"jid": case["in"]["key"]["remoteJid"]}
    if given["raw_message_type"] in ("update", "receipt"):
        got = values("receipt", {"status": "read", "ids": ["A"], "chat": chat}, session)
    else:
        content = {"kind": "text", "body": "hello"}
        data = {"id": "A", "chat": chat, "sender": chat, "from_me": key["fromMe"], "timestamp_ms": 1}
        got = values("message", {**data, "content": content}, session)

    assert (got == []) is case["out"]


# --- what is received ---


@cases("raw_message_type")
def test_the_type_of_a_raw_message_is_known(case: dict[str, Any]) -> None:
    wanted = KINDS.get(str(case["out"]), "protocol")

    assert content_of(case["in"]["payload"].get("message") or {})["kind"] == wanted


@cases("raw_needs_media_download")
def test_a_file_is_fetched_or_there_is_none(case: dict[str, Any]) -> None:
    content = content_of(case["in"]["message"])

    assert (content.get("media", {}).get("state") == "pending") is case["out"]


@cases("event_envelope")
def test_a_whole_event_is_what_clients_expect(case: dict[str, Any]) -> None:
    given, out = case["in"], case.get("out_fork") or case["out_upstream"]
    session = session_of(given.get("config", {}))
    if "update" in given["raw"]:
        chat = {"jid": given["raw"]["key"]["remoteJid"]}
        got = values(
            "receipt", {"status": "delivered", "ids": ["WAID1"], "chat": chat, "timestamp": 1760000000}, session
        )
    else:
        got = values("message", received(given["raw"]), session)

    (value,) = got
    wanted = out["entry"][0]["changes"][0]["value"]
    assert value["metadata"] == wanted["metadata"]
    for name in ("messages", "message_echoes"):
        assert value.get(name, []) == wanted.get(name, [])
    for ours, theirs in zip(value.get("statuses", []), wanted["statuses"], strict=True):
        assert ours == {key: theirs[key] for key in ("id", "recipient_id", "status", "timestamp")}


@cases("listener_job")
def test_the_steps_of_the_listener(case: dict[str, Any]) -> None:
    """Each event of the connector is an event of its own; a message that this device cannot read is one, too."""
    chat = {"jid": f"{CALLER}@s.whatsapp.net"}
    got = values("undecryptable", {"id": "A", "chat": chat, "sender": chat}, session_of({}))

    assert len(got) == case["out"]["events_sent"]
    message = got[0]["messages"][0]
    assert (message["type"], message["errors"][0]["code"]) == ("unsupported", 131060)
    assert "phone" in message["errors"][0]["error_data"]["details"]


@cases("listener_filter")
def test_what_the_listener_lets_pass(case: dict[str, Any]) -> None:
    ids = MemoryIds()
    if case["id"] == "lf_status_bypasses_filters":
        got = values("session", {"state": "connected"}, session_of({"ignoreOwnMessages": True}))
        assert got[0]["messages"][0]["from"] == PHONE
    elif case["id"] == "lf_delete":
        (key,), (wanted,) = case["in"]["keys"], case["out"]["events"]
        revoke = {"protocolMessage": {"key": {"id": key["id"], "remoteJid": key["remoteJid"]}, "type": 0}}
        raw = {"key": {**key, "id": "B", "fromMe": False}, "message": revoke, "messageTimestamp": 1}
        (value,) = values("message", received(raw), session_of({}))
        assert {name: value["statuses"][0][name] for name in wanted} == wanted
    else:
        ids.remember(PHONE, theirs=case["in"]["edit_of_provider_id"], ours=case["in"]["mapped_internal_id"])
        content = {"kind": "edit", "target_id": "P1", "content": {"kind": "text", "body": "new"}}
        data = {"id": "A", "chat": CHAT, "sender": CHAT, "timestamp_ms": 1, "content": content}
        (value,) = values("message", data, session_of({}), ids=ids)
        assert {name: value["messages"][0][name] for name in case["out"]} == case["out"]


# --- calls ---


def call(phase: str = "offer", *, call_id: str = "C1", caller: dict[str, str] | None = None) -> dict[str, Any]:
    return {"id": call_id, "from": caller or {"jid": f"{CALLER}@s.whatsapp.net"}, "phase": phase, "timestamp": 1}


@cases("calls")
def test_a_call_is_refused_or_reported(case: dict[str, Any]) -> None:
    given, connections = case["in"], MemoryConnections()
    session = session_of({"rejectCalls": given.get("rejectCalls", "busy"), "messageCallsWebhook": "call!"})
    sessions = MemorySessions(session)

    def what_follows(data: dict[str, Any]) -> tuple[Sequence[ConnectorCommand], list[dict[str, Any]]]:
        jobs, commands = receive(job_of("call", data), ids=MemoryIds(), sessions=sessions, connections=connections)
        return commands, [json.loads(job.body)["entry"][0]["changes"][0]["value"] for job in jobs]

    if case["id"] == "ca_reject":
        (reject, text), _ = what_follows(call())
        assert (reject.type, reject.data["id"]) == ("call.reject", "C1")
        assert (text.data["content"]["body"], text.to) == ("busy", f"{CALLER}@s.whatsapp.net")
    elif case["id"] == "ca_event":
        ((value,),) = [what_follows(call())[1]]
        (message,) = value["messages"]
        assert (message["type"], message["text"]["body"], message["from"]) == ("text", "call!", CALLER)
        assert message["id"].startswith("UNO.CALL.")
    elif case["id"] == "ca_second_ring_within_10s":
        assert what_follows(call()) != ([], [])
        assert what_follows(call()) != ([], []), "a repeated event of the same call still counts"
        assert what_follows(call(call_id="C2")) == ([], [])
    elif case["id"] == "ca_other_status":
        assert what_follows(call(given["status"])) == ([], [])
    else:
        lid, phone = given["from"], given["callerPn"]
        (event,) = convert_event(
            "CallOffer",
            {"basicCallMeta": {"callCreator": {"User": lid.partition("@")[0], "Server": "lid"}, "callID": "C1",
                               "callCreatorAlt": {"User": phone.partition("@")[0], "Server": "s.whatsapp.net"}}},
        )  # fmt: skip
        (_, text), _ = what_follows(event.data)
        assert text.to == case["out"]["rejects_with"]


# --- marks ---


@pytest.mark.parametrize("chat", [f"{CALLER}@s.whatsapp.net", "120363011112222@g.us"])
def test_marking_as_read_names_whatsapps_own_id(chat: str) -> None:
    """`cc_read` and `cc_read_internal_key`: the API's id is mapped to WhatsApp's."""
    connections, recorder = MemoryConnections(), CommandRecorder()
    writer = f"{CALLER}@s.whatsapp.net"
    connections.remember_key(PHONE, "UNO.OUT.1", chat=chat, participant=writer, theirs="3EB0AA")
    provider = WhatsmeowProvider(
        commands=recorder, connections=connections, chats=MemoryChats(), ids=MemoryIds(),
        sessions=MemorySessions(make_session()),
        rendered=lambda message, _: message, max_age_s=60,
    )  # fmt: skip

    read_and_typing = {"status": "read", "message_id": "UNO.OUT.1", "typing_indicator": {"type": "text"}}
    flow = {"type": "flow", "body": {"text": "x"}, "action": {}}
    unsupported = parse_message({"to": CALLER, "type": "interactive", "interactive": flow})

    provider.command(MessageCommand.model_validate(read_and_typing), phone=PHONE)

    read, typing = recorder.commands
    assert read.data == {"ids": ["3EB0AA"], "chat": chat, "sender": writer, "kind": "read"}
    assert (typing.type, typing.data["chat"]) == ("typing", chat)
    assert typing.expires_at - typing.created_at <= TYPING_S * 1000 < read.expires_at - read.created_at
    assert connections.key(PHONE, "UNO.OUT.1") == MessageKey("3EB0AA", chat, writer)
    with pytest.raises(MessageRejected):
        provider.command(MessageCommand(status="read", message_id="nobody-knows"), phone=PHONE)
    with pytest.raises(MessageRejected):
        provider.send(unsupported, phone=PHONE, message_id="wamid.1")
