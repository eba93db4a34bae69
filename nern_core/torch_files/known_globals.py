"""The globals that a pickle of torch may name. None of them is ever looked up: a name stands for what it describes."""

import re
from collections.abc import Callable
from typing import Final, TypeGuard

from nern_core.tensor_claims import ITEM_BYTES, TensorClaim, is_shape
from nern_core.torch_files.descriptions import (
    DescribedDict,
    Global,
    LeftBehind,
    Storage,
    StoredTensor,
    UnreadableTensor,
    extent_of,
)
from nern_core.torch_files.left_behind import may_be_left_behind
from nern_core.torch_files.problems import damaged, executable

# Protocols up to 2 write the names that Python 2 had.
_MODULES_OF_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg", "exceptions": "builtins"}
_NAMES_OF_PYTHON_2 = {
    "builtins.long": "builtins.int",
    "builtins.unicode": "builtins.str",
    "builtins.xrange": "builtins.range",
}

# Dtype and bytes of one item, by the storage's class; None where each tensor tells its dtype.
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
_DTYPES: Final = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "complex64": "C64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}
_OTHER_DTYPES = (
    *("complex32", "complex128", "qint8", "quint8", "qint32"),
    *("float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"),
)
# Calls that make a tensor that is not read, and what kind of tensor it is.
_UNREADABLE_KINDS: Final = {
    "torch._utils._rebuild_sparse_tensor": "sparse",
    "torch._utils._rebuild_qtensor": "quantized",
    "torch._utils._rebuild_meta_tensor_no_storage": "without data, on the device meta",
    "torch._utils._rebuild_nested_tensor": "nested",
    "torch._utils._rebuild_wrapper_subclass": "of a class of its own",
    "torch._tensor._rebuild_from_type_v2": "of a class of its own",
}
# Values that are never used: what a call of one of these makes is left undone.
_INERT: Final = frozenset(
    {
        *("builtins.set", "builtins.bytearray", "builtins.complex"),
        "collections.Counter",
        *("torch.device", "torch.Size", "torch.serialization._get_layout"),
    }
)
# What is named within the arguments of those calls.
_NAMED_ONLY: Final = frozenset(
    {
        *("torch.per_tensor_affine", "torch.per_channel_affine", "torch.Tensor", "torch.nn.parameter.Parameter"),
        *(f"torch.{name}" for name in (*_DTYPES, *_OTHER_DTYPES)),
    }
)
_MOST_ARGUMENTS = 8
_LONGEST_KEY = 64
_LARGEST_NUMBER = 2**62


# How protocol 0 writes the identifier of a storage.
_STORAGE_AS_TEXT = re.compile(
    r"\('storage', <class '([\w.]{1,64})'>, '([^']{1,64})', '[^']{0,64}', ([0-9]{1,18})(?:, None)?\)"
)


def global_of(module: str, name: str) -> Global:
    """A class or function by its name, with the names of Python 2 translated."""
    found = f"{_MODULES_OF_PYTHON_2.get(module, module)}.{name}"
    return Global(_NAMES_OF_PYTHON_2.get(found, found))


def is_harmless(named: Global) -> bool:
    """Whether it describes tensors or plain data, or is of what checkpoints hold beside their weights."""
    known = any(named.name in names for names in (_CALLS, _INERT, _NAMED_ONLY, _STORAGES))
    return known or may_be_left_behind(named.name)


def is_only_named(function: object) -> bool:
    """Whether this is a global that state dicts name and never call."""
    return isinstance(function, Global) and (function.name in _NAMED_ONLY or function.name in _STORAGES)


def is_described(function: object) -> bool:
    """Whether a call of this describes something that is kept."""
    return isinstance(function, Global) and function.name in _CALLS


def copied_items(arguments: object) -> int:
    """How many items a call with these arguments copies: pairs of an OrderedDict of Python 2, characters of bytes."""
    items = arguments[0] if isinstance(arguments, tuple) and arguments else None
    if isinstance(items, str):
        return len(items) // 16
    return 2 * len(items) if isinstance(items, list) else 0


def call(function: object, arguments: object) -> object:
    """What a call describes. Raises `NernError` (`unreadable_checkpoint`)."""
    if not isinstance(function, Global | LeftBehind) or type(arguments) is not tuple:
        raise damaged("its pickle calls what is no function")
    if function.name == "torch.Size" and len(arguments) == 1 and type(arguments[0]) is tuple:
        return arguments[0]
    if function.name in _INERT:
        return Global(f"{function.name}()")
    build = _CALLS.get(function.name)
    if isinstance(function, LeftBehind) or build is None:
        return LeftBehind(function.name)
    if len(arguments) > _MOST_ARGUMENTS and build is not _object:
        raise damaged("its pickle calls what is no function")
    return build(arguments)


def identified(identifier: object) -> Storage | Global:
    """Describe what a persistent id names: a storage or, in old files, a class with the source of its module.

    A storage is ("storage", class, key, location, items), followed by None in old files. Raises `NernError`
    (`unreadable_checkpoint`).
    """
    match identifier:
        case ("module", Global() as class_, str() | None, str() | None):
            return class_
    return _storage_of(identifier)


def _storage_of(identifier: object) -> Storage:
    if type(identifier) is not tuple or len(identifier) > _MOST_ARGUMENTS:
        raise damaged("it refers to something else than a storage")
    match identifier:
        case ("storage", Global(name), str(key), str(), int(items), *rest) if rest in ([], [None]):
            if name in _STORAGES and len(key) <= _LONGEST_KEY and 0 <= items < _LARGEST_NUMBER:
                return Storage(key, *_STORAGES[name], items)
    raise damaged("it refers to something else than a storage")


def storage_of_text(identifier: str) -> Storage:
    """The storage that a persistent id of protocol 0 names, which is the text of the tuple that others have."""
    found = _STORAGE_AS_TEXT.fullmatch(identifier)
    if found is None:
        raise executable("refers to something else than a storage")
    return _storage_of(("storage", Global(found[1]), found[2], "", int(found[3])))


def _tensor_v2(arguments: tuple[object, ...]) -> object:
    """Describe `(storage, offset, size, stride, requires_grad, hooks[, metadata])`, or the first four of old files."""
    match arguments:
        case (Storage(dtype=str(dtype)) as storage, offset, size, stride, *_):
            if any(arguments[6:]):
                return UnreadableTensor("a conjugate or negated view")
            return _tensor(storage, dtype, offset, size, stride)
    raise damaged("a tensor has no storage")


def _tensor_v3(arguments: tuple[object, ...]) -> object:
    """Describe `(storage, offset, size, stride, requires_grad, hooks, dtype[, metadata])` of a storage of bytes."""
    match arguments:
        case (Storage(dtype=None) as storage, offset, size, stride, _, _, Global(name), *rest):
            dtype = name.removeprefix("torch.")
            if any(rest):
                return UnreadableTensor("a conjugate or negated view")
            return _tensor(storage, _DTYPES.get(dtype, dtype), offset, size, stride)
    raise damaged("a tensor has no storage")


def _tensor(storage: Storage, dtype: str, offset: object, size: object, stride: object) -> object:
    """A tensor that lies within its storage."""
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
    """Describe `(tensor, requires_grad, hooks[, state])`: the tensor."""
    if not arguments or not isinstance(arguments[0], StoredTensor | UnreadableTensor):
        raise damaged("a parameter has no tensor")
    return arguments[0]


def _ordered_dict(arguments: tuple[object, ...]) -> object:
    """An empty one; Python 2 wrote the items as a list of pairs."""
    if not arguments:
        return DescribedDict()
    items = arguments[0]
    if len(arguments) != 1 or type(items) is not list:
        raise damaged("an OrderedDict has other items than pairs")
    pairs = [tuple(item) for item in items if type(item) in {list, tuple}]
    if any(len(pair) != 2 or type(pair[0]) is not str for pair in pairs) or len(pairs) != len(items):
        raise damaged("an OrderedDict has other items than pairs")
    return DescribedDict(pairs)


def _default_dict(arguments: tuple[object, ...]) -> object:
    """An empty one: what makes its values is of no use here."""
    return DescribedDict()


def _bytes(arguments: tuple[object, ...]) -> object:
    """Bytes as protocol 2 writes them, a text in Latin-1."""
    match arguments:
        case (str(text), "latin1") if text.isascii() or max(text) < "\u0100":
            return text.encode("latin1")
    return LeftBehind("_codecs.encode")


def _empty_bytes(arguments: tuple[object, ...]) -> object:
    """Bytes without a value, as protocol 2 writes them."""
    return LeftBehind("builtins.bytes") if arguments else b""


def _object(arguments: tuple[object, ...]) -> object:
    """What protocols 0 and 1 make of a class and the arguments of its `__new__`."""
    match arguments:
        case (Global(name) | LeftBehind(name), *_):
            return LeftBehind(name)
    raise damaged("its pickle makes an object of what is no class")


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
