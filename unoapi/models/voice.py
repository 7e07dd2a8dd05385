"""Accounts at services that write down what is said, and say what is written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import SecretStr

    from unoapi.models.session import Session

OPENAI_URL = "https://api.openai.com/v1"
GROQ_URL = "https://api.groq.com/openai/v1"
TRANSCRIBE_MODEL, SPEECH_MODEL, VOICE = "whisper-1", "tts-1", "alloy"
GROQ_MODEL = "whisper-large-v3"
MAX_SPOKEN_CHARS = 4096
"""OpenAI's own limit of one text."""


@dataclass(frozen=True)
class VoiceAccount:
    """An account at a service with OpenAI's interface. `trusted`: its address is the operator's own choice."""

    name: str
    url: str
    key: SecretStr
    transcribe_model: str
    speech_model: str = ""
    voice: str = VOICE
    trusted: bool = False


@dataclass(frozen=True)
class OperatorAccounts:
    """The operator's accounts, by their names; none where there is no key."""

    openai: VoiceAccount | None = None
    groq: VoiceAccount | None = None


def accounts_of(session: Session, operator: OperatorAccounts) -> list[VoiceAccount]:
    """The accounts that a session may use, in the order in which they are asked.

    A session with a key of its own uses that, and of the operator's account nothing: neither goes the operator's key to
    an address that a tenant chose, nor does a tenant choose what the operator pays for, but the voice.
    """
    own = [_own_openai(session) or _with_voice(operator.openai, session), _own_groq(session) or operator.groq]
    return [account for account in own if account is not None]


def _own_openai(session: Session) -> VoiceAccount | None:
    if not session.openai_api_key.get_secret_value():
        return None
    return VoiceAccount(
        name="openai",
        url=f"{session.openai_base_url or OPENAI_URL}",
        key=session.openai_api_key,
        transcribe_model=session.openai_transcribe_model or TRANSCRIBE_MODEL,
        speech_model=session.openai_speech_model or SPEECH_MODEL,
        voice=session.openai_speech_voice or VOICE,
    )


def _own_groq(session: Session) -> VoiceAccount | None:
    if not session.groq_api_key.get_secret_value():
        return None
    return VoiceAccount(
        name="groq",
        url=f"{session.groq_base_url or GROQ_URL}",
        key=session.groq_api_key,
        transcribe_model=session.groq_transcribe_model or GROQ_MODEL,
    )


def _with_voice(account: VoiceAccount | None, session: Session) -> VoiceAccount | None:
    if account is None or not session.openai_speech_voice:
        return account
    return replace(account, voice=session.openai_speech_voice)
