"""News of sessions for who wants them posted."""

from __future__ import annotations

from tasks.app import app
from tasks.base import UnoTask
from unoapi.bootstrap import unoapi
from unoapi.models.jobs import PostSessionState
from unoapi.providers.whatsmeow import session_notices


@app.task(name=PostSessionState.task, base=UnoTask, bind=True)
def tell(self: UnoTask, job: PostSessionState) -> None:
    """Make one attempt to tell."""
    uno = unoapi()
    session_notices.tell(
        job,
        history=self.history,
        sessions=uno.sessions,
        sender=uno.webhooks,
        max_age_s=uno.settings.unoapi_send_max_age,
    )
