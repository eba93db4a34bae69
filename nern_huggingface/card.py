"""Model card of an encoding: `README.md`, with the hub's metadata at the top, and `config.json`."""

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from nern_core.container.document import Document
from nern_core.contract.report import Report


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """Facts that only the owner of a model knows: its name, the base model, the licence, and the repository."""

    name: str
    base_model: str | None = None
    license: str | None = None
    repository: str = "USER/MODEL"


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracy:
    """Accuracy on the test split in percent, of the original and of the encoding."""

    dataset: str
    original: float
    reconstructed: float

    @property
    def fraction(self) -> float:
        """The accuracy of the encoding from 0 to 1, as the hub expects it."""
        return round(self.reconstructed / 100, 6)


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """Facts from an encoding and its report."""

    architecture: str | None
    representation: str
    recipe: str
    source_bytes: int
    source_sha256: str
    encoding_bytes: int
    encoding_sha256: str
    weights_sha256: str
    relative_error: float | None
    accuracy: Accuracy | None
    nern_version: str
    format_version: int

    @classmethod
    def of(
        cls,
        document: Document,
        report: Report | None,
        *,
        encoding_bytes: int,
        encoding_sha256: str,
        weights_sha256: str,
        format_version: int,
    ) -> "Card":
        """Create a card; without a report, it has neither errors nor accuracies."""
        return cls(
            architecture=document.architecture,
            representation=document.kind,
            recipe=document.options.recipe.value,
            source_bytes=document.source.bytes,
            source_sha256=document.source.sha256,
            encoding_bytes=encoding_bytes,
            encoding_sha256=encoding_sha256,
            weights_sha256=weights_sha256,
            format_version=format_version,
            relative_error=None if report is None else report.metrics.relative_error,
            accuracy=_accuracy(report),
            nern_version=version("nern") if report is None else report.nern_version,
        )

    @property
    def ratio(self) -> float:
        """Bytes of the original over bytes of the encoding."""
        return round(self.source_bytes / self.encoding_bytes, 4)


def render_readme(card: Card, about: About) -> str:
    """Return the card as Markdown, with YAML at the top in which every value is written as JSON."""
    environment = Environment(
        loader=PackageLoader("nern_huggingface"),
        autoescape=False,  # noqa: S701 # Markdown whose content comes from its owner
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("README.md").render(card=card, about=about)


def render_config(card: Card) -> str:
    """Return the configuration; the hub also counts downloads by it."""
    config = {
        "model_type": "nern",
        "architectures": [] if card.architecture is None else [card.architecture],
        "nern_version": card.nern_version,
        "format_version": card.format_version,
        "representation": card.representation,
        "recipe": card.recipe,
        "source": {"bytes": card.source_bytes, "sha256": card.source_sha256},
        "encoding": {"bytes": card.encoding_bytes, "sha256": card.encoding_sha256},
        "weights": {"sha256": card.weights_sha256},
    }
    return json.dumps(config, indent=2) + "\n"


def _accuracy(report: Report | None) -> Accuracy | None:
    if report is None or report.options.dataset is None:
        return None
    original, reconstructed = report.metrics.original_accuracy, report.metrics.reconstructed_accuracy
    if original is None or reconstructed is None:
        return None
    # The path of the data set is private.
    return Accuracy(dataset=Path(report.options.dataset).name, original=original, reconstructed=reconstructed)
