"""The `.nern` file: a safetensors file that holds a predictor, permutations and the kept tensors."""

from nern_core.codec.document import FORMAT_VERSION, Document
from nern_core.codec.file import Encoding, Sizes, measure_sizes, read_encoding, write_encoding

__all__ = ["FORMAT_VERSION", "Document", "Encoding", "Sizes", "measure_sizes", "read_encoding", "write_encoding"]
