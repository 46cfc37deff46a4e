from xml.etree import ElementTree

import numpy as np
import pytest
from test_page import ATTACK

from picturebook.report.confusion import heat_map, worst_pairs

NAMES = ("ape", "bat", "cat", "dog")


def slow_pairs(counts: np.ndarray) -> list[tuple[str, str, int, int, int]]:
    sizes = [sum(int(count) for count in row) for row in counts]
    found = [
        (NAMES[label], NAMES[other], int(counts[label, other]), sizes[label], int(counts[other, label]))
        for label in range(len(counts))
        for other in range(len(counts))
        if label != other and counts[label, other] > 0
    ]
    return sorted(found, key=lambda pair: (-pair[2], -pair[2] / pair[3], pair[0], pair[1]))


@pytest.mark.parametrize("seed", range(5))
def test_the_worst_pairs_are_those_of_a_slow_search(seed: int) -> None:
    counts = np.random.default_rng(seed).integers(0, 4, (4, 4))
    pairs = [(pair.label, pair.prediction, pair.count, pair.num, pair.back) for pair in worst_pairs(NAMES, counts, 5)]
    assert pairs == slow_pairs(counts)[:5]


def test_right_answers_are_no_pairs() -> None:
    assert worst_pairs(NAMES, np.diag([3, 0, 2, 1]), 5) == ()


def test_the_map_has_a_cell_for_every_count_and_says_it() -> None:
    counts = np.array([[2, 1, 0, 0], [0, 3, 0, 0], [0, 0, 0, 0], [0, 0, 2, 2]])
    root = ElementTree.fromstring(heat_map(NAMES, counts, name="m"))
    cells = [rect for rect in root.iter("{http://www.w3.org/2000/svg}rect") if rect.get("class") in ("hit", "miss")]
    said = {"".join(cell.itertext()): (cell.get("class"), cell.get("fill-opacity")) for cell in cells}
    assert said == {
        "ape → ape: 2 of 3": ("hit", "0.72"),
        "ape → bat: 1 of 3": ("miss", "0.43"),
        "bat → bat: 3 of 3": ("hit", "1.00"),
        "dog → cat: 2 of 4": ("miss", "0.57"),
        "dog → dog: 2 of 4": ("hit", "0.57"),
    }
    assert "7 of 10 on the diagonal" in "".join(root.itertext())


def test_names_in_the_map_are_escaped_and_cut() -> None:
    svg = heat_map((ATTACK, "b"), np.array([[1, 1], [0, 1]]), name="m")
    assert "<script>" not in svg
    assert ElementTree.fromstring(svg) is not None
    assert "a very long class…" in heat_map(("a very long class name", "b"), np.eye(2, dtype=np.int64), name="m")
