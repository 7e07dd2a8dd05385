"""Who is on WhatsApp, and posting the answer to an address that the client named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unoapi.models.contacts import contact_key
from unoapi.models.phones import is_valid
from unoapi.models.session import Webhook
from unoapi.ports import KnowsContacts
from unoapi.services.answers import delivery_error
from unoapi.services.retries import ensure_fresh

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unoapi.models.attempts import Attempt, History
    from unoapi.models.jobs import PostContacts, PostSessionState
    from unoapi.ports import Provider, WebhookSender
    from unoapi.services.bulkhead import Bulkhead


def check(phone: str, numbers: Sequence[str], *, provider: Provider) -> list[dict[str, Any]]:
    """The contacts of the Cloud API, in order: `input`, `status` (valid or invalid) and, of valid ones, `wa_id`."""
    there = (
        provider.contacts(phone, numbers)
        if isinstance(provider, KnowsContacts)
        else [is_valid(contact_key(number)) for number in numbers]
    )
    return [
        {"input": number, "status": "valid", "wa_id": contact_key(number)}
        if valid
        else {"input": number, "status": "invalid"}
        for number, valid in zip(numbers, there, strict=True)
    ]


def post_answer(
    job: PostContacts, *, history: History, sender: WebhookSender, bulkhead: Bulkhead, max_age_s: int
) -> Attempt:
    """Make one attempt. Raises DeliveryFailed (retry), Postponed (wait), DeliveryRefused, TooOld (give up)."""
    ensure_fresh(job, max_age_s=max_age_s)
    return post(job, url=job.url, history=history, sender=sender, bulkhead=bulkhead)


def post(
    job: PostContacts | PostSessionState, *, url: str, history: History, sender: WebhookSender, bulkhead: Bulkhead
) -> Attempt:
    """Post a job's body once. Raises DeliveryFailed (retry), Postponed (wait), DeliveryRefused (give up)."""
    webhook = Webhook.model_validate({"id": job.task, "urlAbsolute": url})
    with bulkhead.taken(url):
        answer = sender.post(webhook, phone=job.phone, delivery_id=job.id, attempt=history.tries + 1, body=job.body)
    if not answer.delivered:
        raise delivery_error(answer)
    return answer.as_attempt()
