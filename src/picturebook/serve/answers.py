"""What the page tells of a picture, from bytes in memory that are gone when it is told."""

import base64
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from picturebook.attention import student_looks
from picturebook.data.images import Broken, Decoded, decode
from picturebook.data.thumbnails import png
from picturebook.data.views import evaluation_views
from picturebook.evaluate import Classifier
from picturebook.report.attention import attention_overlay, heat_key
from picturebook.report.content import Attention
from picturebook.serve.neighbours import Neighbours
from picturebook.serve.refusals import Refusal, not_a_picture
from picturebook.serve.typed_words import TypedWords

MOST_CLASSES = 5
MOST_NEIGHBOURS = 6
MOST_LETTERS = 1000
"""Of typed words."""


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """A run that answers about pictures.

    Where a part is None, the sentence beside it says why; it is empty where the run has no such part at all.
    """

    name: str
    """Of the run."""
    classifier: Classifier
    accuracy: dict[str, Any] | None
    """The student's numbers on test pictures, as results.json has them."""
    neighbours: Neighbours | None
    no_neighbours: str
    words: TypedWords | None
    no_words: str
    words_note: str = ""
    """What one must know before believing the words."""

    def about(self) -> dict[str, Any]:
        """The run, in plain values."""
        encoder = self.classifier.encoder
        accuracy = self.accuracy
        return {
            "name": self.name,
            "model": encoder.architecture,
            "image_size": encoder.image_size,
            "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
            "classes": list(self.classifier.classes),
            "test": None if accuracy is None else {key: accuracy[key] for key in ("accuracy", "low", "high", "num")},
            "neighbours": {"pictures": 0 if self.neighbours is None else len(self.neighbours), "problem": self.no_neighbours},
            "words": {"available": self.words is not None, "problem": self.no_words, "note": self.words_note},
            "heat_key": list(heat_key()),
        }

    @torch.no_grad()
    def predict(self, data: bytes) -> dict[str, Any]:
        """The likeliest classes, the nearest training pictures, what the model saw and where it looked.

        Raises:
            Refusal: the bytes give no picture.
        """
        picture, images = self._look_at(data)
        logits, features = self.classifier.encoder.forward_features(images.to(self.classifier.device))
        probs = self.classifier.calibrated(logits)[0].cpu()
        best = probs.topk(min(MOST_CLASSES, len(probs)))
        near = [] if self.neighbours is None else self.neighbours.nearest(features[0].cpu().numpy(), num=MOST_NEIGHBOURS)
        return {
            "classes": [
                {"name": self.classifier.classes[index], "probability": round(value, 6)}
                for value, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
            ],
            "neighbours": [
                {**asdict(one), "similarity": round(one.similarity, 4), "thumbnail": f"/thumbnails/{one.row}"} for one in near
            ],
            "height": picture.height,
            "width": picture.width,
            "seen": _data_address(_pixels(images)),
            "looks": self._student_looks(images, best.indices[:1]),
        }

    def look(self, data: bytes, *, words: str) -> dict[str, Any]:
        """Where the words look in the picture.

        Raises:
            Refusal: no words or too many, this run has no words, or the bytes give no picture.
        """
        if self.words is None:
            raise Refusal(404, self.no_words or "This run has no teacher that reads words.")
        words = " ".join(words.split())
        if not words or len(words) > MOST_LETTERS:
            raise Refusal(
                422, f"Expected words=… in the address, of 1 to {MOST_LETTERS} letters, got {len(words)}: say what to look for."
            )
        _, images = self._look_at(data)
        weights = self.words.look(images, words)
        return {"words": words, "weights": np.round(weights, 6).tolist(), "overlay": _overlay(images, weights)}

    def thumbnail(self, row: int) -> bytes:
        """A training picture as a PNG file.

        Raises:
            Refusal: there is none of that number.
        """
        content = None if self.neighbours is None else self.neighbours.thumbnail(row)
        if content is None:
            raise Refusal(404, f"There is no training picture {row}.")
        return content

    def _student_looks(self, images: Tensor, best: Tensor) -> dict[str, Any]:
        """Where the student looked for its answer, or why that is not shown."""
        device = self.classifier.device
        maps, reason = student_looks(self.classifier.encoder, images.to(device), best.to(device))
        if maps is None:
            return {"problem": f"Where the model looks is not shown: {reason}"}
        if not maps.any():
            return {"problem": "No place of the picture speaks for this answer more than against it."}
        return {"weights": np.round(maps[0], 6).tolist(), "overlay": _overlay(images, maps[0]), "problem": ""}

    def _look_at(self, data: bytes) -> tuple[Decoded, Tensor]:
        """The picture, and as images [1, 3, size, size] what the model sees of it."""
        try:
            picture = decode(data, self.classifier.canvas_size)
        except Broken as broken:
            raise not_a_picture(broken) from None
        canvases = torch.from_numpy(picture.canvas[None])
        sizes = torch.tensor([[picture.height, picture.width]])
        return picture, evaluation_views(canvases, sizes, image_size=self.classifier.encoder.image_size)


def _pixels(images: Tensor) -> np.ndarray:
    pixels: np.ndarray = images[0].permute(1, 2, 0).mul(255).round().to(torch.uint8).numpy()
    return pixels


def _overlay(images: Tensor, weights: np.ndarray) -> str:
    return attention_overlay(Attention(_pixels(images), "", weights, label="", prediction="", probability=0.0))


def _data_address(pixels: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(png(pixels)).decode()
