"""Commands that a number writes to itself: one word, in English or Portuguese, with what it needs behind it.

Everything else that a person notes in the own chat is left alone. No answer is a command, so that none causes another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from unoapi.errors import RequestError
from unoapi.models.endpoints import Endpoint
from unoapi.services.endpoints import endpoint_states
from unoapi.services.own_chat import Outcome
from unoapi.services.sessions import status_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.models.provenance import OperatorAddresses
    from unoapi.ports import ActivityCounts, Breakers, Connections, DeadLetterCounts, Deliveries, Sessions
    from unoapi.services.own_chat import OwnMessage

    Language = Literal["en", "pt"]

PORTUGUESE = ("55", "351", "244", "258", "238", "239", "245")
"""Countries whose numbers get their answers in Portuguese, where the word itself does not say which language it is."""
WORDS: dict[str, tuple[str, str]] = {
    "status": ("status", ""), "qr": ("qr", ""),
    "help": ("help", "en"), "pause": ("pause", "en"), "resume": ("resume", "en"), "dead": ("dead", "en"),
    "ajuda": ("help", "pt"), "estado": ("status", "pt"), "pausar": ("pause", "pt"), "pausa": ("pause", "pt"),
    "retomar": ("resume", "pt"), "continuar": ("resume", "pt"), "mortas": ("dead", "pt"), "mortos": ("dead", "pt"),
}  # fmt: skip
"""By the word that is written: the command, and the language if the word is of one alone."""
SPAN = re.compile(r"([0-9]{1,4})(s|m|h|d)")
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
HOUR_S, LONGEST_S = 3600, 2 * 86_400
MAX_COMMAND_CHARS = 200

TEXTS: dict[str, dict[str, str]] = {
    "en": {
        "help": (
            "Commands:\n"
            "status: the connection and the webhooks\n"
            "qr: where to link the phone again\n"
            "pause [webhook] [30m]: let events wait\n"
            "resume [webhook]: let them go on\n"
            "dead: what was given up today\n"
            "unoapi-config, unoapi-webhook: YAML from the second line on"
        ),
        "connected": "{phone} is {status}.",
        "open": "{webhook}: delivers", "down": "{webhook}: down, its events wait",
        "paused": "{webhook}: paused for {minutes} min more", "refused": "{webhook}: {error}",
        "no_webhook": "No webhook.",
        "qr": "{phone} is {status}. To link the phone again: {url}",
        "no_qr": "{phone} needs no QR code: it is not connected as a phone.",
        "pause": "Paused for {minutes} min: {webhooks}. Events wait and come later; `resume` ends it.",
        "resume": "Goes on: {webhooks}.", "not_paused": "Nothing was paused.",
        "unknown": "{phone} has no webhook {name}. It has: {webhooks}.",
        "dead": "Given up today (UTC): {count}. They are kept: `unoapi dead list --phone {phone}`.",
    },
    "pt": {
        "help": (
            "Comandos:\n"
            "status: a conexão e os webhooks\n"
            "qr: onde conectar o telefone de novo\n"
            "pausar [webhook] [30m]: deixar os eventos esperando\n"
            "retomar [webhook]: deixá-los seguir\n"
            "mortas: o que foi abandonado hoje\n"
            "unoapi-config, unoapi-webhook: YAML a partir da segunda linha"
        ),
        "connected": "{phone} está {status}.",
        "open": "{webhook}: entrega", "down": "{webhook}: fora do ar, os eventos esperam",
        "paused": "{webhook}: em pausa por mais {minutes} min", "refused": "{webhook}: {error}",
        "no_webhook": "Nenhum webhook.",
        "qr": "{phone} está {status}. Para conectar o telefone de novo: {url}",
        "no_qr": "{phone} não precisa de QR code: não está conectado como telefone.",
        "pause": "Em pausa por {minutes} min: {webhooks}. Os eventos esperam e chegam depois; `retomar` encerra.",
        "resume": "Segue: {webhooks}.", "not_paused": "Nada estava em pausa.",
        "unknown": "{phone} não tem o webhook {name}. Tem: {webhooks}.",
        "dead": "Abandonadas hoje (UTC): {count}. Ficam guardadas: `unoapi dead list --phone {phone}`.",
    },
}  # fmt: skip


@dataclass(frozen=True)
class PhoneCommand:
    """A command with the words behind it."""

    name: str
    language: Language
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class CommandContext:
    """What commands are carried out with. `page` gives the address of a session's page."""

    sessions: Sessions
    connections: Connections
    deliveries: Deliveries
    breakers: Breakers
    activity: ActivityCounts
    dead_letter_counts: DeadLetterCounts
    operators: OperatorAddresses
    refusal: Callable[[str], str]
    page: Callable[[str], str]


def language_of(phone: str) -> Language:
    """In which language a number is answered."""
    return "pt" if phone.startswith(PORTUGUESE) else "en"


def read_command(text: str, *, phone: str) -> PhoneCommand | None:
    """The command that a text is; none when it is any other note."""
    words = text.strip().removeprefix("/").split() if len(text) <= MAX_COMMAND_CHARS else []
    if not words or (named := WORDS.get(words[0].casefold())) is None:
        return None
    name, language = named
    if len(words) > (3 if name == "pause" else 2 if name == "resume" else 1):
        return None  # a sentence that begins with such a word
    spoken: Language = "pt" if language == "pt" else "en" if language == "en" else language_of(phone)
    return PhoneCommand(name, spoken, tuple(words[1:]))


def run_command(message: OwnMessage, context: CommandContext) -> Outcome | None:
    """Carry a command out; its answer. None for what is no command. Raises StoreUnavailable."""
    command = read_command(message.text, phone=message.phone) if message.type == "text" else None
    if command is None:
        return None
    texts, phone = TEXTS[command.language], message.phone
    match command.name:
        case "status":
            reply = _status(phone, texts, context)
        case "qr":
            reply = _qr(phone, texts, context)
        case "pause":
            reply = _pause(phone, command.arguments, texts, context)
        case "resume":
            reply = _resume(phone, command.arguments, texts, context)
        case "dead":
            reply = texts["dead"].format(count=context.dead_letter_counts.today(phone), phone=phone)
        case _:
            reply = texts["help"]
    return Outcome(reply)


def _connection(phone: str, context: CommandContext) -> str:
    return status_of(context.sessions.find(phone), context.connections.status(phone))


def _status(phone: str, texts: dict[str, str], context: CommandContext) -> str:
    lines = [texts["connected"].format(phone=phone, status=_connection(phone, context))]
    states = endpoint_states(
        [phone],
        sessions=context.sessions,
        deliveries=context.deliveries,
        breakers=context.breakers,
        activity=context.activity,
        operators=context.operators,
        refusal=context.refusal,
    )
    for state in states:
        key = "refused" if state["error"] else str(state["state"])
        minutes = -(-(state.get("paused_ms") or 0) // 60_000)
        lines.append(texts[key].format(webhook=state["webhook"], minutes=minutes, error=state["error"]))
    return "\n".join(lines if states else [*lines, texts["no_webhook"]])


def _qr(phone: str, texts: dict[str, str], context: CommandContext) -> str:
    if context.sessions.find(phone).provider != "whatsmeow":
        return texts["no_qr"].format(phone=phone)
    return texts["qr"].format(phone=phone, status=_connection(phone, context), url=context.page(phone))


def _pause(phone: str, arguments: tuple[str, ...], texts: dict[str, str], context: CommandContext) -> str:
    spans = [match for argument in arguments if (match := SPAN.fullmatch(argument))]
    seconds = min(int(spans[0][1]) * UNITS_S[spans[0][2]], LONGEST_S) if spans else HOUR_S
    names = tuple(argument for argument in arguments if not SPAN.fullmatch(argument))
    webhooks = _webhooks(phone, names, texts, context)
    for webhook in webhooks:
        context.deliveries.suspend(Endpoint(phone, webhook), pause_ms=max(1, seconds) * 1000)
    return texts["pause"].format(minutes=-(-seconds // 60), webhooks=", ".join(webhooks))


def _resume(phone: str, arguments: tuple[str, ...], texts: dict[str, str], context: CommandContext) -> str:
    webhooks = _webhooks(phone, arguments, texts, context)
    resumed = [webhook for webhook in webhooks if context.deliveries.resume(Endpoint(phone, webhook))]
    return texts["resume"].format(webhooks=", ".join(resumed)) if resumed else texts["not_paused"]


def _webhooks(phone: str, names: tuple[str, ...], texts: dict[str, str], context: CommandContext) -> list[str]:
    """The webhooks that are meant: the named one, else all. Raises RequestError for one that is not there."""
    webhooks = [webhook.id for webhook in context.sessions.find(phone).webhooks]
    if names and names[0] not in webhooks:
        shown = ", ".join(webhooks) or "-"
        details = texts["unknown"].format(phone=phone, name=names[0][:64], webhooks=shown)
        raise RequestError("Uno API", code=100, status=404, details=details)
    return [names[0]] if names else webhooks
