"""Where files are saved, signed links to them, and conversion."""
