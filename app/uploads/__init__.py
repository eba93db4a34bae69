"""Checkpoints that are uploaded separately, whole or in pieces, for use by jobs."""
