"""Compact representations of trained networks, as a library.

`nern_core` does not depend on HTTP, databases or queues. The packages `contract` and `formats` never import torch, so
that a service can use them in processes that must stay small; for the same reason the names below load their modules
on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from nern_core.analysis.comparison import open_comparison
    from nern_core.array_decoder import DecodedArrays, decode_arrays
    from nern_core.container.encoding import Encoding
    from nern_core.contract.errors import NernError
    from nern_core.contract.options import EncodeOptions
    from nern_core.contract.progress import Progress
    from nern_core.contract.report import Report
    from nern_core.decoder import Arithmetic, decode, decode_encoding, decode_kernel, decode_layer, load
    from nern_core.encoder import EncodingResult, encode
    from nern_core.representations.files import measure_sizes, read_encoding, write_encoding
    from nern_core.tensors.checkpoint import Checkpoint, read_checkpoint, write_checkpoint

__all__ = [
    "Arithmetic",
    "Checkpoint",
    "DecodedArrays",
    "EncodeOptions",
    "Encoding",
    "EncodingResult",
    "NernError",
    "Progress",
    "Report",
    "decode",
    "decode_arrays",
    "decode_encoding",
    "decode_kernel",
    "decode_layer",
    "encode",
    "load",
    "measure_sizes",
    "open_comparison",
    "read_checkpoint",
    "read_encoding",
    "write_checkpoint",
    "write_encoding",
]

_MODULES: Final = {
    "Arithmetic": "decoder",
    "Checkpoint": "tensors.checkpoint",
    "DecodedArrays": "array_decoder",
    "EncodeOptions": "contract.options",
    "Encoding": "container.encoding",
    "EncodingResult": "encoder",
    "NernError": "contract.errors",
    "Progress": "contract.progress",
    "Report": "contract.report",
    "decode": "decoder",
    "decode_arrays": "array_decoder",
    "decode_encoding": "decoder",
    "decode_kernel": "decoder",
    "decode_layer": "decoder",
    "encode": "encoder",
    "load": "decoder",
    "measure_sizes": "representations.files",
    "open_comparison": "analysis.comparison",
    "read_checkpoint": "tensors.checkpoint",
    "read_encoding": "representations.files",
    "write_checkpoint": "tensors.checkpoint",
    "write_encoding": "representations.files",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 # any of the names above
    """Load the module of a public name and return the name's value."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
