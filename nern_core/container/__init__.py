"""The `.nern` file: a safetensors file that holds a predictor or quantized weights, and the kept tensors."""

from nern_core.container.document import Document, PredictorRepresentation, QuantizedRepresentation
from nern_core.container.encoding import Encoding, PredictedWeights, QuantizedWeights
from nern_core.container.file import Sizes, encoded_size, measure_sizes, read_encoding, write_encoding
from nern_core.container.kept import Kept, RoundedTensor
from nern_core.formats.encoding_structure import FORMAT_VERSION

__all__ = [
    "FORMAT_VERSION",
    "Document",
    "Encoding",
    "Kept",
    "PredictedWeights",
    "PredictorRepresentation",
    "QuantizedRepresentation",
    "QuantizedWeights",
    "RoundedTensor",
    "Sizes",
    "encoded_size",
    "measure_sizes",
    "read_encoding",
    "write_encoding",
]
