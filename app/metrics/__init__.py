"""Metrics for Prometheus: requests of this process, and jobs of all processes."""
