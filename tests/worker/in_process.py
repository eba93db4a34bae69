"""The runner in the process of a test, without its sandbox: starting a process takes seconds."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nern_core.contract.options import EncodeOptions
from worker import runner
from worker.folder import RunFolder, RunSpec


@dataclass(frozen=True, slots=True)
class Ended:
    """A run in this process: its exit status and its lines."""

    status: int
    lines: list[Any]

    @property
    def error(self) -> dict[str, str]:
        found: dict[str, str] = self.lines[-1]["error"]
        return found


RunHere = Callable[..., Ended]


def run_in_process(
    folder: RunFolder,
    options: EncodeOptions | None,
    file: bytes | None = None,
    datasets: Mapping[str, bytes] | None = None,
) -> Ended:
    """Run the runner on a checkpoint, or on an encoding without options; None: the file is there already."""
    if not folder.datasets.exists():
        folder.make()
    for name, content in (datasets or {}).items():
        (folder.datasets / name).write_bytes(content)
    if file is not None:
        (folder.encoding if options is None else folder.checkpoint).write_bytes(file)
    folder.spec.write_text(RunSpec(options=options).model_dump_json())
    lines: list[str] = []
    status = runner.run(folder, lines.append, lambda: False)
    return Ended(status, [json.loads(line) for line in lines])
