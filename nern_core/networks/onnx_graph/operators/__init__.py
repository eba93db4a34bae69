"""The operators of ONNX as functions of torch tensors, by subject; importing this package registers them all."""

from nern_core.networks.onnx_graph.operators import (
    arithmetic,
    attention,
    boxes,
    convolutions,
    fused,
    gathering,
    logic,
    normalization,
    pooling,
    quantization,
    recurrent,
    reductions,
    resizing,
    sequences,
    shapes,
    signals,
)
from nern_core.networks.onnx_graph.operators.call import OPERATORS, Call, Operator

__all__ = ["OPERATORS", "Call", "Operator"]
__all__ += ["arithmetic", "attention", "boxes", "convolutions", "fused", "gathering", "logic", "normalization"]
__all__ += ["pooling", "quantization", "recurrent", "reductions", "resizing", "sequences", "shapes", "signals"]
