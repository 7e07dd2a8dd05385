"""The one part that talks to WhatsApp. Only messages on RabbitMQ tie it to the rest."""
