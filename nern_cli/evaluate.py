"""`nern evaluate`: the accuracy of a checkpoint, or the perplexity of a causal language model."""

from pathlib import Path
from typing import Annotated

import typer

from nern_cli.arguments import CheckpointKey, CheckpointPath, EncodingArchitecture, Json
from nern_cli.display import print_json
from nern_cli.encode_options import architecture_in_folder
from nern_cli.option_words import with_flags
from nern_cli.terminal_text import print_line, print_note
from nern_core.contract.errors import NernError


def evaluate(
    weights: CheckpointPath,
    dataset: Annotated[Path, typer.Option(help="Folder or file of labelled images, labelled arrays, or text lines.")],
    architecture: EncodingArchitecture = None,
    key: CheckpointKey = None,
    json: Json = False,
) -> None:
    """Measure the accuracy of WEIGHTS (a checkpoint or a .nern file) on the test split.

    Of causal language models in folders of the Hugging Face Hub, the perplexity is measured.
    """
    from nern_core.analysis.comparison import evaluator_for
    from nern_core.decoder import decode_encoding
    from nern_core.formats.encoding_structure import is_encoding
    from nern_core.networks.input_evaluator import InputEvaluator
    from nern_core.networks.registry import structure_of_architecture
    from nern_core.networks.transformers_models.names import is_transformers
    from nern_core.representations.files import read_encoding
    from nern_core.tensors.checkpoint import read_checkpoint

    if is_encoding(weights):
        encoding = read_encoding(weights)
        name = architecture or encoding.document.architecture
        checkpoint = decode_encoding(encoding)
    else:
        name = architecture or architecture_in_folder(weights)
        structure = None if name is None or is_transformers(name) else structure_of_architecture(name)
        checkpoint = read_checkpoint(weights, key, structure)
    for note in checkpoint.notes:
        print_note(with_flags(note))
    evaluator = evaluator_for(weights, checkpoint, name, dataset)
    for note in evaluator.notes:
        print_note(note)
    measured: dict[str, float | None] = {}
    if isinstance(evaluator, InputEvaluator):
        quality = evaluator.measure()
        measured["accuracy"] = quality.original_accuracy
        measured["perplexity"] = quality.fidelity.original_perplexity
    else:
        measured["accuracy"] = evaluator.accuracy(checkpoint.tensors)
    found = {figure: value for figure, value in measured.items() if value is not None}
    if not found:
        raise NernError(
            "bad_data",
            f"`nern evaluate` needs labels, and '{dataset}' has none; `nern report` compares the outputs with those of "
            "the original.",
        )
    if json:
        print_json(found)
        return
    if "accuracy" in found:
        print_line(f"{found['accuracy']:.2f} % on the test split of {dataset}")
    if "perplexity" in found:
        print_line(f"perplexity {found['perplexity']:.2f} on the held-out inputs of {dataset}")
