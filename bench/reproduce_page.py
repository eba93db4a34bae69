"""Render bench/results/reproduce.md from the results recorded by bench/reproduce.py."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import mean
from typing import Any

# Accuracy in percent from the README of the authors' repository (best of the test results after each epoch).
_PUBLISHED_ORIGINAL = {"ResNet20": 91.69, "ResNet56": 93.52}
_PUBLISHED = {
    ("ResNet20", 160, "in-filter"): 90.85,
    ("ResNet20", 160, "cross-filter"): 91.16,
    ("ResNet20", 180, "in-filter"): 91.30,
    ("ResNet20", 180, "cross-filter"): 91.50,
    ("ResNet56", 280, "in-filter"): 92.48,
    ("ResNet56", 280, "cross-filter"): 92.54,
    ("ResNet56", 320, "in-filter"): 92.75,
    ("ResNet56", 320, "cross-filter"): 92.96,
}
_ORDER = ("none", "in-filter", "cross-filter")

Run = Mapping[str, Any]

_STEPS_DIFFER = (
    "Steps are those of reconstruction and of distillation. The machine was not equally fast on all days: rows with\n"
    "fewer steps of the same kind have had less training in the same seconds."
)


def page(runs: Mapping[str, Run]) -> str:
    """Return Markdown with tables for the published settings, for the ablation and for encoding without data."""
    machines = sorted({_machine(run) for run in runs.values()})
    lines = [
        "# The paper's table, measured here",
        "",
        "CIFAR-10, the public ResNets. Accuracy is that of the finished file on the 10,000 test images, measured once",
        "after the last step; *drop* is the original's accuracy minus it. Published: the authors' README, the best of",
        "many looks at the test set. Bytes are all that decoding needs: predictor (fp16), permutations, kept tensors.",
        f"Measured on {'; '.join(machines)}. Made by `python -m bench.reproduce`.",
        "",
        *_published_table([run for run in runs.values() if run["table"] == "published"]),
    ]
    for table, title in (
        ("ablation", "What matters (ResNet20, hidden 160, cross-filter)"),
        ("data-free", "Without data"),
    ):
        chosen = {name: run for name, run in runs.items() if run["table"] == table}
        if chosen:
            lines += ["", f"## {title}", "", _STEPS_DIFFER, "", *_named_table(chosen)]
    return "\n".join(lines) + "\n"


def _published_table(runs: Iterable[Run]) -> list[str]:
    groups: dict[tuple[str, int, str], list[Run]] = defaultdict(list)
    for run in runs:
        groups[run["network"], run["hidden_size"], run["permutation"]].append(run)
    rows = [
        "| network | hidden | permutation | seconds | seeds | accuracy | drop | published drop | error | bytes |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for key in sorted(groups, key=lambda key: (key[0], key[1], _ORDER.index(key[2]))):
        group = groups[key]
        published = _PUBLISHED_ORIGINAL[key[0]] - _PUBLISHED[key] if key in _PUBLISHED else None
        rows.append(
            f"| {key[0]} | {key[1]} | {key[2]} | {group[0]['budget_seconds']:.0f} | {len(group)} "
            f"| {_accuracies(group)} | {_drop(group):.2f} | {'' if published is None else f'{published:.2f}'} "
            f"| {mean(run['metrics']['relative_error'] for run in group):.3f} | {group[0]['metrics']['file_bytes']:,} |"
        )
    return rows


def _named_table(runs: Mapping[str, Run]) -> list[str]:
    groups: dict[str, list[Run]] = defaultdict(list)
    for name, run in runs.items():
        groups[name.rpartition(", seed ")[0].removeprefix("ablation ")].append(run)
    rows = ["| case | budget, s | steps | seeds | accuracy | drop | relative error |", "|---|---|---|---|---|---|---|"]
    for name, group in groups.items():
        rows.append(
            f"| {name} | {group[0]['budget_seconds']:.0f} | {' + '.join(map(str, group[0]['steps'].values()))} "
            f"| {len(group)} | {_accuracies(group)} "
            f"| {_drop(group):.2f} | {mean(run['metrics']['relative_error'] for run in group):.3f} |"
        )
    return rows


def _accuracies(group: list[Run]) -> str:
    """Return the mean, and the range if there are several seeds."""
    values = [run["metrics"]["reconstructed_accuracy"] for run in group]
    spread = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
    return f"{mean(values):.2f}{spread}"


def _drop(group: list[Run]) -> float:
    drop: float = mean(run["metrics"]["original_accuracy"] - run["metrics"]["reconstructed_accuracy"] for run in group)
    return drop


def _machine(run: Run) -> str:
    machine = run["machine"]
    return f"{machine['processor']}, {machine['cores']} cores, torch {machine['torch']}, {machine['date']}"
