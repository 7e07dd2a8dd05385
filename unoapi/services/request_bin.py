"""The request bin as one more webhook of a number, for as long as somebody watches what webhooks get."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unoapi.models.request_bin import BIN_URL, BIN_WEBHOOK

if TYPE_CHECKING:
    from unoapi.models.session import Session
    from unoapi.ports import Sessions


def is_watched(session: Session) -> bool:
    """Whether a webhook of the number is the request bin."""
    return any(webhook.url_absolute == BIN_URL for webhook in session.webhooks)


def watch(phone: str, *, sessions: Sessions) -> None:
    """Give the number the webhook; the others stay as they are. Raises StoreUnavailable, RequestError."""
    with sessions.changing(phone):
        config, others, environments = _webhooks(phone, sessions)
        # A number without webhooks of its own has the environment's, and would lose it by the first one of its own.
        webhooks = [*(others or environments), {"id": BIN_WEBHOOK, "urlAbsolute": BIN_URL}]
        sessions.save(phone, {**config, "webhooks": webhooks})


def stop_watching(phone: str, *, sessions: Sessions) -> None:
    """Take the webhook away again. Raises StoreUnavailable."""
    with sessions.changing(phone):
        config, others, environments = _webhooks(phone, sessions)
        sessions.save(phone, {**config, "webhooks": [] if others == environments else others})


def _webhooks(phone: str, sessions: Sessions) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """The configuration, its webhooks but ours, and what stands for those that the environment gives."""
    config: dict[str, Any] = sessions.config(phone) or {}
    others = [webhook for webhook in config.get("webhooks") or [] if webhook.get("id") != BIN_WEBHOOK]
    environments = [{"id": webhook.id} for webhook in sessions.find(phone).webhooks if webhook.id != BIN_WEBHOOK]
    return config, others, environments
