"""Configuration and state in Redis, one concern a file."""
