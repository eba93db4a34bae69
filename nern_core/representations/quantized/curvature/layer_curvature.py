"""The curvature of the outputs by the weights of a layer, as a Kronecker product (K-FAC, Martens and Grosse, 2015)."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerCurvature:
    """The squared error of the outputs that a change of a layer's weights causes, per example.

    A layer is a matrix of outputs x inputs. The change dw of the weights of output o costs `outputs[o]` times
    dw^T M dw, where M are the second moments of the inputs. `moments` holds M as blocks along the diagonal, for
    consecutive inputs: float32 (G, n, n) each. With G groups, each block has the inputs of one of G equal groups of
    outputs. `outputs` is float64 (outputs,).

    With `inputs_first`, axis 0 of the layer's tensor counts inputs, and the other axes count outputs, as in transposed
    convolutions.
    """

    moments: tuple[Tensor, ...]
    outputs: Tensor
    inputs_first: bool = False

    @property
    def inputs(self) -> int:
        """Return the number of inputs of each output."""
        return sum(block.shape[-1] for block in self.moments)

    @property
    def is_finite(self) -> bool:
        """Return True if all numbers are finite."""
        return all(bool(numbers.isfinite().all()) for numbers in (self.outputs, *self.moments))


def block_sizes(inputs: int, kernel_values: int, largest: int) -> list[int]:
    """Divide inputs into blocks of whole kernels, each with at most about `largest` inputs, of almost equal sizes."""
    kernels = inputs // kernel_values
    count = max(1, -(-kernels // max(1, largest // kernel_values)))
    return [kernel_values * ((number + 1) * kernels // count - number * kernels // count) for number in range(count)]


def diagonal_blocks(diagonal: Tensor, sizes: list[int]) -> tuple[Tensor, ...]:
    """Return moments (inputs,) of independent inputs as blocks."""
    return tuple(torch.diag(part.float())[None] for part in diagonal.split(sizes))


def shrunk(moments: Tensor, means: Tensor, count: int) -> Tensor:
    """Shrink the covariances in moments (G, n, n), measured on `count` vectors, towards those of independent inputs.

    Fewer vectors than inputs leave directions without any measured input. Errors would be moved there, and return with
    other inputs. The means (G, n) are known well from few vectors. With n vectors, half of a covariance remains.
    """
    size = moments.shape[-1]
    share = size**2 / (size**2 + count**2)
    of_means = means[:, :, None] * means[:, None]
    covariances = moments - of_means
    return of_means + covariances.lerp(torch.diag_embed(covariances.diagonal(dim1=1, dim2=2)), share)
