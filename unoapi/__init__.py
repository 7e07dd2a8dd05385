"""Uno API: a self-hosted WhatsApp gateway in the WhatsApp Cloud API format."""

__version__ = "0.1.0"
