"""Where the words of an image-text teacher look in a picture."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from picturebook.data.loaders import evaluation_batches
from picturebook.data.pictures import Pictures
from picturebook.data.texts import TextOptions, class_texts, own_texts
from picturebook.errors import ModelError
from picturebook.models.saved_teacher import load_teacher
from picturebook.models.text_encoders import load_text_encoder
from picturebook.stores.texts import encode_once


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
    teacher: Path, pictures: Pictures, rows: np.ndarray, text: TextOptions, *, image_size: int, cache: Path
) -> list[WordsInPicture]:
    """Ask a saved teacher about the pictures at `rows`: with each one's own words, or with the text of the class it says.

    Args:
        teacher: a run's teacher folder.
        text: the words as the run had them.
        image_size: side of the views that the teacher was trained on, in pixels.

    Raises:
        ModelError: there is no teacher with a head, or its head reads no words.
    """
    encoder, head, saved = load_teacher(teacher)
    if saved.text_encoder is None:
        raise ModelError(f"{teacher} reads no words: its head is {saved.head.mode!r}.")
    own = own_texts(text, pictures) if saved.head.mode == "own" else None
    vectors = None
    if own is not None:
        vectors = encode_once(load_text_encoder(saved.text_encoder), [own[row] for row in rows], cache=cache)
    batch = next(
        evaluation_batches(pictures, rows, image_size=image_size, device=torch.device("cpu"), batch_size=max(1, len(rows)))
    )
    assert batch.images is not None
    output = head(encoder.tokens(batch.images), vectors, with_attention=True)
    probs = output.logits.softmax(dim=1)
    bank = class_texts(text, pictures.classes)
    answers = []
    for place, row in enumerate(rows.tolist()):
        prediction = int(probs[place].argmax())
        query = 0 if own is not None else prediction
        weights = output.attention[place, query].reshape(encoder.grid).double().numpy()
        words = own[row] if own is not None else bank[prediction]
        answers.append(WordsInPicture(row, words, weights / weights.sum(), prediction, float(probs[place, prediction])))
    return answers
