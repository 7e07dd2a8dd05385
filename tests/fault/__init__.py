"""The fault run: break one thing at a time in the middle of work, count, and print one table."""
