"""Streams of `tests/golden/codec.npz` decode for ever, to the same bits; it was written when the format was defined.

It has the streams of four layers and, by type, the bits of all weights of each layer.
"""

import subprocess
import sys

import numpy as np
import pytest

from nern_core.codec.backend import Backend, fastest_backend, numpy_backend
from nern_core.codec.layers import LayerShape, WeightType
from nern_core.codec.streams import decode_layers, open_layers, pack_layers, unpack_layers
from tests.paths import ROOT

GOLDEN = ROOT / "tests" / "golden" / "codec.npz"
SHAPES = [LayerShape(4, 6, (3, 3)), LayerShape(8, 40, (1,)), LayerShape(3, 2, (2, 1, 5)), LayerShape(1200, 60, (1,))]
STREAMS = 2 + len(SHAPES)


def streams() -> list[bytes]:
    with np.load(GOLDEN) as arrays:
        return [arrays[f"stream{index}"].tobytes() for index in range(STREAMS)]


@pytest.mark.parametrize("backend", [fastest_backend(), numpy_backend()], ids=["compiled", "numpy"])
@pytest.mark.parametrize("weight_type", list(WeightType))
def test_golden_streams_decode_to_their_weights(weight_type: WeightType, backend: Backend) -> None:
    packed = open_layers(streams(), SHAPES, backend)
    found = decode_layers(packed, [weight_type] * len(SHAPES), backend)
    with np.load(GOLDEN) as arrays:
        expected = [arrays[f"{weight_type.value}{index}"] for index in range(len(SHAPES))]
    assert [part.tobytes() for part in found] == [part.tobytes() for part in expected]


def test_packing_the_integers_again_gives_the_same_streams() -> None:
    assert pack_layers(unpack_layers(streams(), SHAPES)) == streams()


def test_streams_decode_without_numba_torch_and_pydantic() -> None:
    program = f"""
import sys
sys.modules["numba"] = None
import numpy as np
from nern_core.codec.layers import LayerShape, WeightType
from nern_core.codec.streams import decode_layers, open_layers
arrays = np.load({str(GOLDEN)!r})
shapes = [LayerShape(4, 6, (3, 3)), LayerShape(8, 40, (1,)), LayerShape(3, 2, (2, 1, 5)), LayerShape(1200, 60, (1,))]
packed = open_layers([arrays[f"stream{{index}}"].tobytes() for index in range(6)], shapes)
found = decode_layers(packed, [WeightType.FLOAT32] * 4)
assert all(part.tobytes() == arrays[f"float32{{index}}"].tobytes() for index, part in enumerate(found))
assert not {{"torch", "pydantic", "constriction"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
