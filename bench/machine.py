"""Description of the machine, recorded with every result."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from nern_core.training.precision import has_bfloat16_units


def describe_machine() -> dict[str, object]:
    """Return processor, cores, versions, commit and date."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = next((line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")), "")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": model or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "bfloat16_units": has_bfloat16_units(torch.device("cpu")),
        **({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "nern": version("nern"),
        "commit": _commit(),
    }


def _commit() -> str | None:
    """Return the checked-out commit; None outside a repository."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
