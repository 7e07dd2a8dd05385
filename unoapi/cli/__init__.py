"""The command line program and what it starts."""
