"""Campaigns: begun, followed, paused, stopped, reported; and who wants no more of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

from flask import Blueprint, Response, jsonify, request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from unoapi.errors import (
    BrokerUnavailable,
    MediaMissing,
    MediaQuotaReached,
    MediaTooLarge,
    RequestError,
)
from unoapi.errors.validation import did_you_mean, invalid_value, refused
from unoapi.models.bulk import CAMPAIGN_ID, Campaign, Days, Hours, Zone, new_campaign_id, pace_of
from unoapi.models.cloud_api.events import serialise
from unoapi.models.cloud_api.messages import MESSAGES, Template
from unoapi.models.cloud_api.messages.written import unfolded
from unoapi.models.contacts import is_phone
from unoapi.models.identity import Identity
from unoapi.models.jobs import now_ms
from unoapi.models.media import MAX_BYTES, UNKNOWN
from unoapi.models.options import Flag, WebUrl
from unoapi.models.phones import read_address
from unoapi.services import bulk, bulk_reports
from unoapi.services import media as media_service
from unoapi.services.bulk_parsing import LINES
from unoapi.services.bulk_rows import MAX_ROW_BYTES
from unoapi.web.auth import session_token
from unoapi.web.errors import not_found
from unoapi.web.form_files import allow_file, name_of, refused_file
from unoapi.web.messages import KEY, KEY_HEADER, ensure_served
from unoapi.web.parts import parts
from unoapi.web.request_body import MULTIPART, parameters
from unoapi.web.schemas import body, checked, schema
from unoapi.web.templates import ensure_bindable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flask.typing import ResponseReturnValue

    from unoapi.models.jobs import Envelope

routes = Blueprint("bulk", __name__)

MAX_ROWS_IN_BODY = 10_000
CSV = "text/csv"


class _Given(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, coerce_numbers_to_str=True)


class CampaignFile(_Given):
    """The file with the rows: one that was uploaded, or one at an address."""

    id: str = Field(default="", max_length=512)
    link: WebUrl | None = None


class CampaignRequest(_Given):
    """A campaign: rows, or a file with rows; and how they are sent.

    `message` is a Cloud API message without `to`, whose texts hold columns as `{{name}}` or `#NAME`. Without it each
    row says what is sent, in the columns MENSAGEM, TIPO and URL, or is a whole message. With `dry_run` the rows are
    only read and counted: resume the campaign to send it.
    """

    rows: list[dict[str, Any]] = Field(default=[], max_length=MAX_ROWS_IN_BODY)
    file: CampaignFile | None = None
    message: dict[str, Any] | None = None
    name: str = Field(default="", max_length=200)
    dry_run: Flag = False
    notify: Flag = Field(default=False, description="Whether the number itself is told of it, and gets the report.")
    batch: int | None = Field(default=None, ge=1, le=1000, description="Messages within `delay`.")
    delay: int | None = Field(default=None, ge=1, le=86_400, description="Seconds.")
    hours: Hours | None = Field(default=None, description="As 09:00-18:00.")
    days: Days | None = Field(default=None, description="As 1-5: Monday to Friday.")
    timezone: Zone | None = Field(default=None, description="As America/Sao_Paulo.")

    @field_validator("message")
    @classmethod
    def _columns_stand_in_texts_alone(cls, message: dict[str, Any] | None) -> dict[str, Any] | None:
        """The message with what its JSON texts stand for: a quotation mark in a row would break them, or change it."""
        return message and unfolded(message, message.get("type") or "text")


class OptOuts(_Given):
    """Contacts by their numbers, or by their user ids where no number is known."""

    numbers: list[Annotated[str, Field(max_length=140)]] = Field(min_length=1, max_length=1000)


@routes.post("/<version>/<node:phone>/bulk")
@session_token
@schema(body=(CampaignRequest,), takes_file=True)
def begin(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001 (any version is served alike)
    """Begin a campaign, or its preview. Its file is read afterwards: follow it by its id."""
    asked = _asked()
    ensure_served(phone)
    if asked.message is not None:
        _ensure_message(phone, asked.message)
    campaign = _new_campaign(phone, asked)
    uno = parts()
    known = uno.campaigns.find(phone, campaign.id)
    if known is not None:  # the same Idempotency-Key: the same campaign
        return jsonify(bulk_reports.progress(known))
    bulk.ensure_room(phone, campaigns=uno.campaigns)
    source = _source(phone, asked)
    if uno.campaigns.create(campaign):
        template = serialise(asked.message) if asked.message is not None else ""
        _publish_or_fail(campaign, bulk.parse_job(campaign, template=template, **source))
        uno.traces.add(bulk.entry(campaign, "accepted", "campaign"))
    return jsonify(bulk_reports.progress(campaign))


@routes.get("/<version>/<node:phone>/bulk")
@session_token
def list_campaigns(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001
    """The campaigns of a number, the newest first."""
    return jsonify(data=[bulk_reports.progress(one) for one in parts().campaigns.all(phone)])


@routes.get("/<version>/<node:phone>/bulk/<campaign_id>")
@session_token
def show(version: str, phone: str, campaign_id: str) -> ResponseReturnValue:  # noqa: ARG001
    """Where a campaign is, and the first rows that cannot be sent, with why."""
    campaign = _campaign(phone, campaign_id)
    shown = bulk_reports.progress(campaign)
    return jsonify({**shown, "bad_rows": bulk_reports.bad_rows(campaign, files=parts().media_store)})


@routes.get("/<version>/<node:phone>/bulk/<campaign_id>/report")
@session_token
@schema(answer=CSV)
def report(version: str, phone: str, campaign_id: str) -> ResponseReturnValue:  # noqa: ARG001
    """Every row with what became of it, as CSV."""
    campaign, uno = _campaign(phone, campaign_id), parts()
    return _csv(
        bulk_reports.report(campaign, campaigns=uno.campaigns, files=uno.media_store), name=f"{campaign_id}.csv"
    )


@routes.post("/<version>/<node:phone>/bulk/<campaign_id>/<any(pause,resume,stop):verb>")
@session_token
def control(
    version: str,  # noqa: ARG001
    phone: str,
    campaign_id: str,
    verb: Literal["pause", "resume", "stop"],
) -> ResponseReturnValue:
    """Pause a campaign, let it go on or begin after its preview, or stop it for good."""
    uno = parts()
    envelopes: list[Envelope] = []
    _campaign(phone, campaign_id)
    if verb == "resume":
        after, envelopes = bulk.resume(phone, campaign_id, campaigns=uno.campaigns)
    else:
        after = (bulk.pause if verb == "pause" else bulk.stop)(phone, campaign_id, campaigns=uno.campaigns)
    wanted = {"pause": "paused", "resume": "running", "stop": "stopped"}[verb]
    if after != wanted:
        details = f"This campaign is {after}: it cannot be {wanted} any more, or not yet."
        raise RequestError("Invalid parameter", code=100, status=409, details=details)
    uno.publisher.publish(envelopes)
    campaign = _campaign(phone, campaign_id)
    uno.traces.add(bulk.entry(campaign, "postponed" if wanted == "paused" else "queued", f"{wanted} by hand"))
    return jsonify(bulk_reports.progress(campaign))


@routes.get("/<version>/<node:phone>/bulk/opt_outs")
@session_token
@schema(answer=CSV)
def opt_outs(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001
    """Who wants no campaigns, since when, as CSV."""
    return _csv(bulk_reports.opt_outs(phone, campaigns=parts().campaigns), name=f"opt-outs-{phone}.csv")


@routes.post("/<version>/<node:phone>/bulk/opt_outs")
@session_token
@body(OptOuts)
def opt_out(version: str, phone: str, body: OptOuts) -> ResponseReturnValue:  # noqa: ARG001
    """Add contacts to those who want no campaigns."""
    parts().campaigns.opt_out(phone, _contacts(body.numbers, own=phone))
    return jsonify(success=True)


@routes.delete("/<version>/<node:phone>/bulk/opt_outs")
@session_token
@body(OptOuts)
def opt_in(version: str, phone: str, body: OptOuts) -> ResponseReturnValue:  # noqa: ARG001
    """Take contacts off that list."""
    return jsonify(success=True, removed=parts().campaigns.opt_in(phone, _contacts(body.numbers, own=phone)))


def _asked() -> CampaignRequest:
    """What the request says, as JSON or as a form with the file. Raises RequestError."""
    if request.mimetype == MULTIPART:
        allow_file()
    return checked(CampaignRequest, parameters(CampaignRequest))


def _new_campaign(phone: str, asked: CampaignRequest) -> Campaign:
    """The campaign of this request; under an idempotency key always the same one."""
    key = request.headers.get(KEY_HEADER)
    if key is not None and not KEY.fullmatch(key):
        details = f"{KEY_HEADER} must have 1 to 255 visible ASCII characters."
        raise RequestError("Invalid parameter", code=100, status=400, details=details)
    pace = {name: getattr(asked, name) for name in ("batch", "delay", "hours", "days", "timezone")}
    try:
        return Campaign(
            id=new_campaign_id(f"{phone}\x1f{key}" if key else ""),
            phone=phone,
            name=asked.name,
            dry_run=asked.dry_run,
            notify=asked.notify,
            pace=pace_of(parts().sessions.find(phone), **pace),
            created_ms=now_ms(),
        )
    except ValidationError as error:
        raise refused(error) from None


def _ensure_message(phone: str, message: dict[str, Any]) -> None:
    """Refuse a message that no row could make right: of no type, or with a template that the number has not."""
    kind = message.get("type") or "text"
    if not isinstance(kind, str) or (kind not in MESSAGES and not isinstance(message.get(kind), dict)):
        meant = did_you_mean(f"{kind}", MESSAGES)
        details = f"message.type: must be one of {', '.join(MESSAGES)}{meant}"
        raise RequestError("Message type is not supported", code=131051, status=400, details=details)
    if not isinstance(message.get(kind), dict):
        details = 'message: is a Cloud API message without `to`, as {"type": "text", "text": {"body": "…"}}.'
        raise invalid_value(details)
    if len(serialise(message)) > MAX_ROW_BYTES:
        details = f"message: it has at most {MAX_ROW_BYTES} bytes of JSON."
        raise invalid_value(details)
    if kind == "template":
        try:
            template = Template.model_validate(message["template"])
        except ValidationError as error:
            raise refused(error) from None
        ensure_bindable(phone, template)


def _source(phone: str, asked: CampaignRequest) -> dict[str, Any]:
    """Where the rows are: an uploaded file, an address, or the rows of the body, saved as a file."""
    sent = request.files.get("file") if request.mimetype == MULTIPART else None
    named = [name for name, given in (("rows", asked.rows), ("file", asked.file or sent)) if given]
    if len(named) != 1:
        details = 'Give either `rows` or a `file`: one in a form, or {"id": …}, or {"link": …}.'
        raise RequestError("Required parameter is missing", code=131008, status=400, details=details)
    if asked.rows:
        lines = (json.dumps(row).encode() + b"\n" for row in asked.rows)
        return {"media_id": _save(phone, lines, LINES, "rows.jsonl"), "is_json": True}
    if sent is not None:
        pieces = media_service.pieces_of(sent.stream)
        return {"media_id": _save(phone, pieces, UNKNOWN, name_of(sent))}
    if asked.file is not None and asked.file.link is not None:
        return {"link": f"{asked.file.link}"}
    media_id = media_service.own_id(phone, asked.file.id if asked.file else "")
    try:
        return {"media_id": parts().media_index.find(media_id, phone=phone).id}
    except MediaMissing:
        details = "file.id: no uploaded media of this number has this id, or it has expired."
        raise invalid_value(details) from None


def _save(phone: str, pieces: Iterable[bytes], mime_type: str, name: str) -> str:
    uno = parts()
    try:
        media = media_service.save(
            phone,
            pieces,
            mime_type=mime_type,
            filename=name,
            files=uno.media_store,
            index=uno.media_index,
            limit=MAX_BYTES,
            quota=uno.settings.unoapi_session_media_max,
        )
    except (MediaQuotaReached, MediaTooLarge) as error:
        raise refused_file(f"file: {error}.") from None
    if not media.file_size:
        media_service.remove(media, files=uno.media_store, index=uno.media_index)
        raise refused_file("file: it is empty")
    return media.id


def _publish_or_fail(campaign: Campaign, envelope: Envelope) -> None:
    uno = parts()
    try:
        uno.publisher.publish([envelope])
    except BrokerUnavailable:
        uno.campaigns.move(campaign.phone, campaign.id, "failed", reason="RabbitMQ did not take it: begin it again")
        raise


def _campaign(phone: str, campaign_id: str) -> Campaign:
    campaign = parts().campaigns.find(phone, campaign_id) if CAMPAIGN_ID.fullmatch(campaign_id) else None
    if campaign is None:
        raise not_found("There is no campaign of this id, or it is older than DATA_TTL.")
    return campaign


def _contacts(written: list[str], *, own: str) -> list[str]:
    """Numbers and user ids as campaigns and events have them. Raises RequestError for what is none."""
    user_ids = [Identity.of(one.strip()).user_id for one in written]
    for position, number in enumerate(written):
        if not (user_ids[position] or is_phone(number, own=own)):
            details = f"numbers.{position}: must be a phone number in international form."
            raise invalid_value(details)
    return [user_id or read_address(number, own=own) for user_id, number in zip(user_ids, written, strict=True)]


def _csv(pieces: Iterator[str], *, name: str) -> Response:
    """A table that is made while it is read."""
    answer = Response((piece.encode() for piece in pieces), content_type=f"{CSV}; charset=utf-8")
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer
