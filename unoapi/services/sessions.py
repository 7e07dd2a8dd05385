"""Merging a session's stored configuration with a change."""

from __future__ import annotations

from typing import Any

NOT_CONFIGURATION = frozenset(
    {"messaging_product", "pin", "overrideWebhooks", "phone", "stored", "success", "display_phone_number"}
)
"""Also what only our answer holds, so that a client may post it back."""


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
