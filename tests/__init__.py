"""Tests: in `unit` without servers, elsewhere against real RabbitMQ and Redis. Each folder says what it is for."""
