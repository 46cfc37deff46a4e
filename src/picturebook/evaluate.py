"""Numbers of a model on labelled pictures."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from picturebook.calibration import fit_temperature
from picturebook.data.findings import quantity
from picturebook.data.images import open_rgb
from picturebook.data.loaders import evaluation_batches
from picturebook.data.pictures import Pictures, load_pictures
from picturebook.data.tables import DataOptions
from picturebook.errors import ModelError, OptionError, RunError, unknown_name
from picturebook.metrics import Evaluation, evaluate_logits
from picturebook.models.artefact import load_student, read_canvas_size, read_temperature, timm_model_and_transform
from picturebook.models.device import named_device
from picturebook.models.image_encoders import ImageEncoder
from picturebook.options import read_toml, validate
from picturebook.runs import RunFolder
from picturebook.types import UNLABELLED, Batch, Progress, Reporter, no_progress
from picturebook.writing import read_npy, read_npz

Model = Callable[[Batch], Float[Tensor, "batch classes"]]
"""Batch → logits."""


def student_logits(encoder: ImageEncoder) -> Model:
    """The encoder as a Model."""

    def model(batch: Batch) -> Tensor:
        assert batch.images is not None
        return encoder(batch.images)  # type: ignore[no-any-return]  # a module's call is Any

    return model


@torch.no_grad()
def collect_logits(model: Model, batches: Iterable[Batch]) -> Float[Tensor, "pictures classes"]:
    """Logits of all batches, one after the other, in fp32 on the CPU."""
    return torch.cat([model(batch).float().cpu() for batch in batches])


def evaluate_rows(
    model: Model, pictures: Pictures, rows: np.ndarray, *, image_size: int, device: torch.device, progress: Progress = no_progress
) -> Evaluation:
    """Evaluate on the labelled ones of `rows`; the interval resamples groups where the data have them."""
    rows = rows[pictures.labels[rows] != UNLABELLED]
    logits = row_logits(model, pictures, rows, image_size=image_size, device=device, progress=progress)
    return evaluate_logits(logits, torch.from_numpy(pictures.labels[rows]), groups=groups_of(pictures, rows))


def row_logits(
    model: Model, pictures: Pictures, rows: np.ndarray, *, image_size: int, device: torch.device, progress: Progress = no_progress
) -> Float[Tensor, "pictures classes"]:
    """Logits of the pictures at `rows`, centre-cropped, in fp32 on the CPU."""
    batches = evaluation_batches(pictures, rows, image_size=image_size, device=device)
    return collect_logits(model, _counted(batches, len(rows), progress))


def evaluate_with_timm(
    student: Path, pictures: Pictures, rows: np.ndarray, *, batch_size: int = 128, progress: Progress = no_progress
) -> Evaluation:
    """Evaluate the artefact as someone without picturebook would: timm's model, timm's eval transform, the original files."""
    rows = rows[pictures.labels[rows] != UNLABELLED]
    model, transform = timm_model_and_transform(student)
    logits = []
    with torch.no_grad():
        for start in range(0, len(rows), batch_size):
            part = rows[start : start + batch_size]
            logits.append(model(torch.stack([transform(open_rgb(pictures.read(int(row)))) for row in part])))
            progress(start + len(part), len(rows))
    return evaluate_logits(torch.cat(logits), torch.from_numpy(pictures.labels[rows]), groups=groups_of(pictures, rows))


@dataclass(frozen=True, slots=True)
class Classifier:
    """A trained student, ready to answer."""

    encoder: ImageEncoder
    classes: tuple[str, ...]
    """Names in the order of the logits."""
    canvas_size: int
    """Side of the canvas that it was trained from, in pixels."""
    data: DataOptions | None
    """What it was trained on; None where only the student folder is at hand."""
    train_ids: np.ndarray
    """Ids of the pictures that it was trained on; empty where only the student folder is at hand."""
    temperature: float | None = None
    """Fitted on the run's validation pictures; None where there were none, and probabilities are the plain softmax."""

    def to(self, device: torch.device) -> "Classifier":
        """Itself, once its network was moved there: images have to be there too."""
        self.encoder.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """Where its network is, and where images have to be."""
        return self.encoder.mean.device

    @torch.no_grad()
    def probabilities(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        """Of RGB images in [0, 1], calibrated where a temperature was fitted."""
        return self.calibrated(self.encoder(images))

    def calibrated(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
        """The probabilities that logits of the encoder stand for."""
        return (logits / (self.temperature or 1.0)).softmax(dim=1)


def open_classifier(path: Path) -> Classifier:
    """The student of a finished run, or of a student folder itself.

    Raises:
        RunError, ModelError: there is none, or it is half written.
    """
    if (path / "run.toml").is_file():
        run = RunFolder.open(path)
        encoder, classes = load_student(run.student)
        settings = read_toml(run.settings).get("data")
        if not isinstance(settings, dict):
            raise RunError(f"{run.settings} has no [data]: it was changed; train again.")
        data = validate(DataOptions, settings, source=str(run.settings))
        if not run.train_ids.is_file():
            raise RunError(f"{run.train_ids} is missing, so nobody knows what this run was trained on: train again.")
        return Classifier(encoder.eval(), classes, data.canvas_size, data, read_npy(run.train_ids), _temperature(run))
    if not path.is_dir():
        raise ModelError(f"There is no run or student folder {path}.")
    encoder, classes = load_student(path)
    canvas_size = read_canvas_size(path) or encoder.image_size
    return Classifier(encoder.eval(), classes, canvas_size, None, np.empty(0, np.int64), read_temperature(path))


def stored_predictions(run: RunFolder) -> dict[str, np.ndarray]:
    """The student's logits, labels, ids and groups by split ("val_logits", …), as the run kept them; empty for runs without.

    Raises:
        RunError: the file is broken.
    """
    if not run.predictions.is_file():
        return {}
    return read_npz(run.predictions)


def _temperature(run: RunFolder) -> float | None:
    """What is kept with the student; runs from before it was kept have the predictions that it is fitted on."""
    kept = read_temperature(run.student)
    if kept is not None:
        return kept
    stored = stored_predictions(run)
    return fit_temperature(stored["val_logits"], stored["val_labels"]) if "val_logits" in stored else None


def evaluate_folder(
    model: Path, data: str, *, split: str | None, device: str = "auto", cache: Path, reporter: Reporter
) -> Evaluation:
    """Evaluate a student on labelled pictures.

    On the data that the run was trained on its own split holds, and `split` is test by default. On other data all
    pictures count by default, and a split is one that the data name.

    Raises:
        ModelError: the data have classes that the student was not taught.
        OptionError: there is no such split, or it is empty, or no such device.
    """
    place = named_device(device)
    classifier = open_classifier(model).to(place)
    trained_on = classifier.data is not None and Path(classifier.data.root).resolve() == Path(data).resolve()
    options = classifier.data or DataOptions(root=data, canvas_size=classifier.canvas_size)
    if not trained_on:
        options = options.model_copy(update={"root": data, "metadata": None})
    with reporter.stage("decoding pictures") as progress:
        pictures = load_pictures(options, cache=cache, to_train=trained_on, progress=progress)
    split = split or ("test" if trained_on else "all")
    rows = _rows_of(pictures, split)
    reporter.say(f"{model} on {len(rows)} pictures of {data} ({split}).")
    if seen := int(np.isin(pictures.ids[rows], classifier.train_ids).sum()):
        reporter.say(f"{quantity(seen, 'picture')} of these have the names of pictures that it was trained on: this is no test.")
    pictures = _in_classes_of(classifier, pictures, rows, f"{data} has classes that {model} was not taught")
    with reporter.stage("evaluating") as progress:
        size, student = classifier.encoder.image_size, student_logits(classifier.encoder)
        found = evaluate_rows(student, pictures, rows, image_size=size, device=place, progress=progress)
    worst = f"{classifier.classes[found.worst_class]}, {100 * found.worst_class_accuracy:.1f} %"
    reporter.say(f"The class that is named rightly least often: {worst}.")
    return found


def _in_classes_of(classifier: Classifier, pictures: Pictures, rows: np.ndarray, problem: str) -> Pictures:
    """The pictures with their labels in the classifier's class order, matched by name."""
    unknown = sorted(
        {pictures.classes[label] for label in pictures.labels[rows] if label != UNLABELLED} - set(classifier.classes)
    )
    if unknown:
        raise ModelError(f"{problem}: {', '.join(unknown[:5])}. It knows {len(classifier.classes)}.")
    places = {name: index for index, name in enumerate(classifier.classes)}
    numbers = np.array([places.get(name, UNLABELLED) for name in pictures.classes] + [UNLABELLED])
    labels = numbers[pictures.labels]
    if (labels[rows] == UNLABELLED).all():
        raise OptionError("None of these pictures has a label: there is nothing to compare with.")
    return replace(pictures, labels=labels, classes=classifier.classes)


def _rows_of(pictures: Pictures, split: str) -> np.ndarray:
    if split == "all":
        return np.arange(len(pictures.ids))
    if split not in pictures.rows:
        raise OptionError(unknown_name("split", split, [*pictures.rows, "all"]))
    if len(pictures.rows[split]) == 0:
        raise OptionError(f"These data name no {split} pictures: say --split all, or give a run that was trained on them.")
    return pictures.rows[split]


def groups_of(pictures: Pictures, rows: np.ndarray) -> np.ndarray | None:
    """Groups of the pictures at `rows`, or None where the data have none; a picture without a group is a group of its own."""
    if pictures.groups is None:
        return None
    return np.array([pictures.groups[row] or f"\0{pictures.names[row]}" for row in rows.tolist()])


def _counted(batches: Iterable[Batch], total: int, progress: Progress) -> Iterator[Batch]:
    done = 0
    for batch in batches:
        yield batch
        done += len(batch)
        progress(done, total)
