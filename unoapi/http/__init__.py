"""The HTTP client of the outgoing side: one POST, one deadline, one answer; trouble on the network is never raised.

pycurl serves the addresses that a tenant chooses, requests the one that only the operator chooses.
"""
