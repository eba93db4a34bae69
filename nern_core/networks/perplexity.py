"""The perplexity of causal language models: an original, and a changed network with the same tokens."""

import math
from collections.abc import Mapping
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nern_core.networks.model_inputs import ModelInputs

# Ends of the names of causal language models in transformers.
_CAUSAL: Final = ("ForCausalLM", "LMHeadModel")
# exp(200), about 7e86, is reported instead of larger perplexities, and of those that are no numbers.
_MOST_NATS: Final = 200.0
_DIGITS: Final = 6


class PerplexityMeter:
    """Sums up the surprisal of both networks."""

    def __init__(self) -> None:
        self._tokens = 0
        self._surprisal = self._changed_surprisal = 0.0

    def add(self, original: Tensor, changed: Tensor, tokens: Tensor, mask: Tensor | None) -> None:
        """Add the logits (n, t, words) for tokens (n, t); `mask` is 0 at padding."""
        counted = torch.ones_like(tokens[:, 1:]) if mask is None else mask[:, 1:] * mask[:, :-1]
        self._tokens += int((counted != 0).sum())
        self._surprisal += _surprisal(original, tokens, counted)
        self._changed_surprisal += _surprisal(changed, tokens, counted)

    @property
    def original(self) -> float | None:
        """Return the perplexity of the original; None if nothing was added."""
        return _perplexity(self._surprisal, self._tokens)

    @property
    def changed(self) -> float | None:
        """Return the perplexity of the changed network; None if nothing was added."""
        return _perplexity(self._changed_surprisal, self._tokens)


def _surprisal(logits: Tensor, tokens: Tensor, counted: Tensor) -> float:
    """Return the negative log-likelihood in nats of the counted tokens after the first of each row."""
    lost = F.cross_entropy(logits[:, :-1].transpose(1, 2).double(), tokens[:, 1:].long(), reduction="none")
    return float(lost[counted != 0].sum())


def _perplexity(surprisal: float, tokens: int) -> float | None:
    """Return the perplexity, rounded, and at most a finite number; None without tokens."""
    if not tokens:
        return None
    nats = surprisal / tokens
    return round(math.exp(min(nats, _MOST_NATS)), _DIGITS) if not math.isnan(nats) else math.exp(_MOST_NATS)


def predicted_tokens(
    network: nn.Module, inputs: ModelInputs, logits: Tensor | None
) -> tuple[Tensor, Tensor | None] | None:
    """Return the tokens that a causal language model predicts, and their mask; None for any other network."""
    if not type(network).__name__.endswith(_CAUSAL) or not isinstance(inputs, Mapping) or logits is None:
        return None
    tokens, mask = inputs.get("input_ids"), inputs.get("attention_mask")
    if not isinstance(tokens, Tensor) or tokens.ndim != 2 or logits.shape[:-1] != tokens.shape or tokens.shape[1] < 2:
        return None
    if int(tokens.max()) >= logits.shape[-1] or int(tokens.min()) < 0:
        return None
    return tokens, mask if isinstance(mask, Tensor) and mask.shape == tokens.shape else None
