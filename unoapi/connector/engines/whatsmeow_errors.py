"""What whatsmeow's errors mean, by their texts: it gives no codes."""

from __future__ import annotations

from unoapi.connector.engines.base import Exit
from unoapi.errors import EngineUnavailable, NewChatsRefused, QuestionRefused, SendRefused, describe

NOT_SENT = ("websocket not connected", "the store doesn't contain a device JID", "client is nil", "not logged in")
NOT_THERE = ("no LID found", "can't send message to unknown server")
"""Who is addressed has no account."""
PREPARATION = (
    "failed to get group members", "failed to get broadcast list members", "failed to get device list",
    "failed to get user devices", "failed to get privacy token", "failed to get original message secret",
    "failed to encrypt", "failed to marshal", "failed to create sender key", "failed to process prekey",
    "failed to fetch prekeys", "cipher encryption failed", "no signal session", "untrusted identity",
    "failed to query usync", "info query", "recipient JID", "failed to get LID", "failed to migrate",
)  # fmt: skip
"""What whatsmeow does before the message's frame is written: its text means that nothing left."""
NO_MEMBER = ("403", "forbidden", "404", "item-not-found", "401", "not-authorized")
"""Answers to questions before the send that no second try changes: a group that was left, or is gone."""
UNDELIVERABLE = 131026
NEW_CHATS_REFUSED, TOO_MANY = "463", "429"
NO_MEMBER_CODES = frozenset({"401", "403", "404"})
"""Of the server's answers to a message: a group that was left or is gone, or where only admins write."""
NO_NETWORK = ("dial", "lookup", "no such host", "network is unreachable", "connection refused", "i/o timeout")
UNTRANSLATED = "required field"
UNKNOWN_BAN_S = 86_400
SERVER_ERROR = "server returned error "
REFUSALS = (
    (("status 404", "item-not-found", "does not exist", "status 410"), 100, "WhatsApp knows no such group or contact"),
    (("not participating",), 100, "the number is in no such group"),
    (("status 403", "forbidden", "status 401", "not-authorized"), 10,
     "WhatsApp does not let this number do it: only admins may, or the person's settings forbid it"),
    (("status 429", "rate-overlimit"), 130429, "WhatsApp answers that this was asked too often: wait some minutes"),
    (("status 400", "status 405", "status 406", "status 409", "bad-request", "not-acceptable"), 131009,
     "WhatsApp does not take these values"),
)  # fmt: skip
"""The words in what WhatsApp answers to a question, the Cloud API's code, and the reason for people."""


def classify_error(error: Exception) -> Exception:
    """The error of a send: EngineUnavailable, SendRefused, or the error itself when the message may have left."""
    text = str(error)
    if any(words in text for words in NOT_SENT):
        return EngineUnavailable("the connection is not there")
    if SERVER_ERROR in text:
        return _refused(text.partition(SERVER_ERROR)[2][:3])
    if any(words in text for words in NOT_THERE):
        return SendRefused("the recipient is not on WhatsApp", code=UNDELIVERABLE)
    step = next((words for words in PREPARATION if words in text), "")
    if step and any(words in text for words in NO_MEMBER):
        return SendRefused(f"{step}: this number is no member, or the group is gone", code=UNDELIVERABLE)
    return EngineUnavailable(f"nothing left: {step}") if step else error


def classify_question_error(error: Exception) -> Exception:
    """The error of a question or a change: QuestionRefused when another try would get the same."""
    text = str(error)
    for words, code, reason in REFUSALS:
        if any(word in text for word in words):
            return QuestionRefused(reason, code=code)
    return EngineUnavailable(f"WhatsApp did not answer: {describe(error)}")


def _refused(code: str) -> Exception:
    if code.startswith("5") or code == TOO_MANY:
        return EngineUnavailable(f"WhatsApp answered {code}")
    if code in NO_MEMBER_CODES:
        return SendRefused(f"this number may not write there, or the chat is gone ({code})", code=UNDELIVERABLE)
    if code == NEW_CHATS_REFUSED:
        return NewChatsRefused(f"WhatsApp lets this number write to nobody new for a while ({code})")
    return SendRefused(f"WhatsApp refused the message ({code})")


def classify_connection_error(error: Exception) -> tuple[Exit, str, int]:
    """The error of a connection: how it ended, a reason for people, and for how many seconds, where that is known.

    The library's binding ends a connection when it cannot translate a code that it does not know.
    """
    text = str(error)
    if any(word in text for word in NO_NETWORK):
        return Exit.NETWORK, "WhatsApp cannot be reached", 0
    if UNTRANSLATED in text and "TemporaryBan" in text:
        return Exit.BANNED, "WhatsApp has banned the number, for a reason that the library does not know", UNKNOWN_BAN_S
    if UNTRANSLATED in text and "Receipt" in text:
        return Exit.NETWORK, "the library could not read a receipt; it is started again", 0
    return Exit.REFUSED, text[:200], 0
