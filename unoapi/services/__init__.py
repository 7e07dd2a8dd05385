"""Use cases: plain functions. Collaborators come by keyword, results go back by return."""
