"""Phones that the connector serves: their messages and events, in both directions."""
