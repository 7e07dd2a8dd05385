"""A campaign's file, read once: each row becomes a message that can be sent, or is named with what is wrong with it.

In memory that does not grow with the file: what came before is remembered on the disk.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from unoapi.errors import (
    FetchFailed,
    MediaMissing,
    MediaQuotaReached,
    MediaTooLarge,
    Postponed,
    StoreUnavailable,
    TableUnreadable,
)
from unoapi.models.bulk import MAX_ROWS, Campaign, GoodRow
from unoapi.models.cloud_api.messages import Sender
from unoapi.models.jobs import Envelope
from unoapi.models.media import MAX_BYTES, UNKNOWN
from unoapi.services import media
from unoapi.services.bulk import entry, first_look, notice
from unoapi.services.bulk_rows import RowRules, json_rows, messages, messages_of_json, row_to_line
from unoapi.services.media import pieces_of, save
from unoapi.services.speech import ensure_speakable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from unoapi.models.bulk import BadRow
    from unoapi.models.cloud_api.messages import OutboundMessage
    from unoapi.models.jobs import ParseCampaign
    from unoapi.models.media import MediaFile
    from unoapi.models.session import Session
    from unoapi.models.tables import Row
    from unoapi.models.trace import TraceEntry
    from unoapi.models.voice import OperatorAccounts
    from unoapi.ports import Campaigns, FileDownloader, MediaIndex, MediaStore, SessionStore

LINES = "application/jsonl"
MAX_LINES_BYTES = 1_073_741_824
"""Of a campaign's messages together."""
CACHE_KIB = 8192
GO_ON_EVERY = 10_000
"""Rows after which it says that it is still at work."""
BUSY_MS = 5000


@dataclass(frozen=True, kw_only=True)
class ParsingContext:
    """What a campaign's file is read with. `quota` is in bytes, of all files of a number."""

    campaigns: Campaigns
    files: MediaStore
    index: MediaIndex
    downloader: FileDownloader
    sessions: SessionStore
    operator: OperatorAccounts
    read_table: Callable[[Path], Iterator[Row]]
    timeout_ms: int
    quota: int


def parse(job: ParseCampaign, context: ParsingContext) -> tuple[list[Envelope], list[TraceEntry]]:
    """Read a campaign's file; what is published then, and what is traced. A repeated job does it again.

    A file at an address is fetched first, and read by another job: one file at a time is read, so that the others that
    convert files go on, and nobody's slow server keeps the files of others waiting. Raises Postponed, StoreUnavailable.
    A file that is none, too large or gone ends the campaign as `failed`, with the reason.
    """
    campaigns = context.campaigns
    campaign = Campaign.model_validate(job.campaign)
    known = campaigns.find(job.phone, campaign.id)
    if known is None:  # Redis lost it: nothing was sent yet
        campaigns.create(campaign)
    elif known.state == "running" and known.row == 0:
        return [first_look(known)], []  # stopped between the last two steps
    elif known.state != "parsing":
        return [], []
    try:
        if job.link:
            return [Envelope(_fetched(job, context))], []
        counted = _counted_alone(job, campaign, context)
    except (TableUnreadable, MediaTooLarge, MediaQuotaReached, MediaMissing) as error:
        why = f"the file {job.media_id} is gone" if isinstance(error, MediaMissing) else f"{error}"
        campaigns.move(job.phone, campaign.id, "failed", reason=why, of=("parsing",))
        told = [notice(campaign, "failed", why=why)] if campaign.notify else []
        return told, [entry(campaign, "failed", why)]
    campaigns.parsed(counted)
    campaigns.move(job.phone, campaign.id, "previewed" if counted.dry_run else "running", of=("parsing",))
    saved = campaigns.find(job.phone, campaign.id) or counted
    summary = f"{counted.total} to send, {counted.bad} bad, {counted.duplicates} duplicates"
    envelopes = [first_look(saved)] if saved.state == "running" else []
    if campaign.notify:
        envelopes.append(
            notice(campaign, "parsed", total=counted.total, bad=counted.bad, duplicates=counted.duplicates)
        )
    return envelopes, [entry(campaign, "queued", summary)]


def _fetched(job: ParseCampaign, context: ParsingContext) -> ParseCampaign:
    """The job with the file of its address saved here. Raises TableUnreadable for what another try would not get."""
    with tempfile.TemporaryFile(prefix="unoapi-bulk-") as file:
        try:
            context.downloader.fetch(job.link, file, limit=MAX_BYTES, timeout_ms=context.timeout_ms)
        except FetchFailed as error:
            raise TableUnreadable(f"the file could not be fetched: {error}") from error
        saved = _saved(job.phone, file, context, mime_type=UNKNOWN, limit=MAX_BYTES)
    return job.model_copy(update={"media_id": saved.id, "link": ""})


def _counted_alone(job: ParseCampaign, campaign: Campaign, context: ParsingContext) -> Campaign:
    """The same as `_counted`, while no other file is read. Raises Postponed when one is."""
    if not context.campaigns.take_parsing(campaign.id):
        raise Postponed("another campaign's file is being read", after_ms=BUSY_MS)
    try:
        return _counted(job, campaign, context)
    finally:
        context.campaigns.end_parsing(campaign.id)


def _counted(job: ParseCampaign, campaign: Campaign, context: ParsingContext) -> Campaign:
    """The campaign with its rows in two files, and how many there are."""
    session = context.sessions.find(job.phone)
    with tempfile.TemporaryDirectory(prefix="unoapi-bulk-") as folder:
        path = Path(folder, "table")
        with path.open("wb") as source:
            source.writelines(context.files.read(context.index.find(job.media_id, phone=job.phone).key))
        with (
            closing(_Seen(Path(folder, "seen"))) as seen,
            Path(folder, "good").open("w+b") as good,
            Path(folder, "bad").open("w+b") as bad,
            path.open("rb") as lines,
        ):
            rules = RowRules(
                phone=job.phone,
                template=json.loads(job.template) if job.template else None,
                sender=Sender(phone=job.phone, at_meta=session.provider != "whatsmeow"),
                seen=seen.seen,
                check=partial(_check, session=session, context=context),
            )
            rows = (
                messages_of_json(json_rows(pieces_of(lines)), rules)
                if job.is_json
                else messages(context.read_table(path), rules)
            )
            counts = _sorted(rows, good, bad, go_on=lambda: _keep_parsing(campaign, context.campaigns))
            keys = {name: _saved(job.phone, file, context).key for name, file in (("rows_key", good), ("bad_key", bad))}
    return campaign.model_copy(update=counts | keys)


def _check(message: OutboundMessage, *, session: Session, context: ParsingContext) -> None:
    """Refuse a row that could not be sent. Raises RequestError."""
    ensure_speakable(message, session, context.operator)
    media.check(message, phone=session.phone, index=context.index)


def _saved(
    phone: str, file: BinaryIO, context: ParsingContext, *, mime_type: str = LINES, limit: int = MAX_LINES_BYTES
) -> MediaFile:
    """The whole file as it is stored."""
    file.seek(0)
    return save(
        phone,
        pieces_of(file),
        mime_type=mime_type,
        files=context.files,
        index=context.index,
        limit=limit,
        quota=context.quota,
    )


def _keep_parsing(campaign: Campaign, campaigns: Campaigns) -> None:
    """Go on being the one that is read. With Redis away, and stopped meanwhile, too: it ends all the same."""
    with suppress(StoreUnavailable):
        campaigns.take_parsing(campaign.id)


def _sorted(
    rows: Iterable[GoodRow | BadRow], good: BinaryIO, bad: BinaryIO, *, go_on: Callable[[], None]
) -> dict[str, int]:
    """Write each row to its file, and count. Raises TableUnreadable when there are too many."""
    counts = {"read": 0, "total": 0, "bad": 0, "duplicates": 0}
    written = 0
    for row in rows:
        line = row_to_line(row)
        written += len(line)
        counts["read"] += 1
        if isinstance(row, GoodRow):
            good.write(line)
            counts["total"] += 1
        else:
            bad.write(line)
            counts["duplicates" if row.duplicate else "bad"] += 1
        if not counts["read"] % GO_ON_EVERY:
            go_on()
        if counts["read"] > MAX_ROWS:
            raise TableUnreadable(f"it has more than {MAX_ROWS:,} rows: make several files")
        if written > MAX_LINES_BYTES:
            raise TableUnreadable("its messages have more than 1 GB together: make several files")
    return counts


class _Seen:
    """The numbers that came before, on the disk."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{CACHE_KIB}"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.execute("CREATE TABLE seen (number TEXT PRIMARY KEY) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def seen(self, number: str) -> bool:
        """Whether it came before; from now on it did."""
        return self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (number,)).rowcount == 0

    def close(self) -> None:
        """Forget all."""
        self._database.close()
