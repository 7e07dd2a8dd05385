"""The rules of the routes' addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from werkzeug.routing import Rule

if TYPE_CHECKING:
    from collections.abc import Callable


class LazyRule(Rule):
    """A rule that learns to build its address when one is asked for.

    werkzeug writes and compiles two functions for each rule at once, which takes most of the time that an application
    needs to begin; only the console and a few answers build addresses.
    """

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        compile_builder = super()._compile_builder

        def build(rule: Rule, /, **values: object) -> tuple[str, str]:
            builder = compile_builder(append_unknown).__get__(rule, None)
            setattr(rule, "_build_unknown" if append_unknown else "_build", builder)
            built: tuple[str, str] = builder(**values)
            return built

        return build
