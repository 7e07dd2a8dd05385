"""State changes of sessions, for those who want them posted."""

from __future__ import annotations

from celery import shared_task

from tasks.base import UnoTask
from unoapi.models.jobs import PostSessionState
from unoapi.providers.whatsmeow import session_notices


@shared_task(name=PostSessionState.task, base=UnoTask, bind=True)
def post(self: UnoTask, job: PostSessionState) -> None:
    """Make one attempt to post the state change to the session's webhook for such."""
    uno = self.uno
    session_notices.tell(
        job,
        history=self.history,
        sessions=uno.sessions,
        sender=uno.webhooks,
        max_age_s=uno.settings.unoapi_send_max_age,
    )
