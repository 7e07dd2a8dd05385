"""What is done first with a message that is on its way to WhatsApp."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unoapi.errors import Postponed, StoreUnavailable
from unoapi.models.cloud_api.messages import SpeechMessage
from unoapi.models.jobs import FetchFiles, MessageJob, PrepareMessage, SendMessage, Speak
from unoapi.services import fetching, preparation

if TYPE_CHECKING:
    from unoapi.models.cloud_api.messages import OutboundMessage
    from unoapi.ports import SessionStore


def is_phone(phone: str, *, sessions: SessionStore) -> bool:
    """Whether a connector sends for the number. Not while nobody can say it: then it fetches a file by itself."""
    try:
        return sessions.find(phone).provider == "whatsmeow"
    except (Postponed, StoreUnavailable):
        return False


def first_job(message: OutboundMessage, *, for_phone: bool, voice: bool, always_voice: bool) -> type[MessageJob]:
    """The job: a speech is made, a phone sends files that are here, and prepared for it; Meta fetches by itself."""
    if isinstance(message, SpeechMessage):
        return Speak
    if for_phone and fetching.wanted(message):
        return FetchFiles
    prepared = preparation.wanted(message, for_phone=for_phone, voice=voice, always_voice=always_voice)
    return PrepareMessage if prepared else SendMessage
