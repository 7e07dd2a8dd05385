"""What Meta's Graph API answers, as far as it is read. It may be anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unoapi.models.strict_json import read_answer

RATE_LIMITS = frozenset({4, 80007, 130429, 131056, 131048})
"""Codes that say "later": the message was not sent."""
TEMPORARY = frozenset({1, 2, 131000, 131016, 131057})
LATER = {f"{code}": code for code in RATE_LIMITS | TEMPORARY}
"""The same as texts: any other code that is none of Meta's numbers says nothing, and the message is tried again."""


@dataclass(frozen=True)
class GraphError:
    """An error of the Graph API."""

    code: int
    title: str
    details: str
    transient: bool = False

    @property
    def is_temporary(self) -> bool:
        """Whether Meta says that the same request may go well later."""
        return self.transient or self.code in RATE_LIMITS | TEMPORARY


def read_error(body: bytes, status: int) -> GraphError:
    """The error of an answer, in Meta's words; of an answer in other words its status."""
    problem = read_answer(body).get("error")
    if not isinstance(problem, dict):
        return GraphError(code=131000, title="Something went wrong", details=f"Meta answered HTTP {status}.")
    code = problem.get("code")
    data = problem.get("error_data")
    details = data.get("details") if isinstance(data, dict) else None
    written = str(problem.get("message") or "Something went wrong")[:300]
    title = written.removeprefix(f"(#{code})").strip() or written  # as Meta's statuses have it, beside the code
    return GraphError(
        code=code if type(code) is int else LATER.get(f"{code}", 131000),
        title=title,
        details=str(details or problem.get("error_user_msg") or title)[:300],
        transient=problem.get("is_transient") is True,
    )


def sent_id(body: bytes) -> str:
    """Meta's id of the message that was sent; empty when the answer has none."""
    return str(first_in(body, "messages").get("id") or "")[:512]


def first_in(body: bytes, name: str) -> dict[str, Any]:
    """The first object in a list of Meta's answer; empty when there is none."""
    items = read_answer(body).get(name)
    first = items[0] if isinstance(items, list) and items else None
    return first if isinstance(first, dict) else {}
