"""The contract with the connector: events, commands, their content, RPC and options."""
