"""Ways of being connected to WhatsApp. A provider speaks its own tongue only in its own file."""
