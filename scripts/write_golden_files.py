"""Write golden files to tests/golden, once for each representation and format version; never replace old ones.

A golden file is a small `.nern` file, with the weights decoded from it as safetensors beside it. Every later version
has to decode it to the same weights.
"""

from pathlib import Path

import torch

from nern_core.contract.options import EncodeOptions, Permutation
from nern_core.decoder import decode
from nern_core.encoder import encode
from nern_core.formats.encoding_structure import FORMAT_VERSION, VERSION_WITH_LANES
from nern_core.tensors.checkpoint import Checkpoint, write_checkpoint

GOLDEN = Path(__file__).parent.parent / "tests" / "golden"
OPTIONS = {
    f"predictor-v{FORMAT_VERSION}": EncodeOptions(kernels=("all",), hidden_size=8, steps=20),
    f"predictor-in-filter-v{FORMAT_VERSION}": EncodeOptions(
        kernels=("all",), hidden_size=8, steps=20, permutation=Permutation.IN_FILTER
    ),
    f"quantized-v{VERSION_WITH_LANES}": EncodeOptions(target_bytes=4000),
}


def main() -> None:
    """Encode a small checkpoint with many kinds of tensors by each set of options."""
    source = GOLDEN / "source.safetensors"
    GOLDEN.mkdir(exist_ok=True)
    if not source.exists():
        write_checkpoint(Checkpoint(small_checkpoint()), source)
    for name, options in OPTIONS.items():
        path = GOLDEN / f"{name}.nern"
        if not path.exists():
            encode(source, path, options)
            write_checkpoint(decode(path), path.with_suffix(".safetensors"))


def small_checkpoint() -> dict[str, torch.Tensor]:
    """Return tensors of several shapes and dtypes, two of them tied."""
    generator = torch.Generator().manual_seed(0)
    matrix = 0.1 * torch.randn(20, 40, generator=generator)
    return {
        "conv.weight": 0.2 * torch.randn(12, 6, 3, 3, generator=generator),
        "half.weight": torch.randn(12, 12, 3, 3, generator=generator).half(),
        "brain.weight": torch.randn(8, 8, 3, 3, generator=generator).bfloat16(),
        "double.weight": torch.randn(8, 4, 3, 3, generator=generator).double(),
        "embed.weight": matrix,
        "head.weight": matrix.clone(),
        "bn.running_var": torch.ones(12),
        "bn.weight": torch.randn(12, generator=generator),
        "bn.num_batches_tracked": torch.tensor(7),
    }


if __name__ == "__main__":
    main()
