"""The configurations of all numbers in one document, with their secrets: to be kept, and to be put back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unoapi.errors import ConfigurationError, RequestError
from unoapi.errors.validation import explain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from unoapi.ports import Sessions, Templates


class SavedSession(BaseModel):
    """A number's stored configuration as it is, and its own templates, if it has any."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    config: dict[str, Any]
    templates: list[Any] | None = None


class SessionBackup(BaseModel):
    """A document of `unoapi session export`."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    unoapi_sessions: Literal[1] = 1
    sessions: dict[str, SavedSession] = Field(default_factory=dict)


def save(phones: Iterable[str], *, sessions: Sessions, templates: Templates) -> SessionBackup:
    """The stored numbers among these. Raises StoreUnavailable, SessionUnknown."""
    saved = {}
    for phone in phones:
        config = sessions.config(phone)
        if config is not None:
            saved[phone] = SavedSession(config=config, templates=templates.get(phone))
    return SessionBackup(sessions=saved)


def read(text: str) -> SessionBackup:
    """A document that was saved. Raises ConfigurationError that says what is wrong with it, without a value."""
    try:
        return SessionBackup.model_validate_json(text)
    except ValidationError as error:
        problems = "; ".join(explain(error))
        raise ConfigurationError(f"this is no document of `unoapi session export`: {problems}") from None


def restore(
    backup: SessionBackup, *, sessions: Sessions, templates: Templates, overwrite: bool
) -> Iterator[tuple[str, str, str]]:
    """Store the numbers again: each with what was done (stored, there, refused), and why not.

    A number that is stored already stays as it is without `overwrite`. Raises StoreUnavailable.
    """
    for phone, saved in backup.sessions.items():
        try:
            with sessions.changing(phone):
                is_there = not overwrite and sessions.config(phone) is not None
                if not is_there:
                    sessions.save(phone, saved.config)
        except ValidationError as error:
            yield phone, "refused", "; ".join(explain(error))
            continue
        except RequestError as error:
            yield phone, "refused", error.details
            continue
        if is_there:
            yield phone, "there", ""
            continue
        if saved.templates is not None:
            templates.put(phone, saved.templates)
        yield phone, "stored", ""
