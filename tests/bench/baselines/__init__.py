"""The programs that our figures are compared with. None of them uses our code."""
