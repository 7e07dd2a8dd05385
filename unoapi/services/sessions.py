"""A session's configuration: changed, removed, and shown as the Cloud API shows a phone number."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from unoapi.errors import RequestError
from unoapi.models.options import BusinessProfile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unoapi.models.session import Session
    from unoapi.ports import Sessions

DAY_S = 86_400
WEBHOOK_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")

GRAPH_FIELDS = (
    "id", "business_account_id", "display_phone_number", "verified_name", "quality_rating", "messaging_limit_tier",
    "code_verification_status", "account_mode", "name_status", "throughput", "platform_type", "last_onboarded_time",
    "webhook_configuration", "certificate", "status", "message_templates",
)  # fmt: skip
NOT_CONFIGURATION = frozenset(
    {"messaging_product", "pin", "data_localization_region", "backup", "overrideWebhooks", "phone", "stored", "success",
     "access_token", *GRAPH_FIELDS}
)  # fmt: skip
"""Also what only our answers hold, so that a client may post them back."""
CONNECTED_ELSEWHERE = {"sandbox": "online", "forwarder": "online"}
"""Providers that are always there; the connector writes the status of the others."""


def change(phone: str, wanted: dict[str, Any], *, sessions: Sessions) -> dict[str, Any]:
    """Save what is named of a configuration; returns all of it. See `merge`."""
    stored = sessions.config(phone) or {}
    _ensure_names(wanted, stored)
    config = merge(stored, wanted)
    sessions.save(phone, config)
    return config


def _ensure_names(wanted: dict[str, Any], stored: dict[str, Any]) -> None:
    """Raise RequestError for a new webhook whose id is no name: it stands in keys, tables and callbacks.

    Older ones keep theirs: they are stored, and deliveries wait for them.
    """
    known = {_id(webhook) for webhook in stored.get("webhooks") or [] if _has_an_id(webhook)}
    new = wanted.get("webhooks")
    for webhook in new if isinstance(new, list) else []:
        if _has_an_id(webhook) and _id(webhook) not in known and not WEBHOOK_ID.fullmatch(_id(webhook)):
            details = "webhooks.id: 1 to 100 letters, digits, '.', '_' and '-'."
            raise RequestError("Parameter value is not valid", code=131009, status=400, details=details)


def change_business_profile(phone: str, wanted: dict[str, Any], *, sessions: Sessions) -> None:
    """Save what is named of the business profile. Raises ValidationError before anything is written."""
    config = sessions.config(phone) or {}
    stored = config.get("businessProfile")
    named = {key: value for key, value in wanted.items() if key in BusinessProfile.model_fields}
    profile = BusinessProfile.model_validate({**(stored if isinstance(stored, dict) else {}), **named})
    sessions.save(phone, merge(config, {"businessProfile": profile.model_dump(exclude_unset=True)}))


def override_callback(phone: str, url: str, *, sessions: Sessions) -> None:
    """Let the events of the first webhook go to this address, as Meta's `override_callback_uri` asks."""
    sessions.save(phone, with_callback(sessions.config(phone) or {}, url))


def restore_callback(phone: str, *, sessions: Sessions) -> None:
    """Take that address back: the webhook's own one counts again, else the environment's."""
    config = sessions.config(phone)
    if config is not None:
        sessions.save(phone, without_callback(config))


def remove(phone: str, *, sessions: Sessions, max_age_s: int) -> bool:
    """Remove a session on purpose. Whether it was stored.

    That it was on purpose is remembered a day longer than the oldest delivery can wait (`max_age_s`): whenever its turn
    comes, it ends as a dead letter instead of waiting for the configuration.
    """
    return sessions.remove(phone, remember_s=max_age_s + DAY_S)


def merge(stored: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """The configuration after a change: named keys win, all others stay.

    Webhooks are merged by id: a named field wins, an unnamed one stays, a new id is added. With `overrideWebhooks` the
    new list replaces the old one, its elements still merged with stored ones of the same id. An absent or empty list
    changes nothing: it never silences a session.
    """
    merged = {**stored, **{key: value for key, value in change.items() if key not in NOT_CONFIGURATION}}
    new = change.get("webhooks") or []
    old = stored.get("webhooks") or []
    if not isinstance(new, list) or not all(_has_an_id(webhook) for webhook in (*new, *old)):
        return merged  # reported by the validation that follows
    by_id = {_id(webhook): webhook for webhook in old}
    replaced = {_id(webhook): {**by_id.get(_id(webhook), {}), **webhook} for webhook in new}
    if not new:
        merged["webhooks"] = old
    elif change.get("overrideWebhooks"):
        merged["webhooks"] = list(replaced.values())
    else:
        merged["webhooks"] = list({**by_id, **replaced}.values())
    if not merged["webhooks"]:
        merged.pop("webhooks")
    return merged


def _has_an_id(webhook: Any) -> bool:
    return isinstance(webhook, dict) and isinstance(_id(webhook), str)


def _id(webhook: dict[str, Any]) -> Any:
    return "default" if webhook.get("id") is None else webhook["id"]


def with_callback(config: dict[str, Any], url: str) -> dict[str, Any]:
    """The configuration whose first webhook has this address, as Meta's `override_callback_uri` asks."""
    first, *others = config.get("webhooks") or [{"id": "default"}]
    return {**config, "webhooks": [{**first, "urlAbsolute": url}, *others]}


def without_callback(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration without that address: the webhook's own one counts again, else the environment's."""
    first, *others = config.get("webhooks") or [{}]
    own = {key: value for key, value in first.items() if key != "urlAbsolute"}
    webhooks = [own, *others] if own.get("url") else others
    rest = {key: value for key, value in config.items() if key != "webhooks"}
    return {**rest, "webhooks": webhooks} if webhooks else rest


def status_of(session: Session, stored: str | None) -> str:
    """Whether the number is connected: online, offline, connecting, disconnected, standby, restart_required."""
    return CONNECTED_ELSEWHERE.get(session.provider) or stored or "disconnected"


def phone_object(session: Session) -> dict[str, Any]:
    """A phone number as Meta's Graph shows it."""
    return {
        "id": session.phone_number_id,
        "business_account_id": session.waba_id,
        "display_phone_number": session.phone,
        "verified_name": session.label or session.phone,
        "quality_rating": "GREEN",
        "messaging_limit_tier": "TIER_250",
        "code_verification_status": "VERIFIED",
        "account_mode": "LIVE",
        "name_status": "APPROVED",
        "throughput": {"level": "STANDARD"},
        "platform_type": "CLOUD_API",
        "webhook_configuration": {"application": session.webhooks[0].address(session.phone)}
        if session.webhooks
        else {},
    }


def chosen(document: dict[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    """Only the fields that were asked for, and the id; all when none were."""
    return {key: value for key, value in document.items() if key == "id" or key in fields} if fields else document


def check_addresses(session: Session, *, refusal: Callable[[str], str]) -> None:
    """Raise RequestError for a webhook without an address, or with one that may never be called.

    `refusal` says why an address may not be called, or nothing. A name is judged when it is called.
    """
    if session.session_webhook is not None and (why := refusal(f"{session.session_webhook}")):
        raise RequestError("Webhook address not allowed", code=100, status=400, details=f"sessionWebhook: {why}.")
    for webhook in session.webhooks:
        if webhook.url is None and webhook.url_absolute is None:
            details = f"Webhook {webhook.id!r} needs a url or urlAbsolute: neither it nor the environment has one."
            raise RequestError("Webhook without an address", code=100, status=400, details=details)
        if why := refusal(webhook.address(session.phone)):
            details = f"Webhook {webhook.id!r}: {why}."
            raise RequestError("Webhook address not allowed", code=100, status=400, details=details)
