"""What the texts of whatsmeow's errors mean; it gives no codes."""

from __future__ import annotations

from unoapi.connector.engines.base import EngineRefused, EngineUnavailable, Exit

NOT_LEFT = ("websocket not connected", "the store doesn't contain a device JID", "client is nil", "not logged in")
NO_NETWORK = ("dial", "lookup", "no such host", "network is unreachable", "connection refused", "i/o timeout")
SERVER_ERROR = "server returned error "


def classify_error(error: Exception) -> Exception:
    """Of a send: certainly not sent, refused for good, or (the error itself) nobody knows."""
    text = str(error)
    if any(words in text for words in NOT_LEFT):
        return EngineUnavailable("the connection is not there")
    if SERVER_ERROR in text:
        code = text.partition(SERVER_ERROR)[2][:3]
        if code.startswith("5"):
            return EngineUnavailable(f"WhatsApp answered {code}")
        return EngineRefused(f"WhatsApp refused the message ({code})", code=131049 if code == "463" else 131000)
    return error


def ending(error: Exception) -> tuple[Exit, str]:
    """Of a connection: was WhatsApp reached, and what to tell."""
    text = str(error)
    if any(word in text for word in NO_NETWORK):
        return Exit.NETWORK, "WhatsApp cannot be reached"
    return Exit.REFUSED, text[:200]
