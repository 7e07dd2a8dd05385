"""Messages that clients send, what they do with messages that are there, and where messages are."""

from __future__ import annotations

import hashlib
import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from flask import Blueprint, g, jsonify, request

from unoapi.errors import BrokerUnavailable, MessageRejected, Postponed, RequestError, StoreUnavailable
from unoapi.errors.validation import invalid_value
from unoapi.models.activity import SENT
from unoapi.models.cloud_api.events import serialise
from unoapi.models.cloud_api.messages import (
    MESSAGES,
    Command,
    InteractiveMessage,
    OutboundMessage,
    Sender,
    SpeechMessage,
    TemplateMessage,
    computed_message_id,
    new_message_id,
)
from unoapi.models.identity import NO_USER_IDS
from unoapi.models.jobs import Envelope, MessageJob, RunCommand, SendMessage
from unoapi.models.message_keys import NOTICES
from unoapi.models.message_log import LoggedMessage
from unoapi.models.trace import TraceEntry, shown_entry
from unoapi.providers.whatsmeow.commands import ensure_possible
from unoapi.services import media
from unoapi.services.first_jobs import first_job, is_phone
from unoapi.services.message_parsing import parse_command, parse_message, slips
from unoapi.services.message_search import follow
from unoapi.services.send_order import place_us
from unoapi.services.sessions import TOKEN_NAMES
from unoapi.services.speech import ensure_speakable
from unoapi.web.auth import session_token
from unoapi.web.parts import parts
from unoapi.web.request_body import limit_body, parameters
from unoapi.web.schemas import schema
from unoapi.web.templates import ensure_bindable

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from flask.typing import ResponseReturnValue
    from pydantic import BaseModel

    from unoapi.models.claims import KeyState

    Acceptance = Generator[Envelope, None, dict[str, Any]]
    """A message on its way in: it yields what is to be published, goes on when that is confirmed, and returns the
    answer. The error of what was not confirmed, BrokerUnavailable, is thrown into it."""
    Steps = Generator[Envelope, None, None]

Answer = TypeVar("Answer")

routes = Blueprint("messages", __name__)

RULE = "/<version>/<node:phone>/messages"
MODELS: tuple[type[BaseModel], ...] = (*MESSAGES.values(), Command)
MAX_MESSAGE_BYTES = 256 * 1024
"""Several times what the largest types need: unknown fields are passed on, and thousands may wait. More is not even
parsed: a megabyte of JSON would hold up all other requests for 65 ms."""
KEY_HEADER = "Idempotency-Key"
OTHER_REQUEST_S = 0.15
BACKLOG_WAIT_S = 10
DISCONNECTED = "disconnected"
KEY = re.compile(r"[\x21-\x7e]{1,255}")
NOTED = ("sent", "delivered", "failed", "progress")
"""Marks that the Node version took for its own notes, of which WhatsApp hears nothing. Meta refuses them."""


@routes.post(RULE)
@session_token
@schema(body=MODELS)
def send_message(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001 (any version is served alike)
    """Accept one message, or a command on one: 200 only after the queue has confirmed it."""
    return jsonify(accept(phone, _message_body(), key=request.headers.get(KEY_HEADER)))


def accept(phone: str, body: dict[str, Any], *, key: str | None = None) -> dict[str, Any]:
    """Accept what a body says, for a caller who may, and return the answer; with an idempotency key only once.

    Needs no request, only the application. Raises RequestError, ValidationError, BrokerUnavailable.
    """
    return completed(accepting(phone, body, key=key))


def accepting(phone: str, body: dict[str, Any], *, key: str | None = None) -> Acceptance:
    """The same in two parts, so that several messages can be published together."""
    ensure_served(phone)
    if _is_command(body):
        return (yield from _command(phone, body))
    sender = sender_for(phone)
    body.pop("status", None)
    return (yield from _send(sender, body, parse_message(body, sender=sender), key))


def _is_command(body: dict[str, Any]) -> bool:
    """Whether it is about a message that is there. Clients that fill in every field send a message with no status."""
    if body.get("type") or body.get("text"):
        return body.get("status") not in (None, "")
    return "status" in body or "typing_indicator" in body


def completed(acceptance: Acceptance) -> dict[str, Any]:
    """The answer to a message that is published by itself. Raises what it is refused with."""
    (result,) = complete([acceptance])
    if isinstance(result, Exception):
        raise result
    return result


def complete(acceptances: Sequence[Generator[Envelope, None, Answer]]) -> list[Answer | Exception]:
    """The answer to each message, or what it is refused with. What they want published is published together."""
    results: dict[int, Answer | Exception] = {}
    wanted: dict[int, Envelope] = {}

    def go_on(number: int, error: BrokerUnavailable | None = None) -> None:
        acceptance = acceptances[number]
        try:
            wanted[number] = acceptance.throw(error) if error else next(acceptance)
        except StopIteration as end:
            results[number] = end.value
        except Exception as refusal:  # noqa: BLE001 (the caller's to answer)
            results[number] = refusal

    for number in range(len(acceptances)):
        go_on(number)
    while wanted:
        published = dict(wanted)
        wanted.clear()
        for number, error in zip(published, parts().publisher.publish_each([*published.values()]), strict=True):
            go_on(number, error)
    return [results[number] for number in range(len(acceptances))]


@routes.post("/<version>/<node:phone>/marketing_messages")
@session_token
@schema(body=(TemplateMessage,))
def send_marketing_message(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001
    """Accept one template for Meta's path of marketing messages; a phone sends it like any other."""
    body = _message_body()
    ensure_served(phone)
    sender = sender_for(phone)
    message = parse_message(body, sender=sender)
    if not isinstance(message, TemplateMessage):
        details = "type: marketing messages are templates; post anything else to /messages."
        raise invalid_value(details)
    return jsonify(completed(_send(sender, body, message.as_marketing(), request.headers.get(KEY_HEADER))))


def _message_body() -> dict[str, Any]:
    """What the request says of a message or a command. Raises RequestError."""
    limit_body(MAX_MESSAGE_BYTES)
    return without_tokens(parameters(*MODELS))


def without_tokens(body: dict[str, Any]) -> dict[str, Any]:
    """The body without what the Node version took here, too: a token goes nowhere with the message."""
    for name in TOKEN_NAMES & body.keys():
        del body[name]
    return body


def _send(sender: Sender, body: dict[str, Any], message: OutboundMessage, key: str | None) -> Acceptance:
    ensure_sendable(message, sender=sender)
    message_id = yield from _accept(sender.phone, message, key)
    return {
        "messaging_product": "whatsapp",
        "contacts": [_contact(message, written=body.get("to") or body.get("recipient"))],
        "messages": [{"id": message_id}],
        **({"warnings": warnings} if (warnings := slips(message)) else {}),
    }


def ensure_sendable(message: OutboundMessage, *, sender: Sender) -> None:
    """Refuse what the number's connection cannot send, while the client can read why. Raises RequestError."""
    phone = sender.phone
    _ensure_addressable(phone, message)
    if isinstance(message, TemplateMessage):
        ensure_bindable(phone, message.template)
    elif isinstance(message, InteractiveMessage):
        _ensure_possible(phone, message)
    elif isinstance(message, SpeechMessage):
        _ensure_speakable(phone, message)
    media.check(message, phone=phone, index=parts().media_index, at_meta=sender.any_type)


@routes.delete("/<version>/<node:phone>/messages/<message_id>")
@session_token
def delete_message(version: str, phone: str, message_id: str) -> ResponseReturnValue:  # noqa: ARG001
    """Delete a message for everybody."""
    return jsonify(completed(_command(phone, {"status": "deleted", "message_id": message_id})))


def ensure_served(phone: str) -> None:
    """Refuse the operator's message of a number that nothing serves: a slip in the path would wait and end as dead."""
    if not g.operator:
        return
    uno = parts()
    try:
        session = uno.sessions.find(phone)
        served = (
            session.stored
            or session.webhooks
            or session.environments_account
            or uno.connections.status(phone) != DISCONNECTED
        )
    except (Postponed, StoreUnavailable):  # nobody knows now
        return
    if not served:
        details = (
            f"The number {phone} is not registered: POST /v15.0/{phone}/register first. Numbers without a "
            "configuration need WEBHOOK_URL or WEBHOOK_FORWARD_TOKEN in the environment."
        )
        raise RequestError("Unsupported request: unknown number", code=100, status=404, details=details)


def sender_for(phone: str) -> Sender:
    """Whose message it is. With Redis away Meta's limits count."""
    try:
        provider = parts().sessions.find(phone).provider
    except (Postponed, StoreUnavailable):
        return Sender(phone=phone)
    return Sender(phone=phone, at_meta=provider != "whatsmeow", any_type=provider == "forwarder")


def _ensure_addressable(phone: str, message: OutboundMessage) -> None:
    """Refuse a user id where the connection knows only phones. While nobody can say it, the send finds out."""
    if message.to:
        return
    uno = parts()
    try:
        provider = uno.providers[uno.sessions.find(phone).provider]
    except (Postponed, StoreUnavailable):
        return
    if not provider.takes_user_ids:
        code, title, details = NO_USER_IDS
        raise RequestError(title, code=code, status=400, details=details)


def _ensure_possible(phone: str, message: InteractiveMessage) -> None:
    """Refuse a kind that a phone cannot send, also in the sandbox: there it is what a phone will do that is tried."""
    try:
        if parts().sessions.find(phone).provider != "forwarder":
            ensure_possible(message)
    except Postponed:
        return  # Redis is away: it is refused when it is sent
    except MessageRejected as error:
        raise RequestError(error.title, code=error.code, status=400, details=error.details) from None


def _ensure_speakable(phone: str, message: SpeechMessage) -> None:
    """Refuse a speech of a number for which nobody speaks. While nobody can say it, the job finds out."""
    uno = parts()
    with suppress(Postponed, StoreUnavailable):
        ensure_speakable(message, uno.sessions.find(phone), uno.operator_accounts)


def _contact(message: OutboundMessage, *, written: object) -> dict[str, str]:
    """Who gets the message; `written` is the address as the client wrote it."""
    if message.to:
        return {"input": str(written), "wa_id": message.to}
    return {"input": message.addressee, "user_id": message.addressee}


def _accept(phone: str, message: OutboundMessage, key: str | None) -> Generator[Envelope, None, str]:
    """Queue a message and return its id; under an idempotency key only once."""
    text = serialise(message.to_wire())
    if len(text.encode()) > MAX_MESSAGE_BYTES:
        details = f"A message has at most {MAX_MESSAGE_BYTES} bytes of JSON."
        raise RequestError("Invalid parameter", code=100, status=400, details=details)
    if key is None:
        message_id = new_message_id()
        yield from _queue(phone, message_id, message, text, claimed_only=False)
        return message_id
    if not KEY.fullmatch(key):
        details = f"{KEY_HEADER} must have 1 to 255 visible ASCII characters."
        raise RequestError("Invalid parameter", code=100, status=400, details=details)
    message_id = computed_message_id(phone, key)
    digest = hashlib.sha256(text.encode()).hexdigest()
    state = _claim(phone, key, digest)
    if state.other_body:
        details = f"{KEY_HEADER} was used for another body within the last 24 hours."
        raise RequestError("The idempotency key belongs to another request", code=100, status=422, details=details)
    if not state.accepted:
        try:
            yield from _queue(phone, message_id, message, text, claimed_only=True)
        except RequestError:  # nothing was published
            parts().idempotency.give_back(phone, key, digest=digest)
            raise
        parts().idempotency.settle(phone, key, digest=digest)
    return message_id


def _claim(phone: str, key: str, digest: str) -> KeyState:
    """What a key stands for; one that another request has at this moment is waited for, if only for a blink.

    After the wait it is taken over: that request's process died before it could publish, or is slow. Both publish the
    same message id, so that the claim of the send stops the copy. Raises StoreUnavailable: answered 503, because
    without Redis nobody knows whether the key stands for another message.
    """
    deadline = time.monotonic() + OTHER_REQUEST_S
    state = parts().idempotency.claim(phone, key, digest=digest)
    while state.taken and not state.accepted and not state.other_body and time.monotonic() < deadline:
        time.sleep(0.05)
        state = parts().idempotency.claim(phone, key, digest=digest)
    return state


def _queue(phone: str, message_id: str, message: OutboundMessage, text: str, *, claimed_only: bool) -> Steps:
    uno = parts()
    settings = uno.settings
    if uno.backlog.is_full(phone):
        raise RequestError(
            "Rate limit hit",
            code=130429,
            status=429,
            details=f"{settings.unoapi_session_backlog_max} messages of {phone} wait to be sent already "
            f"(UNOAPI_SESSION_BACKLOG_MAX); try again in {BACKLOG_WAIT_S} s.",
            retry_after_s=BACKLOG_WAIT_S,
        )
    accepted = TraceEntry(step="accepted", phone=phone, message_id=message_id, kind=message.type)
    job = _first_job(phone, message)(
        id=message_id,
        phone=phone,
        message_id=message_id,
        body=text,
        claimed_only=claimed_only,
        contact=message.addressee[:256],
        marketing=message.marketing,
        any_type=type(message) is OutboundMessage,
    )
    at_us = place_us(job, now_us=time.time_ns() // 1000)
    joined = uno.send_order.join(job, accepted_at_us=at_us, prepared=not isinstance(job, SendMessage))
    try:
        yield Envelope(job)
    except BrokerUnavailable:
        uno.send_order.leave(job)
        raise
    joined()  # before the answer, after which the client may send the next one
    uno.backlog.enter(phone, message_id, accepted)
    uno.activity.count(phone, SENT)
    uno.message_log.add(LoggedMessage.of(job, message.type), body=text)


def _first_job(phone: str, message: OutboundMessage) -> type[MessageJob]:
    settings = parts().settings
    return first_job(
        message,
        for_phone=is_phone(phone, sessions=parts().sessions),
        voice=settings.convert_audio_message_to_ogg,
        always_voice=settings.send_audio_message_as_ptt,
    )


def _ensure_known(phone: str, message_id: str) -> None:
    """Refuse a command on a message of which a phone knows nothing: it would fail where nobody hears of it."""
    uno = parts()
    try:
        known = (
            not is_phone(phone, sessions=parts().sessions)
            or uno.connections.key(phone, message_id) is not None
            or any(uno.traces.read_all([(phone, message_id)]))  # not sent yet
        )
    except StoreUnavailable:
        return
    if not known:
        details = "message_id: nothing is known of this message: another number's, or older than DATA_TTL."
        raise RequestError("Unknown message", code=100, status=404, details=details)


def _ensure_deletable(phone: str) -> None:
    """Refuse what Meta's API does not have. While nobody can say whose number it is, the job finds out."""
    if _is_at_meta(phone):
        details = "Meta's Cloud API does not delete messages for everybody: only phones do."
        raise RequestError("Unsupported", code=131051, status=400, details=details)


def _is_at_meta(phone: str) -> bool | None:
    """Whether a number is at Meta; None while nobody can say."""
    try:
        return parts().sessions.find(phone).provider == "forwarder"
    except (Postponed, StoreUnavailable):
        return None


def _command(phone: str, body: dict[str, Any]) -> Acceptance:
    if body.get("status") in NOTED and _is_at_meta(phone) is False:
        parse_command({**body, "status": "read"})
        return {"success": True, "warnings": [f"status: {body['status']} does nothing; WhatsApp has read and deleted"]}
    command = parse_command(body)
    if (command.message_id or "").startswith(NOTICES):
        return _mark_notice(command)
    _ensure_known(phone, command.message_id or "")
    if command.status == "deleted":
        _ensure_deletable(phone)
    uno = parts()
    job = RunCommand(
        id=new_message_id(), phone=phone, message_id=command.message_id or "", body=serialise(command.to_wire())
    )
    kind = command.status or "typing"
    accepted = TraceEntry(step="accepted", phone=phone, message_id=job.message_id, kind=kind)
    yield Envelope(job)
    uno.traces.add(accepted)
    return {"success": True}


def _mark_notice(command: Command) -> dict[str, Any]:
    """What a mark on a notice comes to: programs mark all that they get as read, and WhatsApp knows no notices."""
    if command.status == "deleted":
        details = "message_id: this is a notice of ours, and stands in no chat."
        raise invalid_value(details)
    return {"success": True}


@routes.get("/<version>/<node:phone>/messages/<message_id>/trace")
@session_token
def trace(version: str, phone: str, message_id: str) -> ResponseReturnValue:  # noqa: ARG001
    """The life of a message, oldest step first; by the client's id or by the one that WhatsApp has for it."""
    uno = parts()
    entries = follow(message_id, phone=phone, traces=uno.traces, ids=uno.message_ids)
    if not entries:
        details = "Nothing is known of this message: another number's, older than UNOAPI_TRACE_TTL, or not accepted."
        raise RequestError("Unknown message", code=100, status=404, details=details)
    return jsonify(
        message_id=message_id,
        phone=phone,
        trace=[
            {name: value for name, value in shown_entry(entry).items() if name not in ("phone", "message_id")}
            for entry in entries
        ],
    )
