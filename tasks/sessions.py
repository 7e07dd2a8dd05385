"""Changes of sessions' connections, posted to their `sessionWebhook`."""

from __future__ import annotations

from tasks.app import app
from tasks.base import UnoTask
from unoapi.bootstrap import unoapi
from unoapi.models.jobs import PostSessionState
from unoapi.providers.whatsmeow import session_notices


@app.task(name=PostSessionState.task, base=UnoTask, bind=True)
def tell(self: UnoTask, job: PostSessionState) -> None:
    """Make one attempt to post the state."""
    uno = unoapi()
    session_notices.post_state(
        job,
        history=self.history,
        sessions=uno.sessions,
        sender=uno.webhooks,
        max_age_s=uno.settings.unoapi_send_max_age,
    )
