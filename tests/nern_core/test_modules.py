"""Networks in memory, of any kind, with inputs of any kind."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import nern_core
from nern_core import EncodeOptions, NernError, open_comparison
from nern_core.contract.verdict import VerdictLevel


class Tagger(nn.Module):
    """Several outputs of several shapes, from an embedding, an LSTM and a one-dimensional convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(100, 32)
        self.mix = nn.Conv1d(32, 32, 3, padding=1)
        self.lstm = nn.LSTM(32, 32, batch_first=True)
        self.tags = nn.Linear(32, 8)

    def forward(self, ids: Tensor, scale: float = 1.0) -> dict[str, Any]:
        hidden, state = self.lstm(self.mix(self.words(ids).mT).mT * scale)
        return {"logits": self.tags(hidden), "state": state}


class Experts(nn.Module):
    """A stack of matrices, which are parameters of the network itself."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = nn.Parameter(torch.randn(4, 24, 24) / 24**0.5)
        self.gate = nn.Parameter(torch.randn(4))

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        each = torch.einsum("nd,edk->enk", rows, self.stack).tanh()
        return (each * self.gate.softmax(0)[:, None, None]).sum(0), each


class Detector(nn.Module):
    """A list of images of different sizes, as detectors take it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3))

    def forward(self, images: list[Tensor]) -> list[Tensor]:
        return [self.layers(image[None]) for image in images]


def ids() -> list[Tensor]:
    return [torch.randint(100, (8, 6)) for _ in range(20)]


def images_in_lists() -> list[Any]:
    return [([torch.rand(3, 8 + number, 9), torch.rand(3, 12, 10)],) for number in range(4)]


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any], list[str]]] = {
    "recurrent": (Tagger, ids, ["logits", "state.0", "state.1"]),
    "experts": (Experts, lambda: [torch.randn(8, 24) for _ in range(10)], ["0", "1"]),
    "lists of images": (Detector, images_in_lists, ["0", "1"]),
    "volumes": (
        lambda: nn.Sequential(nn.Conv3d(1, 16, 3), nn.BatchNorm3d(16), nn.ReLU(), nn.Conv3d(16, 16, 3)),
        lambda: [torch.randn(2, 1, 6, 6, 6) for _ in range(6)],
        ["output"],
    ),
    "transformer": (
        lambda: nn.TransformerEncoderLayer(32, 4, 64, batch_first=True),
        lambda: [torch.randn(4, 5, 32) for _ in range(6)],
        ["output"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_network_of_any_kind_is_encoded_measured_and_loaded(tmp_path: Path, case: str) -> None:
    build, inputs, names = CASES[case]
    torch.manual_seed(0)
    network = build().eval()
    before = copy.deepcopy(network.state_dict())
    result = nern_core.encode(network, tmp_path / "x.nern", EncodeOptions(steps=15, target_ratio=6), inputs=inputs())
    fidelity = result.report.metrics.fidelity
    assert fidelity is not None
    assert [output.name for output in fidelity.outputs] == names
    assert fidelity.relative_error < 0.5
    assert result.report.curve
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    loaded = nern_core.load(tmp_path / "x.nern", build())
    assert all(tensor.isfinite().all() for tensor in loaded.state_dict().values())


def test_training_makes_the_outputs_more_faithful(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, inputs = Tagger(), ids()
    errors = {}
    for steps in (1, 150):
        options = EncodeOptions(steps=steps, target_ratio=12)
        metrics = nern_core.encode(network, tmp_path / "x.nern", options, inputs=inputs).report.metrics
        assert metrics.fidelity is not None
        errors[steps] = metrics.fidelity.relative_error
    assert errors[150] < 0.95 * errors[1]


def test_the_option_outputs_names_outputs_and_modules_to_compare(tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = EncodeOptions(steps=5, outputs=("logits", "mix"))
    metrics = nern_core.encode(Tagger(), tmp_path / "x.nern", options, inputs=ids()).report.metrics
    assert metrics.fidelity is not None
    assert [output.name for output in metrics.fidelity.outputs] == ["logits", "mix"]
    with pytest.raises(NernError, match="`outputs` needs inputs"):
        nern_core.encode(Tagger(), tmp_path / "x.nern", options)


def test_labels_beside_the_inputs_give_accuracies(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
    inputs = [torch.randn(20, 16) for _ in range(10)]
    labelled = [(batch, network(batch).argmax(dim=1)) for batch in inputs]
    result = nern_core.encode(network, tmp_path / "x.nern", EncodeOptions(steps=20), inputs=labelled)
    metrics = result.report.metrics
    assert metrics.original_accuracy == 100
    assert metrics.fidelity is not None
    assert metrics.reconstructed_accuracy == metrics.fidelity.agreement


class Branches(nn.Module):
    """Two branches, of which inputs choose one, and a table of which they use some rows."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(60, 32)
        self.used, self.unused, self.last = nn.Linear(32, 64), nn.Linear(32, 64), nn.Linear(64, 4)

    def forward(self, ids: Tensor) -> Tensor:
        branch = self.used if bool((ids < 60).all()) else self.unused
        found: Tensor = self.last(branch(self.words(ids).mean(dim=1)).relu())
        return found


def test_weights_that_no_batch_reaches_are_rounded_and_named(tmp_path: Path) -> None:
    torch.manual_seed(0)
    # So few batches that none is held out to judge the training.
    network, inputs = Branches(), [torch.randint(20, (8, 6)) for _ in range(7)]
    decoded: dict[int, dict[str, Tensor]] = {}
    for steps in (1, 400):
        options = EncodeOptions(steps=steps, target_ratio=7)
        result = nern_core.encode(network, tmp_path / "x.nern", options, inputs=inputs)
        decoded[steps] = nern_core.decode(tmp_path / "x.nern").tensors
    before = network.state_dict()

    def error(steps: int, name: str, rows: slice = slice(None)) -> float:
        return float((decoded[steps][name] - before[name])[rows].norm() / before[name][rows].norm())

    assert error(400, "unused.weight") < 1.1 * error(1, "unused.weight") < 0.25
    assert error(400, "words.weight", slice(20, None)) < 1.4 * error(1, "words.weight", slice(20, None))
    assert (
        "No batch of the training reached 40 of 60 filters of 'words.weight', 'unused.weight'; these weights were "
        "rounded without training. If they are needed, give inputs that use them, or more steps."
    ) in result.report.metrics.notes


def certain(network: nn.Sequential) -> None:
    """Make a classifier as certain of its answers as trained ones are."""
    last = network[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.mul_(30)


def test_the_verdict_without_labels_follows_the_answers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
    certain(network)
    inputs = [torch.randn(100, 16) for _ in range(10)]
    options = EncodeOptions(target_ratio=2.5, steps=50)
    verdict = nern_core.encode(network, tmp_path / "x.nern", options, inputs=inputs).report.metrics.verdict
    assert verdict is not None
    assert verdict.level is VerdictLevel.FAITHFUL
    assert "of the answers are the original's; the outputs differ by" in verdict.sentence


def test_without_inputs_the_weights_alone_are_encoded(tmp_path: Path) -> None:
    result = nern_core.encode(Tagger(), str(tmp_path / "x.nern"))
    assert result.report.metrics.fidelity is None
    assert result.report.metrics.relative_error < 0.03


def test_the_file_belongs_to_the_saved_state_dict_of_the_network(tmp_path: Path) -> None:
    network = Experts()
    nern_core.encode(network, tmp_path / "x.nern")
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    compared = open_comparison(tmp_path / "w.safetensors", tmp_path / "x.nern")
    assert set(compared.original.tensors) == {"stack", "gate"}


def test_shared_tensors_count_once_in_the_size_that_a_ratio_is_of(tmp_path: Path) -> None:
    words, scores = nn.Embedding(100, 64), nn.Linear(64, 100, bias=False)
    scores.weight = words.weight
    network = nn.Sequential(words, scores)
    metrics = nern_core.encode(network, tmp_path / "x.nern", EncodeOptions(target_ratio=6.0)).report.metrics
    assert words.weight.nbytes <= metrics.tensor_bytes < words.weight.nbytes + 1000
    assert 6 * (tmp_path / "x.nern").stat().st_size <= metrics.tensor_bytes
    nern_core.load(tmp_path / "x.nern", network)
    assert scores.weight is words.weight


def test_a_predictor_is_distilled_on_any_inputs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = EncodeOptions(representation="predictor", hidden_size=8, kernels=("all",), steps=20)
    metrics = nern_core.encode(Experts(), tmp_path / "x.nern", options, inputs=[torch.randn(8, 24)] * 4).report.metrics
    assert metrics.fidelity is not None


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"architecture": "digits-cnn"}, "no_file"),
        ({"recipe": "paper"}, "needs_images"),
        ({"key": "model"}, "no_file"),
    ],
)
def test_options_that_do_not_apply_to_a_network_are_refused(tmp_path: Path, changes: dict[str, Any], code: str) -> None:
    with pytest.raises(NernError) as error:
        nern_core.encode(Experts(), tmp_path / "x.nern", EncodeOptions(**changes), inputs=[torch.randn(8, 24)] * 4)
    assert error.value.code == code


def test_weights_that_do_not_fit_a_network_are_not_loaded(tmp_path: Path) -> None:
    nern_core.encode(Experts(), tmp_path / "x.nern")
    with pytest.raises(NernError, match="does not fit the architecture Tagger") as error:
        nern_core.load(tmp_path / "x.nern", Tagger())
    assert error.value.code == "architecture_mismatch"


def test_a_network_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NernError, match="The network Identity has no weights") as error:
        nern_core.encode(nn.Identity(), tmp_path / "x.nern")
    assert error.value.code == "no_tensors"


def test_extra_states_are_kept(tmp_path: Path) -> None:
    class Counting(nn.Linear):
        def get_extra_state(self) -> Any:
            return {"seen": 3}

        def set_extra_state(self, state: Any) -> None:
            self.seen = state["seen"]

    nern_core.encode(Counting(32, 32), tmp_path / "x.nern")
    assert nern_core.decode(tmp_path / "x.nern").extra_states == {"_extra_state": {"seen": 3}}


class Held(nn.Module):
    """A network that holds another one, as the modules of Lightning do."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


def compiled(network: nn.Module) -> nn.Module:
    wrapper: nn.Module = torch.compile(network, backend="eager")  # type: ignore[assignment] # a wrapper of the network
    return wrapper


@pytest.mark.parametrize("wrap", [nn.DataParallel, compiled, AveragedModel, Held], ids=lambda of: of.__name__)
def test_weights_are_put_into_a_wrapped_network_and_those_of_one_into_the_network(
    wrap: Callable[[nn.Module], nn.Module], tmp_path: Path
) -> None:
    network, other, third = Tagger(), Tagger(), Tagger()
    nern_core.encode(network, tmp_path / "plain.nern")
    decoded = nern_core.decode(tmp_path / "plain.nern").tensors
    nern_core.load(tmp_path / "plain.nern", wrap(other))
    assert all(torch.equal(tensor, decoded[name]) for name, tensor in other.state_dict().items()) is (
        wrap is not AveragedModel
    )
    loaded = nern_core.load(tmp_path / "plain.nern", wrap(third))
    nern_core.encode(loaded, tmp_path / "wrapped.nern")
    back = nern_core.load(tmp_path / "wrapped.nern", Tagger()).state_dict()
    assert all(tensor.shape == back[name].shape for name, tensor in decoded.items())


def test_the_permissions_of_a_file_are_those_of_the_umask(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    path = tmp_path / "x.nern"
    nern_core.encode(nn.Linear(8, 8), path)
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode
    path.chmod(0o640)
    nern_core.encode(nn.Linear(8, 8), path)
    assert path.stat().st_mode & 0o777 == 0o640
