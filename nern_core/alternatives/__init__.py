"""Alternatives to a neural representation that need no training.

The alternative with training, quantizing the network itself, is in `nern_core.direct_quantization`.
"""

from nern_core.alternatives.alternative import DIRECT_QUANTIZATION, Alternative
from nern_core.alternatives.nncodec import code_as_small, code_with_nncodec
from nern_core.alternatives.standard import standard_codecs

__all__ = ["DIRECT_QUANTIZATION", "Alternative", "code_as_small", "code_with_nncodec", "standard_codecs"]
