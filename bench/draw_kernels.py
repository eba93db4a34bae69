"""Draw original and decoded kernels of a layer: the picture in the README.

python -m bench.draw_kernels ORIGINAL ENCODING OUT.svg [--layer NAME]
"""

import argparse
from pathlib import Path

from nern_core.analysis.comparison import open_comparison
from nern_core.analysis.report.kernel_pictures import draw_kernels, sample_kernels


def main() -> None:
    """Read, decode and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("original", type=Path)
    parser.add_argument("encoding", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--layer", default="layer2.1.conv1.weight")
    arguments = parser.parse_args()
    comparison = open_comparison(arguments.original, arguments.encoding)
    index = [layer.name for layer in comparison.encoding.document.layers].index(arguments.layer)
    sample = sample_kernels(comparison.encoding, index, comparison.original.tensors, comparison.decoded.tensors)
    arguments.output.write_text(draw_kernels(sample), encoding="utf-8")


if __name__ == "__main__":
    main()
