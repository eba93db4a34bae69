"""Quantize weights for a given size, as accurately as possible."""
