"""What numbers write to themselves."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from celery import shared_task

from tasks.base import UnoTask
from unoapi.models.jobs import HandleOwnMessage
from unoapi.models.trace import TraceEntry
from unoapi.services import own_chat, templates
from unoapi.services.bulk_from_chat import begin_or_report
from unoapi.services.chat_configuration import change_configuration
from unoapi.services.phone_commands import CommandContext, run_command

if TYPE_CHECKING:
    from unoapi.bootstrap import Uno
    from unoapi.models.cloud_api.messages import OutboundMessage
    from unoapi.services.own_chat import Handler


@shared_task(name=HandleOwnMessage.task, base=UnoTask, bind=True)
def run(self: UnoTask, job: HandleOwnMessage) -> None:
    """Carry out a command, if the message is one, and answer in the number's own chat."""
    uno = self.uno
    envelopes = own_chat.handle(job, handlers=_handlers(uno), rendered=partial(_rendered, uno))
    if envelopes:
        uno.publisher.publish(envelopes)
        uno.traces.add(TraceEntry.of(job, "notified", kind="command"))


def _handlers(uno: Uno) -> list[Handler]:
    """Who may take a message, in this order."""
    context = CommandContext(
        sessions=uno.sessions,
        connections=uno.connections,
        deliveries=uno.deliveries,
        breakers=uno.breakers,
        activity=uno.activity,
        dead_letter_counts=uno.dead_letter_counts,
        operators=uno.operator_addresses,
        refusal=uno.address_guard.refusal,
        page=lambda phone: f"{f'{uno.settings.base_url}'.rstrip('/')}/session/{phone}",
    )
    return [
        partial(change_configuration, sessions=uno.sessions),
        partial(begin_or_report, campaigns=uno.campaigns, sessions=uno.sessions),
        partial(run_command, context=context),
    ]


def _rendered(uno: Uno, message: OutboundMessage, phone: str) -> OutboundMessage:
    """A template with its values, as the number has it."""
    only_hello = uno.settings.only_hello_template
    return templates.rendered(message, lambda: templates.of_session(uno.templates.get(phone), only_hello=only_hello))
