"""Campaigns on their way: begun, advanced, controlled, and what becomes of their rows.

One job at a time looks after a campaign. It carries where the campaign is, queues what is due, and publishes the next
look with it; only then are the place and the next look saved: any other is a copy, and ends. A look that is repeated
makes the same messages, whose claims stop copies.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from unoapi.errors import MediaMissing, Postponed, RequestError, StoreUnavailable
from unoapi.models.bulk import (
    BLACKLISTED,
    OF_ONE_CONTACT_AT_META,
    OPEN,
    OPTED_OUT,
    QUEUED,
    RESTRICTIONS,
    UNKNOWN,
    WINDOW,
    Campaign,
    GoodRow,
    code_of,
    message_id_of,
    now,
    row_of,
)
from unoapi.models.cloud_api.events import serialise
from unoapi.models.contacts import contact_keys
from unoapi.models.jobs import (
    AdvanceCampaign,
    Envelope,
    FanOut,
    MessageJob,
    ParseCampaign,
    RecordReaction,
    ReportCampaign,
    SendBulkMessage,
    SendMessage,
    computed_id,
    now_ms,
)
from unoapi.models.trace import TraceEntry
from unoapi.services.bulk_rows import MAX_ROW_BYTES, lines_of
from unoapi.services.first_jobs import first_job
from unoapi.services.media import holders
from unoapi.services.message_parsing import ACCEPTED, parse_message
from unoapi.services.own_chat import note
from unoapi.services.phone_commands import PORTUGUESE
from unoapi.telemetry.metrics import CAMPAIGN_STATUSES, metrics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unoapi.models.session import Session
    from unoapi.ports import BlacklistStore, Campaigns, MediaStore, Provider, SessionStore

LOOK_MS = 250
SOON_MS = 1000
AWAY_LOOK_MS = 10_000
PAUSED_LOOK_MS = 60_000
CLOSED_LOOK_MS = 600_000
SHORTEST_TURN_MS = 15_000
LONGEST_SILENCE_MS, SILENT = 30 * 86_400_000, "nothing could be sent for 30 days"
REMOVED = "the number was removed"
NO_STATUS_S = 900
"""So much longer than a message may wait to be sent, a row waits for its status."""
LINE_BYTES = 2 * MAX_ROW_BYTES + 1024
"""A row's line in its file, whose JSON holds the message's JSON as a text."""
MAX_OPEN, ROOM_WAIT_S = 20, 60
"""Campaigns of a number that are not over."""
TEXTS = {
    "en": {
        "parsed": "{total} to send, {bad} bad rows, {duplicates} duplicates.",
        "failed": "nothing is sent: {why}.",
        "held": "it is held. {why}",
        "read": "its rows are being read.",
    },
    "pt": {
        "parsed": "{total} a enviar, {bad} linhas ruins, {duplicates} repetidas.",
        "failed": "nada é enviado: {why}.",
        "held": "está parada. {why}",
        "read": "as linhas estão sendo lidas.",
    },
}
LOST = "Redis lost what was known of this campaign: bring the opt-outs back, then resume it"


@dataclass(frozen=True, kw_only=True)
class CampaignContext:
    """What a look at a campaign works with. `least_step_ms` is the shortest time between two messages of a phone."""

    campaigns: Campaigns
    files: MediaStore
    sessions: SessionStore
    providers: Mapping[str, Provider]
    blacklist: BlacklistStore
    send_max_age_s: int
    least_step_ms: float
    voice: bool
    always_voice: bool


@dataclass(frozen=True)
class Look:
    """What a look found: what is published, and then saved.

    `following` looks next, and `waits` says for what; `campaign` is where it is when rows were queued.
    """

    following: Envelope | None = None
    envelopes: list[Envelope] = field(default_factory=list)
    campaign: Campaign | None = None
    marks: dict[int, str] = field(default_factory=dict)
    entries: list[TraceEntry] = field(default_factory=list)
    waits: str = ""

    @property
    def published(self) -> list[Envelope]:
        """All that is published, together."""
        return [*self.envelopes, *([self.following] if self.following else [])]

    def save(self, campaigns: Campaigns) -> None:
        """Save what the look came to, when it is published. Raises StoreUnavailable."""
        if self.following is None:
            return
        job = self.following.job
        if self.campaign is not None:
            campaigns.advance(self.campaign.model_copy(update={"look": job.id}), self.marks)
            queued = sum(code == QUEUED for code in self.marks.values())
            metrics().campaign_row("queued", count=queued)
            metrics().campaign_row("excluded", count=len(self.marks) - queued)
        else:
            campaigns.looked(job.phone, job.message_id, look=job.id, waits=self.waits)


def advance(job: AdvanceCampaign, context: CampaignContext) -> Look:
    """Queue what is due of a campaign, and the next look. Raises StoreUnavailable: it waits for Redis."""
    known, campaigns = Campaign.model_validate(job.campaign), context.campaigns
    campaign = campaigns.find(job.phone, known.id)
    if campaign is None:
        place = {"row": job.row, "offset": job.offset, "chain": job.chain}
        campaigns.create(known.model_copy(update={**place, "state": "held", "reason": LOST}))
        return Look(_again(job, PAUSED_LOOK_MS), entries=[entry(known, "postponed", LOST)])
    is_copy = job.chain < campaign.chain or job.row < campaign.row or campaign.look not in ("", job.id)
    if is_copy or campaign.is_over or campaign.state in ("parsing", "previewed"):
        return Look()
    if campaign.state != "running":
        return Look(_again(job, PAUSED_LOOK_MS))
    campaign = campaign.model_copy(update={"row": job.row, "offset": job.offset})
    return _ending(job, campaign, context) or _queued(job, campaign, context)


def _ending(job: AdvanceCampaign, campaign: Campaign, context: CampaignContext) -> Look | None:
    """What there is to do when no more rows are to be queued, or too long none could be; none while there are some."""
    campaigns = context.campaigns
    if _is_anothers(campaign, context):
        campaigns.move(job.phone, campaign.id, "stopped", reason=REMOVED)
        return Look(entries=[entry(campaign, "failed", REMOVED)])
    if now_ms() - max(campaign.created_ms, campaign.started_ms, campaign.last_ms) > LONGEST_SILENCE_MS:
        campaigns.move(job.phone, campaign.id, "stopped", reason=SILENT)
        return Look(entries=[entry(campaign, "failed", SILENT)])
    if campaign.in_flight and _is_silent(campaign, context):
        return _give_up_waiting(job, campaign, context)
    if job.row >= campaign.total:
        return Look(_again(job, SOON_MS)) if campaign.in_flight else _finished(campaign, campaigns)
    return None


def _is_anothers(campaign: Campaign, context: CampaignContext) -> bool:
    """Whether the number was removed since the campaign began, and may be somebody else's now."""
    with suppress(Postponed):
        return campaign.created_ms <= context.sessions.find(campaign.phone).began_ms
    return False


def _queued(job: AdvanceCampaign, campaign: Campaign, context: CampaignContext) -> Look:
    """The rows that may go now, if any may."""
    campaigns, at_ms = context.campaigns, now_ms()
    if closed_s := campaign.pace.closed_s(now(), phone=job.phone):
        return _waits(job, "the hours in which it may send", min(closed_s * 1000, CLOSED_LOOK_MS))
    try:
        session = context.sessions.find(job.phone)
        context.providers[session.provider].ready(job.phone)
    except Postponed as error:
        return _waits(job, f"the number: {error}", AWAY_LOOK_MS)
    least_ms = context.least_step_ms if session.provider == "whatsmeow" else 0.0
    most = max(0, WINDOW - campaign.in_flight)
    count = campaign.pace.allowed(at_ms, campaign.due_ms, most=most, least_step_ms=least_ms)
    if not count:
        return Look(_again(job, max(LOOK_MS, min(int(campaign.due_ms - at_ms), CLOSED_LOOK_MS))))
    turn_ms = min(max(int(2 * campaign.pace.step_ms), SHORTEST_TURN_MS), CLOSED_LOOK_MS)
    holder = campaigns.take_turn(job.phone, campaign.id, for_ms=turn_ms)
    if holder != campaign.id:
        return _waits(job, f"the campaign {holder}", AWAY_LOOK_MS)
    if not campaigns.lease(job.phone, campaign.id):
        return Look(_again(job, SOON_MS))
    return _rows_queued(job, campaign, context, session=session, count=count, least_ms=least_ms)


def _rows_queued(  # noqa: PLR0913 (what was found out before)
    job: AdvanceCampaign,
    campaign: Campaign,
    context: CampaignContext,
    *,
    session: Session,
    count: int,
    least_ms: float,
) -> Look:
    try:
        pieces = context.files.read(campaign.rows_key, start=job.offset, length=count * LINE_BYTES)
        lines = list(islice(lines_of(pieces), min(count, campaign.total - job.row)))
    except MediaMissing:
        lines = []
    if not lines:
        why = "the file with its rows is gone"
        context.campaigns.move(job.phone, campaign.id, "failed", reason=why)
        return Look(entries=[entry(campaign, "failed", why)])
    rows = [GoodRow.model_validate_json(line) for line in lines]
    marks = _excluded(job.row, rows, context, session=session)
    links = _files_of(rows, campaign, context)
    envelopes = []
    for number, row in enumerate(rows, start=job.row):
        if number not in marks:
            envelopes.append(Envelope(_message(campaign, number, row, context, session=session, links=links)))
            marks[number] = QUEUED
    at_ms, sent = now_ms(), len(envelopes)
    moved = campaign.model_copy(
        update={
            "row": job.row + len(rows),
            "offset": job.offset + sum(map(len, lines)),
            "due_ms": campaign.pace.next_due(at_ms, campaign.due_ms, sent=sent, least_step_ms=least_ms),
            "last_ms": at_ms,
        }
    )
    following = job.model_copy(update={"row": moved.row, "offset": moved.offset})
    entries = [TraceEntry.of(envelope.job, "accepted", kind="bulk", detail=campaign.id) for envelope in envelopes]
    wait_ms = max(LOOK_MS, min(int(moved.due_ms - at_ms), CLOSED_LOOK_MS)) if sent else 0
    return Look(_again(following, wait_ms), envelopes, moved, marks, entries)


def _excluded(first: int, rows: Sequence[GoodRow], context: CampaignContext, *, session: Session) -> dict[int, str]:
    """The rows of contacts who want no campaigns, or are on the blacklist of a webhook."""
    webhooks = [webhook.id for webhook in session.webhooks]
    keys = {row.to: contact_keys(row.to) for row in rows}
    out = context.campaigns.opted_out(session.phone, list(chain.from_iterable(keys.values())))
    left = {to: own for to, own in keys.items() if out.isdisjoint(own)}
    blocked = context.blacklist.blocked_by_any(session.phone, webhooks, list(chain.from_iterable(left.values())))
    reasons = dict.fromkeys(keys.keys() - left.keys(), OPTED_OUT)
    reasons |= {to: BLACKLISTED for to, own in left.items() if not blocked.isdisjoint(own)}
    return {number: reasons[row.to] for number, row in enumerate(rows, start=first) if row.to in reasons}


def _files_of(rows: Sequence[GoodRow], campaign: Campaign, context: CampaignContext) -> dict[str, str]:
    """The files of addresses that the campaign fetched before: one address is not fetched for each row."""
    messages = [json.loads(row.body) for row in rows]
    links = {str(holder["link"]) for message in messages for holder in holders(message) if holder.get("link")}
    return context.campaigns.files(campaign.phone, campaign.id, sorted(links))


def remember_files(job: MessageJob, fetched: MessageJob, *, campaigns: Campaigns) -> None:
    """Remember what the addresses of a campaign's message became. Never raises."""
    found = row_of(job.id)
    if found is None:
        return
    for before, after in zip(holders(json.loads(job.body)), holders(json.loads(fetched.body)), strict=True):
        if before.get("link") and after.get("id"):
            campaigns.remember_file(job.phone, found[0], str(before["link"]), str(after["id"]))


def _message(  # noqa: PLR0913 (what a message is made of)
    campaign: Campaign,
    number: int,
    row: GoodRow,
    context: CampaignContext,
    *,
    session: Session,
    links: Mapping[str, str],
) -> MessageJob:
    """The job of a row's message: never sent while nobody can say whether a copy of it was."""
    document: dict[str, Any] = json.loads(row.body)
    if session.provider == "whatsmeow":
        for holder in holders(document):
            if (media_id := links.get(str(holder.get("link")))) is not None:
                del holder["link"]
                holder["id"] = media_id
    message = parse_message(document, sender=ACCEPTED)
    kind = first_job(
        message,
        for_phone=session.provider == "whatsmeow",
        voice=context.voice,
        always_voice=context.always_voice,
    )
    message_id = message_id_of(campaign.id, number)
    return (SendBulkMessage if kind is SendMessage else kind)(
        id=message_id, phone=campaign.phone, message_id=message_id, body=serialise(document), claimed_only=True
    )


def _waits(job: AdvanceCampaign, why: str, wait_ms: float) -> Look:
    return Look(_again(job, max(LOOK_MS, int(wait_ms))), waits=why)


def _is_silent(campaign: Campaign, context: CampaignContext) -> bool:
    """Whether the messages on their way have had no status for longer than a message may take."""
    return now_ms() - campaign.last_ms > (context.send_max_age_s + NO_STATUS_S) * 1000


def _give_up_waiting(job: AdvanceCampaign, campaign: Campaign, context: CampaignContext) -> Look:
    """Go on without the statuses of messages that nobody has heard of."""
    first = max(0, campaign.row - 1000)
    codes = context.campaigns.codes(job.phone, campaign.id, first, campaign.row - first)
    for number, code in enumerate(codes, start=first):
        if code == QUEUED:
            context.campaigns.mark(job.phone, campaign.id, number, UNKNOWN, error="no status came")
    return Look(_again(job, SOON_MS))


def _finished(campaign: Campaign, campaigns: Campaigns) -> Look:
    campaigns.move(campaign.phone, campaign.id, "done", of=("running",))
    envelopes = []
    if campaign.notify:
        envelopes.append(report_job(campaign))
    return Look(envelopes=envelopes, entries=[entry(campaign, "sent", f"{campaign.total} rows")])


def _again(job: AdvanceCampaign, wait_ms: int) -> Envelope:
    """The next look: as old as its publish, because a campaign may last longer than any message.

    Its id is drawn: of two next looks, made by a look that was repeated, one is known as the copy.
    """
    return Envelope(job.model_copy(update={"id": str(uuid4()), "accepted_at_ms": now_ms()}), delay_ms=wait_ms)


def entry(campaign: Campaign, step: Any, detail: str) -> TraceEntry:
    """A step of a campaign, which is followed by its id like a message."""
    return TraceEntry(step=step, phone=campaign.phone, message_id=campaign.id, kind="bulk", detail=detail[:300])


# --- by hand ---


def parse_job(
    campaign: Campaign, *, media_id: str = "", link: str = "", is_json: bool = False, template: str = ""
) -> Envelope:
    """The job that reads a campaign's file."""
    return Envelope(
        ParseCampaign(
            id=computed_id("campaign file", campaign.id),
            phone=campaign.phone,
            message_id=campaign.id,
            campaign=_carried(campaign),
            media_id=media_id,
            link=link,
            is_json=is_json,
            template=template,
        )
    )


def first_look(campaign: Campaign) -> Envelope:
    """The job that looks after a campaign from where it is."""
    job = AdvanceCampaign(
        id=computed_id("campaign", campaign.id, f"{campaign.chain}", f"{campaign.row}"),
        phone=campaign.phone,
        message_id=campaign.id,
        campaign=_carried(campaign),
        row=campaign.row,
        offset=campaign.offset,
        chain=campaign.chain,
    )
    return Envelope(job)


def report_job(campaign: Campaign, *, about: str = "") -> Envelope:
    """The job that sends a campaign's report to the number itself; the same `about` gives the same message."""
    report_id = computed_id("campaign report", campaign.id, about)
    return Envelope(
        ReportCampaign(id=report_id, phone=campaign.phone, message_id=campaign.id, campaign=_carried(campaign))
    )


def ensure_room(phone: str, *, campaigns: Campaigns) -> None:
    """Refuse another campaign of a number that has too many. Raises RequestError, StoreUnavailable."""
    if sum(not one.is_over for one in campaigns.all(phone)) >= MAX_OPEN:
        details = f"{MAX_OPEN} campaigns of {phone} are not over: stop some, or wait."
        raise RequestError("Rate limit hit", code=130429, status=429, details=details, retry_after_s=ROOM_WAIT_S)


def _carried(campaign: Campaign) -> dict[str, object]:
    """A campaign as its jobs carry it: what Redis knows better is left out."""
    return campaign.model_dump(mode="json", exclude={"counts", "waits", "reason"})


def pause(phone: str, campaign_id: str, *, campaigns: Campaigns) -> str:
    """Let a campaign queue nothing more until it is resumed. The state afterwards; empty when it is not known."""
    return campaigns.move(phone, campaign_id, "paused", reason="paused by hand", of=("running", "held", "paused"))


def resume(phone: str, campaign_id: str, *, campaigns: Campaigns) -> tuple[str, list[Envelope]]:
    """Let a campaign go on, or begin after its preview. The state afterwards, and the job that looks after it."""
    after = campaigns.move(phone, campaign_id, "running", of=("paused", "held", "previewed", "running"))
    campaign = campaigns.find(phone, campaign_id)
    if campaign is None or after != "running":
        return after, []
    return after, [first_look(campaign)]  # also of one that ran: its job may be a dead letter


def looks_again(campaigns: Campaigns) -> list[Envelope]:
    """The jobs of campaigns that send, and whose own job got lost. Raises StoreUnavailable."""
    envelopes = []
    for phone, campaign_id in campaigns.left_alone():
        campaign = campaigns.find(phone, campaign_id)
        if campaign is None or campaign.is_over:
            campaigns.forget_look(phone, campaign_id)
        elif campaign.state == "running":
            envelopes += resume(phone, campaign_id, campaigns=campaigns)[1]
    return envelopes


def stop(phone: str, campaign_id: str, *, campaigns: Campaigns) -> str:
    """End a campaign for good. The state afterwards; empty when it is not known."""
    return campaigns.move(phone, campaign_id, "stopped", reason="stopped by hand", of=OPEN)


# --- what becomes of rows ---


def reactions(job: FanOut, *, words: frozenset[str]) -> list[RecordReaction]:
    """What a campaign has to know of an event: the status of one of its messages, or a word that ends them."""
    if job.kind == "message":
        contact = _opting_out(job, words)
        return [_reaction(job, contact=contact)] if contact else []
    if row_of(job.message_id) is None or not code_of(job.kind):
        return []
    errors = job.content.item.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    code = first.get("code")
    data = first.get("error_data")
    details = data.get("details") if isinstance(data, dict) else ""
    text = ": ".join(filter(None, (f"{code or ''} {first.get('title') or ''}".strip(), f"{details or ''}")))
    return [_reaction(job, status=job.kind, error_code=code if isinstance(code, int) else 0, error=text[:300])]


def _opting_out(job: FanOut, words: frozenset[str]) -> str:
    """Who writes, if it is nothing but one of these words, in a chat of two."""
    facts = job.facts
    if not facts.word or words.isdisjoint({facts.word.strip().casefold(), plain_word(facts.word)}):
        return ""
    return next(iter(facts.keys), "")[:256]


def plain_word(written: str) -> str:
    """A word as it is compared: without the marks and emojis around it, in small letters."""
    letters = [position for position, char in enumerate(written) if char.isalnum()]
    return written[letters[0] : letters[-1] + 1].casefold() if letters else ""


def _reaction(job: FanOut, **fields: Any) -> RecordReaction:
    reaction_id = computed_id("reaction", job.id)
    return RecordReaction(id=reaction_id, phone=job.phone, message_id=job.message_id, **fields)


def record(job: RecordReaction, *, campaigns: Campaigns, sessions: SessionStore) -> list[Envelope]:
    """Save a reaction; what limits the number holds its campaign. What is to be published. Raises StoreUnavailable."""
    if not job.status:
        campaigns.opt_out(job.phone, [job.contact])
        return []
    found, code = row_of(job.message_id), code_of(job.status, job.error_code)
    if found is None or not code:
        return []
    campaign_id, row = found
    campaigns.mark(job.phone, campaign_id, row, code, error=job.error)
    if job.status in CAMPAIGN_STATUSES:
        metrics().campaign_row(job.status)
    if job.status != "failed" or not _limits_the_number(job, sessions):
        return []
    why = f"WhatsApp limits this number ({job.error}): wait before you resume"
    if campaigns.move(job.phone, campaign_id, "held", reason=why, of=("running",)) != "held":
        return []
    campaign = campaigns.find(job.phone, campaign_id)
    return [notice(campaign, "held", why=why)] if campaign and campaign.notify else []


def _limits_the_number(job: RecordReaction, sessions: SessionStore) -> bool:
    """Whether more of the same would make it worse: at Meta some codes are about one contact, on phones about all."""
    if job.error_code not in OF_ONE_CONTACT_AT_META:
        return job.error_code in RESTRICTIONS
    try:
        return sessions.find(job.phone).provider != "forwarder"
    except Postponed:
        return True


def record_or_defer(
    job: FanOut, *, campaigns: Campaigns, sessions: SessionStore, words: frozenset[str]
) -> list[Envelope]:
    """Save what campaigns have to know of an event. With Redis away a job remembers it: that is to be published."""
    envelopes = []
    for reaction in reactions(job, words=words):
        try:
            envelopes += record(reaction, campaigns=campaigns, sessions=sessions)
        except StoreUnavailable:
            envelopes.append(Envelope(reaction, delay_ms=AWAY_LOOK_MS))
    return envelopes


def notice(campaign: Campaign, what: str, **values: object) -> Envelope:
    """A text to the number itself, in its language. Its failure is reported to nobody."""
    text = TEXTS["pt" if campaign.phone.startswith(PORTUGUESE) else "en"][what].format(**values)
    name = f" {campaign.name!r}" if campaign.name else ""
    about = f"{campaign.id} {what} {campaign.row}"
    return Envelope(note(campaign.phone, f"{campaign.id}{name}: {text}", about=about))
