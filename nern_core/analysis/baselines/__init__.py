"""Alternatives to an encoding that need no training.

The alternative with training, quantizing the network itself, is in `nern_core.analysis.direct_quantization`.
"""

from nern_core.analysis.baselines.alternative import DIRECT_QUANTIZATION, Alternative
from nern_core.analysis.baselines.nncodec import code_as_small, code_with_nncodec
from nern_core.analysis.baselines.standard import standard_codecs

__all__ = ["DIRECT_QUANTIZATION", "Alternative", "code_as_small", "code_with_nncodec", "standard_codecs"]
