"""The test for "any network": torchvision's classifiers are encoded, decoded, loaded and run."""

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from nern_core.contract.options import EncodeOptions, Permutation
from nern_core.contract.progress import Phase
from nern_core.encoder import encode
from nern_core.networks import find_architecture
from nern_core.tensors.checkpoint import read_checkpoint

CLASSES = 10
NONE, CROSS_FILTER = Permutation.NONE, Permutation.CROSS_FILTER


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kernels", "permutation", "pixels", "share"),
    [
        ("resnet18", "spatial", NONE, 64, 0.984),
        ("resnet50", "spatial", NONE, 64, 0.482),
        ("resnet50", "all", NONE, 64, 1.0),
        pytest.param("mobilenet_v3_small", "spatial", CROSS_FILTER, 64, 0.039, marks=pytest.mark.gate),
        ("mobilenet_v3_small", "all", CROSS_FILTER, 64, 0.996),
        ("efficientnet_b0", "spatial", CROSS_FILTER, 64, 0.046),
        ("vgg11", "spatial", NONE, 64, 0.072),
        ("convnext_tiny", "spatial", NONE, 64, 0.068),
        ("squeezenet1_0", "spatial", CROSS_FILTER, 64, 0.768),
        ("densenet121", "spatial", CROSS_FILTER, 64, 0.311),
        ("vit_b_16", "spatial", CROSS_FILTER, 224, 0.007),
        ("vit_b_16", "all", NONE, 224, 0.999),
    ],
)
def test_a_torchvision_classifier_is_encoded_decoded_and_runs(
    tmp_path: Path,
    record_property: Callable[[str, object], None],
    name: str,
    kernels: str,
    permutation: Permutation,
    pixels: int,
    share: float,
) -> None:
    torch.manual_seed(0)
    network = find_architecture(f"torchvision:{name}").build(CLASSES).eval()
    safetensors.torch.save_file(network.state_dict(), tmp_path / "original.safetensors")
    options = EncodeOptions(
        architecture=f"torchvision:{name}",
        kernels=kernels,  # type: ignore[arg-type] # one word stands for a list of one
        permutation=permutation,
        hidden_size=16,
        steps=20,
    )
    result = encode(tmp_path / "original.safetensors", tmp_path / "x.nern", options)
    record_property("represented_share", result.report.represented_share)
    print(f"\n{name} {kernels}: {100 * result.report.represented_share:.1f} % of the parameters are represented")
    assert result.report.represented_share == pytest.approx(share, abs=5e-4)

    represented = {layer.name for layer in result.report.layers}
    original = read_checkpoint(tmp_path / "original.safetensors").tensors
    for tensor_name, tensor in original.items():
        if tensor_name not in represented:
            assert torch.equal(result.comparison.decoded.tensors[tensor_name], tensor), tensor_name
    network.load_state_dict(result.comparison.decoded.tensors, strict=True)
    with torch.inference_mode():
        assert network(torch.randn(2, 3, pixels, pixels)).isfinite().all()


ENCODE_AND_PRINT_PEAK_MEMORY = textwrap.dedent("""
    import re, sys
    from pathlib import Path
    from nern_core.encoder import encode
    from nern_core.contract.options import EncodeOptions
    from nern_core.contract.progress import Phase

    checkpoint, last_phase, options = Path(sys.argv[1]), sys.argv[2], EncodeOptions.model_validate_json(sys.argv[3])

    class Enough(Exception):
        pass

    def stop_after(progress):
        if list(Phase).index(progress.phase) > list(Phase).index(Phase(last_phase)):
            raise Enough

    try:
        encode(checkpoint, checkpoint.with_suffix(".nern"), options, stop_after)
    except Enough:
        pass
    # Not getrusage: its figure begins with that of the process that this one was started from.
    print(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])
""")
GIBIBYTE_IN_KIBIBYTES = 2**20


@pytest.fixture(scope="module")
def resnet50(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("resnet50") / "resnet50.safetensors"
    safetensors.torch.save_file(find_architecture("torchvision:resnet50").build(1000).state_dict(), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("last_phase", "hidden_size", "steps"),
    # With the default predictor, decoding takes minutes; its memory is that of a few blocks of fixed size.
    [(Phase.RECONSTRUCTION, None, 2), (Phase.EVALUATION, 64, 20)],
)
@pytest.mark.parametrize("kernels", ["spatial", "all"])
def test_resnet50_is_encoded_within_3_gib(
    resnet50: Path, last_phase: Phase, hidden_size: int | None, steps: int, kernels: str
) -> None:
    options = EncodeOptions(
        architecture="torchvision:resnet50",
        kernels=kernels,  # type: ignore[arg-type] # one word stands for a list of one
        permutation=NONE,
        hidden_size=hidden_size,
        steps=steps,
    )
    command = [sys.executable, "-c", ENCODE_AND_PRINT_PEAK_MEMORY, str(resnet50), last_phase, options.model_dump_json()]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    print(f"\nResNet50 {kernels}, hidden size {hidden_size}: {int(answer.stdout) / GIBIBYTE_IN_KIBIBYTES:.2f} GiB")
    assert int(answer.stdout) < 3 * GIBIBYTE_IN_KIBIBYTES
