"""Numbers at Meta's own Cloud API: messages are passed on, callbacks come back over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unoapi.errors import (
    MediaMissing,
    MessageRejected,
    NotSent,
    OutcomeUnknown,
    Postponed,
    SendFailed,
    SendPostponed,
    StoreUnavailable,
    Unanswered,
)
from unoapi.models.attempts import redirected_to
from unoapi.models.cloud_api.events import error_object, serialise
from unoapi.models.cloud_api.messages.written import as_meant
from unoapi.models.message_keys import MADE_HERE, SENT_HERE
from unoapi.models.receipts import Receipt, StatusUpdate
from unoapi.providers.cloud_api.graph import RATE_LIMITS, first_in, read_error, sent_id
from unoapi.providers.cloud_api.translation import BLANK, with_their_ids, with_usual_names, without_blanks
from unoapi.services import media
from unoapi.services.sending import WAIT_FOR_STORE_MS
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from unoapi.http.api_client import ApiClient, HttpAnswer
    from unoapi.media.signed_urls import SignedUrls
    from unoapi.models.cloud_api.messages import Command, OutboundMessage
    from unoapi.models.options import Forward
    from unoapi.ports import MediaIndex, MessageIds, SessionStore

log = get_logger(__name__)

NAME_PARTS = ("first_name", "last_name", "middle_name", "prefix", "suffix")
OK, UNAUTHORISED, TOO_MANY, SERVER_ERROR, UNAVAILABLE = 200, 401, 429, 500, 503
NOT_REGISTERED = 133010
HELD = frozenset({"held_for_quality_assessment", "paused"})
"""What Meta says of a message that it has taken and not sent."""


class CloudApiProvider:
    """Passes messages and commands on to the number's account at Meta."""

    takes_user_ids = True

    def __init__(
        self,
        *,
        sessions: SessionStore,
        ids: MessageIds,
        index: MediaIndex,
        signed_urls: SignedUrls,
        api_client: ApiClient,
    ) -> None:
        self._sessions = sessions
        self._ids = ids
        self._index = index
        self._signed_urls = signed_urls
        self._api_client = api_client

    def ready(self, phone: str) -> None:
        """Return: whether Meta takes a message is known when it is asked."""

    def address(self, phone: str) -> str:
        """Meta's, or the one that the session has in its place."""
        return str(self._sessions.find(phone).webhook_forward.url or "")

    def send(self, message: OutboundMessage, *, phone: str, message_id: str) -> Receipt:
        """Pass one message on.

        Raises MessageRejected (with Meta's code), SendFailed or SendPostponed (nothing left), OutcomeUnknown.
        """
        try:
            document = as_meant(without_blanks(with_usual_names(message.to_wire())))
            links = self._signed_urls
            resolved = media.resolve(document, phone=phone, index=self._index, link=links.make, key_in=links.key_in)
            body = _with_names(with_their_ids(resolved, phone=phone, ids=self._ids))
        except MediaMissing:
            raise MessageRejected(
                "Media missing", code=131053, details="The uploaded file was deleted or has expired."
            ) from None
        except StoreUnavailable as error:
            raise SendPostponed(
                f"what the message is about cannot be read: {error}", after_ms=WAIT_FOR_STORE_MS
            ) from error
        answer = self._post(phone, body, edge="marketing_messages" if message.marketing else "messages")
        theirs = sent_id(answer.body)
        if not theirs:
            raise OutcomeUnknown("Meta answered without a message id")
        self._ids.remember(phone, theirs=theirs, ours=message_id)
        contact = first_in(answer.body, "contacts")
        recipient = str(contact.get("wa_id") or message.addressee)
        user_id = str(contact.get("user_id") or "")
        statuses = () if _is_held(answer) else (StatusUpdate(status="sent"),)
        return Receipt(recipient=recipient, user_id=user_id, statuses=statuses)

    def command(self, command: Command, *, phone: str) -> None:
        """Pass a read mark or a typing indicator on; Meta knows no deletion.

        Raises MessageRejected, SendFailed or SendPostponed, StoreUnavailable.
        """
        if command.status == "deleted":
            raise MessageRejected(
                "Unsupported", code=131051, details="Meta's Cloud API does not delete messages for everybody."
            )
        mark = {name: part for name, part in command.to_wire().items() if part not in BLANK}
        mark |= {"messaging_product": "whatsapp", "status": "read"}
        if command.typing_indicator is not None:
            mark["typing_indicator"] = {"type": command.typing_indicator.type}
        body = with_their_ids(mark, phone=phone, ids=self._ids)
        if MADE_HERE.fullmatch(str(body["message_id"])):
            log.info("mark_left_out", hint="Meta knows no such message: it was made here, or is forgotten")
            return
        try:
            self._post(phone, body)
        except OutcomeUnknown as error:
            raise SendFailed(f"{error}") from error  # it may be repeated
        except MessageRejected:
            if not SENT_HERE.fullmatch(str(mark["message_id"])):
                raise
            log.info("mark_left_out", hint="the number itself sent this message")

    def _post(self, phone: str, body: dict[str, Any], *, edge: str = "messages") -> HttpAnswer:
        try:
            account = self._sessions.find(phone).webhook_forward
        except Postponed as error:
            raise SendPostponed(f"{error}", after_ms=error.after_ms) from error
        if account.url is None or not account.phone_number_id or not account.token.get_secret_value():
            details = "Set webhookForward.phoneNumberId and .token of the session, or WEBHOOK_FORWARD_*."
            raise MessageRejected("Not registered at Meta", code=NOT_REGISTERED, details=details)
        try:
            answer = self._api_client.request(
                "POST",
                f"{address(account)}/{account.phone_number_id}/{edge}",
                headers=(bearer(account), ("Content-Type", "application/json")),
                body=serialise(body).encode(),
                timeout_ms=account.deadline_ms,
            )
        except NotSent as error:
            raise SendFailed(f"Meta was not reached: {error}") from error
        except Unanswered as error:
            raise OutcomeUnknown(f"Meta did not answer: {error}") from error
        if OK <= answer.status < OK + 100:
            return answer
        _refuse(answer, phone)
        return answer


def _with_names(message: dict[str, Any]) -> dict[str, Any]:
    """A message in which each card has a part of a name, as phones make it: Meta refuses the whole name alone."""
    if message.get("type") != "contacts":
        return message
    cards = []
    for card in message["contacts"]:
        name = card["name"]
        has_part = any(name.get(part) for part in NAME_PARTS)
        cards.append(card if has_part else {**card, "name": {**name, "first_name": name["formatted_name"]}})
    return {**message, "contacts": cards}


def address(account: Forward) -> str:
    """Where an account's part of the Graph API begins."""
    return f"{str(account.url).rstrip('/')}/{account.version}"


def bearer(account: Forward) -> tuple[str, str]:
    """The header that opens an account."""
    return ("Authorization", f"Bearer {account.token.get_secret_value()}")


def _refuse(answer: HttpAnswer, phone: str) -> None:
    error = read_error(answer.body, answer.status)
    if answer.redirect:
        details = f"webhookForward.url answered with {redirected_to(answer.redirect)}."
        raise MessageRejected("Not registered at Meta", code=NOT_REGISTERED, details=details)
    refusal = error_object(error.code, error.title, error.details)
    if answer.retry_after_s and (answer.status in (TOO_MANY, UNAVAILABLE) or error.code in RATE_LIMITS):
        after_ms = answer.retry_after_s * 1000
        raise SendPostponed(f"Meta asks for a pause ({error.code})", after_ms=after_ms, refusal=refusal)
    if answer.status >= SERVER_ERROR or answer.status == TOO_MANY or error.is_temporary:
        limited = answer.status == TOO_MANY or error.code in RATE_LIMITS
        raise SendFailed(f"Meta answered HTTP {answer.status} ({error.code})", refusal=refusal, keeps_place=limited)
    if answer.status == UNAUTHORISED or error.code == 190:  # noqa: PLR2004 (an access token that is no good)
        log.error("meta_refuses_the_token", phone=phone, hint="renew webhookForward.token of the session")
    raise MessageRejected(error.title, code=error.code, details=error.details)


def _is_held(answer: HttpAnswer) -> bool:
    """Whether Meta keeps a template back until it knows its quality: a callback says what became of it."""
    return first_in(answer.body, "messages").get("message_status") in HELD
