"""Networks from ONNX files: a graph executed with torch's operators, differentiable in its weights."""

from nern_core.networks.onnx_graph.graph import BatchNorm
from nern_core.networks.onnx_graph.inputs import onnx_batches, open_onnx_evaluator, read_onnx_inputs
from nern_core.networks.onnx_graph.network import OnnxNetwork, build_onnx_network

__all__ = ["BatchNorm", "OnnxNetwork", "build_onnx_network", "onnx_batches", "open_onnx_evaluator", "read_onnx_inputs"]
