"""The command line program `unoapi`, and Flower as the Procfile starts it."""
