"""Encodings as folders that the Hugging Face Hub understands. Nothing here speaks to the hub."""
