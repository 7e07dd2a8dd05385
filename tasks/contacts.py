"""Answers of contacts checks."""

from __future__ import annotations

from celery import shared_task

from tasks.base import UnoTask
from unoapi.models.jobs import PostContacts
from unoapi.services import contacts


@shared_task(name=PostContacts.task, base=UnoTask, bind=True)
def post(self: UnoTask, job: PostContacts) -> None:
    """Make one attempt to post the answer to the client's address."""
    uno = self.uno
    contacts.post(job, url=job.url, history=self.history, sender=uno.webhook_client, bulkhead=uno.bulkhead)
