"""What is trained. A new objective is one file here, one line in OBJECTIVES and one golden loss."""

from picturebook.objective import Objective
from picturebook.objectives.image_text import ImageText
from picturebook.objectives.soft_targets import SoftTargets, Supervised

OBJECTIVES: dict[str, type[Objective]] = {
    "image_text": ImageText,
    "soft_targets": SoftTargets,
    "supervised": Supervised,
}
