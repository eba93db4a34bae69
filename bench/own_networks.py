"""A network of one's own, with a recurrent part and several outputs, as a user would write it."""

from torch import Tensor, nn


class Forecaster(nn.Module):
    """Reads series of eight sensors: a gated recurrent network, a class of the series, and its next values."""

    def __init__(self) -> None:
        super().__init__()
        self.mixing = nn.Conv1d(8, 32, 5, padding=2)
        self.series = nn.GRU(32, 96, num_layers=2, batch_first=True, bidirectional=True)
        self.norm = nn.LayerNorm(192)
        self.kind = nn.Linear(192, 12)
        self.forecast = nn.Sequential(nn.Linear(192, 64), nn.GELU(), nn.Linear(64, 8))

    def forward(self, values: Tensor) -> dict[str, Tensor]:
        """Return logits (n, 12), forecasts (n, steps, 8) and states (n, 192) of series (n, steps, 8)."""
        mixed = self.mixing(values.transpose(1, 2)).relu().transpose(1, 2)
        states = self.norm(self.series(mixed)[0])
        last = states[:, -1]
        return {"logits": self.kind(last), "forecast": self.forecast(states), "state": last}
