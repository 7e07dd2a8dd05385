"""Tests, against real RabbitMQ and Redis."""
