"""Do networks of ten kinds and more go through library, command line and service, and come back whole?

python -m bench.ten_networks FOLDER [--only TEXT …] [--steps N] encodes each network of `bench.network_zoo` in three
ways, at a sixth of its bytes: by `nern_core`, by `nern encode` and `nern reconstruct`, and by a job of `nern serve`,
which gets the same checkpoint and an uploaded data set. FOLDER has the packages of `network_zoo.PACKAGES`; a network
whose parts are not on this machine is skipped with the reason. `bench.wholeness` says what is checked. The few steps
train little: the question is whether the networks come back, not how good the encodings are. Each result is recorded
immediately in bench/results/ten_networks.json, with a table beside it. Exits with 1 if a network is not whole.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.assets import RESULTS
from bench.machine import describe_machine
from bench.network_zoo import PACKAGES, ZOO, ZooEntry
from bench.three_ways import WAYS, Places, go, places
from bench.wholeness import examine
from bench.zoo_network import MissingPart, ZooNetwork

_RECORD, _TABLE = RESULTS / "ten_networks.json", RESULTS / "ten_networks.md"
_SEED = 0
_RATIO = 6.0
_LIBRARIES = ("onnx", "onnxruntime", "timm", "torchvision", "transformers")
# Parts of the metrics.
_TOLD = (
    "source_bytes",
    "file_bytes",
    "ratio",
    "relative_error",
    "original_accuracy",
    "reconstructed_accuracy",
    "fidelity",
    "verdict",
    "notes",
)


def main() -> int:
    """Encode, check and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", default=[""])
    parser.add_argument("--steps", type=int, default=20)
    chosen = parser.parse_args()
    options = {"steps": chosen.steps, "target_ratio": _RATIO, "seed": _SEED}
    is_whole = True
    with tempfile.TemporaryDirectory(prefix="nern-zoo-") as name, places(Path(name)) as where:
        for entry in ZOO:
            if any(text in entry.name for text in chosen.only):
                result = _measure(entry, Path(name) / entry.name, chosen.folder.resolve(), options, where)
                _record(result, options)
                is_whole = is_whole and not any(way["faults"] for way in result.get("ways", {}).values())
    return 0 if is_whole else 1


def _measure(
    entry: ZooEntry, folder: Path, packages: Path, options: Mapping[str, Any], where: Places
) -> dict[str, Any]:
    folder.mkdir()
    result: dict[str, Any] = {"network": entry.name, "kind": entry.kind, "trained_weights": entry.weights}
    try:
        network = entry.make(folder, packages)
    except MissingPart as missing:
        return result | {"skipped": str(missing)}
    ways = {way: _went(way, network, folder / way, options, where) for way in WAYS}
    return result | {"ways": ways}


def _went(way: str, network: ZooNetwork, folder: Path, options: Mapping[str, Any], where: Places) -> dict[str, Any]:
    """Go one way; an error is a fault of it."""
    try:
        outcome = go(way, network, folder, options, where)
        examination = examine(network, outcome)
    except Exception as error:  # noqa: BLE001 # what the bench looks for
        return {"faults": [f"{type(error).__name__}: {error}"]}
    told = {name: outcome.metrics[name] for name in _TOLD}
    return (
        {"faults": examination.faults, "output_error": examination.output_error}
        | told
        | {"seconds": round(outcome.seconds, 1)}
    )


def _record(result: dict[str, Any], options: Mapping[str, Any]) -> None:
    print(json.dumps(result), flush=True)
    record = json.loads(_RECORD.read_text()) if _RECORD.exists() else {"networks": []}
    known = {one["network"]: one for one in record["networks"]} | {result["network"]: result}
    networks = [known[entry.name] for entry in ZOO if entry.name in known]
    versions = {name: version(name) for name in _LIBRARIES}
    record = {"machine": describe_machine(), "versions": versions, "packages": PACKAGES, "options": dict(options)}
    record["networks"] = networks
    _RECORD.write_text(json.dumps(record, indent=2) + "\n")
    _TABLE.write_text(_table(record))


def _table(record: Mapping[str, Any]) -> str:
    machine, options = record["machine"], record["options"]
    went = [network for network in record["networks"] if "ways" in network]
    whole = sum(not any(way["faults"] for way in network["ways"].values()) for network in went)
    lines = [
        "# Networks of all kinds, by library, command line and service",
        "",
        f"{whole} of {len(went)} networks came back whole in all three ways. `python -m bench.ten_networks FOLDER`",
        f"made this page on {machine['date']} (torch {machine['torch']}, {machine['cores']} cores of",
        f"{machine['processor']}, seed {options['seed']}, {options['steps']} steps, a target ratio of",
        f"{options['target_ratio']:g}). Whole means: all names, shapes and types; finite values, those that the",
        "library decodes from the file; a strict load into a fresh network, or onnxruntime, with finite outputs;",
        "fidelity or accuracy in the report, and a verdict. Each cell has the relative error of all outputs on inputs",
        "that nothing was trained on, then what the report measured on other held-out inputs, and the verdict.",
        "",
        "| network | kind | weights | ratio | library | command line | service |",
        "|---|---|---|---|---|---|---|",
    ]
    for network in went:
        ways = network["ways"]
        ratio = next((f"{way['ratio']:.1f}" for way in ways.values() if "ratio" in way), "")
        cells = " | ".join(_cell(ways[way]) for way in WAYS)
        lines.append(f"| {network['network']} | {network['kind']} | {network['trained_weights']} | {ratio} | {cells} |")
    skipped = [network for network in record["networks"] if "skipped" in network]
    lines += ["", *(f"{network['network']} was skipped: {network['skipped']}." for network in skipped)]
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    lines += [f"The packages: {', '.join(record['packages'])}. The versions: {versions}."]
    return "\n".join(lines) + "\n"


def _cell(way: Mapping[str, Any]) -> str:
    if way["faults"]:
        return f"**{len(way['faults'])} faults**"
    parts = [f"{way['output_error']:.4f}"]
    fidelity = way["fidelity"] or {}
    if way["reconstructed_accuracy"] is not None:
        parts.append(f"accuracy {way['original_accuracy']:.2f} → {way['reconstructed_accuracy']:.2f} %")
    elif fidelity.get("agreement") is not None:
        parts.append(f"agreement {fidelity['agreement']:.1f} %")
    if fidelity.get("original_perplexity") is not None:
        parts.append(f"perplexity {fidelity['original_perplexity']:.2f} → {fidelity['reconstructed_perplexity']:.2f}")
    return ", ".join([*parts, way["verdict"]["level"]])


if __name__ == "__main__":
    sys.exit(main())
