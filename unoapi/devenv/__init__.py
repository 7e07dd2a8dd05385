"""What only a checkout needs: `make run`, `make demo`, private servers, a process supervisor."""
