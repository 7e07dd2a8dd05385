"""What whatsmeow's errors mean, by their texts: it gives no codes."""

from __future__ import annotations

from unoapi.connector.engines.base import Exit
from unoapi.errors import EngineUnavailable, SendRefused

NOT_SENT = ("websocket not connected", "the store doesn't contain a device JID", "client is nil", "not logged in")
NO_NETWORK = ("dial", "lookup", "no such host", "network is unreachable", "connection refused", "i/o timeout")
SERVER_ERROR = "server returned error "


def classify_error(error: Exception) -> Exception:
    """The error of a send: EngineUnavailable, SendRefused, or the error itself when the message may have left."""
    text = str(error)
    if any(words in text for words in NOT_SENT):
        return EngineUnavailable("the connection is not there")
    if SERVER_ERROR in text:
        code = text.partition(SERVER_ERROR)[2][:3]
        if code.startswith("5"):
            return EngineUnavailable(f"WhatsApp answered {code}")
        return SendRefused(f"WhatsApp refused the message ({code})", code=131049 if code == "463" else 131000)
    return error


def classify_connection_error(error: Exception) -> tuple[Exit, str]:
    """The error of a connection: whether WhatsApp was reached, and a reason for people."""
    text = str(error)
    if any(word in text for word in NO_NETWORK):
        return Exit.NETWORK, "WhatsApp cannot be reached"
    return Exit.REFUSED, text[:200]
