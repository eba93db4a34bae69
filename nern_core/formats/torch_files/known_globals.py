"""The globals that a torch pickle may name. They are never looked up: each name stands for a description."""

import re
from collections.abc import Callable
from typing import Final, TypeGuard

from nern_core.formats.tensor_claims import ITEM_BYTES, TORCH_DTYPES, TensorClaim, is_shape
from nern_core.formats.torch_files.descriptions import (
    DescribedDict,
    Global,
    LeftBehind,
    Storage,
    StoredTensor,
    UnreadableTensor,
    extent_of,
)
from nern_core.formats.torch_files.left_behind import may_be_left_behind
from nern_core.formats.torch_files.problems import damaged, executable

# Protocols up to 2 write Python 2's names.
_MODULES_OF_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg", "exceptions": "builtins"}
_NAMES_OF_PYTHON_2 = {
    "builtins.long": "builtins.int",
    "builtins.unicode": "builtins.str",
    "builtins.xrange": "builtins.range",
}

# Dtype and bytes of one item, by the storage's class; None if each tensor specifies its dtype.
_STORAGES: Final[dict[str, tuple[str | None, int]]] = {
    "torch.DoubleStorage": ("F64", 8),
    "torch.FloatStorage": ("F32", 4),
    "torch.HalfStorage": ("F16", 2),
    "torch.BFloat16Storage": ("BF16", 2),
    "torch.LongStorage": ("I64", 8),
    "torch.IntStorage": ("I32", 4),
    "torch.ShortStorage": ("I16", 2),
    "torch.CharStorage": ("I8", 1),
    "torch.ByteStorage": ("U8", 1),
    "torch.BoolStorage": ("BOOL", 1),
    "torch.ComplexFloatStorage": ("C64", 8),
    "torch.ComplexDoubleStorage": ("complex128", 16),
    "torch.QInt8Storage": ("qint8", 1),
    "torch.QUInt8Storage": ("quint8", 1),
    "torch.QInt32Storage": ("qint32", 4),
    "torch.storage.UntypedStorage": (None, 1),
}
_DTYPES: Final = {name: dtype for dtype, name in TORCH_DTYPES.items()}
_OTHER_DTYPES = (
    *("complex32", "complex128", "qint8", "quint8", "qint32"),
    *("float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"),
)
# Calls that make an unsupported tensor, with the kind of tensor.
_UNREADABLE_KINDS: Final = {
    "torch._utils._rebuild_sparse_tensor": "sparse",
    "torch._utils._rebuild_qtensor": "quantized",
    "torch._utils._rebuild_meta_tensor_no_storage": "without data, on the device meta",
    "torch._utils._rebuild_nested_tensor": "nested",
    "torch._utils._rebuild_wrapper_subclass": "of a class of its own",
    "torch._tensor._rebuild_from_type_v2": "of a class of its own",
}
# Values that are never used: calls of these are not evaluated.
_INERT: Final = frozenset(
    {
        *("builtins.set", "builtins.bytearray", "builtins.complex"),
        "collections.Counter",
        *("torch.device", "torch.Size", "torch.serialization._get_layout"),
    }
)
# Names that occur in the arguments of those calls.
_NAMED_ONLY: Final = frozenset(
    {
        *("torch.per_tensor_affine", "torch.per_channel_affine", "torch.Tensor", "torch.nn.parameter.Parameter"),
        *(f"torch.{name}" for name in (*_DTYPES, *_OTHER_DTYPES)),
    }
)
_MOST_ARGUMENTS = 8
_LONGEST_KEY = 64
_LARGEST_NUMBER = 2**62


# The identifier of a storage as written by protocol 0.
_STORAGE_AS_TEXT = re.compile(
    r"\('storage', <class '([\w.]{1,64})'>, '([^']{1,64})', '[^']{0,64}', ([0-9]{1,18})(?:, None)?\)"
)


def global_of(module: str, name: str) -> Global:
    """Return a class or function by its name, with the names of Python 2 translated."""
    found = f"{_MODULES_OF_PYTHON_2.get(module, module)}.{name}"
    return Global(_NAMES_OF_PYTHON_2.get(found, found))


def is_harmless(named: Global) -> bool:
    """Return True if it describes tensors or plain data, or occurs in checkpoints besides their weights."""
    known = any(named.name in names for names in (_CALLS, _INERT, _NAMED_ONLY, _STORAGES))
    return known or may_be_left_behind(named.name)


def is_only_named(function: object) -> bool:
    """Return True for a global that state dicts name but never call."""
    return isinstance(function, Global) and (function.name in _NAMED_ONLY or function.name in _STORAGES)


def is_described(function: object) -> bool:
    """Return True if a call of this describes something that is kept."""
    return isinstance(function, Global) and function.name in _CALLS


def copied_items(arguments: object) -> int:
    """Count the items that a call with these arguments copies: pairs of a Python 2 OrderedDict, characters of bytes."""
    items = arguments[0] if isinstance(arguments, tuple) and arguments else None
    if isinstance(items, str):
        return len(items) // 16
    return 2 * len(items) if isinstance(items, list) else 0


def call(function: object, arguments: object) -> object:
    """Describe the result of a call. Raises `NernError` (`unreadable_checkpoint`)."""
    if not isinstance(function, Global | LeftBehind) or type(arguments) is not tuple:
        raise damaged("its pickle calls something that is not a function")
    if function.name == "torch.Size" and len(arguments) == 1 and type(arguments[0]) is tuple:
        return arguments[0]
    if function.name in _INERT:
        return Global(f"{function.name}()")
    build = _CALLS.get(function.name)
    if isinstance(function, LeftBehind) or build is None:
        return LeftBehind(function.name)
    if len(arguments) > _MOST_ARGUMENTS and build is not _object:
        raise damaged("its pickle calls something that is not a function")
    return build(arguments)


def identified(identifier: object) -> Storage | Global:
    """Describe the object of a persistent id: a storage or, in old files, a class with its module's source.

    A storage is ("storage", class, key, location, items), followed by None in old files. Raises `NernError`
    (`unreadable_checkpoint`).
    """
    match identifier:
        case ("module", Global() as class_, str() | None, str() | None):
            return class_
    return _storage_of(identifier)


def _storage_of(identifier: object) -> Storage:
    if type(identifier) is not tuple or len(identifier) > _MOST_ARGUMENTS:
        raise damaged("it refers to something that is not a storage")
    match identifier:
        case ("storage", Global(name), str(key), str(), int(items), *rest) if rest in ([], [None]):
            if name in _STORAGES and len(key) <= _LONGEST_KEY and 0 <= items < _LARGEST_NUMBER:
                return Storage(key, *_STORAGES[name], items)
    raise damaged("it refers to something that is not a storage")


def storage_of_text(identifier: str) -> Storage:
    """Describe the storage of a persistent id of protocol 0, which is the text of the tuple in other protocols."""
    found = _STORAGE_AS_TEXT.fullmatch(identifier)
    if found is None:
        raise executable("refers to something that is not a storage")
    return _storage_of(("storage", Global(found[1]), found[2], "", int(found[3])))


def _tensor_v2(arguments: tuple[object, ...]) -> object:
    """Describe `(storage, offset, size, stride, requires_grad, hooks[, metadata])`, or the first four in old files."""
    match arguments:
        case (Storage(dtype=str(dtype)) as storage, offset, size, stride, *_):
            if any(arguments[6:]):
                return UnreadableTensor("a conjugate or negated view")
            return _tensor(storage, dtype, offset, size, stride)
    raise damaged("a tensor has no storage")


def _tensor_v3(arguments: tuple[object, ...]) -> object:
    """Describe `(storage, offset, size, stride, requires_grad, hooks, dtype[, metadata])` with an untyped storage."""
    match arguments:
        case (Storage(dtype=None) as storage, offset, size, stride, _, _, Global(name), *rest):
            dtype = name.removeprefix("torch.")
            if any(rest):
                return UnreadableTensor("a conjugate or negated view")
            return _tensor(storage, _DTYPES.get(dtype, dtype), offset, size, stride)
    raise damaged("a tensor has no storage")


def _tensor(storage: Storage, dtype: str, offset: object, size: object, stride: object) -> object:
    """Describe a tensor that lies within its storage."""
    if dtype not in ITEM_BYTES:
        return UnreadableTensor(f"of the dtype {dtype}")
    if not (isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride) and is_shape(size)):
        raise damaged("a tensor has an impossible shape")
    steps = tuple(step for step in stride if _is_count(step))
    if not _is_count(offset) or len(steps) != len(stride):
        raise damaged("a tensor has a negative or impossible offset or stride")
    extent = extent_of(size, steps)
    if extent and offset + extent > storage.length // ITEM_BYTES[dtype]:
        raise damaged(f"a tensor of shape {size} reaches beyond its storage")
    return StoredTensor(TensorClaim(dtype, size), steps, offset, storage)


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < _LARGEST_NUMBER


def _parameter(arguments: tuple[object, ...]) -> object:
    """Describe `(tensor, requires_grad, hooks[, state])`: return the tensor."""
    if not arguments or not isinstance(arguments[0], StoredTensor | UnreadableTensor):
        raise damaged("a parameter has no tensor")
    return arguments[0]


def _ordered_dict(arguments: tuple[object, ...]) -> object:
    """Describe an empty OrderedDict, or that of Python 2, which wrote the items as a list of pairs."""
    if not arguments:
        return DescribedDict()
    items = arguments[0]
    if len(arguments) != 1 or type(items) is not list:
        raise damaged("an OrderedDict has items that are not pairs")
    pairs = [tuple(item) for item in items if type(item) in {list, tuple}]
    if any(len(pair) != 2 or type(pair[0]) is not str for pair in pairs) or len(pairs) != len(items):
        raise damaged("an OrderedDict has items that are not pairs")
    return DescribedDict(pairs)


def _default_dict(arguments: tuple[object, ...]) -> object:
    """Describe an empty dict; its default factory is not needed here."""
    return DescribedDict()


def _bytes(arguments: tuple[object, ...]) -> object:
    """Decode bytes as written by protocol 2, as Latin-1 text."""
    match arguments:
        case (str(text), "latin1") if text.isascii() or max(text) < "\u0100":
            return text.encode("latin1")
    return LeftBehind("_codecs.encode")


def _empty_bytes(arguments: tuple[object, ...]) -> object:
    """Decode empty bytes as written by protocol 2."""
    return LeftBehind("builtins.bytes") if arguments else b""


def _object(arguments: tuple[object, ...]) -> object:
    """Describe an object of protocols 0 and 1, made from a class and the arguments of its `__new__`."""
    match arguments:
        case (Global(name) | LeftBehind(name), *_):
            return LeftBehind(name)
    raise damaged("its pickle makes an object of something that is not a class")


def _unreadable(kind: str) -> Callable[[tuple[object, ...]], object]:
    return lambda arguments: UnreadableTensor(kind)


_CALLS: Final[dict[str, Callable[[tuple[object, ...]], object]]] = {
    "torch._utils._rebuild_tensor": _tensor_v2,
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "collections.OrderedDict": _ordered_dict,
    "collections.defaultdict": _default_dict,
    "_codecs.encode": _bytes,
    "builtins.bytes": _empty_bytes,
    "copyreg._reconstructor": _object,
    "copyreg.__newobj__": _object,
    **{name: _unreadable(kind) for name, kind in _UNREADABLE_KINDS.items()},
}
