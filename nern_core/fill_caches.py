"""Fill the caches of numba and matplotlib: `python -m nern_core.fill_caches`.

Both take some seconds at their first use and cache the result. This is for services that start many short-lived
processes which cannot write to shared caches.
"""

import numpy as np
import torch

import nern_core.container  # noqa: F401 # first: it and the streams of permutations import each other
from nern_core.analysis.charts import Series, line_chart
from nern_core.codec.backend import fastest_backend
from nern_core.codec.layers import CodedLayer, CoordinateTables, LayerTables, WeightType
from nern_core.codec.streams import decode_layers, open_layers, pack_layers, unpack_layers
from nern_core.contract.options import Permutation
from nern_core.representations.predicted.gelu import gelu_
from nern_core.representations.predicted.permutation import order_kernels
from nern_core.representations.predicted.permutation_streams import pack_order, unpack_order

# Large enough that chaining uses cells, too.
_FILTERS, _CHANNELS, _VALUES = 64, 40, 9


def main() -> None:
    """Order kernels and pack the order, by every method; pack integers; apply GELU; draw a chart."""
    rows = np.random.default_rng(0).standard_normal((_FILTERS * _CHANNELS, _VALUES), dtype=np.float32)
    for method in (Permutation.IN_FILTER, Permutation.CROSS_FILTER):
        order = order_kernels(torch.from_numpy(rows), _FILTERS, method)
        assert order is not None
        unpack_order(pack_order(order, _FILTERS, _CHANNELS, method), _FILTERS, _CHANNELS, method)
    _fill_codec()
    gelu_(torch.zeros(1, dtype=torch.float64))
    line_chart([Series("x", ((0.0, 0.0), (1.0, 1.0)))], title="x", x_label="x", y_label="y")


def _fill_codec() -> None:
    """Pack a layer of quantized weights and decode it to every type."""
    zeros = CoordinateTables(*(np.zeros(size, np.int32) for size in (_FILTERS, _CHANNELS, _VALUES)))
    layer = CodedLayer(np.zeros((_FILTERS, _CHANNELS, _VALUES), np.int32), LayerTables(zeros, zeros), (_VALUES,))
    backend = fastest_backend()
    streams = pack_layers([layer], backend)
    unpack_layers(streams, [layer.shape], backend)
    for weight_type in WeightType:
        decode_layers(open_layers(streams, [layer.shape], backend), [weight_type], backend)


if __name__ == "__main__":
    main()
