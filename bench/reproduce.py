"""The paper's table, reproduced: CIFAR-10 ResNets by hidden size and permutation, and an ablation.

python -m bench.reproduce [--only TEXT …] [--seeds 0 1] runs the cases whose names contain a TEXT, records each in
bench/results/reproduce.json as soon as it is done, and writes bench/results/reproduce.md from all recorded cases.
Accuracy is that of the finished file on the 10,000 test images, measured once, after the last step. The whole takes
many hours; the figures are meaningless if the machine is busy with other work.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.assets import DATASET, RESULTS, checkpoint_of
from bench.machine import describe_machine
from bench.reproduce_page import page
from nern_core.contract.options import EncodeOptions, Permutation
from nern_core.encoder import encode
from nern_core.recipes import Recipe
from nern_core.recipes.data_free import DATA_FREE
from nern_core.recipes.fast import FAST
from nern_core.representations.predicted.distill import DistillationConfig, LossTerm
from nern_core.representations.predicted.embedding import FourierEncoding
from nern_core.representations.predicted.sampling import SamplingConfig, SamplingKind
from nern_core.training.clock import Share

_ABLATION_SECONDS = 45.0
_SECONDS = {
    (20, 140): 60.0,
    (20, 160): 300.0,
    (20, 180): 1200.0,
    (56, 280): 400.0,
    (56, 320): 1500.0,
}
# Cross-filter has the long budgets; all permutations are compared at this one.
_SHORT_SECONDS = {20: 60.0, 56: 300.0}
_NOTHING = LossTerm(weight=0.0)
_ALONE = LossTerm(weight=1.0)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One encoding to measure."""

    name: str
    table: str
    depth: int
    hidden_size: int
    permutation: Permutation
    seconds: float
    recipe: Recipe


def main() -> None:
    """Measure, record, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[""], help="run only cases whose names contain one of these texts")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--list", action="store_true", help="print the names of the cases and stop")
    arguments = parser.parse_args()
    chosen = [case for case in cases() if any(part in case.name for part in arguments.only)]
    if arguments.list:
        print("\n".join(f"{case.name}: {case.seconds:.0f} s" for case in chosen))
        return
    record = RESULTS / "reproduce.json"
    runs: dict[str, Any] = json.loads(record.read_text()) if record.exists() else {}
    for seed in arguments.seeds:
        for case in chosen:
            runs[f"{case.name}, seed {seed}"] = measure(case, seed)
            record.write_text(json.dumps(runs, indent=2) + "\n")
            (RESULTS / "reproduce.md").write_text(page(runs))


def cases() -> Iterator[Case]:
    """Yield all cases: the published table, then the ablation on ResNet20 with hidden size 160."""
    for (depth, hidden_size), seconds in _SECONDS.items():
        for permutation in Permutation:
            crossed = permutation is Permutation.CROSS_FILTER
            yield Case(
                name=f"resnet{depth} hidden {hidden_size} {permutation}",
                table="published",
                depth=depth,
                hidden_size=hidden_size,
                permutation=permutation,
                seconds=seconds if crossed else _SHORT_SECONDS[depth],
                recipe=FAST,
            )
    for name, recipe in ablation().items():
        yield Case(
            name=f"ablation {name}",
            table="ablation",
            depth=20,
            hidden_size=160,
            permutation=Permutation.CROSS_FILTER,
            seconds=_ABLATION_SECONDS,
            recipe=recipe,
        )
    yield Case(
        name="data-free resnet20 hidden 160 cross-filter",
        table="data-free",
        depth=20,
        hidden_size=160,
        permutation=Permutation.CROSS_FILTER,
        seconds=300.0,
        recipe=DATA_FREE,
    )


def ablation() -> dict[str, Recipe]:
    """Return variants of the recipe `fast`, each with one change."""
    whole = Share(seconds=1.0, steps=1.0)
    features = LossTerm(weight=1.0)
    return {
        "fast": FAST,
        "reconstruction alone": replace(
            with_predictor(reconstruction=replace(FAST.predictor.reconstruction, share=whole)),
            images=replace(FAST.images, source="synthesized"),
        ),
        "reconstruction weighted by Fisher information": with_predictor(
            reconstruction=replace(FAST.predictor.reconstruction, fisher_images=512)
        ),
        "logits alone": distilled(reconstruction=_NOTHING),
        "logits alone, published divergence": distilled(reconstruction=_NOTHING, logit_distance="published"),
        "logits by exact divergence": distilled(logit_distance="exact"),
        "features alone": distilled(reconstruction=_NOTHING, logits=_NOTHING, features=features),
        "features and reconstruction": distilled(logits=_NOTHING, features=features),
        "logits and features": distilled(reconstruction=_NOTHING, features=features),
        "logits, features and reconstruction": distilled(features=features),
        "without mixup": replace(FAST, images=replace(FAST.images, mixup=False)),
        "sampling uniform without replacement": sampled("uniform", replacement=False),
        "sampling by magnitude": sampled("magnitude", replacement=True),
        "sampling a random layer": sampled("random-layer"),
        "Fourier encoding": with_predictor(variant=replace(FAST.predictor.variant, encoding=FourierEncoding())),
        "data-free": DATA_FREE,
        "noise instead of data": replace(FAST, images=replace(FAST.images, source="noise", mixup=False)),
    }


def distilled(**changes: Any) -> Recipe:  # noqa: ANN401 # the fields of DistillationConfig
    """Return the recipe with other settings for its last phase."""
    config: DistillationConfig = replace(FAST.predictor.distillation, **changes)
    return with_predictor(distillation=config)


def with_predictor(**changes: Any) -> Recipe:  # noqa: ANN401 # the fields of PredictorSettings
    """Return the recipe with other settings of the predictor."""
    return replace(FAST, predictor=replace(FAST.predictor, **changes))


def sampled(kind: SamplingKind, *, replacement: bool = True) -> Recipe:
    """Return the recipe with another sampling of kernels in the reconstruction phase."""
    in_batches = kind in {"uniform", "magnitude"}
    sampling = SamplingConfig(kind=kind, kernels_per_step=4096 if in_batches else 0, replacement=replacement)
    return with_predictor(reconstruction=replace(FAST.predictor.reconstruction, sampling=sampling))


def measure(case: Case, seed: int) -> dict[str, Any]:
    """Encode once; return the options and the results."""
    options = EncodeOptions(
        architecture=f"cifar-resnet{case.depth}",
        dataset=str(DATASET),
        hidden_size=case.hidden_size,
        permutation=case.permutation,
        seconds=case.seconds,
        seed=seed,
    )
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        report = encode(checkpoint_of(case.depth), Path(folder) / "out.nern", options, recipe=case.recipe).report
    last = {point.phase: point for point in report.curve}
    result = {
        "table": case.table,
        "network": f"ResNet{case.depth}",
        "hidden_size": case.hidden_size,
        "permutation": case.permutation.value,
        "seed": seed,
        "budget_seconds": case.seconds,
        "steps": {phase: point.step for phase, point in last.items()},
        "last_loss": {phase: point.loss for phase, point in last.items()},
        "load_before": round(load, 2),
        "metrics": report.metrics.model_dump(),
        "machine": describe_machine(),
    }
    metrics = report.metrics
    print(f"{case.name}, seed {seed}: {metrics.reconstructed_accuracy} %, {metrics.file_bytes:,} bytes", flush=True)
    return result


if __name__ == "__main__":
    main()
