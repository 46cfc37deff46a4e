"""Pictures in, predictions out: decoding, batching and what is said of a file that gives no picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from picturebook.data.images import Broken, Decoded, decode, picture_bytes
from picturebook.data.views import evaluation_views
from picturebook.errors import OptionError
from picturebook.evaluate import Classifier, open_classifier
from picturebook.models.device import named_device
from picturebook.predict.onnx_model import ENDING, open_onnx
from picturebook.predict.pictures import Picture, list_pictures
from picturebook.types import Reporter


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one picture."""

    name: str
    """The file as it was given, or as a table spells it."""
    classes: tuple[str, ...]
    """The likeliest classes, likeliest first; empty when the file could not be read."""
    probabilities: tuple[float, ...]
    """Theirs, in [0, 1]."""
    problem: str = ""
    """Why there is no answer."""


@dataclass(frozen=True, slots=True)
class Answerer:
    """A model of any kind, ready to name pictures."""

    classes: tuple[str, ...]
    canvas_size: int
    """Side of the square to which a picture is squeezed when it is decoded, in pixels."""
    image_size: int
    """Side of what the model sees, in pixels."""
    is_calibrated: bool
    """Whether a temperature was fitted on validation pictures."""
    probabilities: Callable[[Float[Tensor, "batch 3 size size"]], Float[Tensor, "batch classes"]]
    """Of RGB images in [0, 1]; both on the CPU, wherever the model is."""

    def answer(self, pictures: Sequence[Decoded]) -> Float[Tensor, "pictures classes"]:
        """Probabilities of pictures that were decoded at `canvas_size`."""
        canvases = torch.from_numpy(np.stack([picture.canvas for picture in pictures]))
        sizes = torch.tensor([(picture.height, picture.width) for picture in pictures])
        return self.probabilities(evaluation_views(canvases, sizes, image_size=self.image_size))


def open_answerer(model: Path, *, device: str = "auto") -> Answerer:
    """Open a run, a student folder or an ONNX file of `picturebook export`, which is run on the CPU.

    Raises:
        OptionError: there is no such device, or no other than the CPU for an ONNX file.
        RunError, ModelError: there is none, or it is half written, or the file is another's.
    """
    place = named_device(device)
    if model.suffix.lower() == ENDING:
        if device not in ("auto", "cpu"):
            raise OptionError(f"device = {device!r}: ONNX files are run on the CPU here. Leave it out, or name the run.")
        onnx = open_onnx(model)
        about = onnx.about
        return Answerer(about.class_names, about.canvas_size, about.image_size, about.is_calibrated, onnx.probabilities)
    return student_answerer(open_classifier(model).to(place))


def student_answerer(student: Classifier) -> Answerer:
    """A student that was opened, where it is."""

    calibrated = student.temperature is not None
    answer = partial(_probabilities, student)
    return Answerer(student.classes, student.canvas_size, student.encoder.image_size, calibrated, answer)


def _probabilities(student: Classifier, images: Tensor) -> Tensor:
    return student.probabilities(images.to(student.device)).cpu()


def predict_files(
    model: Path, images: Sequence[str | Path], *, top: int, device: str = "auto", reporter: Reporter, batch_size: int = 64
) -> list[Prediction]:
    """Predict every picture that `images` stand for. A broken file is listed, not fatal.

    Args:
        model: a run, a student folder or an ONNX file of `picturebook export`.
        images: files, folders (all pictures in them), patterns (*, ?, **), or tables with a column file_name.
        top: classes a picture, at least 1.
        device: where a run or a student folder computes.
        reporter: where it tells how it goes.
        batch_size: pictures at a time.

    Raises:
        DataError: a path does not exist, or there is no picture.
        OptionError, RunError, ModelError: as `open_answerer`.
    """
    answerer = open_answerer(model, device=device)
    pictures = list_pictures(images)
    if not answerer.is_calibrated:
        reporter.say(f"No temperature was fitted for {model}: its probabilities are the plain softmax.")
    predictions: list[Prediction] = []
    with reporter.stage("predicting") as progress:
        for start in range(0, len(pictures), batch_size):
            predictions += _predict_batch(answerer, pictures[start : start + batch_size], top)
            progress(len(predictions), len(pictures))
    if unread := sum(bool(prediction.problem) for prediction in predictions):
        reporter.say(f"{unread} of {len(pictures)} files could not be read; their rows say why.")
    return predictions


def _predict_batch(answerer: Answerer, pictures: Sequence[Picture], top: int) -> list[Prediction]:
    decoded = [_decode(picture, answerer.canvas_size) for picture in pictures]
    read = [one for one in decoded if isinstance(one, Decoded)]
    answers = iter(_best(answerer, read, top) if read else ())
    return [
        Prediction(picture.name, (), (), one) if isinstance(one, str) else Prediction(picture.name, *next(answers))
        for picture, one in zip(pictures, decoded, strict=True)
    ]


def _decode(picture: Picture, side: int) -> Decoded | str:
    """The picture, or why there is none."""
    try:
        return decode(picture_bytes(picture.path), side)
    except Broken as error:
        return error.kind
    except OSError as error:
        return error.strerror or "cannot be read"
    except ValueError:  # a table may hold a name that no file system takes
        return "not a file name"


def _best(answerer: Answerer, pictures: Sequence[Decoded], top: int) -> list[tuple[tuple[str, ...], tuple[float, ...]]]:
    """The likeliest classes of each picture, and their probabilities."""
    best = answerer.answer(pictures).topk(min(top, len(answerer.classes)))
    return [
        (tuple(answerer.classes[index] for index in indices), tuple(values))
        for values, indices in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]
