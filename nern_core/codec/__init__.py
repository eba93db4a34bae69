"""Quantized layers of `.nern` files without torch: the entropy coder, and weights from integers.

Needs NumPy alone, and uses numba if it is installed. `docs/file-format-quantized.md` describes the bytes.
"""
