"""Real clients of the Cloud API, and the exact requests of others, against the whole program."""
