"""What is remembered of a chat: the last menu that was sent into it, and after how long its messages disappear."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_ROWS = 100
MAX_EARLIER, MAX_EARLIER_CHARS = 4, 8192
TOGETHER_MS = 60_000
"""Flow builders send more than three buttons as several menus, one after the other."""
MenuState = Literal["open", "answered", "over"]
MENU_STATES: tuple[MenuState, ...] = get_args(MenuState)


class MenuRow(BaseModel):
    """A row or a button. Without an id it cannot be chosen, as a link; its number counts all the same.

    `section` is the title above it, where there are several.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    id: str = ""
    title: str = ""
    description: str = ""
    section: str = ""


class Menu(BaseModel):
    """A menu as it was sent. `message_id` is ours, `at_ms` when it was; `of_template`: it was a template's.

    It is over when the number wrote something else after an answer: a number may be meant for that. `earlier` are the
    menus before it, the latest first.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    message_id: str
    kind: Literal["list", "button"]
    rows: tuple[MenuRow, ...] = Field(max_length=MAX_ROWS)
    at_ms: int = 0
    of_template: bool = False
    state: MenuState = "open"
    earlier: tuple[Menu, ...] = Field(default=(), max_length=MAX_EARLIER)

    def after(self, before: Menu | None) -> Menu:
        """This menu with those that were sent before it: an answer may quote one of them. Large ones are left out."""
        if before is None:
            return self
        if before.message_id == self.message_id:  # it is sent a second time
            return self.model_copy(update={"earlier": before.earlier})
        menus = (before.model_copy(update={"earlier": ()}), *before.earlier)
        small = [menu for menu in menus if len(menu.model_dump_json(exclude_defaults=True)) <= MAX_EARLIER_CHARS]
        return self.model_copy(update={"earlier": tuple(small[:MAX_EARLIER])})

    @property
    def together(self) -> tuple[Menu, ...]:
        """The earlier menus that were sent right before this one, while nobody has answered any of them."""
        asked = [menu for menu in self.earlier if self.at_ms - menu.at_ms <= TOGETHER_MS and menu.state == "open"]
        return tuple(asked) if self.state == "open" else ()

    def meant_by(self, quoted: str) -> Menu | None:
        """This menu, where an answer quotes nothing; else the one of that id. None when something else is quoted."""
        return next((menu for menu in (self, *self.earlier) if quoted in ("", menu.message_id)), None)


class Chat(BaseModel):
    """What is known of a chat. `timer_s` is 0 where messages stay."""

    model_config = ConfigDict(frozen=True)

    menu: Menu | None = None
    timer_s: int = 0


NO_CHAT = Chat()


def last_of(menus: Iterable[Menu | None], states: Iterable[tuple[str, MenuState]]) -> Menu | None:
    """The menu that was sent last, as far as it is known under any of the names that one contact may have.

    `states` say what became of menus, each behind a menu's id.
    """
    last = max((menu for menu in menus if menu is not None), key=lambda menu: menu.at_ms, default=None)
    if last is None:
        return None
    known = (last.state, *(state for message_id, state in states if message_id == last.message_id))
    return last.model_copy(update={"state": max(known, key=MENU_STATES.index)})
