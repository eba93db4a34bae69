"""Convert data sets of every format into the one-file format that services take."""

from dataclasses import replace
from pathlib import Path

import torch

from nern_core.formats.dataset_structure import PREPROCESSING, SPLITS
from nern_core.formats.text_files import TEXT, has_text, read_lines
from nern_core.networks.architecture import UNCHANGED
from nern_core.networks.arrays import has_arrays, read_arrays
from nern_core.networks.datasets import read_override, read_pixels
from nern_core.tensors.safetensors_files import write_safetensors


def write_dataset_file(source: Path, path: Path, input_size: int = 0) -> tuple[str, ...]:
    """Write a data set into one file; return sentences on how it was read.

    Image files are decoded into images of `input_size` pixels, or, if that is 0, of the size that `dataset.json` or the
    images themselves have. Raises `NernError` as `read_pixels`, `read_arrays` and `read_lines` do.
    """
    if has_text(source):
        text = read_lines(source)
        content = torch.frombuffer(bytearray("\n".join(text.lines).encode()), dtype=torch.uint8)
        write_safetensors({TEXT: content}, path)
        return text.notes
    if has_arrays(source):
        tensors = {name: tensor.contiguous() for name, tensor in read_arrays(source).items()}
        write_safetensors(tensors, path)
        return ()
    override = read_override(source)
    size = input_size or (override and override.input_size) or 0
    preprocessing = replace(UNCHANGED, input_size=size)
    splits = {split: read_pixels(source, split, preprocessing) for split in SPLITS}
    is_labelled = all(pixels.labels is not None for pixels in splits.values())
    tensors = {}
    for split, pixels in splits.items():
        tensors[f"{split}.images"] = pixels.images.permute(0, 2, 3, 1).contiguous()
        if is_labelled and pixels.labels is not None:
            tensors[f"{split}.labels"] = pixels.labels
    metadata = {} if override is None else {PREPROCESSING: override.model_dump_json(exclude_none=True)}
    write_safetensors(tensors, path, metadata)
    notes = [note for pixels in splits.values() for note in pixels.notes]
    if not is_labelled:
        notes.append("There are no labels: jobs compare outputs with those of the original, and measure no accuracy.")
    return tuple(dict.fromkeys(notes))
