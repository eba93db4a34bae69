"""Events: what has happened to a job, numbered from 1, for those who follow it."""
