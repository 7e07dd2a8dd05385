"""What clients send for a field that they leave empty, and what is meant by it."""

from __future__ import annotations

from pydantic import BeforeValidator

EmptyIsAbsent = BeforeValidator(lambda value: None if value == "" else value)
EmptyIsOff = BeforeValidator(lambda value: False if value in (None, "") else value)
EmptyIsNoItems = BeforeValidator(lambda value: value or [])
NothingIsEmpty = BeforeValidator(lambda value: "" if value is None else value)
"""An empty cell of a table is no number, and no reason to say nothing of the others."""
NothingIsNoText = BeforeValidator(lambda value: "" if value in (None, False) else value)
