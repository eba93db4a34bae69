"""Compress the predictor further, and the original likewise, with counted bytes (paper, section 5.2).

Two standard operations are swept: *magnitude pruning* sets the smallest of all values to zero, with one threshold for
all tensors; *quantization* rounds to nearest with one scale for each index of axis 0. They are applied to the weight
matrices of the predictor, and to the original tensors that it represents. Nothing is retrained afterwards. Bytes are
counted in the same way for both.
"""

from nern_core.analysis.meta_compression.model import MetaCompression, Method, Point, Subject
from nern_core.analysis.meta_compression.sweep import PRUNED_SHARES, QUANTIZED_BITS, sweep

__all__ = ["PRUNED_SHARES", "QUANTIZED_BITS", "MetaCompression", "Method", "Point", "Subject", "sweep"]
