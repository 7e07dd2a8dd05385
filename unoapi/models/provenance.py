"""What the operator set in the environment, and how a stored configuration is completed by it.

The two never merge where a credential is concerned. The operator's credentials of webhooks go to exactly the operator's
addresses, those of Meta's account to a session that names nothing of an account of its own. Everything is decided on
validated models, so that no other spelling of a field can say something else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from unoapi.errors.validation import NOWHERE
from unoapi.models.options import Forward
from unoapi.models.session import Session, Webhook

ADDRESS = frozenset({"url", "url_absolute"})
CREDENTIALS = frozenset({"token", "header", "secret", "previous_secret", "previous_secret_until"})


@dataclass(frozen=True)
class OperatorAddresses:
    """The addresses of the environment's webhook. `url` gets the phone appended, `absolute` is used as it is."""

    url: str = ""
    absolute: str = ""

    def include(self, address: str, *, phone: str) -> bool:
        """Whether this is exactly the operator's address for the events of this phone."""
        return address in filter(None, (self.absolute, self.url and f"{self.url.rstrip('/')}/{phone}"))


NO_ADDRESSES = OperatorAddresses()

EMPTY_IS_ABSENT = frozenset(
    {"autoRestartMs", "qrTimeoutMs", "customMessageCharacters", "webhookForward", "businessProfile", "bulkBatch",
     "bulkDelay", "bulkHours", "bulkDays", "bulkTimezone", "server", "interactiveMode"}
)  # fmt: skip
"""Options that a form leaves empty, and that an empty text is no value of."""
OLDER_NAMES = {"rejectCallsWebhook": "messageCallsWebhook"}
"""What the Node version called options before; it stores both names. A text under the older one counts where the newer
one says nothing."""


@dataclass(frozen=True)
class Environment:
    """The operator's own webhook, account at Meta and options.

    `forward_phones` may use the account; none named stands for all.
    """

    webhook: Webhook | None = None
    forward: Forward = field(default_factory=Forward)
    options: dict[str, Any] = field(default_factory=dict, repr=False)
    forward_phones: frozenset[str] = frozenset()

    @property
    def addresses(self) -> OperatorAddresses:
        """Where the credentials of the environment's webhook may go."""
        if self.webhook is None:
            return NO_ADDRESSES
        return OperatorAddresses(url=self.webhook.url or "", absolute=self.webhook.url_absolute or "")

    def session(self, phone: str) -> Session:
        """The session of a phone that was never stored."""
        webhooks = () if self.webhook is None else (self.webhook,)
        forward, is_environments = self._account(Forward(), phone)
        resolved = {"webhooks": webhooks, "webhookForward": forward, "environmentsAccount": is_environments}
        return Session.model_validate({**self.options, **resolved, "phone": phone, "stored": False})

    def complete(self, phone: str, config: dict[str, Any], *, invalid: frozenset[str] = frozenset()) -> Session:
        """The session of a stored configuration, without its `invalid` fields. Raises ValidationError.

        An account at Meta that is not valid is none: it does not become the environment's.
        """
        own = {
            key: value
            for key, value in config.items()
            if value is not None and key not in invalid and not (value == "" and key in EMPTY_IS_ABSENT)
        }
        for older, newer in OLDER_NAMES.items():
            if own.get(older) and isinstance(own[older], str) and not own.get(newer) and newer not in invalid:
                own[newer] = own[older]
        stored = own.get("webhooks") or []  # an empty list never silences a session: it counts as absent
        if isinstance(stored, list):
            own["webhooks"] = [self._webhook(webhook, phone) for webhook in stored if not goes_nowhere(webhook)]
            if not stored and self.webhook is not None:
                own["webhooks"] = [self.webhook]
        forward, is_environments = self._stored_account(own.get("webhookForward"), phone)
        if "webhookForward" in invalid:
            forward, is_environments = Forward(), False
        resolved = {"webhookForward": forward, "environmentsAccount": is_environments}
        return Session.model_validate({**self.options, **own, **resolved, "phone": phone, "stored": True})

    def _webhook(self, stored: Any, phone: str) -> Any:
        """A stored webhook with what it does not name; as it is when it is not valid, for the whole to report."""
        if self.webhook is None or not isinstance(stored, dict):
            return stored
        try:
            own = Webhook.model_validate(stored)
        except ValidationError:
            return stored
        named = set(own.model_fields_set)
        if own.url is None and own.url_absolute is None:
            named -= ADDRESS
        else:
            named |= ADDRESS
        missing = {name: getattr(self.webhook, name) for name in Webhook.model_fields if name not in named}
        completed = own.model_copy(update=missing)
        if not self.addresses.include(completed.address(phone), phone=phone):
            return own.model_copy(update={name: part for name, part in missing.items() if name not in CREDENTIALS})
        if not own.token.get_secret_value():  # the operator's token stands in no header but the operator's
            return completed.model_copy(update={"token": self.webhook.token, "header": self.webhook.header})
        return completed

    def _stored_account(self, stored: Any, phone: str) -> tuple[Any, bool]:
        """A stored account, completed; as it is when it is not valid, for the whole to report."""
        if stored is not None and not isinstance(stored, dict):
            return stored, False
        named = {key: value for key, value in (stored or {}).items() if value}
        try:
            return self._account(Forward.model_validate(named), phone)
        except ValidationError:
            return stored, False

    def _account(self, own: Forward, phone: str) -> tuple[Forward, bool]:
        """The account at Meta, and whether it is the environment's."""
        environment = self.forward
        names_one = (
            own.url or own.version or own.phone_number_id or own.business_account_id or own.token.get_secret_value()
        )
        if names_one or (self.forward_phones and phone not in self.forward_phones):
            return own.model_copy(
                update={"url": own.url or environment.url, "version": own.version or environment.version}
            ), False
        own_fields = {name: getattr(own, name) for name in own.model_fields_set & {"app_secret", "timeout_ms"}}
        forward = environment.model_copy(update=own_fields) if own_fields else environment
        return forward, bool(environment.token.get_secret_value())


def goes_nowhere(webhook: Any) -> bool:
    """Whether it is what the Node version stored where nothing was configured: its own address that takes anything."""
    if not isinstance(webhook, dict):
        return False
    address = webhook.get("urlAbsolute") or webhook.get("url")
    return isinstance(address, str) and NOWHERE.fullmatch(address) is not None
