"""The front of the service: HTTP only. It streams, stores, answers, and never imports torch."""
