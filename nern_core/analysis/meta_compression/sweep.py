"""Sweep both operations over the predictor and over the tensors that it represents."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Any, Final

import torch
from torch import Tensor

from nern_core.analysis.comparison import Comparison
from nern_core.analysis.meta_compression.model import MetaCompression, Method, Point, Subject
from nern_core.analysis.meta_compression.operations import Compressed, counted_bytes, prune, quantize
from nern_core.analysis.meta_compression.verdict import verdicts
from nern_core.container.encoding import Encoding
from nern_core.container.kept import compress_kept, pack_kept
from nern_core.decoder import decode_encoding
from nern_core.networks.evaluate import Evaluator
from nern_core.representations.predicted.weights import pack_orders, predicted_weights
from nern_core.tensors.checkpoint import Checkpoint

PRUNED_SHARES: Final = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
QUANTIZED_BITS: Final = (8, 7, 6, 5, 4)

Operation = Callable[[Mapping[str, Tensor]], dict[str, Compressed]]


def sweep(
    comparison: Comparison, evaluator: Evaluator, on_point: Callable[[Point], None] = lambda _: None
) -> MetaCompression:
    """Measure every setting of both methods on both subjects; call `on_point` with each point at once."""
    points = []
    for point in _measure(comparison, evaluator):
        on_point(point)
        points.append(point)
    return MetaCompression(
        nern_version=version("nern"),
        source_sha256=comparison.encoding.document.source.sha256,
        architecture=evaluator.architecture.name,
        images=len(evaluator.images),
        original_accuracy=evaluator.accuracy(comparison.original.tensors),
        encoding_accuracy=evaluator.accuracy(comparison.decoded.tensors),
        points=tuple(points),
        verdicts=verdicts(points),
    )


def _measure(comparison: Comparison, evaluator: Evaluator) -> Iterator[Point]:
    operations: list[tuple[Method, float, Operation]] = [
        *((Method.PRUNING, share, partial(prune, share=share)) for share in PRUNED_SHARES),
        *((Method.QUANTIZATION, bits, partial(quantize, bits=bits)) for bits in QUANTIZED_BITS),
    ]
    subjects = {
        Subject.NERN: partial(_compress_nern, comparison.encoding),
        Subject.ORIGINAL: partial(_compress_original, comparison.original, comparison.encoding),
    }
    for subject, compress in subjects.items():
        for method, setting, operation in operations:
            tensors, size = compress(operation)
            accuracy = evaluator.accuracy(tensors)
            yield Point(subject=subject, method=method, setting=setting, bytes=size, accuracy=accuracy)


def _compress_nern(encoding: Encoding[Any], operation: Operation) -> tuple[dict[str, Tensor], int]:
    """Compress the weight matrices of the predictor; return the decoded checkpoint and its bytes."""
    weights = predicted_weights(encoding)
    parameters = weights.parameters
    matrices = {name: parameter for name, parameter in parameters.items() if parameter.ndim >= 2}
    compressed = operation(matrices)
    others = [parameter for name, parameter in parameters.items() if name not in matrices]
    predictor = parameters | {name: tensor.values for name, tensor in compressed.items()}
    size = counted_bytes(compressed.values(), [*others, *_permutations(encoding), *_kept(encoding)])
    return decode_encoding(replace(encoding, weights=replace(weights, parameters=predictor))).tensors, size


def _compress_original(
    original: Checkpoint, encoding: Encoding[Any], operation: Operation
) -> tuple[dict[str, Tensor], int]:
    """Compress the represented tensors themselves; return the checkpoint and its bytes."""
    document = encoding.document
    represented = {layer.name: original.tensors[layer.name] for layer in document.layers}
    compressed = operation(represented)
    changed = {name: compressed[name].values.to(tensor.dtype) for name, tensor in represented.items()}
    changed |= {alias: changed[name] for alias, name in document.tied.items() if name in changed}
    return original.tensors | changed, counted_bytes(compressed.values(), _kept(encoding))


def _permutations(encoding: Encoding[Any]) -> list[Tensor]:
    """Return the orders as packed in the file."""
    weights = predicted_weights(encoding)
    streams = pack_orders(weights.orders, encoding.document.layers, weights.description.permutation)
    return [torch.frombuffer(bytearray(stream), dtype=torch.uint8) for stream in streams if stream]


def _kept(encoding: Encoding[Any]) -> list[Tensor]:
    """Return the values of the kept tensors as stored in the file."""
    _, flat = pack_kept(encoding.kept)
    return list(compress_kept(flat).values())
