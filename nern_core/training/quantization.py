"""Settings of training with quantized weights."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizationConfig:
    """Learning rates of Adam, falling along a cosine, the price of bits, and how steps follow the target.

    `learning_rate` is of the weights, in steps; `step_learning_rate` of the steps' logarithms, base 2;
    `vector_learning_rate` of the tensors in 8 bits. `price` is that of one bit for every weight, in units of the
    present loss. `gain` is by how much the logarithm of all steps, base e, follows the share of bits too many.
    """

    learning_rate: float = 0.006
    step_learning_rate: float = 0.003
    vector_learning_rate: float = 0.003
    price: float = 10.0
    gain: float = 0.1
