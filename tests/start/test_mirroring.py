import pytest

from picturebook.start.mirroring import why_not_mirror


@pytest.mark.parametrize(
    "classes",
    [
        list("0123456789"),
        list("abc"),
        ["Letter A", "Letter B"],
        ["digit_1", "digit_7"],
        ["zero", "one", "two"],
        ["あ", "い", "う"],
        ["A", "B", "background"],
    ],
)
def test_letters_and_digits_are_not_mirrored(classes: list[str]) -> None:
    found = why_not_mirror(classes)
    assert found is not None
    assert "letters or digits" in found


@pytest.mark.parametrize("name", ["turn left", "Right_Hand", "arrow-clockwise"])
def test_sides_are_not_mirrored(name: str) -> None:
    assert why_not_mirror(["cat", "dog", "bird", name]) == f"{name} would become another class in a mirror"


@pytest.mark.parametrize(
    "classes",
    [["cat", "dog"], ["bright", "upright piano"], ["vitamin c", "vitamin d"], ["12", "40"], ["A", "cat", "dog"], ["one way"] * 2],
)
def test_other_names_give_no_reason(classes: list[str]) -> None:
    assert why_not_mirror(classes) is None
