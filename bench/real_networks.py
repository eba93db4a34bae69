"""Is a distilled encoding of networks of all kinds more faithful than int4, at no more bytes?

python -m bench.real_networks FOLDER [--only NAME …] [--steps N] [--ratios 8 16] encodes trained networks from packages
in FOLDER (see `bench.trained_networks`), and those that `bench.train_tiny_imagenet` has trained there, at an eighth and
a sixteenth of their float32 size, or at the bytes of int4 if these are fewer. Each is distilled on unlabelled inputs,
with the default number of steps, as in docs/own-networks.md. The error is the norm of the difference of all outputs
over the norm of the outputs, on inputs of another seed; the agreement is the share of equal answers of classifiers.
int8, int6 and int4 are rows rounded to nearest, compressed by zstd. NNCodec has at least as many bytes as the file, in
the environment of `make nncodec`. Each result is recorded immediately in bench/results/real_networks.json.
"""

import argparse
import copy
import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.assets import HERE, RESULTS
from bench.machine import describe_machine
from bench.package_networks import Tensors
from bench.rounded_rows import rounded_rows
from bench.trained_networks import PACKAGES, REAL_NETWORKS, RealNetwork
from nern_core import EncodeOptions, encode, load
from nern_core.analysis.baselines.nncodec import code_as_small, code_with_nncodec
from nern_core.networks.fidelity import compare_networks
from nern_core.networks.input_batch import InputBatch
from nern_core.networks.model_inputs import call
from nern_core.networks.outputs import reader_of

_RECORD = RESULTS / "real_networks.json"
_TEST_SEED = 1
NNCODEC = Path(os.environ.get("NERN_NNCODEC_PYTHON", HERE.parent / ".nncodec/bin/python"))


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", choices=REAL_NETWORKS, default=list(REAL_NETWORKS))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--ratios", nargs="*", type=int, default=[8, 16])
    chosen = parser.parse_args()
    for name in chosen.only:
        network = REAL_NETWORKS[name](chosen.folder)
        for ratio in chosen.ratios:
            _record(_measure(network, ratio, chosen.steps))


def _measure(subject: RealNetwork, ratio: int, steps: int | None) -> dict[str, Any]:
    original = subject.network.eval()
    tensors = {name: tensor.clone() for name, tensor in original.state_dict().items()}
    test = [InputBatch(batch) for batch in subject.inputs(_TEST_SEED)]
    weights = sum(tensor.numel() for tensor in tensors.values())
    result: dict[str, Any] = {
        "network": subject.name,
        "ratio": ratio,
        "weights": weights,
        "inputs": subject.about_inputs,
    }
    rounded = {bits: rounded_rows(tensors, bits) for bits in (8, 6, 4)}
    for bits, (values, size) in rounded.items():
        result[f"int{bits}"] = {"bytes": size} | _quality(subject, original, values, test)
    target = min(4 * weights // ratio, result["int4"]["bytes"])
    with tempfile.TemporaryDirectory() as folder:
        encoding = Path(folder) / "x.nern"
        started = time.perf_counter()
        encoded = encode(original, encoding, EncodeOptions(target_bytes=target, steps=steps), inputs=subject.inputs(0))
        seconds = time.perf_counter() - started
        decoded = load(encoding, copy.deepcopy(original)).state_dict()
        size = encoding.stat().st_size
        result["ours"] = {"bytes": size} | _quality(subject, original, decoded, test)
    result["ours"] |= {
        "seconds": round(seconds, 1),
        "steps": encoded.report.curve[-1].step if encoded.report.curve else 0,
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    result["nncodec"] = _nncodec(subject, original, tensors, size, test)
    return result


def _nncodec(
    subject: RealNetwork, original: nn.Module, tensors: Tensors, size: int, test: list[InputBatch]
) -> dict[str, Any]:
    """Measure the finest file of NNCodec that is at most one parameter larger than `size` bytes."""
    smaller = code_as_small(tensors, NNCODEC, size)
    coded = code_with_nncodec(tensors, NNCODEC, int(smaller.name.rpartition(" ")[2]) - 1)
    # Only parameters: rounded constants of an ONNX graph, such as the scales of a Resize, change its shapes.
    trained = {name for name, _ in original.named_parameters()}
    values = {
        name: coded.tensors[name].to(tensor.dtype) if name in trained else tensor for name, tensor in tensors.items()
    }
    return {"bytes": coded.bytes, "name": coded.name} | _quality(subject, original, values, test)


def _quality(subject: RealNetwork, original: nn.Module, tensors: Tensors, test: list[InputBatch]) -> dict[str, Any]:
    changed = copy.deepcopy(original)
    changed.load_state_dict(tensors)
    with torch.no_grad():
        reader = reader_of(original, lambda: call(original, test[0].inputs), inputs=test[0].inputs)
    fidelity = compare_networks(original, changed.eval(), test, reader).fidelity
    return {"error": round(fidelity.relative_error, 5), "agreement": fidelity.agreement}


def _record(result: dict[str, Any]) -> None:
    print(json.dumps(result), flush=True)
    record = json.loads(_RECORD.read_text()) if _RECORD.exists() else {"networks": []}
    known = {(one["network"], one["ratio"]): one for one in record["networks"]}
    known[result["network"], result["ratio"]] = result
    record = {"machine": describe_machine(), "packages": PACKAGES, "networks": list(known.values())}
    _RECORD.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
