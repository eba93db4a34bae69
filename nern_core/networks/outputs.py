"""Outputs of any network: tensors, tuples, dictionaries and dataclasses, read as named floating-point tensors."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from nern_core.contract.errors import NernError, quoted
from nern_core.networks.detection.heads import Forward, forward_of_heads
from nern_core.networks.model_inputs import ModelInputs
from nern_core.networks.padding import without_padding, zero_padding
from nern_core.networks.segmentation import compared_outputs

# What language models return for their next call, and the loss of given labels, are no answers.
_NO_ANSWERS: Final = ("past_key_values", "cache", "cache_params", "loss")
ONLY: Final = "output"
NAME_OF_LOGITS: Final = "logits"
_AXES_OF_LOGITS: Final = 2


def named_outputs(outputs: object) -> dict[str, Tensor]:
    """Return the floating-point tensors with values, by name: `logits`, `0`, `boxes.1`; a lone tensor is `output`."""
    found = {name: tensor for name, tensor in _tensors(outputs, "") if tensor.is_floating_point() and tensor.numel()}
    return {name or ONLY: tensor for name, tensor in found.items()}


def name_of_logits(outputs: Mapping[str, Tensor]) -> str | None:
    """Return the output that holds logits: that of this name, or a lone one of two axes; None if there is none."""
    named = next(
        (name for name in outputs if name.rpartition(".")[2] == NAME_OF_LOGITS and outputs[name].ndim > 1), None
    )
    if named is None and len(outputs) == 1:
        ((only, tensor),) = outputs.items()
        return only if tensor.ndim == _AXES_OF_LOGITS and tensor.shape[1] > 1 else None
    return named


def _tensors(value: object, name: str) -> list[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        return [(name, value)]
    parts: Sequence[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        parts = list(value.items())
    elif isinstance(value, (list, tuple)):
        names = getattr(value, "_fields", range(len(value)))
        parts = list(zip(names, value, strict=True))
    elif is_dataclass(value):
        parts = [(part.name, getattr(value, part.name)) for part in fields(value)]
    return [
        found
        for key, part in parts
        if str(key) not in _NO_ANSWERS
        for found in _tensors(part, f"{name}.{key}" if name else str(key))
    ]


@contextmanager
def recorded_outputs(network: nn.Module, modules: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Yield a dictionary that gets the outputs of these modules while the context is open; copies, by module and name.

    If a module is called several times, the last outputs count.
    """
    found: dict[str, Tensor] = {}

    def record(name: str, outputs: object) -> None:
        # In-place operations of the network would change them later.
        found.update({_under(name, key): tensor.clone() for key, tensor in named_outputs(outputs).items()})

    handles = [
        network.get_submodule(name).register_forward_hook(lambda _, inputs, outputs, name=name: record(name, outputs))
        for name in modules
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _replaced_forward(network: nn.Module, forward: Forward | None) -> Iterator[None]:
    """Let a network run this function while the context is open; None leaves its own."""
    if forward is None:
        yield
        return
    network.forward = partial(forward, network)
    try:
        yield
    finally:
        del network.forward


def _under(module: str, output: str) -> str:
    return module if output == ONLY else f"{module}.{output}"


@dataclass(frozen=True, slots=True)
class OutputReader:
    """Reads a network's outputs as one tensor that two networks are compared by.

    Without `names`, the network returns logits (n, classes). Outputs of `modules` within the network are read, too.
    With `scales`, which are the root mean squares of the original's outputs, each output is divided by its own, and all
    are joined so that each one counts the same: the mean squared difference of two results is then the mean over the
    outputs of their squared relative errors. Padding of the `inputs` is left out. A network that does not return what
    can be compared runs `forward` in place of its own.
    """

    names: tuple[str, ...] = ()
    scales: tuple[float, ...] = ()
    modules: tuple[str, ...] = ()
    forward: Forward | None = None

    def read(self, network: nn.Module, run: Callable[[], object], inputs: ModelInputs | None = None) -> Tensor:
        """Run the network; return float32: logits (n, classes), or all values of the joined outputs (1, values).

        `inputs` are those of the run. Raises `NernError` (`bad_data`) if the network returns none of the outputs.
        """
        if not self.names:
            logits = run()
            assert isinstance(logits, Tensor)
            return logits.float()
        found = self.named(network, run)
        self.refuse_missing(found)
        if not self.scales:
            return found[self.names[0]].float()
        scales = dict(zip(self.names, self.scales, strict=True))
        values = sum(tensor.numel() for tensor in found.values())
        parts = []
        for name, tensor in found.items():
            padded, compared = zero_padding(name, tensor.float(), inputs)
            parts.append(padded.flatten() * ((values / (len(found) * compared)) ** 0.5 / scales[name]))
        return torch.cat(parts)[None]

    def named(self, network: nn.Module, run: Callable[[], object]) -> dict[str, Tensor]:
        """Run the network; return the outputs that are compared, by name, without those that are missing this time."""
        return self.named_and_own(network, run)[0]

    def refuse_missing(self, found: Mapping[str, Tensor]) -> None:
        """Raise `NernError` (`bad_data`) if a network returned none of the outputs that are compared."""
        if self.names and not found:
            raise NernError(
                "bad_data",
                f"The network does not return its output {quoted(self.names[0])} for all inputs; use inputs that it "
                "returns it for.",
            )

    def named_and_own(
        self, network: nn.Module, run: Callable[[], object]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Run the network; return what `named` does, and all outputs of the network itself."""
        with _replaced_forward(network, self.forward), recorded_outputs(network, self.modules) as of_modules:
            own = named_outputs(run())
        outputs = own | of_modules
        return {name: outputs[name] for name in self.names if name in outputs}, own


LOGITS: Final = OutputReader()


def reader_of(
    network: nn.Module, run: Callable[[], object], wanted: Sequence[str] = (), inputs: ModelInputs | None = None
) -> OutputReader:
    """Run an original; return the reader of its outputs.

    `wanted` are the names of the outputs to compare, or of modules within the network. By default, all outputs are
    compared: of detection networks those of their heads, of segmentation networks those without the auxiliary one.
    `inputs` are those of the run. Raises `NernError`: `no_outputs`, `unknown_output`, and `bad_data` for outputs that
    are not finite.
    """
    modules = {name for name, _ in network.named_modules() if name}
    forward = forward_of_heads(network)
    of_wanted = recorded_outputs(network, [name for name in wanted if name in modules])
    with _replaced_forward(network, forward), of_wanted as of_modules:
        own = named_outputs(run())
    # An output comes before a module of the same name.
    found = of_modules | own
    if not (found if wanted else own):
        raise NernError("no_outputs", "The network returns no floating-point tensor that could be compared.")
    names: list[str] = []
    for name in wanted or [name for name in compared_outputs(network) if name in own]:
        matching = [key for key in found if key == name or (name not in found and key.startswith(f"{name}."))]
        if not matching:
            raise NernError(
                "unknown_output",
                f"The network has no output or module {quoted(name)}; it returns {', '.join(map(quoted, own))}.",
            )
        names += [key for key in matching if key not in names]
    names = names or list(own)
    compared = {name: without_padding(name, found[name], inputs) for name in names}
    for name in names:
        if not compared[name].isfinite().all():
            raise NernError(
                "bad_data",
                f"For the first inputs, the original's {quoted(name)} has values that are not finite; check the inputs "
                "and their scaling.",
            )
    used = tuple(name for name in wanted if name in modules and name not in own)
    if len(names) == 1 and found[names[0]].ndim == _AXES_OF_LOGITS:
        return OutputReader(tuple(names), modules=used, forward=forward)
    return OutputReader(tuple(names), tuple(_scale(compared[name]) for name in names), used, forward)


def _scale(tensor: Tensor) -> float:
    """Return the root mean square; 1 for zeros, and for no values, if all positions are padding."""
    return float(tensor.double().square().mean().sqrt()) or 1.0 if tensor.numel() else 1.0
