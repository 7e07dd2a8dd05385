"""What hostile tenants, outsiders and broken servers try. Each test says what was found."""
