"""`unoapi bulk`: begin, follow, pause and stop campaigns."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any, BinaryIO

import click
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from unoapi.cli.options import as_json, is_asked, phone_argument, print_json, yes
from unoapi.cli.parts import pass_uno
from unoapi.cli.screen import plain_table, screen, shown
from unoapi.errors import RequestError
from unoapi.errors.validation import refused
from unoapi.models.bulk import Campaign, new_campaign_id, pace_of
from unoapi.models.jobs import now_ms
from unoapi.models.media import MAX_BYTES, UNKNOWN
from unoapi.services import bulk as service
from unoapi.services import bulk_reports
from unoapi.services import media as media_service
from unoapi.services.endpoint_test import ensure_stored

if TYPE_CHECKING:
    from unoapi.bootstrap import Uno

LOOK_S = 1.0
SETTLED = frozenset({"previewed", "paused", "held", "stopped", "done", "failed"})
campaign_argument = click.argument("campaign_id")
follow = click.option(
    "--follow", is_flag=True, help="Show a bar until it is done, paused or held; Ctrl-C ends that alone."
)


@click.group()
def bulk() -> None:
    """Campaigns: one message to many contacts, at a number's pace."""


@bulk.command()
@phone_argument
@click.argument("file", type=click.File("rb"))
@click.option("--dry-run", is_flag=True, help="Only read and count the rows; `resume` sends them.")
@click.option(
    "--message", help="The message of all rows, as Cloud API JSON without `to`; columns as {{name}} or #NAME."
)
@click.option("--text", help="The same for a text: what it says.")
@click.option("--name", default="", help="What you call it.")
@click.option("--batch", type=int, help="Messages within --delay.")
@click.option("--delay", type=int, help="Seconds.")
@click.option("--hours", help="As 09:00-18:00.")
@click.option("--days", help="As 1-5: Monday to Friday.")
@click.option("--timezone", help="As America/Sao_Paulo.")
@click.option("--notify", is_flag=True, help="Tell the number itself, and send it the report.")
@follow
@yes
@as_json
@pass_uno
def start(  # noqa: PLR0913, PLR0917 (the options)
    uno: Uno,
    phone: str,
    file: BinaryIO,
    dry_run: bool,
    message: str | None,
    text: str | None,
    name: str,
    notify: bool,
    follow: bool,
    yes: bool,
    as_json: bool,
    **pace: Any,
) -> None:
    """Begin a campaign with the rows of a csv, xls or xlsx file.

    The first row names the columns: TELEFONE, and MENSAGEM, TIPO, URL where each row says itself what is sent.
    """
    template = _template(message, text)
    session = uno.sessions.find(phone)
    if not (session.webhooks or session.environments_account):  # else the environment serves it
        ensure_stored(session)
    if not yes and not dry_run and is_asked():
        click.confirm(f"Send to the rows of {file.name} from {phone}? (--dry-run counts them first)", abort=True)
    service.ensure_room(phone, campaigns=uno.campaigns)
    media = media_service.save(
        phone,
        media_service.pieces_of(file),
        mime_type=UNKNOWN,
        filename=file.name,
        files=uno.media_store,
        index=uno.media_index,
        limit=MAX_BYTES,
        quota=uno.settings.unoapi_session_media_max,
    )
    try:
        campaign = Campaign(
            id=new_campaign_id(),
            phone=phone,
            name=name[:200],
            dry_run=dry_run,
            notify=notify,
            pace=pace_of(session, **pace),
            created_ms=now_ms(),
        )
    except ValidationError as error:
        raise refused(error) from None
    uno.campaigns.create(campaign)
    uno.publisher.publish([service.parse_job(campaign, media_id=media.id, template=template)])
    uno.traces.add(service.entry(campaign, "accepted", "campaign"))
    _show(uno, campaign, follow=follow, as_json=as_json)


def _template(message: str | None, text: str | None) -> str:
    if message and text:
        raise click.UsageError("--message or --text, not both")
    if text:
        return json.dumps({"type": "text", "text": {"body": text}})
    try:
        document = json.loads(message) if message else None
    except ValueError:
        document = ""
    if document is None:
        return ""
    if not isinstance(document, dict) or not isinstance(document.get(str(document.get("type", "text"))), dict):
        raise click.UsageError('--message is JSON as {"type": "text", "text": {"body": "Hello #NAME"}}')
    return json.dumps(document)


@bulk.command()
@phone_argument
@click.argument("campaign_id", default="")
@follow
@as_json
@pass_uno
def status(uno: Uno, phone: str, campaign_id: str, follow: bool, as_json: bool) -> None:
    """Show the campaigns of a number, or one of them."""
    if campaign_id:
        _show(uno, _campaign(uno, phone, campaign_id), follow=follow, as_json=as_json)
        return
    table = plain_table("campaign", "name", "status", "sent", "of", "bad", "why")
    for campaign in uno.campaigns.all(phone):
        line = bulk_reports.progress(campaign)
        if as_json:
            print_json(line)
        why = line.get("reason") or line.get("waits_for") or ""
        cells = (campaign.id, campaign.name, campaign.state, line["done"], campaign.total, campaign.bad, why)
        table.add_row(*(shown(f"{cell}") for cell in cells))
    if not as_json:
        screen().print(table if table.rows else f"{phone} has no campaign.")


@bulk.command()
@phone_argument
@campaign_argument
@pass_uno
def pause(uno: Uno, phone: str, campaign_id: str) -> None:
    """Let a campaign send nothing more until it is resumed."""
    _moved(service.pause(phone, campaign_id, campaigns=uno.campaigns), "paused", campaign_id)


@bulk.command()
@phone_argument
@campaign_argument
@pass_uno
def resume(uno: Uno, phone: str, campaign_id: str) -> None:
    """Let a campaign go on, or begin after its preview."""
    after, envelopes = service.resume(phone, campaign_id, campaigns=uno.campaigns)
    uno.publisher.publish(envelopes)
    _moved(after, "running", campaign_id)


@bulk.command()
@phone_argument
@campaign_argument
@yes
@pass_uno
def stop(uno: Uno, phone: str, campaign_id: str, yes: bool) -> None:
    """End a campaign for good."""
    if not yes and is_asked():
        click.confirm(f"Stop {campaign_id}? It cannot be resumed", abort=True)
    _moved(service.stop(phone, campaign_id, campaigns=uno.campaigns), "stopped", campaign_id)


@bulk.command()
@phone_argument
@campaign_argument
@pass_uno
def report(uno: Uno, phone: str, campaign_id: str) -> None:
    """Print what became of every row, as CSV."""
    campaign = _campaign(uno, phone, campaign_id)
    for piece in bulk_reports.report(campaign, campaigns=uno.campaigns, files=uno.media_store):
        click.echo(piece, nl=False)


def _campaign(uno: Uno, phone: str, campaign_id: str) -> Campaign:
    campaign = uno.campaigns.find(phone, campaign_id)
    if campaign is None:
        details = f"{phone} has no campaign {campaign_id}, or it is older than DATA_TTL."
        raise RequestError("Unknown campaign", code=100, status=404, details=details)
    return campaign


def _moved(after: str, wanted: str, campaign_id: str) -> None:
    if after != wanted:
        click.echo(f"{campaign_id} is {after or 'not known'}: it cannot be {wanted}.", err=True)
        sys.exit(1)
    click.echo(f"{campaign_id} is {after}.")


def _show(uno: Uno, campaign: Campaign, *, follow: bool, as_json: bool) -> None:
    """Show a campaign; with `follow` until nothing more happens by itself."""
    if follow:
        campaign = _followed(uno, campaign, quiet=as_json)
    line = bulk_reports.progress(campaign)
    if as_json:
        print_json(line)
    else:
        _print(campaign, line)
        for row in bulk_reports.bad_rows(campaign, files=uno.media_store, most=10):
            screen().print(shown(f"  line {row['line']}: {row['number']}: {row['reason']}"))
    if campaign.state == "failed":
        sys.exit(1)


def _print(campaign: Campaign, line: dict[str, Any]) -> None:
    rows = line["rows"]
    click.echo(f"{campaign.id} is {campaign.state}: {line['done']} of {rows['good']} rows are done.")
    for name in ("reason", "waits_for"):
        if name in line:
            click.echo(f"  {name.replace('_', ' ')}: {line[name]}")
    if rows["bad"] or rows["duplicates"]:
        click.echo(f"  not sent: {rows['bad']} bad rows, {rows['duplicates']} duplicates")
    for word, count in line["counts"].items():
        click.echo(f"  {word}: {count}")


def _followed(uno: Uno, campaign: Campaign, *, quiet: bool) -> Campaign:
    """The campaign when nothing more happens by itself."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as progress:
        bar = progress.add_task(campaign.state, total=campaign.total or None)
        while campaign.state not in SETTLED:
            time.sleep(LOOK_S)
            campaign = uno.campaigns.find(campaign.phone, campaign.id) or campaign
            done = bulk_reports.progress(campaign)["done"]
            progress.update(bar, description=campaign.state, total=campaign.total or None, completed=done)
    return campaign
