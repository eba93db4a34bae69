"""Snapshots of running jobs, from which another worker resumes a job."""
