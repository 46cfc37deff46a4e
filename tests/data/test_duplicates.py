import io

import numpy as np
from PIL import Image

from picturebook.data.duplicates import duplicate_groups
from picturebook.data.images import decode


def smooth_pictures(num: int, side: int = 48) -> np.ndarray:
    """Blotches, as much alike as photographs are."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (num, 5, 5, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)) for picture in coarse])


def saved_again(picture: np.ndarray, side: int, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=quality)
    return decode(buffer.getvalue(), picture.shape[0]).canvas


def test_copies_and_pictures_saved_again_are_found_and_others_are_not() -> None:
    pictures = smooth_pictures(300)
    again = [saved_again(pictures[7], 48, 40), saved_again(pictures[11], 30, 90), pictures[7], pictures[299]]
    groups = duplicate_groups(np.concatenate([pictures, again]))
    assert groups[:300].tolist() == list(range(300))
    assert groups[300:].tolist() == [7, 11, 7, 299]


def test_pictures_of_one_colour_are_duplicates_only_where_they_are_equal() -> None:
    colours = [(r, g, 40) for r in range(100, 110) for g in range(100, 110)]
    canvases = np.array(colours + colours[:5], dtype=np.uint8)[:, None, None, :] * np.ones((1, 8, 8, 1), dtype=np.uint8)
    groups = duplicate_groups(canvases)
    assert groups[:100].tolist() == list(range(100))
    assert groups[100:].tolist() == [0, 1, 2, 3, 4]


def test_equal_grey_in_other_colours_is_no_duplicate() -> None:
    first = smooth_pictures(1)
    assert duplicate_groups(np.concatenate([first, first[..., [1, 2, 0]]])).tolist() == [0, 1]


def test_one_template_with_another_small_sign_is_no_duplicate() -> None:
    template = np.full((32, 32, 3), 255, dtype=np.uint8)
    template[2:30, 2:30] = (250, 200, 40)
    signs = np.repeat(template[None], 4, axis=0)
    signs[0, 6:16, 15:17] = signs[1, 15:17, 16:26] = signs[2, 16:26, 15:17] = signs[3, 15:17, 6:16] = 0  # hands of a clock
    assert duplicate_groups(signs).tolist() == [0, 1, 2, 3]


def test_noise_on_one_plain_ground_is_no_duplicate() -> None:
    generator = np.random.default_rng(0)
    canvases = generator.integers(100, 110, (50, 8, 8, 3), dtype=np.uint8)
    assert duplicate_groups(canvases).tolist() == list(range(50))


def test_one_picture_and_none_have_their_clusters() -> None:
    assert duplicate_groups(smooth_pictures(1)).tolist() == [0]
    assert duplicate_groups(np.empty((0, 8, 8, 3), dtype=np.uint8)).tolist() == []


def test_a_cluster_wider_than_the_neighbours_that_are_looked_at_holds_together() -> None:
    picture = smooth_pictures(1)[0]
    copies = np.stack([np.clip(picture.astype(int) + shift, 0, 255).astype(np.uint8) for shift in range(-6, 7)] * 3)
    assert set(duplicate_groups(copies).tolist()) == {0}
