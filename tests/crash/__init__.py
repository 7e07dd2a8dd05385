"""The crash run: kill everything in the middle of work, then count."""
