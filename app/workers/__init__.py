"""The state of workers, as the database and the metrics have it."""
