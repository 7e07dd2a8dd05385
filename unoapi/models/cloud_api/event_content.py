"""What the gateway reads in a Cloud API event: decoded once, however often it is read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from unoapi.models.identity import Identity, is_same_phone
from unoapi.models.strict_json import parsed_own

if TYPE_CHECKING:
    from collections.abc import Sequence

ECHOES = "message_echoes"
ITEMS = ("messages", ECHOES, "statuses")
"""The lists of a change's value; an event that we make has one item in one of them."""
GROUPS = "groups"
OTHER_ITEMS = ("calls", "user_preferences", "user_id_update", GROUPS)
"""Lists of which each element is about one contact or group, too; such an event's kind is its field."""
HISTORY = frozenset({"history", "smb_app_state_sync"})
"""Fields of what was there before a number came to Meta: its old messages, its address book."""
CALLS, GROUP_FIELDS = "calls", "group_"
MAX_WORD_CHARS = 40
"""What is longer is no single word that means something to the gateway."""
MAX_FACTS_CHARS = 512
"""Facts that are longer together do not travel with an event: who needs them decodes its body."""

About = Literal["chat", "account", "calls", "history"]
ABOUT: dict[str, About] = {"t": "chat", "a": "account", "c": "calls", "h": "history"}
LETTERS = {about: letter for letter, about in ABOUT.items()}
MARKS = "sgnov"
"""The letters of `status`, `group`, `newsletter`, `own` and `has_audio`, behind that of `about`."""


class Traits(NamedTuple):
    """What the filters of a webhook decide by."""

    status: bool
    group: bool
    newsletter: bool
    own: bool
    about: About = "chat"


class EventFacts(NamedTuple):
    """What the fan-out of an event asks of its content.

    `keys` is with whom the number talks, by all names, and `member` who it is in a group. `type` is that of the
    message, `has_audio` whether it is a sound whose file is here, and `word` what a contact wrote to the number alone,
    if it is short.
    """

    traits: Traits
    keys: tuple[str, ...] = ()
    member: str = ""
    type: str = ""
    has_audio: bool = False
    word: str = ""

    @property
    def written(self) -> tuple[str, ...]:
        """The same as texts, which travel with the event; none if they are long, or cannot be written as they are."""
        traits = self.traits
        marks = zip(MARKS, (traits.status, traits.group, traits.newsletter, traits.own, self.has_audio), strict=True)
        code = LETTERS[traits.about] + "".join(letter for letter, is_set in marks if is_set)
        texts = (code, self.type, self.member, self.word, *self.keys)
        joined = "".join(texts)
        return texts if len(joined) <= MAX_FACTS_CHARS and _is_unicode(joined) else ()

    @classmethod
    def of_written(cls, texts: Sequence[str]) -> EventFacts | None:
        """The facts that travelled; none if there are none, or another version wrote them."""
        try:
            code, kind, member, word, *keys = texts
            traits, has_audio = _decoded(code)
        except (ValueError, KeyError):
            return None
        return cls(traits, tuple(keys), member, kind, has_audio, word)


def _is_unicode(text: str) -> bool:
    """Whether no half of a surrogate pair is in it, which a body writes as an escape, and a job not at all."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@lru_cache(maxsize=64)
def _decoded(code: str) -> tuple[Traits, bool]:
    """What a code stands for. Raises KeyError, ValueError for one that this version does not know."""
    about, marks = ABOUT[code[:1]], code[1:]
    if not set(marks) <= set(MARKS):
        raise ValueError("it says more than this version knows")
    status, group, newsletter, own, has_audio = (letter in marks for letter in MARKS)
    return Traits(status, group, newsletter, own, about), has_audio


@dataclass(frozen=True)
class EventContent:
    """The `value` of an event's only change, and its `field`.

    `kind` is "message", the status, or the field of any other event.
    """

    kind: str
    value: dict[str, Any]
    field: str = "messages"

    @classmethod
    def of(cls, body: str, *, kind: str) -> EventContent:
        """Decode the body of an event."""
        change = parsed_own(body)["entry"][0]["changes"][0]
        return cls(kind, change["value"], str(change.get("field") or "messages"))

    @cached_property
    def item(self) -> dict[str, Any]:
        """The message or status; empty in an event that has neither."""
        for name in ITEMS:
            if items := self.value.get(name):
                item: dict[str, Any] = items[0]
                return item
        return {}

    def traits(self, phone: str) -> Traits:
        """What the filters of a webhook decide by, for events of the number `phone`."""
        chat = self.counterparty(phone).chat
        return Traits(
            about=self._about,
            status=self.kind != "message",
            group=self.field.startswith(GROUP_FIELDS) or (bool(chat) and not chat.endswith("@newsletter")),
            newsletter=chat.endswith("@newsletter"),
            own=self.kind == "message" and self._is_own(phone),
        )

    def facts(self, phone: str) -> EventFacts:
        """What the fan-out of an event of the number `phone` asks."""
        traits, counterparty = self.traits(phone), self.counterparty(phone)
        member = next(iter(counterparty.names), "") if counterparty.chat else ""
        kind = str(self.item.get("type") or "")
        return EventFacts(traits, counterparty.keys, member, kind, self._has_audio, self._word(traits))

    @property
    def _has_audio(self) -> bool:
        is_new = self.kind == "message" and self._about == "chat"
        audio = self.item.get("audio") if is_new and self.item.get("type") == "audio" else None
        return isinstance(audio, dict) and bool(audio.get("id"))

    def _word(self, traits: Traits) -> str:
        """What a contact wrote, or chose, in a chat of two, if it is short."""
        item = self.item
        text, button = item.get("text"), item.get("button")
        written = text.get("body") if isinstance(text, dict) else button.get("text") if isinstance(button, dict) else ""
        if not isinstance(written, str) or not written or len(written) > MAX_WORD_CHARS or self.kind != "message":
            return ""
        to_many = "chat" in self.value  # a status post, or a message to a list
        return "" if to_many or traits.own or traits.group or traits.newsletter or traits.about != "chat" else written

    def counterparty(self, phone: str) -> Identity:
        """With whom the number `phone` talks here: a contact, or somebody in a group. Empty for nobody."""
        if phone not in self._counterparties:
            named = Identity.of_counterparty(self.item, phone=phone, echo=bool(self.value.get(ECHOES)))
            contact = Identity.of_contact(self._contact)
            joined = named if named == contact or named.contradicts(contact) else named.joined(contact)
            self._counterparties[phone] = joined
        return self._counterparties[phone]

    @cached_property
    def _counterparties(self) -> dict[str, Identity]:
        return {}

    @property
    def _about(self) -> About:
        if self.field in HISTORY:
            return "history"
        if self.field == CALLS:
            return "calls"
        return "chat" if self.item or self.field.startswith(GROUP_FIELDS) else "account"

    def _is_own(self, phone: str) -> bool:
        sender, metadata = str(self.item.get("from") or ""), self.value.get("metadata") or {}
        return is_same_phone(sender, phone) or is_same_phone(sender, str(metadata.get("display_phone_number") or ""))

    @property
    def _contact(self) -> dict[str, Any]:
        contacts = self.value.get("contacts")
        first = contacts[0] if isinstance(contacts, list) and contacts else {}
        return first if isinstance(first, dict) else {}
