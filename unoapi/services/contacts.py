"""Who is on WhatsApp, and posting the answer to an address that the client named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unoapi.models.contacts import is_phone
from unoapi.models.phones import is_valid, read_address
from unoapi.models.session import Webhook
from unoapi.ports import KnowsContacts
from unoapi.services.answers import asked_to_wait, delivery_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unoapi.models.attempts import Attempt, History
    from unoapi.models.jobs import PostContacts, PostSessionState
    from unoapi.ports import Provider, WebhookSender
    from unoapi.services.bulkhead import Bulkhead


def check(phone: str, numbers: Sequence[str], *, provider: Provider) -> list[dict[str, Any]]:
    """The contacts of the Cloud API, in order: `input`, `status` (valid or invalid) and, of valid ones, `wa_id`."""
    read = [_phone(number, own=phone) for number in numbers]
    asked = list(dict.fromkeys(filter(None, read)))
    there = provider.contacts(phone, asked) if isinstance(provider, KnowsContacts) else map(is_valid, asked)
    valid = {number for number, known in zip(asked, there, strict=True) if known}
    return [
        {"input": written, "status": "valid", "wa_id": number}
        if number in valid
        else {"input": written, "status": "invalid"}
        for written, number in zip(numbers, read, strict=True)
    ]


def _phone(written: str, *, own: str) -> str:
    """The phone that a text means; empty when it means none."""
    return read_address(written, own=own) if is_phone(written, own=own) else ""


def post(
    job: PostContacts | PostSessionState, *, url: str, history: History, sender: WebhookSender, bulkhead: Bulkhead
) -> Attempt:
    """Post a job's body once. Raises DeliveryFailed (retry), Postponed (wait), DeliveryRefused (give up)."""
    webhook = Webhook.model_validate({"id": job.task, "urlAbsolute": url})
    with bulkhead.taken(url, phone=job.phone):
        answer = sender.post(webhook, phone=job.phone, delivery_id=job.id, attempt=history.tries + 1, body=job.body)
    if (wait := asked_to_wait(answer)) is not None:
        raise wait
    if not answer.delivered:
        raise delivery_error(answer)
    return answer.as_attempt()
