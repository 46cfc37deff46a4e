"""What is timed: students, pictures with words, and a run's parts at the size that the targets name."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy

from picturebook.config import parse_options
from picturebook.data.loaders import TrainingBatches
from picturebook.engine import Training, build_accelerator, build_optimizer
from picturebook.engine.checkpoints import State
from picturebook.engine.parts import Trained
from picturebook.engine.stepping import Stepper
from picturebook.models.artefact import save_student
from picturebook.objective import Objective
from picturebook.recipes.stages import Stages
from picturebook.runs import RunFolder
from picturebook.types import Silence

BATCH, SIDE, NUM_CLASSES = 64, 64, 10
STUDENTS: dict[str, dict[str, Any]] = {
    "resnet18": {"model": "resnet18", "image_size": SIDE},
    "vit_tiny": {"model": "vit_tiny_patch16_224", "model_args": {"patch_size": 8}, "image_size": SIDE},
}
NAMES = {"resnet18": "ResNet-18, 64 px", "vit_tiny": "ViT-tiny/8, 64 px"}
LAST_STEP = 10**6
"""No training here reaches its end."""


def write_pictures(root: Path, num: int) -> Path:
    """Pictures of coloured waves in class folders, each with a text of its own."""
    generator, rows = np.random.default_rng(0), []
    places = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=-1) / SIDE
    for index in range(num):
        name = f"class {index % NUM_CLASSES}"
        (root / name).mkdir(parents=True, exist_ok=True)
        waves = np.sin(places @ generator.normal(scale=12, size=(2, 3)) + generator.uniform(0, 6, 3) + index % NUM_CLASSES)
        Image.fromarray(((waves + 1) * 127).astype(np.uint8)).save(root / name / f"{index}.png")
        rows.append({"file_name": f"{name}/{index}.png", "text": f"waves number {index} of {generator.integers(9)} colours"})
    with (root / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return root


class Parts:
    """A run's stages on pictures of waves, and what is bare beside them."""

    def __init__(self, work: Path, family: str, *, num: int = 320, text_column: str | None = "text", **settings: Any) -> None:
        data = work / "data"
        if not data.is_dir() and "data" not in settings:
            write_pictures(data, num)
        base: dict[str, Any] = {
            "recipe": "supervised",
            "out": str(work / "run"),
            "cache": str(work / "cache"),
            "data": {"root": str(data), "canvas_size": SIDE},
            "student": STUDENTS[family],
            "train": {"batch_size": BATCH, "epochs": 4, "validations": 0},
        }
        self.options = parse_options(base | settings, source="benchmark")
        self.accelerator = build_accelerator(device=self.options.device, precision=self.options.precision)
        folder = RunFolder(work / "run")
        cache = work / "cache"
        self.stages = Stages(self.options, folder, self.accelerator, cache=cache, text_column=text_column, reporter=Silence())
        self.family, self.work = family, work
        self._device = self.accelerator.device

    def saved_encoder(self) -> str:
        """A network of the student's kind with weights of its own, as an encoder that is given."""
        folder = self.work / f"encoder-{self.family}"
        if not folder.is_dir():
            save_student(self.stages.new_student("encoder"), folder, label_names=self.stages.pictures.classes)
        return f"local-dir:{folder}"

    def stepping(self, objective: Objective, *, with_images: bool = True, settle: bool = True) -> Callable[[], object]:
        """A step of the run's own loop, the next one at each call: batch, views, targets, loss, gradient, update."""
        options = self.options.train
        batches = TrainingBatches(
            self.stages.maker,
            self.stages.train_rows,
            batch_size=BATCH,
            epochs=LAST_STEP,
            num_views=options.distinct_views,
            seed=0,
            with_images=with_images,
        )
        training = Training("benchmark", objective.to(self._device), batches, options, 0)
        objective.train()
        module, optimizer = self.accelerator.prepare(objective, build_optimizer(objective.parameters(), options))
        if options.compile:
            module = torch.compile(module)
        state = State(Trained(objective, self.accelerator, in_parts=False), optimizer, None)
        stepper = Stepper(training, module, state, self.accelerator)

        def step() -> None:
            stepper.take(stepper.state.step)
            if settle:
                self._settle()

        return step

    def bare_student(self, *, compiled: bool = False, settle: bool = True) -> Callable[[], object]:
        """A step of timm's own model on one batch that stays where it is: forward, cross-entropy, backward, fused AdamW."""
        model: Any = self._timm_model().train()
        model = torch.compile(model) if compiled else model
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05, fused=True)
        images, labels = self._resident(), torch.arange(BATCH, device=self._device) % NUM_CLASSES

        def step() -> None:
            with self.accelerator.autocast():
                loss = cross_entropy(model(images).float(), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if settle:
                self._settle()

        return step

    def bare_teacher(self, batch_size: int = BATCH) -> Callable[[], object]:
        """A forward pass of timm's own model on one batch that stays where it is."""
        model, images = self._timm_model().eval(), self._resident(batch_size)

        @torch.no_grad()
        def step() -> None:
            with self.accelerator.autocast():
                model(images)
            self._settle()

        return step

    def _timm_model(self) -> torch.nn.Module:
        student = STUDENTS[self.family]
        fixed = {"img_size": SIDE} if "vit" in student["model"] else {}
        model = timm.create_model(student["model"], num_classes=NUM_CLASSES, **student.get("model_args", {}), **fixed)
        return model.to(self._device, memory_format=torch.channels_last)

    def _resident(self, batch_size: int = BATCH) -> Tensor:
        images = torch.randn(batch_size, 3, SIDE, SIDE, device=self._device)
        return images.contiguous(memory_format=torch.channels_last)

    def _settle(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()
