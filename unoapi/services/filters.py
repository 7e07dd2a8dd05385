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
    if blocked:
        return BLACKLIST
    if (traits.group or traits.newsletter) and not webhook.send_group_messages:
        return "sendGroupMessages"
    if traits.newsletter and not webhook.send_newsletter_messages:
        return "sendNewsletterMessages"
    match traits.about:
        case "history":
            name, wanted = "sendHistory", webhook.send_history
        case "calls":
            name, wanted = "sendCalls", webhook.send_calls
        case "account":
            name, wanted = "sendAccountEvents", webhook.send_account_events
        case "chat":
            return _chat_refusal(webhook, traits)
    return "" if wanted else name


def _chat_refusal(webhook: Webhook, traits: Traits) -> str:
    """The same of what is written, or of what became of it."""
    if traits.status and not webhook.send_update_messages:
        return "sendUpdateMessages"
    if traits.own:
        return "" if webhook.send_outgoing_messages else "sendOutgoingMessages"
    return "" if traits.status or webhook.send_incoming_messages else "sendIncomingMessages"


def mute_s(webhook: Webhook, traits: Traits) -> int:
    """How long a webhook gets no events of a contact because the number itself wrote to it.

    In seconds; below 0 for ever, 0 not at all. A person who takes a conversation over mutes the bot this way.
    """
    is_new = traits.own and traits.about == "chat"  # and no old message out of a phone's history
    return (webhook.add_to_black_list_on_outgoing_message_with_ttl or 0) if is_new else 0
