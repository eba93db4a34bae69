"""The stack machine of pickles: it makes plain containers and descriptions, and imports and calls nothing.

All memory is counted against a budget first, so that no file can make the process large or busy.
"""

from typing import Final

from nern_core.contract.errors import NernError
from nern_core.formats.torch_files import known_globals
from nern_core.formats.torch_files.descriptions import (
    DescribedDict,
    Global,
    LeftBehind,
    Storage,
    StoredTensor,
    UnreadableTensor,
)
from nern_core.formats.torch_files.problems import damaged, quoted, unsupported_format

MOST_TENSORS: Final = 20_000
_LARGEST_MEMORY = 2**25
# About the bytes that Python needs for each.
VALUE: Final = 64
_SLOT, _ENTRY, _MAPPING, _DESCRIPTION = 8, 100, 240, 256
_KEYS = (str, int, float, bool, type(None))
_MOST_KEY_BITS = 64
_DEEPEST_KEY = 4


class PickleMachine:
    """Stack and memo for one pickle after another; `storages` holds all named storages, by key.

    `refusal` describes, as the predicate of a sentence about the file, code that loading would run. Methods raise
    `NernError` for anything that does not describe values, objects and tensors.
    """

    def __init__(self) -> None:
        self.storages: dict[str, Storage] = {}
        self.refusal: str | None = None
        self._tensors = 0
        self._memory = 0
        self.start()

    def start(self) -> None:
        """Clear the stack and the memo, because every pickle has its own."""
        self._stack: list[object] = []
        self._marks: list[int] = []
        self._memo: dict[int, object] = {}

    def push(self, value: object, memory: int = 0) -> None:
        """Push a value that takes `memory` bytes itself."""
        self._spend(_SLOT + memory)
        self._stack.append(value)

    def pop(self) -> object:
        """Pop the last value since the last mark."""
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise damaged("its pickle pops values from an empty stack")
        return self._stack.pop()

    def drop(self) -> None:
        """Drop the top of the stack: a value or a mark."""
        if self._marks and len(self._stack) == self._marks[-1]:
            self._marks.pop()
        else:
            self.pop()

    def pop_several(self, count: int) -> list[object]:
        """Pop `count` values, in the order in which they were pushed."""
        return [self.pop() for _ in range(count)][::-1]

    def mark(self) -> None:
        """Mark the current end of the stack."""
        self._spend(_SLOT)
        self._marks.append(len(self._stack))

    def pop_to_mark(self) -> list[object]:
        """Pop all values since the last mark, and the mark."""
        if not self._marks:
            raise damaged("its pickle pops values from an empty stack")
        start = self._marks.pop()
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def remember(self, index: int | None = None) -> None:
        """Store the top value in the memo, at its end by default."""
        self._spend(_ENTRY)
        self._memo[len(self._memo) if index is None else index] = self._top()

    def recall(self, index: int) -> None:
        """Push a value of the memo."""
        if index not in self._memo:
            raise damaged("its pickle repeats a value that is not in its memo")
        self.push(self._memo[index])

    def push_tuple(self, values: list[object]) -> None:
        """Push a tuple of popped values."""
        self.push(tuple(values), VALUE + _SLOT * len(values))

    def push_list(self) -> None:
        """Push an empty list. Also used for sets, because their contents are not needed."""
        self.push([], VALUE)

    def push_dict(self) -> None:
        """Push an empty dict."""
        self.push({}, _MAPPING)

    def push_list_of_marked(self) -> None:
        """Push a list of the values since the last mark."""
        values = self.pop_to_mark()
        self.push(values, VALUE + 2 * _SLOT * len(values))

    def push_frozen_set_of_marked(self) -> None:
        """Pop the values since the last mark and push a placeholder for their frozenset."""
        self.pop_to_mark()
        self.push(LeftBehind("builtins.frozenset"), _DESCRIPTION)

    def push_dict_of_marked(self) -> None:
        """Push a dict of the keys and values since the last mark."""
        values = self.pop_to_mark()
        self.push_dict()
        self.set_items(values)

    def repeat(self) -> None:
        """Push the top value again."""
        self.push(self._top())

    def append(self, values: list[object]) -> None:
        """Append to the list on top."""
        target = self._top()
        if isinstance(target, LeftBehind):
            return
        if type(target) is not list:
            raise damaged("its pickle appends to something that is not a list")
        self._spend(2 * _SLOT * (len(values) + 4))
        target.extend(values)

    def set_items(self, values: list[object]) -> None:
        """Set items of the dict on top: a key, its value, a key, its value."""
        target = self._top()
        if len(values) % 2 or not isinstance(target, dict | LeftBehind):
            raise damaged("its pickle sets items of something that is not a dict")
        if isinstance(target, LeftBehind):
            return
        self._spend(_ENTRY * (len(values) // 2))
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not self._is_small_key(key):
                raise unsupported_format(f"has a dict with a {type(key).__name__} as a key")
            # Hashing a tuple would descend into it; values under tuples are never looked up.
            target[key if type(key) in _KEYS else object()] = value

    def build(self) -> None:
        """Keep the attributes of a dict, such as the `_metadata` of a state dict; drop the state of other objects."""
        state, target = self.pop(), self._top()
        if isinstance(target, LeftBehind):
            return
        if type(target) is not DescribedDict or not isinstance(state, dict):
            self.refuse("sets the state of something that is not a dict")
        else:
            target.attributes = state

    def refuse(self, predicate: str) -> None:
        """Record the reason for refusing the file, which happens after all of it is described."""
        self.refusal = self.refusal or predicate

    def push_global(self, module: str, name: str) -> None:
        """Push a global by its name."""
        named = known_globals.global_of(module, name)
        if not known_globals.is_harmless(named):
            self.refuse(f"needs {quoted(named.name)} to be loaded")
        self.push(named, 2 * VALUE + len(module) + len(name))

    def push_global_of_names(self) -> None:
        """Push a global named by the two strings on top."""
        module, name = self.pop_several(2)
        if type(name) is not str or type(module) is not str:
            raise damaged("its pickle has a global without a name")
        self.push_global(module, name)

    def call(self) -> None:
        """Push the description of a call's result."""
        function, arguments = self.pop_several(2)
        if known_globals.is_only_named(function):
            self.refuse(f"calls {quoted(getattr(function, 'name', ''))}")
        self._spend(_DESCRIPTION + _ENTRY * known_globals.copied_items(arguments))
        described = known_globals.call(function, arguments)
        if isinstance(described, StoredTensor | UnreadableTensor):
            self._tensors += 1
            if self._tensors > MOST_TENSORS:
                raise too_much()
        self.push(described)

    def create(self, class_: object, *arguments: object) -> None:
        """Push a placeholder for an object that its class would make from these arguments."""
        if not isinstance(class_, Global | LeftBehind) or any(type(given) not in {tuple, dict} for given in arguments):
            raise damaged("its pickle makes an object of something that is not a class")
        if known_globals.is_described(class_) or known_globals.is_only_named(class_):
            self.refuse(f"makes {quoted(class_.name)} in a way that torch.save never does")
        self.push(LeftBehind(class_.name), _DESCRIPTION)

    def create_named(self, module: str, name: str) -> None:
        """Do the same with the values since the last mark as arguments."""
        arguments = tuple(self.pop_to_mark())
        self.push_global(module, name)
        self.create(self.pop(), arguments)

    def create_of_marked(self) -> None:
        """Do the same with the values since the last mark: the class, and its arguments."""
        class_, *arguments = self.pop_to_mark() or [None]
        self.create(class_, tuple(arguments))

    def push_identified(self, found: Storage | Global) -> None:
        """Push the object of a persistent id."""
        if isinstance(found, Storage) and self.storages.setdefault(found.key, found) != found:
            raise damaged(f"it has two storages {quoted(found.key)}")
        self.push(found, _DESCRIPTION)

    def _top(self) -> object:
        value = self.pop()
        self._stack.append(value)
        return value

    def _is_small_key(self, key: object, depth: int = 0) -> bool:
        """Return True for a small key, because integers of any size can be chosen to collide, and tuples nest."""
        if isinstance(key, tuple):
            self._spend(_SLOT * len(key))
            return depth < _DEEPEST_KEY and all(self._is_small_key(part, depth + 1) for part in key)
        if isinstance(key, Global | LeftBehind | bytes):
            return True
        return type(key) in _KEYS and not (type(key) is int and key.bit_length() > _MOST_KEY_BITS)

    def _spend(self, memory: int) -> None:
        self._memory += memory
        if self._memory > _LARGEST_MEMORY:
            raise too_much()


def too_much() -> NernError:
    """Make the error for a pickle that is far too large for a network."""
    return unsupported_format(f"describes more than {MOST_TENSORS:,} tensors, or too many other values")
