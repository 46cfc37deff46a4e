"""Classifying pictures by the words for their classes alone, and what is kept of that on disk.

teacher/zero_shot.json           the classes, in the order of the logits; heads of the pooler
teacher/zero_shot.safetensors    projection of the pooled features, or pooler of the tokens; the classes' vectors, the scale
teacher/image_encoder/           the image encoder as it was when words were learnt beside pictures
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from picturebook.errors import ModelError
from picturebook.models.artefact import load_student, save_student
from picturebook.models.attentional_pooling import AttentionalPooler
from picturebook.models.image_encoders import ImageEncoder
from picturebook.tensor_files import read_tensors, write_tensors
from picturebook.writing import write_json

CLASSES_FILE, WEIGHTS_FILE = "zero_shot.json", "zero_shot.safetensors"


class ZeroShotClassifier(nn.Module):
    """Logits s cos(picture vector, class vector) of pictures (arXiv:2103.00020, section 3.1).

    Args:
        encoder: whose pooled features or tokens are read.
        projection: of its pooled features, or a pooler of one query of its tokens, to the space that pictures and words share.
        class_vectors: [K, D], in class order; normalised here.
        scale: s > 0, 1 over the temperature.
    """

    class_vectors: Tensor
    scale: Tensor

    def __init__(
        self,
        encoder: ImageEncoder,
        projection: nn.Linear | AttentionalPooler,
        class_vectors: Float[Tensor, "classes width"],
        scale: float,
    ) -> None:
        super().__init__()
        self.encoder, self.projection = encoder, projection
        self.register_buffer("class_vectors", functional.normalize(class_vectors.detach().float(), dim=1))
        self.register_buffer("scale", torch.tensor(scale, device=class_vectors.device))

    @property
    def feature_width(self) -> int:
        """Width of the pooled features, or of the pooler's."""
        return self.class_vectors.shape[1] if isinstance(self.projection, AttentionalPooler) else self.encoder.feature_width

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        """Logits of RGB images in [0, 1]."""
        return self.forward_features(images)[0]

    def forward_features(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch feature_width"]]:
        """Logits, and the pooled features (a pooler's own where there is one), of RGB images in [0, 1]."""
        if isinstance(self.projection, AttentionalPooler):
            features = vectors = self.projection(self.encoder.tokens(images, with_prefix=True))[:, 0]
        else:
            _, features = self.encoder.forward_features(images)
            vectors = self.projection(features)
        return self.scale * functional.normalize(vectors.float(), dim=1) @ self.class_vectors.T, features


def class_vectors(
    text_tower: Callable[[Tensor], Tensor], inputs: Shaped[Tensor, "classes templates *record"]
) -> Float[Tensor, "classes width"]:
    """One vector of length 1 a class: the mean direction of its sentences (arXiv:2103.00020, section 3.1.4)."""
    vectors = functional.normalize(text_tower(inputs.flatten(0, 1)).float(), dim=1)
    return functional.normalize(vectors.reshape(*inputs.shape[:2], -1).mean(dim=1), dim=1)


def save_zero_shot(classifier: ZeroShotClassifier, folder: Path, *, classes: Sequence[str]) -> None:
    """Write what `load_zero_shot` reads into a run's teacher folder."""
    save_student(classifier.encoder, folder / "image_encoder", label_names=classes)
    state = classifier.state_dict()
    write_tensors({name: value for name, value in state.items() if not name.startswith("encoder.")}, folder / WEIGHTS_FILE)
    heads = {"num_heads": classifier.projection.num_heads} if isinstance(classifier.projection, AttentionalPooler) else {}
    write_json(folder / CLASSES_FILE, {"classes": list(classes), **heads})


def load_zero_shot(folder: Path) -> tuple[ZeroShotClassifier, tuple[str, ...]]:
    """The classifier in eval mode, and its classes in the order of its logits.

    Raises:
        ModelError: the folder holds none, or one that does not fit.
    """
    try:
        settings = json.loads((folder / CLASSES_FILE).read_text(encoding="utf-8"))
        classes = tuple(settings["classes"])
        state = read_tensors(folder / WEIGHTS_FILE)
    except (OSError, ValueError, KeyError, TypeError):
        raise ModelError(
            f"{folder} holds no zero-shot classifier: name the folder of a finished run of clip, align, siglip or coca."
        ) from None
    encoder, _ = load_student(folder / "image_encoder")
    try:
        projection = _empty_projection(encoder, state, settings.get("num_heads"))
        projection.load_state_dict(
            {name.removeprefix("projection."): value for name, value in state.items() if name.startswith("projection.")}
        )
        classifier = ZeroShotClassifier(encoder, projection, state["class_vectors"], float(state["scale"]))
        classifier.class_vectors.copy_(state["class_vectors"])  # their length is 1 but for rounding, which is not rounded again
        return classifier.eval(), classes
    except (RuntimeError, KeyError, IndexError, ValueError, TypeError) as error:
        problem = f"{folder} holds a zero-shot classifier that does not fit its encoder ({error}): train it again."
        raise ModelError(problem) from error


def _empty_projection(encoder: ImageEncoder, state: dict[str, Tensor], num_heads: int | None) -> nn.Linear | AttentionalPooler:
    width = state["class_vectors"].shape[1]
    if num_heads is None:
        return nn.Linear(encoder.feature_width, width)
    return AttentionalPooler(token_width=encoder.token_width, width=width, num_queries=1, num_heads=num_heads)
