"""What is trained. A new objective is one file here, one line in OBJECTIVES and one golden loss."""

from picturebook.objective import Objective
from picturebook.objectives.coca import Coca
from picturebook.objectives.contrastive import Contrastive
from picturebook.objectives.dino import Dino
from picturebook.objectives.image_text import ImageText
from picturebook.objectives.own_teacher import OwnTeacher
from picturebook.objectives.soft_targets import SoftTargets, Supervised

OBJECTIVES: dict[str, type[Objective]] = {
    "coca": Coca,
    "contrastive": Contrastive,
    "dino": Dino,
    "image_text": ImageText,
    "own_teacher": OwnTeacher,
    "soft_targets": SoftTargets,
    "supervised": Supervised,
}
