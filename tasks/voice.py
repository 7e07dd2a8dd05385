"""Transcription of received audios, and texts that are sent as voice notes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery import shared_task

from tasks.base import UnoTask
from tasks.sending import end_rejected
from unoapi.errors import MessageRejected, VoiceFailed
from unoapi.media.lengths import seconds_of
from unoapi.models.jobs import Envelope, Speak, Transcribe
from unoapi.models.trace import TraceEntry
from unoapi.services import speech, transcription
from unoapi.telemetry.metrics import metrics

if TYPE_CHECKING:
    from unoapi.models.trace import Step


@shared_task(name=Transcribe.task, base=UnoTask, bind=True)
def transcribe(self: UnoTask, job: Transcribe) -> None:
    """Transcribe an audio, and queue its words for each webhook that wants them."""
    uno, settings = self.uno, self.uno.settings
    context = transcription.TranscriptionContext(
        sessions=uno.sessions,
        operator=uno.operator_accounts,
        service=uno.voice_client,
        usage=uno.usage,
        files=uno.media_store,
        index=uno.media_index,
        deliveries=uno.deliveries,
        bulkhead=uno.bulkhead,
        measure=seconds_of,
        limits=transcription.Limits(settings.unoapi_transcribe_max_seconds, settings.unoapi_transcribe_seconds_per_day),
        local=uno.local_whisper.transcribe if uno.local_whisper else None,
    )
    try:
        done = transcription.transcribe(job, context)
    except VoiceFailed:
        metrics().voiced("transcription", "failed")
        raise
    if done.envelopes:
        transcription.remember(job, ids=uno.message_ids, connections=uno.connections)
        uno.publisher.publish(done.envelopes)
    if not job.text:
        metrics().voiced("transcription", "skipped" if done.skipped else "done")
    step: Step = "filtered" if done.skipped else "queued"
    uno.traces.add(TraceEntry.of(job, step, kind="transcription", detail=done.detail))


@shared_task(name=Speak.task, base=UnoTask, bind=True)
def speak(self: UnoTask, job: Speak) -> None:
    """Have a text said, then let the message go on as an audio; what cannot be said ends it."""
    uno, settings = self.uno, self.uno.settings
    uno.send_order.wait(job)
    try:
        following = speech.speak(
            job,
            sessions=uno.sessions,
            operator=uno.operator_accounts,
            service=uno.voice_client,
            usage=uno.usage,
            files=uno.media_store,
            index=uno.media_index,
            bulkhead=uno.bulkhead,
            quota=settings.unoapi_session_media_max,
            most_a_day=settings.unoapi_speech_characters_per_day,
            max_age_s=settings.unoapi_send_max_age,
            voice=settings.convert_audio_message_to_ogg,
            always_voice=settings.send_audio_message_as_ptt,
        )
    except MessageRejected as error:
        metrics().voiced("speech", "skipped")
        end_rejected(self, job, error)
        return
    except VoiceFailed:
        metrics().voiced("speech", "failed")
        uno.send_order.leave(job)  # it is tried again later: the others need not wait so long
        raise
    metrics().voiced("speech", "done")
    uno.publisher.publish([Envelope(self.as_perhaps_repeated(following))])
    uno.traces.add(TraceEntry.of(job, "queued", detail="it is said"))
