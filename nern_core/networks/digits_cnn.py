"""The small network of the example in `examples/`: scikit-learn's digits, 8x8 pixels."""

from torch import Tensor, nn


class DigitsCnn(nn.Module):
    """Three 3x3 convolutions and a classifier; about 60,000 weights."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, 3, 8, 8) to logits (n, classes)."""
        return self.classifier(self.features(x).mean(dim=(2, 3)))  # type: ignore[no-any-return] # modules return Any
