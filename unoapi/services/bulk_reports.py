"""What a campaign looks like: as numbers, and row by row."""

from __future__ import annotations

import csv
import io
import time
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from unoapi.errors import MediaMissing, StoreUnavailable
from unoapi.models.bulk import FAILED, NO_NUMBER, NO_WHATSAPP, UNKNOWN, WORDS, BadRow, GoodRow, message_id_of
from unoapi.models.cloud_api.events import serialise
from unoapi.models.jobs import Envelope, SendMessage
from unoapi.services.bulk_rows import lines_of
from unoapi.services.media import save
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from unoapi.models.bulk import Campaign
    from unoapi.models.jobs import ReportCampaign
    from unoapi.ports import Campaigns, MediaIndex, MediaStore

log = get_logger(__name__)

PAGE = 2000
MAX_SHOWN = 100
PAUSES_S = (0.2, 1.0, 4.0, 0.0)
"""Between the tries to read from Redis; after the last one there is none."""
HEADER = ("number", "status", "error", "line", "message_id")
WITH_ERRORS = frozenset({FAILED, NO_NUMBER, NO_WHATSAPP, UNKNOWN})
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for a formula, at the beginning of a cell."""


def progress(campaign: Campaign) -> dict[str, Any]:
    """Where a campaign is, in numbers."""
    done = min(campaign.row, campaign.total) - campaign.in_flight
    shown: dict[str, Any] = {
        "id": campaign.id,
        "name": campaign.name,
        "status": campaign.state,
        "dry_run": campaign.dry_run,
        "rows": {
            "read": campaign.read,
            "good": campaign.total,
            "bad": campaign.bad,
            "duplicates": campaign.duplicates,
        },
        "counts": campaign.by_word(),
        "done": max(done, 0),
        "pace": campaign.pace.model_dump(exclude_defaults=False),
        "created_at": _at(campaign.created_ms),
    }
    told = {"reason": campaign.reason, "waits_for": "" if campaign.is_over else campaign.waits}
    times = {"started_at": campaign.started_ms, "finished_at": campaign.finished_ms}
    shown |= {name: value for name, value in told.items() if value}
    shown |= {name: _at(at_ms) for name, at_ms in times.items() if at_ms}
    if campaign.state == "running":
        shown["seconds_left"] = round((campaign.total - campaign.row) * campaign.pace.step_ms / 1000)
    return shown


def _at(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def bad_rows(campaign: Campaign, *, files: MediaStore, most: int = MAX_SHOWN) -> list[dict[str, Any]]:
    """The first rows that cannot be sent, with their lines and why."""
    return [row.model_dump(exclude={"duplicate"}) for row in islice(_bad(campaign, files), most)]


def report(campaign: Campaign, *, campaigns: Campaigns, files: MediaStore) -> Iterator[str]:
    """The whole report as CSV, in pieces: the good rows in their order, then those that could not be sent.

    Raises StoreUnavailable at a piece.
    """
    yield _csv([HEADER])
    rows, first = _good(campaign, files), 0
    while page := list(islice(rows, PAGE)):
        codes, errors = _states(campaign, first, len(page), campaigns)
        yield _csv(
            (row.to, _word(campaign, code), errors.get(number, ""), row.line, message_id_of(campaign.id, number))
            for number, (row, code) in enumerate(zip(page, codes, strict=True), start=first)
        )
        first += len(page)
    bad = _bad(campaign, files)
    while refused := list(islice(bad, PAGE)):
        yield _csv(
            (row.number, "duplicate" if row.duplicate else "bad-row", row.reason, row.line, "") for row in refused
        )


def _states(campaign: Campaign, first: int, count: int, campaigns: Campaigns) -> tuple[str, dict[int, str]]:
    """The letters of some rows, and the errors of those that failed. A report that has begun waits out a busy Redis."""
    for pause_s in PAUSES_S:
        try:
            codes = campaigns.codes(campaign.phone, campaign.id, first, count)
            failed = [number for number, code in enumerate(codes, start=first) if code in WITH_ERRORS]
            return codes, campaigns.errors(campaign.phone, campaign.id, failed)
        except StoreUnavailable as error:
            if not pause_s:
                log.warning("report_broken_off", campaign=campaign.id, error=f"{error}")
                raise
            time.sleep(pause_s)
    raise AssertionError("the last pause is none")


def _word(campaign: Campaign, code: str) -> str:
    if code == " ":
        return "stopped" if campaign.is_over else WORDS[""]
    return WORDS.get(code, code)


def _good(campaign: Campaign, files: MediaStore) -> Iterator[GoodRow]:
    return (GoodRow.model_validate_json(line) for line in _lines(campaign.rows_key, files))


def _bad(campaign: Campaign, files: MediaStore) -> Iterator[BadRow]:
    return (BadRow.model_validate_json(line) for line in _lines(campaign.bad_key, files))


def _lines(key: str, files: MediaStore) -> Iterator[bytes]:
    if not key:
        return iter(())
    try:
        return lines_of(files.read(key))
    except MediaMissing:
        return iter(())  # older than DATA_TTL


def _csv(rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=";", lineterminator="\r\n").writerows([_cell(cell) for cell in row] for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def opt_outs(phone: str, *, campaigns: Campaigns) -> Iterator[str]:
    """Who wants no campaigns, as CSV, in pieces."""
    yield _csv([("contact", "since")])
    pairs = campaigns.opt_outs(phone)
    while page := list(islice(pairs, PAGE)):
        yield _csv((contact, _at(at_ms)) for contact, at_ms in page)


def send_report(
    job: ReportCampaign, campaign: Campaign, *, campaigns: Campaigns, files: MediaStore, index: MediaIndex
) -> Envelope:
    """The report as a document to the number itself. Raises StoreUnavailable."""
    pieces = (piece.encode() for piece in report(campaign, campaigns=campaigns, files=files))
    name = f"{campaign.id}.csv"
    media = save(campaign.phone, pieces, mime_type="text/csv", filename=name, files=files, index=index)
    counts = ", ".join(f"{word}: {count}" for word, count in sorted(campaign.by_word().items()))
    refused = f", bad: {campaign.bad}, duplicates: {campaign.duplicates}"
    message_id = f"wamid.{job.id.replace('-', '').upper()}"
    body = {
        "messaging_product": "whatsapp",
        "to": campaign.phone,
        "type": "document",
        "document": {"id": media.id, "filename": name, "caption": f"{campaign.id} {campaign.state}: {counts}{refused}"},
    }
    return Envelope(
        SendMessage(
            id=message_id, phone=campaign.phone, message_id=message_id, body=serialise(body), notify_on_failure=False
        )
    )
