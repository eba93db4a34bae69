"""Programs that replace the runner and misbehave."""

from pathlib import Path

import pytest

HEAD = """
import json, os, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
results = folder / "results"

def say(**line):
    print(json.dumps(line), flush=True)
"""
# Writes the results of an encoding; `metrics` must be defined before.
LEAVE_RESULTS = """
for name in ("weights.safetensors", "weights.pt", "encoding.nern", "report.html"):
    (results / name).write_bytes(name.encode())
(results / "report.json").write_text(json.dumps({"metrics": metrics}))
"""
METRICS = """
metrics = {"source_bytes": 8, "file_bytes": 4, "predictor_bytes": 1, "permutation_bytes": 1, "kept_bytes": 1,
           "ratio": 2.0, "relative_error": 0.1, "original_accuracy": None, "reconstructed_accuracy": None,
           "seconds": {"total": 1.0}}
"""


def replace_runner(program: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every child run this program from now on."""
    module = folder / "fake" / "worker"
    module.mkdir(parents=True)
    (module / "__init__.py").touch()
    (module / "runner.py").write_text(HEAD + program)
    monkeypatch.setattr("worker.child._ROOT", module.parent)
    # The program needs no compiled code.
    monkeypatch.setattr("worker.caches.Caches.copy_to", lambda caches, target: target.mkdir())
