"""Cloud API objects, as clients and Meta write them: messages, events and templates."""
