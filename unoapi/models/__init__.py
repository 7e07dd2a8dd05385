"""Pure data: what travels, what is stored. No I/O."""
