"""Strict readers of files from strangers. Torch-free."""
