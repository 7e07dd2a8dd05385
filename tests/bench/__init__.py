"""Benchmarks on real servers, as ratios to named baselines of the same run: `python -m tests.bench [NAME...]`."""
