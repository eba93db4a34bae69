"""Synthetic images, sounds and sentences, deterministic by seed: similar to real inputs, and free to use."""

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

_RATE = 16_000
_SENTENCES = (
    "The committee will publish its findings in the spring.",
    "A cat sat on the warm stone wall and watched the harbour.",
    "How do I reset my password if I no longer have access to my e-mail?",
    "The bridge was closed for repairs after the storm.",
    "Bread rises because yeast turns sugar into carbon dioxide.",
    "She plays the cello in a small orchestra.",
    "Interest rates rose by half a percent last month.",
    "Please send the signed contract back by Friday.",
    "The train to Munich leaves from platform nine.",
    "Photosynthesis stores the energy of sunlight in sugar.",
    "My order arrived late and the box was damaged.",
    "The defendant denied all charges.",
    "Water boils at a lower temperature on high mountains.",
    "He scored twice in the second half.",
    "The library lends books, films and musical instruments.",
    "Install the package and restart the service.",
    "A new vaccine is being tested in three countries.",
    "The recipe needs two eggs, flour and a little milk.",
    "Volcanic ash grounded flights across the north.",
    "What is the capital of New Zealand?",
    "The novel tells of a fisherman who loses his boat.",
    "Our hotel room had a view of the sea.",
    "The algorithm sorts a list in linear time.",
    "They walked home through the quiet streets.",
)


def images(count: int, side: int, seed: int = 0) -> Tensor:
    """Return colour images (n, 3, side, side), about -1 to 1, with a spectrum that falls as that of photographs."""
    generator = torch.Generator().manual_seed(seed)
    frequencies = torch.fft.fftfreq(side)
    falling = 1 / (frequencies[:, None].square() + frequencies.square()).sqrt().clamp(min=1 / side)
    noise = torch.randn(count, 4, side, side, generator=generator)
    smooth = torch.fft.ifft2(torch.fft.fft2(noise) * falling).real
    smooth = smooth / smooth.std(dim=(1, 2, 3), keepdim=True)
    # Brightness varies more than colour.
    coloured: Tensor = 0.5 * smooth[:, :1] + 0.15 * smooth[:, 1:]
    return coloured.clamp(-1, 1)


def pages(count: int, side: int, seed: int = 0) -> Tensor:
    """Return images (n, 3, side, side), about -1 to 1, of light paper with lines of dark text in several sizes."""
    generator = torch.Generator().manual_seed(seed)
    backgrounds = (images(count, side, seed) * 20 + 215).clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    drawn = [torch.from_numpy(_written(background, generator)) for background in backgrounds]
    return torch.stack(drawn).permute(0, 3, 1, 2).float() / 127.5 - 1


def _written(background: NDArray[np.uint8], generator: torch.Generator) -> NDArray[np.uint8]:
    """Write a sentence on each of some lines of an image (side, side, 3)."""
    image = Image.fromarray(background)
    pen, top = ImageDraw.Draw(image), 4
    while top < image.height - 12:
        size, colour, number, left = (
            int(torch.randint(low, high, (), generator=generator))
            for low, high in ((14, 30), (0, 90), (0, len(_SENTENCES)), (0, image.width // 4))
        )
        pen.text((left, top), _SENTENCES[number], (colour,) * 3, ImageFont.load_default(size))
        top += int(size * 1.8)
    return np.array(image)


def tones(count: int, length: int, seed: int = 0) -> Tensor:
    """Return frames (n, length) of one tone each, 60 to 1,000 Hz at 16 kHz, with falling harmonics and some noise."""
    generator = torch.Generator().manual_seed(seed)
    pitch = 60 * (1000 / 60) ** torch.rand(count, 1, generator=generator)
    time = torch.arange(length) / _RATE
    sound = 0.05 * torch.randn(count, length, generator=generator)
    for harmonic in range(1, 11):
        phase = 2 * math.pi * torch.rand(count, 1, generator=generator)
        strength = torch.rand(count, 1, generator=generator) / harmonic
        audible = (pitch * harmonic < _RATE / 2).float()
        sound += audible * strength * torch.sin(2 * math.pi * pitch * harmonic * time + phase)
    return sound


def speech(*, seconds: float, voices: int, seed: int = 0) -> Tensor:
    """Return voices (n, samples) at 16 kHz: a gliding pitch, formants that change per syllable, pauses, noise."""
    generator = torch.Generator().manual_seed(seed)
    samples, syllables = round(seconds * _RATE), max(2, round(seconds * 4))
    time = torch.arange(samples) / _RATE

    def curve(low: float, high: float) -> Tensor:
        """Return a smooth random curve (voices, samples) between two values."""
        points = low + (high - low) * torch.rand(voices, 1, syllables, generator=generator)
        return torch.nn.functional.interpolate(points, samples, mode="linear", align_corners=True)[:, 0]

    pitch = curve(0.9, 1.1) * (90 + 160 * torch.rand(voices, 1, generator=generator))
    phase = 2 * math.pi * pitch.cumsum(dim=1) / _RATE
    formants = [curve(300, 900), curve(900, 2400), curve(2400, 3500)]
    sound = torch.zeros(voices, samples)
    for harmonic in range(1, 25):
        frequency = pitch * harmonic
        strength = sum(1 / (1 + ((frequency - formant) / 120).square()) for formant in formants)
        sound += (strength + 0.02) / harmonic**0.5 * torch.sin(harmonic * phase)
    loudness = (curve(-1, 1.5).clamp(0, 1) * (0.6 + 0.4 * torch.sin(2 * math.pi * 4 * time))).clamp(min=0)
    noise = torch.randn(voices, samples, generator=generator)
    return 0.1 * sound * loudness + 0.002 * noise


def mel_spectrograms(sound: Tensor, channels: int) -> Tensor:
    """Return energies (n, frames, channels) of mel bands, 25 ms every 10 ms, after loudness normalization."""
    sound = sound * 10 ** (-30 / 20) / sound.square().mean(dim=1, keepdim=True).sqrt()
    window = torch.hann_window(400)
    power = torch.stft(sound, 400, 160, window=window, return_complex=True).abs().square()
    highest = 2595 * math.log10(1 + _RATE / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, highest, channels + 2) / 2595) - 1)
    frequencies = torch.linspace(0, _RATE / 2, power.shape[1])
    rising = (frequencies - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - frequencies) / (edges[2:] - edges[1:-1])[:, None]
    bands = torch.minimum(rising, falling).clamp(min=0) * (2 / (edges[2:] - edges[:-2]))[:, None]
    return (bands @ power).transpose(1, 2)


def constant_q(sound: Tensor, bins: int, bins_per_octave: int = 36) -> Tensor:
    """Return log energies (frames, bins) of sound at frequencies from 27.5 Hz, one frame every 20 ms."""
    length = 4096
    windows = torch.cat([sound[:, at : at + length] for at in range(0, sound.shape[1] - length + 1, 320)])
    frequencies = 27.5 * 2 ** (torch.arange(bins) / bins_per_octave)
    time = (torch.arange(length) - length / 2) / _RATE
    width = (17 / frequencies).clamp(max=length / _RATE)
    envelope = torch.exp(-0.5 * (time / (width[:, None] / 5)).square())
    kernels = envelope * torch.exp(2j * math.pi * frequencies.clamp(max=_RATE / 2)[:, None] * time)
    kernels = kernels / envelope.sum(dim=1, keepdim=True)
    return (windows.to(kernels.dtype) @ kernels.T).abs().clamp(min=1e-7).log() * 2


def sentences(vocabulary: Path) -> list[list[int]]:
    """Return English sentences as tokens of an uncased WordPiece vocabulary."""
    places = {token: place for place, token in enumerate(vocabulary.read_text().splitlines())}
    return [[places["[CLS]"], *_tokens(text.lower(), places), places["[SEP]"]] for text in _SENTENCES]


def pairs_of_sentences(count: int, seed: int = 0) -> list[str]:
    """Return lines of two English sentences each, other ones for each seed."""
    total = len(_SENTENCES)
    numbers = torch.randperm(total * total, generator=torch.Generator().manual_seed(seed))[:count].tolist()
    return [f"{_SENTENCES[number // total]} {_SENTENCES[number % total]}" for number in numbers]


def _tokens(text: str, places: dict[str, int]) -> list[int]:
    tokens = []
    for word in "".join(letter if letter.isalnum() else f" {letter} " for letter in text).split():
        rest, prefix = word, ""
        while rest:
            length = next(n for n in range(len(rest), 0, -1) if prefix + rest[:n] in places)
            tokens.append(places[prefix + rest[:length]])
            rest, prefix = rest[length:], "##"
    return tokens
