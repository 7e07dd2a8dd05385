"""Whose message a client sends, and what follows from it for numbers and texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, LiteralString

from pydantic_core import PydanticCustomError, core_schema

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
    from pydantic.json_schema import JsonSchemaValue

MAX_TEXT_CHARS = 65_536
"""WhatsApp's own limit of a text."""


@dataclass(frozen=True)
class Sender:
    """The context in which a message is checked.

    `phone` is the session's: numbers without a country are of its country. Meta takes shorter texts than a phone, and
    has groups of its own. Only Meta itself takes any type. What was accepted before is not refused for its texts: the
    door knew whose it was.
    """

    phone: str = ""
    at_meta: bool = True
    any_type: bool = False
    accepted: bool = False


UNKNOWN = Sender()


def sender_of(info: ValidationInfo) -> Sender:
    """Who sends the message that is being checked; without a context Meta's limits count."""
    return info.context if isinstance(info.context, Sender) else UNKNOWN


@dataclass(frozen=True)
class AtMost:
    """A text has at most so many characters at Meta; a phone takes WhatsApp's own."""

    chars: int
    on_phones: int = MAX_TEXT_CHARS

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """The value's own schema, and the limit behind it."""
        return core_schema.with_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Meta's limit, for the description of the API."""
        return {**handler(schema), "maxLength": self.chars}

    def _check(self, value: Any, info: ValidationInfo) -> Any:
        sender = sender_of(info)
        most = self.chars if sender.at_meta and not sender.accepted else self.on_phones
        if len(value) > most:
            raise PydanticCustomError(*self._error, {"max_length": most, "actual_length": len(value)})
        return value

    @property
    def _error(self) -> tuple[LiteralString, LiteralString]:
        return "string_too_long", "String should have at most {max_length} characters"


@dataclass(frozen=True)
class AtMostItems(AtMost):
    """A list has at most so many items at Meta; on phones, which get the rest as numbered lines, more."""

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Meta's limit, for the description of the API."""
        return {**handler(schema), "maxItems": self.chars}

    @property
    def _error(self) -> tuple[LiteralString, LiteralString]:
        return "too_long", "List should have at most {max_length} items after validation"
