"""A classifier by scikit-learn's conventions. Not `evaluate.Classifier`, which is a student that was opened."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
from jaxtyping import Float
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from picturebook.api.labels import LabelNames, note_kind, read_kind
from picturebook.api.settings import SOURCE, Settings, reporting, settings_for
from picturebook.config import parse_options, run_recipe
from picturebook.data.memory import decode_picture, write_folder
from picturebook.errors import DataError, ModelError, OptionError, RunError
from picturebook.evaluate import open_classifier
from picturebook.models.artefact import save_student, write_temperature
from picturebook.predict import open_answerer, student_answerer
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
    ) -> Self:
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
        names = LabelNames.of(y, len(pictures))
        _check_sizes(len(pictures), text=text, groups=groups)
        said = self._said()
        with self._folders() as (data, run), reporting(self.verbose) as reporter:
            write_folder(
                data, pictures, names.rows, texts=text, groups=None if groups is None else [str(group) for group in groups]
            )
            said["out"] = run
            if self.out is None:
                said = {"cache": data.parent / "cache", **said}
            column = None if text is None else "text"
            chosen = settings_for(
                data, recipe=self.recipe, text=column, said=said, reporter=reporter, cache=Path(said["cache"]) if "cache" in said else None
            )
            folder = run_recipe(parse_options(chosen, source=SOURCE), reporter=reporter)
            note_kind(folder, names.kind)
            self._take(folder.path, is_kept=self.out is not None)
        return self

    def predict_proba(self, X: Sequence[object] | np.ndarray) -> Float[np.ndarray, "pictures classes"]:  # noqa: N803
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

    def predict(self, X: Sequence[object] | np.ndarray) -> np.ndarray:  # noqa: N803
        """The likeliest class of each picture, as `y` had it. Raises as `predict_proba`."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

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
        note_kind(folder, self.classes_.dtype.kind)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """A finished run, a student folder or an ONNX file of `picturebook export`, ready to predict.

        Labels are texts, but for folders that `fit` or `save` wrote, where they are what `y` had.

        Raises:
            RunError, ModelError: there is none, or it is half written.
        """
        path = Path(path)
        if path.suffix.lower() == ".onnx":
            classifier = cls()
            classifier._student, classifier._answerer = None, open_answerer(path)
            classifier._name(classifier._answerer.classes, "U")
            classifier.run_ = None
            return classifier
        return cls.of_run(path, is_kept=(path / "run.toml").is_file())

    @classmethod
    def of_run(cls, path: Path, *, is_kept: bool) -> Self:
        """A finished run or a student folder; `run_` is its path where that `is_kept`."""
        student = open_classifier(path)
        classifier = cls(model=student.encoder.architecture, image_size=student.encoder.image_size)
        classifier._take(path, is_kept=is_kept)
        return classifier
