"""What hostile tenants, outsiders and broken servers try. Each test says what was found.

The codes in their docstrings (H1, N100, …) are those of the reviews that issue 13 answers.
"""
