"""Webhooks: the service tells an address that a job names when the job has ended, by Standard Webhooks 1.0."""
