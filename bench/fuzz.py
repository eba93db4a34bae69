"""Fuzzing of the readers: a randomly changed file must be read or refused with a `NernError`.

python -m bench.fuzz writes bench/results/fuzz.json. Every input is determined by the seed and its number. Inputs that
raise other errors are kept in the printed folder, and so is the input of a crash of the process.
"""

import argparse
import json
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType

import torch

from bench import fuzz_seeds
from bench.assets import RESULTS
from bench.fuzz_mutations import mutate, mutate_json
from bench.machine import describe_machine
from nern_core.container.kept import Kept, values_of
from nern_core.contract.errors import NernError
from nern_core.formats.checkpoint_structure import read_structure
from nern_core.representations.files import read_encoding
from nern_core.tensors.checkpoint import Checkpoint, write_checkpoint

_SECONDS_PER_INPUT = 10
# Memory beyond that of the process at the start: trusting a huge declared size ends in a MemoryError.
_MEMORY = 2**31
_SHARE_OF_PARTS = 0.6
_MOST_WRITTEN_VALUES = 2**16
# Inputs are written and read as files.
_MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 # the name is the system's


@dataclass(frozen=True)
class Target:
    """A reader, and a function that creates an input for it."""

    read: Callable[[Path], object]
    make: Callable[[random.Random, Path], bytes]


@dataclass
class Outcome:
    """Results for the inputs of one target."""

    inputs: int = 0
    accepted: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    escaped: dict[str, str] = field(default_factory=dict)
    inputs_per_second: float = 0.0


def main() -> None:
    """Fuzz all targets, or one, and record the results; the exit status is 1 if an input raised another error."""
    found = targets()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="number of inputs, for all targets together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", choices=found, help="fuzz only this target, with its share of the inputs")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="nern-fuzz-", dir=_MEMORY_FOLDER if _MEMORY_FOLDER.is_dir() else None))
    print(f"inputs that raise other errors are kept in {folder}", flush=True)
    escaped = False
    for name, share in zip(found, _shares(len(found), arguments.inputs), strict=True):
        if arguments.target in {None, name}:
            outcome = fuzz(found[name], share, arguments.seed, folder)
            print(name, json.dumps(asdict(outcome)), flush=True)
            _record(name, {"machine": describe_machine(), "seed": arguments.seed} | asdict(outcome))
            escaped = escaped or bool(outcome.escaped)
    sys.exit(1 if escaped else 0)


def _record(name: str, run: dict[str, object]) -> None:
    """Add the run of one target to the recorded ones."""
    path = RESULTS / "fuzz.json"
    runs = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(runs | {name: run}, indent=2) + "\n")


def targets() -> dict[str, Target]:
    """Return the readers of untrusted files, one for each form of a file."""
    zipped, legacy = fuzz_seeds.torch_files(zipped=True), fuzz_seeds.torch_files(zipped=False)
    encodings = fuzz_seeds.encodings()

    def archive(generator: random.Random, scratch: Path) -> bytes:
        seed = generator.choice(zipped)
        if generator.random() < _SHARE_OF_PARTS:
            pickles = [fuzz_seeds.pickle_of(seed)]
            return fuzz_seeds.with_pickle(seed, mutate(generator, pickles))
        return mutate(generator, [seed])

    def encoding(generator: random.Random, scratch: Path) -> bytes:
        scratch.write_bytes(generator.choice(encodings))
        kind = generator.random()
        if kind < _SHARE_OF_PARTS:
            document = mutate_json(generator, fuzz_seeds.document_of(scratch))
            return fuzz_seeds.with_parts(scratch, {"document": fuzz_seeds.compressed(document)})
        if kind < (1 + _SHARE_OF_PARTS) / 2:
            parts = fuzz_seeds.packed_parts_of(scratch)
            changed = generator.choice(list(parts))
            return fuzz_seeds.with_parts(scratch, {changed: mutate(generator, [parts[changed]])})
        return mutate(generator, encodings)

    return {
        "safetensors": Target(read_structure, _whole(fuzz_seeds.safetensors_files())),
        "torch, zip": Target(read_structure, archive),
        "torch, legacy": Target(read_structure, _whole(legacy)),
        "nern": Target(_read_and_write_kept, encoding),
    }


def _read_and_write_kept(path: Path) -> None:
    """Read a `.nern` file and write its kept tensors as a checkpoint, except large ones, which would take too long."""
    kept = {name: values_of(stored) for name, stored in read_encoding(path).kept.items() if _is_small(stored)}
    write_checkpoint(Checkpoint(kept), path.with_name("written.safetensors"))


def _is_small(kept: Kept) -> bool:
    return (kept if isinstance(kept, torch.Tensor) else kept.integers).numel() <= _MOST_WRITTEN_VALUES


def fuzz(target: Target, inputs: int, seed: int, folder: Path) -> Outcome:
    """Read `inputs` changed files; keep those that are neither read nor refused in `folder`."""
    outcome = Outcome()
    path, scratch = folder / "input", folder / "seed"
    started = time.perf_counter()
    with _limited_memory():
        for number in range(inputs):
            path.write_bytes(target.make(random.Random(f"{seed} {number}"), scratch))  # noqa: S311 # not a secret
            outcome.inputs += 1
            try:
                with _limited_time():
                    target.read(path)
            except NernError as error:
                outcome.refused[error.code] = outcome.refused.get(error.code, 0) + 1
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 # Rust's panics are not Exceptions
                _keep(outcome, error, path)
            else:
                outcome.accepted += 1
    outcome.inputs_per_second = round(inputs / (time.perf_counter() - started), 1)
    return outcome


def _keep(outcome: Outcome, error: BaseException, path: Path) -> None:
    """Keep the first input of each kind of error."""
    kind = f"{type(error).__name__}: {str(error)[:200]}"
    if kind not in outcome.escaped:
        kept = path.with_name(f"escaped-{len(outcome.escaped)}")
        outcome.escaped[kind] = str(path.replace(kept))


def _whole(seeds: Sequence[bytes]) -> Callable[[random.Random, Path], bytes]:
    return lambda generator, scratch: mutate(generator, seeds)


def _shares(count: int, inputs: int) -> list[int]:
    """Return the number of inputs of each target: the last one, which is slower, gets a tenth."""
    last = inputs // 10
    first = -(-(inputs - last) // (count - 1))
    return [first] * (count - 1) + [last]


@contextmanager
def _limited_memory() -> Iterator[None]:
    """Limit the growth of the process to `_MEMORY`."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + _MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextmanager
def _limited_time() -> Iterator[None]:
    """Raise `TimeoutError` in the context after `_SECONDS_PER_INPUT`."""

    def expire(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS_PER_INPUT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


if __name__ == "__main__":
    main()
