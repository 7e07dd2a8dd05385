"""HTTP requests of ours: to webhooks, to APIs, for files, and to the operator's own address.

pycurl, by `GuardedHandle`, serves the addresses that a tenant may choose; requests serves those that only the operator
chooses.
"""
