"""Input and budget of an encoding."""
