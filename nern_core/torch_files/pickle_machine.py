"""The stack machine that pickles run on, for those of state dicts: plain containers and descriptions, nothing called.

Everything that it makes is counted against a budget first, so that no file can make the process large or busy.
"""

from collections import OrderedDict
from typing import Final

from nern_core.errors import NernError
from nern_core.torch_files import known_globals
from nern_core.torch_files.descriptions import Storage, StoredTensor, UnreadableTensor
from nern_core.torch_files.problems import damaged, executable, quoted, unsupported_format

MOST_TENSORS: Final = 20_000
_LARGEST_MEMORY = 2**25
# About the bytes that Python takes for each.
VALUE: Final = 64
_SLOT, _ENTRY, _MAPPING, _DESCRIPTION = 8, 100, 240, 256
_KEYS = (str, int, float, bool, type(None))
_MOST_KEY_BITS = 64


class PickleMachine:
    """Stack and memo of one pickle after another; `storages` are all that they name, by key.

    Its methods raise `NernError` for what does not describe plain values and tensors.
    """

    def __init__(self) -> None:
        self.storages: dict[str, Storage] = {}
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

    def append(self, values: list[object]) -> None:
        """Append to the list on top."""
        target = self._top()
        if type(target) is not list:
            raise damaged("its pickle appends to what is no list")
        self._spend(2 * _SLOT * (len(values) + 4))
        target.extend(values)

    def set_items(self, values: list[object]) -> None:
        """Set items of the dict on top: a key, its value, a key, its value."""
        target = self._top()
        if not isinstance(target, dict) or len(values) % 2:
            raise damaged("its pickle sets items of what is no dict")
        self._spend(_ENTRY * (len(values) // 2))
        for key, value in zip(values[::2], values[1::2], strict=True):
            # Hashing a tuple descends into it without end; integers of any size can be chosen to collide.
            if type(key) not in _KEYS or (type(key) is int and key.bit_length() > _MOST_KEY_BITS):
                raise unsupported_format(f"has a dict with a {type(key).__name__} as a key")
            target[key] = value

    def build(self) -> None:
        """Leave attributes behind, such as the `_metadata` of a state dict."""
        state, target = self.pop(), self._top()
        if type(target) is not OrderedDict or type(state) not in {dict, OrderedDict}:
            raise executable("sets the state of something else than a dict")

    def push_global(self, module: str, name: str) -> None:
        """Put a name on the stack, if it is one that state dicts need."""
        self.push(known_globals.find_global(module, name), 2 * VALUE + len(module) + len(name))

    def push_global_of_names(self) -> None:
        """Put a name on the stack that is made of the two strings on top."""
        module, name = self.pop_several(2)
        if type(name) is not str or type(module) is not str:
            raise damaged("its pickle has a global without a name")
        self.push_global(module, name)

    def call(self) -> None:
        """Put on the stack what a call describes."""
        function, arguments = self.pop_several(2)
        self._spend(_DESCRIPTION + _ENTRY * known_globals.copied_items(arguments))
        described = known_globals.call(function, arguments)
        if isinstance(described, StoredTensor | UnreadableTensor):
            self._tensors += 1
            if self._tensors > MOST_TENSORS:
                raise too_much()
        self.push(described)

    def push_storage(self) -> None:
        """Put on the stack the storage that the value on top identifies."""
        storage = known_globals.storage_of(self.pop())
        if self.storages.setdefault(storage.key, storage) != storage:
            raise damaged(f"it has two storages {quoted(storage.key)}")
        self.push(storage, _DESCRIPTION)

    def _top(self) -> object:
        value = self.pop()
        self._stack.append(value)
        return value

    def _spend(self, memory: int) -> None:
        self._memory += memory
        if self._memory > _LARGEST_MEMORY:
            raise too_much()


def too_much() -> NernError:
    """The error for a pickle that is out of all proportion to a network."""
    return unsupported_format(f"describes more than {MOST_TENSORS:,} tensors, or more of other things than is read")
