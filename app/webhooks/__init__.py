"""Webhooks: notifications about the end of a job to an address that the job names, by Standard Webhooks 1.0."""
