import io

import numpy as np
import pytest
from PIL import Image

from picturebook.data.thumbnails import png, thumbnail


@pytest.mark.parametrize(("height", "width", "size"), [(100, 100, (40, 40)), (50, 200, (40, 10)), (3000, 1, (1, 40))])
def test_a_thumbnail_has_its_originals_proportions(height: int, width: int, size: tuple[int, int]) -> None:
    canvas = np.full((16, 16, 3), 7, np.uint8)
    image = Image.open(io.BytesIO(thumbnail(canvas, height=height, width=width, longer=40)))
    assert (image.format, image.size) == ("PNG", size)
    assert (np.asarray(image) == 7).all()


def test_png_loses_nothing() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 9, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(pixels)))), pixels)
