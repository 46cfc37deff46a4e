"""What is compared: students, contestants and the ratios that are aimed at. No work is done here."""

from dataclasses import dataclass
from typing import Any

from picturebook.engine import cpu_prefers_bf16

BATCH = 64
TEMPERATURE, LABEL_WEIGHT = 2.0, 0.1
"""The loss of all that learn from labels: 0.1 H(y, q) + 0.9 T² KL(p ‖ q), which is picturebook's default."""


@dataclass(frozen=True)
class Case:
    """A student, and a teacher of the same architecture."""

    name: str
    title: str
    image_size: int
    model: str
    """What picturebook calls it."""
    model_args: dict[str, Any]
    network: str
    """What shared/networks.py calls it."""
    network_args: dict[str, Any]
    at_least: float
    """Images/s of picturebook over a peer at its defaults: the target."""


VIT = {"img_size": 64, "patch_size": 8}
CASES = (
    Case("resnet8", "ResNet-8 at 32 px", 32, "cifar_resnet20", {"depth": 1}, "resnet8", {}, 6.0),
    Case("resnet18", "ResNet-18 at 64 px", 64, "resnet18", {}, "resnet18", {}, 3.5),
    Case(
        "vit_tiny", "ViT-tiny, patch 8, at 64 px", 64, "vit_tiny_patch16_224", {"patch_size": 8}, "vit_tiny_patch16_224", VIT, 1.9
    ),
)
BF16 = cpu_prefers_bf16()
"""The precision of best flags: what is faster on this machine. tune.py tries the other too."""
BEST_TARGET, BARE_TARGET = 1.2, 0.97
"""The same over a peer at its best flags, and over a peer's own rate without a teacher."""


@dataclass(frozen=True)
class Contestant:
    """A peer with one set of flags."""

    peer: str
    """Its folder here; its environment has the same name."""
    setting: str
    """defaults | best | bare (best flags, no teacher) | live (picturebook with a teacher that answers at every step)."""
    teacher: bool = True
    fast: bool = False
    """channels_last, fused optimiser, loader workers that stay, and `bf16`."""
    bf16: bool = BF16
    """Where `fast`: autocast to bf16, and written-out attention."""
    live: bool = False
    workers: int = 0
    """Processes that load pictures."""
    alone: frozenset[str] = frozenset()
    """Cases in which there are none of these: pictures are loaded by the process that trains."""
    compiled: frozenset[str] = frozenset()
    """Cases in which torch.compile is on."""
    classifies: bool = True
    """Whether it ends in a classifier."""

    @property
    def name(self) -> str:
        return f"{self.peer} {self.setting}"

    def num_workers(self, case: Case) -> int:
        """Processes that load pictures, in this case."""
        return 0 if case.name in self.alone else self.workers

    def flags(self, case: Case) -> dict[str, bool]:
        """For the worker."""
        switches = {"teacher": self.teacher, "fast": self.fast, "bf16": self.fast and self.bf16, "live": self.live}
        return switches | {"compile": case.name in self.compiled}


_SMALL = frozenset({"resnet8"})
OURS = Contestant("picturebook", "defaults")
CONTESTANTS = (
    OURS,
    Contestant("picturebook", "live", live=True),
    Contestant("picturebook", "bare", teacher=False),
    Contestant("plain", "defaults"),
    Contestant("plain", "best", fast=True, workers=1, compiled=_SMALL),
    Contestant("plain", "bare", fast=True, workers=1, compiled=_SMALL, teacher=False),
    Contestant("torchdistill", "defaults"),
    Contestant("torchdistill", "best", fast=True, workers=1, compiled=_SMALL),
    Contestant("torchdistill", "bare", fast=True, workers=1, compiled=_SMALL, teacher=False),
    Contestant("lightly_train", "defaults", classifies=False),
    Contestant("lightly_train", "best", fast=True, workers=1, alone=_SMALL, classifies=False),
)
TITLES = {"plain": "plain PyTorch", "torchdistill": "torchdistill 1.1.5", "lightly_train": "lightly-train 0.18"}


def target_of(case: Case, contestant: Contestant) -> float | None:
    """The least ratio of picturebook's rate to this contestant's that is aimed at; None for picturebook itself."""
    if contestant.peer == OURS.peer:
        return None
    return {"defaults": case.at_least, "best": BEST_TARGET, "bare": BARE_TARGET}[contestant.setting]
