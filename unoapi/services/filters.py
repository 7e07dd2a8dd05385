"""The filters of a webhook: which events it does not get, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unoapi.models.cloud_api.event_content import Traits
    from unoapi.models.session import Webhook

BLACKLIST = "blacklist"


def refusal(webhook: Webhook, traits: Traits, *, blocked: bool = False) -> str:
    """The name of the filter that stops an event; empty when it goes out.

    In the order of the Node version's decisions: the blacklist, the kind of chat, then the kind of event.
    """
    chat = traits.about == "chat"
    checks = (
        (BLACKLIST, blocked),
        ("sendGroupMessages", (traits.group or traits.newsletter) and not webhook.send_group_messages),
        ("sendNewsletterMessages", traits.newsletter and not webhook.send_newsletter_messages),
        ("sendHistory", traits.about == "history" and not webhook.send_history),
        ("sendCalls", traits.about == "calls" and not webhook.send_calls),
        ("sendAccountEvents", traits.about == "account" and not webhook.send_account_events),
        ("sendUpdateMessages", chat and traits.status and not webhook.send_update_messages),
        ("sendOutgoingMessages", chat and traits.own and not webhook.send_outgoing_messages),
        ("sendIncomingMessages", chat and not traits.status and not traits.own and not webhook.send_incoming_messages),
    )
    return next((name for name, applies in checks if applies), "")


def mute_s(webhook: Webhook, traits: Traits) -> int:
    """How long a webhook gets no events of a contact because the number itself wrote to it.

    In seconds; below 0 for ever, 0 not at all. A person who takes a conversation over mutes the bot this way.
    """
    return (webhook.add_to_black_list_on_outgoing_message_with_ttl or 0) if traits.own else 0
