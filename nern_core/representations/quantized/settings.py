"""Settings of training quantized weights."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizationConfig:
    """Adam's learning rates, falling along a cosine, the price of bits, and the control of the steps.

    `learning_rate` is for the weights, in steps; `vector_learning_rate` for the tensors in 8 or 12 bits, as a share of
    their largest value. `price` is the price of one bit per weight, in units of the current loss. `gain` is the change
    of all steps' logarithm, base e, per share of excess bits.
    """

    learning_rate: float = 0.004
    vector_learning_rate: float = 0.001
    price: float = 1.0
    gain: float = 0.1
