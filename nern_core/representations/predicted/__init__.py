"""A predictor network maps the coordinate of a kernel to its weights (NeRN)."""
