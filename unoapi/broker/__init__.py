"""RabbitMQ: the topology, the messages, publishing with confirms, dead letters, and the Celery application."""
