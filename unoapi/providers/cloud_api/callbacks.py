"""From Meta's callbacks to events: whose they are, whose files are fetched, which of our messages they are about."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from unoapi.errors import OddCallback, Postponed, StoreUnavailable, UnknownNumber, describe
from unoapi.models.cloud_api.callbacks import Change, OddPart, read_change
from unoapi.models.cloud_api.event_content import ITEMS, OTHER_ITEMS
from unoapi.models.cloud_api.events import BESIDE_ITEMS, MOST_BYTES, serialise, split
from unoapi.models.jobs import ReceiveCallback, computed_id, now_ms
from unoapi.models.phones import digits_of, with_ninth_digit, without_ninth_digit
from unoapi.providers.cloud_api import translation
from unoapi.services import received_media
from unoapi.services.retries import wait_for_pair, wait_for_store
from unoapi.services.webhooks import to_fan_out

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from unoapi.models.jobs import EventJob
    from unoapi.ports import MessageIds, SessionDirectory, SessionStore

NUMBER = re.compile(r"[0-9]{1,20}", re.ASCII)
NOBODY = "0"
"""Stands for the number in a job whose number is not known."""


def numbers_of(change: Change, *, directory: SessionDirectory, sessions: SessionStore) -> list[str]:
    """The registered numbers that a change is about: one, or all of an account. Raises UnknownNumber, Postponed.

    Events of an account have no metadata; some of them show the number that they are about in their value.
    """
    for phones in _phones_named(change, directory):
        if (phone := _first_registered(phones, sessions)) is not None:
            return [phone]
    metadata = change.value.get("metadata") or {}
    named = _text(metadata.get("phone_number_id")) or _text(metadata.get("display_phone_number"))
    if named or not change.entry_id:
        raise UnknownNumber("metadata.phone_number_id and .display_phone_number are no registered number's")
    for account_id in filter(None, (change.entry_id, _account_in(change.value))):
        numbers = [phone for phone in directory.phones_of(account_id) if NUMBER.fullmatch(phone)]
        if found := [phone for phone in numbers if sessions.find(phone).stored]:
            return found
    raise UnknownNumber("no registered number is of this business account")


def number_at(change: Change, *, phone: str, directory: SessionDirectory, sessions: SessionStore) -> str:
    """The number that a change is about which came to the address of `phone`: this one, if it names no other of ours.

    Meta posts what happens to all numbers of an account to one address. Raises Postponed, StoreUnavailable while nobody
    can say.
    """
    for phones in _phones_named(change, directory):
        if phone in phones:
            return phone
        if (other := _first_registered(phones, sessions)) is not None:
            return other
    return phone


def named_in(change: Change) -> tuple[str, ...]:
    """All by which a change names its number, or its account: changes that name the same are the same number's."""
    metadata = change.value.get("metadata") or {}
    of_metadata = (_text(metadata.get("phone_number_id")), _text(metadata.get("display_phone_number")))
    beside = (next(_shown_in(change.value), ""), _number_id_in(change.value))
    return (*of_metadata, *beside, change.entry_id, _account_in(change.value))


def _first_registered(phones: Iterable[str], sessions: SessionStore) -> str | None:
    return next((phone for phone in phones if NUMBER.fullmatch(phone) and sessions.find(phone).stored), None)


def _phones_named(change: Change, directory: SessionDirectory) -> Iterator[list[str]]:
    """The phones of the number that a change names, if it names one: its id may have been given to several.

    First those that it names as they are; then those of its other form, for Meta knows older mobiles of Brazil without
    the ninth digit. Both forms may be registered.
    """
    metadata = change.value.get("metadata") or {}
    shown = _text(metadata.get("display_phone_number")) or next(_shown_in(change.value), "")
    digits = digits_of(shown)
    others = {with_ninth_digit(digits), without_ninth_digit(digits)} - {digits}
    nodes = (_text(metadata.get("phone_number_id")) or _number_id_in(change.value), digits)
    phones = dict.fromkeys(phone for node in nodes if node for phone in directory.phones_of(node))
    yield sorted(phones, key=lambda phone: (phone != digits, phone not in others))
    yield [phone for form in others for phone in directory.phones_of(form)]


def _shown_in(value: dict[str, Any]) -> Iterator[str]:
    """The numbers that an event without metadata shows; of one about who answers a contact, its recipient."""
    recipient = value.get("recipient")
    named = (value, "display_phone_number"), (value, "phone_number"), (recipient, "display_phone_number")
    for part, name in named:
        if isinstance(part, dict) and (text := _text(part.get(name))):
            yield text


def _account_in(value: dict[str, Any]) -> str:
    """The account in an event whose entry is that of the business which owns it, or which it was shared with."""
    info = value.get("waba_info")
    return _text(info.get("waba_id")) if isinstance(info, dict) else ""


def _number_id_in(value: dict[str, Any]) -> str:
    """The id of the number that an event without metadata is about: of settings, alerts, and who answers a contact."""
    if value.get("entity_type") == "PHONE_NUMBER":
        return _text(value.get("entity_id"))
    parts = (value, value.get("phone_number_settings"), value.get("recipient"))
    named = (_text(part.get("phone_number_id")) for part in parts if isinstance(part, dict))
    return next(filter(None, named), "")


def jobs_of(  # noqa: PLR0913 (collaborators)
    change: Change,
    *,
    phone: str,
    trusted: bool,
    sessions: SessionStore,
    ids: MessageIds,
    most_bytes: int = MOST_BYTES,
) -> list[EventJob]:
    """The jobs of a change. What neither the operator sent nor the operator's app signed is of this number alone.

    Nor does it name files for the operator's token at Meta to fetch. Raises RequestError for one that is too large, and
    Postponed, StoreUnavailable for a number whose session cannot be read: it says whose ids and files these are.
    """
    session = sessions.find(phone)
    forwarded = session.provider == "forwarder"
    fetches = forwarded and (trusted or not session.environments_account)
    if not trusted:
        change = change.about(phone, number_id=session.phone_number_id)
    if forwarded:
        translation.remember_shown(change, phone=phone, ids=ids)
        change = translation.with_public_phones(translation.with_our_ids(change, phone=phone, ids=ids), phone=phone)
    jobs: list[EventJob] = []
    for event in split(phone, [change], most_bytes=most_bytes):
        job = to_fan_out(event, phone=phone, sessions=sessions)
        jobs.append(received_media.saving(job) if fetches and received_media.media_in(event) else job)
    return jobs


def without_what_waits(  # noqa: PLR0913 (collaborators)
    change: Change,
    *,
    phone: str,
    trusted: bool,
    sessions: SessionStore,
    ids: MessageIds,
    most_bytes: int = MOST_BYTES,
) -> tuple[Change | None, list[ReceiveCallback]]:
    """A change without the statuses of messages that nobody knows, and jobs that look for these again.

    Meta may report what became of a message before it answers the request that sent it. While the number's session
    cannot be read all of the change waits. Raises RequestError for one that is too large.
    """
    try:
        forwarded = sessions.find(phone).provider == "forwarder"
    except (Postponed, StoreUnavailable):
        return None, [_job_for(change, phone=phone, trusted=trusted)]
    statuses = change.value.get("statuses") or []
    if not statuses or not forwarded or change.field != "messages":
        return change, []
    named = _named_by(statuses)
    try:
        unknown = named - ids.known_ours(phone, named).keys()
    except StoreUnavailable:
        unknown = named
    early = [status for status in statuses if _text(status.get("id")) in unknown]
    if not early:
        return change, []
    if len(statuses) == 1 and not any(change.value.get(key) for key in (*ITEMS, *OTHER_ITEMS) if key != "statuses"):
        return None, [_job_for(change, phone=phone, trusted=trusted)]  # with whatever else Meta says beside it
    beside = {key: part for key, part in change.value.items() if key in BESIDE_ITEMS}
    waiting = [
        _job_for(replace(change, value=event.value), phone=phone, trusted=trusted)  # each with its own contact
        for event in split(phone, [replace(change, value={**beside, "statuses": early})], most_bytes=most_bytes)
    ]
    others = [status for status in statuses if _text(status.get("id")) not in unknown]
    value = {**change.value, "statuses": others}
    is_left = any(value.get(key) for key in (*ITEMS, *OTHER_ITEMS, "errors"))
    return (replace(change, value=value) if is_left else None), waiting


def job_to_place(change: Change) -> ReceiveCallback:
    """The job that looks again for the number of a change, which the operator or the operator's app sent."""
    metadata = change.value.get("metadata") or {}
    shown = digits_of(_text(metadata.get("display_phone_number"))) or digits_of(_text(metadata.get("phone_number_id")))
    phone = shown if NUMBER.fullmatch(shown) else NOBODY
    return _job_for(change, phone=phone, trusted=True).model_copy(update={"is_placed": False})


def job_at(change: Change, *, phone: str) -> ReceiveCallback:
    """The job that looks again for the number of a change that the operator, or the operator's app, sent to `phone`."""
    return _job_for(change, phone=phone, trusted=True)


def _job_for(change: Change, *, phone: str, trusted: bool) -> ReceiveCallback:
    item: dict[str, Any] = next((change.value[key][0] for key in ("statuses", "messages") if change.value.get(key)), {})
    return ReceiveCallback(
        id=computed_id("callback", phone, change.entry_id, serialise(change.value)),
        phone=phone,
        message_id=_text(item.get("id"))[:512],
        change={"field": change.field, "value": change.value},
        entry_id=change.entry_id[:512],
        entry_time=change.entry_time,
        trusted=trusted,
    )


def job_for_odd(part: OddPart, *, phone: str) -> ReceiveCallback:
    """The job that ends as a dead letter: nobody can make an event of this part."""
    job_id = computed_id("callback", phone, serialise(part.document))
    return ReceiveCallback(id=job_id, phone=phone, change=part.document, odd=part.reason[:300])


def receive(
    job: ReceiveCallback, *, directory: SessionDirectory, sessions: SessionStore, ids: MessageIds
) -> list[EventJob]:
    """The jobs of a change that could not be placed before.

    Raises Postponed for a status whose message is not known yet, or while nobody can say which it is, OddCallback,
    UnknownNumber.
    """
    if job.odd:
        raise OddCallback(job.odd)
    try:
        change = read_change(job.change, entry_id=job.entry_id, entry_time=job.entry_time)
    except ValidationError as error:
        raise OddCallback(describe(error)) from error
    if job.is_placed:
        phones = [_number_of(job, change, directory=directory, sessions=sessions)]
    else:
        phones = numbers_of(change, directory=directory, sessions=sessions)
    named, age_ms = _named_by(change.value.get("statuses") or []), now_ms() - job.accepted_at_ms
    try:
        known = ids.known_ours(phones[0], named)
    except StoreUnavailable as error:
        raise wait_for_store(error, age_ms=age_ms) from error
    if len(known) < len(named):
        wait_for_pair(age_ms, answer_ms=sessions.find(phones[0]).webhook_forward.deadline_ms)
    return [
        event
        for phone in phones
        for event in jobs_of(change, phone=phone, trusted=job.trusted, sessions=sessions, ids=ids)
    ]


def _number_of(job: ReceiveCallback, change: Change, *, directory: SessionDirectory, sessions: SessionStore) -> str:
    """The number of a change that came to the address of one: at the door perhaps nobody could say whose it is.

    Not a number whose own app signs what is about it.
    """
    if not job.trusted:
        return job.phone
    phone = number_at(change, phone=job.phone, directory=directory, sessions=sessions)
    has_own_app = phone != job.phone and sessions.find(phone).webhook_forward.app_secret.get_secret_value()
    return job.phone if has_own_app else phone


def _named_by(statuses: list[dict[str, Any]]) -> set[str]:
    """The ids of the messages that statuses are about."""
    return {theirs for one in statuses if (theirs := _text(one.get("id"))) and one.get("type") != "call"}


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
