"""What a client or Meta sent: a checked object that still has the document which it was read from."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ModelWrapValidatorHandler, PrivateAttr, model_validator


class Part(BaseModel):
    """A piece of such an object. Unknown fields are taken and ignored: clients and Meta are ahead of us at times."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)


class ClientPart(Part):
    """A piece of what a client sends. A number is taken where a text is expected, as Graph does."""

    model_config = ConfigDict(coerce_numbers_to_str=True)


Product = Annotated[
    Literal["whatsapp"],
    BeforeValidator(lambda value: value.lower() if isinstance(value, str) and value else value or "whatsapp"),
]
"""What each request names. It may be left out, also as clients do that fill in every field; Graph calls it WHATSAPP."""


class AsSent(Part):
    """A piece with its own document: what goes on to others goes on field by field as it came."""

    _document: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _remember_document(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        checked = handler(value)
        if isinstance(value, dict):
            checked._document = value  # noqa: SLF001 (the object that is being made)
        return checked

    def to_wire(self) -> dict[str, Any]:
        """The document to pass on: all fields as they came, with what this gateway fills in."""
        return self._document
