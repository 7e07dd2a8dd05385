"""Tests against real RabbitMQ, Redis and processes."""
