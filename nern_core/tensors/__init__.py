"""Checkpoints and their kernels."""
