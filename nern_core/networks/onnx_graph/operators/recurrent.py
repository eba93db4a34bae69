"""LSTM, GRU and simple recurrent layers, in one or two directions.

The usual ones are those of torch, with the gates in another order. Others (with peepholes, lengths of sequences, other
activations) are computed step by step.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import torch
from torch import _VF, Tensor
from torch.nn import functional as F

from nern_core.networks.onnx_graph.operators.call import Call, operator, together, unsupported

_ACTIVATIONS: Final[dict[str, Callable[..., Tensor]]] = {
    "elu": lambda x, alpha=1.0: F.elu(x, alpha),
    "hardsigmoid": lambda x, alpha=0.2, beta=0.5: (alpha * x + beta).clamp(0, 1),
    "leakyrelu": lambda x, alpha=0.01: F.leaky_relu(x, alpha),
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "tanh": torch.tanh,
}
# Gates of torch by their places in ONNX: input, output, forget, cell; update, reset, hidden.
_ORDER_OF_LSTM: Final = (0, 2, 3, 1)
_ORDER_OF_GRU: Final = (1, 0, 2)
# The input, weights (W, R, B), lengths, first states (h, c) and peepholes.
_INPUTS: Final = 8
_Step = Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]]


class _Layer:
    """The inputs of a node, in the form (time, batch, features), and the weights of one direction after another.

    `h` and `c` are the first states, and `peepholes` the weights from the cell to the gates, None unless given.
    """

    def __init__(self, call: Call, inputs: Sequence[Tensor | None]) -> None:
        given = [*inputs, *[None] * (_INPUTS - len(inputs))]
        x, w, r, b, lengths, self.h, self.c, self.peepholes = given
        assert x is not None
        assert w is not None
        assert r is not None
        self.call, self.w, self.r = call, w, r
        self.hidden = call.get("hidden_size") or r.shape[-1]
        self.batch_first = bool(call.get("layout", 0))
        self.x = x.transpose(0, 1) if self.batch_first else x
        self.directions = w.shape[0]
        gates = w.shape[1]
        self.b = torch.zeros(self.directions, 2 * gates, dtype=w.dtype, device=w.device) if b is None else b
        steps = self.x.shape[0]
        self.lengths = None if lengths is None or bool((lengths == steps).all()) else lengths

    def state(self, given: Tensor | None) -> Tensor:
        """Return a state (directions, batch, hidden), zeros unless it is given."""
        if given is None:
            return self.x.new_zeros(self.directions, self.x.shape[1], self.hidden)
        (state, _) = together(given, self.x)
        return state.transpose(0, 1) if self.batch_first else state

    def activations(self, defaults: Sequence[str]) -> list[Callable[[Tensor], Tensor]]:
        """Return the functions of all directions, with their parameters."""
        names = [name.lower() for name in self.call.get("activations") or list(defaults) * self.directions]
        alphas, betas = list(self.call.get("activation_alpha") or ()), list(self.call.get("activation_beta") or ())
        found: list[Callable[[Tensor], Tensor]] = []
        for name in names:
            if name not in _ACTIVATIONS:
                raise unsupported(f"the activation {name!r}")
            given = {}
            if name in {"elu", "hardsigmoid", "leakyrelu"} and alphas:
                given["alpha"] = alphas.pop(0)
            if name == "hardsigmoid" and betas:
                given["beta"] = betas.pop(0)
            found.append(partial(_ACTIVATIONS[name], **given))
        return found

    def is_usual(self, defaults: Sequence[str]) -> bool:
        """Return True if torch's own layer computes the same."""
        names = [name.lower() for name in self.call.get("activations") or ()]
        directed = self.call.get("direction", "forward") != "reverse"
        return (
            directed
            and self.lengths is None
            and not self.call.get("clip")
            and names in [[], [*defaults] * self.directions]
        )

    def flat_weights(self, order: Sequence[int]) -> list[Tensor]:
        """Return the weights as torch's layers take them."""
        flat = []
        for direction in range(self.directions):
            b = self.b[direction].chunk(2)
            flat += [_reordered(part, order) for part in (self.w[direction], self.r[direction], *b)]
        return flat

    def clipped(self, x: Tensor) -> Tensor:
        """Limit the inputs of activations, if the node says so."""
        limit = self.call.get("clip")
        return x.clamp(-limit, limit) if limit else x

    def run(self, direction: int, step: _Step, states: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run one direction step by step; return all hidden states (time, batch, hidden), and the last states."""
        count = self.x.shape[0]
        backwards = direction == 1 or self.call.get("direction", "forward") == "reverse"
        now = tuple(state[direction] for state in states)
        outputs: list[Tensor | None] = [None] * count
        for time in reversed(range(count)) if backwards else range(count):
            after = step(self.x[time], now)
            output = after[0]
            if self.lengths is not None:
                runs = (time < self.lengths.to(self.x.device))[:, None]
                after = tuple(torch.where(runs, new, old) for new, old in zip(after, now, strict=True))
                output = torch.where(runs, output, torch.zeros_like(output))
            now, outputs[time] = after, output
        return torch.stack([output for output in outputs if output is not None]), now

    def results(self, outputs: Tensor, last: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the outputs (time, batch, directions, hidden) and the last states in the layout of the node."""
        if self.batch_first:
            return outputs.transpose(0, 1), *(state.transpose(0, 1) for state in last)
        return outputs.transpose(1, 2), *last

    def by_steps(self, make: Callable[[int], _Step], states: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Run all directions step by step."""
        ran = [self.run(direction, make(direction), states) for direction in range(self.directions)]
        outputs = torch.stack([outputs for outputs, _ in ran], dim=2)
        last = [torch.stack([of[index] for _, of in ran]) for index in range(len(states))]
        return self.results(outputs, last)

    def by_torch(self, output: Tensor, *last: Tensor) -> tuple[Tensor, ...]:
        """Return the results of torch's own layer."""
        return self.results(output.unflatten(-1, (self.directions, self.hidden)), last)


@operator("LSTM")
def lstm(call: Call, *inputs: Tensor | None) -> tuple[Tensor, ...]:
    layer = _Layer(call, inputs)
    states = (layer.state(layer.h), layer.state(layer.c))
    usual = ("sigmoid", "tanh", "tanh")
    if layer.is_usual(usual) and layer.peepholes is None and not call.get("input_forget", 0):
        weights = layer.flat_weights(_ORDER_OF_LSTM)
        return layer.by_torch(*_torch(_VF.lstm, layer, states, weights))
    functions = layer.activations(usual)

    def make(direction: int) -> _Step:
        f, g, last = functions[3 * direction : 3 * direction + 3]
        before, after = layer.b[direction].chunk(2)
        peep_i, peep_o, peep_f = (None,) * 3 if layer.peepholes is None else layer.peepholes[direction].chunk(3)

        def step(now: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            hidden, cell = states
            gates = now @ layer.w[direction].t() + hidden @ layer.r[direction].t() + before + after
            i, o, forget, new = gates.chunk(4, dim=-1)
            i = f(layer.clipped(i if peep_i is None else i + peep_i * cell))
            forget = (
                1 - i
                if call.get("input_forget", 0)
                else f(layer.clipped(forget if peep_f is None else forget + peep_f * cell))
            )
            cell = forget * cell + i * g(layer.clipped(new))
            o = f(layer.clipped(o if peep_o is None else o + peep_o * cell))
            return o * last(cell), cell

        return step

    return layer.by_steps(make, states)


@operator("GRU")
def gru(call: Call, *inputs: Tensor | None) -> tuple[Tensor, ...]:
    layer = _Layer(call, inputs)
    states = (layer.state(layer.h),)
    usual = ("sigmoid", "tanh")
    resets_after = bool(call.get("linear_before_reset", 0))
    if layer.is_usual(usual) and resets_after:
        return layer.by_torch(*_torch(_VF.gru, layer, states[0], layer.flat_weights(_ORDER_OF_GRU)))
    functions = layer.activations(usual)

    def make(direction: int) -> _Step:
        f, g = functions[2 * direction : 2 * direction + 2]
        before, after = layer.b[direction].chunk(2)
        of_update, of_reset, of_hidden = layer.r[direction].chunk(3)
        b_update, b_reset, b_hidden = after.chunk(3)

        def step(now: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            (hidden,) = states
            update, reset, new = (now @ layer.w[direction].t() + before).chunk(3, dim=-1)
            update = f(layer.clipped(update + hidden @ of_update.t() + b_update))
            reset = f(layer.clipped(reset + hidden @ of_reset.t() + b_reset))
            if resets_after:
                new = g(layer.clipped(new + reset * (hidden @ of_hidden.t() + b_hidden)))
            else:
                new = g(layer.clipped(new + (reset * hidden) @ of_hidden.t() + b_hidden))
            return ((1 - update) * new + update * hidden,)

        return step

    return layer.by_steps(make, states)


@operator("RNN")
def rnn(call: Call, *inputs: Tensor | None) -> tuple[Tensor, ...]:
    layer = _Layer(call, inputs)
    functions = layer.activations(("tanh",))

    def make(direction: int) -> _Step:
        before, after = layer.b[direction].chunk(2)

        def step(now: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            summed = now @ layer.w[direction].t() + states[0] @ layer.r[direction].t() + before + after
            return (functions[direction](layer.clipped(summed)),)

        return step

    return layer.by_steps(make, (layer.state(layer.h),))


def _torch(function: Any, layer: _Layer, states: Any, weights: list[Tensor]) -> tuple[Tensor, ...]:  # noqa: ANN401 # untyped in torch
    has_biases, layers, dropout, training, batch_first = True, 1, 0.0, False, False
    found: tuple[Tensor, ...] = function(
        layer.x, states, weights, has_biases, layers, dropout, training, layer.directions == 2, batch_first
    )
    return found


def _reordered(tensor: Tensor, order: Sequence[int]) -> Tensor:
    parts = tensor.chunk(len(order))
    return torch.cat([parts[place] for place in order])
