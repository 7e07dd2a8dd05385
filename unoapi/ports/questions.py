"""What is asked of a connected phone."""

from __future__ import annotations

from typing import Any, Protocol


class Questions(Protocol):
    """Asking a connected phone."""

    def ask(self, phone: str, method: str, data: dict[str, Any], *, timeout_s: float) -> dict[str, Any]:
        """The answer's data. Raises NobodyAnswers when there is none in time, or nobody to ask."""
