"""The main job: self-distillation from an image-text teacher.

V ← frozen image encoder(view)      T ← frozen language model(words)
o ← cross-attention(query T, keys and values V)      p ← softmax(linear(o)), trained on the labels: the teacher
targets ← p of every training view                   student ← new weights, train(targets, labels), pictures alone
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from picturebook.data.findings import quantity
from picturebook.data.texts import TextOptions, class_texts, own_texts
from picturebook.errors import OptionError
from picturebook.models.heads import HeadOptions, build_head
from picturebook.models.saved_teacher import SavedTeacher
from picturebook.models.text_encoders import TextEncoder, load_text_encoder, whiten
from picturebook.objectives.image_text import HeadLossOptions
from picturebook.objectives.soft_targets import SoftTargetOptions
from picturebook.recipes.encoders import check_encoder, learn, teacher_logits
from picturebook.recipes.head_teacher import (
    EncoderOptions,
    HeadParts,
    HeadTrainOptions,
    encode_pictures,
    label_with_head,
    train_head,
)
from picturebook.recipes.options import RecipeOptions
from picturebook.recipes.outcome import finish
from picturebook.recipes.stages import Stages, short_hash
from picturebook.stores.texts import encode_once
from picturebook.teachers import TextTable

LEARNED_WIDTH = 384
"""Width of learned queries: that of all-MiniLM-L6-v2, so that heads with and without words have the same size."""


class ImageTextTeacherOptions(EncoderOptions):
    """The teacher: a frozen image encoder, a frozen language model and the head that joins them."""

    text_encoder: str = "sentence-transformers/all-MiniLM-L6-v2"
    """A sentence-transformers name or folder, or package:all-MiniLM-L6-v2 for the weights that come by pip."""
    head: HeadOptions = HeadOptions()
    """How words and picture meet."""
    loss: HeadLossOptions = HeadLossOptions()
    """How the head is taught."""
    train: HeadTrainOptions = HeadTrainOptions()
    """The head's training."""


class ImageTextRecipe(RecipeOptions):
    """The student learns from a teacher that reads words beside the pictures."""

    recipe: Literal["image_text"] = "image_text"
    """This recipe."""
    text: TextOptions = TextOptions()
    """The words."""
    teacher: ImageTextTeacherOptions = ImageTextTeacherOptions()
    """The teacher."""
    loss: SoftTargetOptions = SoftTargetOptions()
    """How its targets are learnt."""


def check(options: ImageTextRecipe) -> str | None:
    """Refuse settings that cannot go together; give the table's column that this run reads, or None.

    Raises:
        ModelError: there is no such image encoder.
        OptionError: words and head do not go together.
    """
    check_encoder(options.teacher.image_encoder, options.teacher.image_size)
    mode, text = options.teacher.head.mode, options.text
    if mode == "bank" and text.source != "classes":
        raise OptionError(f"teacher.head.mode = 'bank' asks with class texts: need text.source = 'classes', got {text.source!r}.")
    if mode in ("learned", "linear") and text.source != "none":
        raise OptionError(f"teacher.head.mode = {mode!r} reads no words: need text.source = 'none', got {text.source!r}.")
    if options.teacher.head.residual and text.kind != "label_blind":
        raise OptionError(
            f"teacher.head.residual lets the words answer by themselves: need text.kind = 'label_blind', got {text.kind!r}."
        )
    return (text.column or options.data.columns.text) if text.source == "column" else None


def run(stages: Stages, options: ImageTextRecipe) -> None:
    """Train the head, store its targets, train the student on them."""
    words = _Words(stages, options)
    encoder, tokens = encode_pictures(stages, options.teacher)
    parts = HeadParts(
        encoder, tokens, words.own, {"image encoder": stages.fingerprints["image encoder"], "words": words.fingerprint}
    )
    head = build_head(
        options.teacher.head,
        token_width=encoder.token_width,
        num_tokens=tokens.values.shape[2],
        text_width=words.width,
        num_classes=len(stages.pictures.classes),
        class_texts=words.bank,
        seed=stages.part_seed("head"),
    )
    saved = SavedTeacher(
        image_encoder=encoder.name,
        image_size=encoder.image_size,
        num_classes=len(stages.pictures.classes),
        text_encoder=options.teacher.text_encoder if words.fingerprint != "none" else None,
        text_width=words.width,
        head=options.teacher.head,
    )
    teacher = train_head(stages, head, parts, saved, options.teacher.train, options.teacher.loss)
    width = head.representation_width if options.loss.with_representation else None
    targets = label_with_head(stages, head, parts, representation_width=width)
    student = learn(stages, targets, options.loss, representation_width=width)
    finish(stages, student, teachers={words.teacher_name: teacher_logits(teacher)})


class _Words:
    """The words of a run as vectors: a bank with one per class, or a table with one per picture, or none."""

    def __init__(self, stages: Stages, options: ImageTextRecipe) -> None:
        self.bank: Float[Tensor, "classes width"] | None = None
        self.own: TextTable | None = None
        self.width = LEARNED_WIDTH
        self.fingerprint = "none"
        mode, text = options.teacher.head.mode, options.text
        self.teacher_name = "teacher" if mode != "own" else f"teacher with the pictures' own words ({text.kind})"
        if mode in ("learned", "linear"):
            return
        encoder = load_text_encoder(options.teacher.text_encoder)
        self.width = encoder.width
        if mode == "bank":
            sentences = class_texts(text, stages.pictures.classes)
            self.bank = whiten(self._encode(stages, encoder, sentences))
        else:
            sentences = own_texts(text, stages.pictures)
            self.own = TextTable(stages.pictures.ids, self._encode(stages, encoder, sentences))
        self.fingerprint = short_hash("\n".join([encoder.fingerprint, *sentences]))
        stages.fingerprints |= {"text encoder": encoder.fingerprint, "words": self.fingerprint}

    @staticmethod
    def _encode(stages: Stages, encoder: TextEncoder, sentences: list[str]) -> Float[Tensor, "texts width"]:
        if truncated := encoder.count_truncated(sorted(set(sentences))):
            stages.reporter.say(
                f"{quantity(truncated, 'text')} longer than the text encoder's {encoder.max_length} tokens: the rest is cut off."
            )
        with stages.timed("encode words"), stages.reporter.stage("encoding words") as progress:
            return encode_once(encoder, sentences, cache=stages.cache, progress=progress)
