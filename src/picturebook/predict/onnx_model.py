"""A student as an ONNX file: what is written beside its network, and answers without torch's model.

onnxruntime is imported when a file is opened, and never before.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from picturebook.errors import ModelError, OptionError

ENDING = ".onnx"
INPUT, PROBABILITIES, LOGITS = "images", "probabilities", "logits"
"""Names of the network's input and outputs."""
PREPROCESSING = (
    "Decode to 8-bit RGB (EXIF rotation applied, transparency on white), squeeze the whole picture to canvas_size x canvas_size "
    "(bicubic, antialiased), take the square that was in the middle of the original at image_size x image_size (bilinear), "
    "and divide by 255: float32 [batch, 3, image_size, image_size], RGB in [0, 1]. The network normalises by itself."
)
"""What has to be done to a picture before the network sees it."""


_MOST_PIXELS = 8192
"""Side of an input or a canvas."""


@dataclass(frozen=True, slots=True)
class OnnxMetadata:
    """What an exported file says of itself."""

    class_names: tuple[str, ...]
    """In the order of the probabilities."""
    image_size: int
    """Side of the input, in pixels."""
    canvas_size: int
    """Side of the square to which pictures are squeezed when they are decoded, in pixels."""
    temperature: float
    """By which logits are divided inside the network; 1 where nothing was fitted."""
    is_calibrated: bool
    """Whether the temperature was fitted on validation pictures."""
    picturebook_version: str
    """Of the exporter."""

    def to_properties(self) -> dict[str, str]:
        """Texts by name, as ONNX keeps them."""
        return {
            "class_names": json.dumps(list(self.class_names), ensure_ascii=False),
            "image_size": str(self.image_size),
            "canvas_size": str(self.canvas_size),
            "temperature": repr(self.temperature),
            "is_calibrated": json.dumps(self.is_calibrated),
            "preprocessing": PREPROCESSING,
            "picturebook_version": self.picturebook_version,
        }

    @classmethod
    def from_properties(cls, properties: Mapping[str, str]) -> "OnnxMetadata":
        """Read them back.

        Raises:
            KeyError: one is missing.
            ValueError: one cannot be.
        """
        names = json.loads(properties["class_names"])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("class_names is no list of texts")
        about = cls(
            class_names=tuple(names),
            image_size=int(properties["image_size"]),
            canvas_size=int(properties["canvas_size"]),
            temperature=float(properties["temperature"]),
            is_calibrated=json.loads(properties["is_calibrated"]) is True,
            picturebook_version=properties["picturebook_version"],
        )
        sizes = (about.image_size, about.canvas_size)
        if not (all(0 < size <= _MOST_PIXELS for size in sizes) and 0 < about.temperature < math.inf):
            raise ValueError(f"sizes have to be 1 to {_MOST_PIXELS}, and the temperature above 0")
        return about


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """An opened file."""

    about: OnnxMetadata
    run: Callable[[list[str], dict[str, np.ndarray]], list[np.ndarray]]
    """(names of outputs, inputs) → outputs."""

    def probabilities(self, images: Float[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch classes"]:
        """Of RGB images in [0, 1], calibrated as the file was written."""
        try:
            (answers,) = self.run([PROBABILITIES], {INPUT: images.numpy()})
        except Exception as error:  # onnxruntime's errors have no common base
            raise ModelError(f"The ONNX file cannot be run ({str(error).splitlines()[0]}): export it again.") from error
        return torch.from_numpy(answers)


def open_onnx(path: Path) -> OnnxModel:
    """Open an ONNX file that `picturebook export` wrote.

    Raises:
        OptionError: onnxruntime is not installed.
        ModelError: there is no such file, it is no ONNX file, or it is another's.
    """
    if not path.is_file():
        raise ModelError(f"There is no file {path}: write one with `picturebook export RUN --to onnx --out {path}`.")
    session = _session(path)
    try:
        about = OnnxMetadata.from_properties(session.get_modelmeta().custom_metadata_map)
    except (KeyError, ValueError) as error:
        raise _foreign(path, f"its metadata do not say {error}" if isinstance(error, KeyError) else str(error)) from None
    shapes = {INPUT: [3, about.image_size, about.image_size], PROBABILITIES: [len(about.class_names)]}
    found = {node.name: list(node.shape[1:]) for node in (*session.get_inputs(), *session.get_outputs())}
    for name, shape in shapes.items():
        if found.get(name) != shape:
            raise _foreign(path, f"expected {name} of shape [batch, {', '.join(map(str, shape))}], got {found.get(name)}")
    return OnnxModel(about, session.run)


def _session(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise OptionError(f"{path} needs onnxruntime, which is not installed: pip install 'picturebook[export]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors alone; they come as exceptions too
    try:
        # As bytes, so that the name may be of any encoding.
        return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror or error}).") from None
    except Exception as error:  # onnxruntime's errors have no common base
        raise ModelError(f"{path} is no whole ONNX file ({str(error).splitlines()[0]}): export it again.") from error


def _foreign(path: Path, reason: str) -> ModelError:
    return ModelError(
        f"{path} was not written by picturebook ({reason}), so its classes and its input are unknown: "
        "take a file of `picturebook export RUN --to onnx`."
    )
