"""What a request is told instead of an answer: a status and a sentence."""

from collections.abc import Mapping
from typing import Final

from picturebook.data.images import Broken

NOTHING_MORE: Final = {"Connection": "close"}
"""Of a refusal before the body is whole: what is still to come is not taken in."""


class Refusal(Exception):  # noqa: N818 - an answer to whoever asked, not an error of the program
    """A request that gets no answer, and why."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, dict(headers or {})


def not_a_picture(broken: Broken) -> Refusal:
    """Say why bytes gave no picture: 415 where they are something else, 422 where they are a picture that cannot be read."""
    if broken.kind == "not an image":
        return Refusal(
            415,
            "This is no picture that can be read here: expected PNG, JPEG, WebP, GIF, BMP, TIFF or AVIF, whatever its name says.",
        )
    if broken.kind == "decompression bomb":
        return Refusal(422, "This picture has too many pixels to be opened: make it smaller and try again.")
    if broken.kind == "zero-byte file":
        return Refusal(422, "This file is empty: send the bytes of a picture.")
    return Refusal(422, f"This picture cannot be read ({broken.kind}): save it again, or try another.")


def too_large(max_bytes: int) -> Refusal:
    """Say how large a file may be."""
    sentence = f"This file is too large: at most {max_bytes / 1e6:g} MB are read. Make the picture smaller."
    return Refusal(413, sentence, NOTHING_MORE)
