"""How much memory a campaign's file takes, by its rows: each size in a process of its own."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openpyxl  # type: ignore[import-untyped]
from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console

MOST_GROWTH_MB = 30
"""Of which most is what a workbook's library and the numbering plans take once."""
SIZES = (1_000, 1_000_000)
FORMS = ("csv", "xlsx")


def measure(console: Console) -> tuple[Table, bool]:
    """Read files of both sizes and forms; whether the larger ones took about as much memory."""
    table = Table("form", "rows", "seconds", "peak, MB", "report, seconds", title="memory of a campaign's file")
    peaks: dict[str, list[float]] = {}
    for form in FORMS:
        for rows in SIZES:
            command = [sys.executable, "-m", "tests.bulk.memory", form, f"{rows}"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            assert found["total"] == rows - rows // 20, found
            peaks.setdefault(form, []).append(found["peak_mb"])
            cells = (form, rows, found["seconds"], found["peak_mb"], found["report_s"])
            table.add_row(*(f"{cell}" for cell in cells))
            console.print(f"{form} {rows:,}: {found}")
    return table, all(large - small < MOST_GROWTH_MB for small, large in peaks.values())


def _write(path: Path, form: str, rows: int) -> None:
    """A twentieth of the rows is bad."""
    lines = (
        ("123" if position % 20 == 0 else f"55119{90000000 + position}", f"JOÃO {position}", "Olá #NOME")
        for position in range(rows)
    )
    header = ("TELEFONE", "NOME", "MENSAGEM")
    if form == "xlsx":
        book = openpyxl.Workbook(write_only=True)
        sheet = book.create_sheet()
        sheet.append(header)
        for line in lines:
            sheet.append(line)
        book.save(path)
        return
    with path.open("w", encoding="cp1252") as file:
        file.write(";".join(header) + "\n")
        file.writelines(";".join(line) + "\n" for line in lines)


def _read(path: Path, folder: Path) -> dict[str, Any]:
    """What it takes to read a file as the task does, and to write the report."""
    from tests.support.fakes import PHONE, MemoryCampaigns, make_session  # noqa: PLC0415 (in the process alone)
    from tests.support.worker import make_uno, run  # noqa: PLC0415
    from unoapi.models.bulk import Campaign, new_campaign_id  # noqa: PLC0415
    from unoapi.models.jobs import ParseCampaign  # noqa: PLC0415
    from unoapi.services import bulk, bulk_reports, media  # noqa: PLC0415

    campaigns = MemoryCampaigns()
    settings = {"BASE_STORE": str(folder / "store"), "UNOAPI_SESSION_MEDIA_MAX": "0"}
    uno = make_uno(make_session(provider="whatsmeow"), settings=settings, campaigns=campaigns)
    with path.open("rb") as file:
        pieces = media.pieces_of(file)
        saved = media.save(
            PHONE, pieces, mime_type="text/csv", files=uno.media_store, index=uno.media_index, limit=10**9
        )
    campaign = Campaign(id=new_campaign_id(), phone=PHONE)
    campaigns.create(campaign)
    job = bulk.parse_job(campaign, media_id=saved.id).job
    assert isinstance(job, ParseCampaign)
    began = time.monotonic()
    run(uno, job)
    parsed_s = time.monotonic() - began
    found = campaigns.find(PHONE, campaign.id)
    assert found is not None
    began = time.monotonic()
    size = sum(len(piece) for piece in bulk_reports.report(found, campaigns=campaigns, files=uno.media_store))
    return {
        "total": found.total,
        "seconds": round(parsed_s, 1),
        "report_s": round(time.monotonic() - began, 1),
        "report_mb": round(size / 2**20, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def main(form: str, rows: int) -> None:
    with tempfile.TemporaryDirectory(prefix="unoapi-bulk-rows-") as folder:
        path = Path(folder, "table")
        # Written by another process: what that takes is not counted.
        call = f"_write(Path({str(path)!r}), {form!r}, {rows})"
        code = f"from pathlib import Path; from tests.bulk.memory import _write; {call}"
        subprocess.run([sys.executable, "-c", code], check=True)
        print(json.dumps(_read(path, Path(folder))))  # noqa: T201 (for who started it)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
