"""Weights quantized for a size: as accurate as that many bytes allow."""
