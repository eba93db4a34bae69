"""Checkpoints that are uploaded on their own, whole or piece by piece, for jobs to name."""
