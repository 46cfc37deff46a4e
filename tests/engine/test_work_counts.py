"""What a step and a run must not do twice, or at all: no time is asserted, work is counted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from picturebook.config import run_recipe
from picturebook.data import decoding
from picturebook.data.loaders import TrainingBatches
from picturebook.engine import Training, build_optimizer
from picturebook.engine.checkpoints import State
from picturebook.engine.parts import Trained
from picturebook.engine.stepping import Stepper
from picturebook.models.image_encoders import ImageEncoder
from picturebook.models.text_encoders import TextEncoder
from picturebook.objectives.soft_targets import SoftTargetOptions, SoftTargets
from picturebook.teachers import ClassifierTeacher
from toy_runs import make_stages

Make = Callable[..., Any]

WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2", "unique_dim", "unique_consecutive"}
"""Operations whose answer or shape the processor has to wait for."""


class Waiting(TorchDispatchMode):
    """Counts operations that make the processor wait for a device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = operation.overloadpacket.__name__
        if name in WAITS or (name in ("index", "index_put_") and any(i is not None and i.dtype == torch.bool for i in args[1])):
            self.found.append(name)
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("teacher", ["stored", "live"])
@pytest.mark.parametrize("changes", [{}, {"accumulate": 2, "average": 0.9}], ids=["plain", "parts and average"])
def test_a_step_waits_for_nothing_on_a_device(
    recipe_options: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, teacher: str, changes: dict[str, Any]
) -> None:
    views = {"rotate": 10.0, "grey": 0.2, "erase": 0.3, "hue": 0.1, "solarise": 0.2, "posterise": 0.2, "blur": 0.3, "cutmix": 0.5}
    stages = make_stages(recipe_options("supervised", tmp_path / "run", views=views, train={**changes, "epochs": 2}))
    targets: Any = ClassifierTeacher(stages.new_student("encoder"))
    if teacher == "stored":
        targets = stages.label("targets", targets, fingerprint={"teacher": "t"})
    options = stages.options.train
    objective = SoftTargets(stages.new_student(), targets, SoftTargetOptions(), projector=None)
    batches = TrainingBatches(
        stages.maker, stages.train_rows, batch_size=options.batch_size, epochs=2, num_views=options.distinct_views, seed=0
    )
    averages = {name: value.clone() for name, value in objective.state_dict().items()} if changes else None
    module, optimizer = stages.accelerator.prepare(objective, build_optimizer(objective.parameters(), options))
    training = Training("student", objective, batches, options, 0)
    state = State(Trained(objective, stages.accelerator, in_parts=False), optimizer, averages)
    stepper = Stepper(training, module, state, stages.accelerator)
    stepper.knows_at_once = False  # as on a GPU
    read: list[str] = []
    for name in ("cpu", "tolist", "item"):
        before = getattr(Tensor, name)

        def noted(tensor: Tensor, *arguments: Any, name: str = name, before: Any = before, **keywords: Any) -> Any:
            if not (name == "cpu" and tensor.dtype == torch.int64 and tensor.ndim == 1):  # places of parts, which are on the host
                read.append(name)
            return before(tensor, *arguments, **keywords)

        monkeypatch.setattr(Tensor, name, noted)
    with Waiting() as waiting:
        for step in range(2):
            stepper.take(step)
    assert waiting.found == []
    assert read == []


def count(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, size: Callable[..., int]) -> list[int]:
    """The sizes of what a function was given, call by call."""
    sizes: list[int] = []
    before = getattr(owner, name)

    def counting(*arguments: Any, **keywords: Any) -> Any:
        sizes.append(size(*arguments))
        return before(*arguments, **keywords)

    monkeypatch.setattr(owner, name, counting)
    return sizes


def test_a_second_student_decodes_nothing_encodes_no_picture_again_and_no_word(
    recipe_options: Make, frozen_encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = count(monkeypatch, decoding, "decode", lambda content, side: 1)
    images = count(monkeypatch, ImageEncoder, "tokens", lambda encoder, images: len(images))
    words = count(monkeypatch, TextEncoder, "encode", lambda encoder, texts: len(texts))
    settings = {"cache": str(tmp_path / "cache"), "teacher": {"image_encoder": frozen_encoder}}
    work = []
    for name in ("first", "second"):
        for sizes in (decoded, images, words):
            sizes.clear()
        run_recipe(recipe_options("bank", tmp_path / name, **settings))
        work.append((sum(decoded), sum(images), sum(words)))
    stages = make_stages(recipe_options("bank", tmp_path / "look", **settings))
    stored = len(stages.train_rows) * min(4, stages.options.train.distinct_views)
    assert work[0][0] == len(stages.pictures.ids)
    tried = 1  # the text that an encoder is tried with when it is loaded
    assert work[0][2] == len(stages.pictures.classes) + tried
    assert work[1][0] == 0
    assert work[1][2] <= tried
    evaluated = sum(len(stages.pictures.rows[split]) for split in ("val", "test"))
    assert work[0][1] - work[1][1] == stored + evaluated  # what is left are held-out pictures, audited
