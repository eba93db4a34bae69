"""Batches of text lines, with the network's own fast tokenizer.

Only the `tokenizer.json` is read, by the library tokenizers: it describes a tokenizer and holds no code.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from nern_core.contract.errors import NernError
from nern_core.contract.extras import extra_error

_MOST_TOKENS: Final = 128
_LINES_PER_BATCH: Final = 32
# Values of an output in one batch: a language model has one for each token and each word of its vocabulary.
_MOST_VALUES: Final = 2**24
_ORDER_SEED: Final = 1
# Some networks count positions from behind the padding.
_SPARE_POSITIONS: Final = 2


class Tokenizer:
    """A fast tokenizer from the content of a `tokenizer.json`. Raises `NernError` (`bad_tokenizer`)."""

    def __init__(self, content: bytes) -> None:
        try:
            import tokenizers
        except ModuleNotFoundError as error:
            raise extra_error("Text needs", "transformers") from error
        self._tokenizer: Any = _guarded(lambda: tokenizers.Tokenizer.from_buffer(content))
        _guarded(self._tokenizer.no_padding)

    def encode(self, lines: Sequence[str], most: int) -> list[list[int]]:
        """Return the token ids of each line, at most `most`. Raises `NernError` (`bad_tokenizer`)."""
        _guarded(lambda: self._tokenizer.enable_truncation(most))
        return [encoded.ids for encoded in _guarded(lambda: self._tokenizer.encode_batch_fast(list(lines)))]

    @property
    def padding_id(self) -> int:
        """Return the id of the usual padding token; 0 without one."""
        ids = (self._tokenizer.token_to_id(token) for token in ("[PAD]", "<pad>", "<|endoftext|>", "</s>"))
        return next((found for found in ids if found is not None), 0)


def text_batches(
    lines: Sequence[str], tokenizer: Tokenizer, network: nn.Module, config: Mapping[str, Any]
) -> Iterator[dict[str, Tensor]]:
    """Yield batches of lines of similar length in a random order, always the same, as `read_batches` takes them.

    Lines are cut off after 128 tokens, or after as many as the network takes. Raises `NernError` (`bad_data`,
    `bad_tokenizer`).
    """
    ids = [found for found in tokenizer.encode(lines, _longest(config)) if found]
    if not ids:
        raise NernError("bad_data", "No line of the text has a token; write one example on each line.")
    rows = _embedded(network)
    largest = max(map(max, ids))
    if rows is not None and largest >= rows:
        raise NernError(
            "bad_tokenizer",
            f"The tokenizer has the token {largest}, but the network embeds only {rows:,}; use the tokenizer of this "
            "network.",
        )
    padding = tokenizer.padding_id if rows is None else min(tokenizer.padding_id, rows - 1)
    takes = inspect.signature(network.forward).parameters
    batches = _grouped(sorted(ids, key=len), rows or 1)
    for index in np.random.default_rng(_ORDER_SEED).permutation(len(batches)):
        yield _batch(batches[index], padding, takes)


def _longest(config: Mapping[str, Any]) -> int:
    known = [config.get(name) for name in ("max_position_embeddings", "n_positions")]
    positions = [value - _SPARE_POSITIONS for value in known if isinstance(value, int) and value > _SPARE_POSITIONS]
    return min([_MOST_TOKENS, *positions])


def _embedded(network: nn.Module) -> int | None:
    """Return the number of tokens that the network embeds, if it says so."""
    try:
        embedding = network.get_input_embeddings()  # type: ignore[operator] # a method of transformers' networks
    except (AttributeError, NotImplementedError):
        return None
    return embedding.num_embeddings if isinstance(embedding, nn.Embedding) else None


def _grouped(ids: Sequence[list[int]], vocabulary: int) -> list[list[list[int]]]:
    """Divide lines, which are sorted by their length, into batches whose outputs are small enough."""
    batches: list[list[list[int]]] = [[]]
    for line in ids:
        values = (len(batches[-1]) + 1) * len(line) * vocabulary
        if batches[-1] and (len(batches[-1]) == _LINES_PER_BATCH or values > _MOST_VALUES):
            batches.append([])
        batches[-1].append(line)
    return batches


def _batch(lines: Sequence[list[int]], padding: int, takes: Mapping[str, Any]) -> dict[str, Tensor]:
    longest = max(map(len, lines))
    ids = torch.tensor([line + [padding] * (longest - len(line)) for line in lines])
    mask = torch.tensor([[1] * len(line) + [0] * (longest - len(line)) for line in lines])
    inputs = {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": ids, "decoder_attention_mask": mask}
    return {name: tensor for name, tensor in inputs.items() if name in takes}


def _guarded(work: Any) -> Any:  # noqa: ANN401 # what tokenizers return
    """Do work of the library. Raises `NernError` (`bad_tokenizer`) for any of its errors."""
    try:
        return work()
    except BaseException as error:
        # A panic of the library is no `Exception`.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise NernError(
            "bad_tokenizer", f"The tokenizer.json cannot be used: {reason}; write it again with save_pretrained."
        ) from error
