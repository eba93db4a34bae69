"""The state dict within a checkpoint: the weights without the wrappers of training scripts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from nern_core.contract.errors import NernError, quoted
from nern_core.formats.plain_values import NotPlainError, PlainValuesWriter
from nern_core.formats.tensor_claims import LONGEST_NAME, check_name
from nern_core.formats.torch_files.descriptions import DescribedDict, StoredTensor, UnreadableTensor
from nern_core.formats.torch_files.problems import LOADED, executable
from nern_core.formats.torch_files.weights_key import Weights, find_weights, module_key, weights_expression

_EXTRA_STATE = "_extra_state"
_METADATA = "_metadata"
_HOW_TO = "save the network's state_dict() and use that"


@dataclass(frozen=True, slots=True)
class StateDict:
    """The named tensors in their order, and the other inputs of `load_state_dict`.

    `metadata` are the versions of the network's modules; `extra_states` are values saved by modules themselves, by the
    names of their entries. Both are written as in `plain_values`. `notes` are sentences about decisions.
    """

    tensors: dict[str, StoredTensor]
    metadata: dict[str, JsonValue] | None
    extra_states: dict[str, JsonValue]
    notes: tuple[str, ...]


def find_state_dict(root: object, key: str | None = None) -> StateDict:
    """Find the weights, or those under `key` if given. Other objects are left behind.

    Raises `NernError` (`ambiguous_checkpoint`, `executable_checkpoint`, `no_tensors`, `unknown_weights`,
    `unsupported_tensor`).
    """
    if not isinstance(root, dict):
        what = "tensor" if isinstance(root, StoredTensor | UnreadableTensor) else type(root).__name__
        raise NernError("no_tensors", f"The file holds a {what}, not a state dict; {_HOW_TO}.")
    weights = find_weights(root, key)
    tensors: dict[str, StoredTensor] = {}
    extra_states: dict[str, JsonValue] = {}
    left_behind: list[str] = []
    writer = PlainValuesWriter()
    for name, value in _named(weights):
        if isinstance(value, StoredTensor | UnreadableTensor):
            check_name(name)
            tensors[name] = _readable(name, value)
        elif name.rpartition(".")[2] == _EXTRA_STATE:
            check_name(name)
            try:
                extra_states[name] = writer.write(value)
            except NotPlainError:
                left_behind.append(name)
    if not tensors:
        if module_key(root) is not None:
            raise executable("holds a whole object in place of weights", weights_expression(root, LOADED))
        raise NernError("no_tensors", f"The checkpoint holds no named tensors; {_HOW_TO}.")
    notes = [*weights.notes]
    if left_behind:
        notes.append(f"The extra state {quoted(left_behind[0])} holds values that are not plain data and is left out.")
    return StateDict(tensors, _metadata(weights.mapping, writer), extra_states, tuple(notes))


def _named(weights: Weights) -> Iterator[tuple[str, object]]:
    for name, value in weights.mapping.items():
        if isinstance(name, str) and name.startswith(weights.prefix):
            yield name, value


def _readable(name: str, tensor: StoredTensor | UnreadableTensor) -> StoredTensor:
    if isinstance(tensor, UnreadableTensor):
        raise NernError(
            "unsupported_tensor",
            f"Tensor {quoted(name)} is {tensor.kind}; save it as an ordinary dense tensor and try again.",
        )
    return tensor


def _metadata(mapping: Mapping[object, object], writer: PlainValuesWriter) -> dict[str, JsonValue] | None:
    """Find the versions of modules, by the modules' names; None if they are missing or not plain values."""
    attributes = mapping.attributes if isinstance(mapping, DescribedDict) else None
    found = (attributes or {}).get(_METADATA)
    if not isinstance(found, dict):
        return None
    versions: dict[str, JsonValue] = {}
    for module, version in found.items():
        if not isinstance(module, str) or len(module) > LONGEST_NAME:
            return None
        try:
            versions[module] = writer.write(version)
        except NotPlainError:
            return None
    return versions
