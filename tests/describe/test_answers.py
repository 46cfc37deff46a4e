import json

import pytest

from picturebook.describe.answers import BadAnswerError, excerpt, parse_phrases

WORDS = ["red body", "Two wings", "black spots", "six legs"]
NUMBERED = "\n".join(f"{number}. {word}" for number, word in enumerate(WORDS, 1))


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps(WORDS),
        "Sure! Here is the list:\n```json\n" + json.dumps(WORDS, indent=2) + "\n```\nDo you need more?",
        json.dumps({"phrases": WORDS}),
        json.dumps({"class": "ladybird", "looks": WORDS}),
        "As in [1], {see} " + json.dumps({"phrases": WORDS}),
        "I think of [insects] here: " + json.dumps(WORDS),
        '<think>A list? ["no", "this is a thought"]</think>' + json.dumps(WORDS),
        NUMBERED,
        "Here you are:\n\n" + NUMBERED + "\n\nHope it helps.",
        NUMBERED.replace(". ", ") "),
        "\n".join(f"- **{word}**" for word in WORDS),
        "\r\n".join(f"  • “{word}”." for word in WORDS),
        json.dumps([f'  "{word}.", ' for word in WORDS]),
        json.dumps([*WORDS, "RED BODY", "", "N/A", "…", "none", "two  wings"]),
    ],
)
def test_lists_of_every_form_give_their_phrases(answer: str) -> None:
    assert parse_phrases(answer, least=4, most=20) == tuple(WORDS)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("", "empty"),
        (" \n ", "empty"),
        ("<think>hm</think>", "empty"),
        ("I'm sorry, but I can’t help with that.", "refuses"),
        ("As an AI, I have no eyes:\n1. I cannot see", "refuses"),
        ("A ladybird is a small red beetle with black spots.", "no list"),
        ("<html><body>502</body></html>", "no list"),
        ('["red body", "two wi', "no list"),
        ("[" * 100_000, "no list"),
        ("[1, 2, 3, 4]", "no list"),
        (json.dumps({"ladybird": WORDS, "bee": WORDS}), "no list"),  # which of the two?
        ('["none", "N/A", "...", "-"]', "mentions nothing"),
        ("[]", "no list"),
        (json.dumps(WORDS[:3]), "3 phrases of use, fewer than 4"),
        (json.dumps(["red body"] * 9), "1 phrase of use"),
    ],
)
def test_what_is_no_list_of_phrases_is_said_why(answer: str, why: str) -> None:
    with pytest.raises(BadAnswerError, match=why):
        parse_phrases(answer, least=4, most=20)


def test_a_longer_list_is_cut() -> None:
    assert parse_phrases(json.dumps(WORDS), least=2, most=3) == tuple(WORDS[:3])


def test_an_answer_is_data_with_nothing_that_acts_on_a_terminal() -> None:
    wild = ["red\x1b[31m body", "two\u200b wings\u202e", "bl\ud800ack\nspots", "x" * 500, "six legs"]
    assert parse_phrases(json.dumps(wild), least=4, most=20) == ("red[31m body", "two wings", "black spots", "six legs")


def test_words_of_other_scripts_are_phrases() -> None:
    assert parse_phrases('["赤い体", "два крыла", "γκρι φτερά"]', least=3, most=5) == ("赤い体", "два крыла", "γκρι φτερά")


def test_an_excerpt_is_one_short_line() -> None:
    assert excerpt("a\n\tb\x00" + "c" * 100, 10) == "'a b" + "c" * 7 + "…'"
