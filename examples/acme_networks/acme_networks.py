"""A network of one's own, which an installed package adds to the values of --architecture and of the service."""

from torch import Tensor, nn


class Tagger(nn.Module):
    """Tags each of 1,000 words with one of 16 classes: an embedding, an LSTM and a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(1000, 64)
        self.lstm = nn.LSTM(64, 64, batch_first=True)
        self.tags = nn.Linear(64, 16)

    def forward(self, ids: Tensor) -> dict[str, Tensor]:
        """Return the logits of word ids (n, words): (n, words, 16)."""
        hidden, _ = self.lstm(self.words(ids))
        return {"logits": self.tags(hidden)}


def tagger() -> Tagger:
    """Make the network with fresh weights; the entry point in pyproject.toml names this function."""
    return Tagger()
