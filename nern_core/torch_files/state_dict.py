"""The state dict within a checkpoint: the weights without the wrappers that training scripts put around them."""

from nern_core.errors import NernError, quoted
from nern_core.tensor_claims import check_name
from nern_core.torch_files.descriptions import StoredTensor, UnreadableTensor

_WRAPPER_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "module")
_DEEPEST_WRAPPER = 8
_HOW_TO = "save the network's state_dict() and send that"


def find_state_dict(root: object) -> dict[str, StoredTensor]:
    """The named tensors, in their order. Everything that is no tensor is left behind.

    Raises `NernError` (`no_tensors`, `unsupported_tensor`).
    """
    if not isinstance(root, dict):
        what = "tensor" if isinstance(root, StoredTensor | UnreadableTensor) else type(root).__name__
        raise NernError("no_tensors", f"The file holds a {what}, not a state dict; {_HOW_TO}.")
    tensors = {}
    for name, value in _unwrapped(root).items():
        if not isinstance(name, str) or not isinstance(value, StoredTensor | UnreadableTensor):
            continue
        check_name(name)
        if isinstance(value, UnreadableTensor):
            raise NernError(
                "unsupported_tensor",
                f"Tensor {quoted(name)} is {value.kind}; save it as an ordinary dense tensor and try again.",
            )
        tensors[name] = value
    if not tensors:
        raise NernError("no_tensors", f"The checkpoint holds no named tensors; {_HOW_TO}.")
    return tensors


def _unwrapped(mapping: dict[object, object]) -> dict[object, object]:
    """Descend through wrappers such as `{"state_dict": ..., "best_prec1": ...}`."""
    for _ in range(_DEEPEST_WRAPPER):
        inner = next((mapping[key] for key in _WRAPPER_KEYS if isinstance(mapping.get(key), dict)), None)
        if not isinstance(inner, dict):
            break
        mapping = inner
    return mapping
