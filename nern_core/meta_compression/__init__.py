"""Compress the predictor further, and do the same to the original at counted bytes (paper, section 5.2).

Two standard operations are swept: *magnitude pruning* sets the smallest of all values to zero, with one threshold
for all tensors; *quantization* rounds to nearest with one scale for each index of axis 0. They are done to
the weight matrices of the predictor, and to the tensors of the original that it represents. Nothing
is trained again afterwards. Bytes are counted alike for both.
"""

from nern_core.meta_compression.model import MetaCompression, Method, Point, Subject
from nern_core.meta_compression.sweep import PRUNED_SHARES, QUANTIZED_BITS, sweep

__all__ = ["PRUNED_SHARES", "QUANTIZED_BITS", "MetaCompression", "Method", "Point", "Subject", "sweep"]
