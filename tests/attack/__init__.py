"""The attack run: two tenants and an outsider against a whole installation, whose secrets are all canaries."""
