"""The state of workers, in the database and the metrics."""
