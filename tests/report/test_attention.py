import base64
from io import BytesIO

import numpy as np
import pytest
from matplotlib.image import imread
from report_sample import attention

from picturebook.report.attention import attention_overlay, heat_key, plain_picture


def pixels(uri: str) -> np.ndarray:
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    return imread(BytesIO(base64.b64decode(body)))[..., :3]


def spot(row: int, column: int) -> np.ndarray:
    weights = np.zeros((4, 4), dtype=np.float32)
    weights[row, column] = 1.0
    return weights


def test_picture_and_overlay_have_one_size_and_the_pictures_shape() -> None:
    card = attention()
    assert pixels(plain_picture(card)).shape == pixels(attention_overlay(card)).shape == (192, 256, 3)


def test_the_plain_picture_keeps_its_colours() -> None:
    image = np.zeros((2, 2, 3), dtype=np.uint8)
    image[0, 0], image[1, 1] = (255, 0, 0), (0, 128, 255)
    picture = pixels(plain_picture(attention(image=image)))
    assert picture[0, 0] == pytest.approx([1, 0, 0])
    assert picture[-1, -1] == pytest.approx([0, 128 / 255, 1], abs=1e-3)


def test_shrinking_skips_nothing() -> None:
    stripes = np.zeros((1024, 1024, 3), dtype=np.uint8)
    stripes[:, ::4] = 255
    picture = pixels(plain_picture(attention(image=stripes)))
    assert picture[8:-8, 8:-8] == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 3), (3, 2)])
def test_the_heat_lies_where_the_weight_is(row: int, column: int) -> None:
    grey = np.full((16, 16, 3), 120, dtype=np.uint8)
    brightness = pixels(attention_overlay(attention(image=grey, weights=spot(row, column)))).sum(axis=-1)
    hottest = np.unravel_index(brightness.argmax(), brightness.shape)
    assert (int(hottest[0]) // 64, int(hottest[1]) // 64) == (row, column)


def test_even_looking_is_an_even_tint_fainter_than_a_spot() -> None:
    grey = np.full((16, 16, 3), 120, dtype=np.uint8)
    even = pixels(attention_overlay(attention(image=grey, weights=np.full((4, 4), 1 / 16))))
    spotted = pixels(attention_overlay(attention(image=grey, weights=spot(1, 1))))
    assert np.ptp(even, axis=(0, 1)) == pytest.approx(0, abs=1e-6)
    assert even.sum(axis=-1).max() < 0.75 * spotted.sum(axis=-1).max()


def test_the_key_runs_from_dark_to_bright() -> None:
    brightness = [sum(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for colour in heat_key()]
    assert brightness == sorted(brightness)
    assert len(brightness) == 7


@pytest.mark.parametrize("weights", [np.full((4, 4), 1.0), np.array([[1.5, -0.5]])])
def test_weights_that_are_no_attention_are_refused(weights: np.ndarray) -> None:
    with pytest.raises(AssertionError, match="weights: need"):
        attention(weights=weights)
