"""Texts that are sent as voice notes: a service says them, and the message goes on as an audio."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING
from uuid import UUID

from unoapi.errors import MediaMissing, MediaQuotaReached, MessageRejected, Postponed, RequestError, VoiceRefused
from unoapi.errors.validation import NOT_VALID
from unoapi.models.bulk import row_of
from unoapi.models.cloud_api.events import serialise
from unoapi.models.cloud_api.messages import SpeechMessage
from unoapi.models.file_types import OPUS
from unoapi.models.jobs import SendMessage, computed_id, now_ms
from unoapi.models.media import ID_PREFIX
from unoapi.models.voice import accounts_of
from unoapi.services.first_jobs import first_job
from unoapi.services.media import pieces_of, save
from unoapi.services.message_parsing import message_of
from unoapi.services.retries import ensure_fresh

if TYPE_CHECKING:
    from unoapi.models.cloud_api.messages import OutboundMessage
    from unoapi.models.jobs import MessageJob, Speak
    from unoapi.models.media import MediaFile
    from unoapi.models.session import Session
    from unoapi.models.voice import OperatorAccounts, VoiceAccount
    from unoapi.ports import MediaIndex, MediaStore, SessionStore, Usage, VoiceService
    from unoapi.services.bulkhead import Bulkhead

SPOKEN = "spoken_characters"
UNSUPPORTED, LIMIT, NOT_MADE = 131051, 130429, 131000
NOT_CONFIGURED = (
    "No service is configured that says texts: set OPENAI_API_KEY, or openaiApiKey of the session with register."
)


def speaking_account(session: Session, operator: OperatorAccounts) -> VoiceAccount | None:
    """The first account of a session that says texts, if it has one."""
    return next((account for account in accounts_of(session, operator) if account.speech_model), None)


def ensure_speakable(message: OutboundMessage, session: Session, operator: OperatorAccounts) -> None:
    """Refuse a speech of a number for which nobody speaks. Raises RequestError."""
    if isinstance(message, SpeechMessage) and speaking_account(session, operator) is None:
        raise RequestError("Message type is not supported", code=UNSUPPORTED, status=400, details=NOT_CONFIGURED)


def speak(  # noqa: PLR0913 (collaborators and switches)
    job: Speak,
    *,
    sessions: SessionStore,
    operator: OperatorAccounts,
    service: VoiceService,
    usage: Usage,
    files: MediaStore,
    index: MediaIndex,
    bulkhead: Bulkhead,
    quota: int,
    most_a_day: int,
    max_age_s: int,
    voice: bool,
    always_voice: bool,
) -> MessageJob:
    """The message as an audio with our id, to be prepared or sent. A job that is repeated finds its file again.

    Raises VoiceFailed (retry), Postponed, StoreUnavailable (wait), TooOld, and MessageRejected for what cannot be said.
    """
    ensure_fresh(job, max_age_s=max_age_s)
    message = message_of(job)
    if not isinstance(message, SpeechMessage):
        raise MessageRejected(NOT_VALID, code=131009, details="It is no speech.")
    session = sessions.find(job.phone)
    account = speaking_account(session, operator)
    if account is None:
        raise MessageRejected("Message type is not supported", code=UNSUPPORTED, details=NOT_CONFIGURED)
    media_id = _media_id(job, message)
    try:
        media = index.find(media_id, phone=job.phone)
    except MediaMissing:
        media = _made(
            job, message, account, media_id, service=service, usage=usage, files=files, index=index,
            bulkhead=bulkhead, quota=quota, most_a_day=most_a_day, max_age_s=max_age_s,
        )  # fmt: skip
    document = {name: value for name, value in message.to_wire().items() if name != "speech"}
    document |= {"type": "audio", "audio": {"id": media.id, "voice": True}}
    following = SendMessage.model_validate(job.model_dump() | {"body": serialise(document)})
    for_phone = session.provider == "whatsmeow"
    if not for_phone and media.mime_type == OPUS:
        return following  # it is a voice note already, and nobody wants it measured
    kind = first_job(message_of(following), for_phone=for_phone, voice=voice, always_voice=always_voice)
    return kind.model_validate(following.model_dump())


def _made(  # noqa: PLR0913 (collaborators)
    job: Speak,
    message: SpeechMessage,
    account: VoiceAccount,
    media_id: str,
    *,
    service: VoiceService,
    usage: Usage,
    files: MediaStore,
    index: MediaIndex,
    bulkhead: Bulkhead,
    quota: int,
    most_a_day: int,
    max_age_s: int,
) -> MediaFile:
    text, characters = message.speech.body, len(message.speech.body)
    if not usage.spend(job.phone, SPOKEN, characters, most=most_a_day):
        details = f"The texts of one number may have {most_a_day} characters a day (UNOAPI_SPEECH_CHARACTERS_PER_DAY)."
        raise MessageRejected("Rate limit hit", code=LIMIT, details=details)
    try:
        with bulkhead.taken(account.url, phone=job.phone), tempfile.TemporaryFile(prefix="unoapi-speech-") as file:
            mime_type = service.speak(account, text, file, voice=message.speech.voice or "")
            return save(
                job.phone, pieces_of(file), mime_type=mime_type, filename="voice.ogg", files=files, index=index,
                media_id=media_id, quota=quota,
            )  # fmt: skip
    except VoiceRefused as error:
        usage.give_back(job.phone, SPOKEN, characters)
        raise MessageRejected("Speech not made", code=NOT_MADE, details=f"{error}.") from error
    except MediaQuotaReached as error:
        raise MessageRejected("Speech not made", code=NOT_MADE, details=f"{error}.") from error
    except Postponed as error:
        usage.give_back(job.phone, SPOKEN, characters)
        if now_ms() + error.after_ms > job.accepted_at_ms + max_age_s * 1000:
            raise MessageRejected("Speech not made", code=NOT_MADE, details=f"{error}.") from error
        raise
    except Exception:
        usage.give_back(job.phone, SPOKEN, characters)
        raise


def _media_id(job: Speak, message: SpeechMessage) -> str:
    """The id of a speech's file, digits only: the same message has the same one, and the same text of a campaign."""
    row = row_of(job.id)
    source = (job.id,) if row is None else (row[0], message.speech.body, message.speech.voice or "")
    return f"{ID_PREFIX}{UUID(computed_id('speech', job.phone, *source)).int % 10**20:020}"
