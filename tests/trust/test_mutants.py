"""Mutants of a toy module go the whole way; the long form is benchmarks/trust/mutants.py."""

import ast
import gc
import os
import sys
from pathlib import Path

import mutant_trials
import pytest
from mutant_trials import Surroundings, draw, ends
from mutations import mutations
from reach import ELSEWHERE, IMPORTING, Reach, reach

MODULE = '''"""A module that is too small to be wrong."""

STEP = 2


def larger(a: int, b: int) -> int:
    """Of two."""
    if a > b:
        return a
    return b


def counted(number: int) -> int:
    count = 0
    while count != number:
        count += 1
    return count


def after(number: int, *, step: int = STEP) -> int:
    if number < 0:
        raise ValueError(f"number: {number + 1}")
    return number + step
'''
TESTS = """import os
import subprocess
import sys

from toy_module import after, counted, larger


def test_larger() -> None:
    assert [larger(1, 2), larger(2, 1), larger(2, 2)] == [2, 2, 2]


def test_counted() -> None:
    assert counted(3) == 3


def test_after() -> None:
    assert after(1) == 3


def test_elsewhere() -> None:
    subprocess.run([sys.executable, "-c", "from toy_module import counted; counted(1)"], check=True)
"""
FILE = "src/toy_module.py"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in ((FILE, MODULE), ("tests/test_toy_module.py", TESTS), ("pytest.ini", "[pytest]\n")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def reached() -> Reach:
    """What a run of the tests would have found."""
    names = ["test_larger", "test_counted", "test_after"]
    bodies = ((0, range(8, 11)), (1, range(14, 18)), (2, range(21, 24)))
    lines = {line: [f"tests/test_toy_module.py::{names[place]}"] for place, body in bodies for line in body}
    lines |= {line: [IMPORTING] for line in (3, 6, 13, 20)}
    return Reach({FILE: lines}, {f"tests/test_toy_module.py::{name}": 0.1 for name in names}, {})


def test_mutants_end_as_their_tests_do(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutant_trials, "_SECONDS", 1.0)
    monkeypatch.setattr(sys, "path", [*sys.path])
    drawn, population = draw(root, [FILE], reached(), num=1000, seed=0)
    assert len(drawn) == population == len(mutations(MODULE))
    by_change = {mutant.mutation.change: mutant for mutant in drawn}
    expected = {
        "a > b -> a >= b in if a > b:": "survived",  # of equal ones either is the larger
        "count += 1 -> count -= 1 in count += 1": "timed out",
        "number + step -> number - step in return number + step": "killed",
        "2 -> 3 in STEP = 2": "killed",
    }
    chosen = [by_change[change] for change in expected]
    assert [mutant.imported for mutant in chosen] == [False, False, False, True]
    where = Surroundings(root, "src", root / "work", (), (), None)
    try:
        found = {mutant.mutation.change: end for mutant, end, _ in ends(chosen, where, jobs=2)}
    finally:
        sys.modules.pop("toy_module", None)
    assert found == expected
    assert (root / FILE).read_text() == MODULE
    assert list((root / "work").iterdir()) == []
    assert gc.get_freeze_count() == 0


def test_a_harness_whose_tests_fail_by_themselves_says_so(root: Path) -> None:
    tests = root / "tests" / "test_toy_module.py"
    tests.write_text(TESTS.replace("assert after(1) == 3", "raise KeyError"))
    drawn, _ = draw(root, [FILE], reached(), num=1000, seed=0)
    where = Surroundings(root, "src", root / "work", (), (), None)
    with pytest.raises(RuntimeError, match="the harness is at fault"):
        list(ends([mutant for mutant in drawn if mutant.imported], where, jobs=1))


def test_what_tests_reach_is_told_by_test_and_by_process(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("coverage")  # make test installs it
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root / "src"), os.environ.get("PYTHONPATH", "")]))
    found = reach(["tests"], [FILE], root=root, folder=tmp_path / "work")
    name = "tests/test_toy_module.py::test_{}"
    assert set(found.lines[FILE][8]) == {name.format("larger")}
    assert set(found.lines[FILE][3]) == {IMPORTING, name.format("elsewhere") + ELSEWHERE}
    assert set(found.lines[FILE][16]) == {name.format("counted"), name.format("elsewhere") + ELSEWHERE}
    assert set(found.seconds) == {name.format(test) for test in ("larger", "counted", "after", "elsewhere")}
    assert found.coverage[FILE]["num_branches"] - found.coverage[FILE]["covered_branches"] == 1
    (root / "tests" / "test_toy_module.py").write_text(
        "from toy_module import after\n\n\ndef test_after() -> None:\n    after(1)\n"
    )
    again = reach(["tests"], [FILE], root=root, folder=tmp_path / "work")
    assert again == reach(["tests"], [FILE], root=root, folder=tmp_path / "work")
    assert list(again.seconds) == [name.format("after")]


def test_a_mutation_changes_one_place_and_no_lines_after_it() -> None:
    source = "def f(a):\n    return min(a,\n        2) + 1\n\n\nX = (3 <\n     4)\n"
    for mutation in mutations(source):
        changed = mutation.applied(source)
        ast.parse(changed)
        assert changed.count("\n") == source.count("\n")
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source))
    assert {"min(a, 2) -> max(a, 2) in return min(a,", "3 < 4 -> 3 <= 4 in X = (3 <"} <= {
        mutation.change for mutation in mutations(source)
    }


@pytest.mark.parametrize(
    "source",
    [
        '"""Text, 1 < 2."""\n',
        "__all__ = ['a', 1]\n",
        "from a import b\n",
        "Logits = Float[Tensor, 1] | None\n",
        "def f(a: Field[1] = b) -> Field[2]:\n    c: Field[3] = b\n",
        "def f(a):\n    assert a > 1\n",
        "@dataclass(frozen=True)\nclass A:\n    a: int\n",
    ],
)
def test_text_types_and_our_own_assertions_are_left_alone(source: str) -> None:
    assert mutations(source) == []


def test_of_an_error_only_that_it_is_raised_is_changed() -> None:
    (mutation,) = mutations("def f(a):\n    raise ValueError(f'{a + 1}', -1)\n")
    assert mutation.applied("def f(a):\n    raise ValueError(f'{a + 1}', -1)\n") == "def f(a):\n    pass\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a <= b", "a < b"),
        ("a in b", "a not in b"),
        ("a * b", "a / b"),
        ("a and b", "a or b"),
        ("not a", "a"),
        ("True", "False"),
        ("0.5", "0.75"),
        ("7", "8"),
        ("a.any(b)", "a.all(b)"),
        ("f(a, b=c)", "f(a)"),
        ("d if a else b", "d if not a else b"),
    ],
)
def test_expressions_that_are_changed(before: str, after: str) -> None:
    source = f"def f(a, b, c, d):\n    return {before}\n"
    assert ast.dump(ast.parse(f"def f(a, b, c, d):\n    return ({after})\n")) in [
        ast.dump(ast.parse(mutation.applied(source))) for mutation in mutations(source)
    ]
