"""Who somebody is: a phone, or an id of Meta's or WhatsApp's where the phone is not known."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from unoapi.models.phones import LID, LIDS, PERSONS, digits_of, user_of, with_ninth_digit
from unoapi.models.text import is_visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

USER_ID = re.compile(r"[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}", re.ASCII)
"""A business-scoped user id of Meta's; with `ENT.` one that several accounts of a business share."""
NO_USER_IDS = (
    131062,
    "Recipient is not supported",
    "This connection cannot address user ids, only phones: give the phone in `to`, or a `…@lid` that an event named.",
)
"""The error of a message to a user id over a connection that knows none: code, title, details."""
MOBILES_OF_WHATSAPP = re.compile(r"(?:521|549)[0-9]{10}", re.ASCII)
"""Mobiles of Mexico and Argentina, with a digit that their numbers have in WhatsApp's addresses alone."""
GROUP = "group"
_FROM = ("from", "from_user_id", "from_parent_user_id")
_TO = ("to", "to_user_id", "to_parent_user_id")
_RECIPIENT = ("recipient_id", "recipient_user_id", "recipient_parent_user_id")
_MEMBER = ("recipient_participant_id", "recipient_participant_user_id", "recipient_participant_parent_user_id")
_PARENT = "parent_recipient_user_id"
"""Another name that Meta has for the last of `_RECIPIENT`."""
RECIPIENT_FIELDS = frozenset((*_RECIPIENT, *_MEMBER, _PARENT))
"""By which names a status calls whose it is."""
_CONTACT = ("wa_id", "user_id", "parent_user_id")
ADDRESS_FIELDS = frozenset((*_FROM, *_TO))
"""By which names a message calls those who talk. The same message may come with others."""


class Identity(NamedTuple):
    """Somebody, by as many names as are known; an empty one is absent.

    `phone` is digits without a plus, `user_id` a business-scoped id of Meta's or a LID (`111@lid`), `parent_user_id`
    the id that the accounts of one business share. `chat` is the address of a group, a newsletter or a broadcast list,
    and the others then name who it is in there.
    """

    phone: str = ""
    user_id: str = ""
    parent_user_id: str = ""
    username: str = ""
    chat: str = ""

    @classmethod
    def of(cls, address: str, *, group: bool = False) -> Identity:
        """Whom an address means: a phone, a jid or a user id. `group`: it is a group's, whatever it looks like."""
        host = address.partition("@")[2]
        if group or host not in ("", *PERSONS, *LIDS):
            return cls(chat=address)
        if host in LIDS:
            return cls(user_id=f"{user_of(address)}@{LID}" if user_of(address) else "")
        return cls(user_id=address) if is_user_id(address) else cls(phone=with_ninth_digit(user_of(address)))

    @classmethod
    def of_contact(cls, contact: dict[str, Any]) -> Identity:
        """Whom an element of `contacts` describes."""
        profile = contact.get("profile")
        username = _text(profile, "username") if isinstance(profile, dict) else ""
        named, group = _named(contact, _CONTACT), _text(contact, "group_id")
        return named._replace(username=username, chat=group or named.chat) if username or group else named

    @classmethod
    def of_counterparty(cls, item: dict[str, Any], *, phone: str, echo: bool = False) -> Identity:
        """With whom the number `phone` talks in a message, an `echo` or a status; an empty one when it names nobody.

        In a group it is the member, as far as the item names one.
        """
        if not RECIPIENT_FIELDS.isdisjoint(item):
            recipient = _named(item, _RECIPIENT)
            if recipient.chat or _text(item, "recipient_type") == GROUP:
                return _named(item, _MEMBER)._replace(chat=_text(item, "recipient_id"))
            parent = recipient.parent_user_id or _text(item, _PARENT)
            return recipient._replace(parent_user_id=parent)
        own = echo or is_same_phone(_text(item, "from"), phone)
        named = _named(item, _TO if own else _FROM)
        if not named and not own:  # a user who got another number or id: only the object of the type names the user
            system = item.get("system")
            named = _named(system, _CONTACT) if isinstance(system, dict) else _named(_with_current_ids(item), _CONTACT)
        group = _text(item, "group_id")
        return named._replace(chat=group) if group else named

    def __bool__(self) -> bool:
        """Whether anything is known."""
        return bool(self.chat or self.phone or self.user_id or self.parent_user_id)

    @property
    def person(self) -> Identity:
        """The same without the chat."""
        return self._replace(chat="") if self.chat else self

    @property
    def is_of_group(self) -> bool:
        """Whether the chat is a group: of phones, or at Meta, where its id is a text without a host."""
        return bool(self.chat) and (self.chat.endswith("@g.us") or "@" not in self.chat)

    @property
    def names(self) -> tuple[str, ...]:
        """What stands for the person, the phone first. Memories know a person by any of them."""
        return tuple(filter(None, (self.phone, self.user_id, self.parent_user_id, other_form(self.phone))))

    @property
    def keys(self) -> tuple[str, ...]:
        """What stands for the other side of the conversation: the chat, else the names of the person."""
        return (self.chat,) if self.chat else self.names

    @property
    def key(self) -> str:
        """The first of the keys; empty for nobody."""
        return next(iter(self.keys), "")

    def joined(self, other: Identity) -> Identity:
        """The same somebody, with the names of the other one where they are missing here."""
        return Identity(
            self.phone or other.phone,
            self.user_id or other.user_id,
            self.parent_user_id or other.parent_user_id,
            self.username or other.username,
            self.chat or other.chat,
        )

    def likeness(self, other: Identity) -> int:
        """How surely it is the same person: 3 by the user id, 2 by the parent's, 1 by the phone, 0 not at all."""
        if self.user_id and self.user_id == other.user_id:
            return 3
        if self.parent_user_id and self.parent_user_id == other.parent_user_id:
            return 2
        return int(bool(self.phone) and is_same_phone(self.phone, other.phone))

    def contradicts(self, other: Identity) -> bool:
        """Whether it is certainly somebody else: both have a name of one kind, and share none."""
        if self.likeness(other):
            return False
        return bool(
            (self.user_id and other.user_id)
            or (self.parent_user_id and other.parent_user_id)
            or (self.phone and other.phone and not self.may_be(other))
        )

    def may_be(self, other: Identity) -> bool:
        """Whether it is the other one as far as anybody can say: one has no name, or both nearly the same phone.

        WhatsApp writes some countries' numbers with a digit more or less.
        """
        same_end = self.phone[:2] == other.phone[:2] and self.phone[-8:] == other.phone[-8:]
        return not self.names or not other.names or (bool(self.phone) and same_end)

    def as_contact(self, name: str = "", *, given: dict[str, Any] | None = None) -> dict[str, Any]:
        """A contact as real clients need it: `profile.name` is never empty, and all three names of it are there.

        `user_id` is the plain phone where nothing else is known. `given` is the contact as it came, whose fields stay.
        """
        given = given or {}
        told = Identity.of_contact(given) if given else _NOBODY
        profile = dict(given["profile"]) if isinstance(given.get("profile"), dict) else {}
        phone, user_id = told.phone or self.phone, told.user_id or self.user_id
        username = told.username or self.username
        parent = told.parent_user_id or self.parent_user_id
        plain = phone or user_id or parent or self.chat
        profile["name"] = next((text for text in (_text(profile, "name"), name, username) if is_visible(text)), plain)
        if username:
            profile["username"] = username
        wa_id = phone or ("" if user_id or parent or self.is_of_group else self.chat)
        contact = {**given, "profile": profile, "wa_id": wa_id, "user_id": user_id or plain}
        return contact | ({"parent_user_id": parent} if parent else {})

    def as_sender(self) -> dict[str, str]:
        """The fields of a message that say who wrote it. What is no person is named as it is in `contacts`."""
        written = self.phone or ("" if self.user_id or self.parent_user_id else self.chat)
        return {"from": written} | ({"from_user_id": self.user_id} if self.user_id else {})

    def as_addressee(self) -> dict[str, str]:
        """The fields of an echo that say to whom it went."""
        if self.chat:
            return {"to": self.chat}
        return {"to": self.phone} | ({"to_user_id": self.user_id} if self.user_id else {})

    def as_recipient(self) -> dict[str, str]:
        """The fields of a status that say whose it is: a person's, or a group's with its member."""
        if not self.chat:
            return {"recipient_id": self.phone} | _optional(recipient_user_id=self.user_id)
        if not self.is_of_group:
            return {"recipient_id": self.chat}
        # Clients look the member up in `contacts` by this id, which there is the plain phone where no other is known.
        member = _optional(
            recipient_participant_id=self.phone, recipient_participant_user_id=self.user_id or self.phone
        )
        return {"recipient_id": self.chat, "recipient_type": GROUP} | member


_NOBODY = Identity()


class People:
    """Persons in their order, found by what `Identity.likeness` compares; with many that takes no longer."""

    def __init__(self, persons: Iterable[Identity]) -> None:
        self._positions: dict[tuple[str, ...], list[int]] = {}
        for position, person in enumerate(persons):
            for name in chain(*_compared(person)):
                self._positions.setdefault(name, []).append(position)

    def most_alike(self, person: Identity) -> int | None:
        """The position of the first of those that are most surely the same; none when nobody is."""
        for names in _compared(person):
            found = [self._positions[name][0] for name in names if name in self._positions]
            if found:
                return min(found)
        return None

    def alike(self, persons: Iterable[Identity]) -> list[int]:
        """The positions of all that are the same as one of these, in their order."""
        names = {name for person in persons for name in chain(*_compared(person))}
        return sorted({position for name in names for position in self._positions.get(name, ())})


def _compared(person: Identity) -> Iterator[tuple[tuple[str, ...], ...]]:
    """What of a person is compared, the surest first."""
    if person.user_id:
        yield (("user", person.user_id),)
    if person.parent_user_id:
        yield (("parent", person.parent_user_id),)
    if person.phone:
        plain = _plain(person.phone)
        yield (("phone", person.phone), *([("plain", person.phone[-4:], plain)] if plain else ()))


def is_user_id(text: str) -> bool:
    """Whether it is a business-scoped user id."""
    return USER_ID.fullmatch(text) is not None


def is_same_phone(one: str, other: str) -> bool:
    """Whether two phones are the same, with or without plus, punctuation and the Brazilian ninth digit."""
    if not one or one == other:
        return bool(one)
    return one[-4:] == other[-4:] and _plain(one) == _plain(other) != ""


def other_form(phone: str) -> str:
    """How else a mobile of Mexico or Argentina is written, with or without WhatsApp's own digit; else empty."""
    if not phone.startswith(("52", "54")):
        return ""
    if MOBILES_OF_WHATSAPP.fullmatch(phone):
        return phone[:2] + phone[3:]
    return next((form for digit in "19" if MOBILES_OF_WHATSAPP.fullmatch(form := f"{phone[:2]}{digit}{phone[2:]}")), "")


def _plain(phone: str) -> str:
    """The digits, with the one for mobiles that Brazil writes and without those that only WhatsApp writes."""
    digits = with_ninth_digit(digits_of(user_of(phone)))
    return digits[:2] + digits[3:] if MOBILES_OF_WHATSAPP.fullmatch(digits) else digits


def _named(part: dict[str, Any], fields: tuple[str, str, str]) -> Identity:
    phone, user_id, parent = _text(part, fields[0]), _text(part, fields[1]), _text(part, fields[2])
    known = "" if user_id == phone else user_id  # our own events say the phone where no user id is known
    if phone.isdigit():
        return Identity(phone, known, parent)
    address = Identity.of(phone)
    if address.phone:
        return Identity(phone, known, parent)
    return address._replace(user_id=known or address.user_id, parent_user_id=parent)


def _with_current_ids(item: dict[str, Any]) -> dict[str, Any]:
    """An update of a user's ids with the new ones in the place of `{"previous": …, "current": …}`."""
    return {name: value.get("current") if isinstance(value, dict) else value for name, value in item.items()}


def _text(part: dict[str, Any], field: str) -> str:
    value = part.get(field, "")
    if type(value) is str:
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def _optional(**fields: str) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value}
