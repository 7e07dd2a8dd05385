"""Where configuration and state are kept."""
