"""Campaigns that a number begins in its own chat, as with the Node version: a document; and the report of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unoapi.errors import RequestError
from unoapi.models.bulk import CAMPAIGN_ID, Campaign, new_campaign_id, pace_of
from unoapi.models.jobs import now_ms
from unoapi.services import bulk
from unoapi.services.media import own_id
from unoapi.services.own_chat import Outcome

if TYPE_CHECKING:
    from unoapi.ports import Campaigns, SessionStore
    from unoapi.services.own_chat import OwnMessage

CAPTION = "campanha"
REPORT = "unoapi-bulk-report"


def begin_or_report(message: OwnMessage, *, campaigns: Campaigns, sessions: SessionStore) -> Outcome | None:
    """Begin a campaign with a document's rows, or send a report; none for any other message.

    A repeated message begins no second campaign. Raises RequestError, StoreUnavailable.
    """
    if message.type == "document" and str(message.content.get("caption") or "").strip().casefold() == CAPTION:
        return _begin(message, campaigns=campaigns, sessions=sessions)
    if message.template == REPORT or message.text.strip().split("\n", 1)[0].strip().casefold() == REPORT:
        return _report(message, campaigns=campaigns)
    return None


def _begin(message: OwnMessage, *, campaigns: Campaigns, sessions: SessionStore) -> Outcome:
    campaign = Campaign(
        id=new_campaign_id(f"own chat\x1f{message.phone}\x1f{message.id}"),
        phone=message.phone,
        name=str(message.content.get("filename") or "")[:200],
        notify=True,
        pace=pace_of(sessions.find(message.phone)),
        created_ms=now_ms(),
    )
    media_id, link = str(message.content.get("id") or ""), str(message.content.get("link") or "")
    if not media_id and not link:
        details = "the file of the document could not be had: send it again"
        raise RequestError("Campanha", code=131052, status=400, details=details)
    if campaigns.find(campaign.phone, campaign.id) is None:
        bulk.ensure_room(campaign.phone, campaigns=campaigns)
        campaigns.create(campaign)
    own = own_id(message.phone, media_id) if media_id else ""
    job = bulk.parse_job(campaign, media_id=own, link="" if own else link)
    return Outcome(jobs=(job, bulk.notice(campaign, "read")))


def _report(message: OwnMessage, *, campaigns: Campaigns) -> Outcome:
    named = CAMPAIGN_ID.search(message.text.upper())
    campaign = campaigns.find(message.phone, named[0]) if named else None
    if campaign is None:
        details = "there is no campaign of this id: it is written as UNO.CMD.0123456789ABCDEF"
        raise RequestError(REPORT, code=100, status=404, details=details)
    return Outcome(jobs=(bulk.report_job(campaign, about=message.id),))
