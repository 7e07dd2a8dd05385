"""From what a client sent to a message or a command: at the door, and again where a job is done."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, ValidationError

from unoapi.errors import MessageRejected, RequestError, describe
from unoapi.errors.validation import NOT_VALID, did_you_mean, names_of, nearest, refused
from unoapi.models.cloud_api.messages import MESSAGES, UNKNOWN, Command, OutboundMessage, Sender
from unoapi.models.cloud_api.messages.interactive import INTERACTIVE_KINDS
from unoapi.models.cloud_api.messages.written import unfolded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.models.jobs import MessageJob, RunCommand

INVALID = 131009
MAX_NAMES = 20
MODELS = {model.__name__: model for model in MESSAGES.values()}
ACCEPTED = Sender(accepted=True)
BLANK: tuple[Any, ...] = ("", {}, [])
"""What clients that fill in every field send for what is not there; PHP writes an empty object as a list."""
BLANK_FIELDS = frozenset({"context", "footer", "header", "preview_url", "ttl", "voice"})
"""The fields of a message, and of its object, that are a number, a flag or an object: an empty text is none."""
WORDS = ("header", "body", "footer")
IDS = ("message_id", "id")
"""Where an object of a message names another message, or a file."""


def parse_message(document: dict[str, Any], *, sender: Sender = UNKNOWN) -> OutboundMessage:
    """Check a client's message; `sender` says what its numbers and texts are checked by.

    Raises RequestError for a type that is not supported, pydantic's ValidationError for the rest: see `refusal_of`.
    """
    if document.get("type", "text") in (None, "") and "text" in document:
        document = {name: value for name, value in document.items() if name != "type"}
    kind = document.get("type", "text")
    if not isinstance(kind, str):
        given = kind if kind is None else type(kind).__name__
        details = f"type: must be text, not {given}. Supported: {', '.join(MESSAGES)}."
        raise RequestError("Message type is not supported", code=131051, status=400, details=details)
    document = _without_blanks(unfolded(document, kind), kind)
    model = None if _is_newer(document) else MESSAGES.get(kind)
    if model is None and sender.any_type and isinstance(document.get(kind), dict):
        model = OutboundMessage  # a type of next year: Meta knows it or refuses it
    elif model is None:
        model = MESSAGES.get(kind)  # which says what is wrong with the kind of an interactive message
    if model is None:
        meant = did_you_mean(kind, MESSAGES)
        details = f"Messages of type {kind[:40]!r} are not supported{meant or '.'} Supported: {', '.join(MESSAGES)}."
        raise RequestError("Message type is not supported", code=131051, status=400, details=details)
    if kind in model.model_fields and kind not in document and (other := _other_type(document)):
        details = f'{kind}: is missing, and {other} is there; did you mean "type": "{other}"?'
        raise RequestError("Required parameter is missing", code=131008, status=400, details=details)
    return model.model_validate(document, context=sender)


def _without_blanks(document: dict[str, Any], kind: str) -> dict[str, Any]:
    """The document without fields that say nothing, so that nobody whom it goes on to stumbles over them.

    Nor has it what was copied around the id of another message.
    """
    for name in (kind, "context"):
        part = document.get(name)
        if isinstance(part, dict) and (filled := _naming_plainly(_filled(part))) is not part:
            document = {**document, name: filled}
    return _filled(document)


def _naming_plainly(part: dict[str, Any]) -> dict[str, Any]:
    plain = {name: text.strip() for name in IDS if isinstance(text := part.get(name), str)}
    return {**part, **plain} if any(part[name] != text for name, text in plain.items()) else part


def _filled(part: dict[str, Any]) -> dict[str, Any]:
    blank = [name for name in BLANK_FIELDS & part.keys() if part[name] in BLANK]
    blank += [name for name in WORDS if _has_no_words(part.get(name))]
    return {name: value for name, value in part.items() if name not in blank} if blank else part


def _has_no_words(part: Any) -> bool:
    """Whether it is a header, a body or a footer of words that has none, or one in which nothing is filled in."""
    if not isinstance(part, dict):
        return False
    is_blank = part != {} and all(value is None or value in BLANK for value in part.values())
    return is_blank or (part.get("text", "-") in (None, "") and part.get("type", "text") == "text")


def parse_command(document: dict[str, Any]) -> Command:
    """Check a client's command on a message. Raises ValidationError."""
    if document.get("typing_indicator") in ("", []):
        document = {name: value for name, value in document.items() if name != "typing_indicator"}
    return Command.model_validate(_naming_plainly(document))


def slips(message: OutboundMessage) -> list[str]:
    """A sentence for each field of a message that nearly is one of ours: it is passed on, and read by nothing here."""
    return [
        f"{place}{name}: is not known; did you mean {right}?"
        for place, part in _parts(message)
        for name in list(part.model_extra or ())[:MAX_NAMES]
        if (right := nearest(name, names_of(type(part))))
    ][:MAX_NAMES]


def _parts(part: BaseModel, place: str = "") -> Iterator[tuple[str, BaseModel]]:
    """A message and the objects in it that are not in a list, each with where it stands."""
    yield place, part
    for name in part.model_fields_set:
        if isinstance(value := getattr(part, name, None), BaseModel):
            yield from _parts(value, f"{place}{name}.")


def _other_type(document: dict[str, Any]) -> str:
    """The type whose object a message has, if it is one of ours."""
    return next((name for name in MESSAGES if isinstance(document.get(name), dict | list)), "")


def _is_newer(document: dict[str, Any]) -> bool:
    """Whether it is an interactive message of a kind that this program does not know."""
    part = document.get("interactive")
    kind = part.get("type") if document.get("type") == "interactive" and isinstance(part, dict) else None
    return isinstance(kind, str) and kind.strip() != "" and kind not in INTERACTIVE_KINDS


def refusal_of(error: ValidationError) -> RequestError:
    """What is said of a body that is not valid; when the whole object of a message is wrong, with an example."""
    model = MODELS.get(error.title)
    if model is None:
        return refused(error)
    refusal = refused(error, place=_place)
    (example,) = cast("Any", model.model_config["json_schema_extra"])["examples"]
    kind = example["type"]
    if any(problem["loc"] == (kind,) for problem in error.errors(include_input=False)):
        shown = json.dumps({kind: example[kind]}, ensure_ascii=False)
        refusal.details = f"{refusal.details}; for example {shown}"
    return refusal


def _place(loc: tuple[Any, ...]) -> str:
    """Where something stands in a message; the kind of an interactive message is no field of it."""
    return ".".join(f"{part}" for position, part in enumerate(loc) if (position, loc[0]) != (1, "interactive"))


def message_of(job: MessageJob) -> OutboundMessage:
    """The message of a job. Raises MessageRejected for one that no version of this program would have accepted."""
    try:
        sender = replace(ACCEPTED, any_type=job.any_type)
        message = parse_message(json.loads(job.body), sender=sender)
    except RequestError as error:
        raise MessageRejected(error.title, code=error.code, details=error.details) from error
    except ValidationError as error:
        raise MessageRejected(NOT_VALID, code=INVALID, details=describe(error)) from error
    return message.as_marketing() if job.marketing else message


def command_of(job: RunCommand) -> Command:
    """The command of a job. Raises MessageRejected, as `message_of` does."""
    try:
        return Command.model_validate(json.loads(job.body))
    except ValidationError as error:
        raise MessageRejected(NOT_VALID, code=INVALID, details=describe(error)) from error
