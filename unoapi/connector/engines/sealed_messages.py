"""Opens what WhatsApp encrypts once more, with the secret of the message that it is about.

Votes and answers to events come so, all edits since 2026, and reactions and comments in communities' announcement
groups. The library saves the secrets in its file; of its functions the binding exports that for votes alone, and fails
at its answer.

Key: HKDF-SHA256 of the secret, with the id of that message, who wrote it, who wrote this, and the use; then AES-256-GCM
(whatsmeow's `msgsecret.go` has the same). Addresses are LIDs or phones, as the writer's program chose, so that each
pair is tried: a wrong one fails.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

if TYPE_CHECKING:
    from collections.abc import Iterable

ENVELOPES = {
    "EVENT_EDIT": "Event Edit",
    "MESSAGE_EDIT": "Message Edit",
    "POLL_EDIT": "Poll Edit",
    "POLL_ADD_OPTION": "Poll Add Option",
}
EDITS = frozenset({"Event Edit", "Message Edit", "Poll Edit"})
USES = {
    "encReactionMessage": ("Enc Reaction", "targetMessageKey"),
    "encCommentMessage": ("Enc Comment", "targetMessageKey"),
    "encEventResponseMessage": ("Event Response", "eventCreationMessageKey"),
    "pollUpdateMessage": ("Poll Vote", "pollCreationMessageKey"),
}
"""By the field of a message: the use, and the field that names the message that it is about."""
NAMES_THE_WRITER = frozenset({"Event Response", "Poll Vote"})
"""Uses whose ciphertext is bound to the id and the writer besides."""
NONCE_BYTES, SECRET_BYTES, MAX_BYTES = 12, 32, 1_000_000


class Sealed(NamedTuple):
    """A sealed part of a message: its field, what it is used for, the key of the message that it is about."""

    field: str
    use: str
    target: Any
    nonce: bytes
    payload: bytes


class Secret(NamedTuple):
    """The secret of a message, and by which addresses its writer is known."""

    key: bytes
    writers: tuple[str, ...]


def sealed_part(message: Any) -> Sealed | None:
    """What is sealed in a message, a protobuf of WhatsApp's; none when nothing is, or nothing that we can open."""
    if message.HasField("secretEncryptedMessage"):
        part = message.secretEncryptedMessage
        kinds = part.DESCRIPTOR.fields_by_name["secretEncType"].enum_type.values_by_number
        kind = kinds.get(part.secretEncType)
        use = ENVELOPES.get(kind.name) if kind is not None else None
        return (
            Sealed("secretEncryptedMessage", use, part.targetMessageKey, part.encIV, part.encPayload) if use else None
        )
    for field, (use, target) in USES.items():
        if message.HasField(field):
            part = getattr(message, field)
            held = part.vote if use == "Poll Vote" else part
            return Sealed(field, use, getattr(part, target), held.encIV, held.encPayload)
    return None


def opened(sealed: Sealed, *, secrets: Iterable[Secret], writers: tuple[str, ...]) -> bytes | None:
    """The plain bytes; none when no secret opens them. `writers` are the addresses of who wrote what is sealed.

    An edit opens for the writer of the message alone: everybody in a group has its secret.
    """
    if len(sealed.nonce) != NONCE_BYTES or not 0 < len(sealed.payload) <= MAX_BYTES:
        return None
    only_own = sealed.use in EDITS
    for secret in secrets:
        if len(secret.key) != SECRET_BYTES or (only_own and set(writers).isdisjoint(secret.writers)):
            continue
        for author, writer in product(secret.writers, writers):
            plain = _decrypted(sealed, secret=secret.key, author=author, writer=writer)
            if plain is not None:
                return plain
    return None


def _decrypted(sealed: Sealed, *, secret: bytes, author: str, writer: str) -> bytes | None:
    about = str(sealed.target.ID)
    info = f"{about}{author}{writer}{sealed.use}".encode()
    key = HKDF(algorithm=SHA256(), length=SECRET_BYTES, salt=None, info=info).derive(secret)
    bound = f"{about}\0{writer}".encode() if sealed.use in NAMES_THE_WRITER else b""
    try:
        return AESGCM(key).decrypt(sealed.nonce, sealed.payload, bound)
    except InvalidTag:
        return None
