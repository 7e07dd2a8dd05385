"""Alerts to the operator: failures are gathered, and told together, at most so many times an hour.

What is gathered is in Redis; the job that tells it waits in RabbitMQ. While Redis is away, so do the failures.
"""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from unoapi.errors import CallbackFailed, Postponed
from unoapi.models.alerts import MAX_ALERT_CHARS, Alert, AlertGroup, Digest
from unoapi.models.attempts import MAX_ERROR_CHARS
from unoapi.models.cloud_api.events import read_document
from unoapi.models.dead_letters import LOST_CAUSES
from unoapi.models.jobs import CollectAlert, Envelope, PostAlert, SendDigest, computed_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unoapi.models.alerts import Level
    from unoapi.models.attempts import Attempt
    from unoapi.models.jobs import ReportFailure
    from unoapi.ports import AlertChannels, AlertStore
    from unoapi.services.bulkhead import Bulkhead

MOST_GROUPS = 10
"""Groups that one alert shows; the others are counted."""
MAX_NAME_CHARS = 80
SHOWN_ERROR_CHARS = 120
UNSAFE = str.maketrans({"<": "(", ">": ")", "@": "@\u200b"})
"""Chats obey what begins with these: mentions, links, markup."""


def collected(report: ReportFailure) -> CollectAlert:
    """What the alert of a report says. It holds no body, and neither does the alert."""
    document: dict[str, Any] = read_document(report.body)
    attempts, error = document["attempts"], str(document.get("error", ""))
    alert = Alert(
        kind=document["type"],
        phone=report.phone,
        webhook_id=str(document.get("webhook", "")),
        message_id=report.message_id,
        reason=str(document.get("reason", ""))[:64],
        at_ms=report.accepted_at_ms,
        first_error=(_error(attempts[0]) if attempts else error)[:MAX_ERROR_CHARS],
        last_error=(error or (_error(attempts[-1]) if attempts else ""))[:MAX_ERROR_CHARS],
    )
    return CollectAlert(
        id=computed_id("alert", report.id),
        phone=report.phone,
        message_id=report.message_id,
        alert=alert,
        notify_on_failure=False,
    )


def _error(attempt: dict[str, Any]) -> str:
    status = attempt.get("status")
    return str(attempt.get("error") or (f"HTTP {status}" if status else ""))


def collect(job: CollectAlert, *, store: AlertStore) -> Envelope | None:
    """Gather one failure; the digest that tells it, if none is on its way. Raises StoreUnavailable."""
    wait_ms = store.add(job.alert)
    if wait_ms is None:
        return None
    digest = SendDigest(id=computed_id("digest", job.id), phone=job.phone, notify_on_failure=False)
    return Envelope(digest, wait_ms)


def digest_jobs(job: SendDigest, *, store: AlertStore, channels: Sequence[str], place: str) -> list[Envelope]:
    """One alert for each channel, about all that was gathered. Raises Postponed before its time, StoreUnavailable.

    When they are published, `AlertStore.forget` follows. A digest that is run again tells the same.
    """
    taken = store.take(job.id)
    if isinstance(taken, int):
        raise Postponed("the last alert was a moment ago", after_ms=taken, jitter=False)
    if not taken:
        return []
    digest = written(taken, place=place)
    return [
        Envelope(
            PostAlert(
                id=computed_id("alert", job.id, channel),
                phone=job.phone,
                channel=channel,
                title=digest.title,
                body=digest.body,
                level=digest.level,
                notify_on_failure=False,
            )
        )
        for channel in channels
    ]


def post(job: PostAlert, *, channels: AlertChannels, bulkhead: Bulkhead) -> Attempt | None:
    """Post one alert; none when its channel is set no more. Raises CallbackFailed (retry), Postponed (wait)."""
    if job.channel not in channels.names:
        return None
    with bulkhead.taken(f"alert:{job.channel}"):
        answer = channels.post(job.channel, Digest(job.title, job.body, job.level))
    attempt = answer.as_attempt()
    if not answer.delivered:
        raise CallbackFailed(answer.summary, attempt=attempt)
    return attempt


# --- words ---


def written(groups: Sequence[AlertGroup], *, place: str) -> Digest:
    """The text of an alert about these failures. `place` names the installation."""
    ordered = sorted(groups, key=lambda group: (group.overflow, _ORDER[group.first.kind], -group.count))
    level: Level = "success" if all(group.first.kind == "endpoint.up" for group in groups) else "failure"
    counts: dict[str, int] = {}
    for group in ordered:
        kind = "other" if group.overflow else group.first.kind
        counts[kind] = counts.get(kind, 0) + (1 if kind.startswith("endpoint.") else group.count)
    title = f"Uno API {_plain(place)}: {', '.join(_counted(kind, count) for kind, count in counts.items())}"
    blocks = [_block(group) for group in ordered[:MOST_GROUPS]]
    text, shown = "", 0
    for block in blocks:
        if len(text) + len(block) > MAX_ALERT_CHARS - 200:
            break
        text, shown = f"{text}{block}\n\n", shown + 1
    left = sum(group.count for group in ordered[shown:])
    if left:
        text += f"And {left} more of {len(ordered) - shown} kinds:\nunoapi dead list --summary"
    return Digest(title[:250], text.strip(), level)


_ORDER = {"endpoint.down": 0, "webhook.failed": 1, "message.failed": 2, "transcription.failed": 3, "endpoint.up": 4}


def _counted(kind: str, count: int) -> str:
    one, many = {
        "endpoint.down": ("webhook is down", "webhooks are down"),
        "endpoint.up": ("webhook is up again", "webhooks are up again"),
        "webhook.failed": ("delivery was given up", "deliveries were given up"),
        "message.failed": ("message failed", "messages failed"),
        "transcription.failed": ("audio was not written down", "audios were not written down"),
        "other": ("more failure", "more failures"),
    }[kind]
    return f"{count} {one if count == 1 else many}"


def _block(group: AlertGroup) -> str:
    first, last = group.first, group.last
    if group.overflow:
        return f"{group.count} failures of further numbers and webhooks\nunoapi dead list --summary"
    webhook = f", webhook {_plain(first.webhook_id)}" if first.webhook_id else ""
    lines = [f"{first.phone}{webhook}: {_counted(first.kind, group.count)}".replace(": 1 webhook is ", " is ")]
    if first.reason and first.kind == "webhook.failed":
        lines[0] += f" ({_plain(first.reason)})"
    lines.append(f"First {_at(first.at_ms)}{_because(first.first_error)}")
    if group.count > 1 or last.last_error != first.first_error:
        lines.append(f"Last {_at(last.at_ms)}{_because(last.last_error)}")
    ids = dict.fromkeys(_plain(alert.message_id) for alert in (first, last) if alert.message_id)
    if ids:
        lines.append(f"Messages: {', '.join(ids)}")
    return "\n".join([*lines, f"Do: {_advice(last)}"])


def _advice(alert: Alert) -> str:
    """What to do; commands stand on lines of their own."""
    webhook = shlex.quote(_plain(alert.webhook_id))
    of_webhook = f"--phone {alert.phone}" + (f" --webhook {webhook}" if alert.webhook_id not in {"", "*"} else "")
    if alert.kind == "endpoint.down":
        return f"mend the receiver; its deliveries wait, and none is lost\nunoapi endpoint test {alert.phone} {webhook}"
    if alert.kind == "endpoint.up":
        return "nothing; what waited is being delivered"
    if alert.kind == "message.failed":
        return f"its client got the status failed\nunoapi trace {shlex.quote(_plain(alert.message_id))}"
    if alert.kind == "transcription.failed":
        return "see the key and the credit of the service that transcribes, then put them back\nunoapi dead list"
    advice = REASONS.get(alert.reason, "mend the receiver")
    named = f" --reason {alert.reason}" if alert.reason in LOST_CAUSES else ""  # else a replay leaves them alone
    return f"{advice}, then put them back\nunoapi dead list {of_webhook}\nunoapi dead replay {of_webhook}{named}"


REASONS = {
    "gone": "the receiver answered 410: remove the webhook, or correct its address",
    "blocked": "its address is not allowed: name it in UNOAPI_ALLOWED_HOSTS, or correct it",
    "webhook_removed": "the webhook was removed while deliveries waited: register it again, if that was not meant",
    "too_old": "it was away for longer than UNOAPI_MESSAGE_MAX_AGE: mend the receiver",
    "unreachable": "see that the receiver runs and can be reached",
    "poison": "processes ended over these messages: look at the log and the memory of the workers",
    "bug": "report it, with the traceback that unoapi dead show has",
}
"""What to do before a replay, by reason; the handbook has all of them."""


def _because(error: str) -> str:
    return f": {_plain(error)[:SHOWN_ERROR_CHARS]}" if error else ""


def _at(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _plain(text: str) -> str:
    """What a tenant or a receiver wrote, as a chat or a mail shows it and does not obey it."""
    shown = "".join(char if char.isprintable() else "\ufffd" for char in text.replace("`", "'"))
    return shown.translate(UNSAFE)[: max(MAX_NAME_CHARS, SHOWN_ERROR_CHARS)]
