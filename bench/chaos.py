"""Does the service keep its guarantees while everything around it breaks?

Runs `tests/chaos` and records the results of each experiment; takes an hour or two on two cores. Every repetition runs
all experiments, the short and the long ones. It needs the programs `initdb`, `postgres` and `redis-server`, and no
running servers. Exits with 1 if any guarantee was broken.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from bench.machine import describe_machine
from tests.chaos.checker import RESULTS_VARIABLE

RESULTS = Path(__file__).parent / "results" / "chaos.json"
_BROKEN = ("lost", "doubled", "stuck", "wrong_bytes", "others")


def main() -> int:
    """Run, collect and write."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--repetitions", type=int, default=3)
    arguments.add_argument("--scale", type=int, default=3, help="size of the experiments relative to CI")
    arguments.add_argument("--only", default="", help="names of experiments, as for pytest's -k")
    chosen = arguments.parse_args()
    passed, verdicts = [], []
    for _ in range(chosen.repetitions):
        status, found = _repetition(chosen.scale, chosen.only)
        passed.append(status == 0)
        verdicts += found
    if not verdicts:
        print(f"No experiment matches: {chosen.only}", file=sys.stderr)
        return 1
    document = {
        "machine": describe_machine(),
        "scale": chosen.scale,
        "repetitions_passed": passed,
        "experiments": _summed(verdicts),
    }
    RESULTS.write_text(json.dumps(document, indent=2) + "\n")
    RESULTS.with_suffix(".md").write_text(_page(document))
    print(RESULTS.with_suffix(".md").read_text())
    return 0 if all(passed) else 1


def _repetition(scale: int, only: str) -> tuple[int, list[dict[str, Any]]]:
    """Run all experiments once; return pytest's status and the verdicts."""
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "verdicts.jsonl"
        lines.touch()
        environment = os.environ | {RESULTS_VARIABLE: str(lines), "NERN_CHAOS_SCALE": str(scale)}
        command = [sys.executable, "-m", "pytest", "-m", "", "tests/chaos", "-k", only]
        status = subprocess.run(command, env=environment, check=False).returncode
        return status, [json.loads(line) for line in lines.read_text().splitlines()]


def _summed(verdicts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sum the verdicts of each experiment over all repetitions."""
    rows = []
    for name in sorted({verdict["experiment"] for verdict in verdicts}, key=_by_number):
        found = [verdict for verdict in verdicts if verdict["experiment"] == name]
        rows.append(
            {"experiment": name, "runs": len(found)}
            | {key: sum(verdict[key] for verdict in found) for key in ("jobs", "attempts")}
            | {key: dict(sum((Counter(v[key]) for v in found), Counter())) for key in ("faults", "outcomes")}
            | {key: [violation for verdict in found for violation in verdict[key]] for key in _BROKEN}
        )
    return rows


def _by_number(name: str) -> tuple[int, str]:
    digits = name.partition(":")[0].lstrip("E")
    return int(digits) if digits.isdigit() else 0, name


def _page(document: dict[str, Any]) -> str:
    """Return the results as a table."""
    head = "| experiment | runs | faults | jobs | attempts | ended as | lost | twice | stuck | wrong bytes | other |"
    passed, machine = document["repetitions_passed"], document["machine"]
    where = f"{machine['cores']} cores ({machine['processor']}), {machine['date']}"
    how = f"{len(passed)} repetitions, {sum(passed)} of them without a broken promise, at scale {document['scale']}"
    lines = ["# Chaos", "", f"Written by `make chaos`: {how}, on {where}.", ""]
    lines += [head, "|" + "---|" * (head.count("|") - 1)]
    for row in document["experiments"]:
        cells = [row["experiment"], row["runs"], _told(row["faults"]), row["jobs"], row["attempts"]]
        cells += [_told(row["outcomes"]), *(len(row[key]) for key in _BROKEN)]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


if __name__ == "__main__":
    sys.exit(main())
