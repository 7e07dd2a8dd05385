"""Answers of contacts checks."""

from __future__ import annotations

from tasks.app import app
from tasks.base import UnoTask
from unoapi.bootstrap import unoapi
from unoapi.models.jobs import PostContacts
from unoapi.services import contacts


@app.task(name=PostContacts.task, base=UnoTask, bind=True)
def tell(self: UnoTask, job: PostContacts) -> None:
    """Make one attempt to post the answer."""
    uno = unoapi()
    contacts.post_answer(job, history=self.history, sender=uno.webhooks, max_age_s=uno.settings.unoapi_message_max_age)
