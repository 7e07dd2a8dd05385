"""A whole campaign on real servers and a simulated phone, while everything is killed in turn."""
