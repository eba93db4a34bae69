"""The classes and functions that a file may name in addition to its weights.

They are never looked up or called, whatever their names: their objects are described by the name and left behind. The
lists only separate configurations and states of a training, which are skipped, from files that ask to run code, which
are refused. The standard library, numpy and torch can run anything, so only the names of plain data are accepted from
them.
"""

import re
import sys
from typing import Final

_BUILTINS = (
    *("Ellipsis", "NotImplemented", "bool", "complex", "dict", "float", "frozenset", "int", "list", "object"),
    *("range", "slice", "str", "tuple", "type"),
)
_STANDARD_LIBRARY: Final = frozenset(
    {
        *(f"builtins.{name}" for name in _BUILTINS),
        *("argparse.Namespace", "types.SimpleNamespace"),
        *("array.array", "array._array_reconstructor", "io.BytesIO", "io.StringIO"),
        *("collections.ChainMap", "collections.UserDict", "collections.UserList", "collections.deque"),
        *(f"datetime.{name}" for name in ("date", "datetime", "time", "timedelta", "timezone")),
        *("decimal.Decimal", "fractions.Fraction", "functools.partial", "logging.getLogger", "random.Random"),
        *("re._compile", "uuid.SafeUUID", "uuid.UUID", "zoneinfo.ZoneInfo", "zoneinfo.ZoneInfo._unpickle"),
    }
)
_PATHS = re.compile(r"pathlib\.(?:_local\.)?(?:Pure)?(?:Posix|Windows)?Path")
_NUMPY = re.compile(
    r"numpy\.(?:_?core\.(?:multiarray\.(?:scalar|_reconstruct)|numeric\._frombuffer)|ndarray|dtype|dtypes\.\w+"
    r"|random\.\w+(?:\.\w+)?"
    r"|bool_?|str_?|bytes_|void|longlong|ulonglong|longdouble|clongdouble|(?:u?int|float|complex)\d+|u?intp|u?intc"
    r"|datetime64|timedelta64)"
)
_TORCH = ("torch.nn.", "torch.optim.", "torch.amp.", "torch.cuda.amp.", "torch.utils.data.")
_TYPING = "typing."


def may_be_left_behind(name: str) -> bool:
    """Return True for a dotted name of a class or function that checkpoints hold besides their weights."""
    if not all(part.isidentifier() for part in name.split(".")):
        return False
    package = name.partition(".")[0]
    if package == "torch":
        return name.startswith(_TORCH)
    if package == "numpy":
        return _NUMPY.fullmatch(name) is not None
    if package in sys.stdlib_module_names:
        return name in _STANDARD_LIBRARY or name.startswith(_TYPING) or _PATHS.fullmatch(name) is not None
    return True
