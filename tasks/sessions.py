"""Changes of sessions' connections, posted to their `sessionWebhook`."""

from __future__ import annotations

from celery import shared_task

from tasks.base import UnoTask
from unoapi.models.jobs import PostSessionState
from unoapi.providers.whatsmeow import session_notices


@shared_task(name=PostSessionState.task, base=UnoTask, bind=True)
def post(self: UnoTask, job: PostSessionState) -> None:
    """Make one attempt to post the state."""
    uno = self.uno
    session_notices.post_state(
        job,
        history=self.history,
        sessions=uno.sessions,
        sender=uno.webhook_client,
        bulkhead=uno.bulkhead,
        max_age_s=uno.settings.unoapi_send_max_age,
    )
