"""Representations of weights, each in a folder of its own."""
