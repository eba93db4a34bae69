"""Runs jobs: Celery wakes it, the row is claimed, and a child process encodes under supervision."""
