"""What Prometheus is told: the requests of this process, and the jobs of all of them."""
