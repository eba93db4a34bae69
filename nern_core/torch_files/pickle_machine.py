"""The stack machine that pickles run on: it makes plain containers and descriptions, and imports and calls nothing.

Everything that it makes is counted against a budget first, so that no file can make the process large or busy.
"""

from typing import Final

from nern_core.errors import NernError
from nern_core.torch_files import known_globals
from nern_core.torch_files.descriptions import (
    DescribedDict,
    Global,
    LeftBehind,
    Storage,
    StoredTensor,
    UnreadableTensor,
)
from nern_core.torch_files.problems import damaged, quoted, unsupported_format

MOST_TENSORS: Final = 20_000
_LARGEST_MEMORY = 2**25
# About the bytes that Python takes for each.
VALUE: Final = 64
_SLOT, _ENTRY, _MAPPING, _DESCRIPTION = 8, 100, 240, 256
_KEYS = (str, int, float, bool, type(None))
_MOST_KEY_BITS = 64
_DEEPEST_KEY = 4


class PickleMachine:
    """Stack and memo of one pickle after another; `storages` are all that they name, by key.

    `refusal` says, as the predicate of a sentence about the file, what would run a program if it were loaded. Methods
    raise `NernError` for what does not describe values, objects and tensors.
    """

    def __init__(self) -> None:
        self.storages: dict[str, Storage] = {}
        self.refusal: str | None = None
        self._tensors = 0
        self._memory = 0
        self.start()

    def start(self) -> None:
        """Forget the stack and the memo, as every pickle has its own."""
        self._stack: list[object] = []
        self._marks: list[int] = []
        self._memo: dict[int, object] = {}

    def push(self, value: object, memory: int = 0) -> None:
        """Put a value on the stack that takes so many bytes itself."""
        self._spend(_SLOT + memory)
        self._stack.append(value)

    def pop(self) -> object:
        """Take the last value since the last mark."""
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise damaged("its pickle takes values that it does not have")
        return self._stack.pop()

    def drop(self) -> None:
        """Forget what is on top: a value or a mark."""
        if self._marks and len(self._stack) == self._marks[-1]:
            self._marks.pop()
        else:
            self.pop()

    def pop_several(self, count: int) -> list[object]:
        """Take so many values, in the order in which they were put there."""
        return [self.pop() for _ in range(count)][::-1]

    def mark(self) -> None:
        """Remember where the stack ends."""
        self._spend(_SLOT)
        self._marks.append(len(self._stack))

    def pop_to_mark(self) -> list[object]:
        """Take all values since the last mark, and the mark."""
        if not self._marks:
            raise damaged("its pickle takes values that it does not have")
        start = self._marks.pop()
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def remember(self, index: int | None = None) -> None:
        """Keep the value on top in the memo, at its end by default."""
        self._spend(_ENTRY)
        self._memo[len(self._memo) if index is None else index] = self._top()

    def recall(self, index: int) -> None:
        """Put a value of the memo on the stack."""
        if index not in self._memo:
            raise damaged("its pickle repeats a value that it does not have")
        self.push(self._memo[index])

    def push_tuple(self, values: list[object]) -> None:
        """Make a tuple of values that were taken."""
        self.push(tuple(values), VALUE + _SLOT * len(values))

    def push_list(self) -> None:
        """Make an empty list. A set is one too: nothing of it is used."""
        self.push([], VALUE)

    def push_dict(self) -> None:
        """Make an empty dict."""
        self.push({}, _MAPPING)

    def push_list_of_marked(self) -> None:
        """Make a list of the values since the last mark."""
        values = self.pop_to_mark()
        self.push(values, VALUE + 2 * _SLOT * len(values))

    def push_frozen_set_of_marked(self) -> None:
        """Leave a set of the values since the last mark behind."""
        self.pop_to_mark()
        self.push(LeftBehind("builtins.frozenset"), _DESCRIPTION)

    def push_dict_of_marked(self) -> None:
        """Make a dict of the keys and values since the last mark."""
        values = self.pop_to_mark()
        self.push_dict()
        self.set_items(values)

    def repeat(self) -> None:
        """Put the value on top there again."""
        self.push(self._top())

    def append(self, values: list[object]) -> None:
        """Append to the list on top."""
        target = self._top()
        if isinstance(target, LeftBehind):
            return
        if type(target) is not list:
            raise damaged("its pickle appends to what is no list")
        self._spend(2 * _SLOT * (len(values) + 4))
        target.extend(values)

    def set_items(self, values: list[object]) -> None:
        """Set items of the dict on top: a key, its value, a key, its value."""
        target = self._top()
        if len(values) % 2 or not isinstance(target, dict | LeftBehind):
            raise damaged("its pickle sets items of what is no dict")
        if isinstance(target, LeftBehind):
            return
        self._spend(_ENTRY * (len(values) // 2))
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not self._is_small_key(key):
                raise unsupported_format(f"has a dict with a {type(key).__name__} as a key")
            # Hashing a tuple descends into it; nobody looks for anything under one.
            target[key if type(key) in _KEYS else object()] = value

    def build(self) -> None:
        """Keep the attributes of a dict, such as the `_metadata` of a state dict; leave the state of objects behind."""
        state, target = self.pop(), self._top()
        if isinstance(target, LeftBehind):
            return
        if type(target) is not DescribedDict or not isinstance(state, dict):
            self.refuse("sets the state of something else than a dict")
        else:
            target.attributes = state

    def refuse(self, predicate: str) -> None:
        """Remember why the file has to be refused, once all of it is described."""
        self.refusal = self.refusal or predicate

    def push_global(self, module: str, name: str) -> None:
        """Put a name on the stack."""
        named = known_globals.global_of(module, name)
        if not known_globals.is_harmless(named):
            self.refuse(f"needs {quoted(named.name)} to be loaded")
        self.push(named, 2 * VALUE + len(module) + len(name))

    def push_global_of_names(self) -> None:
        """Put a name on the stack that is made of the two strings on top."""
        module, name = self.pop_several(2)
        if type(name) is not str or type(module) is not str:
            raise damaged("its pickle has a global without a name")
        self.push_global(module, name)

    def call(self) -> None:
        """Put on the stack what a call describes."""
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
        """Put on the stack what is left behind of an object whose class makes it of these arguments."""
        if not isinstance(class_, Global | LeftBehind) or any(type(given) not in {tuple, dict} for given in arguments):
            raise damaged("its pickle makes an object of what is no class")
        if known_globals.is_described(class_) or known_globals.is_only_named(class_):
            self.refuse(f"makes {quoted(class_.name)} as torch.save never does")
        self.push(LeftBehind(class_.name), _DESCRIPTION)

    def create_named(self, module: str, name: str) -> None:
        """The same of the values since the last mark, which are the arguments."""
        arguments = tuple(self.pop_to_mark())
        self.push_global(module, name)
        self.create(self.pop(), arguments)

    def create_of_marked(self) -> None:
        """The same of the values since the last mark: the class, and its arguments."""
        class_, *arguments = self.pop_to_mark() or [None]
        self.create(class_, tuple(arguments))

    def push_identified(self, found: Storage | Global) -> None:
        """Put on the stack what a persistent id names."""
        if isinstance(found, Storage) and self.storages.setdefault(found.key, found) != found:
            raise damaged(f"it has two storages {quoted(found.key)}")
        self.push(found, _DESCRIPTION)

    def _top(self) -> object:
        value = self.pop()
        self._stack.append(value)
        return value

    def _is_small_key(self, key: object, depth: int = 0) -> bool:
        """Tell whether a key is small: integers of any size can be chosen to collide, and tuples nest."""
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
    """The error for a pickle that is out of all proportion to a network."""
    return unsupported_format(f"describes more than {MOST_TENSORS:,} tensors, or more of other things than is read")
