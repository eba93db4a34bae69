"""Submissions: what a client sends to create a job, as a form or as a document."""
