import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from picturebook.data.emoji import (
    Drawing,
    Emoji,
    class_words,
    code_point_key,
    compose_text,
    first_of_each,
    fit_on_canvas,
    group_emoji,
    group_name,
    keep_records,
    mask_class_words,
    new_folder,
    sample_keywords,
    save_set,
    split_emoji,
    text_hash,
    words_beside,
)
from picturebook.data.emoji_labels import LABEL_OF_SUBGROUP, SUBGROUPS
from picturebook.errors import DataError


def make_emoji(
    unified: str = "1F600", label: str = "face", name: str = "grinning face", keywords: tuple[str, ...] = (), **others: str
) -> Emoji:
    columns = {"category": "Smileys & Emotion", "subgroup": "face-smiling"} | others
    return Emoji(unified=unified, label=label, name=name, keywords=keywords, **columns)


def make_drawing(emoji: Emoji, seed: int, *, vendor: str = "one", brighter: int = 0) -> Drawing:
    coarse = np.random.default_rng(seed).integers(0, 200, (8, 8, 3), dtype=np.uint8) + np.uint8(brighter)
    return Drawing(emoji, vendor, Image.fromarray(coarse).resize((64, 64), Image.Resampling.NEAREST))


def test_no_subgroup_belongs_to_two_of_the_35_labels() -> None:
    assert len(SUBGROUPS) == 35
    assert len(LABEL_OF_SUBGROUP) == sum(len(subgroups) for subgroups in SUBGROUPS.values()) == 86
    assert LABEL_OF_SUBGROUP["sky & weather"] == "sky_weather"


@pytest.mark.parametrize(
    ("unified", "key"),
    [("0033-FE0F-20E3", "33-20E3"), ("0033-20e3", "33-20E3"), ("1F3F3-FE0F-200D-26A7-FE0F", "1F3F3-200D-26A7")],
)
def test_code_point_key_is_one_spelling_for_all_tables(unified: str, key: str) -> None:
    assert code_point_key(unified) == key


def test_records_outside_the_subgroups_are_left_out_and_60_flags_are_kept_by_hash() -> None:
    flags = [{"unified": f"{number:04X}", "subcategory": "country-flag"} for number in range(100)]
    others = [{"unified": "1F600", "subcategory": "face-smiling"}, {"unified": "1F46A", "subcategory": "family"}]
    kept = [record["unified"] for record in keep_records([*flags, *others])]
    highest_kept = max(text_hash(unified) for unified in kept[:-1])
    assert kept[-1] == "1F600"
    assert len(kept) == 61
    assert kept[:-1] == sorted(kept[:-1])
    assert all(text_hash(flag["unified"]) > highest_kept for flag in flags if flag["unified"] not in kept)


def test_a_drawing_is_cropped_to_what_is_visible_and_centred_on_white() -> None:
    drawing = np.zeros((40, 80, 4), dtype=np.uint8)
    drawing[10:20, 5:35] = (255, 0, 0, 255)
    drawing[30:, 60:] = (0, 0, 255, 8)  # as good as invisible
    picture = fit_on_canvas(Image.fromarray(drawing))
    assert picture is not None
    assert picture.mode == "RGB"
    pixels = np.asarray(picture)
    assert pixels.shape == (64, 64, 3)
    red = (pixels == (255, 0, 0)).all(axis=2)
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (22, 41, 2, 61)
    assert (pixels[~red] == 255).all()


def test_a_thin_line_keeps_one_pixel_and_an_empty_drawing_is_none() -> None:
    line = np.zeros((200, 200, 4), dtype=np.uint8)
    line[100, :] = (0, 0, 0, 255)
    picture = fit_on_canvas(Image.fromarray(line))
    assert picture is not None
    assert (np.asarray(picture) == 0).all(axis=2).sum() == 60
    assert fit_on_canvas(Image.new("RGBA", (8, 8), (255, 0, 0, 8))) is None


def test_equal_pixels_are_dropped_across_emoji_and_vendors() -> None:
    one, other = make_emoji("1F600"), make_emoji("1F601")
    drawings = [make_drawing(one, 0), make_drawing(one, 0, vendor="two"), make_drawing(other, 0), make_drawing(other, 1)]
    assert first_of_each(drawings) == [drawings[0], drawings[3]]


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("woman mechanic", "person_role/mechanic"),
        ("Man Mechanic", "person_role/mechanic"),
        ("mechanic", "person_role/mechanic"),
        ("person: red hair", "person_role/red hair"),
        ("mrs. claus", "person_role/mrs. claus"),
        ("mermaid", "person_role/mermaid"),
    ],
)
def test_a_group_is_the_name_without_words_of_gender(name: str, group: str) -> None:
    assert group_name("person_role", name) == group


def test_lookalikes_of_one_label_share_the_alphabetically_first_group() -> None:
    names = {"A": "zebra", "B": "mole", "C": "ant", "D": "whale"}
    emoji = {unified: make_emoji(unified, "mammal", name) for unified, name in names.items()} | {
        "E": make_emoji("E", "bird", "owl")
    }
    drawings = [
        make_drawing(emoji["A"], 1),
        make_drawing(emoji["B"], 1, vendor="two", brighter=40),  # brighter all over: the mean does not count
        make_drawing(emoji["B"], 2),
        make_drawing(emoji["C"], 2, vendor="two", brighter=1),
        make_drawing(emoji["D"], 3),
        make_drawing(emoji["E"], 1, brighter=1),  # another label
    ]
    expected = {"A": "mammal/ant", "B": "mammal/ant", "C": "mammal/ant", "D": "mammal/whale", "E": "bird/owl"}
    assert group_emoji(drawings) == expected


def slow_split(members: dict[str, list[str]]) -> dict[str, str]:
    total = sum(len(group) for group in members.values())
    test = val = 0
    splits = {}
    for group in sorted(members, key=lambda group: text_hash("split" + group)):
        m = len(members[group])
        if m <= 0.06 * total + 1 and test + m <= 0.2 * total + 0.5:
            split, test = "test", test + m
        elif m <= 0.06 * total + 1 and val + m <= 0.2 * total + 0.5:
            split, val = "val", val + m
        else:
            split = "train"
        splits |= dict.fromkeys(members[group], split)
    return splits


@pytest.mark.parametrize("sizes", [[1] * 20, [9, 1, 1, 1, 1, 1], [3, 2, 2] * 8, [1], [2, 2]])
def test_the_split_is_its_two_conditions(sizes: list[int]) -> None:
    members = {f"face/{number}": [f"{number}-{place}" for place in range(size)] for number, size in enumerate(sizes)}
    groups = {unified: group for group, unifieds in members.items() for unified in unifieds}
    emoji = [make_emoji(unified) for unified in groups]
    assert split_emoji([*emoji, *emoji], groups) == slow_split(members)


def test_each_label_is_split_by_itself_and_a_large_family_stays_in_train() -> None:
    emoji = [make_emoji(f"{label}{number}", label) for label in ("face", "flag") for number in range(20)]
    groups = {one.unified: f"{one.label}/{max(0, int(one.unified[4:]) - 4)}" for one in emoji}  # five emoji in the first group
    splits = split_emoji(emoji, groups)
    for label in ("face", "flag"):
        found = [split for unified, split in splits.items() if unified.startswith(label)]
        assert (found.count("train"), found.count("val"), found.count("test")) == (12, 4, 4)
        assert {splits[f"{label}{number}"] for number in range(5)} == {"train"}


def test_words_beside_a_name_exclude_it_in_any_case() -> None:
    assert words_beside("ZZZ", ["sleep", "zzz", "zz"]) == ("sleep", "zz")


def test_sampled_keywords_depend_on_emoji_and_vendor_alone() -> None:
    fish = make_emoji("1F41F", "sea_animal", "fish", ("animal", "dinner", "fishes", "fishing", "fishings", "pisces", "zodiac"))
    sampled = {vendor: sample_keywords(fish, vendor) for vendor in ("noto", "twemoji", "openmoji")}
    assert len({tuple(words) for words in sampled.values()}) == 3
    assert all(len(set(words)) == 5 and set(words) <= set(fish.keywords) for words in sampled.values())
    assert sample_keywords(fish, "noto") == sampled["noto"]
    assert sample_keywords(make_emoji("1F41F-FE0F", keywords=fish.keywords), "noto") == sampled["noto"]
    assert sorted(sample_keywords(make_emoji(keywords=("b", "a")), "noto")) == ["a", "b"]


def test_a_text_is_the_name_and_its_keywords() -> None:
    assert compose_text("melon", ["fruit", "cantaloupe"]) == "melon. fruit, cantaloupe"
    assert compose_text("melon", []) == "melon"


def test_the_mask_is_the_union_over_all_classes_with_plural_and_singular() -> None:
    emoji = [
        make_emoji(label="fruit_vegetable", category="Food & Drink", subgroup="food-fruit"),
        make_emoji(label="mammal", category="Animals & Nature", subgroup="animal-mammal"),
        make_emoji(label="bus", category="Travel", subgroup="bus"),
    ]
    banned = class_words(emoji)
    assert {"fruit", "fruits", "animal", "animals", "animalss", "mammal", "bus", "buss"} <= banned
    assert "bu" not in banned
    assert mask_class_words("melon. fruit, cantaloupe", banned) == "melon cantaloupe"
    assert mask_class_words("Deer. ANIMAL", banned) == "deer"
    assert mask_class_words("chef's food-truck 24", banned) == "chef's truck 24"
    assert mask_class_words("animal. mammals", banned) == "picture"


def test_a_new_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def fail_inside() -> None:
        with new_folder(tmp_path / "set") as working:
            (working / "a").write_text("a")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_inside()
    assert list(tmp_path.iterdir()) == []
    with new_folder(tmp_path / "set") as working:
        assert not (tmp_path / "set").exists()
        (working / "a").write_text("a")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    with pytest.raises(DataError, match="should be new"), new_folder(tmp_path / "set"):
        pass
    assert (tmp_path / "set" / "a").read_text() == "a"


def test_a_saved_set_holds_its_pictures_and_rows(tmp_path: Path) -> None:
    rows = [{"file_name": f"train/face/{number}.png", "text": "piñata"} for number in range(3)]
    pictures = [make_drawing(make_emoji(), number).picture for number in range(3)]
    calls: list[tuple[int, int]] = []
    save_set(tmp_path, rows, pictures, progress=lambda done, total: calls.append((done, total)))
    lines = (tmp_path / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == rows
    with Image.open(tmp_path / "train/face/2.png") as saved:
        assert np.array_equal(np.asarray(saved), np.asarray(pictures[2]))
    assert calls == [(1, 3), (2, 3), (3, 3)]
