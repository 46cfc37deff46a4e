"""Where the words of an image-text teacher look in a picture, and where a student looks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from picturebook.data.loaders import evaluation_batches
from picturebook.data.pictures import Pictures
from picturebook.data.texts import TextOptions, class_texts, own_texts
from picturebook.errors import ModelError
from picturebook.models.image_encoders import ImageEncoder
from picturebook.models.saved_teacher import load_teacher
from picturebook.models.text_encoders import load_text_encoder
from picturebook.stores.texts import encode_queries


@dataclass(frozen=True, slots=True, eq=False)
class WordsInPicture:
    """One picture and where the words looked."""

    row: int
    """Its row in the data."""
    text: str
    """The words that asked."""
    weights: Float[np.ndarray, "rows columns"]
    """Attention over the image tokens' grid; at least 0, sums to 1."""
    prediction: int
    """The class that the teacher says."""
    probability: float
    """Its probability, in [0, 1]."""


@torch.no_grad()
def look(
    teacher: Path, pictures: Pictures, rows: np.ndarray, text: TextOptions, *, image_size: int, cache: Path, seed: int = 0
) -> list[WordsInPicture]:
    """Ask a saved teacher about the pictures at `rows`: with each one's own words, or with the text of the class it says.

    Args:
        teacher: a run's teacher folder.
        text: the words as the run had them.
        image_size: side of the views that the teacher was trained on, in pixels.
        cache: folder of the text vectors.
        seed: of the run; only controls of the words look at it.

    Returns:
        One a row. A map is the mean over the queries of a text that asks by several.

    Raises:
        ModelError: there is no teacher with a head, or its head reads no words, or words alone.
    """
    encoder, head, saved = load_teacher(teacher)
    if saved.text_encoder is None:
        raise ModelError(f"{teacher} reads no words: its head is {saved.heads[0].mode!r}.")
    if saved.heads[0].mode == "text":
        raise ModelError(f"{teacher} looks at no picture: its head is 'text'.")
    if saved.heads[0].mode == "own":
        texts = own_texts(text, pictures, seed=seed).sentences
        asking = [texts[row] for row in rows.tolist()]
        queries = encode_queries(load_text_encoder(saved.text_encoder), asking, asking=text.queries, cache=cache)
    else:
        texts, asking, queries = class_texts(text, pictures.classes, seed=seed).sentences, [], None
    batch = next(
        evaluation_batches(pictures, rows, image_size=image_size, device=torch.device("cpu"), batch_size=max(1, len(rows)))
    )
    assert batch.images is not None
    output = head(encoder.tokens(batch.images), queries, with_attention=True)
    assert output.attention is not None
    probs = output.logits.softmax(dim=1)
    answers = []
    for place, row in enumerate(rows.tolist()):
        prediction = int(probs[place].argmax())
        weights = output.attention[place, 0 if asking else prediction].reshape(encoder.grid).double().numpy()
        words = " ".join(asking[place] if asking else texts[prediction])
        answers.append(WordsInPicture(row, words, weights / weights.sum(), prediction, float(probs[place, prediction])))
    return answers


def student_looks(
    encoder: ImageEncoder, images: Float[Tensor, "batch 3 _ _"], classes: Int64[Tensor, " batch"]
) -> tuple[Float[np.ndarray, "batch rows columns"] | None, str]:
    """What in the student's last map speaks for a class (class activation).

    Args:
        encoder: the student.
        images: RGB in [0, 1], where the student is.
        classes: one a picture, whose reasons are asked for.

    Returns:
        Shares of the places, at least 0; each map sums to 1, or is 0 throughout where no place speaks for its class. Or None, and
        why this student has no such maps.
    """
    if encoder.grid == (1, 1):
        return None, f"the last map of {encoder.architecture} at {encoder.image_size} pixels has one place alone."
    evidence = encoder.class_activation(images, classes).double().cpu().numpy()
    if not evidence.any():
        return None, f"the classifier of {encoder.architecture} reads a token of its own, in which the places are mixed."
    maps = evidence.clip(min=0)
    totals = maps.sum(axis=(1, 2), keepdims=True)
    return np.divide(maps, totals, out=np.zeros_like(maps), where=totals > 0), ""
