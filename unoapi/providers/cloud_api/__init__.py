"""Numbers at Meta's Cloud API: their messages and events, in both directions."""
