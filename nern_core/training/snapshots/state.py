"""The state of a part of training as a file: numbers, names and tensors in dictionaries, lists and tuples.

The file is a safetensors file, so that reading it executes nothing. States are read back exactly: JSON keeps every
digit of a float.
"""

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

# None, bool, int, float, str, Tensor, and dictionaries (of int or str), lists and tuples of these.
State = Any

_STRUCTURE = "structure"


class UnreadableStateError(Exception):
    """The file does not hold a state."""


def write_state(state: State, path: Path) -> None:
    """Write a state. Tensors are copied to contiguous CPU memory first."""
    tensors: list[Tensor] = []
    structure = json.dumps(_described(state, tensors))
    named = {str(index): tensor.detach().cpu().contiguous().clone() for index, tensor in enumerate(tensors)}
    safetensors.torch.save_file(named, path, {_STRUCTURE: structure})


def read_state(path: Path) -> State:
    """Read a state, its tensors on the CPU. Raises `UnreadableStateError`."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            structure = json.loads(file.metadata()[_STRUCTURE])
            tensors = [file.get_tensor(str(index)) for index in range(len(file.keys()))]
        return _rebuilt(structure, tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, IndexError) as error:
        raise UnreadableStateError(str(error)) from error


def _described(state: State, tensors: list[Tensor]) -> Any:  # noqa: ANN401 # any JSON value
    """Convert the state to JSON; append every tensor to `tensors` and replace it by its index there."""
    match state:
        case torch.Tensor():
            tensors.append(state)
            return {"tensor": len(tensors) - 1}
        case dict():
            return {"dict": [[key, _described(value, tensors)] for key, value in state.items()]}
        case list():
            return {"list": [_described(value, tensors) for value in state]}
        case tuple():
            return {"tuple": [_described(value, tensors) for value in state]}
        case None | bool() | int() | float() | str():
            return state
        case _:
            raise TypeError(f"a state cannot hold a {type(state).__name__}")


def _rebuilt(described: Any, tensors: list[Tensor]) -> State:  # noqa: ANN401 # any JSON value
    match described:
        case {"tensor": index}:
            return tensors[index]
        case {"dict": items}:
            return {key: _rebuilt(value, tensors) for key, value in items}
        case {"list": values}:
            return [_rebuilt(value, tensors) for value in values]
        case {"tuple": values}:
            return tuple(_rebuilt(value, tensors) for value in values)
        case _:
            return described
