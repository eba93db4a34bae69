"""Weights as integers on a grid of steps, coded by scales that depend on their coordinates."""
