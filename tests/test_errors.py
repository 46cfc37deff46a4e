import pytest

from picturebook import errors
from picturebook.errors import PicturebookError, unknown_name


def test_a_misspelt_name_gets_the_nearest_known_one_and_all_of_a_short_list() -> None:
    assert unknown_name("recipe", "image_txt", ["supervised", "image_text", "distil"]) == (
        "There is no recipe 'image_txt'. Did you mean 'image_text'? Known: distil, image_text, supervised."
    )


def test_a_name_like_no_other_gets_no_guess() -> None:
    assert unknown_name("recipe", "zzz", ["supervised", "distil"]) == "There is no recipe 'zzz'. Known: distil, supervised."


@pytest.mark.parametrize(("num", "listed"), [(12, True), (13, False)])
def test_only_a_list_of_at_most_twelve_names_is_shown(num: int, listed: bool) -> None:
    names = [f"resnet{index}" for index in range(10, 10 + num)]
    message = unknown_name("model", "resnet10x", names)
    assert "Did you mean 'resnet10'?" in message
    assert ("Known:" in message) == listed


def test_names_may_come_from_any_iterable_even_an_empty_one() -> None:
    assert unknown_name("model", "a", (name for name in ["ab"])) == "There is no model 'a'. Did you mean 'ab'? Known: ab."
    assert unknown_name("split", "test", []).startswith("There is no split 'test'.")


def test_every_error_is_a_picturebook_error() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) == 8
    assert all(issubclass(kind, PicturebookError) for kind in kinds)
