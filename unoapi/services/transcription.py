"""What is said in received audios, for the webhooks that want it (`sendTranscribeAudio`).

The audio's own event goes at once. Its words follow as a text that answers to it, after the audio was delivered: once
they are known, each webhook has a job of its own that waits for that, so that no webhook holds up another one.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unoapi.errors import Postponed, StoreUnavailable, VoiceFailed, VoiceRefused
from unoapi.models.cloud_api.event_content import ECHOES
from unoapi.models.cloud_api.events import serialise
from unoapi.models.jobs import Envelope, FanOut, Transcribe, computed_id, delivery_id, now_ms
from unoapi.models.voice import accounts_of
from unoapi.services.media import own_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unoapi.errors import UnoError
    from unoapi.models.session import Session
    from unoapi.models.voice import OperatorAccounts
    from unoapi.ports import (
        Connections,
        Deliveries,
        MediaIndex,
        MediaStore,
        MessageIds,
        SessionStore,
        Usage,
        VoiceService,
    )
    from unoapi.services.bulkhead import Bulkhead

    Transcriber = Callable[[Path, str], str]
    """What is said in a file of a media type. Raises VoiceFailed, VoiceRefused, Postponed."""

TRANSCRIBED = "transcribed_seconds"
MAX_BYTES = 25 * 1024 * 1024
"""OpenAI's own limit of one file."""
ADDRESSES = (
    "from", "from_user_id", "from_parent_user_id", "to", "to_user_id", "to_parent_user_id", "group_id", "timestamp"
)  # fmt: skip
"""What the text takes over from the audio's message."""
LONGEST_WAIT_S = 3600
SHORTEST_WAIT_MS, LONGEST_PAUSE_MS = 2_000, 60_000


@dataclass(frozen=True)
class Limits:
    """How long one audio may be, and how long all of one number and day together, in seconds; 0: no limit."""

    seconds: int
    seconds_a_day: int


@dataclass(frozen=True)
class Transcribed:
    """What follows, and a sentence about what was done. `skipped`: nothing was transcribed, and need not be."""

    envelopes: tuple[Envelope, ...] = ()
    detail: str = ""
    skipped: bool = False


@dataclass(frozen=True)
class TranscriptionContext:
    """What audios are transcribed with. `local` is the model on this machine, `measure` gives a file's seconds."""

    sessions: SessionStore
    operator: OperatorAccounts
    service: VoiceService
    usage: Usage
    files: MediaStore
    index: MediaIndex
    deliveries: Deliveries
    bulkhead: Bulkhead
    measure: Callable[[Path], int]
    limits: Limits
    local: Callable[[Path], str] | None = None


def job_for(event: FanOut, webhook_ids: Sequence[str]) -> Transcribe:
    """The job that transcribes the audio of an event for these webhooks."""
    return Transcribe(
        id=computed_id("transcribe", event.id),
        phone=event.phone,
        message_id=event.message_id,
        accepted_at_ms=event.accepted_at_ms,
        notify_on_failure=event.notify_on_failure,
        event_id=event.id,
        webhook_ids=tuple(webhook_ids),
        stored=event.stored,
        ordered=tuple(name for name in event.ordered if name in webhook_ids),
        contact=event.contact,
        body=event.body,
    )


def transcribe(job: Transcribe, context: TranscriptionContext) -> Transcribed:
    """Transcribe an audio; what follows are the texts, or jobs that wait until the audio was delivered.

    Raises VoiceFailed (retry), Postponed, StoreUnavailable (wait), VoiceRefused, MediaMissing (give up).
    """
    if job.text:
        _await_audio(job, context.deliveries)
        return Transcribed((Envelope(text_event(job)),), "its words follow the audio")
    if _is_done(job, context.deliveries):
        return Transcribed(detail="its words were delivered before", skipped=True)
    session = context.sessions.resolve(job.phone, stored=job.stored)
    webhooks = [session.webhook(webhook_id) for webhook_id in job.webhook_ids]
    if not any(webhook is not None and webhook.send_transcribe_audio for webhook in webhooks):
        return Transcribed(detail="not transcribed: no webhook wants its words any more", skipped=True)
    transcribers = _transcribers(session, context)
    if not transcribers:
        hint = "set OPENAI_API_KEY, GROQ_API_KEY or UNOAPI_WHISPER_MODEL"
        return Transcribed(detail=f"not transcribed: no service is configured: {hint}", skipped=True)
    text, seconds, why = _heard(job, transcribers, context)
    if why:
        return Transcribed(detail=f"not transcribed: {why}", skipped=True)
    known = job.model_copy(update={"text": text})
    return Transcribed(tuple(_following(known, context.deliveries)), f"{seconds} s of audio written down")


def _heard(job: Transcribe, transcribers: Sequence[Transcriber], context: TranscriptionContext) -> tuple[str, int, str]:
    """What is said in the audio, its length in seconds, and why there are no words, if so."""
    audio = _item_of(json.loads(job.body)["entry"][0]["changes"][0]["value"])["audio"]
    media = context.index.find(own_id(job.phone, str(audio["id"])), phone=job.phone)
    if media.file_size > MAX_BYTES:
        return "", 0, f"more than {MAX_BYTES} bytes"
    with tempfile.TemporaryDirectory(prefix="unoapi-audio-") as folder:
        file = Path(folder) / "audio"
        with file.open("wb") as target:
            for piece in context.files.read(media.key):
                target.write(piece)
        seconds = context.measure(file)
        if why := _why_not(job, seconds, context):
            return "", seconds, why
        try:
            text = _first_answer(transcribers, file, media.mime_type)
        except Exception:
            context.usage.give_back(job.phone, TRANSCRIBED, seconds)
            raise
    return text, seconds, "" if text else f"nothing is said in its {seconds} s"


def remember(job: Transcribe, *, ids: MessageIds, connections: Connections) -> None:
    """Let answers and marks that name the text mean the audio: WhatsApp knows no other. Never raises."""
    text_id = text_message_id(job)
    ids.remember_ours(job.phone, theirs=text_id, ours=job.message_id)
    try:
        key = connections.key(job.phone, job.message_id)
    except StoreUnavailable:
        return
    if key is not None:
        connections.remember_key(
            job.phone, text_id, chat=key.chat, participant=key.participant, from_me=key.from_me, theirs=key.id
        )


def text_message_id(job: Transcribe) -> str:
    """The id of the text's message."""
    return f"UNO.STT.{computed_id('transcript', job.phone, job.message_id).upper()}"


def text_event(job: Transcribe) -> FanOut:
    """The event of the text. Its id does not depend on the words: a service may hear other ones the next time."""
    document = json.loads(job.body)
    change = document["entry"][0]["changes"][0]
    value = change["value"]
    audio = _item_of(value)
    message = {name: audio[name] for name in ADDRESSES if name in audio}
    message |= {
        "id": text_message_id(job),
        "timestamp": _a_second_later(message.get("timestamp")),
        "type": "text",
        "text": {"body": job.text},
        "context": {"message_id": job.message_id, "id": job.message_id},
    }
    value[ECHOES if value.get(ECHOES) else "messages"] = [message]
    return FanOut(
        id=_text_event_id(job),
        phone=job.phone,
        message_id=message["id"],
        accepted_at_ms=job.accepted_at_ms,
        notify_on_failure=job.notify_on_failure,
        kind="message",
        body=serialise(document),
        webhook_ids=job.webhook_ids,
        stored=job.stored,
        ordered=job.ordered,
        contact=job.contact if job.ordered else "",
    )


def _text_event_id(job: Transcribe) -> str:
    return computed_id("transcript event", job.event_id)


def _item_of(value: dict[str, Any]) -> dict[str, Any]:
    item: dict[str, Any] = value[ECHOES if value.get(ECHOES) else "messages"][0]
    return item


def _a_second_later(timestamp: object) -> str:
    text = str(timestamp or "")
    return str(int(text) + 1) if text.isascii() and text.isdigit() else str(now_ms() // 1000)


def _transcribers(session: Session, context: TranscriptionContext) -> list[Transcriber]:
    """In the order in which they are asked: the next one when one fails."""

    def remote(account: Any) -> Transcriber:
        def ask(file: Path, mime_type: str) -> str:
            with context.bulkhead.taken(account.url, phone=session.phone):
                return context.service.transcribe(account, file, mime_type=mime_type)

        return ask

    transcribers = [remote(account) for account in accounts_of(session, context.operator)]
    if (local := context.local) is not None:
        transcribers.append(lambda file, _: local(file))
    return transcribers


def _first_answer(transcribers: Sequence[Transcriber], file: Path, mime_type: str) -> str:
    """Raises the error that may go well later, if one of them may; else the first one's."""
    errors: list[UnoError] = []
    for transcriber in transcribers:
        try:
            return transcriber(file, mime_type)
        except (VoiceFailed, VoiceRefused, Postponed) as error:
            errors.append(error)
    raise next((error for error in errors if not isinstance(error, VoiceRefused)), errors[0])


def _why_not(job: Transcribe, seconds: int, context: TranscriptionContext) -> str:
    limits = context.limits
    if limits.seconds and seconds > limits.seconds:
        return f"longer than {limits.seconds} s (UNOAPI_TRANSCRIBE_MAX_SECONDS)"
    if not context.usage.spend(job.phone, TRANSCRIBED, seconds, most=limits.seconds_a_day):
        return f"more than {limits.seconds_a_day} s on this day (UNOAPI_TRANSCRIBE_SECONDS_PER_DAY)"
    return ""


def _following(job: Transcribe, deliveries: Deliveries) -> list[Envelope]:
    """The text for each webhook that has the audio, and a job that waits for each of the others."""
    envelopes = []
    for webhook_id in job.webhook_ids:
        one = job.model_copy(
            update={
                "id": computed_id("transcript", job.event_id, webhook_id),
                "webhook_ids": (webhook_id,),
                "ordered": tuple(name for name in job.ordered if name == webhook_id),
            }
        )
        has_audio = _has_audio(one, deliveries)
        envelopes.append(Envelope(text_event(one)) if has_audio else Envelope(one, delay_ms=SHORTEST_WAIT_MS))
    return envelopes


def _await_audio(job: Transcribe, deliveries: Deliveries) -> None:
    """Raise Postponed until the audio was delivered; not for ever: it may have been given up."""
    age_ms = now_ms() - job.accepted_at_ms
    if age_ms < LONGEST_WAIT_S * 1000 and not _has_audio(job, deliveries):
        after_ms = max(SHORTEST_WAIT_MS, min(LONGEST_PAUSE_MS, age_ms // 2))
        raise Postponed("the audio was not delivered yet", after_ms=after_ms)


def _has_audio(job: Transcribe, deliveries: Deliveries) -> bool:
    try:
        return all(deliveries.is_done(delivery_id(job.event_id, webhook)) for webhook in job.webhook_ids)
    except StoreUnavailable:
        return True  # nobody knows; the text need not wait for Redis


def _is_done(job: Transcribe, deliveries: Deliveries) -> bool:
    """Whether the text was delivered before: this job is a copy, and need not be paid for twice."""
    try:
        return all(deliveries.is_done(delivery_id(_text_event_id(job), webhook)) for webhook in job.webhook_ids)
    except StoreUnavailable:
        return False
