"""The weights as integers times steps, entropy-coded."""
