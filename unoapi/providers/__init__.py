"""Ways of being connected to WhatsApp: what only one of them understands stays in its own folder or file."""
