"""Campaigns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery import shared_task

from tasks.base import UnoTask
from tasks.sending import send_message
from unoapi.errors import BrokerUnavailable, StoreUnavailable
from unoapi.models.activity import SENT
from unoapi.models.jobs import (
    AdvanceCampaign,
    MessageJob,
    ParseCampaign,
    RecordReaction,
    ReportCampaign,
    SendBulkMessage,
)
from unoapi.models.message_log import LoggedMessage
from unoapi.services import bulk, bulk_parsing, bulk_reports
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from unoapi.bootstrap import Uno

log = get_logger(__name__)


@shared_task(name=ParseCampaign.task, base=UnoTask, bind=True)
def parse(self: UnoTask, job: ParseCampaign) -> None:
    """Read a campaign's file, then let it begin."""
    from unoapi.media.tables import read_table  # noqa: PLC0415 (workbooks take 10 MB, and are seldom read)

    uno = self.uno
    context = bulk_parsing.ParsingContext(
        campaigns=uno.campaigns,
        files=uno.media_store,
        index=uno.media_index,
        downloader=uno.media_downloader,
        sessions=uno.sessions,
        operator=uno.operator_accounts,
        read_table=read_table,
        timeout_ms=uno.settings.unoapi_fetch_timeout_ms,
        quota=uno.settings.unoapi_session_media_max,
    )
    envelopes, entries = bulk_parsing.parse(job, context)
    self.publish_patiently(envelopes)
    uno.traces.add(*entries)


@shared_task(name=AdvanceCampaign.task, base=UnoTask, bind=True)
def advance(self: UnoTask, job: AdvanceCampaign) -> None:
    """Queue what is due of a campaign, and the next look; then save how far it is."""
    uno, settings = self.uno, self.uno.settings
    context = bulk.CampaignContext(
        campaigns=uno.campaigns,
        files=uno.media_store,
        sessions=uno.sessions,
        providers=uno.providers,
        blacklist=uno.blacklist,
        send_max_age_s=settings.unoapi_send_max_age,
        least_step_ms=settings.campaign_step_ms,
        voice=settings.convert_audio_message_to_ogg,
        always_voice=settings.send_audio_message_as_ptt,
    )
    look = bulk.advance(job, context)
    self.publish_patiently(look.published)
    look.save(uno.campaigns)
    uno.traces.add(*look.entries)
    for sent in (envelope.job for envelope in look.envelopes):
        if isinstance(sent, MessageJob):
            uno.message_log.add(LoggedMessage.of(sent, "bulk"), body=sent.body)
            uno.activity.count(job.phone, SENT)


def look_again(uno: Uno) -> None:
    """Look at campaigns whose own job got lost. Never raises."""
    try:
        uno.publisher.publish(bulk.looks_again(uno.campaigns))
    except (BrokerUnavailable, StoreUnavailable) as error:
        log.info("campaigns_not_checked", error=f"{error}", hint="it is tried again in an hour")


@shared_task(name=SendBulkMessage.task, base=UnoTask, bind=True)
def send(self: UnoTask, job: SendBulkMessage) -> None:
    """Send one message of a campaign."""
    send_message(self, job)


@shared_task(name=RecordReaction.task, base=UnoTask, bind=True)
def record(self: UnoTask, job: RecordReaction) -> None:
    """Save what Redis could not take when it happened."""
    self.publish_patiently(bulk.record(job, campaigns=self.uno.campaigns, sessions=self.uno.sessions))


@shared_task(name=ReportCampaign.task, base=UnoTask, bind=True)
def report(self: UnoTask, job: ReportCampaign) -> None:
    """Send a campaign's report to the number itself."""
    uno = self.uno
    campaign = uno.campaigns.find(job.phone, job.message_id)
    if campaign is not None:
        envelope = bulk_reports.send_report(
            job, campaign, campaigns=uno.campaigns, files=uno.media_store, index=uno.media_index
        )
        self.publish_patiently([envelope])
