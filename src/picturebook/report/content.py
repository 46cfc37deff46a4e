"""What a report says, as plain numbers and words; whoever measured them fills this in."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a learning curve."""

    name: str
    """Unique in its figure: the arm it belongs to, which gives the line its words and colour; other names stay as they are."""
    points: tuple[tuple[float, float], ...]
    """(epoch, value) in the order of training; accuracies in [0, 1]. Points that are not finite are left out."""
    kept: tuple[float, float] | None = None
    """The point whose weights were kept, where an earlier epoch than the last was chosen."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One trained model and what it reached on the test pictures. A number that was not measured is NaN."""

    name: str
    """Short and unique, e.g. the folder's name."""
    label: str
    """The same in human words."""
    accuracy: float
    """Share of test pictures that were named rightly, in [0, 1]."""
    low: float
    """Lower end of the accuracy's 95 % interval, in [0, 1]."""
    high: float
    """Upper end of the accuracy's 95 % interval, in [0, 1]."""
    nll: float
    """Mean negative log likelihood in nats, at least 0."""
    ece: float
    """Expected calibration error, in [0, 1]."""
    seconds: float
    """Wall-clock time of its training."""
    num_test: int
    """Test pictures it was measured on."""
    note: str = ""
    """What a reader must know before comparing it, e.g. that it reads text at test time."""


@dataclass(frozen=True, slots=True, eq=False)
class Attention:
    """One test picture and where the words looked in it."""

    image: UInt8[np.ndarray, "height width 3"]
    """RGB."""
    text: str
    """The words that asked."""
    weights: Float[np.ndarray, "rows columns"]
    """Attention over the image's tokens as a grid that covers the whole image; at least 0, sums to 1."""
    label: str
    """The true class."""
    prediction: str
    """The class that was said."""
    probability: float
    """Probability of the prediction, in [0, 1]."""

    def __post_init__(self) -> None:
        least, total = float(self.weights.min()), float(self.weights.sum())
        assert least >= 0, f"weights: need ≥ 0, got {least}"
        assert abs(total - 1) < 1e-2, f"weights: need sum 1, got {total}"


@dataclass(frozen=True, slots=True)
class Report:
    """Everything on the page, in the order of the page. A part that is empty is left out of the page."""

    title: str
    sentence: str
    """The result in one sentence."""
    setting: tuple[tuple[str, str], ...]
    """(name, value) rows of what was run: data, classes, encoders, seed."""
    majority: float
    """Accuracy of always saying the most frequent class, in [0, 1]."""
    arms: tuple[Arm, ...]
    curves_accuracy: tuple[Curve, ...]
    """Validation accuracy in [0, 1] by epoch."""
    curves_loss: tuple[Curve, ...]
    """Training loss by epoch."""
    attention: tuple[Attention, ...]
    cost: tuple[tuple[str, float], ...]
    """(stage, wall-clock seconds) in the order they ran."""
    commands: tuple[str, ...]
    """Shell lines that repeat the run."""
    notes: tuple[str, ...]
    credits: str = ""
    """Whose data, weights and drawings these are."""
