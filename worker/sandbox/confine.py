"""Confine this process with the kernel's means before it reads untrusted bytes.

If such bytes ever get code to run, it has no network, no program to start, no process to inspect, no file except its
own folder, what Python needs and the data set, and no more memory than the job's limit. None of this needs a privilege.
`confine` returns the parts that a kernel or a container does not allow; an operator may require all of them.
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
    """The rights that a process keeps: its own folder, readable files, bytes of memory, and bytes per file.

    `gpu` also keeps the rights that CUDA cannot start without.
    """

    folder: Path
    readable: Sequence[Path] = ()
    memory_bytes: int | None = None
    file_bytes: int | None = None
    gpu: bool = False


class SandboxError(OSError):
    """The kernel lacks a part of the confinement, or does not allow it here."""


def confine(confinement: Confinement) -> dict[str, str]:
    """Confine this process and its children permanently. Return the parts that failed, each with the reason.

    Call it while the process has only one thread.
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
