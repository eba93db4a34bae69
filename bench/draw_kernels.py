"""Draw kernels of a layer as they were and as they are decoded: the picture in the README.

python -m bench.draw_kernels ORIGINAL ENCODING OUT.svg [--layer NAME]
"""

import argparse
from pathlib import Path

from nern_core.decode import decode_encoding
from nern_core.pair import read_pair
from nern_core.report.kernel_pictures import draw_kernels, sample_kernels


def main() -> None:
    """Read, decode and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("original", type=Path)
    parser.add_argument("encoding", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--layer", default="layer2.1.conv1.weight")
    arguments = parser.parse_args()
    original, encoding = read_pair(arguments.original, arguments.encoding)
    index = [layer.name for layer in encoding.document.layers].index(arguments.layer)
    sample = sample_kernels(encoding, index, original.tensors, decode_encoding(encoding).tensors)
    arguments.output.write_text(draw_kernels(sample), encoding="utf-8")


if __name__ == "__main__":
    main()
