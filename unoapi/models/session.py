"""One connected phone number with its options, and its webhooks. Field names are those stored in Redis."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from unoapi.errors.validation import HEADER_NAME, MIN_TOKEN_LENGTH
from unoapi.models.blanks import EmptyIsAbsent
from unoapi.models.connector.options import ConnectorOptions
from unoapi.models.options import BusinessProfile, Forward, WebText
from unoapi.models.text import credential, figures

MAX_TIMEOUT_MS = 60_000
MAX_WEBHOOKS = 20
MAX_TTL_S = 315_360_000

ProviderName = Literal["whatsmeow", "forwarder", "sandbox"]
NODE_PHONES = (None, "", "baileys")
"""What the Node version calls the provider of phones."""
FORWARD = "forward"
TtlS = Annotated[int, AfterValidator(lambda value: max(-1, min(value, MAX_TTL_S)))]
"""Seconds on a blacklist. The Node version takes every negative number for no end, and has no longest time."""
HeaderName = Annotated[
    str,
    BeforeValidator(lambda value: value.strip() if isinstance(value, str) else value),
    Field(pattern=HEADER_NAME),
]
"""Without what was copied around it."""
EMPTY_IS_VALUE = frozenset(
    {"id", "url", "urlAbsolute", "token", "secret", "previousSecret", "previousSecretUntil", "profile"}
)
"""Of a webhook's fields those where an empty text means something, or is a mistake. Any other one that a form left
empty is not set: as a flag that is off it would silence the webhook."""
WHERE_EVENTS_GO = EMPTY_IS_VALUE - {"profile"} | {"header"}
"""Of a webhook's fields those without which it cannot be served."""
NO_VALID_ADDRESS = "https://the-address-is-not-valid.invalid/"
"""Where the events of a webhook go that cannot be served as it is stored: nowhere, until `register` corrects it."""


class Webhook(BaseModel):
    """One client address with its token, filters and limits."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, extra="ignore", hide_input_in_errors=True)

    id: str = Field(default="default", min_length=1, max_length=100)
    url: Annotated[WebText | None, EmptyIsAbsent] = None
    url_absolute: Annotated[WebText | None, EmptyIsAbsent] = None
    token: SecretStr = SecretStr("")
    header: HeaderName = "Authorization"
    secret: SecretStr = SecretStr("")
    previous_secret: SecretStr = SecretStr("")
    previous_secret_until: int | None = None
    timeout_ms: int = Field(default=15_000, ge=1)
    send_group_messages: bool = True
    send_outgoing_messages: bool = True
    send_incoming_messages: bool = True
    send_update_messages: bool = True
    send_newsletter_messages: bool = False
    send_new_messages: bool = False
    send_transcribe_audio: bool = False
    send_history: bool = True
    send_calls: bool = True
    send_account_events: bool = True
    ordered: bool = False
    profile: Literal["", "meta", "unoapi", "chatwoot", "typebot"] = ""
    add_to_black_list_on_outgoing_message_with_ttl: TtlS | None = None

    @model_validator(mode="before")
    @classmethod
    def _as_stored(cls, value: object) -> object:
        """Forms of the Node version store null for what they leave empty; its fork has a flag for one receiver."""
        if not isinstance(value, dict):
            return value
        if value.get("typebot") is True and not value.get("profile"):
            value = {**value, "profile": "typebot"}
        return {
            name: part for name, part in value.items() if part is not None and (part != "" or name in EMPTY_IS_VALUE)
        }

    @field_validator("token", mode="before")
    @classmethod
    def _as_a_header_has_it(cls, value: object) -> object:
        return credential(value)

    def secrets_at(self, now_s: float) -> tuple[str, ...]:
        """What signs at this time: the secret, and for a while after a change the one before it, too."""
        current = self.secret.get_secret_value()
        return _valid(current, self.previous_secret.get_secret_value(), self.previous_secret_until, now_s)

    def address(self, phone: str) -> str:
        """Where the events of `phone` go: the absolute address, else the address with the phone appended."""
        if self.url_absolute is not None:
            return self.url_absolute
        return f"{(self.url or '').rstrip('/')}/{phone}"

    @property
    def deadline_ms(self) -> int:
        """Time for the whole exchange, in milliseconds: the configured one, at most a minute."""
        return min(self.timeout_ms, MAX_TIMEOUT_MS)


class Session(ConnectorOptions):
    """The options of one phone. `stored` is false when they are the environment's.

    `environments_account`: the account at Meta is the environment's, with the operator's token. `began_ms`: when the
    number was removed last, in Unix milliseconds: what came before is perhaps somebody else's.
    Unknown fields stay in Redis but are not read here, so that going back to the Node version stays possible.
    """

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, extra="ignore", hide_input_in_errors=True)

    phone: str = Field(pattern=r"^[0-9]{1,20}$")
    stored: bool = False
    environments_account: bool = False
    provider: ProviderName = "whatsmeow"
    label: str = Field(default="", max_length=200)
    auth_token: SecretStr = Field(
        default=SecretStr(""), validation_alias=AliasChoices("authToken", "auth_token"), max_length=512
    )
    previous_auth_token: SecretStr = SecretStr("")
    previous_auth_token_until: int | None = None
    began_ms: int = 0
    webhooks: tuple[Webhook, ...] = Field(default=(), max_length=MAX_WEBHOOKS)
    webhook_forward: Forward = Forward()
    business_profile: BusinessProfile = BusinessProfile()

    @model_validator(mode="before")
    @classmethod
    def _at_meta_in_the_node_version(cls, value: object) -> object:
        """There `connectionType` says that a number is at Meta; `provider` may not be set."""
        if isinstance(value, dict) and value.get("connectionType") == FORWARD and value.get("provider") in NODE_PHONES:
            return {**value, "provider": "forwarder"}
        return value

    @field_validator("provider", mode="before")
    @classmethod
    def _provider_of_node_version(cls, value: object) -> object:
        return "whatsmeow" if value in NODE_PHONES else value

    @field_validator("auth_token", "previous_auth_token", mode="before")
    @classmethod
    def _none_is_empty(cls, value: object) -> object:
        return "" if value is None else figures(value)

    @field_validator("label", mode="before")
    @classmethod
    def _no_label(cls, value: object) -> object:
        return "" if value is None else figures(value)

    @field_validator("webhook_forward", "business_profile", mode="before")
    @classmethod
    def _none_is_default(cls, value: object) -> object:
        return {} if value is None else value

    @field_validator("webhooks")
    @classmethod
    def _ids_are_unique(cls, value: tuple[Webhook, ...]) -> tuple[Webhook, ...]:
        if len({webhook.id for webhook in value}) != len(value):
            raise ValueError("webhook ids must be unique")
        return value

    @property
    def _named_account(self) -> Forward:
        """The account whose ids it has: those of the environment's are one number's, which is at Meta."""
        is_anothers = self.environments_account and self.provider != "forwarder"
        return Forward() if is_anothers else self.webhook_forward

    @property
    def phone_number_id(self) -> str:
        """The id that clients know the number by: the one at Meta, else the phone."""
        return self._named_account.phone_number_id or self.phone

    @property
    def waba_id(self) -> str:
        """The WhatsApp business account: the one at Meta, else one computed as the Node version's fork does."""
        account = self._named_account
        return account.business_account_id or computed_waba_id(self.phone, account.phone_number_id)

    @property
    def entry_id(self) -> str:
        """The id of an event's entry: the account at Meta; without one the phone as ever, or `waba_id`."""
        account = self.waba_id if self.account_in_events else self.phone
        return self._named_account.business_account_id or account

    @property
    def has_short_token(self) -> bool:
        """Whether its token may be guessed: one that was stored before there was a bound."""
        return 0 < len(self.auth_token.get_secret_value()) < MIN_TOKEN_LENGTH

    @property
    def has_webhook_without_address(self) -> bool:
        """Whether one of its webhooks could not be served as it is stored."""
        return any(webhook.url_absolute == NO_VALID_ADDRESS for webhook in self.webhooks)

    def tokens_at(self, now_s: float) -> tuple[str, ...]:
        """What opens it at this time: its token, and for a while after a change the one before it, too."""
        current = self.auth_token.get_secret_value()
        return _valid(current, self.previous_auth_token.get_secret_value(), self.previous_auth_token_until, now_s)

    def answers_to(self, node: str) -> bool:
        """Whether an id of the Graph's name space means this number."""
        return node in (self.phone, self.phone_number_id, self.waba_id)

    def webhook(self, webhook_id: str) -> Webhook | None:
        """The webhook with this id, if there is one."""
        for webhook in self.webhooks:
            if webhook.id == webhook_id:
                return webhook
        return None


def _valid(current: str, previous: str, until: int | None, now_s: float) -> tuple[str, ...]:
    """Of a value and the one before it those that hold; `until` is Unix time in seconds, none is for ever."""
    before = previous if current and (until is None or now_s < until) else ""
    return tuple(filter(None, (current, before)))


def computed_waba_id(phone: str, phone_number_id: str = "") -> str:
    """15 digits out of the SHA-1 of "phone:phone number id": the same in every installation. Never starts with 0."""
    text = f"{re.sub(r'[^0-9]', '', phone)}:{phone_number_id}"
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    digits = "".join(str(int(figure, 16) % 10) for figure in digest[:15])
    return f"1{digits[1:]}" if digits.startswith("0") else digits


def with_own_ids(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration whose webhooks have texts as ids, and each its own: `crm`, `crm-2`, `crm-3`.

    The Node version posts to each webhook of the list, also to several of one id, or with an empty one. Of those that
    are the same in everything there is one.
    """
    webhooks = config.get("webhooks")
    if not isinstance(webhooks, list) or not all(isinstance(webhook, dict) for webhook in webhooks):
        return config
    different = list({repr(webhook): webhook for webhook in webhooks}.values())
    ids = [figures(webhook.get("id")) or "default" for webhook in different]
    if not all(isinstance(name, str) for name in ids):
        return config
    taken, counts, own = set(ids), Counter[Any](), []
    for name, webhook in zip(ids, different, strict=True):
        counts[name] += 1
        free = name
        while counts[name] > 1 and (free := f"{str(name)[:90]}-{counts[name]}") in taken:
            counts[name] += 1
        taken.add(free)
        own.append(webhook if webhook.get("id", "default") == free else {**webhook, "id": free})
    return {**config, "webhooks": own}


SECRET_ENDINGS = ("token", "secret", "key", "keyid", "password", "proxyurl")
"""Of the names of secrets, under every spelling: capitals and underscores do not count. By their endings, because what
only another version reads is kept, too, as `voipServiceToken`, or `accessKeyId` in `storage`."""


def without_secrets(config: Any) -> Any:
    """A stored configuration as an answer may show it: secret fields are left out at every depth.

    Left out, not masked, so that a client may post the answer back without destroying a token.
    """
    if isinstance(config, dict):
        return {
            key: without_secrets(value)
            for key, value in config.items()
            if not key.replace("_", "").lower().endswith(SECRET_ENDINGS)
        }
    if isinstance(config, list):
        return [without_secrets(item) for item in config]
    return config
