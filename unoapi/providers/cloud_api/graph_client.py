"""Everything of a number's account at Meta that this gateway has no form of its own for: passed on as it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from unoapi.errors import NotSent, RequestError, Unanswered
from unoapi.models.attempts import redirected_to
from unoapi.models.graph import GraphAnswer
from unoapi.providers.cloud_api.graph import read_error
from unoapi.providers.cloud_api.provider import NOT_REGISTERED, UNAUTHORISED, address, bearer
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from unoapi.http.api_client import ApiClient, HttpAnswer
    from unoapi.models.graph import GraphRequest
    from unoapi.models.session import Session

log = get_logger(__name__)

MAX_ANSWER_BYTES = 4 * 1024 * 1024
BAD_TOKEN = 190
IN_PATH = "/:=+"
"""What stays as it is in a path: ids of uploads are base64 behind a colon."""


class CloudApiGraph:
    """Meta's Graph, with the credentials of the session and no others."""

    def __init__(self, *, api_client: ApiClient) -> None:
        self._api_client = api_client

    def ask(self, session: Session, request: GraphRequest) -> GraphAnswer:
        """Pass one request on. Raises RequestError when Meta was not reached, did not answer, or refuses the token."""
        account = session.webhook_forward
        if account.url is None or not account.phone_number_id or not account.token.get_secret_value():
            details = "Set webhookForward.phoneNumberId and .token of the session, or WEBHOOK_FORWARD_*."
            raise RequestError("Not registered at Meta", code=NOT_REGISTERED, status=400, details=details)
        query = f"?{urlencode(request.query)}" if request.query else ""
        headers = [bearer(account), *request.headers]
        if request.content_type:
            headers.append(("Content-Type", request.content_type))
        try:
            answer = self._api_client.request(
                request.method,
                f"{address(account)}/{quote(request.path, safe=IN_PATH)}{query}",
                headers=tuple(headers),
                body=request.body,
                timeout_ms=account.deadline_ms,
                max_bytes=MAX_ANSWER_BYTES,
            )
        except NotSent as error:
            raise _unavailable(f"Meta was not reached: {error}. Nothing was done.") from error
        except Unanswered as error:
            raise _unavailable(f"Meta did not answer: {error}. It may have been done or not.") from error
        return _checked(answer, session)


def _checked(answer: HttpAnswer, session: Session) -> GraphAnswer:
    """What Meta said. That our own token is no good is no matter of the client's token: never 401."""
    if answer.status >= 400 and (  # noqa: PLR2004 (an error)
        answer.status == UNAUTHORISED or read_error(answer.body, answer.status).code == BAD_TOKEN
    ):
        log.error("meta_refuses_the_token", phone=session.phone, hint="renew webhookForward.token of the session")
        details = "Meta refuses the token of the session: renew webhookForward.token."
        raise RequestError("Access denied", code=131005, status=502, details=details)
    if answer.redirect:
        details = f"webhookForward.url answered with {redirected_to(answer.redirect)}."
        raise RequestError("Not registered at Meta", code=NOT_REGISTERED, status=502, details=details)
    try:
        json.loads(answer.body or b"{}")
    except (ValueError, RecursionError):
        raise _unavailable(f"Meta's answer (HTTP {answer.status}) is no JSON.") from None
    if not answer.complete:
        raise _unavailable(f"Meta's answer broke off, or has more than {MAX_ANSWER_BYTES} bytes.")
    return GraphAnswer(status=answer.status, body=answer.body, retry_after_s=answer.retry_after_s)


def _unavailable(details: str) -> RequestError:
    return RequestError("Service temporarily unavailable", code=131016, status=503, details=details, retry_after_s=5)
