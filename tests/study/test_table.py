import pytest

from picturebook.report.study_content import ArmRow, ContrastRow
from picturebook.study.table import study_warnings


@pytest.mark.parametrize(("num_seeds", "said"), [(0, []), (1, ["One seed"]), (3, ["3 seeds: no claim"]), (8, [])])
def test_how_many_seeds_there_are_goes_by_what_was_measured(num_seeds: int, said: list[str]) -> None:
    rows = [ContrastRow("b", "a", tuple((seed, 0.0) for seed in range(num_seeds))), ContrastRow("c", "a", ())]
    warnings = study_warnings([ArmRow("a", tuple((seed, 0.5) for seed in range(9)))], rows)
    assert [warning[: len(start)] for warning, start in zip(warnings, said, strict=True)] == said
    assert study_warnings([], rows, 3)[0].startswith("Runs still to come: 3.")


def test_what_is_to_be_known_of_several_arms_is_said_once() -> None:
    marks = {"a": (), "b": ("unequal budget: views 4, not 2", "audit: WARN"), "c": ("unequal budget: views 4, not 2",)}
    arms = [ArmRow(name, (), marks=said, failed=((3, "no disk."),) if name == "c" else ()) for name, said in marks.items()]
    assert study_warnings(arms, []) == [
        "b, c: unequal budget: views 4, not 2.",
        "b: audit: WARN.",
        "c, seed 3 failed: no disk.",
    ]
