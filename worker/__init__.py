"""The worker: a Celery message wakes it, it claims a job's row, and a supervised child process encodes."""
