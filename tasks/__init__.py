"""Thin Celery tasks: take the job, call one service, publish what comes back. No rules of their own."""
