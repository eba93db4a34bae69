"""Confine this process before it touches a stranger's bytes, with what the kernel offers.

Should such bytes ever get code to run, it finds no network, no program to start, no process to look into, no file
beside its own folder, what Python needs and the data set, and no more memory than its job may use. None of this
needs a privilege. `confine` returns what a kernel or a container does not allow; an operator may insist on all of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from worker.sandbox.capabilities import drop_capabilities
from worker.sandbox.landlock import restrict_files
from worker.sandbox.limits import forbid_new_privileges, limit_resources
from worker.sandbox.seccomp import restrict_system_calls


@dataclass(frozen=True, kw_only=True, slots=True)
class Confinement:
    """The rights that a process keeps: its own folder, files to read, bytes of memory, and bytes of a file.

    `gpu` is for a process that computes on one: what CUDA cannot begin without is left to it as well.
    """

    folder: Path
    readable: Sequence[Path] = ()
    memory_bytes: int | None = None
    file_bytes: int | None = None
    gpu: bool = False


class SandboxError(OSError):
    """The kernel does not offer a part of the confinement, or does not allow it here."""


def confine(confinement: Confinement) -> dict[str, str]:
    """Confine this process and whatever it starts, for good. Returns what could not be done, and why.

    To be called while the process has one thread.
    """
    missing: dict[str, str] = {}
    limit_resources(confinement.memory_bytes, confinement.file_bytes)
    forbid_new_privileges()
    parts: dict[str, Callable[[], None]] = {
        "capabilities": drop_capabilities,
        "landlock": lambda: restrict_files(confinement.folder, confinement.readable, gpu=confinement.gpu),
        "seccomp": lambda: restrict_system_calls(gpu=confinement.gpu),
    }
    for name, restrict in parts.items():
        try:
            restrict()
        except OSError as error:
            missing[name] = str(error)
    return missing
