"""A classifier by scikit-learn's conventions. Not `evaluate.Classifier`, which is a trained student and nothing else."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from picturebook.api.labels import LabelNames, note_kind, read_kind, to_labels
from picturebook.api.settings import SOURCE, Settings, of_caller, reporting, settings_for
from picturebook.config import parse_options, run_recipe
from picturebook.data.memory import decode_picture, write_folder
from picturebook.errors import DataError, ModelError, RunError
from picturebook.evaluate import Classifier as Student
from picturebook.evaluate import open_classifier
from picturebook.models.artefact import save_student, write_temperature
from picturebook.models.sources import CONFIG_FILE
from picturebook.predict import Answerer, open_answerer, student_answerer
from picturebook.runs import RunFolder

_BATCH = 64


class Classifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Pictures to classes: `fit`, `predict`, `predict_proba`, `score`, `classes_`, and `save` and `load` for a disk.

    A picture is a path, a PIL image or a uint8 array [height, width, 3]; pictures are a list of those, or one array
    [n, height, width, 3]. Parameters are kept as they were given, so that `get_params`, `set_params` and `clone` work; what
    was learnt ends in an underscore. A tenth of the pictures that `fit` is given is for validation: it fits the temperature
    by which probabilities are calibrated.

    Args:
        model: the student's architecture, a timm name.
        recipe: how it is trained; image_text reads the words that `fit` is given.
        image_size: side of what the student sees, in pixels.
        epochs: passes over the pictures; None chooses by their number, as `picturebook init` does.
        seed: fixes initialisation, order and views.
        settings: any settings by their paths, {"train.batch_size": 32}; they go before everything else.
        out: the run's folder, which must not exist; the pictures stay beside it in OUT-pictures. None keeps nothing on disk.
        device: where to train: auto, cpu, cuda or mps. Answers are computed on the CPU.
        verbose: show bars and remarks.

    Attributes:
        classes_: the labels, sorted; the columns of `predict_proba`.
        run_: the run's folder, or None where none was kept.
    """

    classes_: np.ndarray
    run_: Path | None
    _answerer: Answerer
    _student: Student | None
    _kind: str
    _columns: np.ndarray

    def __init__(
        self,
        model: str = "resnet18",
        *,
        recipe: str = "supervised",
        image_size: int = 64,
        epochs: int | None = None,
        seed: int = 0,
        settings: Settings | None = None,
        out: str | Path | None = None,
        device: str = "auto",
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.recipe = recipe
        self.image_size = image_size
        self.epochs = epochs
        self.seed = seed
        self.settings = settings
        self.out = out
        self.device = device
        self.verbose = verbose

    def fit(
        self,
        X: Sequence[object] | np.ndarray,  # noqa: N803 - scikit-learn's name
        y: Sequence[object] | np.ndarray,
        *,
        text: Sequence[str] | None = None,
        groups: Sequence[object] | None = None,
    ) -> "Classifier":
        """Train on pictures and their labels.

        Args:
            X: pictures.
            y: texts or whole numbers, one a picture.
            text: words beside each picture, for a recipe that reads them; "" where there are none.
            groups: pictures of one group (one patient, one animal) stay together when some are put aside for validation.

        Raises:
            PicturebookError: pictures, labels, words or settings do not allow it; the message says what to do.
        """
        pictures = _listed(X)
        labels = LabelNames.of(y, len(pictures))
        _check_sizes(len(pictures), text=text, groups=groups)
        named = None if groups is None else [str(group) for group in groups]
        with self._folders() as (data, out), reporting(self.verbose) as reporter:
            write_folder(data, pictures, labels.rows, texts=text, groups=named)
            column = None if text is None else "text"
            said = {**self._said(data.parent / "cache"), "out": out}
            chosen = settings_for(data, recipe=self.recipe, text=column, said=said, reporter=reporter)
            run = run_recipe(parse_options(chosen, source=SOURCE), reporter=reporter)
            _note_kind(run, labels.kind)
            self._take(run.path)
            self.run_ = None if self.out is None else run.path
        return self

    def predict_proba(self, X: Sequence[object] | np.ndarray) -> Float[np.ndarray, "pictures classes"]:  # noqa: N803 - scikit-learn's name
        """Probabilities, calibrated where there were validation pictures; the columns are `classes_`, rows sum to 1.

        Raises:
            NotFittedError: `fit` comes first.
            DataError: a picture cannot be read.
        """
        check_is_fitted(self, "classes_")
        pictures = _listed(X)
        answers = [np.empty((0, len(self.classes_)), np.float32)]
        for start in range(0, len(pictures), _BATCH):
            part = enumerate(pictures[start : start + _BATCH], start)
            decoded = [decode_picture(picture, place, self._answerer.canvas_size) for place, picture in part]
            answers.append(self._answerer.answer(decoded).numpy()[:, self._columns])
        return np.concatenate(answers)

    def predict(self, X: Sequence[object] | np.ndarray) -> np.ndarray:  # noqa: N803 - scikit-learn's name
        """The likeliest class of each picture, as `y` had it. Raises as `predict_proba`."""
        probabilities = self.predict_proba(X)
        labels: np.ndarray = self.classes_[probabilities.argmax(axis=1)]
        return labels

    def save(self, path: str | Path) -> None:
        """Write the student as a folder that `Classifier.load`, `picturebook predict` and timm read.

        Raises:
            NotFittedError: `fit` comes first.
            ModelError: it came from an ONNX file, or the folder holds something else.
        """
        check_is_fitted(self, "classes_")
        if self._student is None:
            raise ModelError("A classifier that was loaded from an ONNX file has no weights to save: copy that file.")
        folder, student = Path(path), self._student
        save_student(student.encoder, folder, label_names=student.classes, canvas_size=student.canvas_size)
        if student.temperature is not None:
            write_temperature(folder, student.temperature)
        note_kind(folder, self._kind)

    @classmethod
    def load(cls, path: str | Path) -> "Classifier":
        """A finished run, a student folder or an ONNX file of `picturebook export`, ready to predict.

        Labels are texts, but for folders that `fit` or `save` wrote, where they are what `y` had.

        Raises:
            RunError, ModelError: there is none, or it is half written.
        """
        path = Path(path)
        if path.suffix.lower() == ".onnx":
            answerer = open_answerer(path)
            classifier = cls(image_size=answerer.image_size)
            classifier._answer_with(answerer, "text")
            classifier._student = classifier.run_ = None
            return classifier
        return cls.of_run(path, is_kept=(path / "run.toml").is_file())

    @classmethod
    def of_run(cls, path: Path, *, is_kept: bool) -> "Classifier":
        """A finished run or a student folder; `run_` is its path where that `is_kept`."""
        classifier = cls()
        student = classifier._take(path)
        classifier.set_params(model=student.encoder.architecture, image_size=student.encoder.image_size)
        classifier.run_ = path if is_kept else None
        return classifier

    def _take(self, path: Path) -> Student:
        student = open_classifier(path)
        self._student = student
        self._answer_with(student_answerer(student), read_kind(path / "student" if student.data is not None else path))
        return student

    def _answer_with(self, answerer: Answerer, kind: str) -> None:
        labels = to_labels(answerer.classes, kind)
        self._answerer, self._kind, self._columns = answerer, kind, labels.argsort()
        self.classes_ = labels[self._columns]

    def _said(self, cache: Path) -> dict[str, Any]:
        """The parameters as settings; what is kept between runs is of no use where the pictures are gone afterwards."""
        said = {
            **({"cache": cache} if self.out is None else {}),
            "student.model": self.model,
            "student.image_size": self.image_size,
            "data.canvas_size": self.image_size,
            "data.split.test": 0.0,  # whoever calls fit has put the test pictures aside
            "seed": self.seed,
            "device": self.device,
        }
        if self.epochs is not None:
            said["train.epochs"] = self.epochs
        return said | of_caller(self.settings)

    @contextmanager
    def _folders(self) -> Iterator[tuple[Path, Path]]:
        """Where the pictures go, and the run; temporary where nobody asked for the run."""
        if self.out is None:
            with TemporaryDirectory(prefix="picturebook-") as work:
                yield Path(work) / "pictures", Path(work) / "run"
            return
        run = Path(self.out)
        pictures = run.with_name(f"{run.name}-pictures")
        for folder in (run, pictures):
            if folder.exists():
                raise RunError(f"{folder} exists already: take another out, or remove it.")
        try:
            yield pictures, run
        finally:
            if not run.exists():  # it was refused
                shutil.rmtree(pictures, ignore_errors=True)


def _note_kind(run: RunFolder, kind: str) -> None:
    config = run.student / CONFIG_FILE
    run.forget_checksum(config)
    note_kind(run.student, kind)
    run.note_checksum(config)


def _listed(X: Sequence[object] | np.ndarray) -> list[object]:  # noqa: N803 - scikit-learn's name
    """Pictures one by one.

    Raises:
        DataError: they are one path or an array of another shape, or there are none.
    """
    expected = "X: expected a list of paths, PIL images or uint8 arrays, or one uint8 array [n, height, width, 3], got"
    if isinstance(X, str | Path):
        raise DataError(f"{expected} one path, {X}: put it in a list, or take picturebook.distil for a folder.")
    if isinstance(X, np.ndarray) and X.dtype.kind not in "OUT" and (X.dtype != np.uint8 or X.ndim != 4):
        raise DataError(f"{expected} {X.dtype} {list(X.shape)}.")
    pictures = list(X)
    if not pictures:
        raise DataError(f"{expected} none.")
    return pictures


def _check_sizes(num_pictures: int, **given: Sequence[object] | None) -> None:
    for name, values in given.items():
        if values is not None and len(values) != num_pictures:
            raise DataError(f"{name}: expected one for each of {num_pictures} pictures, got {len(values)}.")
