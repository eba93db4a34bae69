"""What the service knows of its workers."""
