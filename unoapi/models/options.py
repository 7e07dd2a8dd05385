"""The options of a session: its behaviour, its account at Meta, its business. Names as stored in Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    UrlConstraints,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import Url

from unoapi.errors.validation import SOCKS
from unoapi.models.blanks import EmptyIsAbsent, EmptyIsOff, NothingIsNoText
from unoapi.models.bulk import Days, Hours, Zone
from unoapi.models.text import credential

WebUrl = Annotated[Url, UrlConstraints(allowed_schemes=["http", "https"], host_required=True, max_length=2048)]
# An address as text, for what is asked of each delivery. Pydantic knows no text that is checked as an address is, and
# would warn at each dump that it is none.
if TYPE_CHECKING:
    WebText = str
else:
    WebText = Annotated[WebUrl, AfterValidator(str), PlainSerializer(str)]
NumbersToo = BeforeValidator(lambda value: credential(value) or "")
Flag = Annotated[bool, EmptyIsOff]
OptionText = Annotated[str, Field(max_length=2000), NothingIsNoText]
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:/-]{0,100}$"), NothingIsNoText]
NodeId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{0,64}$"), NumbersToo]
MAX_DAY_MS = 86_400_000
FORWARD_TIMEOUT_MS = 15_000
MAX_FORWARD_TIMEOUT_MS = 50_000
"""Shorter than the lease of a send, so that nobody takes it for lost while Meta is still being waited for."""


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, alias_generator=to_camel, extra="ignore", hide_input_in_errors=True)


class Forward(_Stored):
    """The number's account at Meta, for the provider `forwarder`. Empty fields are the environment's."""

    url: Annotated[WebUrl | None, EmptyIsAbsent] = None
    version: str = Field(default="", pattern=r"^(v[0-9]{1,3}(\.[0-9]{1,3})?)?$")
    phone_number_id: NodeId = ""
    business_account_id: NodeId = ""
    token: SecretStr = SecretStr("")
    app_secret: SecretStr = SecretStr("")
    timeout_ms: int | None = Field(default=None, ge=1)

    @property
    def deadline_ms(self) -> int:
        """Time for one exchange with Meta, in milliseconds."""
        return min(self.timeout_ms or FORWARD_TIMEOUT_MS, MAX_FORWARD_TIMEOUT_MS)

    @field_validator("token", "app_secret", "version", mode="before")
    @classmethod
    def _none_is_empty(cls, value: object) -> object:
        return "" if value is None else credential(value)


class BusinessProfile(BaseModel):
    """What a business says of itself, with Meta's limits."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    about: str = Field(default="", max_length=139)
    address: str = Field(default="", max_length=256)
    description: str = Field(default="", max_length=512)
    email: str = Field(default="", max_length=128)
    profile_picture_url: str = Field(default="", max_length=2048)
    profile_picture_id: str = Field(default="", max_length=64, description="Of an uploaded file.")
    websites: tuple[Annotated[str, Field(max_length=256)], ...] = Field(default=(), max_length=2)
    vertical: str = Field(default="UNDEFINED", max_length=32, pattern=r"^[A-Z_]{1,32}$")

    @model_validator(mode="before")
    @classmethod
    def _as_clients_write_it(cls, value: object) -> object:
        """Null names nothing, and Graph takes the names of its verticals in small letters, too."""
        if not isinstance(value, dict):
            return value
        named = {name: part for name, part in value.items() if part is not None}
        vertical = named.get("vertical")
        return {**named, "vertical": vertical.upper() or "UNDEFINED"} if isinstance(vertical, str) else named


class Options(_Stored):
    """How the connection of a number behaves. The defaults are those of the settings."""

    connection_type: Literal["qrcode", "pairing_code", "forward"] = "qrcode"
    auto_connect: Flag = True
    auto_restart_ms: int = Field(default=0, ge=0, le=30 * MAX_DAY_MS)
    qr_timeout_ms: int = Field(default=60_000, ge=1, le=MAX_DAY_MS)
    proxy_url: SecretStr = SecretStr("")

    ignore_group_messages: Flag = True
    ignore_newsletter_messages: Flag = True
    ignore_broadcast_statuses: Flag = True
    ignore_broadcast_messages: Flag = False
    ignore_history_messages: Flag = True
    ignore_own_messages: Flag = True
    ignore_yourself_messages: Flag = False
    read_on_receipt: Flag = False
    read_on_reply: Flag = False
    composing_message: Flag = False
    send_connection_status: Flag = True
    send_reaction_as_reply: Flag = False
    send_profile_picture: Flag = False
    group_messages_cloud_format: Flag = False
    outgoing_messages_coex: Flag = False
    account_in_events: Flag = False
    reject_calls: OptionText = ""
    message_calls_webhook: OptionText = ""
    commands: Flag = False
    bulk_batch: int | None = Field(default=None, ge=1, le=1000)
    bulk_delay: int | None = Field(default=None, ge=1, le=MAX_DAY_MS // 1000)
    bulk_hours: Hours | None = None
    bulk_days: Days | None = None
    bulk_timezone: Zone | None = None
    openai_api_key: SecretStr = SecretStr("")
    openai_base_url: Annotated[WebUrl | None, EmptyIsAbsent] = None
    openai_transcribe_model: ModelName = Field(default="", alias="openaiApiTranscribeModel")
    openai_speech_model: ModelName = Field(default="", alias="openaiApiSpeechModel")
    openai_speech_voice: ModelName = Field(default="", alias="openaiApiSpeechVoice")
    groq_api_key: SecretStr = SecretStr("")
    groq_base_url: Annotated[WebUrl | None, EmptyIsAbsent] = Field(default=None, alias="groqApiBaseUrl")
    groq_transcribe_model: ModelName = Field(default="", alias="groqApiTranscribeModel")
    session_webhook: Annotated[WebUrl | None, EmptyIsAbsent] = None
    custom_message_characters: tuple[Annotated[str, Field(max_length=100)], ...] = Field(default=(), max_length=1000)

    @field_validator("connection_type", mode="before")
    @classmethod
    def _no_type(cls, value: object) -> object:
        return value or "qrcode"

    @field_validator("proxy_url")
    @classmethod
    def _plain_socks(cls, value: SecretStr) -> SecretStr:
        return SecretStr(SOCKS.sub("socks5://", value.get_secret_value()))

    @field_validator("proxy_url", "openai_api_key", "groq_api_key", mode="before")
    @classmethod
    def _no_secret(cls, value: object) -> object:
        return "" if value is None else value
