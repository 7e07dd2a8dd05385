"""What hostile tenants, outsiders and broken servers try: each test names the finding that it reproduces."""
