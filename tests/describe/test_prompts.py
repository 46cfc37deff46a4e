from picturebook.describe.prompts import estimate_tokens, fill, prompt_hash, spoken, unknown_places


def test_values_are_filled_in_once_and_other_braces_stay() -> None:
    values = {"class": "{classes}", "classes": "a, b"}
    assert fill('{class} of {classes}: {"x": 1} {}', values) == '{classes} of a, b: {"x": 1} {}'


def test_a_misspelt_place_is_found() -> None:
    assert unknown_places("{clas} {class} {1} { label }", ["class"]) == ["clas"]


def test_names_are_spoken_with_blanks_and_as_utf8() -> None:
    assert spoken("great_white\udcff") == "great white?"


def test_hash_and_tokens_of_a_prompt() -> None:
    assert prompt_hash("a").startswith("ca978112ca1bbdcafac231b39a23dc4d")
    assert [estimate_tokens(text) for text in ("", "abcd", "abcde", "赤い体")] == [0, 1, 2, 3]
