"""Weights as integers on a grid of steps, coded under what their coordinates tell of their size."""
