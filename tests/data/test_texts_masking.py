import pytest

from picturebook.data.texts.masking import MASK, class_words, mask_words, mentions

CLASSES = ("black-footed albatross", "hand_body", "butterfly", "box", "cats")
WORDS = class_words(CLASSES)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("An Albatross stands.", "An … stands."),
        ("two ALBATROSSES, black feet", "two …, … feet"),
        ("its hands and body_parts", "its … and …_parts"),
        ("butterflies in boxes", "… in …"),
        ("a cat's bowl", "a …'s bowl"),
        ("handle the catalogue", "handle the catalogue"),
        ("", ""),
    ],
)
def test_words_of_any_class_are_masked_and_nothing_else(text: str, masked: str) -> None:
    assert mask_words(text, WORDS) == masked


def test_the_mask_does_not_know_the_label() -> None:
    text = "a cat in a box beside a butterfly"
    assert mask_words(text, WORDS) == "a … in a … beside a …"
    assert mask_words(text, class_words(reversed(CLASSES))) == mask_words(text, WORDS)


@pytest.mark.parametrize(
    ("name", "text", "masked"),
    [
        ("кошка", "Кошка спит", "… спит"),
        ("猫", "一只黑猫在睡觉", f"一只黑{MASK}在睡觉"),
        ("किताब", "एक किताब और किताबें", f"एक {MASK} और किताबें"),
        ("고양이", "고양이가 잔다", f"{MASK}가 잔다"),
        ("แมว", "แมวนอน", f"{MASK}นอน"),
        ("Straße", "die STRASSE", f"die {MASK}"),
        ("cafe\u0301", "caf\u00e9 noir", f"{MASK} noir"),
        ("7", "room 7 of 77", f"room {MASK} of 77"),
    ],
)
def test_words_of_other_scripts_are_masked(name: str, text: str, masked: str) -> None:
    assert mask_words(text, class_words([name])) == masked


def test_a_longer_word_is_masked_before_the_shorter_one_in_it() -> None:
    assert mask_words("小熊猫和猫", class_words(["猫", "熊猫"])) == f"小{MASK}和{MASK}"


def test_what_is_masked_no_longer_mentions_a_class() -> None:
    assert mentions("Hands up", WORDS)
    assert not mentions(mask_words("Hands up, albatrosses", WORDS), WORDS)
    assert not mentions("nothing of it, cafe\u0301", WORDS)
