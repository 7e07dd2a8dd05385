"""Cloud API events that enter: Meta's callbacks and anything that speaks like them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, g, jsonify, request

from unoapi.errors import Postponed, RequestError, StoreUnavailable
from unoapi.http.signatures import sign_hub
from unoapi.models.cloud_api.callbacks import EventPayload
from unoapi.models.cloud_api.events import split
from unoapi.models.jobs import Envelope
from unoapi.models.trace import TraceEntry
from unoapi.providers.cloud_api import translation
from unoapi.services import received_media
from unoapi.services.webhooks import to_fan_out
from unoapi.telemetry.logging import LISTENER, get_logger
from unoapi.web.auth import (
    check_operator,
    check_owner,
    check_token,
    is_operator,
    opened_phone,
    opens,
    owner,
    public,
    refuse_guess,
    same,
)
from unoapi.web.errors import forbidden
from unoapi.web.parts import parts
from unoapi.web.request_body import json_object, mended_object, raw_body
from unoapi.web.schemas import schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flask.typing import ResponseReturnValue

    from unoapi.models.cloud_api.callbacks import Change
    from unoapi.models.jobs import EventJob
    from unoapi.models.session import Session

routes = Blueprint("events", __name__)
log = get_logger(__name__)

SIGNATURE = "X-Hub-Signature-256"
MAX_CHALLENGE_DIGITS = 32
MAX_GROWTH = 4
MIN_BOUND = 2 * 1024 * 1024
OPERATOR, SESSION = "operator", "session"
"""Who signed a callback."""


@routes.post("/webhooks/whatsapp/<digits:phone>")
@owner
@schema(body=(EventPayload,))
def receive(phone: str) -> ResponseReturnValue:
    """Accept events of one number: 200 only after the queue has confirmed all of them."""
    signer = _signer(phone)
    if not signer:
        phone = opened_phone(phone)
    changes = _changes(from_whatsapp=bool(signer) or g.operator)
    trusted = signer == OPERATOR or (not signer and g.operator)
    return _accept(_jobs(phone, changes, trusted=trusted, most_bytes=_most_bytes()))


@routes.post("/webhooks/whatsapp")
@owner
@schema(body=(EventPayload,))
def receive_any() -> ResponseReturnValue:
    """Accept events of any number, which its id at Meta names. All of them are confirmed, or none is accepted."""
    signed = bool(request.headers.get(SIGNATURE))
    if not signed:
        check_token()  # before the body is read
    jobs: list[EventJob] = []
    trusted: dict[str, bool] = {}
    for change in _changes(from_whatsapp=signed or g.operator):
        phone = _phone_of(change.value.get("metadata") or {})
        if phone not in trusted:
            trusted[phone] = _is_trusted(phone)
        most_bytes = _most_bytes() - sum(len(job.body) for job in jobs)
        jobs += _jobs(phone, [change], trusted=trusted[phone], most_bytes=most_bytes)
    return _accept(jobs)


def _changes(*, from_whatsapp: bool) -> list[Change]:
    """What the callback tells. What is no text in it is refused, but mended in what comes from WhatsApp."""
    return EventPayload.model_validate(mended_object() if from_whatsapp else json_object()).changes


def _is_trusted(phone: str) -> bool:
    """Whether the operator, or the operator's app at Meta, sent it.

    Raises RequestError for a caller whose token does not open the phone.
    """
    signer = _signer(phone)
    if not signer:
        check_owner(phone)
    return signer == OPERATOR or (not signer and bool(g.operator))


@routes.get("/webhooks/whatsapp/<digits:phone>")
@routes.get("/webhooks/whatsapp")
@public
@schema(answer="text/plain")
def verify(phone: str | None = None) -> ResponseReturnValue:
    """Meta's handshake: the challenge goes back to who knows a token."""
    token, challenge = request.args.get("hub.verify_token", ""), request.args.get("hub.challenge", "")
    own = parts().settings.unoapi_meta_verify_token.get_secret_value()
    allowed = token and (
        is_operator(token) or (own and same(token, own)) or (phone is not None and opens(phone, token))
    )
    if not allowed:
        refuse_guess()
    if not allowed or request.args.get("hub.mode") != "subscribe":
        raise RequestError(
            "Verification failed", code=100, status=403, details="hub.mode or hub.verify_token is wrong."
        )
    if not challenge.isascii() or not challenge.isdigit() or len(challenge) > MAX_CHALLENGE_DIGITS:
        raise RequestError("Invalid parameter", code=100, status=400, details="hub.challenge must be a number.")
    return Response(challenge, mimetype="text/plain")


@routes.post("/webhooks/fake/<digits:phone>")
@public
def swallow(phone: str) -> ResponseReturnValue:  # noqa: ARG001 (the Node version's default receiver)
    """Take anything and do nothing."""
    return jsonify(success=True)


def _most_bytes() -> int:
    """How large all events of this request may be: small ones grow by what clients need in each."""
    return max(MIN_BOUND, MAX_GROWTH * len(raw_body()))


def _jobs(phone: str, changes: Sequence[Change], *, trusted: bool, most_bytes: int) -> list[EventJob]:
    """The jobs of a callback. What neither the operator sent nor the operator's app signed is of this number alone.

    Nor does it name files for the operator's token at Meta to fetch.
    """
    uno = parts()
    session = _session(phone)
    forwarded = session is not None and session.provider == "forwarder"
    fetches = forwarded and (trusted or not (session is None or session.environments_account))
    if not trusted:
        changes = [change.about(phone, number_id=session.phone_number_id if session else phone) for change in changes]
    if forwarded:
        changes = [translation.with_our_ids(change, phone=phone, ids=uno.message_ids) for change in changes]
    jobs: list[EventJob] = []
    for event in split(phone, changes, most_bytes=most_bytes):
        job = to_fan_out(event, phone=phone, sessions=uno.sessions)
        jobs.append(received_media.saving(job) if fetches and received_media.media_in(event) else job)
    return jobs


def _accept(jobs: Sequence[EventJob]) -> ResponseReturnValue:
    uno = parts()
    for job in jobs:
        log.debug(LISTENER, message_id=job.message_id, phone=job.phone, type=job.kind)
    accepted = [TraceEntry(step="accepted", phone=job.phone, message_id=job.message_id, kind=job.kind) for job in jobs]
    uno.publisher.publish([Envelope(job) for job in jobs])
    uno.traces.add(*accepted)
    return jsonify(success=True)


def _phone_of(metadata: dict[str, Any]) -> str:
    number_id, display = str(metadata.get("phone_number_id") or ""), str(metadata.get("display_phone_number") or "")
    digits = "".join(figure for figure in display if figure.isascii() and figure.isdigit())
    phones = [phone for node in (number_id, digits) if node for phone in parts().directory.phones_of(node)]
    phones.sort(key=lambda phone: phone != digits)  # several numbers may have been given the same id
    registered = next((phone for phone in phones if parts().sessions.find(phone).stored), None)
    if registered is None:
        if not _signer(""):
            check_operator()  # a number that nobody has looks like one that the token does not open
        details = "metadata.phone_number_id and .display_phone_number are no registered number's."
        raise RequestError("Unknown phone number id", code=100, status=400, details=details)
    return registered


def _session(phone: str) -> Session | None:
    try:
        return parts().sessions.find(phone)
    except (Postponed, StoreUnavailable):
        return None  # accepted as it is: the event waits until the session can be read


def _signer(phone: str) -> str:
    """Whose app's secret signed the exact bytes: the operator's, the session's own, or nobody's.

    A session may know its own secret: its signature opens its number, and proves no more than its token does. A wrong
    signature is refused whatever else comes.
    """
    given = request.headers.get(SIGNATURE, "")
    session = _session(phone) if given and phone else None
    own = session.webhook_forward.app_secret.get_secret_value() if session is not None else ""
    secret = own or parts().settings.unoapi_meta_app_secret.get_secret_value()
    if not given or not secret:
        return ""
    if not same(given, sign_hub(secret, raw_body())):
        raise forbidden()
    return SESSION if own and session is not None and not session.environments_account else OPERATOR
