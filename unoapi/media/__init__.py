"""Media stores, signed URLs of files, and conversion."""
