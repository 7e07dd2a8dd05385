"""Cloud API events that enter: Meta's callbacks and anything that speaks like them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, g, jsonify, request
from werkzeug.exceptions import RequestEntityTooLarge

from unoapi.errors import Postponed, RequestError, StoreUnavailable, UnknownNumber
from unoapi.http.signatures import sign_hub
from unoapi.models.cloud_api.callbacks import MAX_EVENTS, EventPayload, OddPart, read_callback
from unoapi.models.cloud_api.events import serialise
from unoapi.models.jobs import Envelope
from unoapi.models.trace import TraceEntry
from unoapi.providers.cloud_api import callbacks
from unoapi.telemetry.logging import LISTENER, get_logger
from unoapi.web.auth import (
    IS_PHONE,
    check_owner,
    check_token,
    given_token,
    is_operator,
    opened_phone,
    owner,
    phone_opened_by,
    public,
    refuse_guess,
    same,
    token_opens,
    unknown_id,
)
from unoapi.web.errors import forbidden
from unoapi.web.parts import parts
from unoapi.web.request_body import json_object, mended_object, raw_body
from unoapi.web.schemas import schema

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flask.typing import ResponseReturnValue

    from unoapi.models.cloud_api.callbacks import Change
    from unoapi.models.jobs import EventJob, ReceiveCallback
    from unoapi.models.session import Session

routes = Blueprint("events", __name__)
log = get_logger(__name__)

SIGNATURE = "X-Hub-Signature-256"
CHALLENGE = re.compile(r"[A-Za-z0-9._~+/=-]{1,256}")
"""Nothing that a browser could take for anything but text."""
MAX_CALLBACK_BYTES = 4 * 1024 * 1024
"""Of a body with a good signature: Meta's have up to 3 MB, and what is not taken it sends again for days."""
MAX_GROWTH = 4
MIN_BOUND = 2 * 1024 * 1024
OPERATOR, SESSION = "operator", "session"
"""Who signed a callback."""
MOST_NAMED = 20
"""So many numbers one request names, unless the operator or the operator's app sent it: each has to be looked for."""


@routes.post("/webhooks/whatsapp/<digits:phone>")
@owner
@schema(body=(EventPayload,))
def receive(phone: str) -> ResponseReturnValue:
    """Accept events of one number: 200 only after the queue has confirmed all of them.

    What names another registered number is that one's, if the operator sent it, or an app that signs for that one, too.
    """
    _allow_signed_size()
    number = _number_meant(phone)
    signer = _signer(number)
    if not signer:
        _ensure_usual_size()
    phone = number if signer else opened_phone(phone)
    changes, odd = _callback(from_whatsapp=bool(signer) or g.operator, signed=bool(signer))
    trusted = signer == OPERATOR or (not signer and g.operator)
    may_be_others = bool(signer) or g.operator  # a session's token is one number's, and looks up no other
    if signer == SESSION:
        _ensure_few_named(changes)
    accepted, numbers = _Accepted(), _Numbers()
    for change in changes:
        try:
            other = numbers.at(change, phone=phone) if may_be_others else phone
        except (Postponed, StoreUnavailable):
            if trusted:  # it may be another number's: nobody else's webhooks get it meanwhile
                accepted.jobs.append(callbacks.job_at(change, phone=phone))
                continue
            other = phone
        if other != phone and _speaks_for(other):
            accepted.add(change, phone=other, trusted=accepted.is_trusted(other))
        else:
            accepted.add(change, phone=phone, trusted=trusted)
    return accepted.publish(callbacks.job_for_odd(part, phone=phone) for part in odd)


@routes.post("/webhooks/whatsapp")
@owner
@schema(body=(EventPayload,))
def receive_any() -> ResponseReturnValue:
    """Accept events of any number, which its id at Meta or its account names: 200 only after the queue has confirmed.

    Of Meta's own callbacks, and of those that are good in part, the rest is kept as dead letters.
    """
    _allow_signed_size()
    by_app = any(_is_signed_with(secret) for secret in _app_secrets())
    signed = bool(request.headers.get(SIGNATURE))
    if not signed:
        check_token()  # before the body is read
    if not by_app:
        _ensure_usual_size()
    changes, odd = _callback(from_whatsapp=signed or g.operator, signed=by_app)
    if not by_app and not is_operator(given_token()):
        _ensure_few_of_caller(changes, signed=signed)
    accepted, numbers = _Accepted(), _Numbers()
    kept = [callbacks.job_for_odd(part, phone=callbacks.NOBODY) for part in odd]
    problems: list[RequestError] = []
    for change in changes:
        try:
            phones = numbers.of(change)
        except UnknownNumber as error:
            problems.append(_refusal(error, by_app=by_app))
            kept.append(callbacks.job_to_place(change))
            continue
        for phone in phones:
            try:
                trusted = accepted.is_trusted(phone)
            except RequestError as error:
                problems.append(_same_for_all(error))
                kept.append(callbacks.job_for_odd(OddPart(change.value, error.title), phone=phone))
            else:
                accepted.add(change, phone=phone, trusted=trusted)
    if problems and not accepted.jobs and not by_app:
        raise problems[0]
    return accepted.publish(kept if by_app or (not signed and g.operator) else ())


class _Numbers:
    """Whose a request's changes are. What names the same number is looked for once."""

    def __init__(self) -> None:
        self._ids: dict[str, Any] = {"directory": parts().directory, "sessions": parts().sessions}
        self._found: dict[tuple[str, ...], list[str] | UnknownNumber] = {}

    def of(self, change: Change) -> list[str]:
        """The registered numbers that it is about. Raises UnknownNumber, Postponed."""
        named = callbacks.named_in(change)
        if named not in self._found:
            try:
                self._found[named] = callbacks.numbers_of(change, **self._ids)
            except UnknownNumber as error:
                self._found[named] = error
        found = self._found[named]
        if isinstance(found, UnknownNumber):
            raise found
        return found

    def at(self, change: Change, *, phone: str) -> str:
        """The number of a change that came to the address of `phone`. Raises Postponed, StoreUnavailable."""
        named = callbacks.named_in(change)
        if named not in self._found:
            self._found[named] = [callbacks.number_at(change, phone=phone, **self._ids)]
        (found,) = self.of(change)
        return found


class _Accepted:
    """What a request's changes have become so far."""

    def __init__(self) -> None:
        self.jobs: list[EventJob | ReceiveCallback] = []
        self._left_bytes = max(MIN_BOUND, MAX_GROWTH * len(raw_body()))
        self._trusted: dict[str, bool] = {}

    def is_trusted(self, phone: str) -> bool:
        """Whether the operator, or the operator's app at Meta, sent it.

        Raises RequestError for a caller whose token does not open the phone.
        """
        if phone not in self._trusted:
            signer = _signer(phone)
            if not signer:
                check_owner(phone)
            self._trusted[phone] = signer == OPERATOR or (not signer and bool(g.operator))
        return self._trusted[phone]

    def add(self, change: Change, *, phone: str, trusted: bool) -> None:
        """Make the jobs of a change. Raises RequestError when all together are too many, or too large."""
        uno = parts()
        memories: dict[str, Any] = {"sessions": uno.sessions, "ids": uno.message_ids}
        whose: dict[str, Any] = {"phone": phone, "trusted": trusted, **memories}
        rest, waiting = callbacks.without_what_waits(change, most_bytes=self._left_bytes, **whose)
        self._left_bytes -= sum(len(serialise(job.change)) for job in waiting)
        self.jobs += waiting
        if rest is not None:
            made = callbacks.jobs_of(rest, most_bytes=self._left_bytes, **whose)
            self._left_bytes -= sum(len(job.body) for job in made)
            self.jobs += made
        if len(self.jobs) > MAX_EVENTS:
            details = f"A request makes at most {MAX_EVENTS} events."
            raise RequestError("Invalid parameter", code=100, status=400, details=details)

    def publish(self, others: Iterable[ReceiveCallback]) -> ResponseReturnValue:
        """Queue everything, and record what was accepted."""
        uno, jobs = parts(), [*self.jobs, *others]
        for job in jobs:
            log.debug(LISTENER, message_id=job.message_id, phone=job.phone, type=job.kind)
        accepted = [
            TraceEntry(step="accepted", phone=job.phone, message_id=job.message_id, kind=job.kind) for job in jobs
        ]
        uno.publisher.publish([Envelope(job) for job in jobs])
        uno.traces.add(*accepted)
        return jsonify(success=True)


def _callback(*, from_whatsapp: bool, signed: bool) -> tuple[list[Change], list[OddPart]]:
    """What the callback tells. What is no text in it is refused, but mended in what comes from WhatsApp."""
    return read_callback(mended_object() if from_whatsapp else json_object(), mended=signed)


def _allow_signed_size() -> None:
    """Take a body as large as Meta makes them from whoever comes with a signature, which is checked next."""
    if request.headers.get(SIGNATURE):
        request.max_content_length = max(MAX_CALLBACK_BYTES, parts().settings.unoapi_body_max_bytes)


def _ensure_usual_size() -> None:
    """Refuse a large body whose signature is nobody's."""
    if request.headers.get(SIGNATURE) and len(raw_body()) > parts().settings.unoapi_body_max_bytes:
        raise RequestEntityTooLarge


def _ensure_few_named(changes: Iterable[Change], *, beside: int = 0) -> None:
    """Refuse what names more numbers than such a caller can speak for, before one of them is looked for.

    `beside`: so many that it may speak for do not count.
    """
    most = MOST_NAMED + beside
    if len({callbacks.named_in(change) for change in changes}) > most:
        details = f"A request is about at most {most} numbers."
        raise RequestError("Invalid parameter", code=100, status=400, details=details)


def _ensure_few_of_caller(changes: Iterable[Change], *, signed: bool) -> None:
    """The same of a caller of whom nobody knows yet for whom it speaks: its signature may be a guess."""
    opened = [] if signed else token_opens(given_token())[1]
    try:
        _ensure_few_named(changes, beside=len(opened))
    except RequestError:
        if signed:
            refuse_guess()
        raise


def _refusal(error: UnknownNumber, *, by_app: bool) -> RequestError:
    """A number that nobody has looks like one that the token does not open, but to the operator and Meta."""
    if not by_app:
        try:
            check_owner(None)
        except RequestError as refusal:
            return _same_for_all(refusal)
        if not g.operator:
            return _same_for_all(unknown_id())
    return RequestError("Unknown phone number id", code=100, status=400, details=f"{error}.")


def _same_for_all(refusal: RequestError) -> RequestError:
    """Of a wrong signature nobody hears whether there is such a number, nor whose secret would be right."""
    return forbidden() if request.headers.get(SIGNATURE) else refusal


@routes.get("/webhooks/whatsapp/<digits:phone>")
@routes.get("/webhooks/whatsapp")
@public
@schema(answer="text/plain")
def verify(phone: str | None = None) -> ResponseReturnValue:
    """Meta's handshake: the challenge goes back to who knows a token."""
    token, challenge = request.args.get("hub.verify_token", ""), request.args.get("hub.challenge", "")
    own = parts().settings.unoapi_meta_verify_token.get_secret_value()
    allowed = token and (
        is_operator(token)
        or (own and same(token, own))
        or (phone is not None and phone_opened_by(token, phone) is not None)
    )
    if not allowed:
        refuse_guess()
    if not allowed or request.args.get("hub.mode") != "subscribe":
        raise RequestError(
            "Verification failed", code=100, status=403, details="hub.mode or hub.verify_token is wrong."
        )
    if not CHALLENGE.fullmatch(challenge):
        details = "hub.challenge must have 1 to 256 letters, digits and signs out of . _ ~ + / = -"
        raise RequestError("Invalid parameter", code=100, status=400, details=details)
    return Response(challenge, mimetype="text/plain")


@routes.post("/webhooks/fake/<digits:phone>")
@public
def swallow(phone: str) -> ResponseReturnValue:  # noqa: ARG001 (the Node version's default receiver)
    """Take anything and do nothing."""
    return jsonify(success=True)


def _number_meant(node: str) -> str:
    """The number that the id in the address of a signed callback means, as a token's does."""
    phones = parts().directory.phones_of(node) if request.headers.get(SIGNATURE) else (node,)
    return next((phone for phone in phones if IS_PHONE.fullmatch(phone)), node)


def _session(phone: str) -> Session | None:
    try:
        return parts().sessions.find(phone)
    except (Postponed, StoreUnavailable):
        return None


def _signer(phone: str) -> str:
    """Whose app's secret signed the exact bytes: the operator's, the session's own, or nobody's.

    A session may know its own secret: its signature opens its number, and proves no more than its token does. A wrong
    signature is refused whatever else comes.
    """
    given = request.headers.get(SIGNATURE, "")
    session = _session(phone) if given and phone else None
    own = session.webhook_forward.app_secret.get_secret_value() if session is not None else ""
    secrets = [own] if own else _app_secrets()
    if not given or not secrets:
        return ""
    if not any(_is_signed_with(secret) for secret in secrets):
        raise forbidden()
    return SESSION if own and session is not None and not session.environments_account else OPERATOR


def _speaks_for(phone: str) -> bool:
    """Whether the caller is the operator, or an app that signs for this number, too. It counts as no guess."""
    try:
        return bool(_signer(phone)) or bool(g.get("operator"))
    except RequestError:
        return False


def _app_secrets() -> list[str]:
    """The secret of the operator's app, and the one before it while it is being changed."""
    settings = parts().settings
    both = (settings.unoapi_meta_app_secret, settings.unoapi_meta_app_secret_previous)
    return [secret for one in both if (secret := one.get_secret_value())]


def _is_signed_with(secret: str) -> bool:
    """Whether the request's signature is the one that this secret gives its body."""
    given = request.headers.get(SIGNATURE, "")
    known: dict[str, bool] = g.setdefault("signed_with", {})
    if given and secret and secret not in known:
        known[secret] = same(given, sign_hub(secret, raw_body()))
    return known.get(secret, False)
