"""A session's configuration as YAML in its own chat: the templates `unoapi-config` and `unoapi-webhook`.

On a phone, which has no templates, the name is the first line of a text and the YAML follows. It is checked as
`register` checks it, with the rights of the session's own token. The answer names fields, never a value.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from unoapi.errors import RequestError
from unoapi.models.session import Session, Webhook
from unoapi.services import sessions as service
from unoapi.services.own_chat import Outcome
from unoapi.services.phone_commands import language_of
from unoapi.services.yaml_text import read_yaml

if TYPE_CHECKING:
    from pydantic import BaseModel

    from unoapi.ports import Sessions
    from unoapi.services.own_chat import OwnMessage
    from unoapi.services.yaml_text import YamlText

CONFIG, WEBHOOK = "unoapi-config", "unoapi-webhook"
WORD = re.compile(r"[A-Za-z_]+")
SAVED = {"en": "Saved: {names}.", "pt": "Salvo: {names}."}
NOTHING = {"en": "Nothing was named that could be saved.", "pt": "Nada do que foi escrito pode ser salvo."}


def _texts_of(model: type[BaseModel]) -> frozenset[str]:
    fields = model.model_fields.items()
    return frozenset(field.alias or name for name, field in fields if field.annotation in (str, SecretStr)) | (
        {"authToken"} if model is Session else frozenset()
    )


TEXTS_OF_SESSION, TEXTS_OF_WEBHOOK = _texts_of(Session), _texts_of(Webhook)
"""Fields that are text, also when digits alone were written: a token of 123456."""


def change_configuration(message: OwnMessage, *, sessions: Sessions) -> Outcome | None:
    """Save what was written; the answer. None for any other message.

    Raises RequestError with the line of the mistake, StoreUnavailable.
    """
    name, text = _named(message)
    if name not in (CONFIG, WEBHOOK):
        return None
    written = read_yaml(text)
    try:
        wanted = _wanted(name, written)
        if not wanted:
            return Outcome(NOTHING[language_of(message.phone)])
        service.change(message.phone, wanted, sessions=sessions, by_operator=False)
    except RequestError as error:
        raise _with_line(error, written) from None
    names = ", ".join(str(key)[:64] for key, value in written.value.items() if value is not None)
    warnings = service.unread(wanted)
    return Outcome("\n".join([SAVED[language_of(message.phone)].format(names=names), *warnings]))


def _named(message: OwnMessage) -> tuple[str, str]:
    """The template's name and its text; of a text its first line, and the others."""
    if message.template:
        return message.template, message.text
    first, _, rest = message.text.strip().partition("\n")
    return first.strip().casefold(), rest


def _wanted(name: str, written: YamlText) -> dict[str, Any]:
    """What `register` would be asked for. A name without a value is none; `false` and an empty text are values."""
    named = {key: value for key, value in written.value.items() if value is not None}
    if name == WEBHOOK:
        return {"webhooks": [_as_text(named, TEXTS_OF_WEBHOOK)], "overrideWebhooks": True} if named else {}
    wanted = _as_text(named, TEXTS_OF_SESSION)
    webhooks = wanted.get("webhooks")
    if isinstance(webhooks, list):
        wanted["webhooks"] = [
            _as_text(webhook, TEXTS_OF_WEBHOOK) if isinstance(webhook, dict) else webhook for webhook in webhooks
        ]
    return wanted


def _as_text(named: dict[str, Any], texts: frozenset[str]) -> dict[str, Any]:
    return {key: str(value) if key in texts and type(value) is int else value for key, value in named.items()}


def _with_line(error: RequestError, written: YamlText) -> RequestError:
    """The same with the line of the value that it is about, as far as its words name one."""
    place = error.details.partition(": ")[0]
    named = _last_named(place, written) or _last_named(error.details, written)
    details = f"line {named}: {error.details}" if named else error.details
    return RequestError(error.title, code=error.code, status=error.status, details=details)


def _last_named(text: str, written: YamlText) -> int:
    """The line of the last of the written names in a text; 0 for none."""
    names = {str(path[-1]): line for path, line in written.lines.items() if path}
    return next((names[word] for word in reversed(WORD.findall(text)) if word in names), 0)
