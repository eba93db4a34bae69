"""Selection of the tensors to represent: the option `kernels`, applied to names and shapes alone. Torch-free.

A *spatial kernel* is a convolution's: axes 0 and 1 of its tensor are coordinates, the one to three axes after them are
the kernel. Every other tensor, above all matrices and convolutions of spatial size 1, is treated as a matrix of axis 0
by the rest, whose rows are cut into *tiles* of 16 values, or of the whole row if that is shorter. If several kernels
share a coordinate, a convolution with at least that many channels is such a matrix, too, and a tile holds that many
kernels.

All kernels of one shape share an output head of the predictor, which must pay off: the kernels of a shape must have
more weights together than their head has parameters. Without a predictor its hidden size is 0, and every tensor of two
or more axes can be represented.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from nern_core.contract.errors import NernError, quoted
from nern_core.contract.name_patterns import NamePatterns

TILE: Final = 16
SPATIAL: Final = "spatial"
ALL: Final = "all"

_FEWEST_WEIGHTS = 256
# The limit without a predictor. Fewer weights would not get smaller as integers.
_FEWEST_QUANTIZED_WEIGHTS = 16
# A longer third axis is not a kernel axis: positional embeddings and stacks of matrices have three axes, too.
_LARGEST_SIDE_OF_THREE_AXES = 32
# Larger kernels are at most patches of volumes, and the moments of their inputs would fill the memory.
_MOST_KERNEL_VALUES = 1024
# Dtypes of already quantized weights. If these weights exceed all others by the factor below, the others are scales.
_QUANTIZED_DTYPES = {"int8", "float8_e4m3fn", "float8_e5m2"}
_MOST_QUANTIZED = 10
# Parameters of the default predictor as a share of the represented weights.
_DEFAULT_PREDICTOR_SHARE = 0.43

Shape = tuple[int, ...]


def choose_tensors(
    shapes: Mapping[str, Shape],
    kernels: Sequence[str],
    hidden_size: int | None,
    kernels_per_coordinate: int = 1,
    other_weights: Mapping[str, int] | None = None,
) -> dict[str, int | None]:
    """Choose among floating-point tensors; return the inputs per tile (None: spatial kernels) by name, in order.

    `kernels` holds the words `spatial` (spatial kernels) and `all` (every tensor of two or more axes), which skip
    tensors that are not worth representing, and patterns, which select exactly what matches. After a `!`, patterns
    exclude what matches; if there are only such patterns, they exclude from the default word: `all` without a predictor
    (hidden size 0), `spatial` with one. `other_weights` are the numbers of values, by dtype, of tensors of two or more
    axes that are not floating-point weights. Raises `NernError` (`no_kernels`, `unmatched_pattern`,
    `too_many_patterns`).
    """
    words, excluded, included = words_of(kernels, hidden_size), exclusions_of(kernels), _included(kernels)
    patterns = NamePatterns(included)
    candidates = {name: shape for name, shape in shapes.items() if len(shape) >= 2 and min(shape) > 0}
    for some, names in ((patterns, candidates), (excluded, shapes)):
        some.refuse_many(names)
        if (pattern := some.unmatched(names)) is not None:
            raise _unmatched(pattern)
    removed = {name: shape for name, shape in candidates.items() if excluded.matches(name)}
    candidates = {name: shape for name, shape in candidates.items() if name not in removed}
    fewest = _FEWEST_QUANTIZED_WEIGHTS if hidden_size == 0 else _FEWEST_WEIGHTS
    worth = _with_paying_heads(
        {name: shape for name, shape in candidates.items() if _is_worth_representing(shape, words, fewest)},
        hidden_size,
        kernels_per_coordinate,
    )
    chosen = {
        name: tile_of(shape, kernels_per_coordinate)
        for name, shape in candidates.items()
        if name in worth or patterns.matches(name)
    }
    if not chosen and any(_is_worth_representing(shape, words or {ALL}, fewest) for shape in removed.values()):
        raise _all_excluded(any(_is_worth_representing(shape, {ALL}, fewest) for shape in candidates.values()))
    if not included:
        _refuse_quantized(sum(math.prod(shapes[name]) for name in chosen), other_weights or {})
    if not chosen:
        raise _no_kernels(any(_is_worth_representing(shape, {ALL}, fewest) for shape in shapes.values()), fewest)
    return chosen


def words_of(kernels: Sequence[str], hidden_size: int | None) -> set[str]:
    """Return the words in `kernels`; the default word if there are neither words nor patterns, except after a `!`."""
    words = {entry for entry in kernels if entry in {SPATIAL, ALL}}
    if words or _included(kernels):
        return words
    return {ALL if hidden_size == 0 else SPATIAL}


def exclusions_of(kernels: Sequence[str]) -> NamePatterns:
    """Return the patterns of `kernels` that exclude."""
    return NamePatterns(entry[1:] for entry in kernels if entry.startswith("!"))


def is_named(name: str, kernels: Sequence[str]) -> bool:
    """Return True if a pattern of `kernels`, not only a word, selects this tensor."""
    return NamePatterns(_included(kernels)).matches(name)


def tile_of(shape: Shape, kernels_per_coordinate: int = 1) -> int | None:
    """Return the inputs per tile of a tensor that is cut into tiles, None for spatial kernels."""
    if not _is_spatial(shape):
        return min(TILE, math.prod(shape[1:]))
    shared = 1 < kernels_per_coordinate <= shape[1]
    return kernels_per_coordinate * math.prod(shape[2:]) if shared else None


def kernel_shape_of(shape: Shape, kernels_per_coordinate: int = 1) -> Shape:
    """Return the shape of the kernels that a tensor is cut into: (3, 3), (5,), or (16,) for tiles."""
    tile = tile_of(shape, kernels_per_coordinate)
    return shape[2:] if tile is None else (tile,)


def default_hidden_size(weights: int) -> int:
    """Choose the predictor's hidden size so that its parameters are about 43 % of the represented weights.

    Solves 3 h^2 + 253 h = share * weights, the parameters of the published shape with 3x3 kernels.
    """
    wanted = _DEFAULT_PREDICTOR_SHARE * weights
    hidden_size = (math.sqrt(253**2 + 12 * wanted) - 253) / 6
    return max(8, min(4096, 4 * round(hidden_size / 4)))


def _included(kernels: Sequence[str]) -> list[str]:
    """Return the patterns of `kernels` that exclude nothing."""
    return [entry for entry in kernels if entry not in {SPATIAL, ALL} and not entry.startswith("!")]


def _is_spatial(shape: Shape) -> bool:
    if not 3 <= len(shape) <= 5 or max(shape[2:]) < 2:
        return False
    is_small = math.prod(shape[2:]) <= _MOST_KERNEL_VALUES
    return is_small and (len(shape) > 3 or max(shape[2:]) <= _LARGEST_SIDE_OF_THREE_AXES)


def _is_worth_representing(shape: Shape, words: set[str], fewest: int) -> bool:
    """Return True if one of the words selects a tensor of this shape, without regard to its head."""
    if len(shape) < 2 or math.prod(shape) < fewest or not words:
        return False
    return ALL in words or _is_spatial(shape)


def _refuse_quantized(chosen_weights: int, other_weights: Mapping[str, int]) -> None:
    """Raise `NernError` if the weights are complex, integers or 8-bit floats, and the remaining tensors are scales."""
    for dtype, weights in other_weights.items():
        if not chosen_weights or (dtype in _QUANTIZED_DTYPES and weights > _MOST_QUANTIZED * chosen_weights):
            raise NernError("no_kernels", f"The checkpoint cannot be encoded: {_explain_dtype(dtype)}")


def _explain_dtype(dtype: str) -> str:
    """Say why weights of this dtype cannot be encoded, and what to do."""
    if dtype.startswith("complex"):
        return (
            f"its weights are complex ({dtype}); only real floating-point weights can be represented; save them as "
            "real tensors, with torch.view_as_real."
        )
    if dtype in _QUANTIZED_DTYPES:
        return (
            f"its weights are already {dtype}; only floating-point weights can be represented; encode the checkpoint "
            "that it was made from."
        )
    return f"its tensors are {dtype}; only floating-point weights can be represented; keep the file as it is."


def _with_paying_heads(shapes: Mapping[str, Shape], hidden_size: int | None, kernels_per_coordinate: int) -> set[str]:
    """Return tensors whose kernel shape has more weights than its head, and those of the shape with most weights."""
    weights: Counter[Shape] = Counter()
    kernel_shapes = {name: kernel_shape_of(shape, kernels_per_coordinate) for name, shape in shapes.items()}
    for name, shape in shapes.items():
        weights[kernel_shapes[name]] += math.prod(shape)
    width = default_hidden_size(weights.total()) if hidden_size is None else hidden_size
    paying = {kernel for kernel, total in weights.items() if total >= (width + 1) * math.prod(kernel)}
    paying |= {kernel for kernel, _ in weights.most_common(1)}
    return {name for name, kernel in kernel_shapes.items() if kernel in paying}


def _unmatched(pattern: str) -> NernError:
    return NernError(
        "unmatched_pattern",
        f"The pattern {quoted(pattern)} of `kernels` matches no floating-point tensor of the checkpoint; "
        "use names as in the network's state_dict().",
    )


def _all_excluded(matrices: bool) -> NernError:
    return NernError(
        "no_kernels",
        "The patterns after `!` exclude all tensors that are worth representing; exclude fewer"
        + (", or represent matrices too, with `all` for the option `kernels`." if matrices else "."),
    )


def _no_kernels(matrices: bool, fewest: int) -> NernError:
    if matrices:
        sentence = (
            "The checkpoint has no convolution kernel that is worth representing; to represent its matrices, set "
            "the option `kernels` to `all`."
        )
    else:
        sentence = (
            f"The checkpoint has no floating-point tensor of two or more axes with at least {fewest} weights, and "
            "other tensors are not worth representing; keep the checkpoint itself."
        )
    return NernError("no_kernels", sentence)
