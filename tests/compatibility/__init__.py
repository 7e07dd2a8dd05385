"""What the Node version does, as cases; and what other programs rely on, compared between two commits."""
