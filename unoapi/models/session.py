"""One connected phone number with its options, and its webhooks. Field names are those stored in Redis."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    UrlConstraints,
    field_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import Url

from unoapi.models.connector_options import ConnectorOptions

MAX_TIMEOUT_MS = 60_000
MAX_WEBHOOKS = 20

WebUrl = Annotated[Url, UrlConstraints(allowed_schemes=["http", "https"], host_required=True, max_length=2048)]
EmptyIsAbsent = BeforeValidator(lambda value: None if value == "" else value)
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]


class Webhook(BaseModel):
    """One client address with its token, filters and limits."""

    model_config = ConfigDict(
        frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore", hide_input_in_errors=True
    )

    id: str = Field(default="default", min_length=1, max_length=100)
    url: Annotated[WebUrl | None, EmptyIsAbsent] = None
    url_absolute: Annotated[WebUrl | None, EmptyIsAbsent] = None
    token: SecretStr = SecretStr("")
    header: HeaderName = "Authorization"
    secret: SecretStr = SecretStr("")
    timeout_ms: int = Field(default=15_000, ge=1)
    send_group_messages: bool = True
    send_outgoing_messages: bool = True
    send_incoming_messages: bool = True
    send_update_messages: bool = True
    send_newsletter_messages: bool = False

    @field_validator("id", mode="before")
    @classmethod
    def _none_is_default(cls, value: object) -> object:
        return "default" if value is None else value

    @field_validator("token", "secret", mode="before")
    @classmethod
    def _none_is_empty(cls, value: object) -> object:
        return "" if value is None else value

    def address(self, phone: str) -> str:
        """Where the events of `phone` go: the absolute address, else the address with the phone appended."""
        if self.url_absolute is not None:
            return str(self.url_absolute)
        return f"{str(self.url).rstrip('/')}/{phone}"

    @property
    def deadline_ms(self) -> int:
        """Time for the whole exchange, in milliseconds: the configured one, at most a minute."""
        return min(self.timeout_ms, MAX_TIMEOUT_MS)


class Session(ConnectorOptions):
    """The options of one phone. `stored` is false when they are the environment's.

    Unknown fields are kept in Redis but not read here, so that going back to the former program stays possible.
    """

    model_config = ConfigDict(
        frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore", hide_input_in_errors=True
    )

    phone: str = Field(pattern=r"^[0-9]{1,20}$")
    stored: bool = False
    provider: Literal["whatsmeow", "forwarder", "sandbox"] = "whatsmeow"
    label: str = Field(default="", max_length=200)
    auth_token: SecretStr = Field(
        default=SecretStr(""), validation_alias=AliasChoices("authToken", "auth_token"), max_length=512
    )
    webhooks: tuple[Webhook, ...] = Field(default=(), max_length=MAX_WEBHOOKS)

    @field_validator("provider", mode="before")
    @classmethod
    def _former_provider(cls, value: object) -> object:
        return "whatsmeow" if value in (None, "", "baileys") else value

    @field_validator("auth_token", mode="before")
    @classmethod
    def _none_is_empty(cls, value: object) -> object:
        return "" if value is None else value

    @field_validator("label", mode="before")
    @classmethod
    def _no_label(cls, value: object) -> object:
        return "" if value is None else value

    @field_validator("webhooks")
    @classmethod
    def _ids_are_unique(cls, value: tuple[Webhook, ...]) -> tuple[Webhook, ...]:
        if len({webhook.id for webhook in value}) != len(value):
            raise ValueError("webhook ids must be unique")
        return value

    def webhook(self, webhook_id: str) -> Webhook | None:
        """The webhook with this id, if there is one."""
        return next((webhook for webhook in self.webhooks if webhook.id == webhook_id), None)


SECRET_FIELDS = frozenset({"authToken", "token", "secret", "wavoipToken", "openaiApiKey", "groqApiKey", "proxyUrl"})


def without_secrets(config: Any) -> Any:
    """A stored configuration as an answer may show it: secret fields are left out at every depth.

    Left out, not masked, so that a client may post the answer back without destroying a token.
    """
    if isinstance(config, dict):
        return {
            key: without_secrets(value)
            for key, value in config.items()
            if key not in SECRET_FIELDS and not key.lower().endswith(("secret", "secretaccesskey", "password"))
        }
    if isinstance(config, list):
        return [without_secrets(item) for item in config]
    return config
