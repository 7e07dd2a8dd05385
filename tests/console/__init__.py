"""Tests of the console: its pages over parts in memory, and in a browser."""
