"""Read ONNX files as descriptions: their weights by name, without reading a value. Torch-free, and without onnx.

The file is walked field by field, within limits, and nothing in it is executed (see `messages` and `weights`).
"""

from nern_core.formats.onnx_files.external_data import folder_of_values, open_external
from nern_core.formats.onnx_files.weights import FLOATING_POINT, LARGEST_GRAPH, OnnxFile, OnnxWeight, read_onnx_file

__all__ = [
    "FLOATING_POINT",
    "LARGEST_GRAPH",
    "OnnxFile",
    "OnnxWeight",
    "folder_of_values",
    "open_external",
    "read_onnx_file",
]
