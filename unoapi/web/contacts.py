"""Who is on WhatsApp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from flask import Blueprint, current_app, jsonify
from pydantic import BaseModel, ConfigDict, Field

from unoapi.errors import RequestError
from unoapi.models.blanks import EmptyIsAbsent, NothingIsEmpty
from unoapi.models.cloud_api.events import serialise
from unoapi.models.jobs import Envelope, PostContacts, computed_id, now_ms
from unoapi.models.options import WebUrl
from unoapi.services import contacts
from unoapi.web.auth import session_token
from unoapi.web.concurrency_limit import ConcurrencyLimit
from unoapi.web.parts import parts
from unoapi.web.schemas import body

if TYPE_CHECKING:
    from flask import Flask
    from flask.typing import ResponseReturnValue

routes = Blueprint("contacts", __name__)

EXTENSION = "contacts"


def register_waiting(app: Flask, *, threads: int) -> None:
    """Let a quarter of the API's threads wait for connectors, half of these for one number."""
    of_all = max(1, threads // 4)
    app.extensions[EXTENSION] = ConcurrencyLimit(of_all, of_one=max(1, of_all // 2), what="look for contacts")


class ContactsCheck(BaseModel):
    """Numbers to look for; `webhook` gets the answer, too. `blocking` and `force_check` change nothing."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, coerce_numbers_to_str=True)

    contacts: list[Annotated[str, Field(max_length=128), NothingIsEmpty]] = Field(min_length=1, max_length=1000)
    webhook: Annotated[WebUrl | None, EmptyIsAbsent] = None


@routes.post("/<digits:phone>/contacts")
@routes.post("/<version>/<node:phone>/contacts")
@session_token
@body(ContactsCheck)
def check(phone: str, body: ContactsCheck, version: str = "") -> ResponseReturnValue:  # noqa: ARG001 (any version is served alike)
    """Say of each number whether it is on WhatsApp."""
    uno = parts()
    if body.webhook is not None and (why := uno.address_guard.refusal(str(body.webhook))):
        raise RequestError("Webhook address not allowed", code=100, status=400, details=f"{why}.")
    provider = uno.providers[uno.sessions.find(phone).provider]
    limit: ConcurrencyLimit = current_app.extensions[EXTENSION]
    with limit.taken(phone):  # a connector may take its time
        answer = {"contacts": contacts.check(phone, body.contacts, provider=provider)}
    if body.webhook is not None:
        text, url = serialise(answer), str(body.webhook)
        job_id = computed_id("contacts", phone, url, text, str(now_ms()))
        uno.publisher.publish([Envelope(PostContacts(id=job_id, phone=phone, url=url, body=text))])
    return jsonify(answer)
