"""How much there is of a stage's work, and of what it stores, at a number of training pictures and of classes."""

from collections.abc import Callable

from picturebook.data.canvases import are_kept, canvas_bytes
from picturebook.data.duplicates import THUMBNAIL
from picturebook.data.tables import DataOptions
from picturebook.recipes.tokens import EncoderOptions, affordable_views
from picturebook.stores.targets import target_bytes

Growth = Callable[[int, int], float]
"""(training pictures, classes) → an amount: of bytes, or of work in any unit."""
Held = Callable[[int], int]
"""Training pictures → views of each whose image tokens are stored."""


def by_pictures(pictures: int, classes: int) -> float:
    """As much as there are pictures."""
    return float(pictures)


def by_classes(pictures: int, classes: int) -> float:
    """As much as there are classes."""
    return float(classes)


def up_to(most: int, share: float) -> Growth:
    """A share of the pictures, but no more than `most`."""
    return lambda pictures, _: min(float(most), share * pictures)


def canvases(data: DataOptions, splits: float) -> Growth:
    """Bytes of the decoded pictures, `splits` for one training picture; past the budget thumbnails alone are stored."""

    def size(pictures: int, classes: int) -> float:
        num = round(splits * pictures)
        kept = are_kept(num, data.canvas_size, data.canvas_budget_gb * 1e9)
        return float(canvas_bytes(num, data.canvas_size if kept else THUMBNAIL))

    return size


def targets(views: int, representation_width: int | None) -> Growth:
    """Bytes of a teacher's targets of `views` views of each picture."""
    return lambda pictures, classes: pictures * views * target_bytes(classes, representation_width=representation_width)


def held_views(options: EncoderOptions, distinct_views: int, record_bytes: int) -> Held:
    """Views of tokens of `record_bytes` that stay within the encoder's budget; asking for too many pictures is a DataError."""
    return lambda pictures: affordable_views(
        options, distinct_views=distinct_views, record_bytes=record_bytes, num_pictures=pictures
    )


def tokens(held: Held, record_bytes: int = 1) -> Growth:
    """Bytes of image tokens; or, for records of 1, how many there are."""
    return lambda pictures, _: pictures * held(pictures) * record_bytes


def held_out(options: EncoderOptions, held: Held, record_bytes: int, share: float) -> Growth:
    """Bytes of the image tokens of `share` held-out pictures for one training picture; none where the budget has no room left."""

    def size(pictures: int, classes: int) -> float:
        wanted, spent = share * pictures * record_bytes, tokens(held, record_bytes)(pictures, classes)
        return wanted if spent + wanted <= options.token_budget_gb * 1e9 else 0.0

    return size


def labelling(held: Held, views: int, *, on_tokens: float, encoding: float) -> Growth:
    """Seconds of labelling `views` views of each picture, from stored tokens while these hold every view.

    Args:
        held: views that the tokens hold.
        views: that are labelled.
        on_tokens: seconds that a view takes from stored tokens.
        encoding: seconds that a view takes to be encoded, which comes on top where tokens do not hold it.
    """
    return lambda pictures, _: pictures * views * (on_tokens + (0.0 if held(pictures) >= views else encoding))
