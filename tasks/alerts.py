"""Alerts to the operator's chats and mailboxes."""

from __future__ import annotations

from celery import shared_task

from tasks.base import UnoTask
from unoapi.models.jobs import CollectAlert, PostAlert, SendDigest
from unoapi.services import alerts


@shared_task(name=CollectAlert.task, base=UnoTask, bind=True)
def collect(self: UnoTask, job: CollectAlert) -> None:
    """Gather one failure, and queue the digest that tells it, unless one is on its way."""
    uno = self.uno
    digest = alerts.collect(job, store=uno.alerts) if uno.alert_channels.names else None
    if digest is not None:
        uno.publisher.publish([digest])
        uno.alerts.began(digest.delay_ms)


@shared_task(name=SendDigest.task, base=UnoTask, bind=True)
def send_digest(self: UnoTask, job: SendDigest) -> None:
    """Queue an alert for each channel about all that was gathered."""
    uno = self.uno
    host = uno.settings.base_url.host or ""
    posts = alerts.digest_jobs(job, store=uno.alerts, channels=uno.alert_channels.names, place=host)
    if posts:
        uno.publisher.publish(posts)
    uno.alerts.forget(job.id)


@shared_task(name=PostAlert.task, base=UnoTask, bind=True)
def post(self: UnoTask, job: PostAlert) -> None:
    """Post one alert to one channel."""
    alerts.post(job, channels=self.uno.alert_channels, bulkhead=self.uno.bulkhead)
