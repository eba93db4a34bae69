"""Which tensors are represented: the option `kernels`, decided on names and shapes alone. Torch-free.

A *spatial kernel* is a convolution's: axes 0 and 1 of its tensor are coordinates, the one to three axes
after them are the kernel. Everything else, matrices and convolutions of spatial size 1 above all, is a
matrix of axis 0 by the rest, whose rows are cut into *tiles* of 16 values, or of all values of shorter rows. Where
several kernels are to share a coordinate, a convolution of so many channels or more is such a matrix too, with tiles of
so many kernels.

All kernels of one shape share an output head of the predictor, which has to pay: what all kernels of a
shape weigh together must be more than the parameters of their head. Without a predictor its hidden size is 0, and every
tensor of two and more axes can be represented.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from nern_core.errors import NernError, quoted
from nern_core.name_patterns import NamePatterns

TILE: Final = 16
SPATIAL: Final = "spatial"
ALL: Final = "all"

_FEWEST_WEIGHTS = 256
# Without a predictor. Fewer weights take no fewer bytes as integers.
_FEWEST_QUANTIZED_WEIGHTS = 16
# With three axes, larger ones belong to no kernel: positional embeddings and stacks of matrices have three axes too.
_LARGEST_SIDE_OF_THREE_AXES = 32
# With more axes, more values are no kernel of a convolution.
_MOST_KERNEL_VALUES = 1024
# Weights that are quantized already: where they are so many times as many as all others, the others are their scales.
_QUANTIZED_DTYPES = {"int8", "float8_e4m3fn", "float8_e5m2"}
_MOST_QUANTIZED = 10
# The default predictor has this share of the represented weights as parameters.
_DEFAULT_PREDICTOR_SHARE = 0.43

Shape = tuple[int, ...]


def choose_tensors(
    shapes: Mapping[str, Shape],
    kernels: Sequence[str],
    hidden_size: int | None,
    kernels_per_coordinate: int = 1,
    other_weights: Mapping[str, int] | None = None,
) -> dict[str, int | None]:
    """Choose among floating-point tensors; returns the inputs per tile (None: spatial kernels) by name, in order.

    `kernels` holds the words `spatial` (spatial kernels) and `all` (every tensor of two and more axes), which leave out
    what is not worth representing, and patterns, which take exactly what matches; after a `!` they
    exclude what matches, alone from `spatial`. `other_weights` are the numbers of values, by dtype, of tensors of two
    and more axes that are not floating-point weights. Raises `NernError` (`no_kernels`, `unmatched_pattern`,
    `too_many_patterns`).
    """
    words = {entry for entry in kernels if entry in {SPATIAL, ALL}}
    excluded = NamePatterns(entry[1:] for entry in kernels if entry.startswith("!"))
    included = [entry for entry in kernels if entry not in words and not entry.startswith("!")]
    patterns = NamePatterns(included)
    if not words and not included:
        words = {SPATIAL}
    candidates = {name: shape for name, shape in shapes.items() if len(shape) >= 2 and min(shape) > 0}
    for some, names in ((patterns, candidates), (excluded, shapes)):
        some.refuse_many(names)
        if (pattern := some.unmatched(names)) is not None:
            raise _unmatched(pattern)
    candidates = {name: shape for name, shape in candidates.items() if not excluded.matches(name)}
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
    if not included:
        _refuse_quantized(sum(math.prod(shapes[name]) for name in chosen), other_weights or {})
    if not chosen:
        raise _no_kernels(any(_is_worth_representing(shape, {ALL}, fewest) for shape in shapes.values()), fewest)
    return chosen


def is_named(name: str, kernels: Sequence[str]) -> bool:
    """Whether a pattern of `kernels` asks for this tensor, not a word alone."""
    patterns = NamePatterns(entry for entry in kernels if entry not in {SPATIAL, ALL} and not entry.startswith("!"))
    return patterns.matches(name)


def tile_of(shape: Shape, kernels_per_coordinate: int = 1) -> int | None:
    """Inputs per tile of a tensor that is cut into tiles, None for one of spatial kernels."""
    if not _is_spatial(shape):
        return min(TILE, math.prod(shape[1:]))
    shared = 1 < kernels_per_coordinate <= shape[1]
    return kernels_per_coordinate * math.prod(shape[2:]) if shared else None


def kernel_shape_of(shape: Shape, kernels_per_coordinate: int = 1) -> Shape:
    """Shape of the kernels that a tensor is cut into: (3, 3), (5,), or (16,) for tiles."""
    tile = tile_of(shape, kernels_per_coordinate)
    return shape[2:] if tile is None else (tile,)


def default_hidden_size(weights: int) -> int:
    """Hidden size of the predictor for a number of represented weights: about 43 % as many parameters.

    Solves 3 h^2 + 253 h = share * weights, the parameters of the published shape with 3x3 kernels.
    """
    wanted = _DEFAULT_PREDICTOR_SHARE * weights
    hidden_size = (math.sqrt(253**2 + 12 * wanted) - 253) / 6
    return max(8, min(4096, 4 * round(hidden_size / 4)))


def _is_spatial(shape: Shape) -> bool:
    if not 3 <= len(shape) <= 5 or max(shape[2:]) < 2:
        return False
    is_small = math.prod(shape[2:]) <= _MOST_KERNEL_VALUES
    return max(shape[2:]) <= _LARGEST_SIDE_OF_THREE_AXES or (len(shape) > 3 and is_small)


def _is_worth_representing(shape: Shape, words: set[str], fewest: int) -> bool:
    """Whether one of the words takes a tensor of this shape, its head left aside."""
    if len(shape) < 2 or math.prod(shape) < fewest or not words:
        return False
    return ALL in words or _is_spatial(shape)


def _refuse_quantized(chosen_weights: int, other_weights: Mapping[str, int]) -> None:
    """Raise `NernError` where the weights are integers or of 8 bits already, and what is left are their scales."""
    for dtype, weights in other_weights.items():
        if not chosen_weights or (dtype in _QUANTIZED_DTYPES and weights > _MOST_QUANTIZED * chosen_weights):
            raise NernError(
                "no_kernels",
                f"The checkpoint cannot be encoded: its weights are {dtype} already; floating-point weights are "
                "represented. Encode the checkpoint that it was made from.",
            )


def _with_paying_heads(shapes: Mapping[str, Shape], hidden_size: int | None, kernels_per_coordinate: int) -> set[str]:
    """Names of the tensors whose kernel shape outweighs its head, and of those of the heaviest shape."""
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
        f"The pattern {quoted(pattern)} of `kernels` matches none of the checkpoint's floating-point weights; "
        "use names as in the network's state_dict().",
    )


def _no_kernels(matrices: bool, fewest: int) -> NernError:
    if matrices:
        sentence = (
            "The checkpoint has no convolution kernel that is worth representing; represent its matrices too, with "
            "`all` for the option `kernels`."
        )
    else:
        sentence = (
            f"The checkpoint has no floating-point tensor of two or more axes with {fewest} weights or more, and "
            "others are not worth representing; keep the file as it is."
        )
    return NernError("no_kernels", sentence)
