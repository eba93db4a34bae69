"""Events of jobs, numbered from 1, for clients that follow a job."""
